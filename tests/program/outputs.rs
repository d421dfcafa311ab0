//! Outputs made elsewhere: the folder that is sent away, what comes back in it, and what becomes of everything that may be
//! wrong about that.

mod folders;
mod recorded;
mod refused;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use contract::case::Case;
use contract::dtype::Dtype;
use ndarray::Array2;
use ndarray_npy::{ReadNpyExt as _, WriteNpyExt as _};
use record::report::overview;
use record::verdict::Verdict;
use record::{CaseRecord, Record};
use safetensors::tensor::TensorView;
use serde_json::Value;

use crate::common::{Ran, Section, Workbench, ran, repository};

const CHAIN: &str = "chain/up/row-magnitude-50/b6/f32/f32-chain";

pub(super) fn chain() -> Section<'static> {
    Section { name: "chain", shape: (20, 32), batch: "6", ..Section::default() }
}

/// A pinned bench with a challenge of everything in `sent`.
fn sent(sections: &[Section<'_>]) -> Workbench {
    let bench = Workbench::pinned(sections);
    challenge(&bench, "sent", &[]);
    bench
}

fn challenge(bench: &Workbench, out: &str, more: &[&str]) -> Ran {
    let ran = bench.verify(&[&["challenge", "manifests/small.yaml", "--out", out], more].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    ran
}

/// `challenge.json` of a folder.
fn list(bench: &Workbench, folder: &str) -> Value {
    serde_json::from_str(&bench.read(&format!("{folder}/challenge.json"))).expect("JSON")
}

fn cases(bench: &Workbench) -> Vec<Case> {
    let path = bench.path("manifests/small.yaml");
    sparse_verify::manifest::load(&path).unwrap_or_else(|e| panic!("{e}")).cases
}

/// A matrix that was sent, widened.
fn load(path: &Path, dtype: &str) -> Array2<f32> {
    let file = File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    if dtype == "f32" {
        return Array2::read_npy(file).expect("f32");
    }
    // The 16 bits of each element; its header was looked at elsewhere.
    let bytes = fs::read(path).expect("there");
    let header = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let text = String::from_utf8_lossy(&bytes[10..header]).into_owned();
    let (_, shape) = text.split_once("'shape': (").expect("a header");
    let mut sizes = shape.split([',', ')']).map(|size| size.trim().parse::<usize>());
    let mut size = || sizes.next().expect("two sizes").expect("a number");
    let shape = (size(), size());
    let words = bytes[header..].chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    let value = |word: u16| match dtype {
        "bf16" => half::bf16::from_bits(word).to_f32(),
        _ => half::f16::from_bits(word).to_f32(),
    };
    Array2::from_shape_vec(shape, words.map(value).collect()).expect("as many as said")
}

fn product(case: &Case, a: &Array2<f32>, v: &Array2<f32>) -> Array2<f32> {
    Array2::from_shape_fn((case.m, case.n), |(i, j)| {
        case.rule(&a.row(i).to_vec(), &v.column(j).to_vec())
    })
}

/// The outputs of a case as they are asked for, by the scalar rule and from nothing but what was sent.
fn answers(bench: &Workbench, folder: &str, case: &Case) -> Vec<(String, Array2<f32>)> {
    let list = list(bench, folder);
    let asked = list["cases"].as_array().expect("a list").iter().find(|c| c["id"] == case.id);
    let asked = asked.unwrap_or_else(|| panic!("{} is not asked for", case.id));
    let at = place(bench, folder, case);
    let dtype = asked["inputs"][0]["dtype"].as_str().expect("text").to_owned();
    let of = |name: &str| load(&at.join(format!("{name}.npy")), &dtype);
    let (a, v) = (of("a"), of("v"));
    let mut a1 = a.clone();
    for element in asked["patch"].as_array().expect("a list") {
        let index = |key: &str| element[key].as_u64().expect("a number") as usize;
        let value = element["value"].as_f64().expect("a number") as f32;
        assert_eq!(element["bits"], format!("{:#010x}", value.to_bits()));
        a1[[index("row"), index("column")]] = value;
    }
    let outputs = asked["outputs"].as_array().expect("a list").iter();
    let made = outputs.map(|output| {
        let y = match output["of"].as_str().expect("text") {
            "A V" => product(case, &a, &v),
            "A1 V" => product(case, &a1, &v),
            "A V2" => product(case, &a, &of("v2")),
            other => panic!("{other}"),
        };
        (output["name"].as_str().expect("text").to_owned(), y)
    });
    made.collect()
}

fn place(bench: &Workbench, folder: &str, case: &Case) -> PathBuf {
    bench.path(folder).join("small").join(&case.id)
}

/// Writes a matrix as NumPy would.
fn save(path: &Path, dtype: Dtype, y: &Array2<f32>) {
    let file = File::create(path).expect("the folder is there");
    match dtype {
        Dtype::F32 => y.write_npy(file).expect("written"),
        Dtype::Bf16 | Dtype::F16 => {
            let (descr, bytes) = (if dtype == Dtype::F16 { "<f2" } else { "<u2" }, bytes(dtype, y));
            fs::write(path, npy(descr, false, &format!("({}, {})", y.nrows(), y.ncols()), &bytes))
                .expect("written");
        }
    }
}

fn bytes(dtype: Dtype, y: &Array2<f32>) -> Vec<u8> {
    let mut bytes = Vec::new();
    dtype.encode(y.as_slice().expect("row-major"), &mut bytes);
    bytes
}

/// A .npy file of that header.
fn npy(descr: &str, fortran: bool, shape: &str, data: &[u8]) -> Vec<u8> {
    let order = if fortran { "True" } else { "False" };
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}");
    while !(10 + header.len() + 1).is_multiple_of(64) {
        header.push(' ');
    }
    header.push('\n');
    let len = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00", &len[..], header.as_bytes(), data].concat()
}

fn tensors(all: &[(&str, Dtype, &Array2<f32>)]) -> Vec<u8> {
    let data: Vec<Vec<u8>> = all.iter().map(|(_, dtype, y)| bytes(*dtype, y)).collect();
    let views = all.iter().zip(&data).map(|((name, dtype, y), data)| {
        let dtype = match dtype {
            Dtype::F32 => safetensors::Dtype::F32,
            Dtype::Bf16 => safetensors::Dtype::BF16,
            Dtype::F16 => safetensors::Dtype::F16,
        };
        (*name, TensorView::new(dtype, vec![y.nrows(), y.ncols()], data).expect("as long as said"))
    });
    safetensors::serialize(views, None).expect("well-formed")
}

/// Answers everything that a folder asks for.
pub(super) fn answer(bench: &Workbench, folder: &str) {
    for case in cases(bench) {
        for (name, y) in answers(bench, folder, &case) {
            save(&place(bench, folder, &case).join(format!("{name}.npy")), case.output, &y);
        }
    }
}

fn check(bench: &Workbench, folder: &str, more: &[&str]) -> Ran {
    bench.verify(&[&["check", folder, "--json", "record.json", "--force"], more].concat())
}

/// The only case of the last record.
fn only(bench: &Workbench) -> (Record, CaseRecord) {
    let record = bench.record("record.json");
    assert_eq!(record.cases.len(), 1);
    let case = record.cases[0].clone();
    (record, case)
}

/// Every arithmetic that is verified in its own way, each output dtype, and a matrix of which nothing lives.
fn sections() -> Vec<Section<'static>> {
    let small = Section { shape: (20, 32), batch: "6", ..Section::default() };
    vec![
        chain(),
        Section { name: "sums", arithmetic: "exact", weights: "binomial", ..small.clone() },
        Section {
            name: "sliced",
            arithmetic: "{f32-sliced: {slices: 2, dealt: 4}}",
            ..small.clone()
        },
        Section { name: "loose", arithmetic: "bounded", ..small.clone() },
        Section {
            name: "tensor",
            dtype: "bf16",
            shape: (20, 320),
            arithmetic: "{tensor-core: hopper}",
            ..small.clone()
        },
        Section { name: "half", dtype: "f16", output: "f16", ..small.clone() },
        Section { name: "dead", patterns: "uniform", sparsity: "1", ..small.clone() },
        Section { name: "brain", dtype: "bf16", output: "bf16", ..small },
    ]
}

