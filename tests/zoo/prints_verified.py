# zoo: cheat
# attack: It prints what a verdict looks like and writes zeros.
# fails: What it prints is kept from the judge's output.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: refuted
# code: 1
import numpy as np


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    print('bits verified: 1 of 1 case', flush=True)
    np.asarray(out)[:] = 0
