# zoo: cheat
# attack: It computes the first half of the rows and writes zeros to the others.
# fails: All rows are in the digest.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: refuted
# code: 1
import numpy as np


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    half = len(a) // 2
    y = np.asarray(out)
    y[half:] = 0
    np.matmul(a[:half], np.asarray(v), out=y[:half])
