# zoo: cheat
# attack: It gives the output of the call before.
# fails: Each call has a V of its own.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: refuted
# code: 1
import numpy as np


def build(a):
    return np.asarray(a)


last = []


def apply(a, v, out):
    last.append(a @ np.asarray(v))
    np.asarray(out)[:] = last[max(len(last) - 2, 0)]
