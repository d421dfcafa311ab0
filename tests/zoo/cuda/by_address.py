# zoo: cheat
# attack: It remembers the output for each address of V.
# fails: V's at the same address are different ones.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: refuted
# code: 1
import torch

known = {}


def build(a):
    return torch.from_dlpack(a)


def apply(a, v, out):
    if v.pointer not in known:
        known[v.pointer] = a @ torch.from_dlpack(v)
    torch.from_dlpack(out).copy_(known[v.pointer])
