# zoo: cheat
# attack: Once calls are timed it computes every second one, and gives that output for the next one too.
# fails: Each call has a V of its own, and elements of each are looked at.
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


last = []


def apply(a, v, out):
    seen.add(slot(v))
    if max(seen) < 256 or len(last) % 2 == 0 or slot(v) >= 256:
        last.append(a @ np.asarray(v))
    else:
        last.append(last[-1])
    np.asarray(out)[:] = last[-1]
