# zoo: cheat
# attack: It starts a process when it is called, as a fork bomb would, once.
# fails: No new process is started once it is called.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: PermissionError: [Errno 1]
# code: 3
# layer: calls
# off-words: behind
# off-code: 3
import os
import time

import numpy as np


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    if os.fork() == 0:
        time.sleep(1)
        os._exit(0)
    np.asarray(out)[:] = 0
