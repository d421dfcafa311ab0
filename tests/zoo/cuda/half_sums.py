# zoo: cheat
# attack: A and V are rounded to binary16, and sums with them.
# fails: The bound is one of binary32.
# case: chain/up/uniform-80/b48/f32/bounded
# claims: bounded
# measure: no
# words: outside the bound
# code: 1
import torch


def build(a):
    return torch.from_dlpack(a).half()


def apply(a, v, out):
    torch.from_dlpack(out).copy_(a @ torch.from_dlpack(v).half())
