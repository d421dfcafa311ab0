#!/usr/bin/env python3
"""A second implementation of VERIFY.md: regenerates every case of a manifest and compares.

    verify.py MANIFEST EXPECTED [--case GLOB] [--weights FILE_OR_DIR] [--no-perturb | --panels P,P.. | --inputs | --entries]
    verify.py --print MANIFEST [--case GLOB]
    verify.py --vectors
"""

import argparse
import fnmatch
import os
import sys
import time
from fractions import Fraction

import numpy as np

import inputs
import perturb
import published
import weights
from arithmetic import (INSTRUCTIONS, TENSOR_CORE_F, TENSOR_CORE_FLOOR, TENSOR_CORE_L, amx_bf16, avx512_bf16, chain,
                        reference64, tensor_core,
                        within_bound)
from formats import DTYPES, TF32, bits32, digest, encode, panels, panels_root, round_to
from inputs import Refused
from stack import Stacks
from streams import Stream


class Maker:
    """Makes A and V, keeping the last of each: neighbouring cases share them."""

    def __init__(self, manifest_path, given):
        self.folder, self.given = os.path.dirname(os.path.abspath(manifest_path)), given
        self.last, self.files = {}, {}
        self.stacks = Stacks()

    def _keep(self, what, key, make):
        if self.last.get(what, (None,))[0] != key:
            self.last[what] = (key, make())
        return self.last[what][1]

    def _real(self, case):
        spec = case.weights
        key = tuple(sorted(spec.items()))
        if key not in self.files:
            self.files[key] = weights.find(spec, self.folder, self.given)
        x = weights.read(self.files[key], case.layer.get("tensor", case.layer["name"]),
                         case.layer.get("sha256"), case.layer)
        if x.shape != (case.m, case.k):
            raise Refused("the tensor's shape is %s" % (x.shape,))
        size = np.abs(x[x != 0])
        moderate = bool(((size >= 2.0 ** -60) & (size <= 2.0 ** 60)).all())
        rounded = round_to(x, DTYPES[case.dtype])
        if "scales" in case.layer and (rounded != x).any():
            raise Refused("a product with its scale is no %s number" % case.dtype)
        return rounded, moderate

    def _device(self, case):
        """A and V as a device's generator draws them, A not yet pruned."""
        device = case.weights["torch-device-uniform"]
        generator = published.Generator(device["platform"], int(device["multiprocessors"]), case.seed,
                                        int(device.get("threads", published.THREADS)))

        def tensor(rows, cols):
            parts = list(generator.draw(rows * cols))
            return np.concatenate(parts + [np.zeros(0, np.float32)]).reshape(rows, cols)
        return tensor(case.m, case.k), tensor(case.k, case.n)

    def _drawn(self, case):
        return self._keep("drawn", (case.seed, str(case.weights), case.m, case.k, case.n), lambda: self._device(case))

    def _a(self, case):
        if isinstance(case.weights, dict) and "torch-device-uniform" in case.weights:
            raw = round_to(self._drawn(case)[0], DTYPES[case.dtype])
            a = inputs.prune(raw, case.seed, case.dtype, case.pattern, case.s, None)
            return a, digest(a, case.dtype), True
        if case.weights == "numpy-pcg64-uniform":
            a = published.numpy_a(case.seed, case.m, case.k, float(case.s))
            return a, digest(a, case.dtype), True
        if isinstance(case.weights, dict):
            raw, moderate = self._keep(
                "raw", (str(case.weights), str(case.layer), case.dtype), lambda: self._real(case))
            name = None
        else:
            raw, moderate, name = inputs.values(
                case.seed, "A.values", case.m, case.k, case.dtype, case.weights), True, case.weights
        a = inputs.prune(raw, case.seed, case.dtype, case.pattern, case.s, name)
        return a, digest(a, case.dtype), moderate

    def _v(self, case):
        if case.activations == "numpy-pcg64-uniform":
            v = published.numpy_v(case.seed, case.k, case.n)
            return v, digest(v, case.dtype)
        if case.activations == "torch-device-uniform":
            v = round_to(self._drawn(case)[1], DTYPES[case.dtype])
            return v, digest(v, case.dtype)
        v = inputs.values(case.seed, "V.values", case.k, case.n, case.dtype, case.activations)
        return v, digest(v, case.dtype)

    def _stacked(self, case):
        def first_input(first):
            return inputs.values(first.seed, "V.values", first.k, first.n, first.dtype, first.activations)

        def product(before, v):
            a, _, _ = self._a(before)
            return before.arithmetic.compute(a, v, before.dtype, before.output)

        v = self.stacks.activations(case, first_input, product)
        return v, digest(v, case.dtype)

    def __call__(self, case):
        if case.stack:
            return self._a(case) + self._stacked(case)
        a = self._keep("a", (case.seed, str(case.weights), str(case.layer), case.m, case.k,
                             case.dtype, case.pattern, case.s), lambda: self._a(case))
        # V of a device's generator depends on the size of the A before it.
        v = self._keep("v", (case.seed, case.m, case.k, case.n, case.dtype, case.activations),
                       lambda: self._v(case))
        return a + v


