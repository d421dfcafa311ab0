# zoo: cheat
# attack: It raises SystemExit(0), which is no error and ends an interpreter.
# fails: A process that is gone has given no output.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: exited with 0
# code: 3
import numpy as np


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    raise SystemExit(0)
