#!/usr/bin/env python3
"""Compares the vectorised rules with slow scalar ones in fractions.Fraction, written word by word
from VERIFY.md, and with published vectors and results worked out by hand."""

import fnmatch
import glob
import hashlib
import json
import math
import os
import random
import re
import sys
import tempfile
from collections import namedtuple
from fractions import Fraction

import numpy as np

import arithmetic
import inputs
import perturb
import published
import specification
import streams
import vectors
import weights
from arithmetic import Arithmetic
from formats import (BF16, DTYPES, F16, F32, TF32, Format, bits32, decode, digest, encode, panels,
                     round_to)

F64 = Format("f64", 53, -1022, 1023)


# Scalar rules.

def floor_log2(x):
    """For a Fraction x > 0."""
    e = x.numerator.bit_length() - x.denominator.bit_length()
    return e if Fraction(2) ** e <= x else e - 1


def rnd(x, fmt):
    """To nearest, ties to even, gradual underflow; 'inf' beyond."""
    if x == 0:
        return Fraction(0)
    unit = Fraction(2) ** (max(floor_log2(abs(x)), fmt.emin) - (fmt.p - 1))
    y = round(x / unit) * unit  # round() of a Fraction: ties to even
    return y if abs(y) < Fraction(2) ** (fmt.emax + 1) else ("inf" if y > 0 else "-inf")


