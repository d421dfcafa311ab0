# zoo: cheat
# attack: Its build starts 100 processes, each of which starts the next in a session of its own.
# fails: All that are below it are ended with its build.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: processes behind
# code: 3
import os
import time

import numpy as np


def build(a):
    if os.fork() == 0:
        for _ in range(100):
            os.setsid()
            if os.fork() != 0:
                break
        time.sleep(20)
        os._exit(0)
    time.sleep(0.2)
    return np.asarray(a)


def apply(a, v, out):
    np.matmul(a, np.asarray(v), out=np.asarray(out))
