# zoo: cheat
# attack: It exits with 0 while it is built.
# fails: An end without a reply is a failure, whatever the status.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: exited with 0
# code: 3
import os


def build(a):
    os._exit(0)


def apply(a, v, out):
    pass
