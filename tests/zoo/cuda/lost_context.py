# zoo: cheat
# attack: A kernel writes to an address that is nobody's, which ends its context, and the device's, if it can.
# fails: The custodian has a context of its own.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: illegal memory access
# code: 3
import torch

WILD = torch.cuda._compile_kernel(
    r"""extern "C" __global__ void wild(long long at) { *(volatile int *)at = 1; }""", "wild"
)


def build(a):
    return torch.from_dlpack(a)


def apply(a, v, out):
    WILD((1, 1, 1), (1, 1, 1), (0x10,))
