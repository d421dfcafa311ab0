#!/usr/bin/env python3
"""Section 9: uniform inputs as PyTorch draws them on a device, and as NumPy draws them anywhere. Alone,
it draws the published ones and compares them; with arguments, any others, and prints their digests."""

import hashlib
import re
import sys

import numpy as np

import specification

PREFIX = 4000000
THREADS = 2048  # of a multiprocessor


def known():
    """(title, platform, multiprocessors, [(tensor, elements, first digits)]) of VERIFY.md's table, the uniform ones; seed 42."""
    found = []
    for title, recipe, tensor, digits, _, _ in specification.table("published", "recipe, P"):
        if title:
            kind, platform, multiprocessors = recipe.split(", ")
            found.append((title, platform.lower(), int(multiprocessors), [], kind))
        name, rows, cols = re.match(r"([AV]) (\d+) x (\d+)", tensor).groups()
        found[-1][3].append((name, int(rows) * int(cols), re.sub("[^0-9a-f]", "", digits)))
    return [entry[:4] for entry in found if entry[4] == "uniform"]


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
    def __init__(self, platform, multiprocessors, seed, threads=THREADS):
        self.platform, self.seed, self.offset = platform, seed, 0
        self.blocks = multiprocessors * (threads // 256)

    def draw(self, elements):
        """The tensor's rounds one after the other, each 4W elements but for the last."""
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


class Pcg64:
    """NumPy's default generator, drawing f32, in plain integers."""

    FACTOR, MASK = 0x2360ED051FC65DA44385DF649FCCF645, (1 << 128) - 1

    def __init__(self, seed):
        words = seed_words(seed)
        wide = [(words[i] | words[i + 1] << 32) << 64 | words[i + 2] | words[i + 3] << 32
                for i in (0, 4)]
        self.increment = (wide[1] << 1 | 1) & self.MASK
        self.state = 0
        self.step()
        self.state = (self.state + wide[0]) & self.MASK
        self.step()

    def step(self):
        self.state = (self.state * self.FACTOR + self.increment) & self.MASK

    def word(self):
        self.step()
        folded, turn = (self.state >> 64 ^ self.state) & (1 << 64) - 1, self.state >> 122
        return (folded >> turn | folded << (64 - turn)) & (1 << 64) - 1

    def advance(self, steps):
        """The map x -> factor x + summand, `steps` times: by squaring."""
        factor, summand, all_factor, all_summand = self.FACTOR, self.increment, 1, 0
        while steps:
            if steps & 1:
                all_factor, all_summand = all_factor * factor, all_summand * factor + summand
            factor, summand = factor * factor & self.MASK, (factor + 1) * summand & self.MASK
            steps >>= 1
        self.state = (self.state * all_factor + all_summand) & self.MASK


def seed_words(seed):
    """Eight words of 32 bits."""
    low = 0xFFFFFFFF

    def hasher(constant, factor):
        def hash_word(word):
            nonlocal constant
            word ^= constant
            constant = constant * factor & low
            word = word * constant & low
            return word ^ word >> 16
        return hash_word

    hash_word = hasher(0x43B0D7E5, 0x931E8875)
    pool = [hash_word(word) for word in (seed & low, seed >> 32, 0, 0)]
    for i in range(4):
        for j in range(4):
            if i != j:
                x = (0xCA01F9DD * pool[j] - 0x4973F715 * hash_word(pool[i])) & low
                pool[j] = x ^ x >> 16
    hash_word = hasher(0x8B51F9DD, 0x58F38DED)
    return [hash_word(pool[i % 4]) for i in range(8)]


def numbers(seed, first, count):
    """Numbers `first`, `first + 1`, ... of the generator, one by one."""
    generator, out = Pcg64(seed), []
    generator.advance(first // 2)
    for _ in range((first + count + 1) // 2 - first // 2):
        word = generator.word()
        out += [word & 0xFFFFFFFF, word >> 32]
    out = np.array(out[first % 2:first % 2 + count], np.uint32)
    return (out >> np.uint32(8)).astype(np.float32) * np.float32(2.0 ** -24)


def numpy_v(seed, k, n):
    """By NumPy itself."""
    return np.random.default_rng(seed).random((k, n), dtype=np.float32)


def numpy_a(seed, m, k, s):
    """By NumPy itself: values, then the mask of the same generator. `s` is a float."""
    generator = np.random.default_rng(seed)
    a = generator.random((m, k), dtype=np.float32)
    a[generator.random((m, k), dtype=np.float32) >= np.float32(1.0 - s)] = 0
    a[a < np.float32(1e-6)] = 0
    return a


def numpy_prefix(seed, m, k, s):
    """The first bytes of A, whose mask begins m k numbers later, by NumPy's own way of leaving words out."""
    count = min(PREFIX // 4, m * k)
    assert m * k % 2 == 0  # whole words lie before the mask
    a = np.random.default_rng(seed).random(count, dtype=np.float32)
    ahead = np.random.PCG64(seed)
    ahead.advance(m * k // 2)
    mask = np.random.Generator(ahead).random(count, dtype=np.float32)
    a[(mask >= np.float32(1.0 - s)) | (a < np.float32(1e-6))] = 0
    return hashlib.sha256(a.astype("<f4").tobytes()).hexdigest()


def check_manifest(path):
    """Every A and V of a manifest's claims that says how it was drawn."""
    import yaml
    with open(path, encoding="utf-8") as f:
        root = yaml.load(f, Loader=yaml.CSafeLoader)
    name, known, passed, failed = "numpy-pcg64-uniform", {}, 0, 0
    for claim in root["claims"]:
        case = claim["case"]
        wanted = []
        if "v_recipe" in claim:
            wanted.append(("v", claim["v_recipe"][name]["seed"]))
        if "a_recipe" in claim:
            wanted.append(("a", claim["a_recipe"][name]["seed"]) + tuple(case["shape"]) + (case["sparsity"],))
        for key in wanted:
            if key not in known:
                known[key] = (numpy_prefix(*key[1:]) if key[0] == "a" else
                              hashlib.sha256(numpy_v(key[1], 1, PREFIX // 4).tobytes()).hexdigest())
            good = claim["digests"][key[0]] == known[key]
            passed, failed = passed + good, failed + (not good)
            if not good:
                print("FAIL %s %s %s" % (claim["id"], key[0], known[key]))
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed else 0


def main(arguments):
    if len(arguments) == 2 and arguments[0] == "claims":
        return check_manifest(arguments[1])
    if len(arguments) == 5 and arguments[0] == "numpy":
        seed, m, k, n = map(int, arguments[1:])
        for s in (0.0, 0.3, 0.4, 0.99, 1.0):
            print("%s %s" % (s, hashlib.sha256(numpy_a(seed, m, k, s).tobytes()).hexdigest()))
        print(hashlib.sha256(numpy_v(seed, k, n).tobytes()).hexdigest())
        return 0
    if not arguments:
        passed = failed = 0
        for title, platform, multiprocessors, tensors in known():
            generator = Generator(platform, multiprocessors, 42)
            for name, elements, want in tensors:
                # The prefix lies in the first round; the others only move the offset.
                got, _ = digests([next(generator.draw(elements))])
                good = got.startswith(want)
                passed, failed = passed + good, failed + (not good)
                print("%s %s %s %s" % ("ok" if good else "FAIL", title, name, got))
        print("%d passed, %d failed" % (passed, failed))
        return 1 if failed or not passed else 0
    if len(arguments) < 4:
        sys.exit("usage: published.py [cuda|rocm MULTIPROCESSORS SEED ELEMENTS... | numpy SEED M K N | claims MANIFEST]")
    platform, multiprocessors, seed, *sizes = arguments
    generator = Generator(platform, int(multiprocessors), int(seed))
    for elements in map(int, sizes):
        print("%d %s %s" % ((elements,) + digests(generator.draw(elements))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
