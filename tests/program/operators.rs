//! Operators that are not our own: by their files, behind walls, in records and reports.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{Ran, Section, Workbench, ran, repository};
use contract::digest::Digest;
use record::Record;
use record::operator::{LAYERS, OperatorKind};

/// The Python of the tests, which has NumPy and SciPy.
pub fn python() -> PathBuf {
    std::env::var_os("SPARSE_VERIFY_PYTHON").map_or("/usr/bin/python3".into(), PathBuf::from)
}

/// Whether a module can be imported; says so where it cannot.
fn has(module: &str) -> bool {
    let asked = Command::new(python()).args(["-I", "-c", &format!("import {module}")]).output();
    let has = asked.is_ok_and(|output| output.status.success());
    if !has {
        eprintln!("not run: {} has no {module}", python().display());
    }
    has
}

/// The program in the repository's folder, on the quickstart's cases of a glob.
pub fn quickstart(operator: &Path, case: &str, more: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_verify"));
    command
        .current_dir(repository(""))
        .args(["manifests/quickstart.yaml", "--case", case, "--operator"])
        .arg(operator)
        .args(more);
    if fs::read_to_string(operator).is_ok_and(|text| text.contains("kind: python")) {
        command.arg("--interpreter").arg(python());
    }
    ran(&mut command)
}

/// An operator file for code that lies beside it.
pub fn file(folder: &Path, entry: &str, claims: &str, more: &str) -> PathBuf {
    let kind = if entry.ends_with(".py") { "python" } else { "library" };
    let digest = Digest::of(&fs::read(folder.join(entry)).expect("the code"));
    let text = format!(
        "format: sparse-verify-operator/1\nname: mine\nversion: 1.0\nauthor: Somebody\nkind: {kind}\nentry: {entry}\n\
         files: {{{entry}: {digest}}}\ndtypes: [f32]\narithmetics: [{claims}]\n{more}\n"
    );
    let path = folder.join("mine.yaml");
    fs::write(&path, text).expect("written");
    path
}

/// A C operator, built with cc; `None` where there is none.
pub fn library(source: &Path, folder: &Path) -> Option<String> {
    let built = Command::new("cc")
        .args(["-O2", "-shared", "-fPIC", "-pthread", "-I"])
        .arg(repository("include"))
        .arg("-o")
        .arg(folder.join("mine.so"))
        .arg(source)
        .arg("-lm")
        .output();
    match built {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{}: {said}", source.display());
            Some("mine.so".into())
        }
        Err(error) => {
            eprintln!("not run: no C compiler: cc: {error}");
            None
        }
    }
}

const NUMPY: &str = "import numpy as np\n\ndef build(a):\n    return np.asarray(a)\n\ndef apply(a, v, out):\n    \
                     np.matmul(a, np.asarray(v), out=np.asarray(out))\n";

fn mine(folder: &Path, code: &str, claims: &str) -> PathBuf {
    fs::write(folder.join("mine.py"), code).expect("written");
    file(folder, "mine.py", claims, "")
}

#[test]
fn operators_that_are_shipped_give_the_committed_digests() {
    if !has("scipy") {
        return;
    }
    for name in ["numpy", "scipy-csr", "scipy-bsr"] {
        let ran = quickstart(
            Path::new(&repository(&format!("operators/{name}.yaml"))),
            "*",
            &["--no-measure"],
        );
        assert_eq!(ran.code, 0, "{name}: {ran:?}");
        let claimed = "only --case '*', what the operator claims: exact, bounded), by ";
        assert!(ran.stdout.contains(&format!("{claimed}{name} 1.0 (sha256 ")), "{name}: {ran:?}");
    }
    let mut list = Command::new(env!("CARGO_BIN_EXE_verify"));
    let listed = crate::common::ran(list.current_dir(repository("")).args(["list", "--operators"]));
    assert_eq!((listed.code, listed.stdout.lines().count()), (0, 10), "{listed:?}");
}

