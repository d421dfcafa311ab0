# zoo: cheat
# attack: It changes the mode of the judge's folder, to what it was.
# fails: Files of others are not its own, and can only be read.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: Error: [Errno
# code: 3
# extra: environment: {HERE: ROOT}
# layer: user
# off-words: Error: [Errno
# off-code: 3
import os

import numpy as np


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    os.chmod(os.environ['HERE'], os.stat(os.environ['HERE']).st_mode & 0o7777)
    np.asarray(out)[:] = 0
