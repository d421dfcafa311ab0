# zoo: cheat
# attack: Its file says that it reads all there is, and it reads the committed digests in the judge's folder.
# fails: What an operator file may ask to read is bounded, and said.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: expected an absolute path of at least two parts
# code: 2
# extra: reads: [/]
import os

import numpy as np


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    os.close(os.open(os.environ['HERE'] + '/expected-hashes/quickstart.yaml', os.O_RDONLY))
    np.asarray(out)[:] = 0
