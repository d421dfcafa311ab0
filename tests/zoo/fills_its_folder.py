# zoo: cheat
# attack: It writes 1 GiB of files to its own folder.
# fails: What it may write is limited.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: Error
# code: 3
# extra: memory: 2GiB
import os

import numpy as np


def build(a):
    part = bytes(64 << 20)
    for number in range(16):
        with open(os.path.join(os.environ["TMPDIR"], str(number)), "wb") as file:
            file.write(part)
    return np.asarray(a)


def apply(a, v, out):
    np.matmul(a, np.asarray(v), out=np.asarray(out))
