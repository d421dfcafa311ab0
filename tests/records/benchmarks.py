#!/usr/bin/env python3
"""Makes BENCHMARKS.md from committed records, so that no figure in it is typed.

    python3 tests/records/benchmarks.py           writes BENCHMARKS.md
    python3 tests/records/benchmarks.py --check   says where BENCHMARKS.md differs from what is made, and exits with 1

Times are medians of a record's samples, taken here again; a record whose own medians are others is refused. Intervals, energy
and the words of claims are the record's own: `verify recheck` derives these.
"""

import difflib
import json
import pathlib
import shlex
import statistics
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
FILE = ROOT / "BENCHMARKS.md"


class Record:
    """A committed record, read once."""

    def __init__(self, path):
        self.path = f"tests/records/{path}"
        with open(ROOT / self.path, encoding="utf-8") as file:
            self.data = json.load(file)
        self.cases = {case["id"]: case for case in self.data["cases"]}

    def timings(self, case_id):
        """What was measured of a case whose bits were verified."""
        case = self.cases[case_id]
        assert case["verdict"] == "verified", f"{self.path}: {case_id}: {case['verdict']}"
        return case["measurement"]

    def claim(self, claim_id):
        return next(claim for claim in self.data["judged"] if claim["id"] == claim_id)

    def host(self):
        environment, options = self.data["environment"], self.data["options"]
        return (f"{environment['cores']} cores of an {environment['cpu_model']}, {environment['isa']}, "
                f"{options['threads']} threads")

    def source(self):
        """Machine, date, command and record, in a sentence each."""
        devices = [f"{on['device']['name']} (driver {on['device']['driver']})" for on in self.data["devices"]]
        machine = ", ".join([*devices, self.host(), self.data["environment"]["os"]])
        command = shlex.join(["verify", *self.data["arguments"]])
        return f"{machine}. {self.data['started'][:10]}, by `{command}`: [{self.path}]({self.path})."


def median_ns(path, timed):
    """The median of the samples that count; None where the contender was not timed, or was not right."""
    timing = timed["timing"]
    if timing is None:
        return None
    behind = timed["device_samples"] or [None] * len(timed["samples_ns"])
    is_throttled = [bool(sample and (sample["state"] or {}).get("throttled")) for sample in behind]
    kept = [ns for ns, out in zip(timed["samples_ns"], is_throttled) if not out]
    median = statistics.median(kept)
    assert median == timing["time_ns_median"], f"{path}: {timed['name']}: {median} is not {timing['time_ns_median']}"
    return median


def figures(number, digits=3):
    """A number with so many figures that count, without an exponent."""
    text = f"{number:.{digits}g}"
    if "e" in text:
        return f"{number:.0f}"
    # 0.30 is not 0.3.
    whole = text.lstrip("0.").replace(".", "")
    missing = digits - len(whole)
    return text if missing <= 0 else text + ("" if "." in text else ".") + "0" * missing


def ms(ns):
    return f"{ns / 1e6:.3f}" if ns < 1e8 else f"{ns / 1e6:.1f}"


class Case:
    """The contenders of a measured case, by what they are."""

    def __init__(self, record, case_id):
        self.record, self.timings = record, record.timings(case_id)
        self.ours = median_ns(record.path, self.timings["operator"])

    def fastest(self, names=None, kind=None):
        """The shortest median among contenders of a kind, or of these names; None where none was timed."""
        chosen = [timed for timed in self.timings["baselines"]
                  if (kind is None or timed["kind"] == kind) and (names is None or timed["name"] in names)]
        medians = [median_ns(self.record.path, timed) for timed in chosen]
        medians = [median for median in medians if median is not None]
        return min(medians) if medians else None

    def beside(self, **which):
        """`2.493, 4.79x`: the rival's time and how many times ours that is."""
        theirs = self.fastest(**which)
        return "" if theirs is None else f"{ms(theirs)}, {figures(theirs / self.ours)}x"

    def best(self):
        """The ratio under the rule `best`, with its interval and the rival's name."""
        chosen = [speedup for speedup in self.timings["speedups"] if speedup["rule"] == "best"]
        if not chosen:
            return "none: " + "; ".join(self.timings["no_speedup"])
        low, high = (figures(chosen[0]["interval"][end]) for end in ("low", "high"))
        return f"{figures(chosen[0]['ratio'])}x [{low} to {high}] {chosen[0]['baseline']}"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(cells) + " |" for cells in rows])


def in_words(case):
    """`f32, 80 % dead rows`."""
    dtype = "bf16" if case["dtype"] == "bf16" else "f32"
    kinds = {"none": "dense", "row-magnitude": f"{case['sparsity_percent']} % dead rows",
             "uniform": f"uniform {case['sparsity_percent']} %"}
    return f"{dtype}, {kinds[case['pattern']]}"


