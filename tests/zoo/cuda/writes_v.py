# zoo: cheat
# attack: It leaves a V that suits an output of zeros.
# fails: V's are compared with what was drawn.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: it wrote to its input
# code: 1
import torch


def build(a):
    return torch.from_dlpack(a)


def apply(a, v, out):
    torch.from_dlpack(v).zero_()
    torch.from_dlpack(out).zero_()
