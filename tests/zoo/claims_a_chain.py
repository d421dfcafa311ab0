# zoo: cheat
# attack: It claims to sum along k in order, with one rounding each, and sums backwards.
# fails: Another order gives other bits.
# case: chain/up/uniform-80/b48/f32/f32-chain
# claims: f32-chain
# measure: no
# words: refuted
# code: 1
import numpy as np


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    y = np.zeros(out.shape, np.float32)
    for k in range(a.shape[1] - 1, -1, -1):
        y += a[:, k, None] * np.asarray(v)[k]
    np.asarray(out)[:] = y
