# zoo: cheat
# attack: It takes memory without end.
# fails: It has the memory of its file and no more.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: MemoryError
# code: 3
# extra: memory: 2GiB
import numpy as np


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    kept = []
    while True:
        kept.append(np.ones(1 << 22))
