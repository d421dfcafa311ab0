# zoo: cheat
# attack: It writes nothing, and hopes for what was there.
# fails: Y is full of NaN's before a call.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: refuted
# code: 1
def build(a):
    pass


def apply(a, v, out):
    pass
