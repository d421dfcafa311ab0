# zoo: cheat
# attack: It knows columns of V by every fourth element, without sign and scale, and gives the column of Y that it gave before.
# fails: One column of V2 differs from one of V in one element, most likely another.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: refuted
# code: 1
import numpy as np


def build(a):
    return np.asarray(a), {}


def apply(state, v, out):
    a, seen = state
    v, out = np.asarray(v), np.asarray(out)
    for j in range(v.shape[1]):
        column = v[:, j]
        some = column[::4]
        scale = np.ldexp(np.sign(some[np.nonzero(some)[0][0]]), np.frexp(np.abs(some).max())[1])
        key = (some / scale + 0).tobytes()  # One zero.
        if key not in seen:
            seen[key] = a @ column / scale
        out[:, j] = seen[key] * scale
