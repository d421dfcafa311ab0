# zoo: cheat
# attack: One element of its output is one bit off.
# fails: All bits are in the digest.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: refuted
# code: 1
import numpy as np


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    np.matmul(a, np.asarray(v), out=np.asarray(out))
    np.asarray(out).view(np.uint32)[-1, -1] ^= 1
