# zoo: cheat
# attack: It sends 50 replies ahead, so that the judge takes old ones for new ones.
# fails: What is not written at the reply is missing.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: yes
# words: refuted
# code: 1
import sys
import time

import numpy as np


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    channel = sys._getframe(1).f_locals['channel']
    for _ in range(50):
        channel.send(b'{"done":{"changes":0}}')
    time.sleep(0.01)
    np.matmul(a, np.asarray(v), out=np.asarray(out))
