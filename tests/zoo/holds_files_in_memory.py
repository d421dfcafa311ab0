# zoo: cheat
# attack: It holds 1 GiB in anonymous files, which count neither as its data nor as its addresses.
# fails: Such files are refused.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: Error
# code: 3
# extra: memory: 2GiB
import os

import numpy as np


def build(a):
    part = bytes(64 << 20)
    for _ in range(16):
        os.write(os.memfd_create("held"), part)
    return np.asarray(a)


def apply(a, v, out):
    np.matmul(a, np.asarray(v), out=np.asarray(out))
