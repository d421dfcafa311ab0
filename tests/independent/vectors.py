#!/usr/bin/env python3
"""The vectors of tests/vectors, replayed: each has a rule of VERIFY.md, what is given, and what the rule gives.

    vectors.py [FOLDER]    one line a vector that fails, then `N passed, M failed`
"""

import glob
import hashlib
import json
import os
import sys
import tempfile
from collections import namedtuple
from fractions import Fraction

import numpy as np

import arithmetic
import claims
import inputs
import manifest
import perturb
import published
import spot
import stack
import streams
import weights
from formats import DTYPES, decode, digest, encode, panels, panels_root, whole_panels
from inputs import Refused

FORMAT = "sparse-verify-rules/1"
FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "vectors")
NOTHING = hashlib.sha256(b"").hexdigest()
EMPTY = NOTHING[:16]
Small = namedtuple("Small", "seed dtype output arithmetic pattern")


# Values as text: encodings in hexadecimal, a space between them.

def bits_of(text, dtype):
    return decode(np.array([int(word, 16) for word in text.split()], np.uint32 if dtype == "f32" else np.uint16), dtype)


def text_of(x, dtype):
    return " ".join("%0*x" % (8 if dtype == "f32" else 4, int(b)) for b in encode(x, dtype))


def matrix(given, dtype):
    """{shape, rows} with a text for each row, or {shape, fill, but: [[i, j, encoding], ..]}."""
    r, c = given["shape"]
    if "rows" in given:
        out = np.array([bits_of(row, dtype) for row in given["rows"]], np.float32).reshape(r, c)
    else:
        out = np.full((r, c), bits_of(given["fill"], dtype)[0], np.float32)
        for i, j, bits in given.get("but", []):
            out[i, j] = bits_of(bits, dtype)[0]
    return out


def rows_of(x, dtype):
    return [text_of(row, dtype) for row in x]


def pattern_of(given):
    return manifest._pattern(given)[0]


# Rules: what is given -> what it gives.

def stream(g):
    s = streams.Stream(g["seed"], g["role"], g["shape"], g["dtype"], g.get("nonce"))
    words = s.words(g["first"], g["first"] + g["count"])
    return {"domain": s.domain, "key": s.key.hex(), "words": " ".join("%08x" % w for w in words)}


def values(g):
    """Elements, by their index, of a tensor."""
    per, rule = inputs.DISTRIBUTIONS[g["values"]]
    s = streams.Stream(g["seed"], g["role"], g["shape"], g["dtype"])
    one = [inputs.round_to(rule(s.words(per * e, per * e + per)), DTYPES[g["dtype"]])[0] for e in g["elements"]]
    words = [" ".join("%08x" % w for w in s.words(per * e, per * e + per)) for e in g["elements"]]
    return {"words": words, "bits": text_of(np.array(one), g["dtype"])}


def tensor(g):
    x = inputs.values(g["seed"], g["role"], g["shape"][0], g["shape"][1], g["dtype"], g["values"])
    return {"bits": rows_of(x, g["dtype"]), "sha256": digest(x, g["dtype"])}


def threshold(g):
    return {"threshold": inputs.threshold(manifest.sparsity(g["sparsity"]))}


def live(g):
    return {"live": inputs.live(g["count"], manifest.sparsity(g["sparsity"]))}


def power_law(g):
    """c_r of the ranks."""
    m, k = g["shape"]
    return {"counts": inputs.power_law_counts(m, k, manifest.sparsity(g["sparsity"])).tolist()}


def prune(g):
    dtype, name = g["dtype"], g.get("values")
    if "a" in g:
        a = matrix(g["a"], dtype)
    else:
        a = inputs.values(g["seed"], "A.values", g["shape"][0], g["shape"][1], dtype, name)
    s = manifest.sparsity(g.get("sparsity", "0"))
    try:
        a = inputs.prune(a, g["seed"], dtype, pattern_of(g["pattern"]), s, name)
    except Refused:
        return {"refused": True}
    out = {"sha256": digest(a, dtype)}
    if a.size <= 1000:
        out["rows"] = rows_of(a, dtype)
    return out


