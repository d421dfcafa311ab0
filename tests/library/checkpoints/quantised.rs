//! Small formats and their scales: unpacked in order, multiplied exactly, digested as they are stored.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use contract::case::{Scales, Stored, Weights};
use contract::digest::Digest;
use contract::dtype::Dtype;
use contract::inputs::source::Source as _;
use sparse_verify::weights::{Checkpoint, Resolver};

use super::{f32s, file_of, python, values};
use crate::files::Folder;
use crate::hub_server::{REVISION, Reply, Server, part_of};

fn scaled(tensor: &str) -> Stored {
    let scales = Some(Scales { tensor: tensor.to_owned(), sha256: None });
    Stored { scales, ..Stored::default() }
}

/// Every code of every small format, beside the library that defines them for Python.
#[test]
fn small_formats_are_those_of_ml_dtypes() {
    let script = "
import ml_dtypes as t, numpy as n
for name, count in (('float8_e4m3fn', 256), ('float8_e5m2', 256), ('float4_e2m1fn', 16), ('float8_e8m0fnu', 256)):
    x = n.arange(count, dtype='uint8').view(getattr(t, name)).astype('float64')
    print(name, *[v.hex() if n.isfinite(v) else 'x' for v in x.tolist()])
";
    let output = Command::new(python()).args(["-c", script]).output().expect("a Python");
    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "ml_dtypes is needed: tests/run.sh\n{stderr}");
    // A number as Python writes it: sign, hexadecimal digits, power of two.
    let number = |text: &str| {
        let (sign, text) = text.strip_prefix('-').map_or((1.0, text), |text| (-1.0, text));
        let (digits, power) =
            text.strip_prefix("0x").expect("hexadecimal").split_once('p').expect("a power");
        let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
        let digits = u64::from_str_radix(&format!("{whole}{part}"), 16).expect("digits") as f64;
        let power: i32 = power.parse().expect("a power");
        sign * digits * 2f64.powi(power - 4 * part.len() as i32)
    };
    let codes: Vec<u8> = (0..=255).collect();
    let mut seen = 0;
    for line in stdout.lines() {
        let mut words = line.split(' ');
        let name = words.next().expect("a name");
        let expected: Vec<Option<f64>> =
            words.map(|word| (word != "x").then(|| number(word))).collect();
        for (code, expected) in expected.iter().enumerate() {
            let folder = Folder::new();
            let (file, stored, columns) = match name {
                "float8_e4m3fn" | "float8_e5m2" => {
                    let dtype = if name == "float8_e4m3fn" { "F8_E4M3" } else { "F8_E5M2" };
                    let file = file_of(&folder, &[("w", dtype, &[1, 1], vec![codes[code]])]);
                    (file, Stored::default(), 1)
                }
                _ => {
                    // Code 2 is 1.
                    let (half, scale) =
                        if name == "float4_e2m1fn" { (code as u8, 127) } else { (2, code as u8) };
                    let tensors: [(&str, &str, &[usize], Vec<u8>); 2] = [
                        ("w", "U8", &[1, 1, 16], vec![half | half << 4; 16]),
                        ("s", "U8", &[1, 1], vec![scale]),
                    ];
                    (file_of(&folder, &tensors), scaled("s"), 32)
                }
            };
            let mut out = vec![0.0; columns];
            let got = file
                .tensor("w", &stored, 1, columns)
                .and_then(|tensor| tensor.rows(0..1, &mut out));
            match expected {
                Some(expected) => {
                    assert!(got.is_ok(), "{name} {code}: {got:?}");
                    let all = out.iter().all(|x| {
                        f64::from(*x) == *expected
                            && x.is_sign_negative() == expected.is_sign_negative()
                    });
                    assert!(all, "{name} {code}: {out:?}, want {expected}");
                }
                None => assert!(
                    got.as_ref().is_err_and(|e| folder
                        .message(e)
                        .contains("at (row 0, column 0), must be finite")),
                    "{name} {code}: {got:?}"
                ),
            }
            seen += 1;
        }
    }
    assert_eq!(seen, 3 * 256 + 16);
}

