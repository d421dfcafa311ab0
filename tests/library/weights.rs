//! Weights are found where they may lie, held to their digests, and read back to the bit.

use std::fs;
use std::path::{Path, PathBuf};

use crate::files::{Folder, bytes_of, entry, f32_file};
use contract::case::{Stored, Weights};
use contract::digest::Digest;
use contract::dtype::Dtype;
use half::{bf16, f16};
use sparse_verify::weights::{Encoding, Resolver, WeightsError, WeightsFile};

#[test]
fn all_dtypes_widen_exactly() {
    let folder = Folder::new();
    // Every finite 16-bit pattern, as 255 or so rows of 256.
    for (name, dtype, widen) in [
        ("F16", Dtype::F16, (|b| f16::from_bits(b).to_f32()) as fn(u16) -> f32),
        ("BF16", Dtype::Bf16, |b| bf16::from_bits(b).to_f32()),
    ] {
        let patterns: Vec<u16> = (0..=u16::MAX).filter(|&b| widen(b).is_finite()).collect();
        let (m, k) = (patterns.len() / 256, 256);
        let data: Vec<u8> = patterns.iter().flat_map(|b| b.to_le_bytes()).collect();
        let header = format!("{{{}}}", entry("w", name, &[m, k], 0, data.len()));
        let path = folder.write("w.safetensors", &bytes_of(&header, &data));
        let file = WeightsFile::open(&path).unwrap_or_else(|e| panic!("{e}"));
        let tensor = file.tensor("w", &Stored::default(), m, k).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(tensor.encoding(), Encoding::Plain(dtype));
        for rows in [0..m, 3..5, m - 1..m, 7..7] {
            let mut out = vec![0.0; rows.len() * k];
            tensor.rows(rows.clone(), &mut out).unwrap_or_else(|e| panic!("{e}"));
            let expected = patterns[rows.start * k..rows.end * k].iter().map(|&b| widen(b));
            assert!(out.iter().map(|x| x.to_bits()).eq(expected.map(f32::to_bits)));
        }
        let (digest, stats) = tensor.pass(None).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(digest, Digest::of(&data));
        assert_eq!(stats.min_nonzero, widen(1));
        assert_eq!(stats.max, patterns.iter().map(|&b| widen(b)).fold(0.0, f32::max));
    }
}

#[test]
fn large_tensors_are_read_in_pieces() {
    // More than one piece, and pieces that end inside rows.
    let (m, k) = (7, 100_003);
    let values: Vec<f32> = (0..m * k).map(|i| i as f32 - 1000.0).collect();
    let folder = Folder::new();
    let path = folder.write("w.safetensors", &f32_file(m, k, &values));
    let tensor = WeightsFile::open(&path)
        .and_then(|f| f.tensor("w", &Stored::default(), m, k))
        .expect("well-formed");
    let mut out = vec![0.0; 5 * k];
    tensor.rows(1..6, &mut out).expect("well-formed");
    assert_eq!(out, values[k..6 * k]);
    let (_, stats) = tensor.pass(None).expect("well-formed");
    assert_eq!((stats.min_nonzero, stats.max), (1.0, (m * k - 1001) as f32));
    let zero = folder.write("zero.safetensors", &f32_file(2, 2, &[0.0, -0.0, 0.0, 0.0]));
    let tensor = WeightsFile::open(&zero)
        .and_then(|f| f.tensor("w", &Stored::default(), 2, 2))
        .expect("well-formed");
    let (_, stats) = tensor.pass(None).expect("well-formed");
    assert_eq!((stats.min_nonzero, stats.max), (0.0, 0.0));
}

fn resolver(dir: Option<PathBuf>, cache: Option<PathBuf>) -> Resolver {
    let mut resolver = Resolver::new(dir, true);
    resolver.hub_cache = cache;
    resolver
}

const REVISION: &str = "0123456789abcdef0123456789abcdef01234567";

fn hub(sha256: Option<Digest>, tensor_sha256: Option<Digest>) -> Weights {
    Weights::Hub {
        repo: "org/name".to_owned(),
        revision: REVISION.to_owned(),
        file: "model.safetensors".to_owned(),
        sha256,
        tensor: "w".to_owned(),
        tensor_sha256,
        stored: Stored::default(),
    }
}

