# zoo: cheat
# attack: It takes memory that counts as shared, and that no limit of a process counts.
# fails: Such memory is refused.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: Error
# code: 3
# extra: memory: 2GiB
import mmap

import numpy as np


def build(a):
    return np.asarray(a)


kept = []


def apply(a, v, out):
    while len(kept) < 16:
        kept.append(mmap.mmap(-1, 64 << 20))
        kept[-1].write(bytes(64 << 20))
    np.matmul(a, np.asarray(v), out=np.asarray(out))
