# zoo: cheat
# attack: It says that the float environment changed as often as a number can hold, twice.
# fails: Such a number is no reason to fail.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: refuted
# code: 1
import sys

import numpy as np


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    channel = sys._getframe(1).f_locals['channel']
    channel.send(b'{"done":{"changes":18446744073709551615}}')
    np.asarray(out)[:] = 0
