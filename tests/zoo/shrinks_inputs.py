# zoo: cheat
# attack: It cuts the files of its inputs and outputs to nothing, so that the judge dies when it reads them.
# fails: The files are sealed: their size stays.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: PermissionError: [Errno 1]
# code: 3
import os

import numpy as np


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    for name in os.listdir("/proc/self/fd"):
        try:
            if "memfd:sparse-verify" in os.readlink("/proc/self/fd/" + name):
                os.ftruncate(int(name), 0)
        except FileNotFoundError:
            continue
    np.asarray(out)[:] = 0
