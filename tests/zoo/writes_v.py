# zoo: cheat
# attack: It writes into V.
# fails: V cannot be written: the process is ended.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: SIGSEGV
# code: 3
import ctypes

import numpy as np


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    np.matmul(a, np.asarray(v), out=np.asarray(out))
    ctypes.c_float.from_address(np.asarray(v).ctypes.data).value = 0
