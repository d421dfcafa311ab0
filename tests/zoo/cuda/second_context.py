# zoo: cheat
# attack: It multiplies in a second context of its process, for which nobody waits.
# fails: The custodian sees that the device is somebody else's after the reply, whichever context it is.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: it worked on the device while it had to stand still
# code: 3
import ctypes

import torch

driver = ctypes.CDLL("libcuda.so.1")


def build(a):
    second = ctypes.c_void_p()
    torch.ones(1, device="cuda")
    first = ctypes.c_void_p()
    driver.cuCtxGetCurrent(ctypes.byref(first))
    assert driver.cuCtxCreate_v2(ctypes.byref(second), 0, 0) == 0
    memory = ctypes.c_uint64()
    assert driver.cuMemAlloc_v2(ctypes.byref(memory), ctypes.c_size_t(4 << 30)) == 0
    driver.cuCtxSetCurrent(first)
    return torch.from_dlpack(a), first, second, memory


def apply(state, v, out):
    a, first, second, memory = state
    torch.mm(a, torch.from_dlpack(v), out=torch.from_dlpack(out))
    driver.cuCtxSetCurrent(second)
    for _ in range(8):
        driver.cuMemsetD8Async(memory, 1, ctypes.c_size_t(4 << 30), None)
    driver.cuCtxSetCurrent(first)
