# zoo: cheat
# attack: It sums in binary16.
# fails: The bound is that of binary32 sums.
# case: chain/up/uniform-80/b48/f32/bounded
# claims: bounded
# measure: no
# words: refuted
# code: 1
import numpy as np


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    y = np.zeros(out.shape, np.float16)
    for k, row in enumerate(np.asarray(v).astype(np.float16)):
        y += a[:, k, None].astype(np.float16) * row
    np.asarray(out)[:] = y
