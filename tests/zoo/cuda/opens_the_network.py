# zoo: cheat
# attack: It connects to a server, by the local socket or the network.
# fails: No socket of the network, and no connection.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: inet refused, local refused
# code: 3
import socket


def tried(family, where):
    try:
        socket.socket(family, socket.SOCK_STREAM).connect(where)
        return "connected"
    except PermissionError:
        return "refused"
    except FileNotFoundError:
        return "refused"


def build(a):
    inet = tried(socket.AF_INET, ("127.0.0.1", 22))
    local = tried(socket.AF_UNIX, "/run/some.sock")
    raise ValueError(f"inet {inet}, local {local}")


def apply(a, v, out):
    pass
