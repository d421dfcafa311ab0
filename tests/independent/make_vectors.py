#!/usr/bin/env python3
"""Writes tests/vectors/*.json: the definitions of the vectors, and what this implementation gives for them.

    make_vectors.py            compares the committed files with what would be written
    make_vectors.py --write    writes them

A result that was worked out by hand is written beside its definition (`hand`), and must be what the implementation
gives. Of every other vector `from` says which other source has the same.
"""

import json
import os
import sys
import time

import numpy as np

import arithmetic
import vectors
from formats import DTYPES, round_to
from vectors import text_of

FILES = {}
# Row of A and column of V of a measured element that tells a least E of -132 from -133.
FLOOR_AT = (9, 7)


def file(name, about):
    FILES[name] = (about, [])
    return FILES[name][1]


def add(into, name, rule, clause, given, hand=None, other=None):
    """A vector; `hand` is what it gives in part or whole: by hand, or from the source that `other` names."""
    got = vectors.RULES[rule](given)
    if hand is not None:
        for key, want in hand.items():
            assert got[key] == want, (name, key, got[key], want)
    entry = {"id": name, "rule": rule, "clause": clause, "given": given, "gives": got}
    if other is not None:
        entry["from"] = other
    elif hand is not None:
        entry["by_hand"] = sorted(hand)
    into.append(entry)
    return got


def hexes(values, dtype="f32"):
    """Encodings of numbers of the dtype, exactly."""
    x = round_to(np.array(values, np.float64), DTYPES[dtype])
    assert (x.astype(np.float64) == np.array(values, np.float64)).all(), values
    return text_of(x, dtype)


def rows(values, dtype="f32"):
    return {"shape": [len(values), len(values[0])], "rows": [hexes(row, dtype) for row in values]}


def p2(e):
    return 2.0 ** e


def bits32(x):
    return hexes([x])


# Section 4.

