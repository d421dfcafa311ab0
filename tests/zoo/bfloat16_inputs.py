# zoo: cheat
# attack: It cuts A and V to bfloat16, as a fast mode of tensor cores does.
# fails: Some weights need 12 bits.
# case: exact-wide/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: refuted
# code: 1
import numpy as np


def cut(x):
    return (np.asarray(x).view(np.uint32) & 0xFFFF0000).view(np.float32)


def build(a):
    return cut(a)


def apply(a, v, out):
    np.matmul(a, cut(v), out=np.asarray(out))
