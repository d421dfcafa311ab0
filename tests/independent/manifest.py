"""Manifests: sections expand to cases, every combination one."""

from collections import namedtuple
from fractions import Fraction

import yaml

from arithmetic import Arithmetic

# weights: a distribution's name, or the mapping that names a file.
Case = namedtuple("Case", "id seed layer m k n dtype output weights activations "
                          "pattern s arithmetic stack")
# Where a case is a layer of a stack: the stack's cases in order, its place among them, and what the feeds of its V and of
# the next block are, as places in the block; None is the block's input.
Place = namedtuple("Place", "cases index feeds next width")


def _list(x):
    return x if isinstance(x, list) else [x]


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
        return (name, int(size)), "%s%d" % (name, int(size))
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
        return Arithmetic(name, slices=int(value["slices"]), dealt=dealt,
                          length=int(value["dealt" if dealt else "contiguous"]))
    raise ValueError("arithmetic %s" % name)


def load(path):
    with open(path, encoding="utf-8") as f:
        root = yaml.load(f, Loader=getattr(yaml, "CBaseLoader", yaml.BaseLoader))
    if root.get("format") != "sparse-verify/2-draft":
        raise ValueError("format is %r" % root.get("format"))
    cases = []
    for section in root["sections"]:
        weights = section["weights"]
        generator = isinstance(weights, dict) and "generator" in weights
        if generator and weights["generator"] != "numpy-pcg64-uniform":
            raise ValueError("generator %s" % weights["generator"])
        real = not (isinstance(weights, dict) and ("synthetic" in weights or generator))
        if not real:
            weights = weights["generator" if generator else "synthetic"]
        default = weights if generator else "uniform" if real else "ternary" if weights == "wide" else weights
        activations = section.get("activations", default)
        output = section.get("output", "f32")
        layers = [(layer["name"], layer, int(section["seed"]), None) for layer in _list(section["layers"])]
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
        for name_of_layer, layer, seed, fed in layers:
            m, k = (int(d) for d in layer["shape"])
            for x in _list(section["patterns"]):
                pattern, name = _pattern(x)
                own = {"none": ["0"], "two-of-four": ["0.5"]}.get(name)
                for s in own or _list(section["sparsity"]):
                    s = Fraction(s)
                    label = name if own else "%s-%s" % (name, percent(s))
                    for dtype in _list(section["dtype"]):
                        for n in _list(section["batch"]):
                            for rule in _list(section["arithmetic"]):
                                rule = _arithmetic(rule)
                                kind = dtype if output == "f32" else "%s-to-%s" % (dtype, output)
                                place = None
                                if stack:
                                    all_of_it = stacks.setdefault((label, dtype, n, rule.name), [])
                                    place = Place(all_of_it, len(all_of_it), fed, after, width)
                                case = Case(
                                    "/".join((section["name"], name_of_layer, label,
                                              "b" + str(int(n)), kind, rule.name)),
                                    seed, layer, m, k, int(n), dtype, output,
                                    weights, activations, pattern, s, rule, place)
                                if stack:
                                    all_of_it.append(case)
                                cases.append(case)
    return root, cases