#[test]
fn an_operator_of_a_device_says_where_there_is_none() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_verify"));
    command.current_dir(repository("")).env("CUDA_VISIBLE_DEVICES", "");
    command.args(["quickstart", "--case", "exact/*", "--operator", "torch-mm", "--no-measure"]);
    let ran = crate::common::ran(command.arg("--interpreter").arg(python()));
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(ran.stderr.contains("error: the operator is one of a CUDA device: "), "{ran:?}");
    let asked = |operator: &str, device: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_verify"));
        command.current_dir(repository("")).env("CUDA_VISIBLE_DEVICES", "");
        command.args(["quickstart", "--case", "exact/*", "--no-measure", "--interpreter"]);
        command.arg(python()).args(["--operator", operator, "--device", device]);
        crate::common::ran(&mut command)
    };
    for (operator, device, code, words) in [
        ("torch-mm", "0", 4, "error: the operator is one of a CUDA device: "),
        ("torch-mm", "cpu", 2, "--device cpu: the operator is one of a CUDA device"),
        ("torch-mm", "all", 2, "--device all: an operator under test runs on one device"),
        ("numpy", "0", 2, "--device: the operator is one of the CPU"),
    ] {
        let ran = asked(operator, device);
        assert!(ran.code == code && ran.stderr.contains(words), "{operator} {device}: {ran:?}");
    }
}

#[test]
fn a_library_is_timed_and_named_in_every_report() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let source = repository("examples/operators/csr.c");
    let Some(entry) = library(source.as_ref(), folder) else { return };
    let operator = file(folder, &entry, "exact, f32-chain", "");
    let place = |name: &str| folder.join(name).display().to_string();
    let (json, junit) = (place("record.json"), place("junit.xml"));
    let asked = ["--json", &json, "--junit", &junit];
    let ran = quickstart(&operator, "chain/*/uniform-80/*/f32/*", &asked);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.stdout.contains("1 case: 1 verified"),
        "only the arithmetic that it claims: {ran:?}"
    );

    let record: Record = record::load(json.as_ref()).expect("a record");
    let of_it = record.operator.as_ref().expect("an operator");
    assert_eq!((of_it.name.as_str(), of_it.kind), ("mine", OperatorKind::Library));
    assert_eq!(of_it.sha256, Digest::of(&fs::read(&operator).expect("its file")));
    assert_eq!(
        of_it.files[0].sha256,
        Digest::of(&fs::read(folder.join(&entry)).expect("its code"))
    );
    let layers: Vec<&str> = of_it.isolation.iter().map(|layer| layer.name.as_str()).collect();
    assert_eq!(layers, LAYERS.map(|(name, _)| name));
    let case = &record.cases[0];
    let timed = &case.measurement.as_ref().expect("measured").operator;
    assert_eq!((timed.name.as_str(), timed.verified), ("mine", Some(true)), "{timed:?}");
    assert!(timed.timing.is_some(), "{timed:?}");
    assert_eq!(case.bits.as_ref().map(|bits| bits.operator.as_str()), Some("mine"));

    let digest = of_it.sha256.to_string();
    let verify = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_verify"));
        crate::common::ran(command.current_dir(repository("")).args(arguments))
    };
    let (html, markdown) = (place("report.html"), place("report.md"));
    let reported = verify(&["report", &json, "--html", &html, "--markdown", &markdown]);
    assert_eq!(reported.code, 0, "{reported:?}");
    for report in [&html, &markdown, &junit] {
        let text = fs::read_to_string(report).expect("a report");
        assert!(text.contains(&digest), "{report}: {text}");
    }
    let rechecked = verify(&["recheck", &json]);
    assert_eq!(rechecked.code, 0, "{rechecked:?}");

    // Another operator is another run.
    let text = fs::read_to_string(&operator).expect("its file");
    fs::write(&operator, text.replace("version: 1.0", "version: 1.1")).expect("written");
    let resumed =
        quickstart(&operator, "chain/*/uniform-80/*/f32/*", &["--json", &json, "--resume"]);
    assert_eq!(resumed.code, 2, "{resumed:?}");
    assert!(resumed.stderr.contains("it is of mine 1.0 (sha256"), "{resumed:?}");
    assert!(resumed.stderr.contains("now it is mine 1.1"), "{resumed:?}");
}

