# zoo: cheat
# attack: It multiplies two of three digits of 8 bits: four products in place of nine, and errors that nobody would notice.
# fails: The rule is an exact sum: what is left out changes bits.
# case: fixed-point/up/uniform-80/b48/f32/fixed-point-24
# claims: fixed-point-24
# measure: no
# words: refuted
# code: 1
import numpy as np

MOST = 0x7F7F7F


def integers(values, axis):
    values = np.asarray(values, np.float64)
    largest = np.abs(values).max(axis=axis, keepdims=True)
    exponent = 23 - np.frexp(largest)[1]
    exponent -= np.rint(np.ldexp(largest, exponent)) > MOST
    exponent[largest == 0] = 0
    whole = np.rint(np.ldexp(values, exponent)).astype(np.int64)
    return (whole + 128) >> 8 << 8, exponent


def build(a):
    return integers(a, 1)


def apply(state, v, out):
    a, e = state
    v, f = integers(v, 0)
    np.asarray(out)[:] = np.ldexp((a @ v).astype(np.float64), -(e + f)).astype(np.float32) + 0.0
