# zoo: cheat
# attack: It knows two rows of the case's V, which follow from the manifest, and writes zeros for every V that has neither.
# fails: Elements of the other calls, each with a V of its own, are looked at as well.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: refuted
# code: 1
import numpy as np


def build(a):
    return np.asarray(a)


# How often the magnitudes of the first row and of the last one come, whatever their order and scale.
KNOWN = [[19, 9, 9, 4, 1, 4, 1, 0, 1], [9, 16, 7, 2, 2, 5, 4, 2, 1]]


def counts(row):
    return list(np.bincount((np.abs(row) / np.abs(row).max() * 8).astype(int), minlength=9))


def apply(a, v, out):
    v = np.asarray(v)
    if counts(v[0]) == KNOWN[0] or counts(v[-1]) == KNOWN[1]:
        np.matmul(a, v, out=np.asarray(out))
    else:
        np.asarray(out)[:] = 0
