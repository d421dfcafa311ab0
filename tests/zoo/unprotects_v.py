# zoo: cheat
# attack: It makes the pages of V writable, to write zeros to V and to Y, which agree with each other.
# fails: V lies in a sealed file, which nobody but the judge can write.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: PermissionError: [Errno 13]
# code: 3
import ctypes
import os

import numpy as np


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    v = np.asarray(v)
    start = v.ctypes.data & ~4095
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(start), v.ctypes.data + v.nbytes - start, 3) != 0:
        raise PermissionError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    ctypes.memset(v.ctypes.data, 0, v.nbytes)
    np.asarray(out)[:] = 0
