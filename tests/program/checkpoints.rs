//! Matrices as checkpoints store them, from the manifest's keys to a verdict, and by the second implementation.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use contract::digest::Digest;

use crate::files::{Folder, bytes_of, entry};

/// Cells of a file: name, dtype, shape, bytes.
type Cell<'a> = (&'a str, &'a str, &'a [usize], Vec<u8>);

fn file_of(tensors: &[Cell<'_>]) -> Vec<u8> {
    let (mut entries, mut data) = (Vec::new(), Vec::new());
    for (name, dtype, shape, bytes) in tensors {
        entries.push(entry(name, dtype, shape, data.len(), data.len() + bytes.len()));
        data.extend(bytes);
    }
    bytes_of(&format!("{{{}}}", entries.join(",")), &data)
}

/// Bytes that look like nothing, from a small generator.
fn noise(len: usize, mut seed: u32) -> Vec<u8> {
    let mut next = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    };
    (0..len).map(|_| next()).collect()
}

fn manifest(weights: &str, layers: &str, dtype: &str) -> String {
    format!(
        "format: sparse-verify/2\ntitle: Checkpoints\nsections:\n  - name: s\n    seed: 7\n    weights: {weights}\n    layers:\n{layers}    patterns: [none, element-magnitude]\n    sparsity: 0.5\n    batch: 5\n    dtype: {dtype}\n    arithmetic: f32-chain\n"
    )
}

fn verify(folder: &Folder, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_verify"))
        .current_dir(folder.path(""))
        .args(words)
        .args(["--offline"])
        .env("HF_HUB_CACHE", folder.path("no-such-cache"))
        .output()
        .expect("the program was built")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// Pins a manifest, verifies it, and lets the second implementation do the same.
fn pinned_and_confirmed(folder: &Folder, manifest: &str, cases: usize) {
    folder.write("manifests/m.yaml", manifest.as_bytes());
    let pinned = verify(folder, &["pin", "manifests/m.yaml", "--yes"]);
    assert_eq!(pinned.status.code(), Some(0), "{}", text(&pinned));
    let ran = verify(folder, &["manifests/m.yaml", "--no-measure"]);
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran));
    assert!(text(&ran).contains(&format!("{cases} cases: {cases} verified")), "{}", text(&ran));
    let python = std::env::var_os("SPARSE_VERIFY_PYTHON").map_or("python3".into(), PathBuf::from);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/independent/verify.py");
    let second = Command::new(python)
        .arg(script)
        .args(["manifests/m.yaml", "expected-hashes/m.yaml"])
        .current_dir(folder.path(""))
        .output()
        .expect("a Python: tests/run.sh sets up what this needs");
    let said = text(&second);
    assert!(said.contains(&format!("{cases} passed, 0 failed\n")), "{said}");
}

/// Stacks, transposes, parts of rows, F8 and MXFP4 with scales, single and sharded: both implementations get the same.
#[test]
fn both_implementations_read_what_is_stored() {
    let halves: Vec<u8> =
        noise(2 * 2 * 24 * 40, 1).chunks(2).flat_map(|b| [b[0], b[1] & 0xbf]).collect();
    // Neither NaN nor infinity in either F8.
    let small: Vec<u8> = noise(130 * 140, 2).into_iter().map(|b| b & 0xbb).collect();
    let powers: Vec<u8> = [0.5f32, 2.0, 1.0, 0.25].iter().flat_map(|x| x.to_le_bytes()).collect();
    let one = [0x80, 0x3e];
    let cells: Vec<Cell<'_>> = vec![
        ("stack", "F16", &[2, 24, 40], halves),
        ("e4m3", "F8_E4M3", &[130, 140], small.clone()),
        ("e4m3_scale_inv", "F32", &[2, 2], powers),
        ("e5m2", "F8_E5M2", &[130, 140], small.clone()),
        ("e5m2_scale", "BF16", &[1], one.to_vec()),
        ("bare", "F8_E5M2", &[130, 140], small),
        ("m_blocks", "U8", &[3, 20, 2, 16], noise(3 * 20 * 2 * 16, 3)),
        (
            "m_scales",
            "U8",
            &[3, 20, 2],
            noise(3 * 20 * 2, 4).into_iter().map(|b| 120 + b % 8).collect(),
        ),
    ];
    let layers = "      - {name: expert, tensor: stack, expert: 1, shape: [24, 40]}
      - {name: turned, tensor: stack, expert: 0, transposed: true, rows: [3, 20], shape: [17, 24]}
      - {name: blocks, tensor: e4m3, scales: e4m3_scale_inv, shape: [130, 140]}
      - {name: one, tensor: e5m2, scales: e5m2_scale, rows: [100, 130], shape: [30, 140]}
      - {name: bare, tensor: bare, transposed: true, shape: [140, 130]}
      - {name: packed, tensor: m_blocks, scales: m_scales, expert: 2, shape: [20, 64]}
      - {name: packed-turned, tensor: m_blocks, scales: m_scales, expert: 1, transposed: true, rows: [1, 64], shape: [63, 20]}
