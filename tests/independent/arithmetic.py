"""Section 4: the arithmetics. Every rule multiplies all zeros."""

import numpy as np

import specification
from formats import BF16, DTYPES, F16, TF32, round_to
from inputs import Refused

_TILE = 1 << 14  # elements of Y worked on at once: the buffers then stay in the cache


def _tiles(m, n):
    rows = max(1, _TILE // max(1, n))
    for lo in range(0, m, rows):
        yield lo, min(m, lo + rows)


# 2^-126 - 2^-151: of 24 bits, the least that rounds to 2^-126. It has 25.
_TIE = 2.0 ** -126 - 2.0 ** -151


class _Chains:
    """Binary32 values y (rows x n), in binary64, and fused multiply-adds on all of them at once."""

    def __init__(self, rows, n, flush=False):
        self.flush = flush
        self.y = np.zeros((rows, n), np.float64)
        self.y32 = np.zeros((rows, n), np.float32)
        self.p, self.s, self.b, self.e = (np.empty_like(self.y) for _ in range(4))
        self.away, self.inexact = np.empty(self.y.shape, bool), np.empty(self.y.shape, bool)
        self.flip = np.empty(self.y.shape, np.int64)
        self.s_bits, self.e_bits = self.s.view(np.int64), self.e.view(np.int64)

    def fma(self, x, w):
        """y becomes x w + y, for a column x and a row w of binary64 that hold binary32 values."""
        y, p, s, b, e = self.y, self.p, self.s, self.b, self.e
        # The product is exact: 48 bits, and no exponent below -298.
        np.multiply(x, w, out=p)
        # TwoSum: s + e is y + p exactly.
        np.add(y, p, out=s)
        np.subtract(s, y, out=b)
        np.subtract(s, b, out=e)
        np.subtract(y, e, out=e)
        np.subtract(p, b, out=b)
        np.add(e, b, out=e)
        # Round to odd: truncate s + e (one step back if s was rounded up in magnitude), set
        # the last bit if anything was lost. The next rounding, to 24 bits, then is right.
        np.not_equal(e, 0, out=self.inexact)
        np.bitwise_xor(self.e_bits, self.s_bits, out=self.flip)
        np.less(self.flip, 0, out=self.away)
        np.logical_and(self.away, self.inexact, out=self.away)
        np.subtract(self.s_bits, self.away, out=self.s_bits)
        np.bitwise_or(self.s_bits, self.inexact, out=self.s_bits)
        self._round()

    def add(self, x):
        """y becomes y + x, for binary64 x that hold binary32 values: exact in binary64, or rounded to odd."""
        self.fma(x, np.float64(1))

    def _round(self):
        with np.errstate(over="ignore"):
            np.copyto(self.y32, self.s, casting="same_kind")  # ties to even, with subnormal results
        if self.flush:
            self.y32[np.abs(self.s) < _TIE] = 0
        np.copyto(self.y, self.y32)


def chain(a, v):
    """Y by f32-chain, before the output rounding."""
    m, n = a.shape[0], v.shape[1]
    out = np.zeros((m, n), np.float32)
    v = v.astype(np.float64)
    for lo, hi in _tiles(m, n):
        cols = np.ascontiguousarray(a[lo:hi].T, np.float64)[:, :, None]
        y = _Chains(hi - lo, n)
        for k in range(a.shape[1]):
            y.fma(cols[k], v[k])
        out[lo:hi] = y.y32
    return out


INSTRUCTIONS = ("amx-bf16", "avx512-bf16")


def _operands(a, v):
    """A's columns and V's rows in binary64, subnormals flushed."""
    def flushed(x):
        return np.where(np.abs(x) < np.float32(2.0 ** -126), 0, x).astype(np.float64)
    if (round_to(a, BF16) != a).any() or (round_to(v, BF16) != v).any():
        raise Refused("operands that are not bf16")
    return np.ascontiguousarray(flushed(a).T)[:, :, None], flushed(v)


def avx512_bf16(a, v):
    """VDPBF16PS: of each pair the odd element first."""
    m, n = a.shape[0], v.shape[1]
    out = np.zeros((m, n), np.float32)
    cols, v = _operands(a, v)
    for lo, hi in _tiles(m, n):
        c = _Chains(hi - lo, n, flush=True)
        for pair in range(0, a.shape[1], 2):
            for k in (pair + 1, pair):
                if k < a.shape[1]:
                    c.fma(cols[k, lo:hi], v[k])
        out[lo:hi] = c.y32
    return out


def amx_bf16(a, v, block=32):
    """TDPBF16PS: of each block a chain over even k and one over odd k, their sum added to c."""
    m, n = a.shape[0], v.shape[1]
    out = np.zeros((m, n), np.float32)
    cols, v = _operands(a, v)
    for lo, hi in _tiles(m, n):
        c = _Chains(hi - lo, n, flush=True)
        for first in range(0, a.shape[1], block):
            halves = []
            for start in (first, first + 1):
                half = _Chains(hi - lo, n, flush=True)
                for k in range(start, min(first + block, a.shape[1]), 2):
                    half.fma(cols[k, lo:hi], v[k])
                halves.append(half)
            halves[0].add(halves[1].y)
            c.add(halves[0].y)
        out[lo:hi] = c.y32
    return out


def sliced(a, v, slices, dealt, length):
    k = np.arange(a.shape[1])
    number = k // length
    if dealt:
        number = number % slices
    elif a.shape[1] > slices * length:
        raise Refused("f32-sliced: %d slices of %d do not cover k = %d"
                      % (slices, length, a.shape[1]))
    total = None
    for s in range(slices):
        mine = np.nonzero(number == s)[0]
        part = chain(a[:, mine], v[mine])
        total = part if total is None else total + part
    return total


# F, L by dtype (f32 is tf32), and the least E.
TENSOR_CORE_F, TENSOR_CORE_L, TENSOR_CORE_FLOOR = specification.tensor_cores()
_NOTHING = -(1 << 20)  # exponent of a zero: below every other


def _split(x, fmt):
    """Signed integer significand and e(x): x = significand * 2^(e - (p - 1))."""
    x = x.astype(np.float64)
    _, e = np.frexp(x)
    e = np.maximum(e.astype(np.int64) - 1, fmt.emin)
    significand = np.ldexp(x, fmt.p - 1 - e)
    integer = significand.astype(np.int64)
    assert (integer == significand).all()
    return integer, np.where(x == 0, _NOTHING, e)


def _bit_length(x):
    # Exact: below 2^53.
    return np.frexp(x.astype(np.float64))[1].astype(np.int64)


def tensor_core(a, v, dtype, big_f, length, floor=None):
    fmt = {"f16": F16, "bf16": BF16, "f32": TF32}[dtype]
    a, v = round_to(a, fmt), round_to(v, fmt)
    # An operand that rounding made infinite: so is its product with what is not zero.
    beyond = ((~np.isfinite(a)).astype(np.int64) @ (v != 0) + (a != 0).astype(np.int64) @ ~np.isfinite(v)) > 0
    a, v = (np.where(np.isfinite(x), x, np.float32(0)) for x in (a, v))
    m, n = a.shape[0], v.shape[1]
    out = np.zeros((m, n), np.float32)
    av, ae = _split(a, fmt)
    vv, ve = _split(v, fmt)
    a_sign, v_sign = np.where(av < 0, -1, 1), np.where(vv < 0, -1, 1)
    av, vv = np.abs(av), np.abs(vv)
    # A product's integer has weight 2^(e - 2(p-1)); shifted left by this it has 2^(e-F), and the
    # shift right by E - e that follows is the truncation.
    up = big_f - 2 * (fmt.p - 1)
    for lo, hi in _tiles(m, n):
        # c = c_sign * c_int * 2^(c_e - 23); c_e as e(c).
        c_int = np.zeros((hi - lo, n), np.int64)
        c_sign = np.ones_like(c_int)
        c_e = np.full_like(c_int, _NOTHING)
        infinite = np.zeros(c_int.shape, bool)
        for g in range(0, a.shape[1], length):
            ks = range(g, min(g + length, a.shape[1]))
            exps = [ae[lo:hi, k, None] + ve[k] for k in ks]
            top = c_e
            for e in exps:
                top = np.maximum(top, e)
            if floor is not None:
                top = np.maximum(top, floor)
            c_kept = (c_int << (big_f - 23)) if big_f >= 23 else (c_int >> (23 - big_f))
            total = c_sign * (c_kept >> np.minimum(top - c_e, 63))
            for k, e in zip(ks, exps):
                p = (av[lo:hi, k, None] * vv[k]) << up
                p >>= np.minimum(top - e, 63)
                p *= a_sign[lo:hi, k, None] * v_sign[k]
                total += p
            c_sign = np.where(total < 0, -1, 1)
            mag = np.abs(total)
            unit = top - big_f  # mag has weight 2^unit
            drop = np.maximum(_bit_length(mag) - 24, 0)
            drop = np.maximum(drop, np.where(mag == 0, 0, -149 - unit))
            mag >>= np.minimum(drop, 63)
            zero = mag == 0
            unit = np.where(zero, 0, unit + drop)
            c_e = np.where(zero, _NOTHING,
                           np.maximum(unit + _bit_length(mag) - 1, -126))
            infinite |= c_e >= 128
            # Exact: mag has at most 24 bits, and weight no less than 2^-149.
            c_int = mag << np.where(zero, 0, np.maximum(unit - (c_e - 23), 0))
        value = c_sign * np.ldexp(c_int.astype(np.float64), np.where(c_int == 0, 0, c_e - 23))
        with np.errstate(over="ignore"):
            out[lo:hi] = np.where(infinite | beyond[lo:hi], np.inf, value)
    return out


def certificate(a, v):
    for x in (a, v):
        if not (x == np.rint(x)).all() or (np.abs(x) >= 2 ** 24).any():
            raise Refused("exact: not integers")
    a, v = np.abs(a).astype(np.int64), np.abs(v).astype(np.int64)
    most = max((a * v.max(axis=1, initial=0)).sum(axis=1).max(initial=0), 0)
    if most + a.max(initial=0) + v.max(initial=0) >= 2 ** 24:
        raise Refused("exact: the certificate does not hold")


def exact(a, v):
    # Integers below 2^24 with sums below 2^28: exact in binary64 in any order.
    return (a.astype(np.float64) @ v.astype(np.float64)).astype(np.float32)


FIXED_POINT = "fixed-point-24"
FIXED_POINT_MAX = 0x7F7F7F


def integers(x):
    """Integers of each row of x, and their row's e: x 2^e rounded, e the largest for which no magnitude is too large."""
    x = x.astype(np.float64)
    largest = np.abs(x).max(axis=1, initial=0)
    _, top = np.frexp(largest)  # largest < 2^top: 2^(24 - top) is too much, 2^(22 - top) never
    e = np.full(len(x), -2000, np.int64)
    for log2 in (22 - top, 23 - top):
        fits = np.rint(np.ldexp(largest, log2)) <= FIXED_POINT_MAX
        e = np.where(fits, np.maximum(e, log2), e)
    e = np.where(largest == 0, 0, e)
    # Exact but for the rounding: binary32 times a power of two, in binary64.
    return np.rint(np.ldexp(x, e[:, None])).astype(np.int64), e


def scaled(total, exponent):
    """Integers below 2^63 times 2^exponent, rounded once to binary32."""
    sign, mag = np.where(total < 0, -1, 1), np.abs(total)
    # Exact: two parts below 2^32.
    bits = np.where(mag >> 32 > 0, 32 + _bit_length(mag >> 32), _bit_length(mag & 0xFFFFFFFF))
    drop = np.maximum(np.maximum(bits - 24, -149 - exponent), 0)
    gone = drop > 62  # a sum below half of the smallest subnormal, as it has 63 bits at most, or exactly that: even
    shift = np.where(gone, 1, drop)
    kept = mag >> shift
    rest, half = mag & ((np.int64(1) << shift) - 1), (np.int64(1) << shift) >> 1
    kept += (drop > 0) & ((rest > half) | ((rest == half) & (kept & 1 == 1)))
    # More than half of a last place of 2^63 is possible where drop is 63: only there.
    kept = np.where(gone, (drop == 63) & (mag > np.int64(1) << 62), kept)
    with np.errstate(over="ignore"):
        return (sign * np.ldexp(kept.astype(np.float64), exponent + drop)).astype(np.float32)


def fixed_point(a, v):
    a, e = integers(a)
    v, f = integers(np.ascontiguousarray(v.T))
    if (sum_of_magnitudes(a) + FIXED_POINT_MAX) * FIXED_POINT_MAX >= 2 ** 63:
        raise Refused("fixed-point: the certificate does not hold")
    return scaled(a @ v.T, -(e[:, None] + f))


def sum_of_magnitudes(a):
    """The largest of a row, as a Python integer."""
    return int(np.abs(a).sum(axis=1).max(initial=0))


def reference64(a, v):
    """y_ref of `bounded`."""
    m, n = a.shape[0], v.shape[1]
    out = np.zeros((m, n), np.float64)
    v = v.astype(np.float64)
    for lo, hi in _tiles(m, n):
        part = out[lo:hi]
        for k in range(a.shape[1]):
            part += a[lo:hi, k, None].astype(np.float64) * v[k]
    return out


def within_bound(y, y_ref, a, v, output):
    """Where y keeps the bound, as booleans."""
    q = np.count_nonzero(a, axis=1).astype(np.float64)[:, None]
    u = 2.0 ** -24
    gamma = (q + 1) * u / (1 - (q + 1) * u)
    gamma = np.where((q + 1) * u >= 0.5, np.inf, gamma)
    bound = gamma * reference64(np.abs(a), np.abs(v)) + (q + 1) * 2.0 ** -149
    y = y.astype(np.float64)
    if output != "f32":
        fmt = DTYPES[output]
        _, e = np.frexp(np.maximum(np.abs(y), np.abs(y_ref)))
        bound = bound + np.ldexp(0.5, np.maximum(e - 1, fmt.emin) - (fmt.p - 1))
    return np.abs(y - y_ref) <= bound


class Arithmetic:
    """kind: f32-chain | f32-sliced | tensor-core | exact | fixed-point-24 | bounded."""

    def __init__(self, kind, slices=0, dealt=False, length=0, architecture=None):
        self.kind, self.slices, self.dealt, self.length = kind, slices, dealt, length
        self.architecture = architecture

    @property
    def name(self):
        if self.kind == "f32-sliced":
            return "f32-sliced-%d%s%d" % (self.slices, "by" if self.dealt else "x", self.length)
        if self.kind == "tensor-core":
            return "tensor-core-" + self.architecture
        return self.kind

    @property
    def contract(self):
        return self.kind != "bounded"

    def check(self, a, v, dtype):
        if self.kind == "exact":
            certificate(a, v)
        if self.architecture in INSTRUCTIONS:
            if dtype != "bf16":
                raise Refused("%s multiplies bf16, not %s" % (self.architecture, dtype))
        elif self.kind == "tensor-core" and dtype not in TENSOR_CORE_L[self.architecture]:
            raise Refused("%s has no %s tensor core" % (self.architecture, dtype))

    def compute(self, a, v, dtype, output):
        """Y, output rounding included, as float32 values of the output dtype."""
        if self.kind == "f32-chain":
            y = chain(a, v)
        elif self.kind == "f32-sliced":
            y = sliced(a, v, self.slices, self.dealt, self.length)
        elif self.architecture in INSTRUCTIONS:
            y = (amx_bf16 if self.architecture == "amx-bf16" else avx512_bf16)(a, v)
        elif self.kind == "tensor-core":
            y = tensor_core(a, v, dtype, TENSOR_CORE_F[self.architecture],
                            TENSOR_CORE_L[self.architecture][dtype],
                            TENSOR_CORE_FLOOR.get(self.architecture))
        elif self.kind == "exact":
            y = exact(a, v)
        elif self.kind == FIXED_POINT:
            y = fixed_point(a, v)
        else:
            y = round_to(reference64(a, v), DTYPES["f32"])
        return y + np.float32(0) if y.dtype == np.float32 and output == "f32" \
            else round_to(y, DTYPES[output])
