# zoo: cheat
# attack: It writes zeros.
# fails: The digest of the output is another.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: refuted
# code: 1
import numpy as np


def build(a):
    return None


def apply(state, v, out):
    np.asarray(out)[:] = 0
