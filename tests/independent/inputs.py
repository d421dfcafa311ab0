"""Sections 2 and 3: values and pruning."""

import numpy as np

from formats import DTYPES, round_to
from streams import Stream

_CHUNK = 1 << 20


class Refused(Exception):
    """A case or a matrix that the specification refuses."""


def ones(x):
    x = x.astype(np.uint32)
    x = x - ((x >> np.uint32(1)) & np.uint32(0x55555555))
    x = (x & np.uint32(0x33333333)) + ((x >> np.uint32(2)) & np.uint32(0x33333333))
    x = (x + (x >> np.uint32(4))) & np.uint32(0x0F0F0F0F)
    x = x + (x >> np.uint32(8))
    x = x + (x >> np.uint32(16))
    return (x & np.uint32(63)).astype(np.int64)


def _uniform(w):
    return np.ldexp((w >> np.uint32(8)).astype(np.float64) - 2.0 ** 23, -23)


def _heavy_tailed(w):
    w0, w1 = w[0::2], w[1::2]
    low = w1 & np.uint32(0xFFFF)
    lowest = low & (~low + np.uint32(1))
    # The bits under the lowest one are the trailing zeros.
    z = np.where(low == 0, 16, ones(lowest - np.uint32(1)))
    t = np.minimum(8, z // 2)
    s = ones(w1 >> np.uint32(16))
    return np.ldexp((w0 >> np.uint32(8)).astype(np.float64) - 2.0 ** 23, t - s - 19)


def _binomial(w):
    return (ones(w[0::2]) + ones(w[1::2]) - 32).astype(np.float64)


def _ternary(w):
    return (ones(w & np.uint32(3)) - 1).astype(np.float64)


DISTRIBUTIONS = {  # words per element, rule
    "uniform": (1, _uniform),
    "heavy-tailed": (2, _heavy_tailed),
    "binomial": (2, _binomial),
    "ternary": (1, _ternary),
    "wide": (2, _binomial),
}


def values(seed, role, rows, cols, dtype, distribution):
    per, rule = DISTRIBUTIONS[distribution]
    stream = Stream(seed, role, (rows, cols), dtype)
    size = rows * cols
    out = np.empty(size, np.float32)
    for lo in range(0, size, _CHUNK):
        hi = min(size, lo + _CHUNK)
        out[lo:hi] = round_to(rule(stream.words(per * lo, per * hi)), DTYPES[dtype])
    return out.reshape(rows, cols)


def live(count, s):
    # round() of a Fraction is to nearest, ties to even.
    return round(count * (1 - s))


def threshold(s):
    return int(s * 2 ** 32 // 1)


def _row_magnitude(a, s):
    q = np.zeros(a.shape[0], np.float64)
    wide = a.astype(np.float64)
    for k in range(a.shape[1]):
        q = q + wide[:, k] * wide[:, k]
    order = np.argsort(-q, kind="stable")
    return np.isin(np.arange(a.shape[0]), order[live(a.shape[0], s):])[:, None]


def _element_magnitude(a, s):
    order = np.argsort(-np.abs(a.reshape(-1)), kind="stable")
    pruned = np.zeros(a.size, bool)
    pruned[order[live(a.size, s):]] = True
    return pruned.reshape(a.shape)


def _two_of_four(a):
    m, k = a.shape
    groups = np.full((m, -(-k // 4) * 4), -1.0)  # nothing is less than what is beyond the edge
    groups[:, :k] = np.abs(a)
    order = np.argsort(-groups.reshape(m, -1, 4), axis=2, kind="stable")
    pruned = np.argsort(order, axis=2, kind="stable") >= 2
    return pruned.reshape(m, -1)[:, :k]


def power_law_counts(m, k, s):
    """c_r for r = 0 .. m-1."""
    target = live(m * k, s)
    r1 = np.arange(1, m + 1, dtype=np.int64)
    lo, hi = 0, m * k  # C = 0 always serves
    while lo < hi:
        mid = (lo + hi + 1) // 2
        if int(np.minimum(k, mid // r1).sum()) <= target:
            lo = mid
        else:
            hi = mid - 1
    return np.minimum(k, lo // r1)


def prune(a, seed, dtype, pattern, s, distribution):
    """A after section 3. `pattern` is a name, ("block", B) or ("dead-experts", R)."""
    m, k = a.shape
    if not np.isfinite(a).all():
        raise Refused("A holds a NaN or an infinity")

    def stream(role):
        return Stream(seed, role, (m, k), dtype)

    if pattern == "none":
        pruned = np.zeros(a.shape, bool)
    elif pattern == "uniform":
        pruned = (stream("A.mask").words(0, m * k) < np.uint64(threshold(s))).reshape(m, k)
    elif pattern == "row-magnitude":
        pruned = _row_magnitude(a, s)
    elif pattern == "element-magnitude":
        pruned = _element_magnitude(a, s)
    elif pattern == "power-law":
        rank = np.empty(m, np.int64)
        rank[np.argsort(stream("A.rows").words(0, m), kind="stable")] = np.arange(m)
        counts = power_law_counts(m, k, s)[rank]
        limit = ((k - counts) << 32) // k
        w = stream("A.mask").words(0, m * k).reshape(m, k)
        pruned = w < limit.astype(np.uint64)[:, None]
    elif pattern == "two-of-four":
        pruned = _two_of_four(a)
    elif pattern[0] == "block":
        size = pattern[1]
        down, across = -(-m // size), -(-k // size)
        w = stream("A.blocks").words(0, down * across).reshape(down, across)
        gone = w < np.uint64(threshold(s))
        pruned = gone[np.arange(m) // size][:, np.arange(k) // size]
    elif pattern[0] == "dead-experts":
        rows = pattern[1]
        if m % rows:
            raise Refused("%d rows are no experts of %d" % (m, rows))
        order = np.argsort(stream("A.experts").words(0, m // rows), kind="stable")
        dead = np.zeros(m // rows, bool)
        dead[order[live(m // rows, s):]] = True
        pruned = np.repeat(dead, rows)[:, None]
    else:
        raise Refused("unknown pattern %r" % (pattern,))
    a = np.where(pruned, np.float32(0), a)

    if distribution == "wide":
        groups = -(-k // 64)
        w = stream("A.wide").words(0, m * groups).reshape(m, groups)
        large = 2049 + 2 * (w % np.uint32(1024)).astype(np.float64)
        large = round_to(np.where(w >= np.uint32(1 << 31), -large, large), DTYPES[dtype])
        for g in range(groups):
            part = a[:, 64 * g:64 * g + 64]  # a view: the assignment below writes to a
            there = part != 0
            row = np.nonzero(there.any(axis=1))[0]
            part[row, there[row].argmax(axis=1)] = large[row, g]
    return a
