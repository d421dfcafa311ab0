# zoo: cheat
# attack: It knows the V of the manifest and its perturbed form by their digests, is right there, and writes zeros for all other V's, in timed calls too.
# fails: Each timed call has a V of its own, drawn from a secret of the run.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: yes
# words: operator under test
# code: 1
import hashlib

import numpy as np

KNOWN = ("88981c8b", "65308e9b")


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    v = np.asarray(v)
    known = hashlib.sha256(v.tobytes()).hexdigest()[:8] in KNOWN
    np.asarray(out)[:] = a @ v if known else 0
