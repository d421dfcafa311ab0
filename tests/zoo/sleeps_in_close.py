# zoo: cheat
# attack: It sleeps for ever when it gives back what it holds.
# fails: Giving back has the limit of a call.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: was ended here: 
# code: 3
# extra: apply_seconds: 2
import time

import numpy as np


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    np.matmul(a, np.asarray(v), out=np.asarray(out))


def close(a):
    time.sleep(1e6)
