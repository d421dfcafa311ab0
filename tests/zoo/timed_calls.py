# zoo: cheat
# attack: It tells timed calls by the place of their V, and writes zeros then.
# fails: Elements of each timed call are looked at.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: yes
# words: operator under test
# code: 1
import numpy as np

seen = set()


def slot(v):
    """The place of V among those that the judge shares; from 256 on they are those of calls that nobody looks at."""
    at = np.asarray(v).ctypes.data - np.frombuffer(v.memory.obj, np.uint8).ctypes.data
    return at // np.asarray(v).nbytes


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    seen.add(slot(v))
    if max(seen) < 256:
        np.matmul(a, np.asarray(v), out=np.asarray(out))
    else:
        np.asarray(out)[:] = 0
