//! However the program ends, its code is one of those that are documented, and nothing but a verdict gives 0.
#![cfg(target_os = "linux")]

mod common;

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Section, Workbench};
use rustix::process::{Pid, Signal, kill_process};

const MANIFEST: &str = "manifests/small.yaml";

/// A case that takes minutes.
fn long() -> Section<'static> {
    Section {
        name: "long",
        shape: (262_144, 4096),
        patterns: "uniform",
        batch: "2048",
        ..Section::default()
    }
}

/// Code and standard error of the program with a fake OpenBLAS, built with cc here.
fn with_openblas(misbehaviour: &str) -> Option<common::Ran> {
    let bench = Workbench::pinned(&[Section::default()]);
    let library = bench.path("libopenblas.so.0");
    let source = common::repository("tests/faulty/openblas.c");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O0", &format!("-DMISBEHAVE={misbehaviour}"), "-o"])
        .args([library.as_os_str(), source.as_ref()])
        .status();
    match built {
        Ok(status) => assert!(status.success(), "the library does not compile"),
        Err(error) => {
            eprintln!("not run: no C compiler: cc: {error}");
            return None;
        }
    }
    let mut command = bench.command(&[MANIFEST]);
    Some(common::ran(command.env("SPARSE_VERIFY_OPENBLAS", &library)))
}

#[test]
fn a_loaded_library_that_exits_with_0_gives_no_verdict() {
    for misbehaviour in ["EXITS", "EXITS_AT_ONCE"] {
        let Some(ran) = with_openblas(misbehaviour) else { return };
        assert_eq!(ran.code, 4, "{misbehaviour}: {ran:?}");
        let said = "error: the process that did the work exited with 0 without a verdict\n";
        assert_eq!(ran.stderr, said, "{misbehaviour}");
    }
}

#[test]
fn a_stack_overflow_in_a_loaded_library_is_4() {
    let Some(ran) = with_openblas("OVERFLOWS") else { return };
    assert_eq!(ran.code, 4, "{ran:?}");
    let said = "error: the process that did the work was ended by SIG";
    assert!(ran.stderr.contains(said), "{}", ran.stderr);
}

#[test]
fn the_exit_handler_of_a_loaded_library_changes_no_code() {
    let Some(ran) = with_openblas("EXITS_LATER") else { return };
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{}", ran.stdout);
    // With a code that is not the handler's.
    let bench = Workbench::new(&[Section::default()]);
    let library = bench.path("libopenblas.so.0");
    let source = common::repository("tests/faulty/openblas.c");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-DMISBEHAVE=EXITS_LATER", "-o"])
        .args([library.as_os_str(), source.as_ref()])
        .status();
    assert!(built.is_ok_and(|status| status.success()));
    let mut command = bench.command(&[MANIFEST]);
    let ran = common::ran(command.env("SPARSE_VERIFY_OPENBLAS", &library));
    assert_eq!((ran.code, ran.stderr.as_str()), (3, ""), "{}", ran.stdout);
}