/// Two elements a byte, the lower half first, 32 of them a scale.
#[test]
fn packed_blocks_are_unpacked_in_order() {
    let folder = Folder::new();
    // Code 1 is 0.5, 2 is 1, 7 is 6, 15 is -6.
    let blocks = [[0x21; 16], [0xf7; 16], [0x02; 16], [0x00; 16]].concat();
    let scales = vec![127, 128, 126, 0];
    let tensors: [(&str, &str, &[usize], Vec<u8>); 2] =
        [("w_blocks", "U8", &[2, 2, 16], blocks), ("w_scales", "U8", &[2, 2], scales)];
    let file = file_of(&folder, &tensors);
    let tensor =
        file.tensor("w_blocks", &scaled("w_scales"), 2, 64).unwrap_or_else(|e| panic!("{e}"));
    let pairs = [[0.5, 1.0], [12.0, -12.0], [0.5, 0.0], [0.0, 0.0]];
    let expected: Vec<f32> = pairs.iter().flat_map(|pair| pair.repeat(16)).collect();
    assert_eq!(values(&tensor), expected);
    // Across: stored columns that begin within a byte.
    let stored = Stored { transposed: true, rows: Some(31..34), ..scaled("w_scales") };
    let tensor = file.tensor("w_blocks", &stored, 3, 2).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(values(&tensor), [1.0, 0.0, 12.0, 0.0, -12.0, 0.0]);
    let (digest, stats) = tensor.pass(None).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((stats.min_nonzero, stats.max), (1.0, 12.0));
    assert_eq!(digest, Digest::of(&[[0x21; 16], [0xf7; 16], [0x02; 16], [0x00; 16]].concat()));
}

/// One scale of all, of each row, of blocks of 128 x 128; of stacks too.
#[test]
fn scales_are_those_of_their_blocks() {
    let (rows, columns) = (130, 260);
    // 1, the code 0x38 of E4M3.
    let ones = vec![0x38; rows * columns];
    let by_row: Vec<f32> = (0..rows).map(|row| 1.0 + row as f32).collect();
    let stacked: Vec<f32> = [vec![1.0; 6], vec![5.0, 6.0, 7.0, 8.0, 9.0, 10.0]].concat();
    let expected = |row: usize, column: usize, kind: &str| match kind {
        "one" | "one-1" | "one-2" => 0.5,
        "rows" | "rows-1" => by_row[row],
        "blocks" => (row / 128 * 3 + column / 128) as f32 + 1.0,
        _ => (row / 128 * 3 + column / 128) as f32 + 5.0,
    };
    let blocks = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let cases: [(&str, &[usize], &[f32]); 7] = [
        ("one", &[], &[0.5]),
        ("one-1", &[1], &[0.5]),
        ("one-2", &[1, 1], &[0.5]),
        ("rows", &[130], &by_row),
        ("rows-1", &[130, 1], &by_row),
        ("blocks", &[2, 3], &blocks),
        ("stack", &[2, 2, 3], &stacked),
    ];
    for (kind, shape, scales) in cases {
        let folder = Folder::new();
        let stack = kind == "stack";
        let (own, data): (&[usize], _) =
            if stack { (&[2, 130, 260], ones.repeat(2)) } else { (&[130, 260], ones.clone()) };
        let tensors: [(&str, &str, &[usize], Vec<u8>); 2] =
            [("w", "F8_E4M3", own, data), ("s", "F32", shape, f32s(scales))];
        let file = file_of(&folder, &tensors);
        let stored = Stored { expert: stack.then_some(1), ..scaled("s") };
        let tensor =
            file.tensor("w", &stored, rows, columns).unwrap_or_else(|e| panic!("{kind}: {e}"));
        let got = values(&tensor);
        for row in 0..rows {
            for column in 0..columns {
                assert_eq!(
                    got[row * columns + column],
                    expected(row, column, kind),
                    "{kind} {row} {column}"
                );
            }
        }
    }
}

