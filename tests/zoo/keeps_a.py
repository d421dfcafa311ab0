# zoo: cheat
# attack: It goes on with the first A that it was given.
# fails: It is built again from an A that was changed where it lies.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: refuted
# code: 1
import numpy as np

first = []


def build(a):
    first.append(np.array(np.asarray(a)))
    return first[0]


def apply(a, v, out):
    np.matmul(a, np.asarray(v), out=np.asarray(out))
