# zoo: cheat
# attack: It multiplies rightly, and leaves another A.
# fails: A is compared with what was handed over.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: elements of A are others
# code: 1
import torch


def build(a):
    a = torch.from_dlpack(a)
    return a.clone(), a


def apply(state, v, out):
    mine, theirs = state
    torch.mm(mine, torch.from_dlpack(v), out=torch.from_dlpack(out))
    theirs[:4].zero_()
