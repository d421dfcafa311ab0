//! What a run predicts before it starts: counted exactly, said once, and of no consequence.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::common;
use crate::common::{Section, Workbench, manifest};
use contract::case::Case;
use sparse_verify::backend::cpu::Isa;
use sparse_verify::predict::{Work, predict};

fn of(section: Section<'_>) -> Vec<Case> {
    manifest(&[section]).cases
}

#[test]
fn bytes_and_operations_are_those_counted_by_hand() {
    // A 10 x 6, V 6 x 7, Y 10 x 7; half of the rows live.
    let small = Section { shape: (10, 6), batch: "7", ..Section::default() };
    let case = &of(small.clone())[0];
    let want = Work {
        bytes_hashed: 4 * (60 + 42) + 6 * 4 * 70,
        flops_dense: 2 * 10 * 6 * 7,
        flops_operator: 3 * 2 * 5 * 6 * 7,
    };
    assert_eq!(Work::of(case), want);

    // Two bytes an element of A and V; nothing is pruned.
    let bf16 = Section { dtype: "bf16", patterns: "none", sparsity: "", ..small.clone() };
    let want = Work {
        bytes_hashed: 2 * (60 + 42) + 6 * 4 * 70,
        flops_dense: 840,
        flops_operator: 3 * 840,
    };
    assert_eq!(Work::of(&of(bf16)[0]), want);

    // 60 elements of which a fifth lives, in two levels.
    let levels = Section { patterns: "uniform", sparsity: "[0.8, 1]", ..small };
    let cases = of(levels);
    assert_eq!(Work::of(&cases[0]).flops_operator, 3 * 2 * 12 * 7);
    assert_eq!(Work::of(&cases[1]).flops_operator, 0);
    let both: Vec<(&Case, bool)> = cases.iter().map(|case| (case, false)).collect();
    let prediction = predict(&both, Isa::best(), 1);
    assert_eq!(prediction.bytes_hashed, 2 * (4 * (60 + 42) + 6 * 4 * 70));
    assert_eq!(prediction.flops, 2 * 840 + 3 * 2 * 12 * 7);
    assert_eq!((prediction.cases, prediction.cores, prediction.on_device), (2, 1, 0));
    assert!(prediction.seconds() > 0.0 && prediction.seconds().is_finite());

    // An operator on a device is not the CPU's.
    let on_device = predict(&[(&cases[0], true)], Isa::best(), 1);
    assert_eq!((on_device.flops, on_device.on_device), (840, 1));
}

#[test]
fn real_weights_are_predicted_without_being_there() {
    let here = "{file: nowhere.safetensors, sha256: \
                \"0000000000000000000000000000000000000000000000000000000000000000\"}";
    let text = format!(
        "format: sparse-verify/2\ntitle: For tests\nsections:\n  - name: real\n    seed: 3\n    weights: {here}\n    \
         layers: {{name: up, shape: [10, 6], tensor: w}}\n    patterns: none\n    batch: 7\n    dtype: f32\n    \
         arithmetic: f32-chain\n"
    );
    let manifest = sparse_verify::manifest::parse(
        std::path::Path::new("manifests/real.yaml"),
        text.as_bytes(),
    )
    .unwrap_or_else(|errors| panic!("{errors}"));
    // The tensor's own values are hashed as well.
    let prediction = predict(&[(&manifest.cases[0], false)], Isa::best(), 1);
    assert_eq!(prediction.bytes_hashed, 4 * (60 + 42) + 6 * 4 * 70 + 4 * 60);
}

#[test]
fn what_has_no_products_is_predicted_too() {
    for section in [
        Section { shape: (0, 6), ..Section::default() },
        Section { shape: (10, 0), ..Section::default() },
        Section { batch: "0", ..Section::default() },
    ] {
        let Ok(manifest) = sparse_verify::manifest::parse(
            std::path::Path::new("manifests/small.yaml"),
            common::text(&[section]).as_bytes(),
        ) else {
            continue;
        };
        let seconds = predict(&[(&manifest.cases[0], false)], Isa::best(), 1).seconds();
        assert!(seconds.is_finite() && seconds >= 0.0);
    }
    assert_eq!(predict(&[], Isa::best(), 2).seconds(), 0.0);
}

#[test]
fn a_run_says_what_it_will_take_and_what_it_took() {
    let bench = Workbench::pinned(&[Section { sparsity: "[0.5, 0.8]", ..Section::default() }]);
    let stderr = |more: &[&str]| {
        let arguments = [&["manifests", "--threads", "1"], more].concat();
        let output = bench.command(&arguments).output().expect("the program was built");
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stderr).expect("text")
    };
    let said = stderr(&["--no-measure", "--json", "record.json"]);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(
        lines[0].starts_with("predicted: 2 cases, ") && lines[0].contains(" on 1 core: at least "),
        "{said}"
    );
    assert!(lines[1].starts_with("took: ") && lines[1].contains(" times that limit; "), "{said}");
    assert!(lines[0].contains(", likely "), "{said}");
    // Nothing is left to be predicted.
    assert_eq!(stderr(&["--no-measure", "--json", "record.json", "--resume"]), "");
    assert_eq!(stderr(&["--no-measure", "--quiet"]), "");
    assert_eq!(stderr(&["--no-measure", "--shard", "3/3"]), "");
    assert!(stderr(&["--no-measure", "--shard", "2/3"]).starts_with("predicted: 1 case, "));
    let measured = stderr(&[]);
    assert_eq!(measured.lines().count(), 1, "{measured}");
    assert!(measured.contains(", and measuring on top of it"), "{measured}");
    assert!(
        measured.contains("the first case that is measured also bears the seconds"),
        "{measured}"
    );
}

#[test]
fn a_long_run_says_beforehand_what_it_lacks_and_how_to_look_at_a_part() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_verify"));
    command.args(["b200", "--threads", "1", "--offline"]).env("CUDA_VISIBLE_DEVICES", "");
    let folder = tempfile::tempdir().expect("a folder");
    command.current_dir(folder.path()).stdout(Stdio::null()).stderr(Stdio::piped());
    let started = Instant::now();
    let mut program = command.spawn().expect("the program was built");
    let mut said = Vec::new();
    for line in BufReader::new(program.stderr.take().expect("piped")).lines().take(4) {
        said.push(line.expect("text"));
    }
    let seconds = started.elapsed().as_secs_f64();
    program.kill().expect("it runs");
    program.wait().expect("our child");
    let begin = |line: &str| said.iter().any(|said| said.starts_with(line));
    assert!(begin("predicted: 519 cases, "), "{said:?}");
    assert!(begin("note: no times: they need NVIDIA B200, which is not here"), "{said:?}");
    assert!(begin("note: 156 of the cases, on models of the hub, are not required"), "{said:?}");
    assert!(begin("hint: --case 'structures/*' runs a part"), "{said:?}");
    // Two and a half on an idle machine; five are promised.
    assert!(seconds < 30.0, "{seconds}");
}
