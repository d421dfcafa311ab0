# zoo: cheat
# attack: It opens the files of its inputs again, through /proc/self/fd, and changes A and all V's to zeros.
# fails: The files are sealed: no write reaches them, whoever opens them.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: Error: [Errno
# code: 3
import os

import numpy as np


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    for name in os.listdir("/proc/self/fd"):
        try:
            if "memfd:sparse-verify" not in os.readlink("/proc/self/fd/" + name):
                continue
        except FileNotFoundError:
            continue
        file = os.open("/proc/self/fd/" + name, os.O_RDWR)
        os.pwrite(file, bytes(os.fstat(file).st_size), 0)
    np.asarray(out)[:] = 0
