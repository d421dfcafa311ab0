# zoo: cheat
# attack: It returns at once; a thread computes afterwards.
# fails: The process stands from its reply on.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: refuted
# code: 1
import threading
import time

import numpy as np


def build(a):
    return np.asarray(a)


def later(a, v, out):
    time.sleep(0.001)
    np.matmul(a, np.asarray(v), out=np.asarray(out))


def apply(a, v, out):
    threading.Thread(target=later, args=(a, v, out)).start()