def headline(record):
    """The published layer: printed figures beside those of the record, a column for each sparsity."""
    percents = ("80", "90", "95", "99")
    claims = [record.claim(f"h200-llama31-8b-up-{percent}") for percent in percents]

    def rows_of(claim, rule, part=""):
        return [row for row in claim["rows"] if row["rule"] == rule and part in row["line"]]

    def line(title, rule, text, part=""):
        found = [rows_of(claim, rule, part) for claim in claims]
        return [title, *(text(*rows[0:1]) if rows else "" for rows in found)]

    def both(digits):
        return lambda row: f"{row['printed']}; {figures(row['here'], digits)} {row['word'].replace('-', ' ')}"

    def lower(row):
        return f"{figures(row['here'], 2)}x: {row['word']}"

    def fastest(row):
        # "fastest dense or sparse library here: cublas 2.493 ms; ...", or "...: cusparse-alg3, as printed".
        return f"{row['line'].partition('here: ')[2].partition(';')[0]}: {row['word']}"

    return table(["printed; here", *(f"{percent} %" for percent in percents)], [
        line("operator, ms", "operator time", both(3)),
        line("cuSPARSE, ms", "vendor time", both(4)),
        line("over cuSPARSE", "speedup here", both(3)),
        line("fastest dense or sparse library", "choice of baseline", fastest),
        line("printed time against cuBLAS on the live rows", "ratio, compacted dense", lower),
        line("printed time against dense bf16, as shipped", "ratio, dense bf16 as shipped", lower),
        line("energy saved over cuSPARSE, %", "energy here", both(3)),
        line("bytes held, MB", "memory here", both(3)),
        line("reduction against bf16, as shipped", "memory reduction here", both(2), "dense bf16"),
        line("live rows", "live rows here", lambda row: f"{row['printed']} {row['word']}"),
    ])


def is_of_layer(case, sections):
    return case["section"] in sections and case.get("measurement") is not None


def on_device(record, sections, n, has_scattered=False):
    """Contenders of the published layer on a device."""
    name = record.data["devices"][0]["device"]["name"]
    head = [f"{name}, 14336 x 4096 x {n}", "ours, ms", "cuBLAS dense", "cuBLAS, live rows, no scatter",
            *(["cuBLAS, live rows, all of Y written"] if has_scattered else []), "best cuSPARSE"]
    rows = []
    for case in record.data["cases"]:
        if is_of_layer(case, sections):
            of = Case(record, case["id"])
            has_dead = "row" in case["pattern"]
            live = of.beside(names=("compacted-cublas",)) if has_dead else ""
            scattered = [of.beside(names=("scattered-cublas",)) if has_dead else ""] if has_scattered else []
            rows.append([in_words(case), ms(of.ours), of.beside(kind="dense"), live, *scattered, of.beside(kind="sparse")])
    return table(head, rows)


def by_batch(record):
    name = record.data["devices"][0]["device"]["name"]
    head = [f"{name}, f32, 80 % dead rows, 14336 x 4096", "ours, ms", "cuBLAS dense", "cuBLAS, live rows, no scatter",
            "best cuSPARSE"]
    rows = []
    for case in record.data["cases"]:
        if is_of_layer(case, ("batch",)):
            of = Case(record, case["id"])
            rows.append([f"n = {case['n']}", ms(of.ours), of.beside(kind="dense"), of.beside(kind="compacted"),
                         of.beside(kind="sparse")])
    return table(head, rows)


def of_stack(record, case_id):
    """All that multiplied a whole stack."""
    of = Case(record, case_id)
    timings = of.timings
    layers, n = timings["layers"], timings["n"]
    name = record.data["devices"][0]["device"]["name"]
    head = [f"{name}, {len(layers)} layers, {sum(layer['m'] * layer['k'] for layer in layers) / 1e9:.2f}e9 weights, n = {n}",
            "ms", "times ours, with its interval", "J a call", "GB held"]
    rows = []
    for timed in [timings["operator"], *timings["baselines"]]:
        median = median_ns(record.path, timed)
        if median is None:
            continue
        intervals = [speedup["interval"] for speedup in timings["speedups"] if speedup["baseline"] == timed["name"]]
        interval = "".join(f" [{figures(on['low'])} to {figures(on['high'])}]" for on in intervals[:1])
        ratio = f"{figures(median / of.ours)}x{interval}" if timed["kind"] else ""
        energy = timed["energy"]
        joules = figures(energy["joules_per_call"]) if energy and energy["is_valid"] else ""
        rows.append([f"`{timed['name']}`" if timed["kind"] else "ours", ms(median), ratio, joules,
                     f"{timed['bytes_held'] / 1e9:.1f}"])
    return table(head, rows)


