# zoo: honest
# attack: None: it looks up each V among those that it has seen, and remembers each output.
# passes: What it finds is right; V's of timed calls are never among them, so that this only costs time.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: yes
# words: (best)
# code: 0
import hashlib

import numpy as np


def build(a):
    return np.asarray(a), {}


def apply(state, v, out):
    a, seen = state
    v, out = np.asarray(v), np.asarray(out)
    key = hashlib.sha256(v).digest()
    if key not in seen:
        seen[key] = a @ v
    out[:] = seen[key]
