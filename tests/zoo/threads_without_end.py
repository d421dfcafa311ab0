# zoo: cheat
# attack: It starts threads without end, 8192 at most.
# fails: The kernel lets its user have no more than 4096.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: can't start new thread
# code: 3
import threading
import time

import numpy as np


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    threading.stack_size(32 << 10)
    for _ in range(8192):
        threading.Thread(target=time.sleep, args=(20,), daemon=True).start()
    np.asarray(out)[:] = 0
