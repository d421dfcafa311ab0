# zoo: cheat
# attack: It leaves a child in a session of its own, which would outlive it for 20 s.
# fails: All that it started is ended with its build.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: behind
# code: 3
import os
import time

import numpy as np


def build(a):
    if os.fork() == 0:
        os.setsid()
        time.sleep(20)
        os._exit(0)
    return np.asarray(a)


def apply(a, v, out):
    np.matmul(a, np.asarray(v), out=np.asarray(out))