def chains():
    into = file("chains", "Section 4: f32-chain and f32-sliced.")

    def dot(name, clause, rule, a, v, y, dtype="f32", output="f32"):
        given = {"arithmetic": rule, "dtype": dtype, "output": output, "a": hexes(a, dtype), "v": hexes(v, dtype)}
        add(into, name, "dot", clause, given, {"y": y if isinstance(y, str) else hexes([y], output)})

    dot("one-rounding", "A product and its sum are rounded once: 1 + 2^-24 + 2^-60 is above the tie. (2^36 + 1 = 4097 16773121.)",
        "f32-chain", [1, 4097 * p2(-30)], [1, 16773121 * p2(-30)], 1 + p2(-23))
    one = 1 + p2(-23)
    dot("one-rounding-not-two", "(1 + 2^-23)^2 is 1 + 2^-22 + 2^-46; its sum with -1 - 2^-22 is 2^-46.", "f32-chain",
        [1, one], [-1 - p2(-22), one], p2(-46))
    dot("ties-to-even", "1 + 2^-24 is a tie and becomes 1.", "f32-chain", [1, p2(-12)], [1, p2(-12)], 1.0)
    dot("ties-to-even-up", "1 + 2^-23 + 2^-24 is a tie and becomes 1 + 2^-22.", "f32-chain",
        [1, p2(-12)], [one, p2(-12)], 1 + p2(-22))
    dot("ascending-h", "2^24 + 1 - 2^24 in this order is 0, in any other 1.", "f32-chain",
        [p2(24), 1, -p2(24)], [1, 1, 1], 0.0)
    dot("subnormal", "No flush to zero: 2^-100 2^-49 is the smallest subnormal.", "f32-chain", [p2(-100)], [p2(-49)],
        "00000001")
    dot("subnormal-tie", "2^-150 is a tie and becomes 0, 3 2^-150 becomes 2^-148.", "f32-chain", [p2(-100)], [p2(-50)],
        "00000000")
    dot("subnormal-operand", "A subnormal operand counts: 2^-149 2^149 is 1.", "f32-chain", [p2(-149)], [p2(100)],
        p2(-49))
    dot("minus-zero", "-2^-200 is rounded to -0, and -0 becomes +0.", "f32-chain", [-p2(-100)], [p2(-100)], "00000000")
    dot("k-0", "With k = 0 y is +0.", "f32-chain", [], [], "00000000")
    dot("not-finite", "2^127 + 2^127 is beyond binary32.", "f32-chain", [p2(127), p2(127)], [1, 1], "not finite")
    dot("not-finite-for-good", "What is no longer finite stays so.", "f32-chain", [p2(127), p2(127), -p2(127)], [1, 1, 1],
        "not finite")
    dot("largest", "2^128 - 2^104 is the largest number, and 2^102 more, which is less than half, leaves it.", "f32-chain",
        [1, p2(51)], [(2 - p2(-23)) * p2(127), p2(51)], "7f7fffff")
    dot("output-bf16", "y is rounded once to bf16: 1 + 2^-8 is a tie, and becomes 1.", "f32-chain", [1, p2(-8)], [1, 1],
        1.0, "bf16", "bf16")
    dot("output-bf16-up", "1 + 2^-7 + 2^-8 becomes 1 + 2^-6.", "f32-chain", [1, p2(-7), p2(-8)], [1, 1, 1],
        1 + p2(-6), "bf16", "bf16")
    dot("output-f16-subnormal", "3 2^-25 is a tie between 2^-24 and 2^-23: 2^-23.", "f32-chain", [3 * p2(-25)], [1],
        p2(-23), "f32", "f16")
    dot("output-minus-zero", "-2^-25 is rounded to -0 in f16, and becomes +0.", "f32-chain", [-p2(-25)], [1], "0000",
        "f32", "f16")
    dot("output-not-finite", "65520 is a tie beyond the largest number of f16.", "f32-chain", [65520], [1], "not finite",
        "f32", "f16")
    dot("output-largest", "65519 is rounded to 65504.", "f32-chain", [65519], [1], 65504.0, "f32", "f16")

    three = [1, p2(-24), p2(-24)]
    contiguous = {"f32-sliced": {"slices": "3", "contiguous": "1"}}
    dot("sliced-left", "(y_0 + y_1) + y_2: 1 + 2^-24 is 1, twice.", contiguous, three, [1, 1, 1], 1.0)
    dot("sliced-short", "S = 2, L = 3, k = 5: (2^24 + 1 - 2^24) + (1 - 1); the chain is 0, slices of 2 give 1.",
        {"f32-sliced": {"slices": "2", "contiguous": "3"}}, [p2(24), -p2(24), 1, p2(24), -p2(24)], [1, 1, 1, 1, 1], 1.0)
    dot("sliced-contiguous", "S = 2, L = 2: (2^24 + 1) + (1 - 2^24) is 2^24 + (1 - 2^24) = 1; a slice of 3 gives 0.",
        {"f32-sliced": {"slices": "2", "contiguous": "2"}}, [p2(24), 1, 1, -p2(24)], [1, 1, 1, 1], 1.0)
    dot("sliced-dealt", "S = 2, G = 1: even k (2^24 - 2^24), odd k (1 + 1). The chain gives 0, two slices of 2 give 1.",
        {"f32-sliced": {"slices": "2", "dealt": "1"}}, [p2(24), 1, -p2(24), 1], [1, 1, 1, 1], 2.0)
    dot("sliced-dealt-groups", "S = 2, G = 2: k = 0, 1, 4, 5 and 2, 3, 6: (2^24 + 1 - 2^24 + 1) + (1 + 1 + 1).",
        {"f32-sliced": {"slices": "2", "dealt": "2"}}, [p2(24), 1, 1, 1, -p2(24), 1, 1], [1] * 7, 4.0)
    dot("sliced-empty", "A slice without k is +0: S = 5, G = 3, k = 4.", {"f32-sliced": {"slices": "5", "dealt": "3"}},
        [1, 2, 3, 4], [1, 1, 1, 1], 10.0)
    dot("sliced-minus-zero", "Both slices underflow to -0; y is +0.", {"f32-sliced": {"slices": "2", "contiguous": "1"}},
        [-p2(-100), -p2(-100)], [p2(-100), p2(-100)], "00000000")
    for rule, shape in (({"slices": "4", "contiguous": "3"}, "4x3"), ({"slices": "3", "dealt": "2"}, "3by2"),
                        ({"slices": "5", "dealt": "3"}, "5by3")):
        add(into, "product-" + shape, "product", "All of Y, A 5x11 and V 11x3 by their seed.",
            {"arithmetic": {"f32-sliced": rule}, "dtype": "f32", "values": "uniform", "seed": 42, "shape": [5, 11, 3]})
    for dtype, output in (("f32", "f32"), ("bf16", "f32"), ("bf16", "bf16"), ("f16", "f16")):
        add(into, "product-chain-%s-%s" % (dtype, output), "product", "All of Y, A 5x11 and V 11x3 by their seed.",
            {"arithmetic": "f32-chain", "dtype": dtype, "output": output, "values": "heavy-tailed", "seed": 42,
             "shape": [5, 11, 3]})