#[test]
fn digests_decide_and_an_extract_serves_as_well() {
    let folder = Folder::new();
    let bytes = f32_file(1, 2, &[1.0, -2.0]);
    let data = &bytes[bytes.len() - 8..];
    let manifest = folder.path("manifests/x.yaml");
    folder.write("manifests/models/w.safetensors", &bytes);
    let (file, tensor, wrong) = (Digest::of(&bytes), Digest::of(data), Digest::of(b"other"));
    let resolve = |sha256, tensor_sha256| {
        let path = PathBuf::from("models/w.safetensors");
        let tensor = "w".to_owned();
        let weights =
            Weights::File { path, sha256, tensor, tensor_sha256, stored: Stored::default() };
        resolver(None, None).resolve(&manifest, &weights, 1, 2)
    };
    for (sha256, tensor_sha256) in
        [(Some(file), None), (None, Some(tensor)), (Some(file), Some(tensor))]
    {
        let source = resolve(sha256, tensor_sha256).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((source.sha256, source.note), (tensor, None));
        assert_eq!(source.stats.max, 2.0);
    }
    let note = resolve(Some(wrong), Some(tensor)).unwrap_or_else(|e| panic!("{e}")).note;
    assert!(note.is_some_and(|note| note.contains("the tensor's digest is the manifest's")));
    for (sha256, tensor_sha256, of) in [
        (Some(wrong), None, "the file"),
        (None, Some(wrong), "tensor `w`"),
        (Some(file), Some(wrong), "tensor `w`"),
    ] {
        let error = resolve(sha256, tensor_sha256).expect_err("another digest");
        assert!(matches!(error, WeightsError::DigestMismatch { .. }), "{error:?}");
        let got = if of == "the file" { file } else { tensor };
        assert_eq!(
            folder.message(&error),
            format!(
                "manifests/models/w.safetensors: digest mismatch of {of}\n  expected {wrong}\n  \
                 got      {got}"
            )
        );
    }
}

#[test]
fn models_are_found_in_the_folder_and_in_the_cache() {
    let bytes = f32_file(1, 1, &[1.5]);
    let weights = hub(Some(Digest::of(&bytes)), None);
    for place in [
        "org/name/model.safetensors",
        "name/model.safetensors",
        "name.safetensors",
        "model.safetensors",
    ] {
        let folder = Folder::new();
        folder.write(place, &bytes);
        let found = resolver(Some(folder.path("")), None).resolve(Path::new("x"), &weights, 1, 1);
        assert_eq!(found.unwrap_or_else(|e| panic!("{e}")).tensor.path(), folder.path(place));
    }
    // The cache keeps blobs, to which the snapshots hold links.
    let folder = Folder::new();
    let blob = folder.write("models--org--name/blobs/b10b", &bytes);
    let snapshot = folder.path(&format!("models--org--name/snapshots/{REVISION}"));
    fs::create_dir_all(&snapshot).expect("writable");
    let link = snapshot.join("model.safetensors");
    std::os::unix::fs::symlink(&blob, &link).expect("writable");
    let cache = resolver(None, Some(folder.path("")));
    let found = cache.resolve(Path::new("x"), &weights, 1, 1).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(found.tensor.path(), link);
    // A link to a blob that is gone is as good as nothing.
    fs::remove_file(&blob).expect("writable");
    let error = resolver(None, Some(folder.path(""))).resolve(Path::new("x"), &weights, 1, 1);
    assert!(matches!(error, Err(WeightsError::NotFound { .. })), "{error:?}");
}

#[test]
fn another_model_under_the_same_name_is_passed_over() {
    let folder = Folder::new();
    let bytes = f32_file(1, 1, &[1.5]);
    let weights = hub(Some(Digest::of(&bytes)), None);
    folder.write("name/model.safetensors", &f32_file(1, 1, &[2.5]));
    let resolve = || resolver(Some(folder.path("")), None).resolve(Path::new("x"), &weights, 1, 1);
    let error = resolve().expect_err("only another model's");
    assert!(matches!(error, WeightsError::DigestMismatch { .. }), "{error:?}");
    folder.write("model.safetensors", &bytes);
    assert_eq!(resolve().expect("found").tensor.path(), folder.path("model.safetensors"));
}

#[test]
fn what_is_not_found_lists_where_it_was_looked_for() {
    let folder = Folder::new();
    let both = resolver(Some(folder.path("weights")), Some(folder.path("cache")));
    let error = both.resolve(Path::new("x"), &hub(None, None), 1, 1).expect_err("nothing there");
    assert_eq!(
        folder.message(&error),
        format!(
            "`model.safetensors` of org/name at revision {REVISION} not found\n  \
             looked at weights/org/name/model.safetensors\n  \
             looked at weights/name/model.safetensors\n  \
             looked at weights/name.safetensors\n  \
             looked at weights/model.safetensors\n  \
             looked at cache/models--org--name/snapshots/{REVISION}/model.safetensors\n\
             hint: nothing is downloaded (--offline); `--weights DIR` names a folder that has it"
        )
    );
}
