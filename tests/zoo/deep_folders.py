# zoo: cheat
# attack: It makes folders 1500 deep, which are hard to take away, and one that nobody may enter.
# fails: Its folder is gone when it is, whatever is in it.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: refuted
# code: 1
import os
import tempfile

import numpy as np


def build(a):
    return np.asarray(a)


made = []


def apply(a, v, out):
    np.asarray(out)[:] = 0
    if made:
        return
    made.append(0)
    os.chdir(tempfile.mkdtemp(dir=os.environ['HOME']))
    for _ in range(1500):
        os.mkdir('x')
        os.chdir('x')
    os.chmod('.', 0)
