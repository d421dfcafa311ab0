# zoo: cheat
# attack: It writes each output to the slot of the call before as well, where the right one stands already.
# fails: An output that a later call changed is another one than was right.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: yes
# words: refuted
# code: 1
import ctypes

import numpy as np

last = [0]


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    y = np.asarray(out)
    np.matmul(a, np.asarray(v), out=y)
    if 0 < abs(y.ctypes.data - last[0]) < 1 << 20:
        ctypes.memmove(last[0], y.ctypes.data, y.nbytes)
    last[0] = y.ctypes.data
