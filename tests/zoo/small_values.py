# zoo: cheat
# attack: It takes small values of V for zeros, as a processor that flushes small numbers would.
# fails: Each bit of the output counts.
# case: chain/up/uniform-80/b48/f32/f32-chain
# claims: f32-chain
# measure: no
# words: refuted
# code: 1
import numpy as np


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    v = np.asarray(v)
    v = np.where(np.abs(v) < 1e-6, np.float32(0), v)
    y = np.asarray(out)
    y[:] = 0
    for l in range(a.shape[1]):
        y[:] = (np.multiply.outer(a[:, l].astype("f8"), v[l].astype("f8")) + y).astype("f4")
