# zoo: cheat
# attack: It raises an exception whose own text raises another one.
# fails: Whatever ends its process is said.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: Silent
# code: 3


class Silent(Exception):
    def __str__(self):
        raise self


def build(a):
    raise Silent


def apply(a, v, out):
    pass
