# zoo: cheat
# attack: Work waits in a queue of the device until an output is a NaN again: the next V's are there by then.
# fails: The custodian sees that the device is somebody else's before the request comes.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: it worked on the device while it had to stand still
# code: 3
import ctypes
import os
import sys

# A queue for each stream, so that one that waits holds up no other; and code is loaded before one waits.
os.environ["CUDA_DEVICE_MAX_CONNECTIONS"] = "32"
os.environ["CUDA_MODULE_LOADING"] = "EAGER"

import torch

sys.modules["__main__"].Cuda.finish = lambda self: None
driver = ctypes.CDLL("libcuda.so.1")
calls = 0


def build(a):
    ones, stream = torch.ones(8192, 8192, device="cuda"), torch.cuda.Stream()
    product = torch.empty_like(ones)
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        torch.mm(ones, ones, out=product)
    return torch.from_dlpack(a), ones, product, stream


def apply(state, v, out):
    global calls
    a, ones, product, stream = state
    torch.mm(a, torch.from_dlpack(v), out=torch.from_dlpack(out))
    torch.cuda.current_stream().synchronize()
    calls += 1
    # After the first call and the two that precede a sample: its calls are poisoned before the next sample.
    if calls == 4:
        with torch.cuda.stream(stream):
            of = ctypes.c_void_p(stream.cuda_stream)
            poison, equal = ctypes.c_uint32(0xFFFFFFFF), 1
            code = driver.cuStreamWaitValue32_v2(of, ctypes.c_uint64(out.pointer), poison, equal)
            assert code == 0, code
            torch.mm(ones, ones, out=product)
