#!/usr/bin/env python3
"""Section 10: findings on published claims, by themselves and against each other, in plain integers and fractions.

    claims.py PATH... [--json FILE]       findings; FILE is what `verify lint PATH... --format json` wrote
    claims.py --mutations PROGRAM FOLDER  a figure changed at a time: both must gain or lose that finding alone
"""

import argparse
import collections
import hashlib
import json
import math
import os
import re
import subprocess
import sys
import tempfile
from fractions import Fraction

import yaml

import manifest
import published

PREFIX = published.PREFIX
Finding = collections.namedtuple("Finding", "manifest line about rule text")
HALF_PERCENT = Fraction(1, 200)
# GFLOP/s of f32 and of the 16-bit formats, GB/s.
PEAKS = {"H200": (66900, 989500, 4800), "B200": (80000, 2250000, 8000), "T4": (8100, 65000, 320),
         "MI300X": (163400, 1307400, 5300)}
SPARSE = ("cuSPARSE", "rocSPARSE", "hipSPARSE", "CPU CSR", "oneMKL CSR", "COO")
BYTES = {"f32": 4, "bf16": 2, "f16": 2}
ZEROS = (hashlib.sha256(b"").hexdigest(), hashlib.sha256(bytes(PREFIX)).hexdigest())


# Figures, as text.

class Figure:
    """Lowest and highest value that rounds to what is printed; `high` is None where there is no end."""

    def __init__(self, text):
        self.text = text = text.strip()
        if text.startswith("over "):
            self.low, self.high = _number(text[5:])[0], None
        elif " to " in text:
            ends = [_interval(end) for end in text.split(" to ")]
            self.low, self.high = ends[0][0], ends[1][1]
        else:
            self.low, self.high = _interval(text)

    @property
    def is_range(self):
        return " to " in self.text

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
    return value - place / 2, value + place / 2


def _span(figure):
    return figure.low, figure.high


def meets(a, b):
    """Whether two intervals have a value in common."""
    return (b[1] is None or a[0] <= b[1]) and (a[1] is None or b[0] <= a[1])


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
           "gflops vendor_gflops energy_saved_percent memory_mb dense_memory_mb memory_reduction max_abs_error tolerance "
           "tolerance_over_error gain_percent").split()
COUNTS = "cases cases_passed perturbations_passed live_rows layers iterations".split()


class Claim:
    def __init__(self, text, root, section, place, cases, index):
        self.text, self.id, self.line, self.section = text, text["id"], text.line, section
        self.manifest, self.place, self.index = root["name"], place, index
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


def load(path, first):
    """A manifest's name, sections and claims; `first` is the index of its first claim."""
    with open(path, encoding="utf-8") as f:
        text = f.read()
    root = _plain(yaml.compose(text))
    root["name"] = os.path.splitext(os.path.basename(path))[0]
    cases = manifest.load(path)[1] if "sections" in root else []
    of = collections.defaultdict(list)
    for case in cases:
        of[case.id.split("/")[0]].append(
            Known(case.id, case.layer["name"], case.m, case.k, case.n, case.dtype, case.pattern, case.s))
    claims = []
    for section in root.get("sections", []):
        place = "%s/%s" % (root["name"], section["name"])
        for one in section.get("claims", []):
            chosen = [case for case in of[section["name"]] if _selects(one.get("case", {}), case)]
            claims.append(Claim(one, root, section, place, chosen, first + len(claims)))
    for one in root.get("claims", []):
        claims.append(Claim(one, root, None, root["name"], [_stated(one["case"])] if "case" in one else [],
                            first + len(claims)))
    return Root(root["name"], root.get("sections", []), root, claims)


def read(paths):
    files = []
    for path in paths:
        if os.path.isdir(path):
            files += sorted(os.path.join(path, name) for name in os.listdir(path) if name.endswith(".yaml"))
        else:
            files.append(path)
    roots = []
    for path in files:
        roots.append(load(path, sum(len(root.claims) for root in roots)))
    return roots


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
    saved = tuple(100 * (1 - 1 / x) for x in ratio)
    if c.text.get("energy_method") == "time-ratio":
        if not meets(saved, said):
            yield "energy", "1 - 1 / speedup = %s %%, printed %s" % (shown(saved), c.figures["energy_saved_percent"])
    elif "." in c.figures["energy_saved_percent"].text and meets(saved, said):
        yield "energy", "%s %% is the figure of times alone" % c.figures["energy_saved_percent"]