def evaluate(case, make, with_perturb=True, with_pins=False, nonce=None):
    """Digests by name, and the promises that did not hold."""
    a, a_digest, moderate, v, v_digest = make(case)
    rule = case.arithmetic
    rule.check(a, v, case.dtype)
    y = rule.compute(a, v, case.dtype, case.output)
    if not np.isfinite(y).all():
        raise Refused("Y is not finite")
    if case.stack:
        make.stacks.keep(case, y)
    got = {"a": a_digest, "v": v_digest, "dense": digest(y, case.output),
           "panels": panels(y, case.output), "panels_root": panels_root(y, case.output)}
    broken = []
    if rule.contract and with_perturb:
        shift = moderate and "f16" not in (case.dtype, case.output)
        got["rebuilt"], got["shifted"], broken = perturb.run(case, a, v, y, shift, nonce)
    if not rule.contract:
        # The chain is one honest operator: it must keep the bound, or the bound is wrong.
        ref = reference64(a, v)
        if not within_bound(round_to(chain(a, v), DTYPES[case.output]), ref, a, v,
                            case.output).all():
            broken.append("bound")
    if with_pins and rule.architecture in INSTRUCTIONS:
        others = {"f32-chain": chain(a, v)}
        if rule.architecture == "amx-bf16":
            others.update({"blocks of 16": amx_bf16(a, v, 16), "avx512-bf16": avx512_bf16(a, v)})
        else:
            others["amx-bf16"] = amx_bf16(a, v)
        broken += not_told_from(others, y, case)
    elif with_pins and rule.kind == "tensor-core":
        f = TENSOR_CORE_F[rule.architecture]
        length = TENSOR_CORE_L[rule.architecture][case.dtype]
        floor = TENSOR_CORE_FLOOR.get(rule.architecture)
        if case.dtype == "f32":
            a, v = (round_to(x, TF32) for x in (a, v))
        others = {"f32-chain": chain(a, v),
                  "L/2": tensor_core(a, v, case.dtype, f, length // 2, floor),
                  "F+1": tensor_core(a, v, case.dtype, f + 1, length, floor),
                  "F-1": tensor_core(a, v, case.dtype, f - 1, length, floor)}
        broken += not_told_from(others, y, case)
    return got, broken


def not_told_from(others, y, case):
    """Rivals of a case's rule that give all of its output."""
    return ["pin:" + name for name, other in others.items()
            if (bits32(round_to(other, DTYPES[case.output]) + np.float32(0)) == bits32(y)).all()]


def evaluate_part(case, make, chosen):
    """Digests of A and V, and of the chosen row panels of Y: no other row is computed."""
    a, a_digest, _, v, v_digest = make(case)
    case.arithmetic.check(a, v, case.dtype)
    got = {"a": a_digest, "v": v_digest, "panels": {}}
    for p in chosen:
        y = case.arithmetic.compute(a[p * case.m // 64:(p + 1) * case.m // 64], v, case.dtype, case.output)
        got["panels"][p] = digest(y, case.output)[:16]
    return got


def part_differences(got, want):
    found = [(n, want.get(n), got[n]) for n in ("a", "v") if want.get(n) != got[n]]
    return found + [("panel:%d" % p, want["panels"][p], text) for p, text in got["panels"].items()
                    if want["panels"][p] != text]


def entry_differences(case, want):
    """What an entry says of its case: nothing is computed."""
    said = {"tensors": {"a": "%dx%d %s" % (case.m, case.k, case.dtype), "v": "%dx%d %s" % (case.k, case.n, case.dtype),
                        "y": "%dx%d %s" % (case.m, case.n, case.output)},
            "order": "row-major", "arithmetic": case.arithmetic.name}
    found = [(name, text, want.get(name)) for name, text in said.items() if want.get(name) != text]
    digests = ["a", "v", "dense"] + (["operator"] if case.arithmetic.contract else [])
    found += [(name, "64 digits", want.get(name)) for name in digests if len(want.get(name) or "") != 64]
    if not case.arithmetic.contract:
        found += [(name, None, want[name]) for name in ("operator", "rebuilt", "shifted") if want[name] is not None]
    if ("model" in want) != (case.arithmetic.kind == "tensor-core"):
        found.append(("model", case.arithmetic.kind, want.get("model")))
    if len(want["panels"]) != 64 or not want["confirmed"]:
        found.append(("panels", 64, len(want["panels"])))
    return found


def differences(case, got, want):
    names = ["a", "v", "dense"]
    if case.arithmetic.contract and "rebuilt" in got:
        names += ["rebuilt", "shifted"]
    found = [(n, want.get(n), got[n]) for n in names if want.get(n) != got[n]]
    if case.arithmetic.contract and want.get("operator") != want.get("dense"):
        found.append(("operator", want.get("dense"), want.get("operator")))
    if want.get("panels_root") not in (None, got["panels_root"]):
        found.append(("panels_root", want["panels_root"], got["panels_root"]))
    theirs = want.get("panels") or []
    if theirs != got["panels"]:
        bad = [str(p) for p in range(64) if p >= len(theirs) or theirs[p] != got["panels"][p]]
        found.append(("panels:" + ",".join(bad[:8]) + (",.." if len(bad) > 8 else ""),
                      theirs[int(bad[0])] if bad and int(bad[0]) < len(theirs) else None,
                      got["panels"][int(bad[0])] if bad else None))
    return found


def _null(x):
    if isinstance(x, dict):
        return {k: _null(v) for k, v in x.items()}
    return None if x in ("null", "~", "") else x


def verify(args):
    import yaml
    import manifest
    _, cases = manifest.load(args.files[0])
    with open(args.files[1], encoding="utf-8") as f:
        root = yaml.load(f, Loader=yaml.BaseLoader)
    if root.get("format") != "1":
        raise ValueError("format of the expected file is %r" % root.get("format"))
    expected = _null(root["cases"])
    make = Maker(args.files[0], args.weights)
    passed = failed = 0

    def selected(name):
        return args.case is None or fnmatch.fnmatchcase(name, args.case)

    for case in cases:
        if not selected(case.id):
            continue
        line = None
        if case.id not in expected and args.entries:
            print("unpinned %s" % case.id)
            continue
        if case.id not in expected:
            line = "nothing expected"
        else:
            try:
                broken = []
                if args.entries:
                    found = entry_differences(case, expected[case.id])
                elif args.inputs or args.panels:
                    got = evaluate_part(case, make, [int(p) for p in args.panels.split(",")] if args.panels else [])
                    found = part_differences(got, expected[case.id])
                else:
                    got, broken = evaluate(case, make, not args.no_perturb, args.pins)
                    found = differences(case, got, expected[case.id])
                if found:
                    line = "%s %s %s" % found[0]
                    if len(found) > 1:
                        line += " (also %s)" % " ".join(n for n, _, _ in found[1:])
                if broken:
                    line = (line + "; " if line else "") + "broken: " + " ".join(broken)
            except Refused as why:
                line = "refused: %s" % why
        print(("ok %s" % case.id) if line is None else ("FAIL %s %s" % (case.id, line)), flush=True)
        passed, failed = passed + (line is None), failed + (line is not None)
    for name in sorted(set(expected) - {c.id for c in cases}):
        if selected(name):
            print("FAIL %s not a case of the manifest" % name)
            failed += 1
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed or not passed else 0


def show(args):
    import manifest
    _, cases = manifest.load(args.files[0])
    make = Maker(args.files[0], args.weights)
    matched = bad = 0
    print("format: 1\nmanifest: %s\ncases:"
          % os.path.splitext(os.path.basename(args.files[0]))[0])
    for case in cases:
        if args.case is not None and not fnmatch.fnmatchcase(case.id, args.case):
            continue
        matched += 1
        begun = time.time()
        try:
            got, broken = evaluate(case, make, not args.no_perturb, args.pins, args.nonce)
        except Refused as why:
            print("  # %s refused: %s" % (case.id, why), flush=True)
            bad += 1
            continue
        print("  %s:" % case.id)
        for name in ("a", "v", "dense", "rebuilt", "shifted"):
            if name in got:
                print("    %s: %s" % (name, got[name] or "null"))
        print("    panels: [%s]" % ", ".join(got["panels"]), flush=True)
        if broken:
            print("    # broken: %s" % " ".join(broken))
            bad += 1
        print("%8.2f s  %s" % (time.time() - begun, case.id), file=sys.stderr)
    return 1 if bad or not matched else 0


def vectors():
    seed, m, k = 42, 3, 5
    s = Stream(seed, "A.values", (m, k), "f32")

    def row(x, dtype):
        bits = encode(x, dtype)
        width = 8 if dtype == "f32" else 4
        return ", ".join("%0*x (%r)" % (width, int(b), float(f)) for b, f in zip(bits, x))

    print("```text")
    print("domain  " + s.domain)
    print("key     " + s.key.hex())
    print("words   " + " ".join("%08x" % w for w in s.words(0, 4)))
    print("```\n")
    print("First five elements, encoding in hexadecimal and value, seed %d, %dx%d, `A.values`:\n"
          % (seed, m, k))
    print("| distribution, dtype | elements 0 to 4 |\n|---|---|")
    for name, dtype in [(d, "f32") for d in ("uniform", "heavy-tailed", "binomial", "ternary")] + [
            ("heavy-tailed", "bf16")]:
        x = inputs.values(seed, "A.values", m, k, dtype, name)
        print("| `%s`, %s | %s |" % (name, dtype, row(x.reshape(-1)[:5], dtype)))
    a = inputs.values(seed, "A.values", m, k, "f32", "uniform")
    p = inputs.prune(a, seed, "f32", "uniform", Fraction(1, 2), "uniform")
    print("\n| A 3x5, `uniform`, f32 | SHA-256 |\n|---|---|")
    print("| pattern `none` | `%s` |" % digest(a, "f32"))
    print("| pattern `uniform`, s = 0.5: elements %s survive | `%s` |"
          % (", ".join(str(e) for e in np.nonzero(p.reshape(-1))[0]), digest(p, "f32")))
    wide = inputs.values(seed, "A.values", m, k, "f32", "wide")
    wide = inputs.prune(wide, seed, "f32", "none", Fraction(0), "wide")
    print("| `wide` instead, pattern `none`: column 0 is %s | `%s` |"
          % (", ".join("%d" % x for x in wide[:, 0]), digest(wide, "f32")))
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", help="MANIFEST EXPECTED, or MANIFEST with --print")
    parser.add_argument("--case", metavar="GLOB")
    parser.add_argument("--weights", metavar="FILE_OR_DIR")
    parser.add_argument("--no-perturb", "--bits-only", action="store_true",
                        help="leave out rebuilt and shifted")
    parser.add_argument("--panels", metavar="P,P..", help="A, V and these row panels (0 to 63) of Y alone")
    parser.add_argument("--inputs", action="store_true", help="A and V alone")
    parser.add_argument("--entries", action="store_true", help="what the entries say of their cases alone")
    parser.add_argument("--pins", action="store_true",
                        help="tensor-core: also check that the data tell the model apart")
    parser.add_argument("--nonce", help="with --print: the auditor's nonce")
    parser.add_argument("--print", dest="show", action="store_true")
    parser.add_argument("--vectors", action="store_true")
    args = parser.parse_args()
    np.seterr(all="ignore")
    if args.vectors:
        return vectors()
    if len(args.files) != (1 if args.show else 2):
        parser.error("which files?")
    return show(args) if args.show else verify(args)


if __name__ == "__main__":
    sys.exit(main())