def trunc_to(x, unit):
    sign = -1 if x < 0 else 1
    return sign * (abs(x) // unit) * unit


def slow_chain(a, v):
    y = Fraction(0)
    for x, z in zip(a, v):
        y = rnd(x * z + y, F32)
        if isinstance(y, str):
            return y
    return y


def slow_sliced(a, v, slices, dealt, length):
    parts = [([], []) for _ in range(slices)]
    for k, (x, z) in enumerate(zip(a, v)):
        s = (k // length) % slices if dealt else k // length
        parts[s][0].append(x)
        parts[s][1].append(z)
    ys = [slow_chain(*p) for p in parts]
    y = ys[0]
    for z in ys[1:]:
        y = rnd(y + z, F32)
    return y


def slow_tensor_core(a, v, dtype, f, length, floor):
    fmt = {"f16": F16, "bf16": BF16, "f32": TF32}[dtype]
    a, v = [rnd(x, fmt) for x in a], [rnd(x, fmt) for x in v]

    def exponent(x, e_min):
        return max(floor_log2(abs(x)), e_min)

    c = Fraction(0)
    for g in range(0, len(a), length):
        terms = []
        if c != 0:
            terms.append((c, exponent(c, -126)))
        for x, z in zip(a[g:g + length], v[g:g + length]):
            if x * z != 0:
                terms.append((x * z, exponent(x, fmt.emin) + exponent(z, fmt.emin)))
        if not terms:
            c = Fraction(0)
            continue
        top = max(e for _, e in terms)
        if floor is not None:
            top = max(top, floor)
        total = sum(trunc_to(x, Fraction(2) ** (top - f)) for x, _ in terms)
        if total == 0:
            c = Fraction(0)
            continue
        unit = max(floor_log2(abs(total)) - 23, -149)
        c = trunc_to(total, Fraction(2) ** unit)
        if abs(c) >= Fraction(2) ** 128:
            return "inf" if c > 0 else "-inf"
    return c


TINY = Fraction(2) ** -126


def flushed(x):
    """A subnormal as zero."""
    return x if abs(x) >= TINY else Fraction(0)


def flushed_fma(x, z, y):
    """One rounding to 24 bits with no least exponent, then what is tiny as zero."""
    exact = flushed(x) * flushed(z) + flushed(y)
    return flushed(rnd(exact, Format("f32 without an end", 24, -10 ** 6, 127)))


def slow_avx512_bf16(a, v):
    c = Fraction(0)
    for k in range(0, len(a), 2):
        if k + 1 < len(a):
            c = flushed_fma(a[k + 1], v[k + 1], c)
        c = flushed_fma(a[k], v[k], c)
    return c


def slow_amx_bf16(a, v):
    c = Fraction(0)
    for block in range(0, len(a), 32):
        e = o = Fraction(0)
        for k in range(block, min(block + 32, len(a))):
            if k % 2 == 0:
                e = flushed_fma(a[k], v[k], e)
            else:
                o = flushed_fma(a[k], v[k], o)
        c = flushed_fma(1, c, flushed_fma(1, e, o))
    return c


def slow_words(key, count, rounds=8, first=0, nonce=0):
    mask = 0xFFFFFFFF

    def quarter(x, a, b, c, d):
        for p, q, r, bits in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            x[p] = (x[p] + x[q]) & mask
            x[r] ^= x[p]
            x[r] = ((x[r] << bits) | (x[r] >> (32 - bits))) & mask

    out, block = [], first
    while len(out) < count:
        start = [int.from_bytes(b"expand 32-byte k"[4 * i:4 * i + 4], "little") for i in range(4)]
        start += [int.from_bytes(key[4 * i:4 * i + 4], "little") for i in range(8)]
        start += [block & mask, block >> 32, nonce & mask, nonce >> 32]
        x = list(start)
        for _ in range(rounds // 2):
            for i in range(4):
                quarter(x, i, 4 + i, 8 + i, 12 + i)
            for i in range(4):
                quarter(x, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
        out += [(p + q) & mask for p, q in zip(x, start)]
        block += 1
    return out[:count]


def slow_stream(seed, role, shape, dtype, count):
    text = "sparse-verify/1 seed=%d role=%s shape=%s dtype=%s" % (
        seed, role, "x".join(map(str, shape)), dtype)
    return slow_words(hashlib.sha256(text.encode("ascii")).digest(), count)


def slow_values(w, e, name):
    if name == "uniform":
        return ((w[e] >> 8) - 2 ** 23) * Fraction(2) ** -23
    if name == "ternary":
        return Fraction(bin(w[e] % 4).count("1") - 1)
    w0, w1 = w[2 * e], w[2 * e + 1]
    if name == "heavy-tailed":
        low = w1 % 2 ** 16
        z = 16
        if low:
            z = 0
            while low >> z & 1 == 0:
                z += 1
        t, s = min(8, z // 2), bin(w1 >> 16).count("1")
        return ((w0 >> 8) - 2 ** 23) * Fraction(2) ** (t - s - 19)
    return Fraction(bin(w0).count("1") + bin(w1).count("1") - 32)


def slow_prune(a, m, k, seed, dtype, pattern, s, name):
    """a: rows of Fractions."""
    def live(c):
        return round(c * (1 - s))

    def words(role, count):
        return slow_stream(seed, role, (m, k), dtype, count)

    a = [list(row) for row in a]
    limit = s * 2 ** 32 // 1
    if pattern == "uniform":
        w = words("A.mask", m * k)
        dead = [(i, j) for i in range(m) for j in range(k) if w[i * k + j] < limit]
    elif pattern == "row-magnitude":
        q = []
        for row in a:
            total = Fraction(0)
            for x in row:
                total = rnd(total + x * x, F64)
            q.append(total)
        rows = sorted(range(m), key=lambda i: (-q[i], i))[live(m):]
        dead = [(i, j) for i in rows for j in range(k)]
    elif pattern == "element-magnitude":
        order = sorted(range(m * k), key=lambda e: (-abs(a[e // k][e % k]), e))
        dead = [divmod(e, k) for e in order[live(m * k):]]
    elif pattern == "power-law":
        w = words("A.rows", m)
        order = sorted(range(m), key=lambda i: (w[i], i))
        best = max(c for c in range(m * k + 1)
                   if sum(min(k, c // (r + 1)) for r in range(m)) <= live(m * k))
        mask = words("A.mask", m * k)
        dead = []
        for r, i in enumerate(order):
            c_r = min(k, best // (r + 1))
            dead += [(i, j) for j in range(k) if mask[i * k + j] < 2 ** 32 * (k - c_r) // k]
    elif pattern == "none":
        dead = []
    elif pattern == "two-of-four":
        dead = []
        for i in range(m):
            for first in range(0, k, 4):
                group = range(first, min(first + 4, k))
                dead += [(i, j) for j in sorted(group, key=lambda j: (-abs(a[i][j]), j))[2:]]
    elif pattern[0] == "dead-experts":
        rows = pattern[1]
        w = words("A.experts", m // rows)
        order = sorted(range(m // rows), key=lambda e: (w[e], e))
        dead = [(e * rows + i, j) for e in order[live(m // rows):] for i in range(rows)
                for j in range(k)]
    else:
        size = pattern[1]
        across = -(-k // size)
        w = words("A.blocks", across * -(-m // size))
        dead = [(i, j) for i in range(m) for j in range(k)
                if w[(i // size) * across + j // size] < limit]
    for i, j in dead:
        a[i][j] = Fraction(0)
    if name == "wide":
        groups = -(-k // 64)
        w = words("A.wide", m * groups)
        for i in range(m):
            for g in range(groups):
                for j in range(64 * g, min(k, 64 * g + 64)):
                    if a[i][j] != 0:
                        x = w[i * groups + g]
                        a[i][j] = Fraction((2049 + 2 * (x % 1024)) * (-1 if x >= 2 ** 31 else 1))
                        break
    return a


def slow_perturb(case, a, v, compute):
    """The choice of section 6, an index and a draw at a time."""
    m, k_size, n = len(a), len(a[0]), len(v[0])
    w = slow_stream(case.seed, "perturb", (m, k_size, n), case.dtype, 2 * 258)
    draws = iter(w[2 * t] + 2 ** 32 * w[2 * t + 1] for t in range(258))
    y = compute(a, v)

    def changed(x, z):
        return (bits32(x) != bits32(z)).any()

    def after(x):
        if x == 0:
            return [1.0]
        if case.arithmetic.kind == "exact":
            return [float(x) + 1]
        bits = int(encode(np.array([x]), case.dtype)[0])
        stored = {"f32": 23, "f16": 10, "bf16": 7}[case.dtype]
        steps = [bits + 2 ** b for b in range(stored)]
        top = {"f32": 0x7F800000, "f16": 0x7C00, "bf16": 0x7F80}[case.dtype]
        sign = {"f32": 1 << 31, "f16": 1 << 15, "bf16": 1 << 15}[case.dtype]
        return [float(decode(np.array([b]), case.dtype)[0]) for b in steps if b % sign < top]

    for attempt in range(64):
        d1, d2, d3 = next(draws), next(draws), next(draws)
        i = d1 % m
        while not a[i].any():
            i = (i + 1) % m
        columns = [c for c in range(k_size) if a[i][c] != 0]
        k, j = columns[d2 % len(columns)], d3 % n
        new_a = new_v = None
        for x in after(a[i, k]):
            t = a.copy()
            t[i, k] = x
            if changed(compute(t, v)[i], y[i]):
                new_a = x
                break
        for x in after(v[k, j]):
            t = v.copy()
            t[k, j] = x
            if changed(compute(a, t)[i, j], y[i, j]):
                new_v = x
                break
        if new_a is not None and new_v is not None:
            break
    else:
        return None
    d4 = next(draws)
    near = [(d4 + x) % m for x in range(min(256, m))]
    i2 = k2 = None
    for x in near:
        if not a[x].any():
            i2 = x
            break
    else:
        for x in near:
            if x != i and (a[x] == 0).any():
                i2 = x
                break
    if i2 is not None:
        zeros = [c for c in range(k_size) if a[i2, c] == 0]
        for _ in range(64):
            c = zeros[next(draws) % len(zeros)]
            t = a.copy()
            if case.pattern == "two-of-four":
                group = [x for x in range(k_size) if x // 4 == c // 4 and a[i2, x] != 0]
                if len(group) == 2:
                    t[i2, group[0]] = 0
            t[i2, c] = 1
            if changed(compute(t, v)[i2], y[i2]):
                k2 = c
                break
        else:
            i2 = None
    return i, k, j, new_a, new_v, i2, k2, 1 + next(draws) % 3


# Test data.

def numbers(rng, count, fmt, low, high, special=0.1):
    """Random numbers of fmt with exponents low to high; some zeros, ones and few-bit ones."""
    out = []
    for _ in range(count):
        kind = rng.random()
        if kind < special:
            x = rng.choice([0, 0, 1, -1, 3]) * 2.0 ** rng.randint(low, high)
        else:
            bits = rng.choice([fmt.p, fmt.p, 3])
            x = rng.choice([-1, 1]) * rng.randrange(2 ** (bits - 1), 2 ** bits) \
                * 2.0 ** (rng.randint(low, high) - bits + 1)
        out.append(x)
    x = round_to(np.array(out), fmt)
    return np.where(np.isfinite(x), x, np.float32(1))


def fractions(x):
    return [Fraction(float(t)) for t in x]


def same(fast, slow):
    """A float32 matrix against a scalar rule's results."""
    for i, row in enumerate(slow):
        for j, want in enumerate(row):
            got = float(fast[i, j])
            if isinstance(want, str):
                assert got == float(want), (i, j, got, want)
            else:
                assert np.isfinite(got) and Fraction(got) == want, (i, j, got, want)


def brute(rule, a, v):
    return [[rule(fractions(row), fractions(col)) for col in v.T] for row in a]


# Checks.

def check_chacha():
    rfc = streams.blocks(bytes(range(32)), 1 + (0x09000000 << 32), 1, rounds=20, nonce=0x4A000000)
    assert rfc.astype("<u4").tobytes()[:16].hex() == "10f1e7e4d13b5915500fdd1fa32071c4"
    eight = streams.blocks(bytes(32), 0, 1).astype("<u4").tobytes().hex()
    assert eight.startswith("3e00ef2f895f40d67f5bb8e81f09a5a12c840ec3ce9a7f3b181be188ef711a1e")
    key = hashlib.sha256(b"x").digest()
    for first in (0, 5, 2 ** 32 - 1):
        assert streams.blocks(key, first, 3).reshape(-1).tolist() == slow_words(key, 48, 8, first)
    s = streams.Stream(1, "A.mask", (2, 3), "f32")
    all_words = s.words(0, 200).tolist()
    assert all_words == slow_stream(1, "A.mask", (2, 3), "f32", 200)
    assert s.words(17, 90).tolist() == all_words[17:90]
    big = 16 * 8192 + 40
    assert s.words(big - 60, big).tolist() == s.words(0, big)[big - 60:].tolist()


def check_rounding():
    rng = random.Random(1)
    for fmt in (F32, F16, BF16, TF32):
        tests = []
        for _ in range(3000):
            e = rng.randint(fmt.emin - fmt.p - 3, fmt.emax + 1)
            x = rng.randrange(1, 2 ** (fmt.p + 2)) * Fraction(2) ** (e - fmt.p)
            tests.append(x + rng.choice([-1, 0, 0, 1]) * x / 2 ** 20)
        tests = [Fraction(float(x)) * rng.choice([1, -1]) for x in tests]
        same(round_to(np.array([float(x) for x in tests]), fmt)[None],
             [[rnd(x, fmt) for x in tests]])
    # NumPy's own half precision, and binary32 in hardware, as two more opinions.
    x = np.random.default_rng(1).standard_normal(20000) * 2.0 ** np.arange(-30, 20).repeat(400)
    assert (round_to(x, F16) == x.astype(np.float16).astype(np.float32)).all()
    x = x * 2.0 ** -120
    assert (round_to(x, F32) == x.astype(np.float32)).all()
    assert bits32(round_to(np.array([-1e-60]), F32))[0] == 0


def check_encodings():
    for dtype in ("f16", "bf16"):
        bits = np.arange(65536, dtype=np.uint32)
        x = decode(bits, dtype)
        keep = np.isfinite(x)
        assert (encode(x[keep], dtype) == bits[keep]).all()
    assert encode(np.array([1.0]), "bf16")[0] == 0x3F80
    assert encode(np.array([-2.0]), "f16")[0] == 0xC000
    y = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert digest(y, "f32") == hashlib.sha256(y.tobytes()).hexdigest()
    p = panels(y, "f32")
    empty = hashlib.sha256(b"").hexdigest()[:16]
    # floor(p 3 / 64) steps at p = 22, 43 and 64: the panels before those hold a row each.
    assert [i for i in range(64) if p[i] != empty] == [21, 42, 63]
    assert p[42] == hashlib.sha256(y[1].tobytes()).hexdigest()[:16]


def check_fma():
    """y + a v through a two-step chain: a v is added to an exact y."""
    rng = random.Random(2)
    triples = []
    for _ in range(6000):
        a, v = (float(x) for x in numbers(rng, 2, F32, -70, 40))
        p = Fraction(a) * Fraction(v)
        y = float(numbers(rng, 1, F32, -149, 100)[0])
        if p and rng.random() < 0.7:
            # Near p, near a tie below p, or cancelling it: where double rounding would show.
            e = floor_log2(abs(p)) + rng.choice([-25, -24, -23, 0, 23, 24, 25, 29, 53])
            y = float(round_to(np.array([rng.choice([-1, 1]) * rng.choice(
                [1.0, 1.5, 1 + 2.0 ** -23, 2 - 2.0 ** -23]) * 2.0 ** e]), F32)[0])
        triples.append((a, v, y))
    # By hand: 1 + 2^-24 is a tie, and the least addition must break it although it
    # is far below the last bit of a binary64 sum.
    tiny = 2.0 ** -70
    triples += [(1 + 2.0 ** -23, 2.0 ** -24, 1.0), (2.0 ** -12, 2.0 ** -12, 1.0),
                (tiny, tiny, 1.0), (2.0 ** -75, 2.0 ** -75, 2.0 ** -149),
                (2.0 ** -75, -2.0 ** -75, 2.0 ** -149), (2.0 ** -80, 1.5 * 2.0 ** -70, 0.0),
                (2.0 ** 127, 1.0, 2.0 ** 127)]
    n = len(triples)
    v = np.zeros((2, n), np.float32)
    v[0] = [t[2] for t in triples]
    v[1] = [t[1] for t in triples]
    for i in range(0, n, 500):
        a = np.array([[1.0, t[0]] for t in triples[i:i + 500]], np.float32)
        part = np.array([arithmetic.chain(a[r:r + 1], v[:, i + r:i + r + 1])[0, 0]
                         for r in range(len(a))])
        want = [rnd(Fraction(x) * Fraction(z) + Fraction(y), F32)
                for x, z, y in triples[i:i + 500]]
        same(part[None], [want])
    one = np.array([[1.0, 2.0 ** -60]], np.float32)
    # 2^-24 + 2^-60, in one product: 1 + that rounds up; binary64 alone would lose it.
    tie = np.array([[1.0], [2.0 ** 36]], np.float32)
    assert arithmetic.chain(one, tie)[0, 0] == 1.0
    x = np.array([[1.0, 1 + 2.0 ** -23]], np.float32)
    z = np.array([[1.0], [2.0 ** -24 * (1 - 2.0 ** -24) * (1 + 2.0 ** -23)]], np.float32)
    assert Fraction(float(arithmetic.chain(x, z)[0, 0])) == rnd(
        1 + Fraction(float(x[0, 1])) * Fraction(float(z[1, 0])), F32)


def check_chain_and_slices():
    rng = random.Random(3)
    for trial, (low, high) in enumerate([(-3, 3), (-20, 20), (-76, -70), (-149, 60)]):
        m, k, n = 4, 37, 5
        a = numbers(rng, m * k, F32, low, high, 0.4).reshape(m, k)
        v = numbers(rng, k * n, F32, low, high).reshape(k, n)
        same(arithmetic.chain(a, v), brute(slow_chain, a, v))
        for slices, dealt, length in ((4, False, 10), (5, False, 10), (8, True, 3), (3, True, 1),
                                      (2, True, 64)):
            def rule(x, z):
                return slow_sliced(x, z, slices, dealt, length)
            same(arithmetic.sliced(a, v, slices, dealt, length), brute(rule, a, v))
    for m, n in ((3, 20000), (20000, 1)):  # more than a tile
        a, v = np.ones((m, 3), np.float32), np.arange(3 * n, dtype=np.float32).reshape(3, n)
        assert (arithmetic.chain(a, v) == a @ v).all()


def check_tensor_core():
    rng = random.Random(4)
    for architecture, lengths in arithmetic.TENSOR_CORE_L.items():
        for dtype, length in lengths.items():
            f = arithmetic.TENSOR_CORE_F[architecture]
            floor = arithmetic.TENSOR_CORE_FLOOR.get(architecture)
            fmt = DTYPES[dtype]
            spans = [(-2, 2), (-12, 12), (fmt.emin - fmt.p, fmt.emin + 2),
                     (-24, 7) if dtype == "f16" else (-76, -60)]
            for low, high in spans:
                for k in (length - 1, 3 * length + 1):
                    m, n = 3, 5
                    a = numbers(rng, m * k, fmt, low, high, 0.3).reshape(m, k)
                    v = numbers(rng, k * n, fmt, low, high).reshape(k, n)
                    a[2] = 0
                    # A repeated group with its sign turned: c cancels, or nearly.
                    if k > 2 * length:
                        a[1, length:2 * length] = -a[1, :length]
                        v[length:2 * length] = v[:length]

                    def rule(x, z):
                        return slow_tensor_core(x, z, dtype, f, length, floor)
                    same(arithmetic.tensor_core(a, v, dtype, f, length, floor), brute(rule, a, v))
    # By hand, hopper f16: 1 and 2^-25 in one group: kept to 2^-25, then cut to 24 bits.
    a = np.array([[1.0, 2.0 ** -12]], np.float32)
    v = np.array([[1.0], [2.0 ** -13]], np.float32)
    assert arithmetic.tensor_core(a, v, "f16", 25, 16)[0, 0] == 1.0
    # -1 beside them takes the 1 away, and 2^-25 is what is left.
    a = np.array([[1.0, 2.0 ** -12, -1.0]], np.float32)
    v = np.array([[1.0], [2.0 ** -13], [1.0]], np.float32)
    assert arithmetic.tensor_core(a, v, "f16", 25, 16)[0, 0] == 2.0 ** -25
    assert arithmetic.tensor_core(a, v, "f16", 24, 16)[0, 0] == 0.0
    # Overflow is to an infinity, though each product is finite.
    a = np.full((1, 2), 2.0 ** 63, np.float32)
    v = np.full((2, 1), 2.0 ** 64, np.float32)
    assert arithmetic.tensor_core(a, v, "bf16", 25, 16)[0, 0] == np.inf
    v[1] = -(2.0 ** 63)
    assert arithmetic.tensor_core(a, v, "bf16", 25, 16)[0, 0] == 2.0 ** 126
    # No later group brings it back from there.
    a = np.full((1, 3), 2.0 ** 63, np.float32)
    v = np.array([[2.0 ** 64], [2.0 ** 64], [-(2.0 ** 64)]], np.float32)
    assert arithmetic.tensor_core(a, v, "bf16", 25, 2)[0, 0] == np.inf
    assert arithmetic.tensor_core(a, v, "bf16", 25, 3)[0, 0] == 2.0 ** 127


def check_bf16_instructions():
    rng = random.Random(12)
    rules = ((arithmetic.avx512_bf16, slow_avx512_bf16), (arithmetic.amx_bf16, slow_amx_bf16))
    for fast, slow in rules:
        for low, high in ((-2, 2), (-12, 12), (-76, -60), (-133, -120), (-133, 5), (-66, -60)):
            for k in (1, 2, 31, 33, 66):
                a = numbers(rng, 3 * k, BF16, low, high, 0.3).reshape(3, k)
                v = numbers(rng, k * 5, BF16, low, high).reshape(k, 5)
                if low == -133:
                    v = v * np.float32(2.0 ** 100) if high == -120 else v
                if low == -66:  # 2^-126 and a little less: on both sides of the tie
                    a[:, 0], v[0] = 2.0 ** -63, 2.0 ** -63
                    a[:, -1], v[-1] = -(2.0 ** -75), np.array([1, 1.0078125, 1.5, 2, 0.5]) * 2.0 ** -76
                same(fast(a, v), brute(slow, a, v))
    # By hand: 2^-126 less 2^-151 is a tie and stays, less a little more is flushed.
    for less, kept in ((1, 2.0 ** -126), (1.0078125, 0), (2, 0), (0.5, 2.0 ** -126)):
        a = np.array([[2.0 ** -63, -less * 2.0 ** -75]], np.float32)
        v = np.array([[2.0 ** -63], [2.0 ** -76]], np.float32)
        # The odd product alone would be flushed where it is not added to the even one; turned round it is added last.
        assert arithmetic.avx512_bf16(a[:, ::-1], v[::-1])[0, 0] == kept
        assert arithmetic.avx512_bf16(a, v)[0, 0] == 2.0 ** -126
        # Two chains: the little one is flushed before it meets the other.
        assert arithmetic.amx_bf16(a, v)[0, 0] == 2.0 ** -126
        a, v = np.insert(a, 1, 0, axis=1), np.insert(v, 1, 0, axis=0)
        assert arithmetic.amx_bf16(a, v)[0, 0] == kept


def check_measured():
    """Every dot product of the committed file of a device's tensor cores: what tables and clauses must give, whoever wrote them."""
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "records")
    with open(os.path.join(folder, "h200", "tensor-core-vectors.json"), encoding="utf-8") as f:
        root = json.load(f)
    rule = Arithmetic("tensor-core", architecture=root["architecture"])
    seen = wrong = 0

    def matrix(texts, digits):
        return [" ".join(text[at:at + digits] for at in range(0, len(text), digits)) for text in texts]
    for part in root["sets"]:
        dtype = {"f16": "f16", "bf16": "bf16", "tf32": "f32"}[part["format"]]
        digits = 8 if dtype == "f32" else 4
        a, v = (np.array([vectors.bits_of(row, dtype) for row in matrix(part[name], digits)]) for name in ("a", "v"))
        got = rule.compute(a, np.ascontiguousarray(v.T), dtype, "f32")
        for outputs in part["outputs"]:
            want = np.array([vectors.bits_of(row, "f32") for row in matrix(outputs["y"], 8)]) + np.float32(0)
            alike = (bits32(got) == bits32(want)) | (~np.isfinite(got) & ~np.isfinite(want))
            seen, wrong = seen + alike.size, wrong + int((~alike).sum())
    assert seen == 40 * 256 and wrong == 0, (seen, wrong)
    for path in glob.glob(os.path.join(folder, "cpu", "*-vectors.json")):
        with open(path, encoding="utf-8") as f:
            root = json.load(f)
        rule = Arithmetic("tensor-core", architecture=root["instruction"])
        for part in root["sets"]:
            a, v = (np.array([vectors.bits_of(row, "bf16") for row in matrix(part[name], 4)]) for name in ("a", "v"))
            got = rule.compute(a, np.ascontiguousarray(v.T), "bf16", "f32")
            want = np.array([vectors.bits_of(row, "f32") for row in matrix(part["y"], 8)]) + np.float32(0)
            assert (bits32(got) == bits32(want)).all(), (path, part["name"])


def check_vectors():
    """Dot products of the vectors by the slow rules, with parameters by hand."""
    big_f = {"volta": 23, "turing": 24, "ampere": 24, "ada": 24, "hopper": 25, "blackwell": 25}
    lengths = {"volta": (4,), "turing": (8,), "ampere": (8, 8, 4), "ada": (8, 8, 4), "hopper": (16, 16, 8), "blackwell": (16, 16, 8)}
    checked = 0
    for _, vector in vectors.load():
        if vector["rule"] != "dot":
            continue
        g = vector["given"]
        a, v = (fractions(vectors.bits_of(g[name], g["dtype"])) for name in "av")
        rule = g["arithmetic"]
        if rule == "f32-chain":
            y = slow_chain(a, v)
        elif isinstance(rule, dict) and "f32-sliced" in rule:
            cut = rule["f32-sliced"]
            dealt = "dealt" in cut
            y = slow_sliced(a, v, int(cut["slices"]), dealt, int(cut["dealt" if dealt else "contiguous"]))
        elif isinstance(rule, dict) and rule["tensor-core"] not in arithmetic.INSTRUCTIONS:
            name = rule["tensor-core"]
            length = lengths[name][("f16", "bf16", "f32").index(g["dtype"])]
            try:
                y = slow_tensor_core(a, v, g["dtype"], big_f[name], length, -133 if name == "hopper" else None)
            except TypeError:  # an operand that was rounded to an infinity
                assert vector["id"].startswith("operand-beyond"), vector["id"]
                continue
        else:
            continue
        fmt = DTYPES[g.get("output", "f32")]
        y = y if isinstance(y, str) else rnd(y, fmt)
        want = vector["gives"]["y"]
        assert (want == "not finite") == isinstance(y, str), vector["id"]
        if want != "not finite":
            assert Fraction(float(vectors.bits_of(want, g.get("output", "f32"))[0])) == y, vector["id"]
        checked += 1
    assert checked > 90, checked


def check_specification():
    """Examples that VERIFY.md prints in tables."""
    number = r"([0-9a-f]{4,8}) \((\S+)\)"
    for name, *cells in specification.table("distribution, dtype"):
        values, dtype = re.fullmatch(r"`(\S+)`, (\S+)", name).groups()
        got = inputs.values(42, "A.values", 3, 5, dtype, values).reshape(-1)[:5]
        found = re.findall(number, cells[0])
        assert [int(bits, 16) for bits, _ in found] == encode(got, dtype).tolist(), name
        assert [float(value) for _, value in found] == [float(x) for x in got], name
    rows = specification.table("largest magnitude, its significand", "e", "its integer")
    for text, e, integer in rows:
        significand, scale = (Fraction(2) ** -149, 1) if text.startswith("2^-149") else \
            (int(re.search("0x([0-9a-f]+)", text).group(1), 16), Fraction(2) ** int(re.search(r" 2\^(-?\d+)", text).group(1)))
        got, at = arithmetic.integers(np.array([[float(significand * scale)]], np.float32))
        assert (int(at[0]), int(got[0, 0])) == (int(e), int(integer, 16)), text
    for text, y in specification.table("a, v as encodings", "y"):
        a, v = (np.array([vectors.bits_of(words, "f32")]) for words in text.split(", "))
        assert bits32(arithmetic.fixed_point(a, v.T))[0, 0] == int(y, 16), text
    assert len(rows) == 5


def check_names_of_vectors():
    """Every vector that VERIFY.md names is there, and every file of vectors is named."""
    found = {}
    for name, vector in vectors.load():
        found.setdefault(name, []).append(vector["id"])
    with open(specification.PATH, encoding="utf-8") as f:
        text = f.read()
    named = [(file, part) for file, part in re.findall(r"\*Vectors\* of `([a-z-]+)`: ((?:[^\n]|\n(?!\n))*)", text)]
    for rows in specification.tables():
        heading = re.fullmatch(r"vectors of `([a-z-]+)`", rows[0][-1])
        if heading:
            named += [(heading.group(1), row[-1]) for row in rows[1:]]
    count = 0
    for file, part in named:
        for word in re.findall(r"`([A-Za-z0-9.-]+)`", part):
            ids = fnmatch.filter(found[file], word.replace("..", "*"))
            assert ids, (file, word)
            count += 1
    assert count > 80, count
    for file in found:
        assert re.search(r"[*]Vectors[*][^|]*?`%s`|vectors of `%s`" % (file, file), text), file


def check_fixed_point():
    """Against fractions: the largest scale by trying, one rounding at the end."""
    rng = random.Random(11)

    def integers_of(x):
        x = [Fraction(float(p)) for p in x]
        if not any(x):
            return 0, [0] * len(x)
        # From one that is too large by far: the largest magnitude times 2^e is 2^25 or more there. Python rounds halves to even.
        largest = max(abs(p) for p in x)
        top = math.frexp(float(largest))[1]
        e = next(e for e in range(26 - top, -300, -1) if abs(round(largest * Fraction(2) ** e)) <= 0x7F7F7F)
        return e, [round(p * Fraction(2) ** e) for p in x]

    def rule(x, z):
        (e, x), (f, z) = integers_of(x), integers_of(z)
        return rnd(sum(p * q for p, q in zip(x, z)) * Fraction(2) ** -(e + f), F32)
    for low, high in ((-9, 9), (-149, -100), (-140, -20), (-60, 60), (-3, 1)):
        a = numbers(rng, 5 * 40, F32, low, high, 0.3).reshape(5, 40)
        v = numbers(rng, 40 * 6, F32, low, high).reshape(40, 6)
        a[3], v[:, 2] = 0, 0
        same(arithmetic.fixed_point(a, v), brute(rule, a, v))
    # Sums of more than 53 bits, whose rounding to binary64 first would be another.
    a = np.full((1, 3000), 8355711, np.float32)
    for odd in range(1, 40):
        v = np.full((3000, 1), 8355711, np.float32)
        v[:odd] = odd - 8355711
        same(arithmetic.fixed_point(a, v), brute(rule, a, v))
    # The border: 0xfefefe 2^x is 0x7f7f7f and nothing more, 0xfefeff half more than that.
    for significand, e, integer in ((0xFEFEFE, -1, 0x7F7F7F), (0xFEFEFF, -2, 0x3FBFC0), (0x800000, -1, 0x400000)):
        got, at = arithmetic.integers(np.array([[significand]], np.float32))
        assert (int(got[0, 0]), int(at[0])) == (integer, e), (hex(significand), got, at)
    for total, exponent, bits in ((2 ** 60 + 2 ** 36, -60, 0x3F800000), (2 ** 60 + 2 ** 36 + 1, -60, 0x3F800001),
                                  (2 ** 30, -180, 0), (2 ** 30 + 1, -180, 1), (3 * 2 ** 30, -180, 2),
                                  (2 ** 62, -212, 0), (2 ** 62 + 1, -212, 1), (2 ** 62 + 1, -213, 0),
                                  (1, 128, 0x7F800000), (0xFFFFFF, 104, 0x7F7FFFFF)):
        got = arithmetic.scaled(np.array([total], np.int64), np.array([exponent]))
        assert int(bits32(got)[0]) == bits, (total, exponent, got)


def check_exact_and_bounded():
    rng = random.Random(5)
    a = np.array([[rng.randint(-40, 40) for _ in range(50)] for _ in range(4)], np.float32)
    v = np.array([[rng.randint(-40, 40) for _ in range(6)] for _ in range(50)], np.float32)
    arithmetic.certificate(a, v)
    same(arithmetic.exact(a, v),
         brute(lambda x, z: sum(p * q for p, q in zip(x, z)), a, v))
    # The certificate's edge: |a| |v| + |a| + |v| < 2^24 for one product.
    for x, z, holds in ((4095, 4095, True), (4096, 4095, False), (2 ** 23 - 1, 1, True),
                        (2 ** 23, 1, False), (0.5, 1, False)):
        try:
            arithmetic.certificate(np.array([[x]], np.float32), np.array([[z]], np.float32))
            assert holds, x
        except inputs.Refused:
            assert not holds, x

    a = numbers(rng, 4 * 30, F32, -9, 9, 0.4).reshape(4, 30)
    v = numbers(rng, 30 * 5, F32, -9, 9).reshape(30, 5)
    a[3] = 0

    def reference(x, z):
        y = Fraction(0)
        for p, q in zip(x, z):
            y = rnd(y + p * q, F64)
        return y
    ref = arithmetic.reference64(a, v)
    same(ref, brute(reference, a, v))
    for output in ("f32", "bf16", "f16"):
        fmt = DTYPES[output]
        for scale in (0, 0.9, 1.1, 3):
            for i in range(4):
                q = int(np.count_nonzero(a[i]))
                u = Fraction(1, 2 ** 24)
                gamma = (q + 1) * u / (1 - (q + 1) * u)
                for j in range(5):
                    total = sum(abs(p * z) for p, z in zip(fractions(a[i]), fractions(v[:, j])))
                    bound = gamma * total + (q + 1) * Fraction(2) ** -149
                    y = rnd(Fraction(float(ref[i, j])) + Fraction(scale) * bound, F32)
                    if output != "f32":
                        y = rnd(y, fmt)
                        if isinstance(y, str):
                            continue
                        larger = max(abs(y), abs(Fraction(float(ref[i, j]))))
                        if larger:
                            bound += Fraction(2) ** (max(floor_log2(larger), fmt.emin) - fmt.p)
                    want = abs(y - Fraction(float(ref[i, j]))) <= bound
                    got = arithmetic.within_bound(np.array([[float(y)]], np.float32),
                                                  ref[i:i + 1, j:j + 1], a[i:i + 1],
                                                  v[:, j:j + 1], output)[0, 0]
                    if i < 3:
                        assert got == want, (output, scale, i, j)


def check_values():
    for dtype in DTYPES:
        for name in inputs.DISTRIBUTIONS:
            m, k = 7, 45
            got = inputs.values(9, "A.values", m, k, dtype, name)
            w = slow_stream(9, "A.values", (m, k), dtype, 2 * m * k)
            same(got.reshape(1, -1),
                 [[rnd(slow_values(w, e, name), DTYPES[dtype]) for e in range(m * k)]])
            assert not (bits32(got) == 0x80000000).any()
    # Rare words: no low bit set, every high bit set.
    w = np.array([0xFFFFFFFF, 0x00000000, 0, 0xFFFF0000, 0x80000100, 0x00010001], np.uint32)
    assert inputs._heavy_tailed(w).tolist() == [
        (2.0 ** 23 - 1) * 2.0 ** -11, -2.0 ** -4, 2.0 ** -20]


def check_pruning():
    patterns = ["none", "uniform", "row-magnitude", "element-magnitude", "power-law",
                "two-of-four", ("block", 4), ("block", 32)]
    for m, k in ((13, 70), (9, 4), (1, 1), (40, 130)):
        for name in ("heavy-tailed", "binomial", "wide"):  # binomial: many equal magnitudes
            for dtype in ("f32",) if name == "wide" else ("f32", "bf16"):
                raw = inputs.values(3, "A.values", m, k, dtype, name)
                slow_raw = [fractions(row) for row in raw]
                stacks = [("dead-experts", rows) for rows in range(1, m + 1) if m % rows == 0]
                for pattern in patterns + stacks:
                    for s in (Fraction("0.5"), Fraction("0.875"), Fraction("0.995")):
                        same(inputs.prune(raw, 3, dtype, pattern, s, name),
                             slow_prune(slow_raw, m, k, 3, dtype, pattern, s, name))
    try:
        inputs.prune(raw, 3, dtype, ("dead-experts", 3), Fraction(1, 2), name)
        assert False, "40 rows are no experts of 3"
    except inputs.Refused:
        pass
    # The vector of VERIFY.md: 8 experts of 2 rows, two of which live.
    ones = inputs.prune(np.ones((16, 3), np.float32), 42, "f32", ("dead-experts", 2),
                        Fraction("0.75"), "uniform")
    assert np.flatnonzero(ones.any(axis=1)).tolist() == [0, 1, 8, 9]
    assert inputs.live(5, Fraction("0.5")) == 2 and inputs.live(7, Fraction("0.5")) == 4
    assert inputs.threshold(Fraction("0.7")) == 3006477107
    assert inputs.threshold(Fraction(1)) == 2 ** 32
    # m = 3, k = 4, 6 live: C = 4 gives 4 + 2 + 1 = 7, C = 3 gives 3 + 1 + 1 = 5.
    assert inputs.power_law_counts(3, 4, Fraction(1, 2)).tolist() == [3, 1, 1]


Small = namedtuple("Small", "seed dtype output arithmetic pattern")


def check_perturbation():
    rules = [Arithmetic("f32-chain"), Arithmetic("f32-sliced", slices=3, dealt=True, length=2),
             Arithmetic("tensor-core", architecture="hopper"),
             Arithmetic("tensor-core", architecture="amx-bf16"), Arithmetic("tensor-core", architecture="avx512-bf16"),
             Arithmetic("exact"), Arithmetic("fixed-point-24")]
    found = none = gone = 0
    for rule in rules:
        for dtype in ("bf16",) if rule.architecture in arithmetic.INSTRUCTIONS else ("f32", "bf16", "f16"):
            for output in {"f32", dtype}:
                for seed in range(4):
                    m, k, n = [(6, 9, 5), (1, 3, 2), (5, 17, 1), (12, 20, 4)][seed]
                    name = "binomial" if rule.kind == "exact" else "heavy-tailed"
                    pattern = ["two-of-four", "uniform", "uniform", "two-of-four"][seed]
                    case = Small(seed, dtype, output, rule, pattern)
                    a = inputs.values(seed, "A.values", m, k, dtype, name)
                    s = Fraction(9, 10) if seed == 3 else Fraction(1, 2) * (seed != 1)
                    a = inputs.prune(a, seed, dtype, "uniform", s, name)
                    if pattern == "two-of-four":
                        a = inputs.prune(a, seed, dtype, pattern, s, name)
                    v = inputs.values(seed, "V.values", k, n, dtype, name)

                    def compute(x, z):
                        return rule.compute(x, z, dtype, output)
                    y = compute(a, v)
                    fast = perturb.choose(case, a, v, y, compute, True)
                    slow = slow_perturb(case, a, v, compute)
                    if slow is None:
                        assert fast is None
                        continue
                    assert slow == (fast.i, fast.k, fast.j, float(fast.a), float(fast.v),
                                    fast.i2, fast.k2, fast.s), (fast, slow)
                    found += 1
                    none += fast.i2 is None
                    y1, y2, broken = perturb.run(case, a, v, y, "f16" not in (dtype, output))
                    assert not broken and y1 and y2, broken
                    assert y1 != digest(y, output)
                    if pattern == "two-of-four" and fast.i2 is not None:
                        gone += perturb.displaced(case, a[fast.i2], fast.k2) is not None
    assert found > 30 and none > 0 and gone > 0, (found, none, gone)
    case = Small(1, "f32", "f32", rules[0], "uniform")
    zero = np.zeros((2, 3), np.float32)
    assert perturb.run(case, zero, zero.T, zero[:, :2], True) == (None, None, [])


def check_candidates():
    one = perturb.candidates(1.0, "bf16", "f32-chain").tolist()
    assert one == [1 + 2.0 ** (b - 7) for b in range(7)]
    top = perturb.candidates(-65504.0, "f16", "f32-chain").tolist()
    assert top == []
    assert perturb.candidates(-65472.0, "f16", "f32-chain").tolist() == [-65504.0]
    assert perturb.candidates(-1.0, "f32", "exact").tolist() == [0.0]
    assert perturb.candidates(0.0, "f32", "f32-chain").tolist() == [1.0]
    assert len(perturb.candidates(1e-45, "f32", "f32-chain")) == 23


def check_published_uniform():
    # The known answers of Random123 (kat_vectors).
    for counter, key, words in (
            ((0,) * 4, (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
            ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
            ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0),
             "d16cfe09 94fdcceb 5001e420 24126ea1")):
        got = published.philox([[c] * 2 for c in counter], key)
        assert all(" ".join("%08x" % w for w in got[:, i]) == words for i in (0, 1))

    def slow(platform, word):
        x = rnd(Fraction(word), F32) / 2 ** 32
        x = rnd(x + Fraction(1, 2 ** (33 if platform == "cuda" else 32)), F32)
        return Fraction(0) if x == 1 else x

    # Elements of tensors one after the other, by their index alone.
    for platform, multiprocessors, seed in (("cuda", 1, 2 ** 63 + 5), ("rocm", 3, 42)):
        generator = published.Generator(platform, multiprocessors, seed)
        offset = 0
        for elements in (1, 255, 257, 8192, 8193, 0, 30000):
            got = list(generator.draw(elements))
            got = np.concatenate(got) if got else np.zeros(0, np.float32)
            assert got.shape == (elements,)
            threads = 256 * min(multiprocessors * 8, (elements + 255) // 256)
            for i in sorted({0, 1, elements // 2, elements - 2, elements - 1} & set(range(elements))):
                call = offset // 4 + i // (4 * threads)
                words = published.philox([[call], [0], [i % threads], [0]],
                                         (seed % 2 ** 32, seed // 2 ** 32))[:, 0]
                word = int(words[i % (4 * threads) // threads])
                assert Fraction(float(got[i])) == slow(platform, word), (platform, elements, i)
            offset += 4 * ((elements + 4 * threads - 1) // (4 * threads)) if elements else 0
            assert generator.offset == offset
    edge = np.array([0, 1, 2 ** 24 + 1, 2 ** 31, 2 ** 32 - 129, 2 ** 32 - 128, 2 ** 32 - 1], np.uint32)
    for platform in ("cuda", "rocm"):
        got = published.element(edge, platform)
        assert [Fraction(float(x)) for x in got] == [slow(platform, int(w)) for w in edge]
        assert got[-1] == 0 and got[-3] == 1 - 2.0 ** -24


def check_numpy_uniform():
    """The generator in plain integers against NumPy itself, and the recipe against it."""
    for seed in (0, 1, 123456, 2 ** 32 - 1, 2 ** 32, 2 ** 64 - 1):
        words = np.random.SeedSequence(seed).generate_state(8)
        assert published.seed_words(seed) == [int(w) for w in words]
        theirs, ours = np.random.PCG64(seed), published.Pcg64(seed)
        assert (theirs.state["state"]["state"], theirs.state["state"]["inc"]) == (ours.state, ours.increment)
        assert [ours.word() for _ in range(9)] == [int(w) for w in theirs.random_raw(9)]
        theirs.advance(10 ** 30 + 7)
        ours.advance(10 ** 30 + 7)
        assert ours.word() == int(theirs.random_raw())
        for first, count in ((0, 9), (1, 8), (4, 1), (5, 1), (7, 0)):
            want = np.random.default_rng(seed).random(16, dtype=np.float32)[first:first + count]
            assert (published.numbers(seed, first, count) == want).all()
    # Tensors of odd sizes, and what is compared in which precision.
    for seed, m, k in ((123456, 5, 7), (3, 4, 6)):
        both = np.random.default_rng(seed)
        base = both.random((m, k), dtype=np.float32)
        mask = both.random((m, k), dtype=np.float32)
        drawn = published.numbers(seed, 0, 2 * m * k)
        assert (np.concatenate([base.ravel(), mask.ravel()]) == drawn).all()
        for s in (0.0, 0.3, 0.4, 0.95, 1.0):
            kept = mask < (1.0 - s)  # a Python float beside f32: NumPy compares in f32
            assert (kept == (mask < np.float32(1.0 - s))).all()
            want = np.where(kept & (base >= 1e-6), base, 0)
            assert (published.numpy_a(seed, m, k, s) == want).all()
            # And where it would matter: the limit itself.
            edge = np.array([np.float32(1.0 - s)])
            assert not (edge < (1.0 - s))[0]
    a = published.numpy_a(123456, 30, 20, 0.5)
    assert hashlib.sha256(a.tobytes()).hexdigest() == published.numpy_prefix(123456, 30, 20, 0.5)


def check_manifest():
    import manifest
    for s, want in (("0.7", "70"), ("0.80", "80"), ("0.995", "99.5"), ("0.9999", "99.99"),
                    ("0.05", "5"), ("0.005", "0.5"), ("1", "100"), ("0", "0")):
        assert manifest.percent(Fraction(s)) == want, s
    text = """
format: sparse-verify/2
sections:
  - name: a
    seed: 42
    weights: {synthetic: wide}
    layers: [{name: up, shape: [4, 6]}]
    patterns: [none, uniform, {block: 32}]
    sparsity: [0.7, 0.80]
    batch: [1, 8]
    dtype: bf16
    output: bf16
    arithmetic: [f32-chain, {f32-sliced: {slices: 4, contiguous: 24}},
                 {f32-sliced: {slices: 8, dealt: 8}}, {tensor-core: hopper}, exact, bounded]
"""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "m.yaml")
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        _, cases = manifest.load(path)
    ids = {c.id for c in cases}
    assert len(cases) == len(ids) == (1 + 2 + 2) * 2 * 6
    assert {"a/up/none/b1/bf16-to-bf16/exact", "a/up/block32-80/b8/bf16-to-bf16/f32-sliced-4x24",
            "a/up/uniform-70/b8/bf16-to-bf16/f32-sliced-8by8",
            "a/up/uniform-80/b1/bf16-to-bf16/tensor-core-hopper"} <= ids
    assert cases[0].activations == "ternary" and cases[-1].s == Fraction("0.8")


def check_safetensors():
    x = np.array([[1.5, -2.0, 0.0], [2.0 ** -14, -0.0, 3.0]], np.float32)
    raws = {"F32": x.tobytes(), "F16": x.astype(np.float16).tobytes(),
            "BF16": encode(x, "bf16").tobytes()}
    header, data = {"__metadata__": {"by": "hand"}}, b""
    for name, raw in raws.items():
        header[name.lower()] = {"dtype": name, "shape": [2, 3],
                                "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.safetensors")
        with open(path, "wb") as f:
            f.write(len(head).to_bytes(8, "little") + head + data)
        for name in raws:
            got = weights.read(path, name.lower(), hashlib.sha256(raws[name]).hexdigest())
            assert (got == x).all() and got.shape == (2, 3)
        good = {"hub": "org/name", "file": "model.safetensors",
                "sha256": weights.sha256_of(path)}
        assert weights.find(good, ".", folder) == path == weights.find(good, ".", path)
        for bad in (dict(good, sha256="0" * 64), dict(good, file="other.safetensors")):
            try:
                weights.find(bad, folder, folder)
                raise RuntimeError("a wrong file was taken")
            except inputs.Refused:
                pass
        try:
            weights.read(path, "f32", "0" * 64)
            raise RuntimeError("a wrong tensor was taken")
        except inputs.Refused:
            pass


def check_stored_matrices():
    """Each element by its own rule, spelt out: formats from their definitions, layouts from their indices."""
    def number(code, exponent_bits, mantissa_bits, bias):
        sign, rest = divmod(code, 1 << (exponent_bits + mantissa_bits))
        exponent, mantissa = divmod(rest, 1 << mantissa_bits)
        value = Fraction(mantissa, 1 << mantissa_bits) + (1 if exponent else 0)
        value *= Fraction(2) ** (max(exponent, 1) - bias)
        return -value if sign else value

    def write(folder, **tensors):
        header, data = {}, b""
        for name, (kind, shape, raw) in tensors.items():
            header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
            data += raw
        head = json.dumps(header).encode()
        path = os.path.join(folder, "w.safetensors")
        with open(path, "wb") as f:
            f.write(len(head).to_bytes(8, "little") + head + data)
        return path

    def refused(*words):
        try:
            weights.read(*words)
        except inputs.Refused:
            return True
        return False

    with tempfile.TemporaryDirectory() as folder:
        for kind, bits, nan in (("F8_E4M3", (4, 3, 7), lambda c: c % 128 == 127),
                                ("F8_E5M2", (5, 2, 15), lambda c: c % 128 >= 124)):
            good = [c for c in range(256) if not nan(c)]
            path = write(folder, w=(kind, [1, len(good)], bytes(good)))
            got = weights.read(path, "w")[0]
            assert [Fraction(float(x)) for x in got] == [number(c, *bits) for c in good]
            for code in set(range(256)) - set(good):
                assert refused(write(folder, w=(kind, [1, 1], bytes([code]))), "w")
        # Two matrices of 3 x 64 in blocks.
        codes = [(7 * i + i // 5) % 16 for i in range(2 * 3 * 64)]
        raw = bytes(codes[i] + 16 * codes[i + 1] for i in range(0, len(codes), 2))
        powers = [120 + i for i in range(12)]
        path = write(folder, w=("U8", [2, 3, 2, 16], raw), s=("U8", [2, 3, 2], bytes(powers)))
        for expert in (0, 1):
            for transposed in ("false", "true"):
                layer = {"scales": "s", "expert": str(expert), "transposed": transposed, "rows": ["1", "3"]}
                got = weights.read(path, "w", None, layer)
                assert got.shape == ((2, 3) if transposed == "true" else (2, 64))
                for i, j in np.ndindex(got.shape):
                    row, column = (j, i + 1) if transposed == "true" else (i + 1, j)
                    at = (expert * 3 + row) * 64 + column
                    want = number(codes[at], 2, 1, 1) * Fraction(2) ** (powers[at // 32] - 127)
                    assert Fraction(float(got[i, j])) == want
        assert refused(path, "w") and refused(path, "w", None, {"scales": "s"})
        assert refused(path, "w", None, {"scales": "s", "expert": "2"})
        assert refused(path, "w", None, {"scales": "s", "expert": "0", "rows": ["1", "4"]})
        digest = hashlib.sha256(bytes(powers)).hexdigest()
        layer = {"scales": {"tensor": "s", "sha256": digest}, "expert": "0"}
        assert weights.read(path, "w", hashlib.sha256(raw).hexdigest(), layer).shape == (3, 64)
        assert refused(path, "w", None, {"scales": {"tensor": "s", "sha256": "0" * 64}, "expert": "0"})
        # Blocks of 128 x 128, the last ones begun; rows; one.
        ones = bytes([0x38]) * (130 * 260)
        for shape, want in (([2, 3], lambda i, j: 1 + i // 128 * 3 + j // 128), ([130, 1], lambda i, j: 1 + i),
                            ([130], lambda i, j: 1 + i), ([1], lambda i, j: 1), ([], lambda i, j: 1)):
            scales = np.arange(1, 1 + int(np.prod(shape)), dtype="<f4").tobytes()
            path = write(folder, w=("F8_E4M3", [130, 260], ones), s=("F32", shape, scales))
            got = weights.read(path, "w", None, {"scales": "s"})
            assert all(got[i, j] == want(i, j) for i, j in np.ndindex(got.shape))
        scale = np.float32(1.0000001).tobytes()
        assert refused(write(folder, w=("F8_E4M3", [1, 1], b"\x3a"), s=("F32", [], scale)), "w", None, {"scales": "s"})
    for name in ("m.safetensors.index.json", "a/m.safetensors.fp16.index.json", "m.safetensors.index.fp16.json"):
        assert weights.is_index(name)
    for name in ("m.safetensors", "m.index.json", "m.safetensors.json", "m.safetensors.a.b.index.json"):
        assert not weights.is_index(name)


def check_end_to_end():
    """The command itself, on real weights: a good file passes, a changed digit is named."""
    import contextlib
    import io
    import verify
    raw = inputs.values(1, "A.values", 70, 40, "f32", "heavy-tailed")
    raw[0, 0] = 2.0 ** -61  # outside [2^-60, 2^60]: s = 0
    head = json.dumps({"t": {"dtype": "F32", "shape": [70, 40],
                             "data_offsets": [0, raw.nbytes]}}).encode()
    rules = "[f32-chain, {tensor-core: ampere}, bounded]"

    def command(*words):
        out, argv = io.StringIO(), sys.argv
        sys.argv = ["verify.py"] + list(words)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
                code = verify.main()
        finally:
            sys.argv = argv
        return code, out.getvalue()

    with tempfile.TemporaryDirectory() as folder:
        blob = len(head).to_bytes(8, "little") + head + raw.tobytes()
        manifest, expected = (os.path.join(folder, x) for x in ("m.yaml", "e.yaml"))
        with open(os.path.join(folder, "w.safetensors"), "wb") as f:
            f.write(blob)
        with open(manifest, "w", encoding="utf-8") as f:
            f.write("format: sparse-verify/2\nsections:\n  - name: r\n    seed: 5\n"
                    "    weights: {hub: o/n, revision: x, file: w.safetensors, sha256: %s}\n"
                    "    layers: [{name: l, tensor: t, shape: [70, 40]}]\n"
                    "    patterns: element-magnitude\n    sparsity: 0.75\n    batch: 6\n"
                    "    dtype: [f32, bf16]\n    arithmetic: %s\n"
                    % (hashlib.sha256(blob).hexdigest(), rules))
        code, text = command("--print", manifest, "--weights", folder)
        assert code == 0, text
        lines = []
        for line in text.splitlines():
            lines.append(line)
            if line.startswith("    dense: "):
                lines.append(line.replace("dense", "operator"))

        def compare(*changes):
            body = "\n".join(lines)
            for old, new in changes:
                assert old in body
                body = body.replace(old, new, 1)
            with open(expected, "w", encoding="utf-8") as f:
                f.write(body + "\n")
            return command(manifest, expected)
        code, text = compare()
        assert code == 0 and text.endswith("6 passed, 0 failed\n"), text
        for name in ("a", "v", "dense", "operator", "rebuilt", "shifted"):
            line = next(x for x in lines if x.startswith("    %s: " % name))
            code, text = compare((line, "    %s: %s" % (name, "0" * 64)))
            assert code == 1, text
            assert "FAIL r/l/element-magnitude-75/b6/f32/f32-chain %s " % name in text, text
            assert text.endswith("5 passed, 1 failed\n"), text
        assert command(manifest, expected, "--case", "nothing")[0] == 1
        with open(os.path.join(folder, "w.safetensors"), "ab") as f:
            f.write(b"x")
        code, text = compare()
        assert code == 1 and text.endswith("0 passed, 6 failed\n"), text


def main():
    np.seterr(all="ignore")
    passed = failed = 0
    for name, check in sorted(globals().items()):
        if name.startswith("check_"):
            try:
                check()
                passed += 1
                print("ok %s" % name[6:])
            except Exception as why:  # a broken check must not hide the ones after it
                failed += 1
                line = why.__traceback__
                while line.tb_next:
                    line = line.tb_next
                print("FAIL %s line %d: %s %s" % (name[6:], line.tb_lineno,
                                                  type(why).__name__, why))
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
