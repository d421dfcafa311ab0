# zoo: cheat
# attack: It computes all rows but the last, which it does not write.
# fails: What is not written is a NaN.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: refuted
# code: 1
import numpy as np


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    np.matmul(a[:-1], np.asarray(v), out=np.asarray(out)[:-1])
