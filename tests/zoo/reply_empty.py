# zoo: cheat
# attack: It sends the judge an empty message, which looks like the end of the channel.
# fails: Such a process is ended.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: the process of the operator
# code: 3
import sys

import numpy as np


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    channel = sys._getframe(1).f_locals['channel']
    channel.send(b'')
    np.matmul(a, np.asarray(v), out=np.asarray(out))
