//! However the program ends, its code is one of those that are documented, and nothing but a verdict gives 0.
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::common::{Section, Workbench};
use contract::case::Case;
use ndarray::{Array2, ArrayView2};
use record::CaseRecord;
use record::expected::Expected;
use record::shared::SharedOutputs;
use record::verdict::Verdict;
use rustix::process::{Pid, Signal, kill_process};
use sparse_verify::audit::{Auditor, HeldInputs, Task};
use sparse_verify::backend::cpu::Isa;
use sparse_verify::interrupt;
use sparse_verify::operator::{Built, Error, Operator, SkipOperator, Staged};
use sparse_verify::panics;
use sparse_verify::supervise::{self, After, Death, Role};
use sparse_verify::weights::Resolver;

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
        let ran = crate::common::ran(command.env("SPARSE_VERIFY_CHILD_OF", mark));
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
        let ran = crate::common::ran(&mut bench.command(&arguments));
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
    let ran = bench.verify(&["challenge", MANIFEST, "--out", "answered"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let commands = vec![
        vec!["--help"],
        vec!["--version"],
        vec!["list", "--help"],
        vec!["list", MANIFEST],
        vec!["list", MANIFEST, "--format", "json"],
        vec!["list", MANIFEST, "--claims"],
        vec!["lint", MANIFEST],
        vec!["judge", MANIFEST, "--record", "record.json"],
        vec!["doctor"],
        vec!["explain", "record.json"],
        vec!["report", "record.json"],
        vec!["inputs", MANIFEST, "--out", "inputs"],
        vec!["challenge", MANIFEST, "--out", "sent", "--force"],
        vec!["check", "answered"],
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

/// Our operator, but what it does with A where `when` says so is a panic.
struct Panicking {
    ours: SkipOperator,
    when: fn(&Array2<f32>) -> bool,
}

impl Operator for Panicking {
    fn name(&self) -> String {
        self.ours.name()
    }

    fn build<'a>(&self, a: ArrayView2<'a, f32>) -> Result<Box<dyn Built + 'a>, Error> {
        assert!(!(self.when)(&a.to_owned()), "this A is not liked");
        self.ours.build(a)
    }

    fn stage(
        &self,
        v: ArrayView2<'_, f32>,
        staged: &mut Staged,
        threads: usize,
    ) -> Result<(), Error> {
        self.ours.stage(v, staged, threads)
    }
}

/// Audits three cases of which the operator dislikes the second, 2048 x 24 in many chunks.
fn audited(threads: usize, when: fn(&Array2<f32>) -> bool) -> Vec<CaseRecord> {
    panics::note_places();
    let first = Section { shape: (40, 96), ..Section::default() };
    let second = Section { name: "second", shape: (8192, 24), batch: "3", ..first.clone() };
    let third = Section { name: "third", seed: 9, ..first.clone() };
    let manifest = crate::common::manifest(&[first, second, third]);
    let operator = move |case: &Case, isa| -> Box<dyn Operator> {
        let Case { arithmetic, output, strategy, .. } = *case;
        Box::new(Panicking { ours: SkipOperator { arithmetic, output, strategy, isa }, when })
    };
    let mut auditor = Auditor {
        fetches_optional: true,
        isa: Isa::best(),
        threads,
        nonce: None,
        measuring: None,
        stranger: None,
        device: None,
        weights: Resolver::new(None, true),
        operator: &operator,
        held: HeldInputs::default(),
        seen: SharedOutputs::default(),
    };
    let audit = |case| {
        auditor.audit(&Task {
            manifest: &manifest,
            case,
            expected: &Expected::default(),
            expected_file: "expected.yaml",
            progress: &|_| {},
        })
    };
    manifest.cases.iter().map(audit).collect()
}

/// `work`, which must not take longer than a minute: a thread that waits for one that panicked waits for ever.
fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, end) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(work()));
    end.recv_timeout(Duration::from_secs(60)).expect("an end within a minute")
}

