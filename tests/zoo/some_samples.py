# zoo: cheat
# attack: It writes zeros in the calls of two samples out of three, so that the median is that of zeros, and is right in the others.
# fails: Elements of each call of every sample are looked at.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: yes
# words: operator under test
# code: 1
import numpy as np

seen, samples = [], 0


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    global samples
    v = np.asarray(v)
    seen.append(v.ctypes.data)
    # Bits are asked for by calls whose V's lie one behind the other. A sample begins with the V that lies before all.
    is_timed = len(seen) > 2 and seen[1:3] != [seen[0] + v.nbytes, seen[0] + 2 * v.nbytes]
    samples += seen[-1] == min(seen)
    if is_timed and samples % 3 != 0:
        np.asarray(out)[:] = 0
    else:
        np.matmul(a, v, out=np.asarray(out))
