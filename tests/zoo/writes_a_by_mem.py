# zoo: cheat
# attack: It writes into A through /proc/self/mem, which heeds no protection of pages.
# fails: A is sealed memory: nobody but the judge can write it.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: Error
# code: 3
import os

import numpy as np


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    memory = os.open('/proc/self/mem', os.O_RDWR)
    os.pwrite(memory, bytes(4), a.ctypes.data)
    np.matmul(a, np.asarray(v), out=np.asarray(out))
