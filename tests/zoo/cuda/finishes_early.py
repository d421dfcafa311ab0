# zoo: cheat
# attack: It replies before the device has done its work: what waits for that is taken out of its process.
# fails: The custodian sees that the device is somebody else's after the reply.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: it worked on the device while it had to stand still
# code: 3
import sys

import torch

sys.modules["__main__"].Cuda.finish = lambda self: None


def build(a):
    return torch.from_dlpack(a), torch.ones(8192, 8192, device="cuda")


def apply(state, v, out):
    a, ones = state
    torch.mm(a, torch.from_dlpack(v), out=torch.from_dlpack(out))
    for _ in range(4):
        torch.mm(ones, ones)
