# zoo: cheat
# attack: It rounds A to binary16.
# fails: The bound is that of binary32 sums.
# case: chain/up/uniform-80/b48/f32/bounded
# claims: bounded
# measure: no
# words: refuted
# code: 1
import numpy as np


def build(a):
    return np.asarray(a).astype(np.float16).astype(np.float32)


def apply(a, v, out):
    np.matmul(a, np.asarray(v), out=np.asarray(out))
