# zoo: cheat
# attack: It computes for the first V alone and gives that output for all others.
# fails: V's of calls are different ones, and nobody can tell the case's own.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: refuted
# code: 1
import numpy as np


def build(a):
    return np.asarray(a)


first = []


def apply(a, v, out):
    if not first:
        first.append(a @ np.asarray(v))
    np.asarray(out)[:] = first[0]