def tensor_cores():
    into = file("tensor-cores", "Section 4: tensor-core. Each vector tells the clause that it names from the rule without it.")

    def dot(name, clause, architecture, dtype, pairs, y, output="f32"):
        a, v = zip(*pairs)
        given = {"arithmetic": {"tensor-core": architecture}, "dtype": dtype, "output": output,
                 "a": hexes(a, dtype), "v": hexes(v, dtype)}
        add(into, name, "dot", clause, given, {"y": y if isinstance(y, str) else hexes([y], output)})

    zero = (0.0, 0.0)
    # Clause 1.
    dot("least-exponent-f16", "e of a subnormal of f16 is -14: 2^-24 and 2^-40 in one group have E = -14, and 2^-40 is lost.",
        "hopper", "f16", [(p2(-24), 1), (p2(-20), p2(-20))], p2(-24))
    dot("least-exponent-bf16", "e of a subnormal of bf16 is -126: E = -26, and 2^-52 is lost.", "hopper", "bf16",
        [(p2(-133), p2(100)), (p2(-26), p2(-26))], p2(-33))
    dot("least-exponent-tf32", "e of a subnormal of tf32 is -126.", "hopper", "f32",
        [(p2(-136), p2(100)), (p2(-26), p2(-26))], p2(-36))
    dot("least-exponent-c", "c has e = -126 at the least, here for 2^-140: 8 times 2^-152 are lost.", "ampere", "bf16",
        [(p2(-70), p2(-70))] + [zero] * 7 + [(p2(-76), p2(-76))] * 8, p2(-140))
    dot("exponent-of-c-in-f16", "e_min of c is -126 under f16, too: 2^-20 and 2^-40 have E = -20.", "hopper", "f16",
        [(p2(-10), p2(-10))] + [zero] * 15 + [(p2(-20), p2(-20))], p2(-20) + p2(-40))
    dot("not-renormalised", "1.5 1.5 has e = 0: E = 0, and 2^-25 is kept.", "hopper", "f16",
        [(1.5, 1.5), (-1.5, 1.5), (p2(-12), p2(-13))], p2(-25))
    dot("tf32-nearest", "An operand is rounded to 11 bits: 1 + 3 2^-12 becomes 1 + 2^-10.", "hopper", "f32",
        [(1 + 3 * p2(-12), 1)], 1 + p2(-10))
    dot("tf32-ties-to-even", "1 + 2^-11 is a tie and becomes 1, 1 + 3 2^-11 becomes 1 + 2^-9.", "hopper", "f32",
        [(1 + p2(-11), 1)], 1.0)
    dot("tf32-ties-to-even-up", "1 + 3 2^-11 becomes 1 + 2^-9.", "hopper", "f32", [(1, 1 + 3 * p2(-11))], 1 + p2(-9))
    dot("tf32-subnormal", "2^-136 is the least number of tf32: 2^-137 is a tie and becomes 0.", "hopper", "f32",
        [(p2(-137), p2(120))], "00000000")
    # Clause 2.
    dot("zero-products", "A product that is zero has no e: 2^-25 stands alone.", "hopper", "f16",
        [(0.0, p2(15)), (p2(-12), p2(-13))], p2(-25))
    dot("zero-products-v", "The same of a zero in V.", "hopper", "f16", [(p2(15), 0.0), (p2(-12), p2(-13))], p2(-25))
    dot("zero-c", "c = 0 has no e: a group that cancels leaves nothing behind.", "hopper", "f16",
        [(1024, 1024), (-1024, 1024)] + [zero] * 14 + [(p2(-12), p2(-13))], p2(-25))
    floor = [(1.9921875, 1), (1, p2(-8)), (1, p2(-9)), (1, p2(-9))]
    floor = [(a * p2(-75), v * p2(-75)) for a, v in floor]
    dot("floor-hopper", "E is at least -133: 2^-149 - 2^-157 and 2^-158 are kept, two halves of 2^-158 are not. "
        "No committed measurement has this clause.", "hopper", "bf16", floor, "00000000")
    dot("floor-not-ampere", "Nor is there a least E elsewhere: their sum is 2^-149.", "ampere", "bf16", floor, "00000001")
    dot("floor-not-blackwell", "Nor on Blackwell.", "blackwell", "bf16", floor, "00000001")
    # One element that an H200 computed, which no least E above -133 gives.
    with open(os.path.join(vectors.FOLDER, "..", "records", "h200", "tensor-core-vectors.json"), encoding="utf-8") as f:
        measured = next(s for s in json.load(f)["sets"] if (s["name"], s["format"]) == ("subnormal-results", "bf16"))
    i, j = FLOOR_AT
    words = [" ".join(text[at:at + 4] for at in range(0, len(text), 4)) for text in (measured["a"][i], measured["v"][j])]
    add(into, "floor-measured", "dot", "E is at least no more than -133.",
        {"arithmetic": {"tensor-core": "hopper"}, "dtype": "bf16", "output": "f32", "a": words[0], "v": words[1]},
        {"y": measured["outputs"][0]["y"][i][8 * j:8 * j + 8]},
        "an H200: tests/records/h200/tensor-core-vectors.json, set subnormal-results of bf16, row %d, column %d" % (i, j))
    # Clause 3.
    dot("products-truncated", "-3 2^-26 beside 1: its magnitude becomes 2^-25, and 1 - 2^-25 becomes 1 - 2^-24.", "hopper", "f16",
        [(1, 1), (-3 * p2(-13), p2(-13))], 1 - p2(-24))
    dot("products-truncated-to-zero", "-2^-26 beside 1 is nothing.", "hopper", "f16", [(1, 1), (-p2(-13), p2(-13))], 1.0)
    dot("c-truncated", "c = 1 + 2^-23 beside 8 becomes 1: 8 - 8 + c is 1.", "hopper", "f16",
        [(1, 1), (p2(-12), p2(-11))] + [zero] * 14 + [(8, 1), (-8, 1)], 1.0)
    dot("fraction-bits", "F = 25: 2^-25 beside 1 - 1 is kept, and 2^-26 is not.", "hopper", "f16",
        [(1, 1), (-1, 1), (p2(-12), p2(-13)), (p2(-13), p2(-13))], p2(-25))
    for name, dtype, f in (("volta", "f16", 23), ("turing", "f16", 24), ("ampere", "f16", 24), ("ampere", "bf16", 24),
                           ("ampere", "f32", 24), ("ada", "f16", 24), ("ada", "bf16", 24), ("ada", "f32", 24),
                           ("hopper", "f16", 25), ("hopper", "bf16", 25), ("hopper", "f32", 25), ("blackwell", "f16", 25),
                           ("blackwell", "bf16", 25), ("blackwell", "f32", 25)):
        length = arithmetic.TENSOR_CORE_L[name][dtype]
        dot("F-%s-%s" % (name, dtype), "F is %d: of 1 - 1 + 2^-%d + 2^-%d the third is kept." % (f, f, f + 1), name, dtype,
            [(1, 1), (-1, 1), (p2(-12), p2(12 - f)), (p2(-13), p2(12 - f))], p2(-f))
        # 2^-30 is lost in the group of 1 - 1, and alone in the group behind it.
        dot("L-%s-%s" % (name, dtype), "L is %d: 2^-30 in the last place of the group of 1 - 1 is lost." % length, name, dtype,
            [(1, 1), (-1, 1)] + [zero] * (length - 3) + [(p2(-15), p2(-15))], "00000000")
        dot("L-%s-%s-behind" % (name, dtype), "In the first place behind it, it is not.", name, dtype,
            [(1, 1), (-1, 1)] + [zero] * (length - 2) + [(p2(-15), p2(-15))], p2(-30))
    # Clause 4.
    dot("sum-truncated", "1 + 3 2^-25 has 26 bits: truncated, it is 1.", "hopper", "f16",
        [(1, 1), (p2(-12), p2(-12)), (p2(-12), p2(-13))], 1.0)
    dot("sum-magnitude-truncated", "-1 - 2^-25 becomes -1.", "hopper", "f16", [(-1, 1), (-p2(-12), p2(-13))], -1.0)
    dot("sum-limit", "A sum is a multiple of 2^-149: 2^-150 in each of two groups is lost twice.", "ampere", "bf16",
        [(p2(-75), p2(-75))] + [zero] * 7 + [(p2(-75), p2(-75))], "00000000")
    dot("sum-limit-odd", "3 2^-150 becomes 2^-149.", "ampere", "bf16", [(p2(-75), 3 * p2(-75))], "00000001")
    dot("infinity", "2^128 is an infinity, though each product and each difference behind it is finite.", "hopper", "bf16",
        [(p2(63), p2(64)), (p2(63), p2(64))] + [zero] * 14 + [(-p2(63), p2(64))], "not finite")
    dot("below-infinity", "In one group the sum is 2^127.", "hopper", "bf16",
        [(p2(63), p2(64)), (p2(63), p2(64)), (-p2(63), p2(64))], p2(127))
    dot("operand-beyond", "The largest binary32 is rounded to an infinity of tf32: y is not finite.", "hopper", "f32",
        [((2 - p2(-23)) * p2(127), p2(-10)), (1, 1)], "not finite")
    dot("operand-beyond-zero", "Its product with zero is zero.", "hopper", "f32",
        [((2 - p2(-23)) * p2(127), 0.0), (1, 1)], 1.0)
    dot("operand-beyond-opposed", "Two of them with opposite signs: not finite.", "hopper", "f32",
        [((2 - p2(-23)) * p2(127), 1), ((2 - p2(-23)) * p2(127), -1)], "not finite")
    dot("operand-not-beyond", "(2 - 2^-11) 2^127 - 2^104 is rounded to the largest number of tf32.", "hopper", "f32",
        [((2 - p2(-11) - p2(-23)) * p2(127), p2(-10))], (2 - p2(-10)) * p2(117))
    dot("minus-zero", "-2^-150 is truncated to a zero, which is +0.", "ampere", "bf16", [(-p2(-75), p2(-75))], "00000000")
    dot("output-bf16", "c is rounded once to the output: 1 + 2^-8 is a tie.", "hopper", "bf16", [(1, 1), (p2(-8), 1)], 1.0,
        "bf16")
    for architecture, lengths in arithmetic.TENSOR_CORE_L.items():
        for dtype, length in lengths.items():
            add(into, "product-%s-%s" % (architecture, dtype), "product",
                "All of Y, A and V by their seed, k = 2 L + 2.",
                {"arithmetic": {"tensor-core": architecture}, "dtype": dtype, "values": "heavy-tailed", "seed": 42,
                 "shape": [3, 2 * length + 2, 2]})


