# zoo: cheat
# attack: It looks up columns of Y by columns of V, without their sign and scale; once calls are timed it computes no others.
# fails: Columns of timed calls never were there before.
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


known = {}


def apply(a, v, out):
    seen.add(slot(v))
    y = np.asarray(out)
    for j, column in enumerate(np.asarray(v).T):
        largest = column[np.argmax(np.abs(column))] or 1
        key = (column / largest).tobytes()
        if key not in known and max(seen) < 256:
            known[key] = a @ column.astype(float) / largest
        y[:, j] = np.round(known.get(key, 0) * largest)
