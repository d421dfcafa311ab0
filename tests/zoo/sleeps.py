# zoo: cheat
# attack: It sleeps for ever.
# fails: A call has the time of its file and no more.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: no answer within 3s
# code: 3
# extra: apply_seconds: 3
import time

import numpy as np


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    time.sleep(1e6)