def of_fixed(record):
    """Contenders beside exact sums of 24-bit integers, with distances from sums in binary64."""
    name = record.data["devices"][0]["device"]["name"]
    head = [f"{name}, fixed-point-24, 14336 x 4096 x 1024", "ours, ms", "cuBLAS dense", "cuBLAS TF32 (less exact)",
            "cuBLAS, live rows, no scatter", "best cuSPARSE", "largest error, of f32-chain"]
    rows = []
    for case in record.data["cases"]:
        of, seen = Case(record, case["id"]), case["bits"]["accuracy"]
        live = of.beside(kind="compacted") if "row" in case["pattern"] else ""
        errors = ", ".join(f"{seen[rule]['error_max']:.1e}" for rule in ("rule", "f32_chain"))
        rows.append([in_words(case).replace("f32, ", ""), ms(of.ours), of.beside(kind="dense"), of.beside(kind="reduced"), live,
                     of.beside(kind="sparse"), errors])
    return table(head, rows)


def of_experts(record):
    """Contenders on one expert of many, and the grouped product among them."""
    name = record.data["devices"][0]["device"]["name"]
    head = [f"{name}, dead experts", "ours, ms", "cuBLAS grouped, live experts", "cuBLAS, live rows, no scatter", "cuBLAS dense",
            "best cuSPARSE"]
    rows = []
    for case in record.data["cases"]:
        of = Case(record, case["id"])
        shape = f"{case['m']} x {case['k']} x {case['n']}"
        rows.append([f"{case['dtype']}, {shape}, {case['sparsity_percent']} % dead", ms(of.ours),
                     of.beside(names=("grouped-cublas",)), of.beside(names=("compacted-cublas",)), of.beside(kind="dense"),
                     of.beside(kind="sparse")])
    return table(head, rows)


def on_cpu(record):
    """Contenders of a sweep over uniform sparsity on a CPU."""
    shape = {(case["m"], case["k"], case["n"]) for case in record.data["cases"]}
    ((m, k, n),) = shape
    head = [f"f32, {m} x {k} x {n}", "ours, ms", "gemm crate", "OpenBLAS", "oneMKL", "oneMKL, inspector-executor",
            "best rival, with the interval of the ratio"]
    rows = []
    for case in record.data["cases"]:
        of = Case(record, case["id"])
        rows.append([f"uniform {case['sparsity_percent']} %", ms(of.ours), of.beside(names=("gemm-rs",)),
                     of.beside(names=("openblas",)), of.beside(names=("onemkl",)), of.beside(names=("onemkl-csr",)), of.best()])
    return table(head, rows)


def untimed(record, prefix):
    """How many sparse rivals of a section were never timed, of how many, in each of its cases."""
    counts = set()
    for case in record.data["cases"]:
        if case["id"].startswith(prefix):
            sparse = [timed for timed in case["measurement"]["baselines"] if timed["kind"] == "sparse"]
            counts.add((sum(timed["timing"] is None for timed in sparse), len(sparse)))
    (found,) = counts
    return found


def versions(record):
    """`cuBLAS 13.1.0, cuSPARSE 12.6.3`."""
    found = {}
    for case in record.data["cases"]:
        for timed in (case.get("measurement") or {"baselines": []})["baselines"]:
            if timed["timing"] is not None:
                found.setdefault(timed["library"], timed["version"].split(";")[0])
    return ", ".join(f"{library} {version}" for library, version in found.items())


def verified(record):
    """`71 of 75`: cases whose bits were verified, of those asked for."""
    cases = record.data["cases"]
    return f"{sum(case['verdict'] == 'verified' for case in cases)} of {len(cases)}"


def shown_by_all(records):
    """How many cases are verified in all records; none of their digests differs."""
    common = set.intersection(*({case_id for case_id, case in record.cases.items() if case["verdict"] == "verified"}
                                for record in records))
    for case_id in common:
        digests = [{row["name"]: row["got"] for row in record.cases[case_id]["bits"]["digests"]} for record in records]
        assert all(other == digests[0] for other in digests), f"{case_id}: digests differ"
    return len(common)


