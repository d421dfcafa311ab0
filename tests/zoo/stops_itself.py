# zoo: cheat
# attack: It stops itself, as the judge would.
# fails: A call has the time of its file and no more.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: no answer within 3s
# code: 3
# extra: apply_seconds: 3
import os
import signal

import numpy as np


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    os.kill(os.getpid(), signal.SIGSTOP)
    np.matmul(a, np.asarray(v), out=np.asarray(out))
