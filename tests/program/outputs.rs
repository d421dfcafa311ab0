//! Outputs made elsewhere: the folder that is sent away, what comes back in it, and what becomes of everything that may be
//! wrong about that.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use contract::case::Case;
use contract::digest::Digest;
use contract::dtype::Dtype;
use ndarray::Array2;
use ndarray_npy::{ReadNpyExt as _, WriteNpyExt as _};
use record::operator::OperatorKind;
use record::report::overview;
use record::verdict::Verdict;
use record::{CaseRecord, Record};
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

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

/// Puts something else in the place of y and expects it to be refused with a message.
fn refused(bench: &Workbench, what: &[&str], hint: &str, put: impl FnOnce(&Path)) {
    answer(bench, "sent");
    let path = place(bench, "sent", &cases(bench)[0]).join("y.npy");
    fs::remove_file(&path).expect("it was there");
    put(&path);
    let ran = check(bench, "sent", &[]);
    assert_eq!(ran.code, 2, "{what:?}: {ran:?}");
    let (_, case) = only(bench);
    assert_eq!((case.verdict, case.bits), (Verdict::NotRun, None));
    let reason = case.reasons.join("\n");
    assert!(reason.starts_with("sent/small/chain/up/"), "{reason}");
    for what in what {
        assert!(reason.contains(what), "{what}: {reason}");
    }
    assert!(reason.contains(&format!("\nhint: {hint}")), "{hint}: {reason}");
    let _ = fs::remove_dir(&path);
    let _ = fs::remove_file(&path);
}

