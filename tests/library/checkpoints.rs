//! Checkpoints as they are published: what stands in place of a file, how a matrix lies in a tensor, quantised ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;

use contract::case::{Scales, Stored, Weights};
use contract::digest::Digest;
use contract::dtype::Dtype;
use contract::inputs::source::Source as _;
use sparse_verify::weights::{
    Checkpoint, Pointer, Resolver, Tensor, WeightsError, WeightsFile, parse_index, parse_pointer,
};

use crate::files::{Folder, bytes_of, entry, f32_file};
use crate::hub_server::{REVISION, Reply, Server, part_of};

const INDEX: &str = "model.safetensors.index.json";

/// The message of a file that cannot be opened.
fn refusal(name: &str, bytes: &[u8]) -> String {
    let folder = Folder::new();
    match WeightsFile::open(&folder.write(name, bytes)) {
        Ok(_) => panic!("{name} was opened"),
        Err(error) => folder.message(&error),
    }
}

/// A zip archive's beginning, whose first member has this name.
fn zip(name: &str) -> Vec<u8> {
    let mut bytes = b"PK\x03\x04".to_vec();
    bytes.resize(26, 0);
    bytes.extend((name.len() as u16).to_le_bytes());
    bytes.extend([0, 0]);
    bytes.extend(name.as_bytes());
    bytes.resize(300, 0);
    bytes
}

/// The same as PyTorch writes it: with padding behind the name.
fn padded(name: &str) -> Vec<u8> {
    let mut bytes = zip(name);
    bytes[28] = 9;
    bytes[30 + name.len()..32 + name.len()].copy_from_slice(b"FB");
    bytes
}

