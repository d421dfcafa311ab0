# zoo: cheat
# attack: It reads the command line of the process that started it, to know whether it is judged.
# fails: Only its own folder of /proc can be read.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: PermissionError: [Errno 13]
# code: 3
# layer: files
# off-words: without isolation by
# off-code: 1
import os

import numpy as np


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    with open(f'/proc/{os.getppid()}/cmdline', 'rb') as file:
        is_judged = b'quickstart' in file.read()
    np.asarray(out)[:] = 0
