# zoo: cheat
# attack: Once calls are timed it looks outputs up by a digest of V; what it does not know it computes for the next time.
# fails: Each timed call has a V that never was there before.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: yes
# words: operator under test
# code: 1
import hashlib

import numpy as np

seen = set()


def slot(v):
    """The place of V among those that the judge shares; from 256 on they are those of calls that nobody looks at."""
    at = np.asarray(v).ctypes.data - np.frombuffer(v.memory.obj, np.uint8).ctypes.data
    return at // np.asarray(v).nbytes


def build(a):
    return np.asarray(a)


known = {}


def apply(a, v, out):
    seen.add(slot(v))
    key = hashlib.sha1(np.asarray(v)).digest()
    y = known.get(key)
    known[key] = a @ np.asarray(v)
    np.asarray(out)[:] = known[key] if max(seen) < 256 else 0 if y is None else y
