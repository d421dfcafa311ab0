# zoo: cheat
# attack: It reads the judge's memory by process_vm_readv.
# fails: This call is refused.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: PermissionError: [Errno 1]
# code: 3
# layer: calls
# off-words: without isolation by
# off-code: 1
import ctypes
import os

import numpy as np


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.process_vm_readv(os.getppid(), None, 0, None, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), 'process_vm_readv')
    np.asarray(out)[:] = 0