#[test]
fn a_file_that_is_not_what_was_asked_for_has_its_own_message() {
    let bench = sent(&[chain()]);
    let case = &cases(&bench)[0];
    let (_, y) = answers(&bench, "sent", case).remove(0);
    let right = bytes(Dtype::F32, &y);
    let refused = |what: &[&str], hint: &str, file: Vec<u8>| {
        refused(&bench, what, hint, |path| fs::write(path, file).expect("written"));
    };
    let shape = "(20, 6)";
    // The harness itself is refused nothing.
    answer(&bench, "sent");
    let path = place(&bench, "sent", case).join("y.npy");
    fs::write(&path, npy("<f4", false, shape, &right)).expect("written");
    assert_eq!(check(&bench, "sent", &[]).code, 0);

    let again = "the file was not written to its end";
    let short = npy("<f4", false, shape, &right[..right.len() - 1]);
    refused(&["too short: expected 480 bytes of elements, found 479"], again, short);
    let long = npy("<f4", false, shape, &[&right[..], &[0; 4]].concat());
    refused(&["too long: expected 480 bytes of elements, found 484"], "there is more in it", long);
    let big: Vec<u8> = y.iter().flat_map(|y| y.to_be_bytes()).collect();
    let big = npy(">f4", false, shape, &big);
    refused(
        &["big-endian: expected '<f4' (float32), found \">f4\""],
        "save `y.astype('<f4')`",
        big,
    );
    let fortran = npy("<f4", true, shape, &right);
    refused(&["Fortran order: expected rows"], "save `numpy.ascontiguousarray(y)`", fortran);
    let doubles: Vec<u8> = y.iter().flat_map(|y| f64::from(*y).to_le_bytes()).collect();
    let doubles = npy("<f8", false, shape, &doubles);
    refused(&["another dtype: expected '<f4' (float32), found \"<f8\""], "save `y.astype", doubles);
    let halves = npy("<f2", false, shape, &right[..right.len() / 2]);
    refused(&["another dtype: expected '<f4'", "found \"<f2\""], "save `y.astype('<f4')`", halves);
    let transposed = npy("<f4", false, "(6, 20)", &right);
    refused(&["another shape: expected [20, 6], found [6, 20]"], "it is transposed", transposed);
    let flat = npy("<f4", false, "(120,)", &right);
    refused(&["another shape: expected [20, 6], found [120]"], "an output of another case", flat);
    let fewer = npy("<f4", false, "(19, 6)", &right[24..]);
    refused(&["another shape: expected [20, 6], found [19, 6]"], "an output of another", fewer);

    refused(&["found no bytes"], "a file that was not written to its end", Vec::new());
    refused(
        &["truncated: its 9 bytes end within the header"],
        again,
        npy("<f4", false, shape, &[])[..9].into(),
    );
    refused(&["truncated: its 60 bytes"], again, npy("<f4", false, shape, &[])[..60].into());
    refused(
        &["neither a .npy nor a safetensors file"],
        "write a .npy file",
        b"PK\x03\x04 zipped arrays".to_vec(),
    );
    refused(
        &["neither a .npy nor a safetensors file: it has 3 bytes"],
        "write a .npy",
        b"1 2".to_vec(),
    );
    let plain = "`numpy.save` of one plain matrix";
    let mut version = npy("<f4", false, shape, &right);
    version[6] = 9;
    refused(&["the header is not that of a .npy file of one matrix: "], plain, version);
    let structured =
        format!("{{'descr': [{}], 'fortran_order': False}}\n", "('a', '<f4'), ".repeat(9));
    let header = |text: &str, len: u32| {
        [b"\x93NUMPY\x02\x00", &len.to_le_bytes()[..], text.as_bytes()].concat()
    };
    refused(&["its dtype has parts"], plain, header(&structured, structured.len() as u32));
    // What is nested deeply, or said to be long, is neither followed nor waited for.
    let deep = format!("{}\n", "(".repeat(900));
    refused(&["its dtype has parts"], plain, header(&deep, deep.len() as u32));
    refused(&["it has 4294967295 bytes, more than 1024"], plain, header("{", u32::MAX));
    let pickled = npy("|O", false, shape, &right);
    refused(&["another dtype: expected '<f4'", "found \"|O\""], "save `y.astype", pickled);

    let tensor = |name: &str, dtype, y: &Array2<f32>| tensors(&[(name, dtype, y)]);
    let other = y.t().as_standard_layout().into_owned();
    refused(
        &["another shape: expected [20, 6], found [6, 20]"],
        "it is transposed",
        tensor("y", Dtype::F32, &other),
    );
    refused(
        &["another dtype: expected F32, found BF16"],
        "convert it to f32",
        tensor("y", Dtype::Bf16, &y),
    );
    let several = tensors(&[("one", Dtype::F32, &y), ("two", Dtype::F32, &y)]);
    refused(&["expected a tensor `y`, found 2 (`one`, `two`)"], "name it `y`", several);
    let whole = tensor("y", Dtype::F32, &y);
    refused(
        &["tensor `y` ends at byte 480 of the data, the file holds 470"],
        again,
        whole[..whole.len() - 10].into(),
    );
    let long = [&whole[..], &[0; 2]].concat();
    refused(&["2 bytes after the last tensor"], again, long);
    refused(
        &["neither a .npy nor a safetensors file"],
        "write a .npy",
        [u64::MAX.to_le_bytes(), [b'{'; 8]].concat(),
    );
}

#[test]
fn what_is_no_regular_file_is_neither_followed_nor_waited_for() {
    let bench = sent(&[chain()]);
    let follow = "give the file itself";
    let found = |what: &str| format!("expected a regular file, found {what}");
    let elsewhere = bench.path("elsewhere.npy");
    answer(&bench, "sent");
    let y = place(&bench, "sent", &cases(&bench)[0]).join("y.npy");
    fs::copy(&y, &elsewhere).expect("copied");
    refused(&bench, &[&found("a symbolic link")], follow, |path| {
        symlink(&elsewhere, path).expect("made");
    });
    refused(&bench, &[&found("a symbolic link")], follow, |path| {
        symlink("/nowhere", path).expect("made");
    });
    refused(&bench, &[&found("a folder")], follow, |path| {
        fs::create_dir(path).expect("made");
    });
    refused(&bench, &[&found("a pipe")], follow, |path| {
        assert!(Command::new("mkfifo").arg(path).status().expect("run").success());
    });
    // A folder of the case that leads elsewhere.
    answer(&bench, "sent");
    let case = place(&bench, "sent", &cases(&bench)[0]);
    fs::rename(&case, bench.path("moved")).expect("moved");
    symlink(bench.path("moved"), &case).expect("made");
    let ran = check(&bench, "sent", &[]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stdout.contains("expected a folder, found a symbolic link"), "{ran:?}");
    // And files that are named.
    symlink(&elsewhere, bench.path("link.npy")).expect("made");
    for (file, what) in [
        ("link.npy", "found a symbolic link"),
        ("/dev/zero", "found a device"),
        ("missing.npy", "missing.npy: no `y` is there"),
    ] {
        let ran = bench.verify(&["check", "manifests/small.yaml", "--case", CHAIN, "--y", file]);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.stdout.contains(what), "{ran:?}");
    }
}

