//! Foreign code runs in processes of its own: whatever it does there costs its own place in the comparison, and changes
//! no verdict and no exit code.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{Ran, Section, Workbench};
use record::baseline::Kind;
use record::timings::Timed;
use record::verdict::Verdict;
use record::{CaseRecord, Record};
use rustix::process::{Pid, Signal, kill_process};

const RUN: [&str; 4] = ["manifests/small.yaml", "--json", "record.json", "--force"];

/// Three cases of which the second has another shape.
fn bench() -> Workbench {
    let one = Section { shape: (70, 33), ..Section::default() };
    let other = Section { name: "other", shape: (31, 66), ..one.clone() };
    let third = Section { name: "third", seed: 7, ..one.clone() };
    Workbench::pinned(&[one, other, third])
}

/// tests/faulty/openblas.c, built with cc; `None` where there is none.
pub fn library(bench: &Workbench, misbehaviour: &str) -> Option<PathBuf> {
    let library = bench.path("libopenblas.so.0");
    let source = crate::common::repository("tests/faulty/openblas.c");
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
    Some(library)
}

/// The program with such a library for OpenBLAS.
fn with_openblas(bench: &Workbench, misbehaviour: &str) -> Option<Ran> {
    let library = library(bench, misbehaviour)?;
    let mut command = bench.command(&RUN);
    Some(crate::common::ran(command.env("SPARSE_VERIFY_OPENBLAS", library)))
}

fn openblas(case: &CaseRecord) -> Option<&Timed> {
    let timings = case.measurement.as_ref().expect("measured");
    timings.baselines.iter().find(|timed| timed.name == "openblas")
}

/// What is said of OpenBLAS in each case.
fn said_of_openblas(record: &Record) -> Vec<String> {
    let cases = record.cases.iter();
    cases
        .map(|case| match openblas(case) {
            Some(timed) => timed.failure.clone().unwrap_or_default(),
            None => {
                let mut missing = case.baselines_missing.iter();
                missing.find(|missing| missing.name == "openblas").expect("named").reason.clone()
            }
        })
        .collect()
}

/// Verdicts, code and what is printed are those of a run without the library, which is named with what it did.
fn assert_contained(misbehaviour: &str, words: &str) {
    let bench = bench();
    let Some(ran) = with_openblas(&bench, misbehaviour) else { return };
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{misbehaviour}: {ran:?}");
    assert_eq!(ran.stdout.matches("bits verified: ").count(), 1, "{misbehaviour}: {}", ran.stdout);
    let record = bench.record("record.json");
    for (case, said) in record.cases.iter().zip(said_of_openblas(&record)) {
        assert!(said.contains(words), "{misbehaviour}: {said}");
        let timings = case.measurement.as_ref().expect("measured");
        assert!(timings.operator.timing.is_some(), "{misbehaviour}: {:?}", timings.operator);
        assert_eq!(timings.operator.verified, Some(true), "{misbehaviour}");
        assert!(
            timings.speedups.iter().all(|speedup| !speedup.baseline.contains("openblas"))
                || words.is_empty(),
            "{misbehaviour}"
        );
    }
}

#[test]
fn a_library_that_ends_its_process_when_it_is_loaded_is_not_usable() {
    for (misbehaviour, words) in [
        ("EXITS", "not usable: the process of openblas exited with 0"),
        ("EXITS_AT_ONCE", "not usable: the process of openblas exited with 0"),
        ("OVERFLOWS", "not usable: the process of openblas was ended by SIG"),
        ("FLOODS", "not usable: the process of openblas wrote more than 1048576 bytes"),
    ] {
        assert_contained(misbehaviour, words);
    }
}

#[test]
fn a_library_that_ends_its_process_when_it_is_called_costs_its_own_timing() {
    for (misbehaviour, words) in [
        ("EXITS_IN_CALL", "the process of openblas exited with 0"),
        ("ABORTS_IN_CALL", "the process of openblas was ended by SIGABRT"),
        ("SCRIBBLES_V", "the process of openblas was ended by SIGSEGV"),
        ("SCRIBBLES_A", "the process of openblas was ended by SIGSEGV"),
    ] {
        assert_contained(misbehaviour, words);
    }
}

#[test]
fn a_library_that_hangs_is_ended() {
    let bench = Workbench::pinned(&[Section::default()]);
    let Some(ran) = with_openblas(&bench, "HANGS_IN_CALL") else { return };
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    for said in said_of_openblas(&bench.record("record.json")) {
        assert!(
            said.contains("the process of openblas was ended here: no answer within"),
            "{said}"
        );
    }
}