def document():
    h200, h100, cpu = Record("h200/h200.json"), Record("h100/h200.json"), Record("cpu/h200.json")
    intel, amd = Record("cpu/intel-cpu.json"), Record("cpu/epyc-7b13.json")
    stack, experts, fixed = Record("h200/stack.json"), Record("h200/experts.json"), Record("h200/fixed.json")
    parts = Record("h200/sections.json")
    out_of_bound, variants = untimed(parts, "rows-bf16/")
    sections = ("rows", "uniform", "dense", "rows-bf16", "dense-bf16")
    return f"""# Benchmarks

Made by `python3 tests/records/benchmarks.py` from committed records; CI compares. Each table names machine, date, command
and record. Times are medians in steady state, of cases whose bits were verified in the same run. A ratio is the rival's time
over ours: above 1 our operator is faster. [docs/terms.md](docs/terms.md) explains the words.

## The published headline

LLaMA-3.1-8B up_proj, 14336 x 4096 on an H200, batch 1024, f32, by its synthetic twin of the same shape (the checkpoint is gated,
and its revision is not published). [tests/golden/judged-h200.txt](tests/golden/judged-h200.txt), which is what `verify judge
manifests/h200.yaml --record {h200.path}` prints, has every line with its arithmetic.

{headline(h200)}

{h200.source()}

## On an H200

{on_device(parts, sections, 1024, has_scattered=True)}

{parts.source()} {versions(parts)}. The {len(parts.cases)} cases, bits, times and energy, took
{sum(case["seconds"] for case in parts.data["cases"]):.0f} s on this machine.

{by_batch(h200)}

{h200.source()} {versions(h200)}.

The operator zeroes the dead rows of Y in the same launch. cuBLAS on the live rows is let off that, and putting its rows where they
belong, in one column; in the other it does both, in a second launch. Of the {variants} variants of cuSPARSE {out_of_bound} were out of bound in bf16
with dead rows, and so never timed; the honest rival there is cuBLAS on the live rows.

## Fixed-point on an H200

The same layer as integers of 24 bits, whose sums are exact: another arithmetic, whose digests are the same on int8 tensor cores and on
a CPU. The rivals sum in binary32. Errors are against a sum in binary64, in {fixed.data["cases"][0]["bits"]["accuracy"]["elements"]} elements of each
output; the weights are heavy-tailed, which a scale for a whole row suits less than normal ones (on those the device test
`fixed_point_errs_no_more_than_the_librarys_binary32` holds it against cuBLAS).

{of_fixed(fixed)}

{fixed.source()} {versions(fixed)}.

## The linear layers of a model on an H200

All linear layers of the 32 blocks of LLaMA-3.1-8B by synthetic weights of their shapes, f32, 80 % dead rows, for a prompt of 1024 tokens:
one call goes from the input of the first layer to the output of the last, with the steps of VERIFY.md section 15 in between. Attention
and norms are not in it. Published for 32 layers are 970 ms of cuSPARSE and 71 ms
([tests/golden/judged-h200-stack.txt](tests/golden/judged-h200-stack.txt)).

{of_stack(stack, "prefill/31.down_proj/row-magnitude-80/b1024/f32/f32-chain")}

{stack.source()} {versions(stack)}.

## A mixture of experts on an H200

The up projections of the 8 experts of a Mixtral-8x7B layer, stacked, of which a token's router leaves 2 alive.

{of_experts(experts)}

{experts.source()} {versions(experts)}.

## On an H100

{on_device(h100, sections, 1024)}

{by_batch(h100)}

{h100.source()} {versions(h100)}.

Of its cases {verified(h100)} are verified; the others need weights of gated models. {shown_by_all([h100, cpu])} of them have the same
digests on a CPU ({cpu.host()}: [{cpu.path}]({cpu.path})), and {shown_by_all([h200, h100, cpu])} on the H200 as well.

## On an Intel CPU

{on_cpu(intel)}

{intel.source()} {versions(intel)}.

## On an AMD CPU

{on_cpu(amd)}

{amd.source()} {versions(amd)}.

Both hosts are shared, so that five samples can lie far apart: a ratio whose interval holds 1 shows no difference.

## Outputs of benches

`cargo bench` writes no records, so that none of its figures stands here. [benches/results](benches/results) has what it printed, each
file with machine and date: kernels beside oneMKL and OpenBLAS on an AMD EPYC and on an Intel Xeon with AMX, and whole manifests on CPUs with their
memory.
"""


def main():
    arguments = sys.argv[1:]
    if arguments not in ([], ["--check"]):
        sys.exit(__doc__)
    made = document()
    if not arguments:
        FILE.write_text(made, encoding="utf-8")
        return
    there = FILE.read_text(encoding="utf-8")
    if there == made:
        return
    lines = difflib.unified_diff(there.splitlines(), made.splitlines(), "BENCHMARKS.md", "made from the records", "", "", 0, "")
    print("\n".join(lines))
    sys.exit(f"BENCHMARKS.md is not what the records give; `python3 {sys.argv[0]}` writes it")


main()