def bf16_instructions():
    into = file("bf16-instructions", "Section 4: tensor-core amx-bf16 and avx512-bf16.")

    def dot(name, clause, a, v, **y):
        for rule, bits in y.items():
            rule = rule.replace("_", "-")
            add(into, "%s-%s" % (name, rule) if len(y) > 1 else name, "dot", clause,
                {"arithmetic": {"tensor-core": rule}, "dtype": "bf16", "a": a, "v": v}, {"y": bits})

    def row(k, **at):
        x = [0.0] * k
        for h, value in at.items():
            x[int(h[1:])] = value
        return hexes(x, "bf16")

    def ones(k):
        return " ".join(["3f80"] * k)

    dot("avx512-odd-first", "The odd element first: 2^24 - 2^24 + 1 is 1; the other way round it is 0.", row(4, h0=p2(24), h2=1, h3=-p2(24)),
        ones(4), avx512_bf16=bits32(1))
    dot("amx-two-chains", "Even and odd elements apart: (2^24 - 2^24) + (1 + 1).", row(4, h0=p2(24), h1=1, h2=-p2(24), h3=1), ones(4),
        amx_bf16=bits32(2))
    dot("amx-sum-first", "e + o, then c: 1 + (2^-24 + 2^-24); one by one they are lost, as they are in a block of 64.",
        row(34, h0=1, h32=p2(-24), h33=p2(-24)), ones(34), amx_bf16=bits32(1 + p2(-23)))
    dot("amx-block", "Within 32: 1 + 2^-24 is 1, and 1 + 2^-24 once more; in blocks of 16 they are added first.",
        row(18, h0=1, h16=p2(-24), h17=p2(-24)), ones(18), amx_bf16=bits32(1))
    both = {"avx512_bf16": "00000000", "amx_bf16": "00000000"}
    dot("flush-operand-a", "A subnormal operand is zero.", "0040", "7f00", **both)
    dot("flush-operand-v", "The same in V.", "7f00", "0040", **both)
    dot("flush-result", "2^-128 is tiny.", "1f80", "1f80", **both)
    dot("flush-tie", "2^-126 - 2^-151, a tie of 24 bits, becomes 2^-126.", "2000 0000 9a00", "2000 0000 1980", avx512_bf16="00800000",
        amx_bf16="00800000")
    dot("flush-below-tie", "A smaller magnitude is tiny, though rounding to subnormals would give 2^-126.", "2000 0000 9a00",
        "2000 0000 1981", **both)
    dot("rest-is-zero", "An odd k: what is behind the last h is zero.", row(3, h0=1, h1=2, h2=4), ones(3), avx512_bf16=bits32(7),
        amx_bf16=bits32(7))
    for name in ("amx-bf16", "avx512-bf16"):
        add(into, "product-" + name, "product", "All of Y, A and V by their seed.",
            {"arithmetic": {"tensor-core": name}, "dtype": "bf16", "values": "heavy-tailed", "seed": 42, "shape": [3, 69, 2]})


