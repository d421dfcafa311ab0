//! The tensor-core rule against dot products that eight GPUs computed.
//!
//! Each row of a set is one group: d = c + sum of a[i] b[i]. The sets are the model_validation
//! data of the MATLAB-tensor-core project, as CSV of binary32 bit patterns; they are not part
//! of this repository.

use std::path::{Path, PathBuf};

use contract::arithmetic::tensor_core::{Architecture, Format, Model, group_step};

/// Sets measured, and rows in each.
const SETS: usize = 22;
const ROWS: usize = 400;

struct Row {
    c: f32,
    d: f32,
    a: Vec<f32>,
    b: Vec<f32>,
}

struct Set {
    name: String,
    model: Model,
    rows: Vec<Row>,
}

/// The folder of the sets, or `None`, said aloud, where this machine has none.
fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("SPARSE_VERIFY_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/vectors"),
        PathBuf::from,
    );
    if folder.is_dir() {
        return Some(folder);
    }
    // Written past the test harness's capture, so that a plain `cargo test` shows it.
    use std::io::Write;
    let _ = writeln!(
        std::io::stderr(),
        "not run: tensor-core vectors (no folder {}; set SPARSE_VERIFY_VECTORS)",
        folder.display()
    );
    None
}

fn architecture(device: &str) -> Architecture {
    match device {
        "v100" => Architecture::Volta,
        "a100" | "a2" => Architecture::Ampere,
        "ada" | "l40s" => Architecture::Ada,
        "h100" | "h200" => Architecture::Hopper,
        "b200" => Architecture::Blackwell,
        other => panic!("no architecture is known for device {other}"),
    }
}

fn format(name: &str) -> Format {
    match name {
        "fp16" => Format::F16,
        "bf16" => Format::Bf16,
        "tf32" => Format::Tf32,
        other => panic!("no operand format is called {other}"),
    }
}

fn parse(path: &Path) -> Set {
    let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
    let mut words = name.split('-');
    let device = architecture(words.next().unwrap());
    let model = Model::of(device, format(words.next().unwrap())).unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| {
            let values: Vec<f32> = line
                .split(',')
                .map(|word| f32::from_bits(u32::from_str_radix(word, 16).unwrap()))
                .collect();
            let (a, b) = values[2..].split_at((values.len() - 2) / 2);
            assert_eq!(a.len(), b.len(), "{name}");
            assert!(a.len() <= model.group, "{name}: more than one group");
            Row { c: values[0], d: values[1], a: a.to_vec(), b: b.to_vec() }
        })
        .collect();
    Set { name, model, rows }
}

fn sets() -> Option<Vec<Set>> {
    let folder = folder()?;
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "csv"))
        .collect();
    paths.sort();
    let sets: Vec<Set> = paths.iter().map(|path| parse(path)).collect();
    assert_eq!(sets.len(), SETS);
    for set in &sets {
        assert_eq!(set.rows.len(), ROWS, "{}", set.name);
    }
    Some(sets)
}

/// Rows whose measured result is not the model's, bit for bit.
fn mismatches(model: Model, rows: &[Row]) -> usize {
    rows.iter()
        .filter(|row| {
            let round = |x: &[f32]| -> Vec<f32> {
                x.iter().map(|&x| model.format.round_operand(x)).collect()
            };
            let d = group_step(model, row.c, &round(&row.a), &round(&row.b));
            d.to_bits() != row.d.to_bits()
        })
        .count()
}

#[test]
fn published_models_give_every_measured_bit_when_present() {
    let Some(sets) = sets() else { return };
    for set in sets {
        assert_eq!(mismatches(set.model, &set.rows), 0, "{}: {:?}", set.name, set.model);
    }
}

#[test]
fn one_fraction_bit_more_or_less_is_refuted_by_every_set_when_present() {
    let Some(sets) = sets() else { return };
    for set in sets {
        for delta in [-1, 1] {
            let wrong = Model { fraction_bits: set.model.fraction_bits + delta, ..set.model };
            let count = mismatches(wrong, &set.rows);
            println!("{} F{delta:+}: {count} of {ROWS} differ", set.name);
            assert!(count > 0, "{} cannot tell F{delta:+}", set.name);
        }
    }
}
