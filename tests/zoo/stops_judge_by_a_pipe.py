# zoo: cheat
# attack: It makes the judge the owner of a pipe whose input sends SIGTERM.
# fails: A signal of a file goes to processes of its user and behind its walls alone.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: Operation not permitted
# code: 3
# layer: files
# off-words: Operation not permitted
# off-code: 3
import fcntl
import os
import signal
import time

import numpy as np


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    reads, writes = os.pipe()
    fcntl.fcntl(reads, fcntl.F_SETOWN, os.getppid())
    fcntl.fcntl(reads, 10, signal.SIGTERM)  # F_SETSIG
    fcntl.fcntl(reads, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    os.write(writes, b'x')
    time.sleep(0.2)
    np.asarray(out)[:] = 0
