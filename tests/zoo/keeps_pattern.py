# zoo: cheat
# attack: It keeps the places of the non-zeros of the first A that it was given, and takes only values from later ones.
# fails: In the changed A a zero became 1.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: a zero weight that became 1 is not taken in
# code: 1
import numpy as np

first = []


def build(a):
    a = np.asarray(a)
    if not first:
        first.append(a != 0)
    return a * first[0]


def apply(a, v, out):
    np.matmul(a, np.asarray(v), out=np.asarray(out))
