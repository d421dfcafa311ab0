"""Section 6: the perturbation test."""

from collections import namedtuple

import numpy as np

from formats import DTYPES, bits32, decode, digest, encode, round_to
from streams import Stream

Choice = namedtuple("Choice", "i k j a v i2 k2 s order")


def candidates(x, dtype, kind):
    """next(x)."""
    x = np.float32(x)
    if x == 0:
        return np.ones(1, np.float32)
    if kind == "exact":
        return round_to(np.float64(x) + 1, DTYPES[dtype]).reshape(1)
    bits = int(encode(x.reshape(1), dtype)[0])
    width = 32 if dtype == "f32" else 16
    sign, magnitude = bits >> (width - 1) << (width - 1), bits & ((1 << (width - 1)) - 1)
    stored = DTYPES[dtype].p - 1
    steps = [sign | (magnitude + (1 << b)) for b in range(stored)
             if magnitude + (1 << b) < (1 << (width - 1))]
    x = decode(np.array(steps, np.uint32 if width == 32 else np.uint16), dtype)
    return x[np.isfinite(x)]


def changes(after, before):
    """To other bits, all of them finite; a row of `after` at a time."""
    return (bits32(after) != bits32(before)).any(axis=1) & np.isfinite(after).all(axis=1)


class Draws:
    def __init__(self, stream):
        # 3 * 64 + 1 + 64 + 1 draws at most.
        self.words = stream.words(0, 2 * 258).astype(object)
        self.t = 0

    def value(self, t):
        return int(self.words[2 * t] + (self.words[2 * t + 1] << 32))

    def __call__(self):
        self.t += 1
        return self.value(self.t - 1)


def column_order(w):
    """p: column c of V2 is made of column p[c] of V."""
    return np.argsort(w, kind="stable")


def displaced(case, row, k):
    """The column that becomes 0 where column k of a row becomes 1."""
    first = k // 4 * 4
    live = first + np.nonzero(row[first:first + 4])[0]
    return int(live[0]) if case.pattern == "two-of-four" and len(live) == 2 else None


def choose(case, a, v, y, compute, shift_allowed, nonce=None, trace=None):
    """The choice, or None where the test does not apply. `trace` gets the draws and the number of attempts."""
    trace = {} if trace is None else trace
    m, k_size = a.shape
    n = v.shape[1]
    counts = np.count_nonzero(a, axis=1)
    if n == 0 or not counts.any():
        return None
    draw = Draws(Stream(case.seed, "perturb", (m, k_size, n), case.dtype, nonce))
    full_rows = np.nonzero(counts)[0]

    for attempt in range(64):
        trace["attempts"] = attempt + 1
        d1, d2, d3 = draw(), draw(), draw()
        at = np.searchsorted(full_rows, d1 % m)
        i = int(full_rows[at % len(full_rows)])
        columns = np.nonzero(a[i])[0]
        k = int(columns[d2 % len(columns)])
        j = d3 % n

        # All candidates at once: one as a row each for a', one as a column each for v'.
        options = candidates(a[i, k], case.dtype, case.arithmetic.kind)
        rows = np.repeat(a[i:i + 1], len(options), axis=0)
        rows[:, k] = options
        changed = changes(compute(rows, v), y[i]) if len(options) else np.zeros(0, bool)
        if not changed.any():
            continue
        new_a = options[changed.argmax()]

        options = candidates(v[k, j], case.dtype, case.arithmetic.kind)
        cols = np.repeat(v[:, j:j + 1], len(options), axis=1)
        cols[k] = options
        changed = changes(compute(a[i:i + 1], cols).T, y[i, j]) \
            if len(options) else np.zeros(0, bool)
        if not changed.any():
            continue
        new_v = options[changed.argmax()]
        break
    else:
        trace["draws"] = ["%016x" % draw.value(t) for t in range(draw.t)]
        return None

    window = (draw() % m + np.arange(min(256, m))) % m
    empty = window[counts[window] == 0]
    holed = window[(counts[window] < k_size) & (window != i)]
    i2 = int(empty[0]) if len(empty) else int(holed[0]) if len(holed) else None
    k2 = None
    if i2 is not None:
        zeros = np.nonzero(a[i2] == 0)[0]
        for _ in range(64):
            k_try = int(zeros[draw() % len(zeros)])
            row = a[i2:i2 + 1].copy()
            gone = displaced(case, row[0], k_try)
            row[0, k_try] = 1
            if gone is not None:
                row[0, gone] = 0
            if changes(compute(row, v), y[i2])[0]:
                k2 = k_try
                break
        else:
            i2 = None

    s = 1 + draw() % 3 if shift_allowed else (draw(), 0)[1]
    trace["draws"] = ["%016x" % draw.value(t) for t in range(draw.t)]
    w = Stream(case.seed, "perturb.columns", (m, k_size, n), case.dtype, nonce).words(0, n)
    return Choice(i, k, j, new_a, new_v, i2, k2, s, column_order(w))


def run(case, a, v, y, shift_allowed, nonce=None, trace=None):
    """(rebuilt, shifted, broken promises); the digests are None where the test does not apply. `trace` gets what was
    done on the way."""
    def compute(rows, cols):
        return case.arithmetic.compute(rows, cols, case.dtype, case.output)

    trace = {} if trace is None else trace
    c = choose(case, a, v, y, compute, shift_allowed, nonce, trace)
    if c is None:
        return None, None, []
    broken = []

    a1 = a.copy()
    a1[c.i, c.k] = c.a
    gone = None
    if c.i2 is not None:
        gone = displaced(case, a[c.i2], c.k2)
        a1[c.i2, c.k2] = 1
        if gone is not None:
            a1[c.i2, gone] = 0
    y1 = compute(a1, v)
    others = np.ones(a.shape[0], bool)
    others[[c.i] if c.i2 is None else [c.i, c.i2]] = False
    if not np.isfinite(y1).all() or (bits32(y1[others]) != bits32(y[others])).any():
        broken.append("rebuilt")

    v1 = v.copy()
    v1[c.k, c.j] = c.v
    scale = np.float32(-(2.0 ** c.s))
    zero = np.float32(0)
    # In binary64 and back to the dtype: a scaled value that dtype cannot hold would show.
    v2 = round_to(v1[:, c.order].astype(np.float64) * scale, DTYPES[case.dtype])
    if (v2.astype(np.float64) != v1[:, c.order].astype(np.float64) * scale).any():
        broken.append("shifted-inputs")
    y2 = compute(a, v2)
    expected = y[:, c.order] * scale + zero
    free = np.zeros(y.shape, bool)
    # In fixed-point the changed element may move the scale of its column.
    touched = (a != 0).any(axis=1) if case.arithmetic.kind == "fixed-point-24" else a[:, c.k] != 0
    free[np.ix_(touched, c.order == c.j)] = True
    if not np.isfinite(y2).all() or (bits32(y2)[~free] != bits32(expected)[~free]).any():
        broken.append("shifted")
    trace.update(choice=c, displaced=gone, v2=v2, y1=y1, y2=y2)
    return digest(y1, case.output), digest(y2, case.output), broken