#[test]
fn outputs_that_are_wrong_or_remembered_are_no_rivals() {
    for (misbehaviour, words) in [
        ("REMEMBERS", "out of bound at (row "),
        ("GIVES_NAN", "got NaN"),
        ("GIVES_ZEROS", "got 0e0"),
        ("GIVES_NOTHING", "got NaN"),
        ("OVERRUNS", "it wrote beside its output"),
    ] {
        assert_contained(misbehaviour, words);
    }
}

/// In the shared outputs it is seen; in a heap of the library's own process the allocator may end that first.
#[test]
fn what_is_written_before_an_output_is_seen_one_way_or_another() {
    let bench = bench();
    let Some(ran) = with_openblas(&bench, "UNDERRUNS") else { return };
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    for said in said_of_openblas(&bench.record("record.json")) {
        let ways = ["it wrote beside its output", "the process of openblas was ended by SIG"];
        assert!(ways.iter().any(|way| said.contains(way)), "{said}");
    }
}

#[test]
fn what_stays_in_the_process_of_a_library_is_of_no_account() {
    for misbehaviour in ["EXITS_LATER", "FLUSHES", "TALKS", "MOVES", "FORKS", "FLUSHES_IN_CALL"] {
        assert_contained(misbehaviour, "");
    }
}

