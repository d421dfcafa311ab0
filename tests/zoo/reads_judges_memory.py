# zoo: cheat
# attack: It opens the memory of the judge.
# fails: The judge made itself unreadable, and only its own folder of /proc can be read.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: PermissionError: [Errno 13]
# code: 3
# layer: judge
# off-words: PermissionError: [Errno 13]
# off-code: 3
import os

import numpy as np


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    os.close(os.open(f'/proc/{os.getppid()}/mem', os.O_RDONLY))
    np.asarray(out)[:] = 0