/// The program in the middle of a case that takes minutes, and its child.
fn in_the_middle(bench: &Workbench) -> (Child, Pid) {
    let arguments = [MANIFEST, "--no-measure", "--threads", "1", "--json", "record.json"];
    let mut command = bench.command(&arguments);
    let program = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut program = program.expect("the program was built");
    let started = Instant::now();
    loop {
        assert!(started.elapsed() < Duration::from_secs(60), "no record in a minute");
        assert!(program.try_wait().expect("our child").is_none(), "ended by itself");
        let children = format!("/proc/{0}/task/{0}/children", program.id());
        let children = fs::read_to_string(children).expect("it is running");
        // The record is written before the first case.
        if let (Ok(child), true) = (children.trim().parse(), bench.path("record.json").exists()) {
            return (program, Pid::from_raw(child).expect("not 0"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Code and standard error of the program, without what is predicted.
fn end_of(mut program: Child) -> (Option<i32>, String) {
    let mut text = String::new();
    let mut stderr = program.stderr.take().expect("piped");
    stderr.read_to_string(&mut text).expect("text");
    let said = text.lines().filter(|line| !line.starts_with("predicted: "));
    let said = said.map(|line| format!("{line}\n")).collect();
    (program.wait().expect("our child").code(), said)
}

fn is_there(process: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", process.as_raw_nonzero()));
    status.is_ok_and(|status| !status.contains("State:\tZ"))
}

/// Waits until a process is gone.
fn assert_gone(process: Pid) {
    let started = Instant::now();
    while is_there(process) {
        assert!(started.elapsed() < Duration::from_secs(10), "still there");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether this process, and so the program, ignores a signal: shells start what runs in the background like that.
fn is_ignored(signal: Signal) -> bool {
    let status = fs::read_to_string("/proc/self/status").expect("this is Linux");
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("always there");
    let mask = u64::from_str_radix(mask.trim(), 16).expect("hexadecimal");
    mask >> (signal.as_raw() - 1) & 1 == 1
}

#[test]
fn int_and_term_are_130_and_143() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        if is_ignored(signal) {
            eprintln!("not run: these tests were started with {signal:?} ignored");
            continue;
        }
        let bench = Workbench::new(&[long()]);
        let (program, child) = in_the_middle(&bench);
        let id = Pid::from_child(&program);
        kill_process(id, signal).expect("still running");
        assert_eq!(end_of(program), (Some(code), String::new()));
        assert!(!is_there(child));
    }
}

#[test]
fn the_child_dies_with_its_parent() {
    let bench = Workbench::new(&[long()]);
    let (mut program, child) = in_the_middle(&bench);
    program.kill().expect("still running");
    program.wait().expect("killed");
    assert_gone(child);
}

#[test]
fn a_child_that_is_killed_is_4_with_the_signal() {
    for (signal, name) in [(Signal::KILL, "SIGKILL"), (Signal::ABORT, "SIGABRT")] {
        let bench = Workbench::new(&[long()]);
        let (program, child) = in_the_middle(&bench);
        kill_process(child, signal).expect("still running");
        let (code, said) = end_of(program);
        assert_eq!(code, Some(4), "{said}");
        let start = format!("error: the process that did the work was ended by {name}");
        assert!(said.starts_with(&start), "{said}");
    }
}

#[test]
fn a_child_without_its_parent_does_not_work() {
    let bench = Workbench::pinned(&[Section::default()]);
    for mark in ["1 /dev/null", "garbage", ""] {
        let mut command = bench.command(&[MANIFEST, "--no-measure"]);
        let ran = common::ran(command.env("SPARSE_VERIFY_CHILD_OF", mark));
        assert_eq!((ran.code, ran.stdout.as_str()), (4, ""), "{ran:?}");
        assert!(ran.stderr.starts_with("error: failed to reach the parent process: "), "{ran:?}");
    }
}

#[test]
fn arguments_that_are_not_text_are_2() {
    let bench = Workbench::pinned(&[Section::default()]);
    let name = std::ffi::OsStr::from_bytes(b"manifests/sm\xffll.yaml");
    fs::copy(bench.path(MANIFEST), bench.path("").join(name)).expect("a writable folder");
    for arguments in [vec![name], vec!["list".as_ref(), name], vec!["lint".as_ref(), name]] {
        let ran = common::ran(&mut bench.command(&arguments));
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{ran:?}");
        let said = "is not UTF-8: \"manifests/sm\\xFFll.yaml\"\nhint: ";
        assert!(ran.stderr.contains(said), "{}", ran.stderr);
    }
}

/// A folder with a record, and all that prints there.
fn printing() -> (Workbench, Vec<Vec<&'static str>>) {
    let bench = Workbench::pinned(&[Section::default()]);
    let claims = "claims:\n  - {id: headline, sources: [here], cases: 1, cases_passed: 1}\n";
    bench.write(MANIFEST, &(bench.read(MANIFEST) + claims));
    let ran = bench.verify(&[MANIFEST, "--no-measure", "--shard", "1/1", "--json", "record.json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let commands = vec![
        vec!["--help"],
        vec!["--version"],
        vec!["list", "--help"],
        vec!["list", MANIFEST],
        vec!["list", MANIFEST, "--json"],
        vec!["list", MANIFEST, "--claims"],
        vec!["lint", MANIFEST],
        vec!["judge", MANIFEST, "--record", "record.json"],
        vec!["doctor"],
        vec!["explain", "record.json"],
        vec!["report", "record.json"],
        vec!["inputs", MANIFEST, "--out", "inputs"],
        vec!["pin", MANIFEST, "--yes"],
        vec!["merge", "record.json", "--json", "merged.json"],
        vec![MANIFEST, "--no-measure"],
    ];
    (bench, commands)
}

#[test]
fn standard_output_on_a_full_disk_is_4_whatever_is_printed() {
    let (bench, commands) = printing();
    for arguments in commands {
        let full = File::options().write(true).open("/dev/full").expect("there is one");
        let mut command = bench.command(&arguments);
        let output = command.stdout(full).stderr(Stdio::piped()).output().expect("built");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{arguments:?}: {stderr}");
        assert!(stderr.contains("error: failed to write to "), "{arguments:?}: {stderr}");
    }
}

#[test]
fn a_reader_that_went_away_changes_nothing() {
    let (bench, commands) = printing();
    for arguments in commands {
        let code = bench.verify(&arguments).code;
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let ran = bench.command(&arguments).stdout(writer).stderr(Stdio::piped()).output();
        let ran = ran.expect("built");
        let stderr = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("error"), "{arguments:?}: {stderr}");
    }
}

#[test]
fn standard_error_that_cannot_be_written_changes_nothing() {
    let bench = Workbench::pinned(&[Section::default()]);
    let full = File::options().write(true).open("/dev/full").expect("there is one");
    let ran =
        bench.command(&[MANIFEST, "--no-measure"]).stderr(full).stdout(Stdio::null()).status();
    assert_eq!(ran.expect("built").code(), Some(0));
}
