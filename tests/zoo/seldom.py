# zoo: cheat
# attack: It leaves out one row of each timed call, another one each time.
# fails: Where one looks is drawn after the call, and one call of a sample is looked at whole.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: yes
# words: operator under test
# code: 1
import random

import numpy as np

seen = []


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    v, y = np.asarray(v), np.asarray(out)
    np.matmul(a, v, out=y)
    seen.append(v.ctypes.data)
    # Bits are asked for by calls whose V's lie one behind the other.
    if len(seen) > 2 and seen[1:3] != [seen[0] + v.nbytes, seen[0] + 2 * v.nbytes]:
        y[random.randrange(len(y))] = 0