#[test]
fn an_output_that_is_there_twice_leaves_open_which_is_meant() {
    let bench = sent(&[chain()]);
    answer(&bench, "sent");
    let case = &cases(&bench)[0];
    let (_, y) = answers(&bench, "sent", case).remove(0);
    let other = place(&bench, "sent", case).join("y.safetensors");
    fs::write(other, tensors(&[("y", Dtype::F32, &y)])).expect("written");
    let ran = check(&bench, "sent", &[]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stdout.contains("`y` was returned twice, in "), "{ran:?}");
}

#[test]
fn an_output_of_another_case_or_product_is_called_by_its_name() {
    let other = Section { name: "chain2", seed: 9, ..chain() };
    let bench = sent(&[chain(), other]);
    answer(&bench, "sent");
    let cases = cases(&bench);
    let [first, second] = [&cases[0], &cases[1]].map(|case| place(&bench, "sent", case));
    fs::copy(second.join("y.npy"), first.join("y.npy")).expect("copied");
    let ran = check(&bench, "sent", &[]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.stdout.contains(&format!("`y` is the output `y` of case `{}`", cases[1].id)),
        "{ran:?}"
    );

    answer(&bench, "sent");
    fs::copy(first.join("rebuilt.npy"), first.join("y.npy")).expect("copied");
    let ran = check(&bench, "sent", &["--case", CHAIN]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stdout.contains("`y` is the output `rebuilt` of this case"), "{ran:?}");
    assert!(
        ran.stdout.contains("refuted: 1 of 1 case not right (only --case 'chain/up"),
        "{ran:?}"
    );
}

