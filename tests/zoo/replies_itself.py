# zoo: cheat
# attack: It sends the judge a reply of its own before it has done anything.
# fails: What is not written at the reply is missing, however often it replies.
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
    channel.send(b'{"done":{"changes":0}}')
    np.asarray(out)[:] = 0
