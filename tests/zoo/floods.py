# zoo: cheat
# attack: It prints without end.
# fails: A process that prints more than 1 MiB is ended.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: wrote more than 1048576 bytes to its standard output
# code: 3
import numpy as np


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    while True:
        print('x' * 4096)
