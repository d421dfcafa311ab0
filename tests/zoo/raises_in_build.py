# zoo: cheat
# attack: It raises an exception while it is built.
# fails: A build that fails is a failure.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: RuntimeError: no build
# code: 3
def build(a):
    raise RuntimeError('no build')


def apply(a, v, out):
    pass
