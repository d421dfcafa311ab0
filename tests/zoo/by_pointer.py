# zoo: cheat
# attack: It remembers the output for each address of V.
# fails: V's at the same address are different ones.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: refuted
# code: 1
import numpy as np


def build(a):
    return np.asarray(a)


known = {}


def apply(a, v, out):
    v = np.asarray(v)
    at = v.ctypes.data
    if at not in known:
        known[at] = a @ v
    np.asarray(out)[:] = known[at]
