//! Files and lists that are not what was asked for: each refused with its own message.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use contract::dtype::Dtype;
use ndarray::Array2;
use record::verdict::Verdict;
use serde_json::{Value, json};

use super::{
    CHAIN, answer, answers, bytes, cases, chain, challenge, check, list, npy, only, place, sent,
    tensors,
};
use crate::common::{Section, Workbench};

/// Puts something else in the place of y and expects it to be refused with a message.
pub(super) fn refused(bench: &Workbench, what: &[&str], hint: &str, put: impl FnOnce(&Path)) {
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
