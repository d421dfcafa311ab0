# zoo: cheat
# attack: It gives the right output and writes one number before it.
# fails: Guard bands stand on both sides of each output, of bits that are looked at.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: it wrote beside its output
# code: 1
import ctypes

import numpy as np


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    y = np.asarray(out)
    np.matmul(a, np.asarray(v), out=y)
    ctypes.c_float.from_address(y.ctypes.data - 4).value = 0
