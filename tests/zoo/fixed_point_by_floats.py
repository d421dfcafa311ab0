# zoo: cheat
# attack: It claims fixed-point and sums in binary64, which is nearer to the exact product than the rule is.
# fails: Better is not the same: the rule rounds rows and columns to 24 bits first.
# case: fixed-point/up/uniform-80/b48/f32/fixed-point-24
# claims: fixed-point-24
# measure: no
# words: refuted
# code: 1
import numpy as np


def build(a):
    return np.asarray(a, np.float64)


def apply(a, v, out):
    np.asarray(out)[:] = (a @ np.asarray(v, np.float64)).astype(np.float32) + 0.0
