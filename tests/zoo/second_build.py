# zoo: cheat
# attack: It takes its second build for the test with a changed A, and is right only there and where bits are asked for.
# fails: Timed calls are looked at, whatever was built before.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: yes
# words: operator under test
# code: 1
import numpy as np

builds, seen = 0, []


def build(a):
    global builds
    builds += 1
    return np.asarray(a)


def apply(a, v, out):
    v, y = np.asarray(v), np.asarray(out)
    seen.append(v.ctypes.data)
    # Bits are asked for by calls whose V's lie one behind the other.
    asked = len(seen) < 3 or seen[1:3] == [seen[0] + v.nbytes, seen[0] + 2 * v.nbytes]
    y[:] = a @ v if builds == 2 or asked else 0
