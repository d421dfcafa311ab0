# zoo: cheat
# attack: It leaves out the smallest weights.
# fails: All bits are in the digest.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: refuted
# code: 1
import numpy as np


def build(a):
    a = np.asarray(a)
    return np.where(np.abs(a) <= np.abs(a[a != 0]).min(), 0, a)


def apply(a, v, out):
    np.matmul(a, np.asarray(v), out=np.asarray(out))