/// What a quantised tensor says where its scales do not fit, or nobody names them.
#[test]
fn scales_that_do_not_fit_are_refused() {
    let say = |dtype: &str,
               scales_dtype: &str,
               scales_shape: &[usize],
               scales: Vec<u8>,
               stored: &Stored| {
        let folder = Folder::new();
        let tensors: [(&str, &str, &[usize], Vec<u8>); 2] = [
            ("w", dtype, &[2, 2], vec![0x3a; if dtype == "F32" { 16 } else { 4 }]),
            ("w_scale", scales_dtype, scales_shape, scales),
        ];
        let file = file_of(&folder, &tensors);
        let error = file
            .tensor("w", stored, 2, 2)
            .and_then(|tensor| tensor.pass(None))
            .expect_err("scales that do not fit");
        folder.message(&error)
    };
    let stored = &scaled("w_scale");
    let nan = f32s(&[f32::NAN]);
    for (got, expected) in [
        (
            say("F8_E4M3", "F32", &[1], f32s(&[1.0]), &Stored::default()),
            "tensor `w`: its values need their scales, `w_scale`\nhint: name them: `scales:` with `w_scale`",
        ),
        (
            say("F32", "F32", &[1], f32s(&[1.0]), stored),
            "tensor `w`: expected F8 or packed U8 with `scales`, found F32\nhint: F32, F16 and BF16 have none: leave `scales` out",
        ),
        (
            say("F8_E4M3", "F32", &[3], f32s(&[1.0; 3]), stored),
            "scales `w_scale`: expected shape [] or [1] or [1, 1] or [2] or [2, 1] or [1, 1] for 2 x 2, found [3]",
        ),
        (
            say("F8_E4M3", "I32", &[1], vec![0; 4], stored),
            "scales `w_scale`: expected F32, F16 or BF16, found I32",
        ),
        (
            say("F8_E4M3", "F32", &[], nan, stored),
            "scales `w_scale`: NaN at (row 0, column 0), must be finite",
        ),
        (
            say("F8_E4M3", "F32", &[2], f32s(&[1.0, 1.0000001]), stored),
            "tensor `w`: 1.25 times scale 1.0000001 at (row 1, column 0) is no f32 number\nhint: no rounding is chosen here: write the values, rounded as the model rounds them, to a checkpoint in F32, BF16 or F16",
        ),
        (
            say("U8", "U8", &[1], vec![1], stored),
            "tensor `w`: expected blocks of 16 bytes [.., rows, blocks, 16], found U8 of shape [2, 2]",
        ),
        (
            say("F8_E4M3", "F32", &[1], f32s(&[1.0]), &scaled("s")),
            "no tensor `s`\nhint: did you mean `w`?",
        ),
    ] {
        assert_eq!(got, format!("w.safetensors: {expected}"));
    }
}

/// Exact in binary32 and not in the case's dtype: refused there.
#[test]
fn scaled_values_are_exact_in_the_cases_dtype() {
    let folder = Folder::new();
    // 1.125 times 1.03125 has nine significant bits: no bf16.
    let tensors: [(&str, &str, &[usize], Vec<u8>); 2] =
        [("w", "F8_E4M3", &[1, 2], vec![0x38, 0x39]), ("s", "F32", &[], f32s(&[1.03125]))];
    let file = file_of(&folder, &tensors);
    for (dtype, is_good) in [(Dtype::F32, true), (Dtype::F16, true), (Dtype::Bf16, false)] {
        let tensor = file.tensor("w", &scaled("s"), 1, 2).unwrap_or_else(|e| panic!("{e}"));
        let mut out = [0.0; 2];
        let got = Checkpoint { tensor, dtype }.read(0..1, &mut out);
        assert_eq!(got.is_ok(), is_good, "{dtype}: {got:?}");
        match got {
            Ok(()) => assert_eq!(out, [1.03125, 297.0 / 256.0]),
            Err(error) => {
                let text = format!("{error:?}");
                assert!(
                    text.contains(
                        "tensor `w` element (0, 1) with its scale is 1.1601563, no bf16 number"
                    ),
                    "{text}"
                );
            }
        }
    }
}

/// The digest of a tensor that lies otherwise is that of its stored bytes, and decides alone only with its scales'.
#[test]
fn digests_are_of_what_is_stored() {
    let folder = Folder::new();
    let (blocks, scales) = (vec![0x21u8; 32], vec![127u8, 128]);
    let tensors: [(&str, &str, &[usize], Vec<u8>); 2] =
        [("w", "U8", &[2, 1, 16], blocks.clone()), ("s", "U8", &[2, 1], scales.clone())];
    let _ = file_of(&folder, &tensors);
    let file = Digest::of(&fs::read(folder.path("w.safetensors")).expect("written"));
    let (tensor, of_scales, wrong) = (Digest::of(&blocks), Digest::of(&scales), Digest::of(b"x"));
    let resolve = |sha256, tensor_sha256, scales_sha256| {
        let scales = Some(Scales { tensor: "s".to_owned(), sha256: scales_sha256 });
        let weights = Weights::File {
            path: PathBuf::from("w.safetensors"),
            sha256,
            tensor: "w".to_owned(),
            tensor_sha256,
            stored: Stored { scales, rows: Some(1..2), ..Stored::default() },
        };
        let found = Resolver::new(None, true).resolve(&folder.path("m.yaml"), &weights, 1, 32);
        found.map(|source| (source.sha256, source.note.is_some())).map_err(|e| folder.message(&e))
    };
    assert_eq!(resolve(Some(file), None, None), Ok((tensor, false)));
    assert_eq!(resolve(None, Some(tensor), Some(of_scales)), Ok((tensor, false)));
    assert_eq!(resolve(Some(wrong), Some(tensor), Some(of_scales)), Ok((tensor, true)));
    let differs = |of: &str, expected: Digest, got: Digest| {
        Err(format!(
            "w.safetensors: digest mismatch of {of}\n  expected {expected}\n  got      {got}"
        ))
    };
    // Other scales would be other values.
    assert_eq!(resolve(Some(wrong), Some(tensor), None), differs("the file", wrong, file));
    assert_eq!(resolve(Some(file), Some(wrong), None), differs("tensor `w`", wrong, tensor));
    assert_eq!(
        resolve(Some(file), Some(tensor), Some(wrong)),
        differs("tensor `s`", wrong, of_scales)
    );
}

