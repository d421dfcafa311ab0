# zoo: cheat
# attack: It takes away the function by which its process locks itself, and then starts a process when it is called.
# fails: Whoever is under test is not asked to lock itself.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: it put off the filter that forbids new processes
# code: 3
import os
import sys

import numpy as np


def build(a):
    return np.asarray(a)


sys.modules['__main__']._lock = lambda program: None


def apply(a, v, out):
    if os.fork() == 0:
        os._exit(0)
    np.matmul(a, np.asarray(v), out=np.asarray(out))
