# zoo: cheat
# attack: It sends the judge a message that is nested 20000 deep.
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
    channel.send(b'[' * 20000)
    np.matmul(a, np.asarray(v), out=np.asarray(out))
