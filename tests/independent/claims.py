#!/usr/bin/env python3
"""Section 10: findings on published claims, by themselves and against each other, in plain integers and fractions.

    claims.py PATH... [--json FILE]       findings; FILE is what `verify lint PATH... --format json` wrote
    claims.py FOLDER --mutations PROGRAM  mutations.yaml: one figure of a copy of FOLDER changed at a time; both this
                                          and PROGRAM, which is `verify`, gain or lose the stated findings alone
"""

import argparse
import collections
import concurrent.futures
import hashlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
from fractions import Fraction

import numpy as np
import yaml

import manifest
import published

PREFIX = published.PREFIX
Finding = collections.namedtuple("Finding", "manifest line about rule text")
HALF_PERCENT = Fraction(1, 200)
# GFLOP/s of f32 and of the 16-bit formats, GB/s.
PEAKS = {"NVIDIA H200": (66900, 989500, 4800), "NVIDIA B200": (80000, 2250000, 8000),
         "NVIDIA Tesla T4": (8100, 65000, 320), "AMD Instinct MI300X": (163400, 1307400, 5300)}
BYTES = {"f32": 4, "bf16": 2, "f16": 2}
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
ZEROS = (hashlib.sha256(b"").hexdigest(), hashlib.sha256(bytes(PREFIX)).hexdigest())


# Figures, as text.

class Figure:
    """Lowest and highest value that rounds to what is printed; `high` is None where there is no end."""

    def __init__(self, text):
        self.text = text = text.strip()
        if text == "few thousand":
            # Thousands that one digit counts.
            self.low, self.high = Fraction(1000), Fraction(9999)
        elif text.startswith("over "):
            self.low, self.high = _number(text[5:])[0], None
        elif " to " in text:
            ends = [_interval(end) for end in text.split(" to ")]
            self.low, self.high = ends[0][0], ends[1][1]
        else:
            self.low, self.high = _interval(text)

    @property
    def is_range(self):
        return " to " in self.text

    @property
    def is_one(self):
        return not self.is_range and self.high is not None and self.text != "few thousand"

    def __repr__(self):
        return self.text


def _number(text):
    """The value, and the place of its last digit."""
    found = re.fullmatch(r"(\d+)(?:\.(\d*))?(?:[eE]([-+]?\d+))?(M?)", text)
    if not found:
        raise ValueError("%r is no printed figure" % text)
    whole, after, exponent, million = found.groups()
    after = after or ""
    place = Fraction(10) ** (int(exponent or 0) - len(after) + (6 if million else 0))
    return int(whole + after) * place, place


def _interval(text, zeros=False):
    """With `zeros`, those at the end of a whole number may be of rounding."""
    value, place = _number(text)
    if zeros and place == 1 and value:
        while value % (10 * place) == 0:
            place *= 10
    return max(value - place / 2, Fraction(0)), value + place / 2


def _span(figure):
    return figure.low, figure.high


def meets(a, b):
    """Whether two intervals have a value in common."""
    return (b[1] is None or a[0] <= b[1]) and (a[1] is None or b[0] <= a[1])


def below(a, b):
    """Whether every value of one is below every value of the other."""
    return a[1] is not None and a[1] < b[0]


def over(a, b):
    """a / b of intervals of positive values."""
    return (0 if b[1] is None else a[0] / b[1],
            None if a[1] is None or b[0] <= 0 else a[1] / b[0])


def times(a, b):
    return a[0] * b[0], None if a[1] is None or b[1] is None else a[1] * b[1]


def scaled(a, factor):
    return a[0] * factor, None if a[1] is None else a[1] * factor


def shown(a):
    return "%.4g to %s" % (a[0], "any" if a[1] is None else "%.4g" % a[1])


# Manifests, with the line of each mapping.

class Mapping(dict):
    line = 0


def _plain(node):
    """Every scalar as it is written."""
    if isinstance(node, yaml.ScalarNode):
        return node.value
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item) for item in node.value]
    out = Mapping((key.value, _plain(value)) for key, value in node.value)
    out.line = node.start_mark.line + 1
    return out


def _list(x):
    return x if isinstance(x, list) else [x]


# A case as far as it is known; None where it is not.
Known = collections.namedtuple("Known", "id layer m k n dtype pattern s")
FIGURES = ("vendor_ms operator_ms speedup speedup_max us_per_token vendor_us_per_token tokens_per_s vendor_tokens_per_s "
           "gflops vendor_gflops energy_saved_percent build_s break_even_calls memory_mb dense_memory_mb memory_reduction max_abs_error tolerance "
           "tolerance_over_error gain_percent").split()
COUNTS = "cases cases_passed perturbations_passed live_rows layers iterations index_max".split()


