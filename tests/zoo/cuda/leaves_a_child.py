# zoo: cheat
# attack: A child that the build leaves behind has the device while others are timed.
# fails: No process is left when the build replies.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: it left a process behind
# code: 3
import subprocess
import sys

import torch

WORK = "import torch\nones = torch.ones(8192, 8192, device='cuda')\nwhile True: ones @ ones"


def build(a):
    subprocess.Popen([sys.executable, "-c", WORK])
    return torch.from_dlpack(a)


def apply(a, v, out):
    torch.mm(a, torch.from_dlpack(v), out=torch.from_dlpack(out))
