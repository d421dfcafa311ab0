"""Section 1: ChaCha8 word streams keyed by the SHA-256 of a domain string."""

import hashlib

import numpy as np

_BLOCKS = 8192  # blocks per pass: the state then stays in the cache


def domain(seed, role, shape, dtype, nonce=None):
    text = "sparse-verify/1 seed=%d role=%s shape=%s dtype=%s" % (
        seed, role, "x".join(str(d) for d in shape), dtype)
    return text if nonce is None else text + " nonce=" + nonce


def key_of(text):
    return hashlib.sha256(text.encode()).digest()


def _quarter(a, b, c, d):
    for x, y, z, bits in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        x += y
        z ^= x
        high = z >> np.uint32(32 - bits)
        z <<= np.uint32(bits)
        z |= high


def blocks(key, first, count, rounds=8, nonce=0):
    """Words of `count` blocks from block `first`, shape (count, 16)."""
    state = np.empty((16, count), np.uint32)
    state[0:4] = np.frombuffer(b"expand 32-byte k", "<u4")[:, None]
    state[4:12] = np.frombuffer(key, "<u4")[:, None]
    counter = np.arange(first, first + count, dtype=np.uint64)
    state[12] = counter & np.uint64(0xFFFFFFFF)
    state[13] = counter >> np.uint64(32)
    state[14] = nonce & 0xFFFFFFFF
    state[15] = nonce >> 32
    # The four quarter rounds of a round are done at once, a row of the 4x4 state at a time.
    a, b, c, d = (state[4 * r:4 * r + 4].copy() for r in range(4))
    for _ in range(rounds // 2):
        _quarter(a, b, c, d)
        b, c, d = b[[1, 2, 3, 0]], c[[2, 3, 0, 1]], d[[3, 0, 1, 2]]
        _quarter(a, b, c, d)
        b, c, d = b[[3, 0, 1, 2]], c[[2, 3, 0, 1]], d[[1, 2, 3, 0]]
    state += np.concatenate((a, b, c, d))
    return np.ascontiguousarray(state.T)


class Stream:
    def __init__(self, seed, role, shape, dtype, nonce=None):
        self.domain = domain(seed, role, shape, dtype, nonce)
        self.key = key_of(self.domain)

    def words(self, start, stop):
        """w[start], ..., w[stop - 1]."""
        if stop <= start:
            return np.zeros(0, np.uint32)
        first, last = start // 16, -(-stop // 16)
        parts = [blocks(self.key, b, min(_BLOCKS, last - b)).reshape(-1)
                 for b in range(first, last, _BLOCKS)]
        return np.concatenate(parts)[start - 16 * first:stop - 16 * first]