class Claim:
    def __init__(self, text, root, section, place, cases):
        self.text, self.id, self.line, self.section = text, text["id"], text.line, section
        self.manifest, self.place = root["name"], place
        self.platform = text.get("platform", root.get("platform"))
        self.cases, self.baseline = cases, text.get("baseline")
        self.about = _list(text.get("about", []))
        self.figures = {key: Figure(text[key]) for key in FIGURES if key in text}
        self.counts = {key: int(text[key]) for key in COUNTS if key in text}
        self.layers = self.counts.get("layers", 1)
        self.digests, self.scope = text.get("digests", {}), text.get("scope")

    def span(self, key):
        return _span(self.figures[key]) if key in self.figures else None

    def one(self, name):
        """What all of its cases have alike, or None."""
        values = {getattr(case, name) for case in self.cases}
        return values.pop() if len(values) == 1 else None

    def time(self, key):
        """Of one layer, in ms."""
        span = self.span(key)
        return span and scaled(span, Fraction(1, self.layers))

    def finding(self, rule, text):
        return Finding(self.manifest, self.line, self.id, rule, text)


def _selects(choice, case):
    for key, want in choice.items():
        if key == "sparsity":
            good = case.s in [Fraction(x) for x in _list(want)]
        elif key == "batch":
            good = case.n in [int(x) for x in _list(want)]
        elif key == "pattern":
            good = case.pattern == (("block", int(want["block"])) if isinstance(want, dict) else want)
        elif key == "shape":
            good = [case.m, case.k] == [int(x) for x in want]
        else:
            good = getattr(case, key) in _list(want)
        if not good:
            return False
    return True


def _stated(choice):
    """The one case that a claim beside `sections` says it is about."""
    shape = [int(x) for x in choice["shape"]] if "shape" in choice else (None, None)
    return Known(None, None, shape[0], shape[1], int(choice["batch"]) if "batch" in choice else None,
                 choice.get("dtype"), choice.get("pattern"),
                 Fraction(choice["sparsity"]) if "sparsity" in choice else None)


Root = collections.namedtuple("Root", "name sections top claims")


def load(path):
    """A manifest's name, sections and claims."""
    with open(path, encoding="utf-8") as f:
        text = f.read()
    root = _plain(yaml.compose(text, Loader=LOADER))
    root["name"] = os.path.splitext(os.path.basename(path))[0]
    cases = manifest.load(path)[1] if "sections" in root else []
    of = collections.defaultdict(list)
    for case in cases:
        # A time of a stack is of all its layers, and no shape's.
        shape = (None, None) if case.stack else (case.m, case.k)
        of[case.id.split("/")[0]].append(
            Known(case.id, case.layer["name"], *shape, case.n, case.dtype, case.pattern, case.s))
    claims = []
    for section in root.get("sections", []):
        place = "%s/%s" % (root["name"], section["name"])
        for one in section.get("claims", []):
            chosen = [case for case in of[section["name"]] if _selects(one.get("case", {}), case)]
            claims.append(Claim(one, root, section, place, chosen))
    for one in root.get("claims", []):
        claims.append(Claim(one, root, None, root["name"], [_stated(one["case"])] if "case" in one else []))
    return Root(root["name"], root.get("sections", []), root, claims)


def read(paths):
    files = []
    for path in paths:
        if os.path.isdir(path):
            files += sorted(os.path.join(path, name) for name in os.listdir(path) if name.endswith(".yaml"))
        else:
            files.append(path)
    return [load(path) for path in files]


# Each claim by itself: functions that yield (rule, text).

def speedup(c):
    said = c.span("speedup")
    if said is None:
        return
    for above, below in (("vendor_ms", "operator_ms"), ("vendor_us_per_token", "us_per_token"),
                         ("tokens_per_s", "vendor_tokens_per_s")):
        if c.span(above) and c.span(below):
            ratio = over(c.span(above), c.span(below))
            if not meets(ratio, said):
                yield "speedup", "%s / %s = %s, printed %s" % (above, below, shown(ratio), c.figures["speedup"])


def tokens(c):
    n = c.one("n")
    for rate, time in (("tokens_per_s", "operator_ms"), ("vendor_tokens_per_s", "vendor_ms")):
        if n is not None and c.span(rate) and c.span(time):
            product = scaled(times(c.span(rate), c.time(time)), Fraction(1, 1000))
            if not meets(product, (n, n)):
                yield "tokens", "%s x %s = %s, batch %d" % (rate, time, shown(product), n)


def non_zeros(c):
    """m k (1 - s), within 0.5 %."""
    m, k, s = c.one("m"), c.one("k"), c.one("s")
    if m is None or s is None:
        return None
    return scaled((m * k * (1 - s),) * 2, 1)


