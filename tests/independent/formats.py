"""Number formats. Values are kept as NumPy float32, whatever their dtype: every
f16, bf16 and tf32 number is a binary32 number."""

import hashlib
from collections import namedtuple

import numpy as np

# p: significant bits; emin, emax: exponents of the least and greatest normal number.
Format = namedtuple("Format", "name p emin emax")
F32 = Format("f32", 24, -126, 127)
F16 = Format("f16", 11, -14, 15)
BF16 = Format("bf16", 8, -126, 127)
TF32 = Format("tf32", 11, -126, 127)
DTYPES = {"f32": F32, "f16": F16, "bf16": BF16}


def round_to(x, fmt):
    """Nearest, ties to even, gradual underflow, from binary64 (one rounding) to fmt.
    -0 becomes +0. The result is float32."""
    x = np.asarray(x, np.float64)
    _, e = np.frexp(x)
    unit = np.maximum(e - 1, fmt.emin) - (fmt.p - 1)
    y = np.ldexp(np.rint(np.ldexp(x, -unit)), unit)
    over = np.abs(y) >= 2.0 ** (fmt.emax + 1)
    y = np.where(over & np.isfinite(x), np.copysign(np.inf, x), y)
    with np.errstate(over="ignore"):
        return y.astype(np.float32) + np.float32(0)


def encode(x, dtype):
    """Encodings of the float32 values x, which are numbers of dtype."""
    x = np.ascontiguousarray(x, np.float32)
    if dtype == "f32":
        return x.view(np.uint32).astype("<u4", copy=False)
    if dtype == "bf16":
        return (x.view(np.uint32) >> np.uint32(16)).astype("<u2")
    with np.errstate(over="ignore"):
        return x.astype(np.float16).view(np.uint16).astype("<u2", copy=False)


def decode(bits, dtype):
    if dtype == "f32":
        return np.asarray(bits, np.uint32).view(np.float32)
    if dtype == "bf16":
        return (np.asarray(bits, np.uint32) << np.uint32(16)).view(np.float32)
    return np.asarray(bits, np.uint16).view(np.float16).astype(np.float32)


def digest(x, dtype):
    return hashlib.sha256(encode(x, dtype).tobytes()).hexdigest()


def whole_panels(y, dtype):
    m = y.shape[0]
    bits = encode(y, dtype)
    return [hashlib.sha256(bits[p * m // 64:(p + 1) * m // 64].tobytes()).hexdigest()
            for p in range(64)]


def panels(y, dtype):
    return [text[:16] for text in whole_panels(y, dtype)]


def panels_root(y, dtype):
    """The SHA-256 of the panels' SHA-256, as bytes, one after the other."""
    return hashlib.sha256(bytes.fromhex("".join(whole_panels(y, dtype)))).hexdigest()


def bits32(x):
    return np.ascontiguousarray(x, np.float32).view(np.uint32)
