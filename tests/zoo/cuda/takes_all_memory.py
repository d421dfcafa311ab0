# zoo: cheat
# attack: It takes all memory of the device, so that nobody can look at its outputs.
# fails: What is not looked at is not verified.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: not verified
# code: 3
import ctypes

import torch

driver = ctypes.CDLL("libcuda.so.1")
kept = []


def build(a):
    a = torch.from_dlpack(a).clone()
    memory, size = ctypes.c_uint64(), 1 << 36
    while size >= 1 << 12:
        if driver.cuMemAlloc_v2(ctypes.byref(memory), ctypes.c_size_t(size)) == 0:
            kept.append(memory.value)
        else:
            size //= 2
    return a


def apply(a, v, out):
    raise MemoryError("there is none")
