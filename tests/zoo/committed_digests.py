# zoo: cheat
# attack: It reads the committed digests in the judge's folder.
# fails: It reads system folders and its own files alone.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: Error: [Errno
# code: 3
# extra: environment: {HERE: ROOT}
import os

import numpy as np


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    os.close(os.open(os.environ['HERE'] + '/expected-hashes/quickstart.yaml', os.O_RDONLY))
    np.asarray(out)[:] = 0
