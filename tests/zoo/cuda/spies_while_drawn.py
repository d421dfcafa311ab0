# zoo: cheat
# attack: A kernel that never ends looks on while V's are drawn, so that outputs are there when the request comes.
# fails: The custodian sees that it does not have the device for itself.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: it worked on the device while it had to stand still
# code: 3
import sys

import torch

sys.modules["__main__"].Cuda.finish = lambda self: None
SPY = torch.cuda._compile_kernel(
    r"""extern "C" __global__ void spy(volatile float* v, float* out) {
        for (long long i = 0; i < 20000000ll; i++) *out += v[i % 64];
    }""",
    "spy",
)


def build(a):
    return torch.from_dlpack(a), torch.zeros(1, device="cuda"), torch.cuda.Stream()


def apply(state, v, out):
    a, sums, stream = state
    v = torch.from_dlpack(v)
    torch.mm(a, v, out=torch.from_dlpack(out))
    torch.cuda.current_stream().synchronize()
    with torch.cuda.stream(stream):
        SPY((1, 1, 1), (1, 1, 1), (v, sums))
