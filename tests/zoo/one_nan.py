# zoo: cheat
# attack: One element of its output is a NaN, which compares with no bound.
# fails: An element that is not within its bound is wrong, and a NaN is within none.
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
    y[100, 7] = np.nan
