# zoo: honest
# attack: It looks suspicious: everything is put into a stream of its own, and nobody waits in it.
# fails: What a process gave to the device is waited for, whatever stream it is in.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: yes
# words: everything required was verified
# code: 0
import torch


def build(a):
    a = torch.from_dlpack(a)
    return a, torch.cuda.Stream()


def apply(state, v, out):
    a, stream = state
    with torch.cuda.stream(stream):
        torch.mm(a, torch.from_dlpack(v), out=torch.from_dlpack(out))
