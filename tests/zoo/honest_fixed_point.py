# zoo: honest
# attack: None: rows and columns as integers, summed in 64 bits from the last k to the first.
# passes: An exact sum has no order, so that the bits are those of any other way.
# case: fixed-point/up/uniform-80/b48/f32/fixed-point-24
# claims: fixed-point-24
# measure: yes
# words: (best)
# code: 0
import numpy as np

MOST = 0x7F7F7F


def integers(values, axis):
    """Values times a power of two of each row or column, as integers, and the exponents."""
    values = np.asarray(values, np.float64)
    largest = np.abs(values).max(axis=axis, keepdims=True)
    exponent = 23 - np.frexp(largest)[1]
    exponent -= np.rint(np.ldexp(largest, exponent)) > MOST
    exponent[largest == 0] = 0
    return np.rint(np.ldexp(values, exponent)).astype(np.int64), exponent


def build(a):
    return integers(a, 1)


def apply(state, v, out):
    a, e = state
    v, f = integers(v, 0)
    # Below 2^53 here, so that binary64 holds the sum; scaled by a power of two, then rounded once.
    total = a[:, ::-1] @ v[::-1]
    assert np.abs(total).max() < 2**53
    np.asarray(out)[:] = np.ldexp(total.astype(np.float64), -(e + f)).astype(np.float32) + 0.0