def gflops(c):
    n, count = c.one("n"), non_zeros(c)
    if n is None or count is None:
        return
    for rate, time in (("gflops", "operator_ms"), ("vendor_gflops", "vendor_ms")):
        if c.span(rate) and c.span(time):
            wide = count[0] * (1 - HALF_PERCENT), count[1] * (1 + HALF_PERCENT)
            got = over(scaled(wide, Fraction(2 * n, 10 ** 6)), c.time(time))
            if not meets(got, c.span(rate)):
                yield "gflops", "%s GFLOP/s, printed %s" % (shown(got), c.figures[rate])


def energy(c):
    said, ratio = c.span("energy_saved_percent"), c.span("speedup")
    if said is None or ratio is None:
        return
    energy, factor = c.figures["energy_saved_percent"], c.figures["speedup"]
    if not energy.is_one or not factor.is_one or not ratio[0]:
        return
    saved = tuple(max(100 * (1 - 1 / x), Fraction(0)) for x in ratio)
    if c.text.get("energy_method") == "time-ratio":
        if not meets(saved, said):
            yield "energy", "1 - 1 / speedup = %s %%, printed %s" % (shown(saved), energy)
    elif said[1] - said[0] <= Fraction(1, 10) and meets(saved, said):
        yield "energy", "%s %% is the figure of times alone" % energy


def roofline(c):
    n, count, dtype, m, k = c.one("n"), non_zeros(c), c.one("dtype"), c.one("m"), c.one("k")
    peak = PEAKS.get(c.platform)
    if None in (n, count, dtype, peak):
        return
    least = count[0] * (1 - HALF_PERCENT)
    flops = 2 * least * n / (peak[0 if dtype == "f32" else 1] * 10 ** 6)
    moved = (least + k * n) * BYTES[dtype] / (peak[2] * 10 ** 6)
    time = c.time("operator_ms")
    if time and time[1] is not None and time[1] < max(flops, moved):
        yield "roofline", "%.4g ms at least, printed %s" % (max(flops, moved), c.figures["operator_ms"])


def live_rows(c):
    m, s = c.one("m"), c.one("s")
    if "live_rows" in c.counts and m is not None and s is not None and abs(c.counts["live_rows"] - m * (1 - s)) > 1:
        yield "live rows", "m (1 - s) = %.1f, printed %d" % (m * (1 - s), c.counts["live_rows"])


def baseline(c):
    said = c.span("speedup")
    for library, text in c.text.get("over", {}).items():
        if said and c.baseline and Figure(text).high is not None and Figure(text).high < said[0]:
            yield "baseline", "%sx over %s and %sx over %s" % (c.figures["speedup"], c.baseline, text, library)


def memory(c):
    m, k, s = c.one("m"), c.one("k"), c.one("s")
    if m is None or s is None:
        return
    # Section 3's live(m): half to even, as Python rounds fractions.
    rows = round(m * (1 - s))
    held = (Fraction(rows * k * 4, 10 ** 6),) * 2
    if c.span("memory_mb") and not meets(held, c.span("memory_mb")):
        yield "memory", "%s MB, printed %s" % (shown(held), c.figures["memory_mb"])
    dense = (Fraction(m * k * 4, 10 ** 6),) * 2
    if c.span("dense_memory_mb") and not meets(dense, c.span("dense_memory_mb")):
        yield "memory", "%s MB, printed %s" % (shown(dense), c.figures["dense_memory_mb"])
    ships = ((c.section or {}).get("config") or {}).get("dtype", "f32")
    if c.span("memory_reduction") and ships != "f32" and rows:
        ratio = over((Fraction(m * k * BYTES[ships], 10 ** 6),) * 2, held)
        if ratio[1] < c.span("memory_reduction")[0]:
            yield "memory", "%s, printed %s" % (shown(ratio), c.figures["memory_reduction"])


def tolerance(c):
    if c.one("m") is None or c.one("s") is None or not c.span("tolerance"):
        return
    if c.text.get("tolerance_of") == "normalised-columns" and c.span("tolerance")[0] >= 1:
        yield "tolerance", "zeros lie within %s" % c.figures["tolerance"]


def vacuous(c):
    for name, digest in c.digests.items():
        if any(zeros.startswith(digest) for zeros in ZEROS):
            yield "vacuous digest", "%s... of %s is that of zeros" % (digest[:8], name)


def _numpy_seed(c, key):
    recipe = c.text.get(key)
    return int(recipe["numpy-pcg64-uniform"]["seed"]) if recipe and "numpy-pcg64-uniform" in recipe else None


ELEMENTS = {}


