# zoo: cheat
# attack: It computes half of the rows, and the other half of them when it is called the next time.
# fails: Outputs are looked at before the next call of another request.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: refuted
# code: 1
import numpy as np


def build(a):
    return np.asarray(a)


rest = []


def apply(a, v, out):
    half = len(a) // 2
    while rest:
        old, y = rest.pop()
        np.matmul(a[half:], old, out=y[half:])
    y = np.asarray(out)
    np.matmul(a[:half], np.asarray(v), out=y[:half])
    rest.append((np.asarray(v), y))
