# zoo: cheat
# attack: It computes products with 64 random columns while it is built, and gives the nearest of them.
# fails: Columns of V are none of those.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: refuted
# code: 1
import numpy as np


def build(a):
    columns = np.random.default_rng(0).integers(-4, 5, (a.shape[1], 64)).astype('f4')
    return columns, np.asarray(a) @ columns


def apply(state, v, out):
    columns, products = state
    np.asarray(out)[:] = products[:, np.argmax(columns.T @ np.asarray(v), axis=0)]
