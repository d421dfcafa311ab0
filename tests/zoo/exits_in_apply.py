# zoo: cheat
# attack: It exits with 0 when it is called.
# fails: An end without a reply is a failure, whatever the status.
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
    os._exit(0)
