# zoo: cheat
# attack: It leaves a child that forks and exits again and again for 5 s, so that no signal meets it.
# fails: What its build left behind is ended, or else its run.
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
        end = time.monotonic() + 5
        while time.monotonic() < end:
            if os.fork():
                os._exit(0)
        os._exit(0)
    return np.asarray(a)


def apply(a, v, out):
    np.matmul(a, np.asarray(v), out=np.asarray(out))