def stored(g):
    """A matrix of a safetensors file with these tensors."""
    header, data = {}, b""
    for name, t in g["tensors"].items():
        raw = bytes.fromhex(t["bytes"])
        header[name] = {"dtype": t["dtype"], "shape": t["shape"], "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    head = json.dumps(header).encode()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "w.safetensors")
        with open(path, "wb") as f:
            f.write(len(head).to_bytes(8, "little") + head + data)
        layer = {k: ([str(x) for x in v] if isinstance(v, list) else v if isinstance(v, (str, dict)) else
                     str(v).lower()) for k, v in g.get("layer", {}).items()}
        try:
            x = weights.read(path, "w", None, layer)
        except Refused:
            return {"refused": True}
    rounded = inputs.round_to(x, DTYPES[g["dtype"]])
    if "scales" in layer and (rounded != x).any():
        return {"refused": True}
    return {"rows": rows_of(rounded, g["dtype"])}


def dot(g):
    """One element of Y; `rule` is written as in a manifest."""
    dtype, output = g["dtype"], g.get("output", "f32")
    a, v = bits_of(g["a"], dtype)[None], bits_of(g["v"], dtype)[:, None]
    rule = manifest._arithmetic(g["arithmetic"])
    y = rule.compute(a, v, dtype, output)
    out = {"y": text_of(y[0], output) if np.isfinite(y).all() else "not finite"}
    if rule.kind == "bounded":
        out["y_ref"] = "%016x" % int(arithmetic.reference64(a, v).view(np.uint64)[0, 0])
    return out


def product(g):
    """All of Y, from A and V by their seed."""
    m, k, n = g["shape"]
    a = inputs.values(g["seed"], "A.values", m, k, g["dtype"], g["values"])
    v = inputs.values(g["seed"], "V.values", k, n, g["dtype"], g["values"])
    output = g.get("output", "f32")
    y = manifest._arithmetic(g["arithmetic"]).compute(a, v, g["dtype"], output)
    return {"rows": rows_of(y, output), "sha256": digest(y, output)}


def integers(g):
    """A row of A, or a column of V, under fixed-point-24."""
    x, e = arithmetic.integers(bits_of(g["x"], "f32")[None])
    return {"e": int(e[0]), "integers": x[0].tolist()}


def scaled(g):
    y = arithmetic.scaled(np.array([int(g["sum"])], np.int64), np.array([g["exponent"]]))
    return {"y": text_of(y, "f32") if np.isfinite(y).all() else "not finite"}


def certificate(g):
    a, v = matrix(g["a"], "f32"), matrix(g["v"], "f32")
    try:
        if g["arithmetic"] == "exact":
            arithmetic.certificate(a, v)
        else:
            arithmetic.fixed_point(a, v)
    except Refused:
        return {"holds": False}
    return {"holds": True}


def within(g):
    """Whether y keeps the bound of `bounded`."""
    a, v = bits_of(g["a"], g["dtype"])[None], bits_of(g["v"], g["dtype"])[:, None]
    y = bits_of(g["y"], g["output"])[None]
    return {"within": bool(arithmetic.within_bound(y, arithmetic.reference64(a, v), a, v, g["output"])[0, 0])}


def tensor_digest(g):
    x = matrix(g["tensor"], g["dtype"])
    found = {str(p): text for p, text in enumerate(panels(x, g["dtype"])) if text != EMPTY}
    return {"sha256": digest(x, g["dtype"]), "panels": found}


def following(g):
    """next(x)."""
    x = perturb.candidates(bits_of(g["x"], g["dtype"])[0], g["dtype"], g["arithmetic"])
    return {"candidates": text_of(x, g["dtype"])}


def order(g):
    """The permutation p of columns, as 32-bit integers, hashed."""
    w = streams.Stream(g["seed"], "perturb.columns", g["shape"], g["dtype"], g.get("nonce")).words(0, g["shape"][2])
    p = perturb.column_order(w)
    out = {"sha256": hashlib.sha256(p.astype("<u4").tobytes()).hexdigest()}
    if len(p) <= 32:
        out["order"] = p.tolist()
    return out


def perturbation(g):
    dtype, output = g["dtype"], g.get("output", "f32")
    rule = manifest._arithmetic(g["arithmetic"])
    case = Small(g["seed"], dtype, output, rule, pattern_of(g.get("pattern", "none")))
    if "a" in g:
        a, v = matrix(g["a"], dtype), matrix(g["v"], dtype)
    else:
        m, k, n = g["shape"]
        a = inputs.values(g["seed"], "A.values", m, k, dtype, g["values"])
        a = inputs.prune(a, g["seed"], dtype, case.pattern, manifest.sparsity(g.get("sparsity", "0")), g["values"])
        v = inputs.values(g["seed"], "V.values", k, n, dtype, g["values"])
    y = rule.compute(a, v, dtype, output)
    moderate = g.get("moderate", True)
    trace = {}
    rebuilt, shifted, broken = perturb.run(
        case, a, v, y, moderate and "f16" not in (dtype, output), g.get("nonce"), trace)
    out = {"dense": digest(y, output), "draws": trace.get("draws", []), "attempts": trace.get("attempts", 0)}
    choice = trace.get("choice")
    if choice is None:
        return dict(out, applies=False)
    out.update(applies=True, i=choice.i, h=choice.k, j=choice.j, a=text_of(choice.a, dtype), v=text_of(choice.v, dtype),
               i2=choice.i2, h2=choice.k2, h3=trace["displaced"], b=choice.s, rebuilt=rebuilt, shifted=shifted,
               broken=broken)
    if a.size <= 64 and v.size <= 64:
        out.update(order=choice.order.tolist(), v2=rows_of(trace["v2"], dtype), y1=rows_of(trace["y1"], output),
                   y2=rows_of(trace["y2"], output))
    return out


def step(g):
    feeds = [matrix(feed, "f32") for feed in g["feeds"]]
    return {"rows": rows_of(stack.step(feeds, g["rows"], g["dtype"]), g["dtype"])}


def cases(g):
    """Cases of a manifest."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "m.yaml")
        with open(path, "w", encoding="utf-8") as f:
            f.write(g["text"])
        try:
            found = manifest.load(path)[1]
        except (ValueError, KeyError, Refused):
            return {"refused": True}
    return {"cases": [{"id": c.id, "seed": c.seed, "shape": [c.m, c.k, c.n]} for c in sorted(found, key=lambda c: c.id)]}


def philox(g):
    words = published.philox([[int(c, 16)] for c in g["counter"].split()], [int(x, 16) for x in g["key"].split()])
    return {"words": " ".join("%08x" % w for w in words[:, 0])}


def torch_element(g):
    return {"bits": text_of(published.element(np.array([int(w, 16) for w in g["words"].split()], np.uint32),
                                              g["platform"]), "f32")}


def torch_tensors(g):
    """Tensors one after the other, of one generator: their SHA-256 and the offsets after them."""
    generator = published.Generator(g["platform"], g["multiprocessors"], g["seed"])
    out = []
    for elements in g["elements"]:
        sha256 = published.digests(generator.draw(elements))[1]
        out.append({"sha256": sha256, "offset": generator.offset})
    return {"tensors": out}


def numpy_numbers(g):
    x = published.numbers(g["seed"], g["first"], g["count"])
    return {"bits": text_of(x, "f32")}


def numpy_a(g):
    """A of its generator, and the survivors."""
    a = published.numpy_a(g["seed"], g["shape"][0], g["shape"][1], float(manifest.sparsity(g["sparsity"])))
    return {"sha256": digest(a, "f32"), "survive": np.flatnonzero(a).tolist()}


def figure(g):
    """The values that a printed figure may stand for, as fractions; `high` null where there is no end."""
    f = claims.Figure(g["printed"])
    return {"low": str(Fraction(f.low)), "high": None if f.high is None else str(Fraction(f.high))}


def draw_cases(g):
    return {"drawn": spot.cases(g["nonce"], g["cases"], g["count"])}


def draw_panels(g):
    return {"drawn": spot.panels(g["nonce"], g["case"], g["count"])}


def leaves(g):
    """SHA-256 of the panels that have rows, and the root of all 64."""
    x = matrix(g["tensor"], g["dtype"])
    there = {str(p): text for p, text in enumerate(whole_panels(x, g["dtype"])) if text != NOTHING}
    return {"leaves": there, "root": panels_root(x, g["dtype"])}


def missed(g):
    """Probabilities, as fractions."""
    c, n = g["cases"], g["drawn"]
    return {"panels": str(spot.misses_panels(c, n, g["panels"], Fraction(g["share"]))),
            "cases": str(spot.misses_cases(c, n, g["wrong"]))}


RULES = {
    "stream": stream, "values": values, "tensor": tensor, "threshold": threshold, "live": live, "power-law": power_law,
    "prune": prune, "stored": stored, "dot": dot, "product": product, "integers": integers, "scaled": scaled,
    "certificate": certificate, "within": within, "digest": tensor_digest, "next": following, "order": order,
    "perturbation": perturbation, "step": step, "cases": cases, "philox": philox, "torch-element": torch_element,
    "torch-tensors": torch_tensors, "numpy-numbers": numpy_numbers, "numpy-a": numpy_a, "figure": figure,
    "draw-cases": draw_cases, "draw-panels": draw_panels, "leaves": leaves, "missed": missed,
}


def load(folder=FOLDER):
    """All vectors, with the name of their file."""
    found = []
    for path in sorted(glob.glob(os.path.join(folder, "*.json"))):
        with open(path, encoding="utf-8") as f:
            root = json.load(f)
        if root["format"] != FORMAT:
            raise ValueError("%s: format %r" % (path, root["format"]))
        name = os.path.splitext(os.path.basename(path))[0]
        found += [(name, vector) for vector in root["vectors"]]
    ids = [(name, vector["id"]) for name, vector in found]
    if len(set(ids)) != len(ids) or not ids:
        raise ValueError("vectors of one name, or none")
    return found


def difference(vector):
    """None, or what is wrong."""
    got = RULES[vector["rule"]](vector["given"])
    # What a vector leaves unsaid is not compared.
    for key, want in vector["gives"].items():
        if key not in got or got[key] != want:
            return "%s is %s, not %s" % (key, json.dumps(got.get(key))[:200], json.dumps(want)[:200])
    return None if vector["gives"] else "it gives nothing"


def main():
    np.seterr(all="ignore")
    found = load(*sys.argv[1:])
    failed = 0
    for name, vector in found:
        why = difference(vector)
        if why is not None:
            failed += 1
            print("FAIL %s/%s %s" % (name, vector["id"], why))
    print("%d passed, %d failed" % (len(found) - failed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
