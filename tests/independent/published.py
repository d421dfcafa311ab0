#!/usr/bin/env python3
"""Section 9: uniform inputs as PyTorch draws them on a device. Alone, it draws the published ones
and compares them; with arguments, any others, and prints their digests."""

import hashlib
import sys

import numpy as np

PREFIX = 4000000
THREADS = 2048  # of a multiprocessor

# Title, platform, multiprocessors; seed 42, A 10000 x 10000, then V 10000 x 2500; published digits.
KNOWN = [("H200", "cuda", 132, "b2687223", "f8b47533"),
         ("B200", "cuda", 148, "6764dac0", "eabab8fa"),
         ("MI300X", "rocm", 304, "76252923", "7f9f717a")]


def philox(counter, key):
    """Four words for each column of the counters, shape (4, count)."""
    c = [np.asarray(x, np.uint64) for x in counter]
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    k0, k1 = key
    for _ in range(10):
        p0, p2 = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [(p2 >> half) ^ c[1] ^ np.uint64(k0), p2 & low,
             (p0 >> half) ^ c[3] ^ np.uint64(k1), p0 & low]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack(c).astype(np.uint32)


def element(words, platform):
    x = words.astype(np.float32) * np.float32(2.0 ** -32)
    x = x + np.float32(2.0 ** (-33 if platform == "cuda" else -32))
    assert x.dtype == np.float32
    return np.where(x == 1, np.float32(0), x)


class Generator:
    def __init__(self, platform, multiprocessors, seed):
        self.platform, self.seed, self.offset = platform, seed, 0
        self.blocks = multiprocessors * (THREADS // 256)

    def draw(self, elements):
        """The tensor's rounds one after the other, each 4T elements but for the last."""
        threads = 256 * min(self.blocks, -(-elements // 256))
        rounds = -(-elements // (4 * threads)) if elements else 0
        first = self.offset // 4
        self.offset += 4 * rounds
        return (self._round(first + r, threads)[:elements - 4 * threads * r]
                for r in range(rounds))

    def _round(self, call, threads):
        t = np.arange(threads, dtype=np.uint64)
        counter = (np.full(threads, call & 0xFFFFFFFF, np.uint64),
                   np.full(threads, call >> 32, np.uint64), t, np.zeros(threads, np.uint64))
        words = philox(counter, (self.seed & 0xFFFFFFFF, self.seed >> 32))
        return element(words, self.platform).reshape(-1)


def digests(rounds):
    """Of the first PREFIX bytes, and of all."""
    prefix, whole, left = hashlib.sha256(), hashlib.sha256(), PREFIX
    for x in rounds:
        data = x.astype("<f4").tobytes()
        prefix.update(data[:left])
        left = max(left - len(data), 0)
        whole.update(data)
    return prefix.hexdigest(), whole.hexdigest()


def main(arguments):
    if not arguments:
        failed = 0
        for title, platform, multiprocessors, *published in KNOWN:
            generator = Generator(platform, multiprocessors, 42)
            for name, elements, want in zip("AV", (10 ** 8, 25 * 10 ** 6), published):
                # The prefix lies in the first round; the others only move the offset.
                got, _ = digests([next(generator.draw(elements))])
                failed += not got.startswith(want)
                print("%s %s %s %s" % ("ok" if got.startswith(want) else "FAIL", title, name, got))
        print("%d passed, %d failed" % (2 * len(KNOWN) - failed, failed))
        return 1 if failed else 0
    if len(arguments) < 4:
        sys.exit("usage: published.py [cuda|rocm MULTIPROCESSORS SEED ELEMENTS...]")
    platform, multiprocessors, seed, *sizes = arguments
    generator = Generator(platform, int(multiprocessors), int(seed))
    for elements in map(int, sizes):
        print("%d %s %s" % ((elements,) + digests(generator.draw(elements))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
