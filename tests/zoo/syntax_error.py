# zoo: cheat
# attack: It is no Python.
# fails: What cannot be opened is a failure.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: SyntaxError
# code: 3
def build(a) return a