#[test]
fn what_is_wrong_with_an_operator_is_said_before_anything_is_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let operator = mine(folder, NUMPY, "exact");
    let text = fs::read_to_string(&operator).expect("its file");
    let refused = |from: &str, to: &str, case: &str, more: &[&str], words: &str| {
        assert!(text.contains(from), "{from}");
        fs::write(&operator, text.replacen(from, to, 1)).expect("written");
        let ran = quickstart(&operator, case, more);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{to}: {ran:?}");
        assert!(ran.stderr.contains(words), "{to}: {ran:?}");
    };
    refused(
        "entry: mine.py",
        "entry: other.py",
        "*",
        &[],
        "mine.yaml:6:8: expected one of `files`",
    );
    refused("[exact]", "[exact]\nreads: [tmp]", "*", &[], "an absolute path");
    refused("[exact]", "[f32-sliced]", "exact/*", &[], "claims none of the 18 cases");
    refused("[exact]", "[exact]", "*", &["--device", "0"], "the operator is one of the CPU");
    refused("name: mine", "name: csr", "*", &[], "is that of an operator or a rival of the kit");
    fs::write(&operator, &text).expect("written");
    fs::write(folder.join("mine.py"), "changed").expect("written");
    let ran = quickstart(&operator, "*", &[]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(
        ran.stderr.contains("`mine.py` is another file than the one named here\n  expected "),
        "{ran:?}"
    );
    fs::remove_file(folder.join("mine.py")).expect("removed");
    let ran = quickstart(&operator, "*", &[]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("file `mine.py`: No such file"), "{ran:?}");
    let ran = quickstart(Path::new("scipy-crs"), "*", &[]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("did you mean `scipy-csr`?"), "{ran:?}");
}

/// Widens what has 16 bits, and rounds to nearest, ties to even.
const NARROW: &str = "import numpy as np