#[test]
fn a_panic_of_one_case_is_said_of_it_and_of_no_other() {
    // In the first chunk all others wait behind it; later the hashing waits for it.
    let dislikes: [fn(&Array2<f32>) -> bool; 2] =
        [|a| a.ncols() == 24, |a| a.ncols() == 24 && a.nrows() == 64];
    for when in dislikes {
        for threads in [1, 2, 4] {
            let cases = in_time(move || audited(threads, when));
            let [first, second, third] = &cases[..] else { unreachable!("three sections") };
            assert_eq!((first.verdict, third.verdict), (Verdict::Unpinned, Verdict::Unpinned));
            assert_eq!((second.verdict, second.exit_code), (Verdict::NotRun, 4));
            let [reason] = &second.reasons[..] else { panic!("{:?}", second.reasons) };
            assert!(
                reason.starts_with("a defect in this program: panic at tests/program/ends.rs:"),
                "{reason}"
            );
            assert!(reason.ends_with(": this A is not liked"), "{reason}");
        }
    }
}

/// The program as a user of its own who may have so many processes and threads; `None` where that cannot be tried.
fn with_processes(bench: &Workbench, count: usize, arguments: &[&str]) -> Option<Output> {
    // Root is above this limit, and another user's other processes count.
    const NOBODY_ELSE: u32 = 61_234;
    if !rustix::process::geteuid().is_root() {
        eprintln!("not run: only root can become a user without other processes");
        return None;
    }
    fs::set_permissions(bench.path(""), fs::Permissions::from_mode(0o777)).expect("our folder");
    let program = bench.path("verify");
    if !program.exists() {
        fs::copy(env!("CARGO_BIN_EXE_verify"), &program).expect("a writable folder");
    }
    let mut limited = Command::new("bash");
    limited
        .args(["-c", &format!("ulimit -u {count}; exec ./verify \"$@\""), "bash"])
        .args(arguments);
    limited.current_dir(bench.path("")).stdin(Stdio::null());
    limited.uid(NOBODY_ELSE).gid(NOBODY_ELSE);
    Some(limited.output().expect("there is bash"))
}

#[test]
fn fewer_threads_than_wanted_do_the_same_work() {
    let wide = Section { shape: (2048, 640), batch: "48", ..Section::default() };
    let bench = Workbench::pinned(&[wide]);
    for count in 1..12 {
        // Measuring takes seconds.
        let measured = matches!(count, 2 | 5);
        for more in [&["--no-measure"][..], &[]].into_iter().take(1 + usize::from(measured)) {
            let arguments = [&[MANIFEST, "--threads", "4"], more].concat();
            let Some(ran) = with_processes(&bench, count, &arguments) else { return };
            let stderr = String::from_utf8_lossy(&ran.stderr);
            // One for the parent and one for the child are the least.
            let code = if count < 2 { 4 } else { 0 };
            assert_eq!(ran.status.code(), Some(code), "{count} {more:?}: {ran:?}");
            assert!(!String::from_utf8_lossy(&ran.stdout).contains("panic"), "{count}: {ran:?}");
            assert!(!stderr.contains("panic"), "{count} {more:?}: {stderr}");
            assert_eq!(stderr.contains("error: failed to supervise a process: "), code == 4);
        }
    }
}

