# zoo: cheat
# attack: It writes 16 bytes before its output.
# fails: A band lies there.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: it wrote beside its output
# code: 1
import ctypes

import torch

driver = ctypes.CDLL("libcuda.so.1")


def build(a):
    return torch.from_dlpack(a)


def apply(a, v, out):
    torch.mm(a, torch.from_dlpack(v), out=torch.from_dlpack(out))
    driver.cuMemsetD8_v2(ctypes.c_uint64(out.pointer - 16), 0, ctypes.c_size_t(16))