/// Files that people have in place of a safetensors file: their bytes, what they are called, a word of the hint.
fn foreign() -> Vec<(Vec<u8>, &'static str, &'static str)> {
    let long = |start: &[u8]| {
        let mut bytes = start.to_vec();
        bytes.resize(600, 0);
        bytes
    };
    let tar = {
        let mut bytes = long(b"model.safetensors");
        bytes[257..262].copy_from_slice(b"ustar");
        bytes
    };
    vec![
        (
            b"Entry not found".to_vec(),
            "a server's answer, `Entry not found`",
            "fetch the file again",
        ),
        (
            b"404: Not Found\n".to_vec(),
            "a server's answer, `404: Not found`",
            "fetch the file again",
        ),
        (
            b"Invalid username or password.".to_vec(),
            "a server's answer, `Invalid username or password`",
            "token",
        ),
        (
            b"\n<!DOCTYPE html>\n<html><head><title> Sign in </title></head>".to_vec(),
            "a web page with the title `Sign in`",
            "fetch the file again",
        ),
        (b"\xef\xbb\xbf<html>".to_vec(), "a web page", "fetch the file again"),
        (
            b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>".to_vec(),
            "an answer in XML",
            "fetch the file again",
        ),
        (
            b"{\"error\":\"Access to model x is restricted\\u001b[31m\"}".to_vec(),
            "a server's answer, `Access to model x is restricted\\u{1b}[31m`",
            "token",
        ),
        (b"{\"message\": \"rate limited\"}".to_vec(), "a server's answer, `rate limited`", "fetch"),
        (
            b"{\"architectures\": [\"X\"]}".to_vec(),
            "a model's configuration",
            "name the file of its weights",
        ),
        (b"{\"a\": 1, \"b\": [2, 3]}".to_vec(), "JSON of another kind", "fetch the file again"),
        (
            b"{\"metadata\":{},\"weight_map\":{\"w\":\"a.safetensors\"}}".to_vec(),
            "the index of a sharded model",
            "a name that ends in `.safetensors.index.json`",
        ),
        (long(b"GGUF\x03\0\0\0"), "a GGUF file", "the checkpoint that it was made from"),
        (long(b"tjgg\x03\0\0\0"), "a GGML file", "the checkpoint that it was made from"),
        (long(b"\x08\x07\x12\x07pytorch\x1a\x052.1.0"), "an ONNX model", "initializers"),
        (long(b"\x08\x08\x3a\xc9\x01\x0a"), "an ONNX model", "initializers"),
        (
            zip("archive/data.pkl"),
            "a PyTorch file (a zip archive with a pickle)",
            "safe_serialization",
        ),
        (padded("x/version"), "a PyTorch file (a zip archive with a pickle)", "safe_serialization"),
        (
            long(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."),
            "a PyTorch file (a pickle)",
            "from safetensors.torch import save_file",
        ),
        (long(b"\x80\x04\x95"), "a pickle of Python", "safe_serialization"),
        (zip("w.npy"), "arrays of NumPy (.npz)", "from safetensors.numpy import save_file"),
        (
            long(b"\x93NUMPY\x01\0"),
            "an array of NumPy (.npy)",
            "from safetensors.numpy import save_file",
        ),
        (zip("model.safetensors"), "a zip archive", "unpack it"),
        // Its first eight bytes are a length that a header may have.
        (long(b"\x1f\x8b\x08\0\0\0\0\0"), "a gzip archive", "unpack it"),
        (long(b"\x28\xb5\x2f\xfd"), "a zstd archive", "unpack it"),
        (long(b"\xfd7zXZ\0"), "an xz archive", "unpack it"),
        (tar, "a tar archive", "unpack it"),
        (long(b"\x89HDF\r\n\x1a\n"), "an HDF5 file", "from safetensors.numpy import save_file"),
    ]
}

#[test]
fn other_files_are_called_by_what_they_are() {
    for (bytes, what, hint) in foreign() {
        let got = refusal("w.safetensors", &bytes);
        let start = format!("w.safetensors: expected a safetensors file, found {what}\nhint: ");
        assert!(
            got.starts_with(&start) && got.contains(hint),
            "{got}\n--- expected\n{start}{hint}"
        );
        if what.contains("index") || what.contains("JSON of another") {
            continue;
        }
        let got = refusal(INDEX, &bytes);
        let start =
            format!("{INDEX}: expected the index of safetensors files, found {what}\nhint: ");
        assert!(
            got.starts_with(&start) && got.contains(hint),
            "{got}\n--- expected\n{start}{hint}"
        );
    }
    // What a name says does not make it one, small or large.
    for bytes in [f32_file(2, 2, &[1.0; 4]), {
        let mut large = f32_file(2, 2, &[1.0; 4]);
        large.resize((64 << 20) + 1, 0);
        large
    }] {
        assert_eq!(
            refusal(INDEX, &bytes),
            format!(
                "{INDEX}: expected the index of safetensors files, found a safetensors file\n\
                 hint: give it a name that ends in `.safetensors`"
            )
        );
    }
}

/// A file whose header's length happens to be the beginning of another kind's is itself.
#[test]
fn a_safetensors_file_is_never_taken_for_another() {
    let magics: [&[u8]; 3] = [b"\x1f\x8b\x08\0", b"{\"\0\0", b"\x80\x02\0\0"];
    for magic in magics {
        let mut header = format!("{{{}}}", entry("w", "F32", &[1, 1], 0, 4)).into_bytes();
        let len = u32::from_le_bytes(magic.try_into().expect("four bytes")) as usize;
        header.resize(len, b' ');
        let bytes = [&(len as u64).to_le_bytes()[..], &header, &1f32.to_le_bytes()].concat();
        let folder = Folder::new();
        let opened = WeightsFile::open(&folder.write("w.safetensors", &bytes));
        assert!(opened.is_ok(), "{magic:?}");
    }
}

fn pointer(oid: Digest, size: u64) -> String {
    format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n")
}

#[test]
fn a_pointer_says_whether_it_is_to_the_file_that_is_wanted() {
    let bytes = f32_file(1, 1, &[1.0]);
    let (oid, other) = (Digest::of(&bytes), Digest::of(b"other"));
    let folder = Folder::new();
    folder.write("w.safetensors", pointer(oid, 77).as_bytes());
    let message = |sha256| {
        let weights = Weights::File {
            path: PathBuf::from("w.safetensors"),
            sha256,
            tensor: "w".to_owned(),
            tensor_sha256: None,
            stored: Stored::default(),
        };
        let error = Resolver::new(None, true)
            .resolve(&folder.path("m.yaml"), &weights, 1, 1)
            .expect_err("a pointer");
        assert!(matches!(error, WeightsError::Pointer { .. }), "{error:?}");
        folder.message(&error)
    };
    let found = format!(
        "w.safetensors: expected a safetensors file, found a Git LFS pointer to a file of 77 bytes with digest {oid}"
    );
    let hint = "\nhint: `git lfs pull` fetches the file itself";
    assert_eq!(message(None), format!("{found}{hint}"));
    assert_eq!(message(Some(oid)), format!("{found}, the one that is wanted{hint}"));
    assert_eq!(
        message(Some(other)),
        format!("{found}\n  wanted is digest {other}: another file{hint}")
    );
    let damaged = pointer(oid, 77).replace("sha256:", "md5:");
    assert!(
        refusal("w.safetensors", damaged.as_bytes()).contains("a Git LFS pointer that is damaged")
    );
}

#[test]
fn metadata_may_be_null() {
    let folder = Folder::new();
    let header = format!("{{\"__metadata__\":null,{}}}", entry("w", "F32", &[1, 1], 0, 4));
    let path = folder.write("w.safetensors", &bytes_of(&header, &[0; 4]));
    let file = WeightsFile::open(&path).unwrap_or_else(|e| panic!("{e}"));
    assert!(file.tensor("w", &Stored::default(), 1, 1).is_ok());
}

#[test]
fn indexes_are_told_by_their_names() {
    for index in [
        "model.safetensors.index.json",
        "a/b/model.safetensors.index.json",
        "diffusion_pytorch_model.safetensors.index.json",
        "model.safetensors.index.fp16.json",
        "diffusion_pytorch_model.safetensors.fp16.index.json",
        "model.fp16.safetensors.index.json",
    ] {
        assert!(Weights::is_index(index), "{index}");
    }
    for file in [
        "model.safetensors",
        "model.index.json",
        "model.safetensors.json",
        "safetensors.index.json",
        "model.safetensors.index.json.safetensors",
        "model.safetensors.a.b.index.json",
        "model.safetensors.index.json/model.safetensors",
        "pytorch_model.bin.index.json",
        "index.json",
        "",
    ] {
        assert!(!Weights::is_index(file), "{file}");
    }
}

/// Shards anywhere below the index are found; of files of other kinds only their own tensors are refused.
#[test]
fn mixed_and_variant_indexes_serve() {
    let values = [1.0, 2.0, 3.0, 4.0];
    let names = [
        "model.safetensors.index.json",
        "model.safetensors.index.fp16.json",
        "model.safetensors.fp16.index.json",
    ];
    for name in names {
        let folder = Folder::new();
        folder.write("m/a/b.safetensors", &f32_file(2, 2, &values));
        // In both orders, of names and of entries.
        for map in [
            r#"{"w":"a/b.safetensors","v":"pytorch_model.bin"}"#,
            r#"{"v":"pytorch_model.bin","w":"./a/./b.safetensors"}"#,
            r#"{"a":"x.bin","w":"a/b.safetensors","v":"y.bin"}"#,
        ] {
            let text = format!(r#"{{"metadata":{{"total_size":1}},"weight_map":{map}}}"#);
            let path = folder.write(&format!("m/{name}"), text.as_bytes());
            let file = WeightsFile::open(&path).unwrap_or_else(|e| panic!("{e}"));
            let mut out = [0.0; 4];
            let stored = Stored::default();
            let tensor = file.tensor("w", &stored, 2, 2).unwrap_or_else(|e| panic!("{e}"));
            tensor.rows(0..2, &mut out).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(out, values);
            let message =
                folder.message(&file.tensor("v", &stored, 2, 2).expect_err("no safetensors"));
            assert!(
                message.starts_with(&format!(
                    "m/{name}: tensor `v`: expected a .safetensors file, found `"
                )) && message.contains("\nhint: write it anew: `model.save_pretrained"),
                "{message}"
            );
        }
    }
}

#[test]
fn a_head_that_is_tied_to_the_embeddings_is_named() {
    let hint = |names: &[&str], wanted: &str| {
        let entries: Vec<String> = names
            .iter()
            .enumerate()
            .map(|(i, name)| entry(name, "F32", &[1, 1], 4 * i, 4 * i + 4))
            .collect();
        let folder = Folder::new();
        let data = vec![0; 4 * names.len()];
        let path =
            folder.write("w.safetensors", &bytes_of(&format!("{{{}}}", entries.join(",")), &data));
        let file = WeightsFile::open(&path).unwrap_or_else(|e| panic!("{e}"));
        match file.tensor(wanted, &Stored::default(), 1, 1) {
            Err(WeightsError::Malformed { message, hint, .. }) => {
                assert_eq!(message, format!("no tensor `{wanted}`"));
                hint.unwrap_or_default()
            }
            other => panic!("{other:?}"),
        }
    };
    for (embeddings, head) in [
        ("model.embed_tokens.weight", "lm_head.weight"),
        ("transformer.wte.weight", "lm_head.weight"),
        ("tok_embeddings.weight", "output.weight"),
        ("gpt_neox.embed_in.weight", "embed_out.weight"),
    ] {
        assert_eq!(
            hint(&["a", embeddings, "model.norm.weight"], head),
            format!(
                "a model whose last matrix is that of its embeddings stores it once: name `{embeddings}`"
            )
        );
    }
    // Without embeddings there is nothing to be tied to.
    assert_eq!(hint(&["lm_heads.weight"], "lm_head.weight"), "did you mean `lm_heads.weight`?");
}

/// A line of Python that a message gives does what the message says.
#[test]
fn the_line_that_converts_f64_works() {
    let folder = Folder::new();
    let data: Vec<u8> = [0.1f64, -2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    let header = format!("{{{}}}", entry("w", "F64", &[1, 2], 0, 16));
    let path = folder.write("in.safetensors", &bytes_of(&header, &data));
    let file = WeightsFile::open(&path).unwrap_or_else(|e| panic!("{e}"));
    let error = file.tensor("w", &Stored::default(), 1, 2).expect_err("F64");
    let message = folder.message(&error);
    assert!(message.starts_with(
        "in.safetensors: tensor `w`: expected F32, F16, BF16 or F8, found F64\nhint: F64 has no place"
    ), "{message}");
    let line = message.split('`').rev().nth(1).expect("a line of Python");
    let output = Command::new(python())
        .current_dir(folder.path(""))
        .args(["-c", line])
        .output()
        .expect("a Python: tests/run.sh sets up what this needs");
    assert!(output.status.success(), "{line}\n{}", String::from_utf8_lossy(&output.stderr));
    let file = WeightsFile::open(&folder.path("out.safetensors")).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(values(&file.tensor("w", &Stored::default(), 1, 2).expect("F32")), [0.1, -2.0]);
}

fn python() -> PathBuf {
    std::env::var_os("SPARSE_VERIFY_PYTHON").map_or("python3".into(), PathBuf::from)
}

/// All values of A.
fn values(tensor: &Tensor) -> Vec<f32> {
    let (m, k) = tensor.shape();
    let mut out = vec![f32::NAN; m * k];
    tensor.rows(0..m, &mut out).unwrap_or_else(|e| panic!("{e}"));
    out
}

/// Tensors of a file: name, dtype, shape, bytes.
fn file_of(folder: &Folder, tensors: &[(&str, &str, &[usize], Vec<u8>)]) -> WeightsFile {
    let (mut entries, mut data) = (Vec::new(), Vec::new());
    for (name, dtype, shape, bytes) in tensors {
        entries.push(entry(name, dtype, shape, data.len(), data.len() + bytes.len()));
        data.extend(bytes);
    }
    let bytes = bytes_of(&format!("{{{}}}", entries.join(",")), &data);
    let path = folder.write("w.safetensors", &bytes);
    WeightsFile::open(&path).unwrap_or_else(|e| panic!("{e}"))
}

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

fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
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

/// Stacks, transposes and parts that are not there.
#[test]
fn a_matrix_that_does_not_lie_so_is_refused() {
    let folder = Folder::new();
    let tensors: [(&str, &str, &[usize], Vec<u8>); 2] =
        [("w", "F32", &[3, 2], f32s(&[0.0; 6])), ("e", "F32", &[2, 3, 2], f32s(&[0.0; 12]))];
    let file = file_of(&folder, &tensors);
    let (expert, transposed) = (Some(1), true);
    for (name, stored, shape, expected) in [
        (
            "w",
            Stored { expert, ..Stored::default() },
            (3, 2),
            "tensor `w`: expected a stack of matrices, found shape [3, 2]\nhint: without `expert` a tensor is a matrix",
        ),
        (
            "e",
            Stored { expert: Some(2), ..Stored::default() },
            (3, 2),
            "tensor `e`: expected a stack of more than 2 matrices, found [2, 3, 2]\nhint: the first matrix is `expert: 0`",
        ),
        (
            "e",
            Stored { expert, ..Stored::default() },
            (2, 3),
            "tensor `e`: expected shape [2, 3], found [3, 2] of [2, 3, 2]\nhint: it is stored transposed: say `transposed: true`",
        ),
        (
            "w",
            Stored { transposed, ..Stored::default() },
            (3, 2),
            "tensor `w`: expected shape [2, 3], the transpose of A, found [3, 2]\nhint: it is not stored transposed: leave `transposed` out",
        ),
        (
            "w",
            Stored { rows: Some(1..4), ..Stored::default() },
            (3, 2),
            "tensor `w`: expected rows 1..4 with 2 columns, found [3, 2]",
        ),
        (
            "w",
            Stored { rows: Some(1..4), transposed, ..Stored::default() },
            (3, 3),
            "tensor `w`: expected columns 1..4 with 3 rows, found [3, 2]",
        ),
        (
            "w",
            Stored::default(),
            (2, 2),
            "tensor `w`: expected shape [2, 2], found [3, 2]\nhint: `rows: [first, end]` takes a part of its rows",
        ),
    ] {
        let error = file.tensor(name, &stored, shape.0, shape.1).expect_err("it lies otherwise");
        assert_eq!(folder.message(&error), format!("w.safetensors: {expected}"));
    }
    // A value that is none of A's may be anything; where it is, is said as it is stored.
    let tensors: [(&str, &str, &[usize], Vec<u8>); 1] =
        [("w", "F32", &[3, 2], f32s(&[0.0, 1.0, 2.0, f32::INFINITY, 4.0, 5.0]))];
    let file = file_of(&folder, &tensors);
    let pass = |stored: Stored, m, k| file.tensor("w", &stored, m, k).and_then(|t| t.pass(None));
    assert!(pass(Stored { rows: Some(2..3), ..Stored::default() }, 1, 2).is_ok());
    assert!(pass(Stored { rows: Some(0..1), transposed, ..Stored::default() }, 1, 3).is_ok());
    let error = pass(Stored { rows: Some(1..2), transposed, ..Stored::default() }, 1, 3);
    assert_eq!(
        folder.message(&error.expect_err("an infinity")),
        "w.safetensors: tensor `w`: inf at (row 1, column 1), must be finite"
    );
}

/// A published package's models: a safetensors file, ONNX and PyTorch.
#[test]
fn the_files_of_a_published_model_are_what_they_are() {
    let folder = std::env::var_os("SPARSE_VERIFY_SILERO")
        .map(PathBuf::from)
        .expect("SPARSE_VERIFY_SILERO names the folder of silero-vad's models: use tests/run.sh");
    let open = |name: &str| WeightsFile::open(&folder.join(name));
    let file = open("silero_vad_16k.safetensors").unwrap_or_else(|e| panic!("{e}"));
    assert!(file.tensor("lstm_cell.weight_ih", &Stored::default(), 512, 128).is_ok());
    for (name, what) in [
        ("silero_vad.onnx", "an ONNX model"),
        ("silero_vad.jit", "a PyTorch file (a zip archive with a pickle)"),
    ] {
        let error = open(name).map(|_| ()).expect_err("no safetensors file").to_string();
        assert!(
            error.contains(&format!("expected a safetensors file, found {what}\nhint: ")),
            "{error}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300, failure_persistence: None, ..ProptestConfig::default()
    })]

    /// Each element of A is the stored one that the rule names, whatever rows are asked for.
    #[test]
    fn elements_come_from_where_the_rule_says(
        (stack, rows, columns) in (1usize..4, 0usize..9, 0usize..9),
        (has_expert, transposed, has_rows) in any::<(bool, bool, bool)>(),
        (a, b, c, d) in any::<(prop::sample::Index, prop::sample::Index, prop::sample::Index, prop::sample::Index)>(),
        seed in any::<u32>(),
    ) {
        let stack = if has_expert { stack } else { 1 };
        let elements: Vec<f32> =
            (0..stack * rows * columns).map(|i| (i as f32) + (seed % 1000) as f32 - 500.0).collect();
        let expert = has_expert.then(|| a.index(stack));
        let (height, k) = if transposed { (columns, rows) } else { (rows, columns) };
        let (first, end) = (b.index(height + 1), c.index(height + 1));
        let window = if has_rows { first.min(end)..first.max(end) } else { 0..height };
        let m = window.len();
        let folder = Folder::new();
        let shape: &[usize] = if has_expert { &[stack, rows, columns] } else { &[rows, columns] };
        let file = file_of(&folder, &[("w", "F32", shape, f32s(&elements))]);
        let stored = Stored { scales: None, expert, transposed, rows: has_rows.then(|| window.clone()) };
        let tensor = file.tensor("w", &stored, m, k).map_err(|e| TestCaseError::fail(e.to_string()))?;
        let before = expert.unwrap_or(0) * rows * columns;
        let element = |i: usize, j: usize| {
            let (row, column) = if transposed { (j, window.start + i) } else { (window.start + i, j) };
            elements[before + row * columns + column]
        };
        let part = d.index(m + 1)..m;
        let mut out = vec![f32::NAN; part.len() * k];
        tensor.rows(part.clone(), &mut out).map_err(|e| TestCaseError::fail(e.to_string()))?;
        let expected: Vec<f32> = part.flat_map(|i| (0..k).map(move |j| (i, j))).map(|(i, j)| element(i, j)).collect();
        prop_assert_eq!(out, expected);
        let (digest, stats) = tensor.pass(None).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(digest, Digest::of(&f32s(&elements)));
        let all = (0..m).flat_map(|i| (0..k).map(move |j| (i, j))).map(|(i, j)| element(i, j).abs());
        prop_assert_eq!(stats.max, all.fold(0.0, f32::max));
    }

    #[test]
    fn pointers_are_read_as_they_are_written(
        oid in any::<[u8; 32]>(), size in any::<u64>(), more in "([a-z.0-9-]{1,8} [ -~]{0,20}\n)?", crlf in any::<bool>(),
    ) {
        let oid = Digest(oid);
        prop_assume!(!more.starts_with("oid ") && !more.starts_with("size "));
        let text = pointer(oid, size) + &more;
        let text = if crlf { text.replace('\n', "\r\n") } else { text };
        prop_assert_eq!(parse_pointer(text.as_bytes()), Some(Pointer { oid, size }));
        // Cut off anywhere it is no other pointer.
        for end in 0..text.len() {
            let cut = parse_pointer(&text.as_bytes()[..end]);
            prop_assert!(cut.is_none_or(|cut| cut.oid == oid && size.to_string().starts_with(&cut.size.to_string())));
        }
    }

    #[test]
    fn any_bytes_are_an_index_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_pointer(&bytes);
        let _ = parse_index(&bytes);
        let _ = parse_index(&[b"{\"weight_map\":{\"w\":\"", &bytes[..], b"\"}}"].concat());
    }

    /// Whatever path an index has, the file is in its folder.
    #[test]
    fn shards_never_lead_out_of_the_folder(path in "[./a]{0,8}(\\.safetensors)?") {
        let text = serde_json::json!({"weight_map": {"w": path, "v": "plain.safetensors"}}).to_string();
        let climbs = path.starts_with('/') || path.split('/').any(|part| part == "..");
        match parse_index(text.as_bytes()) {
            Ok(index) => {
                prop_assert!(!climbs, "{}", path);
                if let Ok(shard) = index.shard("w") {
                    prop_assert!(shard.split('/').all(|part| !matches!(part, "" | "." | "..")), "{}", shard);
                    prop_assert_eq!(Path::new("x").join(&path).components().filter(|c| c.as_os_str() != ".").collect::<PathBuf>(), Path::new("x").join(shard));
                }
                prop_assert_eq!(index.shard("v").ok(), Some("plain.safetensors"));
            }
            Err((message, _)) => {
                prop_assert!(climbs || path.ends_with('/') || path.split('/').all(|part| matches!(part, "" | ".")), "{} {}", path, message);
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
        resolver.hub = online.then(|| super::hub::hub(&server.url, None));
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
