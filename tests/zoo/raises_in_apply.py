# zoo: cheat
# attack: It raises an exception when it is called.
# fails: A call that fails is a failure.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: RuntimeError: no product
# code: 3
import numpy as np


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    raise RuntimeError('no product')