def roofline(c):
    n, count, dtype, m, k = c.one("n"), non_zeros(c), c.one("dtype"), c.one("m"), c.one("k")
    peak = next((PEAKS[name] for name in PEAKS if name in (c.platform or "").split()), None)
    if None in (n, count, dtype, peak):
        return
    least = count[0] * (1 - HALF_PERCENT)
    flops = 2 * least * n / (peak[0 if dtype == "f32" else 1] * 10 ** 6)
    moved = (least * BYTES[dtype] + k * n * BYTES[dtype] + m * n * 4) / (peak[2] * 10 ** 6)
    for key in ("operator_ms", "vendor_ms"):
        if c.span(key) and c.time(key)[1] < max(flops, moved):
            yield "roofline", "%.4g ms at least, printed %s %s" % (max(flops, moved), key, c.figures[key])


def live_rows(c):
    m, s = c.one("m"), c.one("s")
    if "live_rows" in c.counts and m is not None and s is not None and abs(c.counts["live_rows"] - m * (1 - s)) > 1:
        yield "live rows", "m (1 - s) = %.1f, printed %d" % (m * (1 - s), c.counts["live_rows"])


def baseline(c):
    said = c.span("speedup")
    for library, text in c.text.get("over", {}).items():
        if said and Figure(text).high is not None and Figure(text).high < said[0]:
            yield "baseline", "%sx over %s and %sx over %s" % (c.figures["speedup"], c.baseline, text, library)


def memory(c):
    m, k, s = c.one("m"), c.one("k"), c.one("s")
    if m is None or s is None:
        return
    rows = m * (1 - s)
    held = (Fraction(rows - 1) * k * 4 / 10 ** 6, Fraction(rows + 1) * k * 4 / 10 ** 6)
    if c.span("memory_mb") and not meets(held, c.span("memory_mb")):
        yield "memory", "%s MB, printed %s" % (shown(held), c.figures["memory_mb"])
    dense = (Fraction(m * k * 4, 10 ** 6),) * 2
    if c.span("dense_memory_mb") and not meets(dense, c.span("dense_memory_mb")):
        yield "memory", "%s MB, printed %s" % (shown(dense), c.figures["dense_memory_mb"])
    if c.span("memory_reduction"):
        ships = ((c.section or {}).get("config") or {}).get("dtype", "f32")
        ratio = over((Fraction(m * k * BYTES[ships], 10 ** 6),) * 2, held)
        if not meets(ratio, c.span("memory_reduction")):
            yield "memory", "%s, printed %s" % (shown(ratio), c.figures["memory_reduction"])


def tolerance(c):
    if c.text.get("tolerance_of") == "normalised-columns" and c.span("tolerance")[0] >= 1:
        yield "tolerance", "zeros lie within %s" % c.figures["tolerance"]


def vacuous(c):
    for name in ("dense", "operator"):
        digest = c.digests.get(name)
        if digest and any(zeros.startswith(digest) for zeros in ZEROS):
            yield "vacuous digest", "%s of the %s output is that of zeros" % (digest[:8], name)


def _numpy_seed(c, key):
    recipe = c.text.get(key)
    return int(recipe["numpy-pcg64-uniform"]["seed"]) if recipe and "numpy-pcg64-uniform" in recipe else None


ELEMENTS = {}


def true_element(c):
    a, v = _numpy_seed(c, "a_recipe"), _numpy_seed(c, "v_recipe")
    m, k, n, s = c.one("m"), c.one("k"), c.one("n"), c.one("s")
    if None in (a, v, m, k, n, s) or not list(vacuous(c)):
        return
    key = a, v, m, k, n, s
    if key not in ELEMENTS:
        ELEMENTS[key] = _element(*key)
    value, products, largest = ELEMENTS[key]
    if largest > Fraction(1, 2 ** 44):
        yield "true element", "element (0, 0) of A V is %.4g, of %d products" % (value, products)


