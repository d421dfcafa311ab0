# zoo: cheat
# attack: It stops all clocks of Python, and makes NumPy say that all arrays are equal.
# fails: Neither the clock nor the comparison is in its process.
# case: exact/up/uniform-80/b48/f32/exact
# claims: exact
# measure: no
# words: refuted
# code: 1
import time

import numpy as np

time.time = time.monotonic = time.perf_counter = lambda: 0.0
time.time_ns = time.monotonic_ns = time.perf_counter_ns = lambda: 0
np.array_equal = np.allclose = lambda *a, **b: True


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    np.asarray(out)[:] = 0