def values(t):
    x = np.asarray(t)
    if t.dtype == 'bfloat16':
        return (x.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return x.astype(np.float32)

def build(a):
    assert a.memory.itemsize == (4 if a.dtype == 'float32' else 2)
    assert not np.asarray(a).flags.writeable
    if a.dtype == 'float16':
        assert np.from_dlpack(a).dtype == np.float16
    return values(a)

def apply(a, v, out):
    y, to = a @ values(v), np.asarray(out)
    if out.dtype == 'bfloat16':
        bits = y.view(np.uint32)
        to.view(np.uint16)[...] = (bits + 0x7fff + (bits >> 16 & 1)) >> 16
    else:
        to[...] = y
";

/// The same in C, of bfloat16 alone.
const NARROW_C: &str = r#"#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "sparse_verify_operator.h"
static float wide(uint16_t bits) { uint32_t all = (uint32_t)bits << 16; float x; memcpy(&x, &all, 4); return x; }
static const DLTensor *a;
int sv_open(const sv_settings *s, void **h) { (void)s; (void)h; return 0; }
int sv_build(void *h, const DLTensor *t) { (void)h; a = t; return !(t->dtype.code == 4 && t->dtype.bits == 16); }
int sv_apply(void *h, const DLTensor *v, const DLTensor *y, void *s) {
    (void)h; (void)s;
    const uint16_t *of_a = a->data, *of_v = v->data;
    int64_t k = a->shape[1], n = v->shape[1];
    if (v->dtype.code != 4 || y->dtype.code != 4 || y->dtype.bits != 16) return 2;
    for (int64_t i = 0; i < a->shape[0]; i++)
        for (int64_t j = 0; j < n; j++) {
            float sum = 0;
            for (int64_t l = 0; l < k; l++) sum += wide(of_a[i * k + l]) * wide(of_v[l * n + j]);
            uint32_t bits; memcpy(&bits, &sum, 4);
            ((uint16_t *)y->data)[i * n + j] = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
        }
    return 0;
}
void sv_close(void *h) { (void)h; }
const char *sv_last_error(void *h) { (void)h; return "another dtype"; }
"#;

/// Inputs in the case's dtype, Y in that of its output, for bits and for times.
#[test]
fn tensors_of_16_bits_are_handed_over() {
    let narrow = |name, dtype, output| Section {
        name,
        weights: "binomial",
        shape: (70, 133),
        dtype,
        output,
        arithmetic: "[exact, bounded]",
        ..Section::default()
    };
    let sections = [
        narrow("bf16", "bf16", "bf16"),
        narrow("f16", "f16", "f16"),
        narrow("widened", "f16", "f32"),
        narrow("narrowed", "f32", "bf16"),
    ];
    let bench = Workbench::pinned(&sections);
    let run = |operator: &Path, more: &[&str]| {
        let operator = operator.display().to_string();
        let mut arguments = vec!["manifests/small.yaml", "--operator", &operator];
        arguments.extend(more);
        bench.verify(&arguments)
    };
    let claim = |file: PathBuf, dtypes: &str, outputs: &str| {
        let text = fs::read_to_string(&file).expect("written");
        let claimed = format!("dtypes: {dtypes}\noutputs: {outputs}");
        fs::write(&file, text.replace("dtypes: [f32]", &claimed)).expect("written");
        file
    };
    let python = python().display().to_string();
    if has("numpy") {
        let folder = tempfile::tempdir().expect("a folder");
        let asked = ["--interpreter", &python];
        let operator =
            claim(mine(folder.path(), NARROW, "exact, bounded"), "[bf16, f16]", "[bf16, f16]");
        let ran = run(&operator, &asked);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.stdout.contains("4 cases: 2 verified, 2 within-bound"), "{ran:?}");
        assert_eq!(ran.stdout.matches("x [").count(), 8, "all have a speed: {ran:?}");
        let mixed =
            claim(mine(folder.path(), NARROW, "exact, bounded"), "[f16, f32]", "[f32, bf16]");
        let ran = run(&mixed, &[asked[0], asked[1], "--no-measure"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.stdout.contains("4 cases: 2 verified, 2 within-bound"), "{ran:?}");
        // Cut off instead of rounded.
        let cut = NARROW.replace("(bits + 0x7fff + (bits >> 16 & 1)) >> 16", "bits >> 16");
        let operator = claim(mine(folder.path(), &cut, "exact, bounded"), "[bf16]", "[bf16]");
        let ran = run(&operator, &[asked[0], asked[1], "--no-measure"]);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.stdout.contains("2 cases: 2 mismatch"), "{ran:?}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("mine.c");
    fs::write(&source, NARROW_C).expect("written");
    let Some(entry) = library(&source, folder.path()) else { return };
    let operator = claim(file(folder.path(), &entry, "exact, bounded", ""), "[bf16]", "[bf16]");
    let ran = run(&operator, &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("2 cases: 1 verified, 1 within-bound"), "{ran:?}");
    let operator = claim(file(folder.path(), &entry, "exact", ""), "[f16]", "[f16]");
    let ran = run(&operator, &["--no-measure"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stdout.contains("sv_build failed with 1: another dtype"), "{ran:?}");
}

/// A case that an operator does not do has its own words, and the others go on.
#[test]
fn one_case_that_fails_costs_no_other() {
    if !has("numpy") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let code = NUMPY.replace(
        "def build(a):\n",
        "def build(a):\n    if 2 * np.count_nonzero(a) > np.asarray(a).size:\n        raise ValueError('too many')\n",
    );
    let operator = mine(folder.path(), &code, "exact");
    let ran = quickstart(&operator, "exact/*", &["--no-measure"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stdout.contains("ValueError: too many (mine.py:5)"), "{ran:?}");
    assert!(ran.stdout.contains("6 cases: 5 verified, 1 not-run"), "{ran:?}");
}

/// A layer that is left out is in the headline, and is not enough where isolation is required.
#[test]
fn a_layer_that_is_left_out_is_said() {
    if !has("numpy") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let operator = mine(folder.path(), NUMPY, "exact");
    let case = "exact/up/uniform-80/b48/f32/exact";
    for (layer, _) in LAYERS.into_iter().filter(|(layer, _)| *layer != "folders") {
        let more = ["--no-measure", "--isolation-off", layer, "--require", "isolation"];
        let ran = quickstart(&operator, case, &more);
        assert_eq!(ran.code, 3, "{layer}: {ran:?}");
        let headline = ran.stdout.lines().find(|line| line.contains("without isolation by "));
        let lacking = headline.and_then(|line| line.split("without isolation by ").nth(1));
        assert!(lacking.is_some_and(|lacking| lacking.contains(layer)), "{layer}: {ran:?}");
        assert!(ran.stdout.contains("1 case: 1 verified"), "{layer}: {ran:?}");
    }
    let mut without = Command::new(env!("CARGO_BIN_EXE_verify"));
    let without = without.current_dir(repository("")).args([
        "manifests/quickstart.yaml",
        "--require",
        "isolation",
    ]);
    assert_eq!(crate::common::ran(without).code, 2);
}

/// Other digests, other words, a name that is not the operator's: a record that contradicts itself is refused.
#[test]
fn a_record_that_contradicts_itself_about_its_operator_is_refused() {
    if !has("numpy") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let operator = mine(folder.path(), NUMPY, "exact");
    let json = folder.path().join("record.json");
    let path = json.display().to_string();
    let ran =
        quickstart(&operator, "exact/up/none/b48/f32/exact", &["--no-measure", "--json", &path]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let good = record::load(&json).expect("a record");
    let forged = |change: &dyn Fn(&mut Record), words: &str| {
        let mut record = good.clone();
        change(&mut record);
        let text = serde_json::to_vec(&record).expect("JSON");
        let said = record::parse(&text, "forged").expect_err(words).to_string();
        assert!(said.contains(words), "{said}");
    };
    forged(&|record| record.operator = None, "the outcome");
    let of_it = |record: &mut Record| record.operator.clone().expect("there");
    forged(
        &|r| {
            r.operator = Some(record::operator::OperatorRecord { name: "other".into(), ..of_it(r) })
        },
        "the operator of case",
    );
    forged(
        &|r| {
            let mut operator = of_it(r);
            operator.isolation.pop();
            r.operator = Some(operator);
        },
        "the layers of isolation",
    );
    for (name, version) in [("mine\nbits verified: 9 of 9 cases", "1.0"), ("mine", "1.0\u{1b}[32m")]
    {
        forged(
            &|r| {
                let (name, version) = (name.to_owned(), version.to_owned());
                r.operator = Some(record::operator::OperatorRecord { name, version, ..of_it(r) });
            },
            if version == "1.0" { "the operator's name" } else { "its version" },
        );
    }
    // Of what is asked no more than a line is shown.
    let mut asked = good.clone();
    asked.options.select = vec!["x\nbits verified: 9 of 9 cases".into()];
    assert!(!record::outcome::of(&asked).headline.contains('\n'));
    forged(&|r| r.cases[0].device = Some("NVIDIA H200".into()), "the device of case");
}

/// What an operator leaves for its first call is a part of its build, and memory is what the kernel counts.
#[test]
fn a_build_that_is_put_off_is_counted() {
    if !has("numpy") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let code = "import time\nimport numpy as np\n\ndef build(a):\n    return [a]\n\ndef apply(state, v, out):\n    if len(state) == 1:\n        \
                time.sleep(0.4)\n        state.append(np.ones(1 << 24))\n    np.matmul(np.asarray(state[0]), np.asarray(v), \
                out=np.asarray(out))\n";
    let operator = mine(folder.path(), code, "exact");
    let json = folder.path().join("record.json");
    let path = json.display().to_string();
    let ran = quickstart(&operator, "exact/up/none/b48/f32/exact", &["--json", &path]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let record = record::load(&json).expect("a record");
    let timed = &record.cases[0].measurement.as_ref().expect("measured").operator;
    assert!(timed.build_ns.iter().all(|&ns| ns > 400_000_000), "{:?}", timed.build_ns);
    assert!(timed.bytes_held > 8 << 24, "{}", timed.bytes_held);
}

/// Two operators on the same cases, side by side.
#[test]
fn operators_are_set_side_by_side() {
    if !has("numpy") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let operator = mine(folder.path(), NUMPY, "exact");
    let place = |name: &str| folder.path().join(name).display().to_string();
    let (one, own) = (place("one.json"), place("own.json"));
    let ran = quickstart(&operator, "exact/up/none/b48/f32/exact", &["--json", &one]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let verify = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_verify"));
        crate::common::ran(command.current_dir(repository("")).args(arguments))
    };
    let case = "exact/up/none/b48/f32/exact";
    let ran = verify(&["manifests/quickstart.yaml", "--case", case, "--json", &own]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let table = verify(&["compare", &one, &own]);
    assert_eq!((table.code, table.stdout.lines().count()), (0, 3), "{table:?}");
    assert!(
        table.stdout.contains("mine 1.0 (sha256 ") && table.stdout.contains("open "),
        "{table:?}"
    );
    assert!(table.stdout.contains("1.00x"), "{table:?}");
    let csv = verify(&["compare", &one, &own, "--csv", "-"]);
    let lines: Vec<&str> = csv.stdout.lines().collect();
    assert_eq!((csv.code, lines.len()), (0, 3), "{csv:?}");
    assert!(lines[0].starts_with("manifest,case,operator,verdict,time_ns,"), "{csv:?}");
    assert!(
        lines[1].starts_with("\"quickstart\",\"exact/up/none/b48/f32/exact\",\"mine 1.0 "),
        "{csv:?}"
    );
    assert_eq!(verify(&["compare", &one]).code, 2);
}

/// What the publisher's own operator reaches is reproduced, or not; what another reaches is attained, or not. Times are put
/// into a record that was made: no noise makes a word inconclusive.
#[test]
fn a_speed_is_reproduced_by_its_publishers_operator_alone() {
    if !has("numpy") {
        return;
    }
    let bench = Workbench::pinned(&[Section {
        arithmetic: "exact",
        weights: "binomial",
        ..Section::default()
    }]);
    mine(&bench.path(""), NUMPY, "exact");
    let manifest = bench.read("manifests/small.yaml");
    let claim = "    claims:\n      - {id: fast, sources: [here], operator_ms: 1}\n";
    bench.write("manifests/small.yaml", &format!("{manifest}{claim}"));
    let python = python().display().to_string();
    let asked = ["manifests/small.yaml", "--operator", "mine.yaml", "--interpreter", &python];
    let ran = bench.verify(&[&asked[..], &["--json", "record.json"]].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    let mut made = bench.record("record.json");
    made.options.require = record::exit::Require::Claims;
    let own = made.operator.as_ref().map(|operator| operator.sha256);
    let other = Some(Digest::of(b"another"));
    for (ms, of, word, code) in [
        (0.5, own, "reproduced", 0),
        (20.0, own, "not reproduced", 1),
        (0.5, other, "attained", 0),
        (20.0, other, "not attained (by this operator)", 0),
        (20.0, None, "not attained (by this operator)", 0),
    ] {
        let mut record = made.clone();
        record.manifests[0].claims[0].operator = of;
        let timings = record.cases[0].measurement.as_mut().expect("measured");
        timings.operator.samples_ns.fill((ms * 1e6) as u64);
        record::derive::fill(&mut record);
        let claim = &record.judged[0];
        let judged = (claim.word.name(), record::outcome::of(&record).code);
        assert_eq!(judged, (word, code), "{ms} ms: {:?}", claim.rows);
    }
}
