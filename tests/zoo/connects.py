# zoo: cheat
# attack: It opens a connection of TCP.
# fails: There are no sockets, and no network behind them.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: Error
# code: 3
# layer: network
# off-words: Error
# off-code: 3
import socket

import numpy as np


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    socket.create_connection(('192.0.2.1', 80), 1)
    np.asarray(out)[:] = 0
