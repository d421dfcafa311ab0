//! Every way for weights to be wrong: built here, refused by `inputs::weights`, with the whole
//! message compared.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use contract::case::Stored;

use crate::files::{Folder, bytes_of, entry, f32_file};
use proptest::prelude::*;
use sparse_verify::weights::{WeightsError, WeightsFile, parse_header};

/// What opening a file of these bytes and asking for the 2 x 2 matrix `w` says.
fn refusal(bytes: &[u8]) -> String {
    let folder = Folder::new();
    let path = folder.write("w.safetensors", bytes);
    let result = WeightsFile::open(&path)
        .and_then(|file| file.tensor("w", &Stored::default(), 2, 2))
        .and_then(|tensor| tensor.rows(0..2, &mut [0.0; 4]));
    let error = result.expect_err("the file is bad");
    assert!(matches!(error, WeightsError::Malformed { .. }), "{error:?}");
    folder.message(&error)
}

#[test]
fn malformed_files_are_refused() {
    let object = |entries: &[String]| format!("{{{}}}", entries.join(","));
    let w = entry("w", "F32", &[2, 2], 0, 16);
    let good = bytes_of(&object(std::slice::from_ref(&w)), &[0; 16]);
    let huge = {
        let mut bytes = good.clone();
        bytes[..8].copy_from_slice(&(1u64 << 63).to_le_bytes());
        bytes
    };
    let x = |start, end| entry("x", "F32", &[2, 2], start, end);
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("zero-length", vec![], "expected a safetensors file, found an empty file"),
        (
            "five bytes",
            good[..5].to_vec(),
            "truncated: 5 bytes, where the length of the header alone takes 8",
        ),
        (
            "truncated header",
            good[..40].to_vec(),
            "truncated: header of 58 bytes, the file ends after 32",
        ),
        (
            "header length 2^63",
            huge,
            "header of 9223372036854775808 bytes: must be at most 100000000; not a safetensors file",
        ),
        (
            "header not JSON",
            bytes_of("not json", &[]),
            "bad header: expected ident at line 1 column 2",
        ),
        (
            "header not UTF-8",
            [&8u64.to_le_bytes()[..], b"{\"\xff\":1} "].concat(),
            "bad header: invalid unicode code point at line 1 column 3",
        ),
        (
            "header a list",
            bytes_of("[]", &[]),
            "bad header: invalid type: sequence, expected a JSON object of tensors at line 1 column 0",
        ),
        (
            "text after the header's object",
            bytes_of(&format!("{} {{}}", object(std::slice::from_ref(&w))), &[0; 16]),
            "bad header: trailing characters at line 1 column 60",
        ),
        (
            "unknown dtype",
            bytes_of(&object(&[entry("w", "Q4", &[2, 2], 0, 16)]), &[0; 16]),
            "bad header: tensor `w`: unknown variant `Q4`, expected one of",
        ),
        (
            "negative shape",
            bytes_of(&object(&[w.replace("[2, 2]", "[-2, 2]")]), &[0; 16]),
            "bad header: tensor `w`: invalid value: integer `-2`, expected usize",
        ),
        (
            "shape that overflows",
            bytes_of(&object(&[entry("w", "F32", &[1 << 40, 1 << 40], 0, 16)]), &[0; 16]),
            "tensor `w`: its shape [1099511627776, 1099511627776] overflows",
        ),
        (
            "shape and offsets differ",
            bytes_of(&object(&[entry("w", "F32", &[2, 2], 0, 12)]), &[0; 12]),
            "tensor `w`: F32 of shape [2, 2] takes 16 bytes, its offsets hold 12",
        ),
        (
            "offsets backwards",
            bytes_of(&object(&[entry("w", "F32", &[2, 2], 16, 0)]), &[0; 16]),
            "tensor `w`: its bytes 16..0 run backwards",
        ),
        (
            "overlap",
            bytes_of(&object(&[w.clone(), x(8, 24)]), &[0; 24]),
            "tensors `w` and `x` overlap in 8 bytes",
        ),
        (
            "hole",
            bytes_of(&object(&[w.clone(), x(24, 40)]), &[0; 40]),
            "hole of 8 bytes before tensor `x`",
        ),
        (
            "hole at the start",
            bytes_of(&object(&[entry("w", "F32", &[2, 2], 4, 20)]), &[0; 20]),
            "hole of 4 bytes before tensor `w`",
        ),
        (
            "past the end",
            bytes_of(&object(&[w.clone(), x(16, 32)]), &[0; 24]),
            "tensor `x` ends at byte 32 of the data, the file holds 24",
        ),
        (
            "bytes after the last tensor",
            bytes_of(&object(std::slice::from_ref(&w)), &[0; 20]),
            "4 bytes after the last tensor",
        ),
        (
            "tensor given twice",
            bytes_of(&object(&[w.clone(), entry("w", "F32", &[2, 2], 16, 32)]), &[0; 32]),
            "tensor `w` given twice",
        ),
        (
            "dtype that is no weight",
            bytes_of(&object(&[entry("w", "I32", &[2, 2], 0, 16)]), &[0; 16]),
            "tensor `w`: expected F32, F16, BF16 or F8, found I32",
        ),
        (
            "another shape",
            bytes_of(&object(&[entry("w", "F32", &[4, 1], 0, 16)]), &[0; 16]),
            "tensor `w`: expected shape [2, 2], found [4, 1]",
        ),
        (
            "three dimensions",
            bytes_of(&object(&[entry("w", "F32", &[1, 2, 2], 0, 16)]), &[0; 16]),
            "tensor `w`: expected shape [2, 2], found [1, 2, 2]\n\
             hint: it is a stack of 1 matrices: `expert: I` takes one of them",
        ),
        (
            "four dimensions",
            bytes_of(&object(&[entry("w", "F32", &[1, 1, 2, 2], 0, 16)]), &[0; 16]),
            "tensor `w`: expected shape [2, 2], found [1, 1, 2, 2]",
        ),
        (
            "more rows",
            bytes_of(&object(&[entry("w", "F16", &[4, 2], 0, 16)]), &[0; 16]),
            "tensor `w`: expected shape [2, 2], found [4, 2]\n\
             hint: `rows: [first, end]` takes a part of its rows",
        ),
        (
            "packed without scales",
            bytes_of(&object(&[entry("w", "U8", &[1, 16], 0, 16)]), &[0; 16]),
            "tensor `w`: expected F32, F16, BF16 or F8, found U8\n\
             hint: packed MXFP4 blocks? `scales: NAME` names their scales",
        ),
        (
            "metadata that is no text",
            bytes_of(&object(&["\"__metadata__\":{\"a\":null}".to_owned(), w.clone()]), &[0; 16]),
            "bad header: invalid type: null, expected a string at line 1 column 25",
        ),
        (
            "metadata given twice",
            bytes_of(
                &object(&[
                    "\"__metadata__\":{}".to_owned(),
                    "\"__metadata__\":null".to_owned(),
                    w.clone(),
                ]),
                &[0; 16],
            ),
            "bad header: `__metadata__` given twice at line 1 column 33",
        ),
        (
            "missing tensor",
            bytes_of(&object(&[entry("v", "F32", &[2, 2], 0, 16)]), &[0; 16]),
            "no tensor `w`\nhint: did you mean `v`?",
        ),
        ("no tensors at all", bytes_of("{}", &[]), "no tensor `w`"),
        (
            "NaN",
            f32_file(2, 2, &[0.0, 1.0, f32::NAN, 0.0]),
            "tensor `w`: NaN at (row 1, column 0), must be finite",
        ),
        (
            "infinity",
            bytes_of(
                &object(&[entry("w", "BF16", &[2, 2], 0, 8)]),
                &[0, 0, 0x80, 0xff, 0, 0, 0, 0],
            ),
            "tensor `w`: -inf at (row 0, column 1), must be finite",
        ),
    ];
    let mut failures = String::new();
    for (name, bytes, expected) in cases {
        let got = refusal(&bytes);
        let got = got.strip_prefix("w.safetensors: ").unwrap_or(&got);
        // A list of all dtypes is the crate's own affair.
        let cut = expected.ends_with("expected one of") || expected.ends_with("usize");
        if !(got == expected || cut && got.starts_with(expected)) {
            failures += &format!("--- {name}\n{got}\n--- expected\n{expected}\n");
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

#[test]
fn near_names_are_offered() {
    let names = ["model.layers.0.mlp.up_proj.weight", "model.layers.1.mlp.up_proj.weight"];
    let entries = [
        entry(names[0], "F32", &[1, 1], 0, 4),
        entry(names[1], "F32", &[1, 1], 4, 8),
        entry("a", "F32", &[0], 8, 8),
    ];
    let folder = Folder::new();
    let bytes = bytes_of(&format!("{{{}}}", entries.join(",")), &[0; 8]);
    let file = WeightsFile::open(&folder.write("w.safetensors", &bytes)).expect("well-formed");
    let hint = |name: &str| match file.tensor(name, &Stored::default(), 1, 1) {
        Err(WeightsError::Malformed { hint: Some(hint), .. }) => hint,
        other => panic!("{other:?}"),
    };
    let near = "did you mean `model.layers.1.mlp.up_proj.weight`?";
    assert_eq!(hint("model.layers.1.mlp.up-proj.weight"), near);
    assert_eq!(
        hint("transformer.mlp.up_proj.weight"),
        "did you mean `model.layers.0.mlp.up_proj.weight`?"
    );
    assert!(hint("lm_head").starts_with("it has `a`, `model.layers.0"));
}

#[test]
fn folders_and_unreadable_files_are_named() {
    let folder = Folder::new();
    let refuse = |path: &Path| match WeightsFile::open(path) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => folder.message(&error),
    };
    fs::create_dir(folder.path("w.safetensors")).expect("writable");
    assert_eq!(
        refuse(&folder.path("w.safetensors")),
        "w.safetensors: expected a safetensors file, found a folder"
    );
    assert_eq!(
        refuse(&folder.path("x.safetensors")),
        "x.safetensors: failed to look at the file: No such file or directory (os error 2)"
    );
    use std::os::unix::fs::PermissionsExt;
    let locked = folder.write("locked.safetensors", &f32_file(1, 1, &[1.0]));
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).expect("our own file");
    if fs::File::open(&locked).is_ok() {
        // Past the test's captured output: what was not run must show.
        let note = "not run: unreadable files (this user may read every file)";
        writeln!(std::io::stderr(), "{note}").expect("a terminal or a log");
        return;
    }
    assert_eq!(
        refuse(&locked),
        "locked.safetensors: failed to open the file: Permission denied (os error 13)"
    );
}

