# zoo: honest
# attack: None: it prints 900 kB of ordinary text.
# passes: That is less than a flood, 1 MiB; what it prints is not looked at otherwise.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: yes
# words: (best)
# code: 0
import sys

import numpy as np

for line in range(10000):
    print(f"loading kernel {line:5} of 10000: tiles of 16 by 16, unrolled four times, not refuted, no error: ok")
sys.stdout.flush()


def build(a):
    print("building", a.shape, file=sys.stderr)
    return np.asarray(a)


def apply(a, v, out):
    np.matmul(a, np.asarray(v), out=np.asarray(out))
