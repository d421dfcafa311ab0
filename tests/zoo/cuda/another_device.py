# zoo: cheat
# attack: It looks for a second device, whose work nobody watches.
# fails: It sees one alone.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: 1 device(s)
# code: 3
import torch


def build(a):
    raise ValueError(f"{torch.cuda.device_count()} device(s)")


def apply(a, v, out):
    pass
