//! What a run says and returns where a CUDA device is wanted: by the manifest's platform, which may do
//! without, or by `--device`, which may not.

use crate::common;
use crate::common::{Section, Workbench};

const RUN: [&str; 1] = ["manifests/small.yaml"];

/// A pinned manifest about hardware that nobody has.
fn bench() -> Workbench {
    let section = Section { shape: (96, 32), batch: "5", ..Section::default() };
    let bench = Workbench::pinned(&[section]);
    let text = bench.read("manifests/small.yaml");
    let title = "title: For tests\n";
    assert!(text.contains(title));
    bench.write(
        "manifests/small.yaml",
        &text.replace(title, &format!("{title}platform: NVIDIA H9000\n")),
    );
    bench
}

fn run(bench: &Workbench, more: &[&str]) -> common::Ran {
    bench.verify(&[&RUN, more].concat())
}

#[test]
fn without_the_platform_the_bits_are_verified_and_nothing_is_measured() {
    let bench = bench();
    let ran = run(&bench, &["--json", "record.json"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{}", ran.stdout);
    assert!(ran.stdout.contains("not measured (needs NVIDIA H9000)"), "{}", ran.stdout);
    let record = bench.record("record.json");
    assert!(record.devices.is_empty());
    for case in &record.cases {
        assert_eq!(case.device, None);
        assert_eq!(case.bits.as_ref().map(|bits| bits.operator.as_str()), Some("skip"));
        assert_eq!(case.measurement, None);
        let reason = case.measurement_reason.as_deref();
        assert_eq!(reason, Some("not measured (needs NVIDIA H9000)"));
    }
    assert_eq!(run(&bench, &["--require", "measurements"]).code, 3);
}

#[test]
fn a_device_that_was_asked_for_and_is_not_there_is_4_before_any_work() {
    let bench = bench();
    for arguments in [["--device", "99"], ["--device", "4000000000"]] {
        let ran = run(&bench, &arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (4, ""), "{ran:?}");
        assert!(ran.stderr.starts_with("error: "), "{}", ran.stderr);
        assert!(ran.stderr.contains(" failed"), "{}", ran.stderr);
        assert!(ran.stderr.contains("hint: "), "{}", ran.stderr);
    }
}

/// What happens on several is looked at where they are.
#[test]
fn all_devices_are_4_where_there_is_none_and_the_words_say_so() {
    let bench = bench();
    let ran = run(&bench, &["--device", "all"]);
    if ran.code == 0 {
        return println!("not run: there is a device");
    }
    assert_eq!((ran.code, ran.stdout.as_str()), (4, ""), "{ran:?}");
    assert!(ran.stderr.starts_with("error: "), "{}", ran.stderr);
    assert!(ran.stderr.contains("libcuda") || ran.stderr.contains("no CUDA device"), "{ran:?}");
}

#[test]
fn the_cpu_can_be_asked_for_and_nonsense_is_2() {
    let bench = bench();
    assert_eq!(run(&bench, &["--device", "cpu"]).code, 0);
    for nonsense in ["gpu", "0.5", "1e3"] {
        let ran = run(&bench, &["--device", nonsense]);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.stderr.contains("--device"), "{}", ran.stderr);
    }
}

#[test]
fn a_run_is_not_resumed_on_another_device() {
    let bench = bench();
    assert_eq!(run(&bench, &["--json", "record.json"]).code, 0);
    let ran = run(&bench, &["--json", "record.json", "--resume", "--device", "cpu"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    let words = "--device: it was asked without it, now it is with `cpu`";
    assert!(ran.stderr.contains(words), "{}", ran.stderr);
}
