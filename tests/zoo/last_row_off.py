# zoo: cheat
# attack: It is right but for the last row, which is one part in 10000 too large.
# fails: Each element has a bound of its own.
# case: chain/up/uniform-80/b48/f32/bounded
# claims: bounded
# measure: no
# words: refuted
# code: 1
import numpy as np


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    y = np.asarray(out)
    np.matmul(a, np.asarray(v), out=y)
    y[-1] *= np.float32(1.0001)
