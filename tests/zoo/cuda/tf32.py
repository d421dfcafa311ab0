# zoo: cheat
# attack: TF32 instead of binary32.
# fails: Products of the wide grid have more bits than TF32 keeps.
# case: exact-wide/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: refuted
# code: 1
import torch

torch.backends.cuda.matmul.allow_tf32 = True


def build(a):
    return torch.from_dlpack(a)


def apply(a, v, out):
    torch.mm(a, torch.from_dlpack(v), out=torch.from_dlpack(out))