#[test]
fn right_outputs_are_verified_whatever_the_arithmetic() {
    let bench = sent(&sections());
    answer(&bench, "sent");
    let ran = check(&bench, "sent", &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let record = bench.record("record.json");
    for case in &record.cases {
        let bits = case.bits.as_ref().expect("it has bits");
        let is_bounded = case.section == "loose";
        let right = if is_bounded { Verdict::WithinBound } else { Verdict::Verified };
        assert_eq!(case.verdict, right, "{}: {:?}", case.id, case.reasons);
        assert_eq!((&*bits.operator, &*bits.plan), ("outputs: sent", "made elsewhere"));
        // Where nothing lives nothing changes, and nothing more is asked for.
        let count = if case.section == "dead" { 1 } else { 3 };
        assert_eq!(bits.returned.len(), count, "{}", case.id);
        assert!(case.measurement.is_none());
    }
    assert!(ran.stdout.contains("bits verified: 8 of 8 cases"), "{ran:?}");
    for line in overview::about_outputs(&record) {
        assert!(ran.stdout.contains(line), "{ran:?}");
    }
    // Of a run they are not said.
    let run = bench.verify(&["manifests", "--no-measure", "--case", CHAIN]);
    assert!(!run.stdout.contains("made them"), "{run:?}");
}

#[test]
fn outputs_come_back_as_npy_as_safetensors_or_all_in_one_file() {
    let bench = sent(&sections());
    answer(&bench, "sent");
    for (at, case) in cases(&bench).into_iter().enumerate() {
        let folder = place(&bench, "sent", &case);
        let made = answers(&bench, "sent", &case);
        let names = |y: &str| y.to_owned();
        let all: Vec<(&str, Dtype, &Array2<f32>)> =
            made.iter().map(|(name, y)| (name.as_str(), case.output, y)).collect();
        for (name, _) in &made {
            fs::remove_file(folder.join(format!("{name}.npy"))).expect("it was there");
        }
        if at % 2 == 0 {
            fs::write(folder.join("outputs.safetensors"), tensors(&all)).expect("written");
        } else {
            for (name, dtype, y) in all {
                // Alone in its file a tensor may have any name.
                let own = if name == "y" { names("result") } else { names(name) };
                fs::write(folder.join(format!("{name}.safetensors")), tensors(&[(&own, dtype, y)]))
                    .expect("written");
            }
        }
    }
    let ran = check(&bench, "sent", &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(bench.record("record.json").outcome.expect("it ended").verified, 8);
}

#[test]
fn negative_zeros_are_counted_and_are_zeros() {
    let bench = sent(&[chain()]);
    answer(&bench, "sent");
    let case = &cases(&bench)[0];
    let (_, mut y) = answers(&bench, "sent", case).remove(0);
    let zeros = y.iter().filter(|y| **y == 0.0).count();
    assert!(zeros > 0);
    y.mapv_inplace(|y| if y == 0.0 { -0.0 } else { y });
    save(&place(&bench, "sent", case).join("y.npy"), Dtype::F32, &y);
    assert_eq!(check(&bench, "sent", &[]).code, 0);
    let (_, case) = only(&bench);
    assert_eq!(case.bits.expect("bits").negative_zeros_operator, zeros as u64);
}

#[test]
fn one_changed_element_of_any_output_is_a_mismatch_that_names_it() {
    let bench = sent(&[chain()]);
    let case = &cases(&bench)[0];
    for (at, name) in ["y", "rebuilt", "shifted"].into_iter().enumerate() {
        for (row, column) in [(0, 0), (13, 4), (19, 5)] {
            answer(&bench, "sent");
            let (_, mut y) = answers(&bench, "sent", case).remove(at);
            let right = y[[row, column]];
            y[[row, column]] = f32::from_bits(right.to_bits() ^ 1);
            save(&place(&bench, "sent", case).join(format!("{name}.npy")), Dtype::F32, &y);
            let ran = check(&bench, "sent", &[]);
            assert_eq!(ran.code, 1, "{name} ({row}, {column}): {ran:?}");
            let (_, judged) = only(&bench);
            assert_eq!(judged.verdict, Verdict::Mismatch);
            let (got, want) = (y[[row, column]].to_bits(), right.to_bits());
            let place = format!("first at (row {row}, column {column}): {got:#010x}");
            let reasons = judged.reasons.join("\n");
            assert!(reasons.contains(&place), "{name}: {place}: {reasons}");
            assert!(reasons.contains(&format!("want {want:#010x}")), "{name}: {reasons}");
            let digest = match name {
                "y" => "operator output digest mismatch",
                "rebuilt" => "perturbed output, rebuilt operator digest mismatch",
                _ => "perturbed output, operator not rebuilt digest mismatch",
            };
            assert!(reasons.contains(digest), "{name}: {reasons}");
        }
    }
}

#[test]
fn an_element_that_is_no_finite_number_is_a_mismatch_that_names_it() {
    for section in [chain(), sections().remove(3), sections().remove(5)] {
        let bench = sent(&[section]);
        let case = &cases(&bench)[0];
        for (value, shown) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (-f32::INFINITY, "-inf")]
        {
            answer(&bench, "sent");
            let (_, mut y) = answers(&bench, "sent", case).remove(0);
            y[[7, 2]] = value;
            save(&place(&bench, "sent", case).join("y.npy"), case.output, &y);
            let ran = check(&bench, "sent", &[]);
            assert_eq!(ran.code, 1, "{ran:?}");
            let line =
                "the output y: an element is not a finite number: first at (row 7, column 2): ";
            assert!(ran.stdout.contains(line), "{ran:?}");
            assert!(ran.stdout.contains(&format!("({shown}), want")), "{ran:?}");
        }
    }
}

#[test]
fn a_manifest_is_found_by_what_it_holds() {
    let bench = sent(&[chain()]);
    answer(&bench, "sent");
    for name in ["manifests", "expected-hashes"] {
        fs::rename(bench.path(name), bench.path(&format!("kept-{name}"))).expect("moved");
    }
    assert_eq!(check(&bench, "sent", &[]).code, 2);
    fs::create_dir(bench.path("kept")).expect("made");
    for name in ["manifests", "expected-hashes"] {
        fs::rename(bench.path(&format!("kept-{name}")), bench.path(&format!("kept/{name}")))
            .expect("moved");
    }
    assert_eq!(check(&bench, "sent", &["--manifest", "kept/manifests"]).code, 0);
    let text = bench.read("kept/manifests/small.yaml");
    bench.write("kept/manifests/small.yaml", &text.replace("For tests", "For other tests"));
    let ran = check(&bench, "sent", &["--manifest", "kept/manifests/small.yaml"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(
        ran.stderr.contains("another manifest `small`") && ran.stderr.contains("hint: --manifest"),
        "{ran:?}"
    );
}

#[test]
fn a_case_of_which_a_part_came_back_is_not_verified() {
    let bench = sent(&[chain()]);
    let case = &cases(&bench)[0];
    let folder = place(&bench, "sent", case);
    for (gone, said) in [
        (&["rebuilt"][..], "perturbed outputs were not returned: rebuilt\n"),
        (&["shifted"], "perturbed outputs were not returned: shifted\n"),
        (&["rebuilt", "shifted"], "perturbed outputs were not returned: rebuilt, shifted\n"),
    ] {
        answer(&bench, "sent");
        gone.iter()
            .for_each(|name| fs::remove_file(folder.join(format!("{name}.npy"))).expect("there"));
        let ran = check(&bench, "sent", &["--junit", "report.xml"]);
        assert_eq!(ran.code, 3, "{ran:?}");
        assert!(ran.stdout.contains(said), "{ran:?}");
        let (_, judged) = only(&bench);
        assert_eq!(judged.verdict, Verdict::InPart);
        assert_eq!(judged.bits.expect("bits").not_returned, gone);
        assert!(bench.read("report.xml").contains("errors=\"1\""));
        let explained = bench.verify(&["explain", "record.json"]);
        assert!(explained.stdout.contains(&format!("  not returned: {}\n", gone.join(", "))));
    }
    // What is wrong is wrong, whatever else did not come back.
    let (_, mut y) = answers(&bench, "sent", case).remove(0);
    y[[1, 1]] += 1.0;
    save(&folder.join("y.npy"), Dtype::F32, &y);
    assert_eq!(check(&bench, "sent", &[]).code, 1);
    fs::remove_file(folder.join("y.npy")).expect("there");
    let ran = check(&bench, "sent", &[]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stdout.contains("y was not returned: no y.npy, y.safetensors or "), "{ran:?}");
    assert_eq!(only(&bench).1.verdict, Verdict::NotRun);
}

#[test]
fn files_of_one_case_are_judged_by_what_was_asked_for() {
    let bench = sent(&[chain(), Section { name: "chain2", seed: 9, ..chain() }]);
    answer(&bench, "sent");
    let at = format!("sent/small/{CHAIN}");
    let [y, rebuilt, shifted] = ["y", "rebuilt", "shifted"].map(|name| format!("{at}/{name}.npy"));
    let check = |case: &str, more: &[&str]| {
        let first = ["check", "manifests/small.yaml", "--json", "record.json", "--force"];
        bench.verify(&[&first, &["--case", case, "--y", &y][..], more].concat())
    };
    let ran = check(CHAIN, &["--rebuilt", &rebuilt, "--shifted", &shifted]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let (record, case) = only(&bench);
    assert_eq!(case.bits.as_ref().expect("bits").operator, format!("outputs: {y}"));
    let command = overview::command(&record, &case).expect("names are plain");
    assert_eq!(
        command,
        format!(
            "verify check manifests/small.yaml --case '{CHAIN}' --y='{y}' --rebuilt='{rebuilt}' --shifted='{shifted}'"
        )
    );
    // Y alone: what was asked for is shown, and the headline says what was not asked for.
    let ran = check(CHAIN, &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let only_y =
        format!("bits verified: 1 of 1 case (only --case '{CHAIN}' --y, nothing perturbed)");
    assert!(ran.stdout.contains(&only_y), "{ran:?}");
    let rows = only(&bench).1.bits.expect("bits").digests;
    let compared: Vec<bool> = rows.iter().map(|row| row.compared).collect();
    assert_eq!(compared, [true, true, true, true, false, false]);
    // One of two is in part.
    assert_eq!(check(CHAIN, &["--rebuilt", &rebuilt]).code, 3);
    assert_eq!(check(CHAIN, &["--rebuilt", &shifted, "--shifted", &rebuilt]).code, 1);
    let ran = check("chain*", &[]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(
        ran.stderr.contains("--y is the output of one case, and --case chooses 2: `chain/up"),
        "{ran:?}"
    );
    let ran = check(CHAIN, &["--nonce", "x"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("--y alone asks for nothing perturbed"), "{ran:?}");
    let ran = check("chain2/*", &[]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stdout.contains(&format!("`y` is the output `y` of case `{CHAIN}`")), "{ran:?}");
    let ran = bench.verify(&["check", "manifests/small.yaml"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("is a file, and not the folder of a challenge\nhint: "), "{ran:?}");
}

#[test]
fn nothing_committed_is_unpinned() {
    let bench = Workbench::new(&[chain()]);
    challenge(&bench, "sent", &[]);
    answer(&bench, "sent");
    let ran = check(&bench, "sent", &[]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert_eq!(only(&bench).1.verdict, Verdict::Unpinned);
}

#[test]
fn a_file_that_is_cut_while_it_is_read_fails_the_machine_and_not_the_outputs() {
    let bench = sent(&[chain()]);
    answer(&bench, "sent");
    let case = &cases(&bench)[0];
    let path = place(&bench, "sent", case).join("y.npy");
    let layout =
        sparse_verify::tensors::Layout { rows: case.m, columns: case.n, dtype: case.output };
    let file = sparse_verify::tensors::TensorFile::open(&path, "y", layout, &[]).expect("right");
    let (_, y) = answers(&bench, "sent", case).remove(0);
    assert_eq!(file.rows(0..case.m).expect("there"), y);
    assert_eq!(file.rows(3..5).expect("there"), y.slice(ndarray::s![3..5, ..]));
    let len = fs::metadata(&path).expect("there").len();
    let cut = File::options().write(true).open(&path).expect("ours");
    cut.set_len(len - 1).expect("ours");
    let error = file.rows(0..case.m).expect_err("it was cut").to_string();
    assert!(error.contains("has the file been cut"), "{error}");
    cut.write_all_at(&[0], len - 1).expect("ours");
}

/// The blocks of a language on the page about outputs.
fn page(language: &str) -> Vec<String> {
    let section = fs::read_to_string(repository("docs/outputs.md")).expect("the page");
    let begins = format!("```{language}\n");
    let blocks = section.split(&begins).skip(1);
    blocks.map(|block| block.split("```").next().expect("it ends").to_owned()).collect()
}

#[test]
fn the_round_trip_of_the_page_is_verified_bit_for_bit() {
    let [round, function] = &page("python")[..] else { panic!("two blocks") };
    let [commands] = &page("sh")[..] else { panic!("one block") };
    assert!(round.lines().count() <= 10, "{round}");
    // Without NumPy this fails: tests/run.sh sets up what it needs.
    let python =
        std::env::var_os("SPARSE_VERIFY_PYTHON").map_or("/usr/bin/python3".into(), PathBuf::from);
    let folder = tempfile::tempdir().expect("a folder");
    let bin = folder.path().join("bin");
    fs::create_dir(&bin).expect("new");
    symlink(env!("CARGO_BIN_EXE_verify"), bin.join("verify")).expect("made");
    // A virtual environment's Python knows itself by its path.
    let start = format!("#!/bin/sh\nexec '{}' \"$@\"\n", Path::new(&python).display());
    fs::write(bin.join("python3"), start).expect("written");
    fs::set_permissions(bin.join("python3"), fs::Permissions::from_mode(0o755)).expect("ours");
    for name in ["manifests", "expected-hashes"] {
        symlink(repository(name), folder.path().join(name)).expect("made");
    }
    let (import, rest) = round.split_once('\n').expect("lines");
    let chained =
        format!("{import}\n{function}{}", rest.replace("left @ right", "chain(left, right)"));
    let of_chains = commands.replace("exact/*/f32/exact", "chain/*/f32/f32-chain");
    for (commands, script, count) in [(commands, round, 6), (&of_chains, &chained, 6)] {
        fs::write(folder.path().join("round.py"), script).expect("written");
        let mut last = None;
        for line in commands.lines() {
            let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
            let mut command = Command::new("bash");
            let command = command.args(["-c", line]).current_dir(folder.path()).env("PATH", path);
            let done = ran(command);
            assert_eq!(done.code, 0, "{line}: {done:?}");
            last = Some(done);
        }
        let said = last.expect("three lines").stdout;
        assert!(said.contains(&format!("bits verified: {count} of {count} cases")), "{said}");
        fs::remove_dir_all(folder.path().join("sent")).expect("there");
    }
}
