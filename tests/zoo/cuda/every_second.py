# zoo: cheat
# attack: Only every second call of a request is computed; the others get an output that was right once.
# fails: Elements of each call are computed again.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: yes
# words: refuted
# code: 1
import torch

calls, last = 0, None


def build(a):
    return torch.from_dlpack(a)


def apply(a, v, out):
    global calls, last
    calls += 1
    if calls % 2 or last is None:
        last = a @ torch.from_dlpack(v)
    torch.from_dlpack(out).copy_(last)
