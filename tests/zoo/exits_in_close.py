# zoo: cheat
# attack: It ends its process when it gives back what it holds.
# fails: There is no process to build from the changed A.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: exited with 0
# code: 3
import os

import numpy as np


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    np.matmul(a, np.asarray(v), out=np.asarray(out))


def close(a):
    os._exit(0)
