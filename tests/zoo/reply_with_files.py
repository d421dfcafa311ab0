# zoo: cheat
# attack: It sends open files beside its replies, to fill the judge's table.
# fails: Files that nobody asked for are closed.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: refuted
# code: 1
import socket
import sys

import numpy as np


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    channel = sys._getframe(1).f_locals['channel']
    for _ in range(20):
        socket.send_fds(channel, [b'{"done":{"changes":0}}'], [0] * 4)
    np.asarray(out)[:] = 0