def _element(seed_a, seed_v, m, k, n, s):
    """Element (0, 0) of A V, how many products it has, and the largest."""
    left = published.numbers(seed_a, 0, k)
    mask = published.numbers(seed_a, m * k, k)
    kept = (mask < published.np.float32(1.0 - float(s))) & (left >= published.np.float32(1e-6))
    # A V of n columns: its first column is numbers 0, n, 2 n, ...
    generator, right, at = published.Pcg64(seed_v), [], 0
    for j in range(k):
        generator.advance(j * n // 2 - at)
        word = generator.word()
        at = j * n // 2 + 1
        right.append(((word >> 32 if j * n % 2 else word & 0xFFFFFFFF) >> 8) * 2.0 ** -24)
    products = left[kept].astype(float) * published.np.array(right)[kept]
    return float(products.sum()), len(products), float(products.max())


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
        ratio = over(c.span("tolerance"), c.span("max_abs_error"))
        if not meets(ratio, _interval(c.figures["tolerance_over_error"].text, zeros=True)):
            yield "margin", "%s, printed %s" % (shown(ratio), c.figures["tolerance_over_error"])


ALONE = [speedup, tokens, gflops, energy, roofline, live_rows, baseline, memory, tolerance, vacuous, true_element,
         totals_alone, gain, margin]


# Claims against each other: functions of all claims, which yield findings.

def of_case(c):
    """Names of the one case of a claim, and of whose times they are."""
    return c.cases[0].id if len(c.cases) == 1 else None


def same_case(roots, claims):
    first = {}
    for c in claims:
        if of_case(c) is None:
            continue
        for key in FIGURES:
            span = c.time(key) if key.endswith("_ms") else c.span(key)
            if span is None or key == "tolerance":
                continue
            vendor = c.baseline if "vendor" in key or "speedup" in key else None
            name = c.manifest, of_case(c), key, vendor
            if name not in first:
                first[name] = span, c
            elif not meets(span, first[name][0]):
                yield c.finding("same case", "%s %s here, and %s in `%s`"
                                % (key, shown(span), shown(first[name][0]), first[name][1].id))


def sparse_time(roots, claims):
    groups = collections.defaultdict(list)
    for c in claims:
        if c.baseline in SPARSE and c.span("vendor_ms") and c.one("s") is not None and c.one("m") is not None:
            groups[c.platform, c.baseline, c.one("m"), c.one("k"), c.one("n"), c.one("dtype"),
                   c.one("pattern")].append(c)
    for group in groups.values():
        for c in group:
            for other in group:
                if c.one("s") < other.one("s") and c.time("vendor_ms")[1] < other.time("vendor_ms")[0]:
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
        if c.one("pattern") == "uniform" and c.one("s") not in (None, 0, 1):
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
        if "a" in c.digests and len({case.s for case in c.cases}) > 1:
            yield c.finding("shared digest", "one digest of A for %d levels" % len({case.s for case in c.cases}))
        for name, digest in c.digests.items():
            groups[name, digest].append(c)
    for (name, digest), group in groups.items():
        inputs = {}
        for c in group:
            inputs.setdefault(_input(c, name), c)
        if len(inputs) > 1:
            yield group[-1].finding("shared digest", "%s of %s stands beside %d claims about different inputs"
                                    % (digest[:8], name, len(inputs)))


def _input(c, name):
    a = (str(c.text.get("a_recipe")), c.one("m"), c.one("k"), c.one("s"))
    v = (str(c.text.get("v_recipe")), c.one("k"), c.one("n"))
    known = {"a": a, "v": v}.get(name, a + v)
    return known if None not in known and "None" not in known else c.id


def shared_figure(roots, claims):
    seen = {}
    for c in claims:
        for key, figure in c.figures.items():
            if len(re.sub(r"\D", "", figure.text).strip("0")) < 5:
                continue
            platforms = platforms_of(c, roots)
            for platform in platforms:
                for (other_key, text, there), other in seen.items():
                    if (other_key, text) == (key, figure.text) and there != platform:
                        yield c.finding("shared figure", "%s %s on %s and %s" % (key, text, platform, there))
            for platform in platforms:
                seen.setdefault((key, figure.text, platform), c)


def platforms_of(c, roots):
    if c.platform:
        return [c.platform]
    names = {about.split("/")[0] for about in c.about}
    return sorted({root.top["platform"] for root in roots if root.name in names and "platform" in root.top})


DRAWN = {}


def unpruned(c):
    """Prefix digest of A as the section's generator draws it."""
    weights = (c.section or {}).get("weights")
    if not isinstance(weights, dict) or "torch-device-uniform" not in weights:
        return None
    recipe = weights["torch-device-uniform"]
    key = recipe["platform"], int(recipe["multiprocessors"]), int(c.section["seed"]), c.one("m"), c.one("k")
    if key not in DRAWN:
        generator = published.Generator(*key[:3])
        DRAWN[key] = published.digests([next(generator.draw(key[3] * key[4]))])[0]
    return DRAWN[key]


def unpruned_digest(roots, claims):
    for c in claims:
        if "a" in c.digests and any(case.s for case in c.cases):
            drawn = unpruned(c)
            if drawn and drawn.startswith(c.digests["a"]):
                yield c.finding("unpruned digest", "%s is the digest of A as it was drawn" % c.digests["a"][:8])


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


def members(c, claims):
    """Claims that one about sections, or about everything, is held against."""
    if c.section is not None:
        return [other for other in claims if other is not c and other.place == c.place]
    if not c.about:
        return [other for other in claims if other.section is not None]
    return [other for other in claims if other.section is not None
            and (other.place in c.about or other.manifest in c.about)]


def peak(roots, claims):
    for c in claims:
        said = c.span("speedup_max")
        for other in members(c, claims) if said else []:
            if other.span("speedup") and c.baseline in (None, other.baseline) and said[1] < other.span("speedup")[0]:
                yield c.finding("peak", "at most %sx, and %sx in `%s`" % (
                    c.figures["speedup_max"], other.figures["speedup"], other.id))
                break


def maximum(roots, claims):
    for c in claims:
        said = c.span("max_abs_error")
        if not said or (c.section is not None and "case" in c.text):
            continue
        for other in members(c, claims):
            if other.span("max_abs_error") and said[1] < other.span("max_abs_error")[0]:
                yield c.finding("maximum", "%s, and %s in `%s`" % (
                    c.figures["max_abs_error"], other.figures["max_abs_error"], other.id))
                break


def span_of_levels(roots, claims):
    for c in claims:
        ids = {case.id for case in c.cases}
        if len(ids) < 2 or c.section is None:
            continue
        for key, figure in c.figures.items():
            if not figure.is_range:
                continue
            for other in claims:
                if (other.manifest == c.manifest and of_case(other) in ids and other.span(key)
                        and not meets(c.span(key), other.span(key))):
                    yield c.finding("range", "%s %s, and %s in `%s`" % (key, figure, other.figures[key], other.id))
                    break


def totals(roots, claims):
    for c in claims:
        if c.section is not None or "cases" not in c.counts:
            continue
        sections = [(root.name, section) for root in roots for section in root.sections if "published" in section
                    and (not c.about or root.name in c.about or "%s/%s" % (root.name, section["name"]) in c.about)]
        if not sections:
            continue
        total = sum(int(section["published"]["cases"]) for _, section in sections)
        if total != c.counts["cases"]:
            yield c.finding("totals", "%d cases, %d of named sections (%d)" % (c.counts["cases"], total, len(sections)))
        if c.counts.get("cases_passed") == c.counts["cases"]:
            for other in members(c, claims):
                if other.counts.get("cases_passed", 0) < other.counts.get("cases", 0) and "cases_passed" in other.counts:
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
            want = {"embed_tokens": (size["vocabulary"], hidden), "q_proj": (hidden, hidden),
                    "k_proj": (narrow, hidden), "v_proj": (narrow, hidden), "o_proj": (hidden, hidden),
                    "gate_proj": (middle, hidden), "up_proj": (middle, hidden), "down_proj": (hidden, middle)}
            for layer in _list(section["layers"]):
                name = layer["name"].split(".")[-1]
                shape = tuple(int(x) for x in layer["shape"])
                if want.get(name, shape) != shape:
                    yield Finding(root.name, section.line, section["name"], "shape", "`%s` is %d x %d, of the model %d x %d"
                                  % ((layer["name"],) + shape + want[name]))


def unknown_sections(roots, claims):
    names = {root.name for root in roots}
    sections = {"%s/%s" % (root.name, section["name"]) for root in roots for section in root.sections}
    for c in claims:
        for about in c.about:
            if about.split("/")[0] in names and "/" in about and about not in sections:
                yield c.finding("about", "no section is named `%s`" % about)


TOGETHER = [same_case, sparse_time, time_and_non_zeros, counted, shared_digest, shared_figure, unpruned_digest,
            prefix_coverage, peak, maximum, span_of_levels, totals, shapes, unknown_sections]


def findings(paths):
    roots = read(paths)
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", metavar="PATH")
    parser.add_argument("--json", metavar="FILE", help="what `verify lint PATH... --format json` wrote")
    args = parser.parse_args()
    count, found = findings(args.paths)
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
