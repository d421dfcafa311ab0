# zoo: cheat
# attack: It sends bytes to the judge that are no message.
# fails: Such a process is ended.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: not a message of the protocol
# code: 3
import sys

import numpy as np


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    channel = sys._getframe(1).f_locals['channel']
    channel.send(bytes(range(256)))
    np.matmul(a, np.asarray(v), out=np.asarray(out))
