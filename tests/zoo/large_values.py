# zoo: cheat
# attack: It is wrong where V has larger values than the first V.
# fails: The perturbation test makes one value of V large.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: refuted
# code: 1
import numpy as np


def build(a):
    return np.asarray(a)


seen = []


def apply(a, v, out):
    seen.append(np.abs(np.asarray(v)).max())
    np.matmul(a, np.clip(np.asarray(v), -seen[0], seen[0]), out=np.asarray(out))
