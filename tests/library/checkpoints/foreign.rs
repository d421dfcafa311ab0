//! What stands in place of a safetensors file is called by what it is.

use std::path::PathBuf;

use contract::case::Stored;
use sparse_verify::weights::WeightsFile;

use super::{INDEX, refusal};
use crate::files::{Folder, entry, f32_file};

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
