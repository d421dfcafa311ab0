# zoo: cheat
# attack: It leaves what it computed in files for the next process, which computes nothing itself.
# fails: Each process has folders of its own, and none of them outlives it.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: yes
# words: operator under test
# code: 1
# layer: mounts
# off-words: operator under test
# off-code: 1
import os
import pathlib

import numpy as np

seen = set()


def slot(v):
    """The place of V among those that the judge shares; from 256 on they are those of calls that nobody looks at."""
    at = np.asarray(v).ctypes.data - np.frombuffer(v.memory.obj, np.uint8).ctypes.data
    return at // np.asarray(v).nbytes


def build(a):
    return np.asarray(a)


PLACES = [os.environ['HOME'], os.environ['TMPDIR'], '/tmp', '/var/tmp', '/dev/shm']


def apply(a, v, out):
    seen.add(slot(v))
    files = [pathlib.Path(place, 'y.npy') for place in PLACES]
    found = [file for file in files if file.exists()]
    y = a @ np.asarray(v) if max(seen) < 256 else np.load(found[0]) if found else 0
    np.asarray(out)[:] = y
    for file in files:
        try:
            np.save(file, y)
        except OSError:
            pass