#[test]
fn a_file_cut_after_opening_is_an_error_of_the_environment() {
    let folder = Folder::new();
    let path = folder.write("w.safetensors", &f32_file(2, 2, &[1.0; 4]));
    let tensor = WeightsFile::open(&path)
        .and_then(|f| f.tensor("w", &Stored::default(), 2, 2))
        .expect("well-formed");
    fs::OpenOptions::new().write(true).open(&path).and_then(|f| f.set_len(70)).expect("writable");
    let error = tensor.rows(0..2, &mut [0.0; 4]).expect_err("the file is short");
    assert!(matches!(error, WeightsError::Io { .. }), "{error:?}");
}

#[test]
fn shards_are_found_beside_their_index_and_nowhere_else() {
    let folder = Folder::new();
    folder.write("m/part-1.safetensors", &f32_file(2, 2, &[1.0, 2.0, 3.0, 4.0]));
    let index = |shard: &str| {
        let text = format!(r#"{{"metadata":{{"total_size":16}},"weight_map":{{"w":"{shard}"}}}}"#);
        let path = folder.write("m/model.safetensors.index.json", text.as_bytes());
        WeightsFile::open(&path).and_then(|file| file.tensor("w", &Stored::default(), 2, 2))
    };
    let mut out = [0.0; 2];
    index("part-1.safetensors").and_then(|t| t.rows(1..2, &mut out)).expect("well-formed");
    assert_eq!(out, [3.0, 4.0]);
    let error = index("part-2.safetensors").expect_err("no such shard");
    assert!(matches!(error, WeightsError::NotFound { .. }), "{error:?}");
    assert_eq!(
        folder.message(&error),
        "the shard that holds tensor `w` not found\n  looked at m/part-2.safetensors\n\
         hint: m/model.safetensors.index.json lists it; copy it there"
    );
    folder.write("outside.safetensors", &f32_file(2, 2, &[9.0; 4]));
    for shard in [
        "../outside.safetensors",
        "/outside.safetensors",
        "x/../../outside.safetensors",
        "..",
        ".",
        "",
    ] {
        let error = index(shard).expect_err(shard);
        assert_eq!(
            folder.message(&error),
            format!(
                "m/model.safetensors.index.json: tensor `w`: expected a file beside the index, \
                 found `{shard}`"
            )
        );
    }
    let path = folder.write("m/model.safetensors.index.json", b"{}");
    let error = WeightsFile::open(&path).map(|_| ()).expect_err("no map");
    assert_eq!(
        folder.message(&error),
        "m/model.safetensors.index.json: bad index: missing field `weight_map` at line 1 column 2"
    );
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn random_headers_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        let _ = parse_header(&bytes, bytes.len() as u64);
        let _ = parse_header(&bytes_of(&String::from_utf8_lossy(&bytes), &[]), u64::MAX);
    }

    #[test]
    fn mutated_headers_never_panic(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        file_len in prop_oneof![Just(None), any::<u64>().prop_map(Some)],
    ) {
        let entries = [entry("w", "F32", &[2, 2], 0, 16), entry("x", "BF16", &[3], 16, 22)];
        let mut bytes = bytes_of(&format!("{{{}}}", entries.join(",")), &[0; 22]);
        for (index, byte) in edits {
            let at = index.index(bytes.len());
            bytes[at] = if byte.is_ascii() { byte } else { b"0123456789[]{},:\"-"[usize::from(byte) % 18] };
        }
        let file_len = file_len.unwrap_or(bytes.len() as u64);
        if let Ok(header) = parse_header(&bytes, file_len) {
            prop_assert!(header.tensor_names().count() <= 2);
        }
    }
}
