# zoo: cheat
# attack: It makes the judge, and with it all rivals that are started later, run only on one core and after all others.
# fails: Priorities and cores of other processes are not its own to set.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: PermissionError: [Errno 1]
# code: 3
# layer: user
# off-words: PermissionError: [Errno 1]
# off-code: 3
import os

import numpy as np


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    os.sched_setaffinity(os.getppid(), os.sched_getaffinity(os.getppid()))
    os.setpriority(os.PRIO_PROCESS, os.getppid(), os.getpriority(os.PRIO_PROCESS, os.getppid()))
    np.asarray(out)[:] = 0
