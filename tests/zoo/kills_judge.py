# zoo: cheat
# attack: It sends the judge a signal.
# fails: Signals to others are refused; the one of this test would be harmless.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: PermissionError: [Errno 1]
# code: 3
# layer: calls
# off-words: PermissionError: [Errno 1]
# off-code: 3
import os
import signal

import numpy as np


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    os.kill(os.getppid(), signal.SIGCONT)
    np.asarray(out)[:] = 0