#[test]
fn a_nonce_is_that_of_the_challenge() {
    let bench = sent(&[chain()]);
    challenge(&bench, "drawn", &["--nonce", "6 of 49"]);
    answer(&bench, "sent");
    answer(&bench, "drawn");
    let case = &cases(&bench)[0];
    let v2 = |folder| fs::read(place(&bench, folder, case).join("v2.npy")).expect("there");
    assert_ne!(v2("sent"), v2("drawn"));

    let ran = check(&bench, "drawn", &["--nonce", "6 of 49"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    assert_eq!(only(&bench).0.options.nonce.as_deref(), Some("6 of 49"));
    // What the folder says of the nonce is a stranger's word.
    let ran = check(&bench, "drawn", &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.stderr.contains("note: the nonce `6 of 49` is what challenge.json says"),
        "{ran:?}"
    );
    for (folder, nonce, said) in [
        ("drawn", "another", "is of the nonce `6 of 49`, and --nonce is `another`"),
        ("sent", "6 of 49", "is without a nonce, and --nonce is `6 of 49`"),
    ] {
        let ran = check(&bench, folder, &["--nonce", nonce]);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.stderr.contains(said) && ran.stderr.contains("another challenge"), "{ran:?}");
    }
    // Outputs that answered the challenge without a nonce.
    for name in ["rebuilt.npy", "shifted.npy"] {
        let [from, to] = ["sent", "drawn"].map(|folder| place(&bench, folder, case).join(name));
        fs::copy(from, to).expect("copied");
    }
    let ran = check(&bench, "drawn", &["--nonce", "6 of 49"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    for name in ["rebuilt", "shifted"] {
        assert!(ran.stdout.contains(&format!("`{name}` is the output without a nonce")), "{ran:?}");
    }
}

#[test]
fn a_list_that_asks_for_something_else_is_refused() {
    let bench = sent(&[chain()]);
    answer(&bench, "sent");
    challenge(&bench, "drawn", &["--nonce", "6 of 49"]);
    let (honest, drawn) = (list(&bench, "sent"), list(&bench, "drawn"));
    let refused = |list: &Value, said: &str| {
        bench.write("sent/challenge.json", &list.to_string());
        let ran = check(&bench, "sent", &[]);
        assert_eq!(ran.code, 2, "{said}: {ran:?}");
        assert!(format!("{}{}", ran.stdout, ran.stderr).contains(said), "{said}: {ran:?}");
    };
    let with = |place: &str, value: Value| {
        let mut list = honest.clone();
        *list.pointer_mut(place).expect("a place of it") = value;
        list
    };
    // The inputs of another nonce under this one.
    let inputs = drawn["cases"][0]["inputs"].clone();
    let said = "challenge.json asks for outputs of another `v2` than this case and no nonce have";
    refused(&with("/cases/0/inputs", inputs), said);
    let patch = drawn["cases"][0]["patch"].clone();
    refused(&with("/cases/0/patch", patch), "challenge.json asks for outputs of another A1");
    refused(&with("/cases/0/inputs/0/sha256", json!("0".repeat(64))), "outputs of another `a`");
    refused(
        &with("/cases/0/id", json!("chain/up/none/b6/f32/f32-chain")),
        "nothing is asked of it",
    );
    refused(&with("/cases", json!([])), "it was chosen, and nothing is asked of it");
    refused(
        &with("/format", json!("sparse-verify-challenge/7")),
        "its format is `sparse-verify-challenge/7`, expected",
    );
    refused(
        &with("/format", json!("sparse-verify-challenge/1-draft")),
        "expected `sparse-verify-challenge/1`, a draft of it, is of manifests",
    );
    refused(&with("/cases/0/inputs", json!(1)), "challenge.json: invalid type");
    let said = "written from another manifest `small`\n  expected sha256 0000";
    refused(&with("/manifests/0/sha256", json!("0".repeat(64))), said);
    refused(
        &with("/manifests/0/path", json!("gone.yaml")),
        "names the manifest gone.yaml, and no such file is here",
    );
    // A manifest of the stranger's own.
    fs::copy(bench.path("manifests/small.yaml"), bench.path("sent/small.yaml")).expect("copied");
    refused(
        &with("/manifests/0/path", json!("sent/small.yaml")),
        "which came with the folder itself",
    );
    bench.write("sent/challenge.json", "{");
    assert_eq!(check(&bench, "sent", &[]).code, 2);
    fs::remove_file(bench.path("sent/challenge.json")).expect("there");
    let ran = check(&bench, "sent", &[]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(
        ran.stderr.contains("sent/challenge.json: not there\nhint: `verify challenge` writes it"),
        "{ran:?}"
    );
    symlink(bench.path("drawn/challenge.json"), bench.path("sent/challenge.json")).expect("made");
    let ran = check(&bench, "sent", &[]);
    assert!(ran.code == 2 && ran.stderr.contains("found a symbolic link"), "{ran:?}");
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
fn what_is_written_is_said_before_and_nothing_is_written_over() {
    let bench = Workbench::pinned(&[chain(), sections().remove(5)]);
    let ran = challenge(&bench, "sent", &[]);
    assert_eq!(ran.stderr, "writes 30.7 kB to sent in 9 files\n");
    let (mut files, mut bytes) = (0, 0);
    let mut folders = vec![bench.path("sent")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
                continue;
            }
            files += 1;
            bytes += entry.metadata().expect("there").len();
            let mode = entry.metadata().expect("there").permissions().mode() & 0o777;
            let usual = bench.path("usual");
            fs::write(&usual, "").expect("written");
            let usual = fs::metadata(usual).expect("there").permissions().mode() & 0o777;
            assert_eq!(mode, usual, "{}", entry.path().display());
        }
    }
    assert_eq!(files, 9);
    assert!((18_000..30_720).contains(&bytes), "{bytes}");
    let again = bench.verify(&["challenge", "manifests/small.yaml", "--out", "sent"]);
    assert_eq!(again.code, 2, "{again:?}");
    assert!(again.stderr.contains("sent holds something already\nhint: "), "{again:?}");
    bench.write("file", "x");
    let file = bench.verify(&["challenge", "manifests/small.yaml", "--out", "file"]);
    assert_eq!(file.code, 2, "{file:?}");
    assert!(file.stderr.contains("file is a file, and --out is a folder"), "{file:?}");
    // An answer to this challenge is none to the next.
    answer(&bench, "sent");
    bench.write(&format!("sent/small/{CHAIN}/notes.txt"), "mine");
    challenge(&bench, "sent", &["--force", "--nonce", "x", "--full"]);
    let left = bench.list(&format!("sent/small/{CHAIN}"));
    assert_eq!(left, ["a.npy", "a1.npy", "inputs.safetensors", "notes.txt", "v.npy", "v2.npy"]);
}

#[test]
fn what_the_disk_has_no_room_for_is_not_begun() {
    let vast = Section { shape: (1 << 21, 1 << 18), batch: "1", ..chain() };
    let bench = Workbench::new(&[vast]);
    for command in [&["challenge"][..], &["inputs"]] {
        let ran = bench.verify(&[command, &["manifests", "--out", "sent"]].concat());
        assert_eq!(ran.code, 4, "{ran:?}");
        assert!(ran.stderr.starts_with("writes 4.40 TB to sent in "), "{ran:?}");
        assert!(ran.stderr.contains(" are to be written, the disk has room for "), "{ran:?}");
        assert!(!bench.path("sent").exists());
    }
}

#[test]
fn inputs_are_in_numpys_dtypes_and_in_safetensors_own() {
    let bench = Workbench::pinned(&sections());
    challenge(&bench, "sent", &["--full"]);
    for case in cases(&bench) {
        let folder = place(&bench, "sent", &case);
        let (npy, own) = match case.dtype {
            Dtype::F32 => ("'<f4'", safetensors::Dtype::F32),
            Dtype::F16 => ("'<f2'", safetensors::Dtype::F16),
            Dtype::Bf16 => ("'<u2'", safetensors::Dtype::BF16),
        };
        let file = fs::read(folder.join("inputs.safetensors")).expect("there");
        let tensors = safetensors::SafeTensors::deserialize(&file).expect("well-formed");
        let mut names = tensors.names();
        names.sort();
        let all = if case.section == "dead" { &["a", "v"][..] } else { &["a", "a1", "v", "v2"] };
        assert_eq!(names, all, "{}", case.id);
        for name in all {
            let tensor = tensors.tensor(name).expect("there");
            assert_eq!(tensor.dtype(), own, "{}", case.id);
            let bytes = fs::read(folder.join(format!("{name}.npy"))).expect("there");
            assert!(bytes.ends_with(tensor.data()), "{} {name}", case.id);
            assert!(String::from_utf8_lossy(&bytes[..128]).contains(npy), "{} {name}", case.id);
        }
        let a1 = all.contains(&"a1").then(|| load(&folder.join("a1.npy"), case.dtype.name()));
        let Some(a1) = a1 else { continue };
        let a = load(&folder.join("a.npy"), case.dtype.name());
        let list = list(&bench, "sent");
        let asked = list["cases"].as_array().expect("a list").iter().find(|c| c["id"] == case.id);
        let patch = asked.expect("asked for")["patch"].as_array().expect("a list");
        let differing = a.iter().zip(&a1).filter(|(a, a1)| a != a1).count();
        assert_eq!(differing, patch.len(), "{}", case.id);
    }
}

#[test]
fn no_two_cases_share_a_folder_and_outputs_have_the_committed_digests() {
    let one = Section { name: "a", ..chain() };
    let bench = Workbench::new(&[one.clone(), Section { name: "a_up", seed: 5, ..one }]);
    // `a/b_c` and `a_b/c` had one name.
    let text = bench.read("manifests/small.yaml");
    let (first, second) = text.split_at(text.find("  - name: a_up").expect("the second"));
    let text = format!(
        "{}{}",
        first.replace("name: up", "name: up_x"),
        second.replace("name: up,", "name: x,")
    );
    bench.write("manifests/small.yaml", &text);
    assert_eq!(bench.verify(&["pin", "manifests", "--yes"]).code, 0);
    let ran = bench.verify(&["inputs", "manifests", "--out", "inputs", "--outputs"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.stderr.starts_with("writes ") && ran.stderr.contains(" to inputs in 12 files"),
        "{ran:?}"
    );
    let committed = bench.read("expected-hashes/small.yaml");
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines.len(), 8);
    let mut folders: Vec<&str> = Vec::new();
    for line in lines {
        let [path, name, digest] = line.split("  ").collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let key = if name == "y" { "operator" } else { name };
        assert!(committed.contains(&format!("    {key}: \"{digest}\"")), "{line}");
        let matrix = load(&bench.path(path), "f32");
        assert_eq!(contract::digest::Digest::of(&bytes(Dtype::F32, &matrix)).to_string(), digest);
        folders.extend(path.rsplit_once('/').map(|(folder, _)| folder));
    }
    folders.dedup();
    assert_eq!(folders.len(), 2, "{folders:?}");
    // What our own operator made is right.
    for case in cases(&bench) {
        let y = format!("inputs/small/{}/y.npy", case.id);
        let ran = bench.verify(&["check", "manifests/small.yaml", "--case", &case.id, "--y", &y]);
        assert_eq!(ran.code, 0, "{ran:?}");
    }
}

#[test]
fn timings_that_came_with_outputs_are_stated_and_nothing_more() {
    let bench = sent(&[chain()]);
    answer(&bench, "sent");
    let path = format!("sent/small/{CHAIN}/stated.json");
    bench.write(&path, r#"{"latency_ms": 0.52, "device": "NVIDIA <b>H200</b>"}"#);
    let ran = check(&bench, "sent", &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let said = "not measured: made elsewhere; stated: 520 us, on NVIDIA <b>H200</b>\n";
    assert!(ran.stdout.contains(said), "{ran:?}");
    let (_, case) = only(&bench);
    assert!(case.measurement.is_none());
    assert_eq!(case.stated.expect("it was stated").latency_ms, Some(0.52));
    let markdown = bench.verify(&["report", "record.json"]).stdout;
    assert!(markdown.contains("stated: 520 us, on NVIDIA &lt;b&gt;H200&lt;/b&gt;"), "{markdown}");
    assert_eq!(bench.verify(&["report", "record.json", "--html", "page.html"]).code, 0);
    let page = bench.read("page.html");
    assert!(page.contains("stated: 520 us, on NVIDIA &lt;b&gt;H200&lt;/b&gt;"));
    for line in overview::about_outputs(&bench.record("record.json")) {
        let escaped = line.replace('\'', "&#39;");
        assert!(page.contains(line) || page.contains(&escaped), "{line}");
        assert!(markdown.contains(line), "{line}");
    }
    for (stated, why) in [
        ("{\"latency_ms\": -1}", "latency_ms is no time"),
        ("{\"latency_ms\": 1e999}", "number out of range"),
        ("{\"speedup\": 9.5}", "unknown field `speedup`"),
        ("fast", "expected"),
    ] {
        bench.write(&path, stated);
        let ran = check(&bench, "sent", &[]);
        assert_eq!(ran.code, 0, "{ran:?}");
        let warned = format!("warning: {path}: not shown: ");
        assert!(ran.stderr.contains(&warned) && ran.stderr.contains(why), "{ran:?}");
        assert_eq!(only(&bench).1.stated, None);
    }
}

#[test]
fn the_record_is_read_as_any_other_and_confirms_nothing() {
    let bench = sent(&[chain()]);
    answer(&bench, "sent");
    assert_eq!(check(&bench, "sent", &[]).code, 0);
    let rechecked = bench.verify(&["recheck", "record.json"]);
    assert_eq!(rechecked.code, 0, "{rechecked:?}");
    assert!(rechecked.stdout.contains("consistent: nothing was re-derived"));
    assert_eq!(bench.verify(&["explain", "record.json"]).code, 0);
    assert_eq!(bench.verify(&["report", "record.json"]).code, 0);
    let pinned = bench.verify(&["pin", "manifests", "--record", "record.json", "--yes"]);
    assert_eq!(pinned.code, 2, "{pinned:?}");
    assert!(pinned.stderr.contains("is of outputs made elsewhere: "), "{pinned:?}");
    let merged = bench.verify(&["merge", "record.json", "--json", "merged.json"]);
    assert_eq!(merged.code, 2, "{merged:?}");
    let resumed = bench.verify(&[
        "manifests/small.yaml",
        "--no-measure",
        "--json",
        "record.json",
        "--resume",
    ]);
    assert_eq!(resumed.code, 2, "{resumed:?}");
    assert!(resumed.stderr.contains("outputs made elsewhere"), "{resumed:?}");
    // A run beside it: the same digests.
    assert_eq!(bench.verify(&["manifests", "--no-measure", "--json", "run.json"]).code, 0);
    let beside = bench.verify(&["report", "record.json", "run.json"]);
    assert_eq!(beside.code, 0, "{beside:?}");
    let (record, case) = only(&bench);
    let command = overview::command(&record, &case).expect("names are plain");
    assert_eq!(
        command,
        format!("verify check --manifest manifests/small.yaml --case '{CHAIN}' -- 'sent'")
    );
    let words: Vec<&str> =
        command.split_whitespace().skip(1).map(|word| word.trim_matches('\'')).collect();
    assert_eq!(bench.verify(&words).code, 0, "{command}");
}

#[test]
fn a_record_that_says_otherwise_of_what_came_back_is_refused() {
    let bench = sent(&[chain()]);
    answer(&bench, "sent");
    assert_eq!(check(&bench, "sent", &[]).code, 0);
    let honest: Value = serde_json::from_str(&bench.read("record.json")).expect("JSON");
    let refused = |change: &dyn Fn(&mut Value), what: &str| {
        let mut forged = honest.clone();
        change(&mut forged);
        assert_ne!(forged, honest, "{what}");
        let said = record::parse(forged.to_string().as_bytes(), "forged").err();
        let said = said.unwrap_or_else(|| panic!("{what}: it passes")).to_string();
        assert!(said.contains(what), "{what}: {said}");
    };
    let bits = "/cases/0/bits";
    let set = |place: String, value: Value| {
        move |forged: &mut Value| {
            let (parent, key) = place.rsplit_once('/').expect("a path");
            forged.pointer_mut(parent).expect("a place")[key] = value.clone();
        }
    };
    let y = honest.pointer("/cases/0/bits/returned/0").expect("there").clone();
    refused(&set(format!("{bits}/returned"), json!([])), "whether `y` came back");
    refused(&set(format!("{bits}/returned"), json!([y.clone(), y])), "whether `rebuilt` came back");
    refused(&set(format!("{bits}/not_returned"), json!(["rebuilt"])), "what did not come back");
    refused(&set(format!("{bits}/not_returned"), json!(["x"])), "what did not come back");
    refused(&set("/options/outputs/perturbed".into(), json!(false)), "it was not asked for");
    refused(&set("/options/outputs".into(), Value::Null), "an operator was run");
    refused(&set("/options/outputs/from".into(), json!("other")), "the operator of case");
    refused(&set(format!("{bits}/operator"), json!("skip")), "the operator of case");
    refused(&set("/options/measure".into(), json!(true)), "outputs made elsewhere were judged");
    refused(&set("/cases/0/device".into(), json!("NVIDIA H200")), "nothing was run");
    refused(&set("/cases/0/stated".into(), json!({"latency_ms": -1})), "it is no time");
    // What did not come back is not verified by leaving out that it was asked for.
    fs::remove_file(bench.path(&format!("sent/small/{CHAIN}/shifted.npy"))).expect("there");
    assert_eq!(check(&bench, "sent", &[]).code, 3);
    let part: Value = serde_json::from_str(&bench.read("record.json")).expect("JSON");
    let mut forged = part.clone();
    forged["cases"][0]["bits"]["not_returned"] = json!([]);
    let said =
        record::parse(forged.to_string().as_bytes(), "forged").expect_err("refused").to_string();
    assert!(said.contains("the verdict of case") || said.contains("the comparison"), "{said}");
    // A run has nothing that came back.
    assert_eq!(bench.verify(&["manifests", "--no-measure", "--json", "run.json"]).code, 0);
    let mut run: Value = serde_json::from_str(&bench.read("run.json")).expect("JSON");
    run["cases"][0]["stated"] = json!({"latency_ms": 0.1});
    let said =
        record::parse(run.to_string().as_bytes(), "forged").expect_err("refused").to_string();
    assert!(said.contains("`stated`"), "{said}");
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

/// Who is said to have made outputs is in the headline and the record; only cases that are claimed are judged.
#[test]
fn the_maker_of_outputs_is_named_by_an_operator_file() {
    let exact = Section { name: "exact", weights: "binomial", arithmetic: "exact", ..chain() };
    let bench = sent(&[chain(), exact]);
    answer(&bench, "sent");
    let file = |more: &str| {
        let text = format!(
            "format: sparse-verify-operator/1\nname: far\nversion: 2.1\nauthor: Somebody\nkind: outputs\n\
             dtypes: [f32]\narithmetics: [exact]\n{more}"
        );
        bench.write("far.yaml", &text);
    };
    file("");
    let ran = check(&bench, "sent", &["--operator", "far.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let named = "1 of 1 case (only what the operator claims: exact), said to be far 2.1 (sha256 ";
    assert!(ran.stdout.contains(named), "{ran:?}");
    let record = bench.record("record.json");
    let maker = record.operator.as_ref().expect("named");
    assert_eq!((maker.kind, maker.isolation.len()), (OperatorKind::Outputs, 0));
    assert_eq!(maker.sha256, Digest::of(bench.read("far.yaml").as_bytes()));
    let ran = bench.verify(&["recheck", "record.json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let forged = |change: &dyn Fn(&mut Record), words: &str| {
        let mut record = record.clone();
        change(&mut record);
        let text = serde_json::to_vec(&record).expect("JSON");
        let said = record::parse(&text, "forged").expect_err(words).to_string();
        assert!(said.contains(words), "{said}");
    };
    let of = |record: &mut Record, kind| {
        record.operator.as_mut().expect("there").kind = kind;
    };
    forged(&|record| of(record, OperatorKind::Library), "the layers of isolation");
    forged(&|record| record.options.outputs = None, "whether the operator was run");

    file("entry: far.so\nmemory: 1GiB\n");
    let ran = check(&bench, "sent", &["--operator", "far.yaml"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("far.yaml:8:8: `entry` of outputs"), "{ran:?}");
    assert!(ran.stderr.contains("far.yaml:9:9: `memory` of outputs"), "{ran:?}");
    file("");
    let ran = bench.verify(&["manifests/small.yaml", "--operator", "far.yaml"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("`verify check DIR --operator FILE` judges them"), "{ran:?}");
    let text = bench.read("far.yaml");
    let python = "kind: python\nentry: far.py\nfiles: {}\n";
    bench.write("far.yaml", &text.replace("kind: outputs\n", python));
    let ran = check(&bench, "sent", &["--operator", "far.yaml"]);
    assert_eq!(ran.code, 2, "{ran:?}");
}
