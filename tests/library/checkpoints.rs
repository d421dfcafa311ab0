//! Checkpoints as they are published: what stands in place of a file, how a matrix lies in a tensor, quantised ones.

mod foreign;
mod quantised;

use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;

use contract::case::{Stored, Weights};
use contract::digest::Digest;
use sparse_verify::weights::{
    Pointer, Resolver, Tensor, WeightsError, WeightsFile, parse_index, parse_pointer,
};

use crate::files::{Folder, bytes_of, entry, f32_file};

const INDEX: &str = "model.safetensors.index.json";

/// The message of a file that cannot be opened.
fn refusal(name: &str, bytes: &[u8]) -> String {
    let folder = Folder::new();
    match WeightsFile::open(&folder.write(name, bytes)) {
        Ok(_) => panic!("{name} was opened"),
        Err(error) => folder.message(&error),
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

fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
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
