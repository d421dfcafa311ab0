# zoo: cheat
# attack: It sleeps for ever while it is built.
# fails: A build has a limit.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: was ended here: 
# code: 3
# extra: build_seconds: 2
import time


def build(a):
    time.sleep(1e6)


def apply(a, v, out):
    pass
