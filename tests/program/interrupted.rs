//! A run that is interrupted at any time says nowhere that everything was verified, and goes on to the record that it
//! would have written.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::common::{Ran, Section, Workbench};
use record::{End, Record};
use rustix::process::{Pid, Signal, kill_process};

/// A hundred and fifty cases of milliseconds, all pinned.
fn bench() -> Workbench {
    let levels: Vec<String> = (0..50).map(|percent| format!("0.{percent:02}")).collect();
    let sparsity = format!("[{}]", levels.join(", "));
    Workbench::pinned(&[Section {
        shape: (70, 33),
        patterns: "[uniform, row-magnitude, element-magnitude]",
        sparsity: &sparsity,
        batch: "3",
        ..Section::default()
    }])
}

const RUN: [&str; 6] = ["manifests", "--no-measure", "--threads", "1", "--shard", "1/1"];
const CASES: usize = 150;

/// The record without what differs from run to run.
fn timeless(mut record: Record) -> Record {
    record.started = String::new();
    record.arguments = Vec::new();
    record.cases.iter_mut().for_each(|case| case.seconds = 0.0);
    record
}

/// A JUnit report without times.
fn timeless_report(text: &str) -> String {
    let parts = text.split(" time=\"").enumerate().map(|(at, part)| match at {
        0 => part,
        _ => part.split_once('"').expect("a quoted time").1,
    });
    parts.collect()
}

/// Who is interrupted, and by what.
#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Parent(Signal),
    Child(Signal),
}

impl How {
    fn signal(self) -> Signal {
        match self {
            How::Parent(signal) | How::Child(signal) => signal,
        }
    }
}

/// Whether this process, and so those that it starts, ignores a signal.
fn is_ignored(signal: Signal) -> bool {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("a mask");
    let mask = u64::from_str_radix(mask.trim(), 16).expect("a mask");
    mask & (1 << (signal.as_raw() - 1)) != 0
}

/// The process that works.
fn worker(program: &Child) -> Option<Pid> {
    let children = format!("/proc/{0}/task/{0}/children", program.id());
    let child = fs::read_to_string(children).ok()?.split_whitespace().next()?.parse().ok()?;
    Pid::from_raw(child)
}

/// Runs everything to `record.json` and `report.xml`, and interrupts the run after a while; `None` where it had ended.
fn interrupted(bench: &Workbench, how: How, after: Duration) -> Option<ExitStatus> {
    for name in ["record.json", "report.xml"] {
        let _ = fs::remove_file(bench.path(name));
    }
    let places = ["--json", "record.json", "--junit", "report.xml"];
    let mut command = bench.command(&[&RUN[..], &places].concat());
    let program = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut program = program.expect("the program was built");
    std::thread::sleep(after);
    let started = Instant::now();
    let (process, signal) = loop {
        match (how, worker(&program)) {
            (How::Parent(signal), _) => break (Pid::from_child(&program), signal),
            (How::Child(signal), Some(child)) => break (child, signal),
            // Not started yet, or gone.
            (How::Child(_), None) if program.try_wait().expect("our child").is_some() => {
                return None;
            }
            _ => assert!(started.elapsed() < Duration::from_secs(60), "no worker in a minute"),
        }
    };
    if program.try_wait().expect("our child").is_some() {
        return None;
    }
    // One that has just ended is not waited for yet, so that its id is its own still, or it is no process any more.
    let _ = kill_process(process, signal);
    let status = program.wait().expect("our child");
    // What works dies with its parent; until then it holds the lock.
    if let Ok(record) = File::open(bench.path("record.json")) {
        record.lock().expect("a file system with locks");
    }
    Some(status)
}

/// It does not exit with 0, and says nowhere that bits were verified as was asked.
fn assert_not_green(ran: &Ran, what: &str) {
    assert_ne!(ran.code, 0, "{what}: {ran:?}");
    for text in [&ran.stdout, &ran.stderr] {
        let text = text.to_lowercase();
        for words in ["bits verified: ", "everything required was verified"] {
            assert!(!text.contains(words), "{what}: {text}");
        }
    }
}

