"""Manifests: sections expand to cases, every combination one."""

import re
from collections import namedtuple
from fractions import Fraction

import yaml

from arithmetic import Arithmetic
from inputs import live

# weights: a distribution's name, or the mapping that names a file.
Case = namedtuple("Case", "id seed layer m k n dtype output weights activations "
                          "pattern s arithmetic stack")
# Where a case is a layer of a stack: the stack's cases in order, its place among them, and what the feeds of its V and of
# the next block are, as places in the block; None is the block's input.
Place = namedtuple("Place", "cases index feeds next width")


KEYS = ("name required seed weights layers stack patterns sparsity batch dtype output activations arithmetic plan published "
        "twin_of config claims").split()


def _list(x):
    """A scalar stands for a list of one; no list is empty, and none has a value twice."""
    x = x if isinstance(x, list) else [x]
    if not x or any(item in x[:at] for at, item in enumerate(x)):
        raise ValueError("a list with nothing, or with something twice: %r" % (x,))
    return x


def sparsity(text):
    """A plain decimal from 0 to 1 with at most nine decimals, exactly."""
    if not re.fullmatch(r"[0-9](\.[0-9]{1,9})?", text) or Fraction(text) > 1:
        raise ValueError("sparsity %r" % text)
    return Fraction(text)


def integer(text, least, most):
    if not re.fullmatch(r"[0-9]+", str(text)) or not least <= int(text) <= most:
        raise ValueError("%r is no integer from %d to %d" % (text, least, most))
    return int(text)


def percent(s):
    """100 s in decimal without trailing zeros."""
    x = s * 100
    digits = 0
    while x.denominator != 1:
        x *= 10
        digits += 1
    text = str(x.numerator).rjust(digits + 1, "0")
    return text if digits == 0 else text[:-digits] + "." + text[-digits:]


def _pattern(x):
    if isinstance(x, dict):
        (name, size), = x.items()
        if name not in ("block", "dead-experts"):
            raise ValueError("pattern %s" % name)
        size = integer(size, 1, 2 ** 31)
        return (name, size), "%s%d" % (name, size)
    if x not in ("none", "uniform", "row-magnitude", "element-magnitude", "power-law", "two-of-four"):
        raise ValueError("pattern %s" % x)
    return x, x


def _arithmetic(x):
    if not isinstance(x, dict):
        if x not in ("f32-chain", "exact", "fixed-point-24", "bounded"):
            raise ValueError("arithmetic %s" % x)
        return Arithmetic(x)
    (name, value), = x.items()
    if name == "tensor-core":
        return Arithmetic(name, architecture=value)
    if name == "f32-sliced":
        dealt = "dealt" in value
        return Arithmetic(name, slices=integer(value["slices"], 1, 2 ** 31), dealt=dealt,
                          length=integer(value["dealt" if dealt else "contiguous"], 1, 2 ** 31))
    raise ValueError("arithmetic %s" % name)


def load(path):
    with open(path, encoding="utf-8") as f:
        root = yaml.load(f, Loader=getattr(yaml, "CBaseLoader", yaml.BaseLoader))
    if root.get("format") != "sparse-verify/2":
        raise ValueError("format is %r" % root.get("format"))
    cases = []
    for section in _list(root.get("sections", [])) if "sections" in root else []:
        unknown = set(section) - set(KEYS)
        if unknown:
            raise ValueError("unknown keys %s" % sorted(unknown))
        section_seed = integer(section["seed"], 0, 2 ** 64 - 1)
        weights = section["weights"]
        generator = "generator" in weights
        if generator and weights["generator"] != "numpy-pcg64-uniform":
            raise ValueError("generator %s" % weights["generator"])
        drawn = "torch-device-uniform" in weights
        real = not ("synthetic" in weights or generator or drawn)
        if not real and not drawn:
            weights = weights["generator" if generator else "synthetic"]
        if weights == "ternary" or (drawn or generator) and "activations" in section:
            raise ValueError("weights %r" % weights)
        default = ("torch-device-uniform" if drawn else "uniform" if real else
                   "ternary" if weights == "wide" else weights)
        activations = section.get("activations", default)
        output = section.get("output", "f32")
        layers = [(layer["name"], layer, section_seed, None) for layer in _list(section["layers"])]
        stack = section.get("stack")
        names = [name for name, _, _, _ in layers]
        blocks = int(stack["blocks"]) if stack else 1

        def feeds(of, default):
            return [None if name == "in" else names.index(name) for name in _list(of or default)]

        if stack:
            digits = max(2, len(str(blocks - 1)))
            width = int(layers[0][1]["shape"][1])
            after = feeds(stack.get("next"), names[-1])
            layers = [("%0*d.%s" % (digits, block, name), layer, (seed + block * len(names) + at) % 2 ** 64,
                       feeds(layer.get("from"), names[at - 1] if at else "in"))
                      for block in range(blocks) for at, (name, layer, seed, _) in enumerate(layers)]
        # The stacks of a section, each a list of its cases.
        stacks = {}
        patterns = [_pattern(x) for x in _list(section["patterns"])]
        if "sparsity" in section and all(pattern in ("none", "two-of-four") for pattern, _ in patterns):
            raise ValueError("a sparsity of nothing")
        for name_of_layer, layer, seed, fed in layers:
            m, k = (integer(d, 0, 2 ** 31) for d in layer["shape"])
            for pattern, name in patterns:
                if pattern[0] == "dead-experts" and m % pattern[1]:
                    raise ValueError("%d rows are no experts of %d" % (m, pattern[1]))
                own = {"none": ["0"], "two-of-four": ["0.5"]}.get(name)
                # The same level, written twice in two ways, is given twice.
                for s in _list([sparsity(s) for s in own or _list(section["sparsity"])]):
                    if pattern[0] == "dead-experts" and m and s < 1 and not live(m // pattern[1], s):
                        raise ValueError("no expert of %d is left at %s" % (m // pattern[1], s))
                    label = name if own else "%s-%s" % (name, percent(s))
                    for dtype in _list(section["dtype"]):
                        for n in [integer(n, 1, 2 ** 20) for n in _list(section["batch"])]:
                            for rule in _list(section["arithmetic"]):
                                rule = _arithmetic(rule)
                                kind = dtype if output == "f32" else "%s-to-%s" % (dtype, output)
                                place = None
                                if stack:
                                    all_of_it = stacks.setdefault((label, dtype, n, rule.name), [])
                                    place = Place(all_of_it, len(all_of_it), fed, after, width)
                                case = Case(
                                    "/".join((section["name"], name_of_layer, label,
                                              "b%d" % n, kind, rule.name)),
                                    seed, layer, m, k, n, dtype, output,
                                    weights, activations, pattern, s, rule, place)
                                if stack:
                                    all_of_it.append(case)
                                cases.append(case)
    return root, cases
