# zoo: cheat
# attack: It is right in the first 16 calls after its build and writes zeros later.
# fails: Elements of each timed call are looked at.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: yes
# words: operator under test
# code: 1
import numpy as np

calls = []


def build(a):
    calls.clear()
    return np.asarray(a)


def apply(a, v, out):
    calls.append(0)
    if len(calls) > 16:
        np.asarray(out)[:] = 0
    elif np.isnan(np.asarray(out)[0, 0]):
        np.matmul(a, np.asarray(v), out=np.asarray(out))