#[test]
fn doctor_says_what_workers_have_and_what_they_lack() {
    let bench = Workbench::new(&[]);
    let ran = bench.verify(&["doctor"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    for words in ["\n  gemm-rs ", "\n  csr "] {
        assert!(ran.stdout.contains(words), "{}", ran.stdout);
    }
    let Some(library) = library(&bench, "EXITS") else { return };
    let mut command = bench.command(&["doctor"]);
    let ran = crate::common::ran(command.env("SPARSE_VERIFY_OPENBLAS", library));
    assert_eq!(ran.code, 0, "{ran:?}");
    let said = "not usable: the process of openblas exited with 0";
    assert!(ran.stdout.contains(said), "{}", ran.stdout);
}

/// No process contains what the loader puts into the judge: whoever reads the verdict is told of it.
#[test]
fn code_that_is_preloaded_is_named_beside_the_verdict() {
    let bench = bench();
    // One that does nothing when it is loaded.
    let Some(library) = library(&bench, "0") else { return };
    let run = [RUN[0], "--no-measure", "--json", "record.json", "--force"];
    let said = |variable: Option<&str>| {
        let mut command = bench.command(&run);
        if let Some(name) = variable {
            command.env(name, &library);
        }
        let ran = crate::common::ran(&mut command);
        assert_eq!(ran.code, 0, "{variable:?}: {ran:?}");
        // Of the run, whatever is set where it is read.
        let report = bench.verify(&["report", "record.json"]);
        let page = bench.verify(&["report", "record.json", "--html", "page.html"]);
        assert_eq!((report.code, page.code), (0, 0), "{variable:?}: {report:?} {page:?}");
        // Markdown has its own use for a backslash. Reports begin the headline with a capital.
        let texts = [ran.stdout, report.stdout.replace('\\', ""), bench.read("page.html")];
        (bench.record("record.json").environment.preloaded, texts)
    };
    for variable in ["LD_PRELOAD", "LD_AUDIT"] {
        let named = format!("{variable}={}", library.display());
        let (preloaded, texts) = said(Some(variable));
        assert!(preloaded.contains(&named), "{preloaded:?}");
        let headline = "its verified: 3 of 3 cases, by a process that other code was put into: ";
        for text in texts {
            let line = text.lines().find(|line| line.contains(headline)).expect("a headline");
            assert!(line.contains(&named), "{line}");
        }
    }
    let (preloaded, texts) = said(None);
    assert!(preloaded.iter().all(|named| !named.starts_with("LD_")), "{preloaded:?}");
    assert!(texts.iter().all(|text| !text.contains("LD_PRELOAD") && !text.contains("LD_AUDIT")));
}

#[test]
fn a_driver_that_ends_its_process_is_a_machine_without_devices() {
    let bench = Workbench::pinned(&[Section::default()]);
    let manifest = bench.read("manifests/small.yaml");
    bench.write(
        "manifests/small.yaml",
        &manifest.replacen("sections:", "platform: NVIDIA H200\nsections:", 1),
    );
    let run = ["manifests/small.yaml", "--json", "record.json", "--force"];
    let without = bench.verify(&run);
    assert_eq!(without.code, 0, "{without:?}");
    let Some(library) = library(&bench, "EXITS") else { return };
    for name in ["libcuda.so", "libcuda.so.1"] {
        fs::copy(&library, bench.path(name)).expect("our folder");
    }
    let with = |more: &[&str]| {
        let mut command = bench.command(&[&run[..], more].concat());
        crate::common::ran(command.env("LD_LIBRARY_PATH", bench.path("")))
    };
    let ran = with(&[]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    assert!(ran.stdout.contains("not measured (needs NVIDIA H200)"), "{}", ran.stdout);
    assert_eq!(ran.stdout.matches("bits verified: 1 of 1 case").count(), 1, "{}", ran.stdout);
    // Asked for, it is missed.
    let ran = with(&["--device", "0"]);
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(ran.stderr.contains("the process of cuda exited with 0"), "{}", ran.stderr);
}

/// Processes whose command line has these words, by what /proc says.
fn processes(words: &str) -> Vec<Pid> {
    let all = fs::read_dir("/proc").expect("a Linux system").flatten();
    all.filter_map(|entry| {
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let id = entry.file_name().to_str()?.parse().ok()?;
        line.contains(words).then(|| Pid::from_raw(id)).flatten()
    })
    .collect()
}

#[test]
fn what_a_library_starts_is_ended_with_it() {
    let bench = bench();
    let Some(ran) = with_openblas(&bench, "FORKS") else { return };
    assert_eq!(ran.code, 0, "{ran:?}");
    let started = Instant::now();
    while !processes("sleep 86399").is_empty() {
        assert!(started.elapsed() < Duration::from_secs(10), "it is still there");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Children of a process, and theirs.
fn descendants(of: Pid) -> Vec<Pid> {
    let tasks = fs::read_dir(format!("/proc/{}/task", of.as_raw_nonzero())).into_iter().flatten();
    let lists =
        tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let ids: Vec<i32> = lists
        .flat_map(|list| {
            list.split_whitespace().map(|id| id.parse().expect("an id")).collect::<Vec<_>>()
        })
        .collect();
    let children = ids.into_iter().filter_map(Pid::from_raw);
    children.flat_map(|child| [vec![child], descendants(child)].concat()).collect()
}

/// Files that a process maps.
fn mapped(process: Pid) -> Vec<String> {
    let maps = fs::read_to_string(format!("/proc/{}/maps", process.as_raw_nonzero()));
    let maps = maps.unwrap_or_default();
    let mut files: Vec<String> = maps
        .lines()
        .filter_map(|line| line.split_once('/'))
        .map(|(_, path)| format!("/{path}"))
        .collect();
    files.dedup();
    files
}

fn is_there(process: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", process.as_raw_nonzero()));
    status.is_ok_and(|status| !status.contains("State:\tZ"))
}

/// A run that measures for seconds.
fn measuring(bench: &Workbench) -> Child {
    let mut command = bench.command(&RUN);
    let program = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    program.expect("the program was built")
}

/// The process that judges, and its workers once they are there.
fn judge_and_workers(program: &Child) -> (Pid, Vec<Pid>) {
    let started = Instant::now();
    loop {
        assert!(started.elapsed() < Duration::from_secs(60), "no workers in a minute");
        let all = descendants(Pid::from_child(program));
        if let [judge, workers @ ..] = &all[..]
            && workers.len() >= 3
        {
            return (*judge, workers.to_vec());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Forty cases.
fn many() -> Workbench {
    let levels: Vec<String> = (0..40).map(|percent| format!("0.{percent:02}")).collect();
    let sparsity = format!("[{}]", levels.join(", "));
    Workbench::pinned(&[Section { shape: (70, 33), sparsity: &sparsity, ..Section::default() }])
}

#[test]
fn the_process_that_judges_maps_no_foreign_code() {
    let bench = many();
    // A library that is there, whatever is installed.
    let library = library(&bench, "0");
    let mut command = bench.command(&RUN);
    if let Some(library) = &library {
        command.env("SPARSE_VERIFY_OPENBLAS", library);
    }
    let program = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut program = program.expect("the program was built");
    let (judge, workers) = judge_and_workers(&program);
    let (mut seen, mut opened) = (Vec::new(), Vec::new());
    while program.try_wait().expect("our child").is_none() {
        seen.extend(mapped(judge));
        opened.extend(workers.iter().flat_map(|&worker| mapped(worker)));
        std::thread::sleep(Duration::from_millis(20));
    }
    seen.sort();
    seen.dedup();
    let system =
        ["libc.so", "libm.so", "libgcc_s.so", "ld-linux", "/verify", "memfd:sparse-verify"];
    let foreign: Vec<_> =
        seen.iter().filter(|file| !system.iter().any(|known| file.contains(known))).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    assert!(!seen.is_empty());
    let is_opened = opened.iter().any(|file| file.contains("libopenblas"));
    assert!(is_opened || library.is_none(), "a worker opens it: {opened:?}");
}

#[test]
fn no_worker_outlives_the_process_that_judges() {
    let bench = many();
    let mut program = measuring(&bench);
    let (judge, workers) = judge_and_workers(&program);
    kill_process(judge, Signal::KILL).expect("it is there");
    program.wait().expect("our child");
    let started = Instant::now();
    while workers.iter().any(|&worker| is_there(worker)) {
        assert!(started.elapsed() < Duration::from_secs(10), "a worker is still there");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn workers_that_are_killed_at_any_time_change_no_verdict() {
    let bench = many();
    let mut killed = 0;
    // A step of the golden ratio spreads any number of points over the whole.
    let mut at: f64 = 0.5;
    while killed < 20 {
        let mut program = measuring(&bench);
        let (_, mut workers) = judge_and_workers(&program);
        while program.try_wait().expect("our child").is_none() {
            at = (at + 0.618_033_988_75).fract();
            std::thread::sleep(Duration::from_secs_f64(at * 0.3));
            let worker = workers[(at * workers.len() as f64) as usize];
            killed += usize::from(is_there(worker) && kill_process(worker, Signal::KILL).is_ok());
            let now = descendants(Pid::from_child(&program));
            if now.len() > 1 {
                workers = now[1..].to_vec();
            }
        }
        let output = program.wait_with_output().expect("our child");
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let record = bench.record("record.json");
        assert_eq!(record.cases.len(), 40);
        // Whoever was killed says so, and the next case is measured again.
        let faults = record.cases.iter().filter_map(|case| case.measurement.as_ref());
        let faults =
            faults.flat_map(|timings| std::iter::once(&timings.operator).chain(&timings.baselines));
        let faults = faults.filter_map(|timed| timed.failure.as_deref());
        for fault in faults {
            assert!(fault.contains("was ended by SIGKILL"), "{fault}");
        }
    }
}

/// Where A is a stack of experts, the grouped product of the live ones is a rival, and of nothing else.
#[test]
fn a_stack_of_experts_has_a_grouped_rival() {
    const GROUPED: &str = "grouped-gemm-rs";
    let stack = Section {
        name: "stack",
        shape: (96, 64),
        patterns: "[{dead-experts: 12}, row-magnitude]",
        sparsity: "0.75",
        ..Section::default()
    };
    let bench = Workbench::pinned(&[stack]);
    let ran = bench.verify(&RUN);
    assert_eq!(ran.code, 0, "{ran:?}");
    let record = bench.record("record.json");
    let [experts, rows] = &record.cases[..] else { panic!("two cases: {ran:?}") };
    assert_eq!(experts.id, "stack/up/dead-experts12-75/b24/f32/f32-chain");
    assert_eq!((experts.verdict, experts.pattern.as_str()), (Verdict::Verified, "dead-experts"));
    let structure = &experts.bits.as_ref().expect("run").structure;
    // Six of eight experts of 12 rows; values are hardly ever zero by themselves.
    assert_eq!(structure.dead_rows, 6 * 12);
    assert!((23 * 64..=24 * 64).contains(&structure.nnz), "{}", structure.nnz);
    let grouped = |case: &CaseRecord| {
        let timings = case.measurement.as_ref().expect("measured");
        timings.baselines.iter().find(|timed| timed.name == GROUPED).cloned()
    };
    let timed = grouped(experts).expect("it is a rival");
    assert_eq!((timed.kind, timed.failure.as_deref()), (Some(Kind::Compacted), None));
    assert!(timed.timing.is_some() && timed.checked_elements > 0, "{timed:?}");
    assert_eq!(timed.plan.as_deref(), Some("rows: 2 live experts of 12 rows each"));
    assert!(timed.library.contains("gemm"), "{timed:?}");
    assert!(grouped(rows).is_none());
    for case in [experts, rows] {
        assert!(case.baselines_missing.iter().all(|missing| missing.name != GROUPED));
    }
}