#[test]
fn an_interrupted_run_is_nowhere_green_and_goes_on_to_the_same_record() {
    let bench = bench();
    let places = ["--json", "whole.json", "--junit", "whole.xml"];
    let started = Instant::now();
    let ran = bench.verify(&[&RUN[..], &places].concat());
    let mut took = started.elapsed();
    assert_eq!(ran.code, 0, "{ran:?}");
    let whole = timeless(bench.record("whole.json"));
    assert_eq!(whole.cases.len(), CASES);
    let whole_report = timeless_report(&bench.read("whole.xml"));

    let all = [
        How::Parent(Signal::INT),
        How::Parent(Signal::TERM),
        How::Parent(Signal::KILL),
        How::Child(Signal::INT),
        How::Child(Signal::TERM),
        How::Child(Signal::KILL),
    ];
    // A program heeds that its parent ignores a signal, as shells make what they start in the background do.
    let hows: Vec<How> = all.into_iter().filter(|how| !is_ignored(how.signal())).collect();
    if hows.len() < all.len() {
        let _ =
            writeln!(std::io::stderr(), "not run: interruptions by signals that are ignored here");
    }
    let (mut points, mut cut_off) = (0, 0);
    // A step of the golden ratio spreads any number of points over the whole.
    let mut at: f64 = 0.5;
    while points < 21 {
        let how = hows[points % hows.len()];
        at = (at + 0.618_033_988_75).fract();
        let Some(status) = interrupted(&bench, how, took.mul_f64(at)) else {
            // Where the first run had less of the machine, nearly all moments would be too late.
            took = took.mul_f64(0.9);
            continue;
        };
        let left = record::load(&bench.path("record.json"));
        let is_done = |record: &Record| record.ended == Some(End::Completed);
        if left.as_ref().is_ok_and(|left| is_done(left) && left.cases.len() == CASES)
            && !matches!(how, How::Child(Signal::KILL))
            || status.code() == Some(0)
            // A child that is killed once the end is written costs the exit code, and nothing of the record.
            || left.as_ref().is_ok_and(|left| is_done(left) && timeless(left.clone()) == whole)
        {
            // It came after the end was written: there was nothing left to interrupt.
            assert_eq!(timeless(left.expect("it is whole")), whole, "{how:?}");
            took = took.mul_f64(0.9);
            continue;
        }
        points += 1;
        let what = format!("{how:?} after {:?} of {took:?}", took.mul_f64(at));
        match how {
            // One that does not listen yet dies of the signal itself, and has written nothing.
            How::Parent(signal) if left.is_err() && status.signal() == Some(signal.as_raw()) => {}
            How::Parent(Signal::INT) => assert_eq!(status.code(), Some(130), "{what}"),
            How::Parent(Signal::TERM) => assert_eq!(status.code(), Some(143), "{what}"),
            How::Parent(_) => assert_eq!(status.signal(), Some(9), "{what}"),
            // A child that did not listen yet dies of a signal that its parent knows nothing of.
            How::Child(signal) => {
                let heeded = match signal {
                    Signal::INT => Some(130),
                    Signal::TERM => Some(143),
                    _ => Some(4),
                };
                assert!([Some(4), heeded].contains(&status.code()), "{what}: {status:?}");
            }
        }

        if left.is_err() && at > 0.3 {
            // The machine is busier now than it was at first: nearly all moments would be too early.
            took = took.mul_f64(1.1);
        }
        // A run that was killed before it could write anything has no record.
        if let Ok(left) = left {
            let outcome = record::outcome::of(&left);
            assert_ne!(outcome.code, 0, "{what}: {outcome:?}");
            assert!(!outcome.headline.contains("bits verified"), "{what}: {outcome:?}");
            assert_eq!(outcome.asked, CASES, "{what}");
            let is_whole = left.ended == Some(End::Completed);
            cut_off += usize::from(!is_whole);
            for arguments in [
                &["report", "record.json"][..],
                &["report", "record.json", "whole.json"],
                &["recheck", "record.json"],
                &["explain", "record.json"],
                &["merge", "record.json", "--json", "merged.json"],
                &["merge", "record.json", "--json", "merged.json", "--partial"],
            ] {
                let ran = bench.verify(arguments);
                match arguments.contains(&"whole.json") {
                    // The other record is green.
                    true => assert_ne!(ran.code, 0, "{what}: {arguments:?}: {ran:?}"),
                    false => assert_not_green(&ran, &format!("{what}: {arguments:?}")),
                }
                let is_merge = arguments == ["merge", "record.json", "--json", "merged.json"];
                if is_merge && !is_whole {
                    assert_eq!(ran.code, 2, "{what}: merge refuses: {ran:?}");
                    assert!(!bench.path("merged.json").exists(), "{what}");
                }
            }
            let _ = fs::remove_file(bench.path("merged.json"));
            // Begun after the record.
            if bench.path("report.xml").exists() {
                let report = bench.read("report.xml");
                let report = quick_junit::Report::deserialize_from_str(&report).expect("JUnit");
                assert!(report.errors > 0, "{what}");
            }
        }

        let resume = ["--json", "record.json", "--junit", "report.xml", "--resume"];
        let ran = bench.verify(&[&RUN[..], &resume].concat());
        assert_eq!(ran.code, 0, "{what}: {ran:?}");
        assert_eq!(timeless(bench.record("record.json")), whole, "{what}");
        assert_eq!(timeless_report(&bench.read("report.xml")), whole_report, "{what}");
    }
    assert!(cut_off >= 8, "{cut_off} of {points} were cut off");
}

/// Written case by case, in time linear in the cases: as long as the run itself at most.
#[test]
fn a_record_of_a_thousand_cases_takes_at_most_as_long_as_the_run() {
    let bench = Workbench::new(&[]);
    let layers: Vec<String> = (0..1000).map(|i| format!("{{name: l{i}, shape: [1, 1]}}")).collect();
    let manifest = crate::common::text(&[Section {
        shape: (1, 1),
        patterns: "none",
        sparsity: "",
        batch: "1",
        ..Section::default()
    }]);
    let one = "{name: up, shape: [1, 1]}";
    assert!(manifest.contains(one), "{manifest}");
    bench
        .write("manifests/small.yaml", &manifest.replace(one, &format!("[{}]", layers.join(", "))));
    let run = ["manifests", "--no-measure", "--threads", "1", "--quiet"];
    let timed = |more: &[&str]| {
        let started = Instant::now();
        let output = bench.command(&[&run[..], more].concat()).output().expect("it was built");
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        started.elapsed()
    };
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        without.push(timed(&[]));
        with.push(timed(&["--json", "record.json", "--force"]));
    }
    assert_eq!(bench.record("record.json").cases.len(), 1000);
    let best = |times: Vec<Duration>| times.into_iter().min().expect("three");
    let (without, with) = (best(without), best(with));
    println!("1000 cases: {without:?} without a record, {with:?} with one");
    // A quarter of a second against noise.
    assert!(with <= 2 * without + Duration::from_millis(250), "{with:?}, without {without:?}");
}