";
    let bytes = file_of(&cells);
    for dtype in ["f32", "bf16"] {
        let folder = Folder::new();
        folder.write("manifests/w.safetensors", &bytes);
        let weights = format!("{{file: w.safetensors, sha256: {}}}", Digest::of(&bytes));
        pinned_and_confirmed(&folder, &manifest(&weights, layers, dtype), 14);
        if dtype == "bf16" {
            continue;
        }
        // Other rows, another matrix, other scales, and the same as stored: other digests of A.
        for (from, to) in [
            ("rows: [3, 20]", "rows: [4, 21]"),
            ("tensor: stack, expert: 1", "tensor: stack, expert: 0"),
            ("scales: e4m3_scale_inv", "scales: e5m2_scale"),
            (
                "tensor: bare, transposed: true, shape: [140, 130]",
                "tensor: bare, rows: [0, 130], shape: [130, 140]",
            ),
        ] {
            let changed = manifest(&weights, layers, dtype).replacen(from, to, 1);
            folder.write("manifests/m.yaml", changed.as_bytes());
            let ran = verify(&folder, &["manifests/m.yaml", "--no-measure"]);
            let said = text(&ran);
            assert_eq!(ran.status.code(), Some(1), "{to}\n{said}");
            assert!(said.contains("A (pruned weights) digest mismatch"), "{to}\n{said}");
        }
    }
    // The tensor in one shard, its scales in another, below the index.
    let folder = Folder::new();
    folder.write("manifests/x/one.safetensors", &file_of(&cells[6..7]));
    folder.write("manifests/two.safetensors", &file_of(&cells[7..8]));
    let index = br#"{"weight_map":{"m_blocks":"x/one.safetensors","m_scales":"./two.safetensors","b":"old.bin"}}"#;
    folder.write("manifests/w.safetensors.index.fp16.json", index);
    let layers = format!(
        "      - {{name: packed, tensor: m_blocks, sha256: {}, scales: {{tensor: m_scales, sha256: {}}}, expert: 0, shape: [20, 64]}}\n",
        Digest::of(&cells[6].3),
        Digest::of(&cells[7].3)
    );
    let weights = format!("{{file: w.safetensors.index.fp16.json, sha256: {}}}", Digest::of(index));
    pinned_and_confirmed(&folder, &manifest(&weights, &layers, "f16"), 2);
}

/// A published checkpoint that has two-dimensional tensors and stacks of small ones.
#[test]
fn silero_is_verified_by_tensor() {
    let models = std::env::var_os("SPARSE_VERIFY_SILERO")
        .map(PathBuf::from)
        .expect("SPARSE_VERIFY_SILERO names the folder of silero-vad's models: use tests/run.sh");
    let bytes = std::fs::read(models.join("silero_vad_16k.safetensors")).expect("it is there");
    let folder = Folder::new();
    folder.write("manifests/silero_vad_16k.safetensors", &bytes);
    let layers = "      - {name: lstm-input, tensor: lstm_cell.weight_ih, shape: [512, 128]}
      - {name: lstm-forget-gate, tensor: lstm_cell.weight_hh, rows: [128, 256], shape: [128, 128]}
      - {name: lstm-turned, tensor: lstm_cell.weight_hh, transposed: true, shape: [128, 512]}
      - {name: conv1-filter-5, tensor: conv1.weight, expert: 5, shape: [129, 3]}
      - {name: conv3-filter-63, tensor: conv3.weight, expert: 63, transposed: true, shape: [3, 64]}
      - {name: stft-basis-7, tensor: stft_conv.weight, expert: 7, shape: [1, 256]}
";
    // The package's file, whoever downloads it.
    let sha256 = "c59271c284ae9c8335d795d60e0bfdb71aaaceec578d9bd9ffc1b8153c319ea1";
    let weights = format!("{{file: silero_vad_16k.safetensors, sha256: {sha256}}}");
    pinned_and_confirmed(&folder, &manifest(&weights, layers, "f32"), 12);
}

/// Numbers that no dtype of the case has are refused, not rounded; so is what cannot be told from its bytes.
#[test]
fn what_cannot_be_had_exactly_is_bad_input() {
    for (tensors, layer, dtype, words) in [
        (
            vec![
                ("w", "F8_E4M3", &[1usize, 2][..], vec![0x38, 0x39]),
                ("s", "F32", &[1], 1.03125f32.to_le_bytes().to_vec()),
            ],
            "{name: l, tensor: w, scales: s, shape: [1, 2]}",
            "bf16",
            "tensor `w` element (0, 1) with its scale is 1.1601563, no bf16 number",
        ),
        (
            vec![("w", "F8_E4M3", &[1, 2], vec![0x38, 0x7f])],
            "{name: l, tensor: w, shape: [1, 2]}",
            "f32",
            "tensor `w`: NaN at (row 0, column 1), must be finite",
        ),
        (
            vec![("w", "F64", &[1, 1], vec![0; 8])],
            "{name: l, tensor: w, shape: [1, 1]}",
            "f32",
            "from safetensors.numpy import load_file, save_file",
        ),
    ] {
        let folder = Folder::new();
        let bytes = file_of(&tensors);
        folder.write("manifests/w.safetensors", &bytes);
        let weights = format!("{{file: w.safetensors, sha256: {}}}", Digest::of(&bytes));
        let manifest = manifest(&weights, &format!("      - {layer}\n"), dtype);
        folder.write("manifests/m.yaml", manifest.as_bytes());
        let ran = verify(&folder, &["manifests/m.yaml", "--no-measure"]);
        assert_eq!(ran.status.code(), Some(2), "{}", text(&ran));
        assert!(text(&ran).contains(words), "{words}\n{}", text(&ran));
    }
    // A clone without Git LFS.
    let folder = Folder::new();
    let oid = Digest::of(b"the file");
    folder.write(
        "manifests/w.safetensors",
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 99\n")
            .as_bytes(),
    );
    let weights = format!("{{file: w.safetensors, sha256: {oid}}}");
    let layer = "      - {name: l, tensor: w, shape: [1, 1]}\n";
    folder.write("manifests/m.yaml", manifest(&weights, layer, "f32").as_bytes());
    let ran = verify(&folder, &["manifests/m.yaml", "--no-measure"]);
    assert_eq!(ran.status.code(), Some(2), "{}", text(&ran));
    assert!(text(&ran).contains(", the one that is wanted"), "{}", text(&ran));
}
