# zoo: cheat
# attack: It copies A to its output.
# fails: The digest of the output is another.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: refuted
# code: 1
import numpy as np


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    np.asarray(out)[:] = a[:, : out.shape[1]]