#[test]
fn a_case_that_memory_does_not_hold_is_not_run_and_the_next_one_is() {
    let small = Section { name: "small", ..Section::default() };
    let huge = Section { name: "huge", shape: (1, 1_048_576), batch: "1000000", ..small.clone() };
    let last = Section { name: "last", seed: 5, ..small.clone() };
    let bench = Workbench::new(&[small, huge, last]);
    let ran = bench.verify(&["pin", MANIFEST, "--yes", "--case", "*/b24/*"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let ran = bench.verify(&[MANIFEST, "--no-measure"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (4, ""), "{}", ran.stdout);
    assert!(ran.stdout.contains("3 cases: 2 verified, 1 not-run"), "{}", ran.stdout);
    assert!(ran.stdout.contains("    needs about "), "{}", ran.stdout);
    assert!(ran.stdout.contains(" are available (limit: "), "{}", ran.stdout);
}

/// The program with an address space of so many KiB.
fn with_address_space(bench: &Workbench, kib: usize, arguments: &[&str]) -> Output {
    let command = bench.command(arguments);
    let mut limited = Command::new("sh");
    limited.args(["-c", &format!("ulimit -v {kib}; exec \"$@\""), "sh"]);
    limited.arg(command.get_program()).args(arguments);
    limited.current_dir(bench.path("")).stdin(Stdio::null());
    limited.output().expect("there is a shell")
}

#[test]
fn a_limit_of_the_address_space_is_kept_to() {
    let small = Section { name: "small", ..Section::default() };
    // V and what is made of it take 2 GB.
    let large = Section { name: "large", shape: (64, 16_384), batch: "8192", ..small.clone() };
    let bench = Workbench::new(&[small, large]);
    let ran = bench.verify(&["pin", MANIFEST, "--yes", "--case", "small/*"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let ran = with_address_space(&bench, 1 << 20, &[MANIFEST, "--no-measure", "--threads", "2"]);
    let stdout = String::from_utf8_lossy(&ran.stdout);
    assert_eq!(ran.status.code(), Some(4), "{ran:?}");
    assert!(stdout.contains("2 cases: 1 verified, 1 not-run"), "{stdout}");
    assert!(stdout.contains(" are available (limit: address space"), "{stdout}");
}

#[test]
fn no_limit_of_the_address_space_gives_another_code() {
    let bench = Workbench::pinned(&[Section { shape: (2048, 2048), ..Section::default() }]);
    let (mut ends, mut started) = (Vec::new(), false);
    for mib in (8..400).step_by(8) {
        let ran = with_address_space(&bench, mib << 10, &[MANIFEST, "--threads", "2"]);
        let code = ran.status.code();
        // Before its main function nothing is the program's own: the loader ends with 127.
        started |= code != Some(127) && code.is_some();
        if started {
            assert!(matches!(code, Some(0 | 4)), "{mib} MiB: {ran:?}");
        }
        ends.push(code);
    }
    assert!(ends.contains(&Some(0)) && ends.contains(&Some(4)), "{ends:?}");
}

#[test]
fn committed_digests_that_are_no_file_are_refused_at_once() {
    let bench = Workbench::pinned(&[Section::default()]);
    let committed = bench.path("expected-hashes/small.yaml");
    fs::remove_file(&committed).expect("pinned");
    let made = Command::new("mkfifo").arg(&committed).status().expect("coreutils");
    assert!(made.success());
    let ran = in_time({
        let mut command = bench.command(&[MANIFEST, "--no-measure"]);
        move || crate::common::ran(&mut command)
    });
    assert_eq!((ran.code, ran.stdout.as_str()), (4, ""), "{ran:?}");
    assert!(
        ran.stderr.contains("failed to read expected-hashes/small.yaml: not a regular file\n"),
        "{ran:?}"
    );

    fs::remove_file(&committed).expect("a FIFO");
    std::os::unix::fs::symlink("/dev/zero", &committed).expect("a writable folder");
    let ran = with_address_space(&bench, 4 << 20, &[MANIFEST, "--no-measure"]);
    assert_eq!(ran.status.code(), Some(4), "{ran:?}");

    fs::remove_file(&committed).expect("a link");
    let sparse = File::create(&committed).expect("a writable folder");
    sparse.set_len(1 << 40).expect("a sparse file");
    let ran = bench.verify(&[MANIFEST, "--no-measure"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (4, ""), "{ran:?}");
    assert!(ran.stderr.contains("larger than 64 MiB"), "{ran:?}");
}

#[test]
fn doctor_says_that_a_loaded_library_changed_the_floating_point_modes() {
    if !cfg!(target_arch = "x86_64") {
        return eprintln!("not run: the library sets modes of x86-64");
    }
    let bench = Workbench::pinned(&[Section::default()]);
    let Some(library) = crate::workers::library(&bench, "FLUSHES") else { return };
    let preloaded = |arguments: &[&str]| {
        let mut command = bench.command(arguments);
        crate::common::ran(command.env("LD_PRELOAD", &library))
    };
    let ran = preloaded(&[MANIFEST, "--no-measure"]);
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(ran.stdout.contains("the processor flushes subnormals to zero"), "{ran:?}");
    let ran = preloaded(&["doctor"]);
    assert!(ran.stdout.contains("\n  IEEE state  no"), "{}", ran.stdout);
    assert!(ran.stdout.contains("verify any digest: the processor flushes subnormals"), "{ran:?}");
    assert!(!ran.stdout.contains("verify every digest"), "{}", ran.stdout);
    let ran = bench.verify(&["doctor"]);
    assert!(ran.stdout.contains("\n  IEEE state  yes\n"), "{}", ran.stdout);
}

/// Makes [`as_a_program`] do something: this test's own executable is started as a program with it.
const PLAY: &str = "ENDS_PLAY";

/// The test's framework keeps what `eprintln` writes.
fn say(line: &str) {
    writeln!(std::io::stderr(), "{line}").expect("a pipe that is read");
}

/// Not a test of its own: a program that is supervised and plays what the variable says.
#[test]
fn as_a_program() {
    let Ok(play) = std::env::var(PLAY) else { return };
    if supervise::role() == Ok(Role::Parent) {
        let again = |death: &Death| match death {
            Death::Exit { status: 3, told: None } => {
                After::Again { variables: vec![(PLAY.into(), "play on".into())] }
            }
            _ => After::Stop(4),
        };
        let mut deaths = Vec::new();
        let ended = supervise::supervise(Vec::new(), &mut |death| {
            deaths.push(death.to_string());
            again(death)
        });
        say(&format!("{deaths:?}"));
        std::process::exit(ended.map_or(99, i32::from));
    }
    match play.as_str() {
        "fall" => {
            supervise::progress();
            std::process::exit(3)
        }
        "fall at once" => std::process::exit(3),
        "play on" => supervise::end(1),
        "lie" => {
            std::thread::spawn(|| std::process::exit(0));
            loop {
                std::thread::park();
            }
        }
        "finish" => {
            interrupt::listen();
            let once = interrupt::finish_with(|signal| say(&format!("finished after {signal:?}")));
            kill_process(rustix::process::getpid(), Signal::TERM).expect("we are");
            std::thread::sleep(Duration::from_secs(60));
            drop(once);
        }
        "forget" => {
            drop(interrupt::finish_with(|_| unreachable!("forgotten")));
            interrupt::listen();
            kill_process(rustix::process::getpid(), Signal::TERM).expect("we are");
            std::thread::sleep(Duration::from_secs(60));
        }
        _ => unreachable!("{play}"),
    }
}

fn played(play: &str) -> (Option<i32>, String) {
    let own = std::env::current_exe().expect("this is a program");
    let mut command = Command::new(own);
    command.args(["ends::as_a_program", "--exact"]).env(PLAY, play).stdin(Stdio::null());
    let output = command.output().expect("it was just started");
    (output.status.code(), String::from_utf8(output.stderr).expect("text"))
}

#[test]
fn the_work_can_be_started_again_after_a_death() {
    let (code, said) = played("fall");
    let death = "the process that did the work exited with 3 without a verdict";
    assert_eq!((code, said), (Some(1), format!("[{death:?}]\n")));
    // Nothing was done that could be left out the next time.
    let (code, said) = played("fall at once");
    assert_eq!((code, said), (Some(4), format!("[{death:?}]\n")));
    let (code, said) = played("lie");
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("exited with 0 without a verdict"), "{said}");
}

#[test]
fn what_is_registered_is_called_once_after_a_signal() {
    let (code, said) = played("finish");
    assert_eq!((code, said.as_str()), (Some(143), "finished after Terminate\n[]\n"));
    let (code, said) = played("forget");
    assert_eq!((code, said.as_str()), (Some(143), "[]\n"));
}
