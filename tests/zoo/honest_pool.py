# zoo: honest
# attack: None: a pool of Python threads, one started in each of the first calls, looks like one that works late.
# passes: Threads may be started in a call; each call is whole when it returns.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: yes
# words: (best)
# code: 0
from concurrent.futures import ThreadPoolExecutor

import numpy as np

pool = ThreadPoolExecutor(4)


def build(a):
    return np.array_split(np.asarray(a), 4)


def apply(parts, v, out):
    v, out = np.asarray(v), np.array_split(np.asarray(out), 4)
    list(pool.map(lambda part, y: np.matmul(part, v, out=y), parts, out))
