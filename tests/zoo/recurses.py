# zoo: cheat
# attack: It calls itself without end.
# fails: It gives no output, and the reason is said.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: RecursionError
# code: 3


def build(a):
    return a


def apply(a, v, out):
    apply(a, v, out)