/// Of a hub's model a tensor and its scales are fetched, each from its own shard, and nothing else.
#[test]
fn a_hubs_quantised_tensor_comes_with_its_scales() {
    let (blocks, scales) = (vec![0x21u8; 2 * 2 * 16], vec![127u8, 128, 129, 130]);
    let shard = |cells: &[(&str, &str, &[usize], Vec<u8>)]| {
        let folder = Folder::new();
        let _ = file_of(&folder, cells);
        fs::read(folder.path("w.safetensors")).expect("written")
    };
    let one =
        shard(&[("w", "U8", &[2, 2, 1, 16], blocks.clone()), ("z", "F32", &[1000], vec![0; 4000])]);
    let two = shard(&[("s", "U8", &[2, 2, 1], scales.clone())]);
    let index =
        br#"{"weight_map":{"w":"a/one.safetensors","s":"./two.safetensors","z":"old.bin"}}"#;
    let (served_one, served_two) = (one.clone(), two);
    let server = Server::start(move |request| {
        let served = |file: &[u8]| part_of(file, request).header("X-Repo-Commit", REVISION);
        match request.path.rsplit_once(REVISION).map(|(_, path)| path) {
            Some("/m/model.safetensors.index.fp16.json") => served(index),
            Some("/m/a/one.safetensors") => served(&served_one),
            Some("/m/two.safetensors") => served(&served_two),
            _ => Reply::new(404),
        }
    });
    let folder = Folder::new();
    let resolver = |online: bool| {
        let mut resolver = Resolver::new(None, true);
        resolver.hub_cache = None;
        resolver.extracts = Some(folder.path("kept"));
        resolver.hub = online.then(|| crate::hub::hub(&server.url, None));
        resolver
    };
    let weights = |expert, scales_sha256| Weights::Hub {
        repo: "org/name".to_owned(),
        revision: REVISION.to_owned(),
        file: "m/model.safetensors.index.fp16.json".to_owned(),
        sha256: None,
        tensor: "w".to_owned(),
        tensor_sha256: Some(Digest::of(&blocks)),
        stored: Stored {
            scales: Some(Scales { tensor: "s".to_owned(), sha256: scales_sha256 }),
            expert: Some(expert),
            ..Stored::default()
        },
    };
    let path = Path::new("m.yaml");
    let find =
        |online, expert, m, sha256| resolver(online).resolve(path, &weights(expert, sha256), m, 32);
    // A shape that it does not have is refused before anything is fetched.
    let error = find(true, 1, 3, None).expect_err("another shape").to_string();
    assert!(
        error.contains("tensor `w`: expected shape [3, 32], found [2, 32] of [2, 2, 32]"),
        "{error}"
    );
    assert!(!folder.path("kept").exists());
    let other = find(true, 1, 2, Some(Digest::of(b"other"))).expect_err("other scales").to_string();
    assert!(other.contains("digest mismatch of the tensor that it has"), "{other}");
    // Each matrix of the stack, the second time from what was kept.
    for (expert, expected) in [(0, [0.5, 1.0]), (1, [2.0, 4.0])] {
        let source =
            find(true, expert, 2, Some(Digest::of(&scales))).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(values(&source.tensor)[..2], expected);
        assert_eq!(source.sha256, Digest::of(&blocks));
    }
    let asked = server.log().requests.len();
    let source = find(false, 1, 2, None).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(values(&source.tensor)[32..34], [4.0, 8.0]);
    assert_eq!(server.log().requests.len(), asked);
    assert!(server.log().requests.iter().all(|request| !request.path.contains("old.bin")));
    // Scales that changed since are fetched again.
    let kept = folder
        .path("kept/models--org--name")
        .join(REVISION)
        .join("m/model.safetensors.index.fp16.json/s.safetensors");
    let mut bytes = fs::read(&kept).expect("kept");
    *bytes.last_mut().expect("not empty") ^= 1;
    fs::write(&kept, &bytes).expect("writable");
    let error = find(false, 1, 2, None).expect_err("damaged").to_string();
    assert!(error.contains("damaged since it was fetched"), "{error}");
    let source = find(true, 1, 2, None).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(values(&source.tensor)[32..34], [4.0, 8.0]);
}