def exact_and_bounded():
    into = file("exact-bounded", "Section 4: exact and bounded.")
    for name, clause, a, v, holds in (
            ("certificate", "4095^2 + 4095 + 4095 is 2^24 - 1.", [[4095]], [[4095]], True),
            ("certificate-no", "4096 4095 + 4096 + 4095 is more.", [[4096]], [[4095]], False),
            ("certificate-columns", "Each |a| goes with the largest |v| of its own row of V: 4 1 + 1 2^22. The largest sum of a row and the largest |v| would be 5 2^22.",
             [[4, 1]], [[1, 1], [-p2(22), 1]], True),
            ("certificate-rows", "The largest row counts, not the sum of all.", [[p2(11)], [p2(11)]], [[p2(12)]], True),
            ("certificate-signs", "Magnitudes count: 2^23 - 2^23 is 2^24.", [[p2(12), -p2(12)]], [[p2(11)], [p2(11)]], False),
            ("certificate-integers", "0.5 is no integer.", [[0.5]], [[1]], False)):
        add(into, name, "certificate", clause, {"arithmetic": "exact", "a": rows(a), "v": rows(v)}, {"holds": holds})
    add(into, "exact", "dot", "The exact sum.", {"arithmetic": "exact", "dtype": "f32", "output": "f32",
        "a": hexes([4093, -4095, 7]), "v": hexes([4091, 4087, 1])}, {"y": bits32(4093 * 4091 - 4095 * 4087 + 7)})
    add(into, "reference-ascending", "dot", "y_ref ascends: 1 + 2^-53 is 1, twice.",
        {"arithmetic": "bounded", "dtype": "f32", "output": "f32", "a": hexes([1, p2(-53), p2(-53)]), "v": hexes([1, 1, 1])},
        {"y_ref": "3ff0000000000000", "y": bits32(1)})
    add(into, "reference-binary64", "dot", "y_ref is binary64: 2^24 + 1 - 2^24 is 1.",
        {"arithmetic": "bounded", "dtype": "f32", "output": "f32", "a": hexes([p2(24), 1, -p2(24)]), "v": hexes([1, 1, 1])},
        {"y_ref": "3ff0000000000000", "y": bits32(1)})
    add(into, "reference-rounded-twice", "dot", "To binary32, then to the output: 1 + 2^-8 + 2^-40 becomes 1 + 2^-8, a tie, "
        "and then 1.",
        {"arithmetic": "bounded", "dtype": "f32", "output": "bf16", "a": hexes([1, p2(-8), p2(-40)]), "v": hexes([1, 1, 1])},
        {"y": "3f80"})

    def within(name, clause, a, v, y, output, holds):
        add(into, name, "within", clause, {"dtype": "f32", "output": output, "a": hexes(a), "v": hexes(v), "y": hexes([y], output)},
            {"within": holds})

    u = p2(-24)
    # q = 1: gamma(2) is a little above 2 u = 2^-23, the distance of neighbours above 1.
    within("bound", "q = 1: gamma(2) is a little more than 2^-23.", [1, 0], [1, 5], 1 + p2(-23), "f32", True)
    within("bound-beyond", "2^-22 is beyond it.", [1, 0], [1, 5], 1 + p2(-22), "f32", False)
    within("bound-non-zeros", "q counts non-zeros of the row of A: zeros do not widen it.", [1, 0, 0, 0], [1, 1, 1, 1],
           1 + p2(-22), "f32", False)
    within("bound-zero-of-v", "A zero in V counts as its a does: q = 3, gamma(4) is a little more than 2^-22.", [1, 1, 1],
           [1, 0, 0], 1 + p2(-22), "f32", True)
    within("bound-tiny", "(q + 1) 2^-149: 2^-148 instead of 0 is within it.", [p2(-100)], [p2(-100)], p2(-148), "f32", True)
    within("bound-tiny-beyond", "3 2^-149 is not.", [p2(-100)], [p2(-100)], 3 * p2(-149), "f32", False)
    within("bound-magnitudes", "Magnitudes are summed: 2^-22 beside 1 - 1, where gamma(3) 2 is 6 2^-24.", [1, 1], [1, -1],
           p2(-22), "f32", True)
    within("bound-output", "A bf16 output has half a unit more, 2^-8 beside 1: 2^-7 is too much.", [1], [1], 1 + p2(-7), "bf16", False)
    within("bound-output-tie", "1 + 2^-8 may be 1.", [1 + p2(-8)], [1], 1.0, "bf16", True)
    within("bound-output-larger", "The unit is that of the larger of y and y_ref: 2 for 2 - 2^-8, whose half unit is 2^-7.",
           [2 - 3 * p2(-8)], [1], 2.0, "bf16", False)
    within("bound-output-larger-y", "2 - 2^-7 is rounded to 2 where half a unit of 2 is 2^-7.", [2 - p2(-7)], [1], 2.0, "bf16",
           True)


