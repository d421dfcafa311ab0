# zoo: cheat
# attack: It returns without writing anything.
# fails: The output is made NaN before each call.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: refuted
# code: 1
import numpy as np


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    pass