def true_element(c):
    a, v = _numpy_seed(c, "a_recipe"), _numpy_seed(c, "v_recipe")
    m, k, n, s = c.one("m"), c.one("k"), c.one("n"), c.one("s")
    zeros = any(ZEROS[1].startswith(c.digests[name]) for name in ("dense", "operator") if name in c.digests)
    if None in (a, v, m, k, n, s) or not zeros or k > 2 ** 20:
        return
    size = 8 if c.text.get("output_digests") == "normalised-f64" else 4
    rows = min(m, 64, -(-(PREFIX // size) // n))
    key = a, v, m, k, n, s, rows
    if key not in ELEMENTS:
        ELEMENTS[key] = _element(*key)
    if ELEMENTS[key]:
        yield "true element", "element (%d, 0) of A V is %.4g, of %d products" % ELEMENTS[key]


def _element(seed_a, seed_v, m, k, n, s, rows):
    """The first row whose element in column 0 of A V is not zero, that element, and how many products it has."""
    generator, right, done = published.Pcg64(seed_v), [], 0
    for e in range(0, k * n, n):
        # Column 0 of V is numbers 0, n, 2 n, ..., of which two share a word.
        generator.advance(e // 2 - done)
        before = generator.state
        word = generator.word()
        generator.state, done = before, e // 2
        right.append(((word >> 32 if e % 2 else word & 0xFFFFFFFF) >> 8) * 2.0 ** -24)
    right = np.array(right)
    for i in range(rows):
        left = published.numbers(seed_a, i * k, k)
        kept = published.numbers(seed_a, m * k + i * k, k) < np.float32(1.0 - float(s))
        products = np.where(kept & (left >= np.float32(1e-6)), left, np.float32(0)).astype(float) * right
        if products.max() > 2.0 ** -44:
            return i, float(products.sum()), int((products > 0).sum())
    return None


def totals_alone(c):
    counts = c.counts
    if "factors" in c.text:
        product = math.prod(int(x) for x in c.text["factors"])
        if counts.get("cases") not in (None, product):
            yield "totals", "%d of factors, printed %d" % (product, counts["cases"])
    passed, perturbed = counts.get("cases_passed"), counts.get("perturbations_passed")
    if None not in (passed, perturbed) and perturbed < passed:
        yield "totals", "%d cases passed, and the perturbation test of %d" % (passed, perturbed)


def gain(c):
    if c.span("gain_percent") and c.span("speedup"):
        ratio = tuple(1 + x / 100 for x in c.span("gain_percent"))
        if not meets(ratio, c.span("speedup")):
            yield "gain", "%s, printed %s" % (shown(ratio), c.figures["speedup"])


def margin(c):
    if c.span("tolerance") and c.span("max_abs_error") and c.span("tolerance_over_error"):
        ratio = over((sum(c.span("tolerance")) / 2,) * 2, c.span("max_abs_error"))
        if not meets(ratio, _interval(c.figures["tolerance_over_error"].text, zeros=True)):
            yield "margin", "%s, printed %s" % (shown(ratio), c.figures["tolerance_over_error"])


def amortisation(c):
    build, said, n = c.span("build_s"), c.span("break_even_calls"), c.one("n")
    if build is None or said is None:
        return
    if c.span("vendor_ms") and c.span("operator_ms"):
        theirs, ours = c.time("vendor_ms"), c.time("operator_ms")
    elif c.span("vendor_us_per_token") and c.span("us_per_token") and n is not None:
        theirs, ours = (scaled(c.span(key), Fraction(n, 1000)) for key in ("vendor_us_per_token", "us_per_token"))
    else:
        return
    most = None if theirs[1] is None else theirs[1] - ours[0]
    if most is not None and most <= 0:
        yield "amortisation", "no call saves time, printed %s calls" % c.figures["break_even_calls"]
    elif most is not None and said[1] is not None and build[0] * 1000 / most > said[1]:
        yield "amortisation", "%.4g calls at least, printed %s" % (
            build[0] * 1000 / most, c.figures["break_even_calls"])


# W at most, and W at least.
POWERS = {"NVIDIA B200": (1000, 100)}


def power(c):
    said, ratio = c.span("energy_saved_percent"), c.span("speedup")
    if said is None or ratio is None or c.platform not in POWERS or c.text.get("energy_method") == "time-ratio":
        return
    if c.figures["energy_saved_percent"].is_one and c.figures["speedup"].is_one:
        most, least = POWERS[c.platform]
        watts = max(1 - said[0] / 100, Fraction(0)) * ratio[1] * most
        if watts < least:
            yield "power", "%.4g W at most" % watts


def index(c):
    count, m, k = non_zeros(c), c.one("m"), c.one("k")
    if "index_max" in c.counts and count is not None:
        largest = max(count[1] * (1 + HALF_PERCENT), m, k)
        if largest <= c.counts["index_max"]:
            yield "index", "no number above %.4g, printed %d" % (largest, c.counts["index_max"])


ALONE = [amortisation, power, index, speedup, tokens, gflops, energy, roofline, live_rows, baseline, memory, tolerance, vacuous, true_element,
         totals_alone, gain, margin]


# Claims against each other: functions of all claims, which yield findings.

def of_case(c):
    """Id of the one case of a claim of a section, or None."""
    return c.cases[0].id if len(c.cases) == 1 else None


ONE_CASE = ("vendor_ms", "operator_ms", "speedup")


def same_case(roots, claims):
    first = {}
    for c in claims:
        if of_case(c) is None:
            continue
        for key in ONE_CASE:
            span = c.span(key) if key == "speedup" else c.time(key)
            if span is None:
                continue
            known, other = first.setdefault((c.manifest, of_case(c), key, c.baseline), (span, c))
            if not meets(span, known):
                yield c.finding("same case", "%s %s here, and %s in `%s`" % (key, shown(span), shown(known), other.id))


def sparse_time(roots, claims):
    groups = collections.defaultdict(list)
    for c in claims:
        sparse = "SPARSE" in (c.baseline or "") or "CSR" in (c.baseline or "")
        if sparse and of_case(c) and c.span("vendor_ms"):
            case = c.cases[0]
            groups[(c.place, c.baseline) + case[1:-1]].append(c)
    for group in groups.values():
        for c in group:
            for other in group:
                if c.one("s") < other.one("s") and below(c.time("vendor_ms"), other.time("vendor_ms")):
                    yield c.finding("sparse time", "%s ms, and %s in `%s`" % (
                        c.figures["vendor_ms"], other.figures["vendor_ms"], other.id))
                    break


def time_and_non_zeros(roots, claims):
    groups = collections.defaultdict(list)
    for c in claims:
        if c.span("operator_ms") and non_zeros(c) and non_zeros(c)[0] and c.one("n"):
            groups[c.platform, c.place, c.one("m"), c.one("k"), c.one("n"), c.one("dtype")].append(c)
    for group in groups.values():
        low = min(c.time("operator_ms")[0] for c in group)
        high = max(c.time("operator_ms")[1] for c in group)
        sparsest = min(group, key=lambda c: non_zeros(c)[0])
        fullest = max(group, key=lambda c: non_zeros(c)[0])
        if high <= low * Fraction(21, 20) and non_zeros(fullest)[0] >= 10 * non_zeros(sparsest)[0]:
            yield sparsest.finding("time and non-zeros", "%s for all of %d claims" % (
                sparsest.figures["operator_ms"], len(group)))


def counted(roots, claims):
    groups = collections.defaultdict(list)
    for c in claims:
        if of_case(c) and c.one("pattern") == "uniform" and c.one("s") not in (0, 1):
            groups[c.place].append(c)
    for group in groups.values():
        chance, levels = 1.0, set()
        for c in group:
            if c.span("gflops") and c.span("tokens_per_s") and c.one("s") not in levels:
                levels.add(c.one("s"))
                p, size = 1 - c.one("s"), c.one("m") * c.one("k")
                count = scaled(over(c.span("gflops"), c.span("tokens_per_s")), Fraction(10 ** 9, 2))
                distance = max(abs(x - size * p) for x in count)
                chance *= min(1.0, 2 * float(distance) / (math.sqrt(size * p * (1 - p)) * math.sqrt(2 * math.pi)))
                last = c
        if chance < 1e-6:
            yield last.finding("non-zeros", "at %d levels: by chance %.4g" % (len(levels), chance))


def shared_digest(roots, claims):
    groups = collections.defaultdict(list)
    for c in claims:
        levels = {case.s for case in c.cases}
        for name, digest in c.digests.items():
            groups[name, digest].append(c)
            if name != "v" and len(levels) > 1:
                yield c.finding("shared digest", "one digest of %s for %d levels" % (name, len(levels)))
    for (name, digest), group in groups.items():
        others = [c for c in group if _differ(name, group[0], c)]
        if others:
            yield others[-1].finding("shared digest", "%s... of %s stands beside %d claims about different inputs"
                                     % (digest[:8], name, len(others) + 1))


def _differ(name, a, b):
    """Whether a tensor is said to be of other sizes, or of another level."""
    def other(*keys):
        return any(a.one(key) != b.one(key) for key in keys)

    if name == "a":
        return other("m", "k", "s")
    if name == "v":
        return None not in (a.one("k"), b.one("k")) and other("k") or other("n")
    return other("m", "k", "n", "s", "dtype")


def shared_figure(roots, claims):
    seen = {}
    for c in claims:
        for key, figure in c.figures.items():
            if not figure.is_one or len(re.sub(r"\D", "", figure.text).lstrip("0")) < 5:
                continue
            here = platform_of(c, roots)
            for there, other in seen.setdefault((key, figure.text), []):
                if here and there != here:
                    yield c.finding("shared figure", "%s %s on %s, and on %s in `%s`" % (
                        key, figure, here, there, other.id))
                    break
            if here:
                seen[key, figure.text].append((here, c))


def platform_of(c, roots):
    """The claim's own, its manifest's, or that of the first section that it names."""
    if c.platform or not c.about:
        return c.platform
    name = c.about[0].split("/")[0]
    return next((root.top.get("platform") for root in roots if root.name == name), None)


DRAWN = {}


def unpruned_digest(roots, claims):
    for c in claims:
        weights = (c.section or {}).get("weights", {})
        pruned = [case for case in c.cases if case.s]
        if "a" not in c.digests or c.scope != "prefix" or not pruned or "torch-device-uniform" not in weights:
            continue
        recipe, case = weights["torch-device-uniform"], pruned[-1]
        key = recipe["platform"], int(recipe["multiprocessors"]), int(c.section["seed"]), case.m * case.k
        if key not in DRAWN:
            # The prefix lies in the first round.
            generator = published.Generator(*key[:3])
            DRAWN[key] = published.digests([next(generator.draw(key[3]))])[0]
        if DRAWN[key].startswith(c.digests["a"]):
            yield c.finding("unpruned digest", "%s... is the digest of A as it was drawn" % c.digests["a"][:8])


def prefix_coverage(roots, claims):
    for c in claims:
        if c.scope != "prefix":
            continue
        m, k, n = c.one("m"), c.one("k"), c.one("n")
        size = BYTES[c.one("dtype") or "f32"]
        out = 8 if c.text.get("output_digests") == "normalised-f64" else 4
        parts = []
        for name in c.digests:
            elements, each = {"a": ((m, k), size), "v": ((k, n), size)}.get(name, ((m, n), out))
            if None not in elements and math.prod(elements) * each > PREFIX:
                parts.append("%s %.4g %%" % (name, 100 * PREFIX / (math.prod(elements) * each)))
        if parts:
            yield c.finding("prefix coverage", ", ".join(parts))


def is_about(c, manifest_name, section):
    return not c.about or manifest_name in c.about or "%s/%s" % (manifest_name, section) in c.about


def is_given(c, roots):
    """Whether every manifest that it is about is here: a sum or a peak of a part would say less than it seems to."""
    return {about.split("/")[0] for about in c.about} <= {root.name for root in roots}


def members(c, claims):
    """Claims of sections that one beside `sections` is about."""
    return [other for other in claims if other.section and is_about(c, other.manifest, other.section["name"])]


def peak(roots, claims):
    for c in claims:
        said = c.span("speedup_max")
        if not said or not is_given(c, roots):
            continue
        if c.section:
            held = [other for other in claims if other.place == c.place and set(other.cases) <= set(c.cases)]
        else:
            held = members(c, claims)
        for other in held:
            if other.span("speedup") and c.baseline in (None, other.baseline) and below(said, other.span("speedup")):
                yield c.finding("peak", "at most %sx, and %sx in `%s`" % (
                    c.figures["speedup_max"], other.figures["speedup"], other.id))
                break


def maximum(roots, claims):
    for c in claims:
        said = c.span("max_abs_error")
        if not said or c.section or not is_given(c, roots):
            continue
        for other in members(c, claims):
            if other.span("max_abs_error") and below(said, other.span("max_abs_error")):
                yield c.finding("maximum", "%s, and %s in `%s`" % (
                    c.figures["max_abs_error"], other.figures["max_abs_error"], other.id))
                break


def span_of_levels(roots, claims):
    for c in claims:
        ids = {case.id for case in c.cases}
        for key in ONE_CASE:
            if len(ids) < 2 or key not in c.figures or not c.figures[key].is_range:
                continue
            for other in claims:
                if (other.manifest == c.manifest and of_case(other) in ids and other.span(key)
                        and c.baseline in (None, other.baseline) and not meets(c.span(key), other.span(key))):
                    yield c.finding("range", "%s %s, and %s in `%s`" % (
                        key, c.figures[key], other.figures[key], other.id))
                    break


def totals(roots, claims):
    for c in claims:
        cases, passed = c.counts.get("cases"), c.counts.get("cases_passed")
        if cases is None or not is_given(c, roots):
            continue
        if c.section:
            stated = int(c.section.get("published", {}).get("cases", 0))
            if len(c.cases) == stated != cases:
                yield c.finding("totals", "%d cases, and the section has %d" % (cases, stated))
            continue
        sections = [section for root in roots for section in root.sections
                    if "published" in section and is_about(c, root.name, section["name"])]
        total = sum(int(section["published"]["cases"]) for section in sections)
        if sections and total != cases:
            yield c.finding("totals", "%d cases, %d of named sections (%d)" % (cases, total, len(sections)))
        for other in members(c, claims) if passed == cases else []:
            if other.counts.get("cases_passed", math.inf) < other.counts.get("cases", 0):
                yield c.finding("totals", "all passed, and %d of %d in `%s`" % (
                    other.counts["cases_passed"], other.counts["cases"], other.id))
                break


def shapes(roots, claims):
    for root in roots:
        for section in root.sections:
            if "config" not in section:
                continue
            size = {key: int(value) for key, value in section["config"].items() if value.isdigit()}
            hidden, middle = size["hidden_size"], size["intermediate_size"]
            narrow = size["key_value_heads"] * (hidden // size["attention_heads"])
            tokens_wide = size["vocabulary"], hidden
            want = {"embed_tokens": tokens_wide, "lm_head": tokens_wide, "q_proj": (hidden, hidden),
                    "k_proj": (narrow, hidden), "v_proj": (narrow, hidden), "o_proj": (hidden, hidden),
                    "gate_proj": (middle, hidden), "up_proj": (middle, hidden), "down_proj": (hidden, middle)}
            for layer in _list(section["layers"]):
                name = layer["name"].split(".")[-1]
                shape = tuple(int(x) for x in layer["shape"])
                if want.get(name, shape) != shape:
                    yield Finding(root.name, section.line, section["name"], "shape", "`%s` is %d x %d, of the model %d x %d"
                                  % ((layer["name"],) + shape + want[name]))


def look_up(roots, claims):
    for root in roots:
        for section in root.sections:
            if section.get("config", {}).get("tie_word_embeddings", "true").lower() != "false":
                continue
            for c in claims:
                if (c.place == "%s/%s" % (root.name, section["name"]) and len(c.cases) == 1 and c.span("speedup")
                        and c.cases[0].layer.split(".")[-1] == "embed_tokens"):
                    yield Finding(root.name, section.line, section["name"], "look-up", "%sx in `%s`" % (
                        c.figures["speedup"], c.id))
                    break


def trend(roots, claims):
    for c in claims:
        axis = c.text.get("speedup_rises_with")
        if axis is None or not is_given(c, roots):
            continue
        groups = collections.defaultdict(lambda: collections.defaultdict(list))
        for other in compared(c, claims):
            size = {"batch": other.one("n"), "size": (other.one("m") or 0) * (other.one("k") or 0),
                    "sparsity": other.one("s")}
            if None in (other.one("m"), other.one("n"), other.one("s")) or not other.span("speedup"):
                continue
            alike = {"batch": other.one("n"), "size": (other.one("m"), other.one("k")), "sparsity": other.one("s")}
            del alike[axis]
            layer = other.one("layer")
            key = (other.platform, other.baseline, other.one("dtype"), layer and layer.split(".")[-1],
                   other.one("pattern"), tuple(sorted(alike.items())))
            groups[key][size[axis]].append(other)
        fallen = [pair for group in groups.values() for pair in _fallen(group)]
        if fallen:
            yield c.finding("trend", "%sx in `%s`, and %sx in `%s`" % (
                fallen[0][0].figures["speedup"], fallen[0][0].id, fallen[0][1].figures["speedup"], fallen[0][1].id))


def compared(c, claims):
    """Claims at one case that a trend is held against."""
    for other in claims:
        if c.baseline not in (None, other.baseline):
            continue
        if c.section:
            good = other.place == c.place and other.section and set(other.cases) <= set(c.cases)
        elif c.about:
            good = other.section and is_about(c, other.manifest, other.section["name"])
        else:
            good = not other.section and other.manifest == c.manifest
        if good and len(other.cases) == 1:
            yield other


def _fallen(group):
    """Two places in the wrong order, whichever of the claims at each is meant."""
    places = sorted(group)
    for i, at in enumerate(places):
        for after in places[i + 1:]:
            low = min(c.span("speedup")[0] for c in group[at])
            highs = [c.span("speedup")[1] for c in group[after]]
            if None not in highs and max(highs) < low:
                yield group[at][0], group[after][0]


def unknown_sections(roots, claims):
    names = {root.name for root in roots}
    sections = {"%s/%s" % (root.name, section["name"]) for root in roots for section in root.sections}
    for c in claims:
        for about in c.about:
            if about.split("/")[0] in names and "/" in about and about not in sections:
                yield c.finding("about", "no section is named `%s`" % about)


TOGETHER = [same_case, sparse_time, time_and_non_zeros, counted, shared_digest, shared_figure, unpruned_digest,
            prefix_coverage, peak, maximum, span_of_levels, totals, shapes, look_up, trend, unknown_sections]


def findings(roots):
    claims = [claim for root in roots for claim in root.claims]
    found = [c.finding(*one) for c in claims for rule in ALONE for one in rule(c)]
    for rule in TOGETHER:
        found += rule(roots, claims)
    return len(claims), sorted(found, key=lambda f: (f.manifest, f.line, f.rule))


def keys(found):
    return collections.Counter((f.manifest, f.line, f.about, f.rule) for f in found)


def read_json(document):
    return collections.Counter((f["manifest"], f["line"], f["about"], f["rule"]) for f in document["findings"])


def compare(ours, theirs):
    """Lines that say what is not in both, as many times."""
    return (["FAIL only here: %s:%s: %s: %s" % key for key in (ours - theirs).elements()]
            + ["FAIL only there: %s:%s: %s: %s" % key for key in (theirs - ours).elements()])


# One figure changed at a time.

def changed(text, name, path, printed):
    """The manifest's text with one scalar of the claim or section `name` written as `printed`."""
    def item(node, key):
        if isinstance(node, yaml.SequenceNode):
            return node.value[int(key)]
        return next((value for found, value in node.value if found.value == key), None)

    def named(node, key):
        return [one for one in (node.value if node else []) if item(one, key) and item(one, key).value == name]

    root = yaml.compose(text, Loader=LOADER)
    sections = item(root, "sections")
    places = named(sections, "name") + named(item(root, "claims"), "id")
    for section in sections.value if sections else []:
        places += named(item(section, "claims"), "id")
    node, = places
    for key in path.split("/"):
        node = item(node, key)
    if node.value == printed:
        raise ValueError("%s: %s is %s already" % (name, path, printed))
    # Quoted as nothing that YAML could read otherwise, but for ranges, which are plain text.
    new = "'%s'" % printed if node.style or re.fullmatch("[0-9a-f]{8,}", printed) else printed
    return text[:node.start_mark.index] + new + text[node.end_mark.index:]


def expected(row):
    """How often each finding is to come, by manifest, claim and rule; below zero where it is to go."""
    change = collections.Counter()
    for key, sign in (("gains", 1), ("loses", -1)):
        for one in row.get(key, []):
            rule, _, place = one.partition(" of ")
            change[tuple((place or row["of"]).split("/")) + (rule,)] += sign
    return change


def difference(before, after):
    """Lines move; findings are told apart by where and what they are."""
    change = collections.Counter()
    for counts, sign in ((before, -1), (after, 1)):
        for (name, _, about, rule), count in counts.items():
            change[name, about, rule] += sign * count
    return {key: count for key, count in change.items() if count}


def ask(program, folder):
    """What the program finds."""
    output = subprocess.run([program, "lint", folder, "--format", "json"], capture_output=True, check=False)
    if output.returncode not in (0, 1):
        raise ValueError(output.stderr.decode())
    return read_json(json.loads(output.stdout))


def mutations(folder, program):
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "mutations.yaml"), encoding="utf-8") as f:
        rows = _plain(yaml.compose(f.read(), Loader=LOADER))
    roots = read([folder])
    ours, theirs, failed, seen = keys(findings(roots)[1]), ask(program, folder), 0, set()
    with tempfile.TemporaryDirectory() as scratch, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        tried = []
        for at, row in enumerate(rows):
            copy = os.path.join(scratch, str(at), "manifests")
            shutil.copytree(folder, copy)
            name, about = row["of"].split("/")
            path = os.path.join(copy, name + ".yaml")
            with open(path, encoding="utf-8") as f:
                text = changed(f.read(), about, row["key"], row["printed"])
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)
            # The program runs while this goes on.
            tried.append((row, name, path, pool.submit(ask, program, copy)))
        for row, name, path, asked in tried:
            again = [load(path) if root.name == name else root for root in roots]
            got = difference(ours, keys(findings(again)[1])), difference(theirs, asked.result())
            want = dict(expected(row))
            seen |= {rule for _, _, rule in want}
            for who, change in zip(("here", "there"), got):
                if change != want:
                    print("FAIL %s %s: %s, %s: %s, expected %s" % (
                        row["of"], row["key"], row["printed"], who, change, want))
                    failed += 1
    missing = sorted({rule for _, _, _, rule in ours} - seen)
    for rule in missing:
        print("FAIL no figure is changed for the rule `%s`" % rule)
    print("%d figures changed, %d rules, %d failed" % (len(rows), len(seen), failed + len(missing)))
    return 1 if failed or missing else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", metavar="PATH")
    parser.add_argument("--json", metavar="FILE", help="what `verify lint PATH... --format json` wrote")
    parser.add_argument("--mutations", metavar="PROGRAM", help="`verify`, to be run on changed copies of PATH")
    args = parser.parse_args()
    if args.mutations:
        return mutations(args.paths[0], args.mutations)
    count, found = findings(read(args.paths))
    for f in found if not args.json else []:
        print("%s:%d: %s: %s: %s" % f)
    if not args.json:
        print("%d claims, %d findings" % (count, len(found)))
        return 1 if found else 0
    with open(args.json, encoding="utf-8") as f:
        document = json.load(f)
    lines = compare(keys(found), read_json(document))
    if document["claims"] != count:
        lines.append("FAIL %d claims here, %d there" % (count, document["claims"]))
    for line in lines:
        print(line)
    print("%d findings equal, %d not" % (sum((keys(found) & read_json(document)).values()), len(lines)))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
