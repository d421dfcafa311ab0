# zoo: cheat
# attack: It takes away the function by which its process locks itself; in its first call it leaves children, which keep all cores busy while its rivals are timed and rest while it is called.
# fails: Whoever is under test is not asked to lock itself, and what it started stands when it stands.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: yes
# words: Operation not permitted
# code: 3
import mmap
import os
import sys
import time

import numpy as np

seen = set()


def slot(v):
    """The place of V among those that the judge shares; from 256 on they are those of calls that nobody looks at."""
    at = np.asarray(v).ctypes.data - np.frombuffer(v.memory.obj, np.uint8).ctypes.data
    return at // np.asarray(v).nbytes


def build(a):
    return np.asarray(a)


sys.modules['__main__']._lock = lambda program: None
flag = mmap.mmap(-1, 1)


def hinder():
    for _ in range(2 * os.cpu_count()):
        if os.fork() == 0:
            os.setsid()
            end = time.monotonic() + 20
            while time.monotonic() < end:
                if flag[0]:
                    time.sleep(2e-5)
            os._exit(0)


def apply(a, v, out):
    if not seen and slot(v) >= 256:
        hinder()
    seen.add(slot(v))
    flag[0] = 1
    np.matmul(a, np.asarray(v), out=np.asarray(out))
    flag[0] = 0
