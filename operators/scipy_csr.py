"""Sparse product by SciPy, A in CSR."""

import numpy as np
from scipy import sparse


def build(a):
    return sparse.csr_array(np.asarray(a))


def apply(a, v, out):
    np.asarray(out)[:] = a @ np.asarray(v)