def fixed_point():
    into = file("fixed-point", "Section 4: fixed-point-24.")

    def integers(name, clause, x, e, values):
        add(into, name, "integers", clause, {"x": x}, {"e": e, "integers": values})

    f = "3f800000"
    integers("one", "1 = 0x800000 2^-23: 2^22 is the integer, 2^23 is too large.", f, 22, [0x400000])
    integers("largest-integer", "0xfefefe 2^-23 is twice 0x7f7f7f.", hexes([0xFEFEFE * p2(-23)]), 22, [0x7F7F7F])
    integers("border", "0xfefeff 2^-23 is half more, a tie that goes to the even 0x7f7f80: too large.",
             hexes([0xFEFEFF * p2(-23)]), 21, [0x3FBFC0])
    integers("smallest", "The smallest subnormal.", "00000001", 171, [0x400000])
    integers("largest", "The largest number.", "7f7fffff", -106, [0x400000])
    integers("zeros", "A row of zeros has e = 0.", "00000000 00000000", 0, [0, 0])
    integers("nothing", "A row without elements, too.", "", 0, [])
    place = p2(-23)
    integers("ties", "Beside 1, 2^-23 is half an integer: ties to even.",
             hexes([1, place, 3 * place, -place, -3 * place, 5 * place, 1.5 * place]), 22, [1 << 22, 0, 2, 0, -2, 2, 1])
    integers("whole-row", "The scale is that of the largest magnitude, wherever it stands.", hexes([1, 3, -1024]), 12,
             [4096, 12288, -(1 << 22)])
    for total, exponent, y in ((2 ** 60 + 2 ** 36, -60, "3f800000"), (2 ** 60 + 2 ** 36 + 1, -60, "3f800001"),
                               (-2 ** 60 - 2 ** 36 - 1, -60, "bf800001"), (2 ** 30, -180, "00000000"),
                               (2 ** 30 + 1, -180, "00000001"), (3 * 2 ** 30, -180, "00000002"),
                               (2 ** 62, -212, "00000000"), (2 ** 62 + 1, -212, "00000001"),
                               (2 ** 62 + 1, -213, "00000000"), ((0xFFFFFF << 20) + (1 << 19), -169, "01000000"),
                               (0, 128, "00000000"), (1, 128, "not finite"), (0xFFFFFF, 104, "7f7fffff")):
        add(into, "rounding%+d-2^%d" % (total, exponent), "scaled", "sum 2^exponent, rounded once.",
            {"sum": str(total), "exponent": exponent}, {"y": y})
    for name, clause, a, v, y in (
            ("cancel", "1/3 and 1 by 1 and -1/3: 0x155555 0x400000 is taken from itself.", "3eaaaaab 3f800000",
             "3f800000 beaaaaab", "00000000"),
            ("below-one", "(2^24 - 1) 2^-24 is 1 as an integer.", "3f7fffff", "3f7fffff", "3f800000"),
            ("lost", "2^-24 beside 1 is less than half an integer.", "3f800000 33800000", "00000000 3f800000", "00000000"),
            ("subnormal", "The smallest subnormal and 2^127.", "00000001", "7f000000", "34800000"),
            ("k-0", "With k = 0 y is +0.", "", "", "00000000"),
            ("minus-zero", "-2^-200 is rounded to a zero, which is +0.", hexes([-p2(-100)]), hexes([p2(-100)]), "00000000"),
            ("not-finite", "2^254.", hexes([p2(127)]), hexes([p2(127)]), "not finite")):
        add(into, "dot-" + name, "dot", clause, {"arithmetic": "fixed-point-24", "dtype": "f32", "a": a, "v": v}, {"y": y})
    add(into, "dot-output", "dot", "y is binary32 before it is rounded to the output: 1 + 2^-8 + 2^-30 becomes 1 + 2^-8, then 1.",
        {"arithmetic": "fixed-point-24", "dtype": "f32", "output": "bf16", "a": hexes([1, p2(-8), p2(-15)]),
         "v": hexes([1, 1, p2(-15)])}, {"y": "3f80"})
    largest = hexes([0x7F7F7F])
    for k, holds in ((132105, True), (132106, False)):
        add(into, "certificate-%d" % k, "certificate", "(k + 1) 0x7f7f7f^2 is below 2^63 up to k = 132,105.",
            {"arithmetic": "fixed-point-24", "a": {"shape": [1, k], "fill": largest}, "v": {"shape": [k, 1], "fill": "00000000"}},
            {"holds": holds})
    add(into, "certificate-sparse", "certificate", "Zeros of A add nothing.",
        {"arithmetic": "fixed-point-24", "a": {"shape": [1, 132106], "fill": largest, "but": [[0, 7, "00000000"]]},
         "v": {"shape": [132106, 1], "fill": "00000000"}}, {"holds": True})
    for dtype, output in (("f32", "f32"), ("bf16", "bf16"), ("f16", "f16")):
        add(into, "product-%s" % dtype, "product", "All of Y, A 3x5 and V 5x2 by their seed.",
            {"arithmetic": "fixed-point-24", "dtype": dtype, "output": output, "values": "uniform", "seed": 42,
             "shape": [3, 5, 2]},
            {"sha256": "a94a986c874303e2344f4515479dc34d3a1b124504011ed5541962a75847e3ec"} if dtype == "f32" else None)


def main():
    np.seterr(all="ignore")
    import define_inputs  # the other sections' vectors
    for part in (chains, tensor_cores, bf16_instructions, exact_and_bounded, fixed_point) + define_inputs.PARTS:
        begun = time.time()
        part()
        if "--times" in sys.argv[1:]:
            print("%6.1f s  %s" % (time.time() - begun, part.__name__))
    bad = 0
    for name, (about, found) in FILES.items():
        lines = ",\n".join(" " + json.dumps(entry, ensure_ascii=True) for entry in found)
        text = '{\n"format": "%s",\n"about": %s,\n"vectors": [\n%s\n]\n}\n' % (vectors.FORMAT, json.dumps(about), lines)
        path = os.path.join(vectors.FOLDER, name + ".json")
        if "--write" in sys.argv[1:]:
            os.makedirs(vectors.FOLDER, exist_ok=True)
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)
        else:
            with open(path, encoding="utf-8") as f:
                if f.read() != text:
                    print("FAIL %s is not what would be written" % path)
                    bad += 1
    print("%d files, %d vectors, %d bad" % (len(FILES), sum(len(found) for _, found in FILES.values()), bad))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.modules["make_vectors"] = sys.modules["__main__"]
    sys.exit(main())
