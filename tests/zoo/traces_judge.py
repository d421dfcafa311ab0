# zoo: cheat
# attack: It traces the judge.
# fails: Tracing is refused.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: ptrace
# code: 3
# layer: calls
# off-words: ptrace
# off-code: 3
import ctypes
import os

import numpy as np


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(16, os.getppid(), 0, 0) != 0:  # PTRACE_ATTACH
        raise OSError(ctypes.get_errno(), 'ptrace')
    libc.ptrace(17, os.getppid(), 0, 0)
    np.asarray(out)[:] = 0
