//! Committed dot products of real tensor cores, replayed against the models.

use std::path::{Path, PathBuf};

use contract::arithmetic::bf16_dot::Instruction;
use contract::arithmetic::tensor_core::{CONFIRMED, Format};
use contract::arithmetic::{TensorCoreModel, bf16_dot};
use sparse_verify::rules::vectors::{InstructionFile, VectorFile, measure_instruction};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `tests/records/*/tensor-core-vectors.json`.
fn files() -> Vec<PathBuf> {
    let folders = std::fs::read_dir(root().join("tests/records")).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = folders
        .map(|folder| folder.path().join("tensor-core-vectors.json"))
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    files
}

#[test]
fn every_committed_file_replays() {
    let files = files();
    if files.is_empty() {
        // Written past the test harness's capture, so that a plain `cargo test` shows it.
        use std::io::Write;
        let _ = writeln!(
            std::io::stderr(),
            "not run: replay of tensor-core vectors (no tests/records/*/tensor-core-vectors.json)"
        );
    }
    for path in files {
        let file = VectorFile::load(&path).unwrap_or_else(|error| panic!("{error}"));
        print!("{}", file.summary());
        assert_eq!(file.replay(), [""; 0], "{}", path.display());
        assert!(
            file.sets.iter().flat_map(|set| &set.outputs).all(|outputs| !outputs.by.is_empty()),
            "{}: outputs of nobody",
            path.display()
        );
    }
}

#[test]
fn every_confirmation_has_its_record() {
    for (architecture, record) in CONFIRMED {
        let file = VectorFile::load(&root().join(record)).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(file.architecture, architecture.name(), "{record}");
        assert_eq!(file.replay(), [""; 0], "{record}");
        for model in Format::ALL.map(|format| TensorCoreModel::of(*architecture, format)) {
            let Some(model) = model else { continue };
            assert_eq!(model.status(), format!("confirmed ({record})"));
            let other = TensorCoreModel { group: model.group / 2, ..model };
            assert_eq!(other.status(), "unconfirmed", "not the published model");
        }
    }
    let confirmed = |architecture| CONFIRMED.iter().filter(|(a, _)| *a == architecture).count();
    assert!(CONFIRMED.iter().all(|(architecture, _)| confirmed(*architecture) == 1));
}

/// Instructions of CPUs: each that counts as confirmed has a record, made by the instruction, that replays; every record
/// there is of one that does.
#[test]
fn every_confirmed_instruction_has_its_record() {
    let committed = |instruction: Instruction| {
        root().join(format!("tests/records/cpu/{instruction}-vectors.json"))
    };
    for instruction in Instruction::ALL {
        let confirmed = bf16_dot::CONFIRMED.iter().find(|(known, _)| *known == instruction);
        let Some((_, record)) = confirmed else {
            assert_eq!(instruction.status(), "unconfirmed");
            assert!(!committed(instruction).exists(), "{instruction}: measured and not confirmed");
            continue;
        };
        assert_eq!(root().join(record), committed(instruction));
        let file = InstructionFile::load(&root().join(record));
        let file = file.unwrap_or_else(|error| panic!("{error}"));
        print!("{}", file.summary());
        assert_eq!(file.instruction, instruction.name(), "{record}");
        assert_eq!(file.replay(), [""; 0], "{record}");
        assert_eq!(instruction.status(), format!("confirmed ({record})"));
    }
}

/// Where a processor has the instruction, it gives the committed outputs again.
#[test]
fn this_processors_instructions_follow_their_rules() {
    for instruction in Instruction::ALL {
        match measure_instruction(instruction) {
            Ok(file) => assert_eq!(file.replay(), [""; 0], "{}", file.summary()),
            Err(why) => {
                use std::io::Write;
                let _ = writeln!(std::io::stderr(), "not run: vectors of {instruction} ({why})");
            }
        }
    }
}
