//! Texts from files reach a terminal as text: no title, name or reason of anybody's moves the cursor, sets a window's
//! title, or turns what follows around. Colour is forced, so that whatever would reach a terminal is seen here.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::process::CommandExt as _;

use crate::common::records::full;
use crate::common::{Section, Workbench, repository, text};
use record::{FORMAT, ManifestRecord, Record};
use rustix::{pty, termios};
use serde_json::Value;

/// Sets a window's title, clears the screen, colours and conceals, in both ways of writing that; turns text around;
/// hides; is a line of its own; is green.
const HOSTILE: &str = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{1b}[8m\u{9b}31m\u{202e}gpj\u{2066}\u{200b}\u{feff}\u{e0041}\r\u{8}\
                       \nverified: everything required was verified\u{1b}[32m";
/// As much of that as a manifest lets pass.
const HOSTILE_LINE: &str = "\u{202e}gpj\u{2066}\u{200b}\u{feff}\u{e0041}";

/// What the program wrote to either stream, if none of it does anything to a terminal but set our three colours.
fn shown(bench: &Workbench, arguments: &[&str]) -> (i32, String) {
    let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
    run(bench, &arguments)
}

fn run(bench: &Workbench, arguments: &[OsString]) -> (i32, String) {
    let output = bench
        .command(arguments)
        .env("CLICOLOR_FORCE", "1")
        .output()
        .expect("the program was built");
    let text = [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8(bytes).expect("text"))
        .join("");
    assert_clean(&text, &format!("{arguments:?}"));
    (output.status.code().expect("not ended by a signal"), text)
}

/// The parser of the command line styles its own words, and repeats an argument only where it leaves styles out.
fn without_usage_styles(text: &str) -> String {
    let own = text.starts_with("\u{1b}[1m\u{1b}[31merror:\u{1b}[0m ") && !text.contains("gpj");
    let styles = ["\u{1b}[0m", "\u{1b}[1m", "\u{1b}[4m", "\u{1b}[31m", "\u{1b}[32m", "\u{1b}[33m"];
    styles.iter().filter(|_| own).fold(text.to_owned(), |text, style| text.replace(style, ""))
}

/// How a headline, or the line of a claim, begins.
const HEADLINES: [&str; 11] = [
    "bits verified: ",
    "refuted: ",
    "not verified: ",
    "bad input: ",
    "the environment failed: ",
    "nothing to show in this shard",
    "confirmed: ",
    "attained: ",
    "not attained (by the open operator): ",
    "inconclusive (noisy): ",
    "not judged: ",
];

/// A style is a verdict's, a headline's or a claim's: it stands before one of these words, and is reset behind it.
fn without_styles(text: &str) -> String {
    let mut text = text.to_owned();
    for color in ["\u{1b}[32m", "\u{1b}[31m", "\u{1b}[33m"] {
        let mut parts = text.split(color);
        let mut plain = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let styled = part.split_once("\u{1b}[0m").filter(|(inside, _)| {
                // Of a part of the cases it says first which part: `3 of 4 cases: interrupted; ...`.
                let bits = inside.rsplit("; ").next().unwrap_or_default();
                !inside.contains(['\u{1b}', '\n'])
                    && HEADLINES.iter().any(|h| inside.starts_with(h) || bits.starts_with(h))
            });
            match styled {
                Some((inside, rest)) => plain.push_str(&format!("{inside}{rest}")),
                None => plain.push_str(&format!("{color}{part}")),
            }
        }
        text = plain;
    }
    for color in ["\u{1b}[32m", "\u{1b}[31m", "\u{1b}[33m"] {
        for verdict in
            ["verified", "within-bound", "mismatch", "out-of-bound", "unpinned", "not-run"]
        {
            for padded in [format!("{verdict:<12}"), verdict.to_owned()] {
                text = text.replace(&format!("{color}{padded}\u{1b}[0m"), verdict);
            }
        }
    }
    text
}

fn assert_clean(text: &str, what: &str) {
    let text = without_styles(&without_usage_styles(text));
    let raw = text.chars().find(|&c| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
                | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
    });
    assert_eq!(raw, None, "{what}: {text:?}");
    assert!(
        !text.lines().any(|line| line == "verified: everything required was verified"),
        "{what}: {text}"
    );
}

/// Puts `text` behind the string at each place in turn, and keeps what `accepts` accepts.
fn spoil(value: &mut Value, text: &str, accepts: &dyn Fn(&Value) -> bool) -> usize {
    fn places(value: &Value, at: &str, found: &mut Vec<String>) {
        match value {
            Value::String(_) => found.push(at.to_owned()),
            Value::Array(items) => {
                items
                    .iter()
                    .enumerate()
                    .for_each(|(i, item)| places(item, &format!("{at}/{i}"), found));
            }
            Value::Object(fields) => fields.iter().for_each(|(key, field)| {
                places(
                    field,
                    &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")),
                    found,
                );
            }),
            _ => {}
        }
    }
    let mut found = Vec::new();
    places(value, "", &mut found);
    let mut spoiled = 0;
    for place in found {
        let at = value.pointer_mut(&place).expect("found a moment ago");
        let before = at.as_str().expect("a string").to_owned();
        *at = format!("{before}{text}").into();
        if accepts(value) {
            spoiled += 1;
        } else {
            *value.pointer_mut(&place).expect("found a moment ago") = before.into();
        }
    }
    spoiled
}

/// Whether a record is one as far as its types go.
fn is_record(value: &Value) -> bool {
    serde_json::from_value::<Record>(value.clone()).is_ok()
}

#[test]
fn a_manifest() {
    let section = Section { shape: (4, 8), batch: "3", ..Section::default() };
    let published = format!(
        "    published: {{title: \"Table {HOSTILE_LINE}\", cases: 1, chosen: \"seed {HOSTILE_LINE}\"}}\n    \
         claims: [{{id: fast, sources: [\"page {HOSTILE_LINE}\"], speedup: 9.5, vendor_ms: 3, operator_ms: 1}}]\n"
    );
    let manifest = text(&[section]).replace(
        "title: For tests",
        &format!("title: \"For {HOSTILE_LINE}\"\nplatform: \"NVIDIA {HOSTILE_LINE}\""),
    ) + &published;
    let bench = Workbench::new(&[]);
    bench.write("manifests/small.yaml", &manifest);
    let escaped = r"\u{202e}gpj\u{2066}\u{200b}\u{feff}\u{e0041}";
    for (arguments, code, is_said) in [
        (&["list", "manifests"][..], 0, true),
        (&["list", "manifests", "--claims"], 0, false),
        (&["lint", "manifests"], 1, false),
        (&["manifests", "--json", "record.json", "--device", "cpu"], 3, true),
        (&["report", "record.json"], 3, true),
        (&["report", "record.json", "--html", "page.html"], 3, false),
        (&["explain", "record.json"], 3, false),
    ] {
        let (got, said) = shown(&bench, arguments);
        assert_eq!(got, code, "{arguments:?}: {said}");
        // Markdown has its own use for a backslash.
        let said = said.replace(r"\\u", r"\u");
        assert_eq!(said.contains(escaped), is_said, "{arguments:?}: {said}");
    }
    let page = bench.read("page.html");
    assert_clean(&page, "page");
    assert!(page.contains(escaped));

    // The document is JSON, and of the same text.
    let (code, said) = shown(&bench, &["list", "manifests", "--format", "json"]);
    assert_eq!(code, 0, "{said}");
    let cases: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(cases[0]["published"], format!("Table {HOSTILE_LINE}"));
}

#[test]
fn a_manifest_with_errors() {
    let good = text(&[Section::default()]);
    let bench = Workbench::new(&[]);
    let escapes = r"\e]0;owned\a\e[2J\x9b31m\u202Egpj";
    for (from, to) in [
        ("title: For tests", format!("title: \"For {escapes}\"")),
        ("title: For tests", "title: \"\u{202e}\nx\"\nti\u{202e}tle: x".to_owned()),
        ("name: small", format!("name: \"small{escapes}\"")),
        ("name: up", format!("name: \"up{escapes}\"")),
        ("name: up", "name: \"up\u{202e}\"".to_owned()),
        ("heavy-tailed", format!("\"heavy{escapes}\"")),
        ("f32-chain", format!("{{\"f32-{escapes}\": \"{escapes}\"}}")),
        ("plan: auto", format!("? \"{escapes}\"\n    : x")),
        ("format: ", format!("format: \"{escapes}\" # ")),
        ("format: ", "\u{1b}[2J: ".to_owned()),
        ("batch: 24", format!("batch: &\u{202e} {escapes}")),
        ("batch: 24", "batch: *\u{202e}".to_owned()),
    ] {
        let manifest = good.replacen(from, &to, 1);
        assert_ne!(manifest, good, "{from}");
        bench.write("manifests/small.yaml", &manifest);
        let (code, said) = shown(&bench, &["list", "manifests"]);
        assert_eq!(code, 2, "{to}: {said}");
    }
    // Committed digests are read as well.
    bench.write("manifests/small.yaml", &good);
    std::fs::create_dir(bench.path("expected-hashes")).expect("new");
    for digests in
        ["\u{1b}]0;owned\u{7}: x", "format: \"\\e[2J\u{202e}\"", "format: 1\n\u{202e}: {"]
    {
        bench.write("expected-hashes/small.yaml", digests);
        let (code, said) = shown(&bench, &["list", "manifests"]);
        assert_eq!(code, 2, "{said}");
    }
}

/// The record with what follows from it, if its observations do not contradict each other.
fn derived(value: &Value) -> Option<Record> {
    let mut record: Record = serde_json::from_value(value.clone()).ok()?;
    record::derive::fill(&mut record);
    record::parse(record::text::whole(&record).as_bytes(), "spoiled").ok()
}

/// Names that stand in several places, spoiled in all of them.
fn spoil_names(record: &mut Record) {
    let spoil = |text: &mut String| text.push_str(HOSTILE);
    let ManifestRecord { name, selected, optional, .. } = &mut record.manifests[0];
    spoil(name);
    selected.iter_mut().chain(optional).for_each(spoil);
    for case in &mut record.cases {
        spoil(&mut case.manifest);
        spoil(&mut case.id);
    }
    record.published_inputs.iter_mut().for_each(|input| spoil(&mut input.manifest));
}

/// A key, and files that allow it: `allowed`, and `hostile`, which names somebody else as well.
fn signers(bench: &Workbench) {
    let key = std::fs::read(repository("crates/attest/tests/keys/ed25519")).expect("there");
    std::fs::write(bench.path("key"), &key).expect("new");
    let key = attest::signature::Key::read(&key).expect("a key");
    let key = key.public().text().expect("text");
    bench.write("allowed", &format!("ada {key}\n"));
    bench.write("hostile", &format!("{} {key}\n", HOSTILE_LINE.to_owned() + "\u{1b}"));
}

#[test]
fn a_record() {
    let bench = Workbench::new(&[]);
    let mut record = full();
    spoil_names(&mut record);
    let mut value = serde_json::to_value(record).expect("a record");
    let spoiled = spoil(&mut value, HOSTILE, &|value| derived(value).is_some());
    assert!(spoiled > 100, "{spoiled}");
    let record = derived(&value).expect("it was accepted");
    bench.forge("record.json", &record);
    let tool = record.tool.clone();
    signers(&bench);
    for (arguments, is_said) in [
        (&["explain", "record.json"][..], true),
        (&["explain", "record.json", "--case", "nothing"], false),
        (&["report", "record.json"], true),
        (&["report", "record.json", "--html", "page.html"], false),
        (&["report", "record.json", "record.json", "--markdown", "page.md"], false),
        (&["recheck", "record.json"], true),
        (&["attest", "record.json", "--key", "key", "--out", "s"], false),
        (&["attest", "--check", "s", "--signers", "allowed", "--tool", &tool], true),
        (&["attest", "--check", "s", "--signers", "allowed"], false),
        (&["quorum", "s", "--need", "1", "--signers", "allowed", "--tool", &tool], true),
        (&["quorum", "s", "--need", "1", "--signers", "hostile"], true),
        (&["merge", "record.json", "--json", "merged.json", "--junit", "junit.xml"], false),
        (&["merge", "record.json", "--json", "merged.json", "--partial"], false),
    ] {
        let (_, said) = shown(&bench, arguments);
        let is_shown = said.contains(r"\u{1b}") && said.contains(r"\u{202e}");
        assert_eq!(is_shown, is_said, "{arguments:?}: {said}");
    }
    // One that contradicts itself is refused, and what it says is shown in the message.
    let mut value = serde_json::to_value(full()).expect("a record");
    spoil(&mut value, HOSTILE, &is_record);
    value["format"] = FORMAT.into();
    bench.write("refused.json", &value.to_string());
    for arguments in [
        &["explain", "refused.json"][..],
        &["report", "refused.json", "refused.json"],
        &["recheck", "refused.json"],
        &["merge", "refused.json", "--json", "merged.json"],
        &["manifests", "--json", "refused.json", "--resume"],
    ] {
        let (code, said) = shown(&bench, arguments);
        assert_eq!(code, 2, "{arguments:?}: {said}");
    }
    assert!(shown(&bench, &["explain", "refused.json"]).1.contains(r"\u{1b}]0;owned"));
    assert_clean(&bench.read("page.html"), "page.html");
    assert_clean(&bench.read("page.md"), "page.md");
}

/// A record of a run of its own, spoiled: what goes on with it, and what judges and pins by it.
#[test]
fn a_record_beside_its_manifest() {
    let bench = Workbench::pinned(&[Section { shape: (4, 8), batch: "3", ..Section::default() }]);
    let run = ["manifests", "--no-measure", "--device", "cpu", "--json", "record.json"];
    assert_eq!(bench.verify(&run).code, 0);
    let good: Value = serde_json::from_str(&bench.read("record.json")).expect("JSON");
    let resume = [&run[..], &["--resume"]].concat();
    let commands = [
        &resume[..],
        &["judge", "manifests", "--record", "record.json"],
        &["pin", "manifests", "--record", "record.json", "--yes"],
        &["merge", "record.json", "--json", "merged.json", "--junit", "junit.xml"],
        &["explain", "record.json"],
    ];
    // One field at a time: a record that is refused for its first would show nothing of the others.
    let fields = [
        "tool",
        "options",
        "environment",
        "manifests",
        "cases",
        "devices",
        "arguments",
        "started",
        "format",
    ];
    for field in fields {
        let mut value = good.clone();
        let spoiled = match field {
            "format" => {
                value["format"] = format!("sparse-verify-record/{HOSTILE}").into();
                1
            }
            field => {
                let whole = value.clone();
                let accepts = |part: &Value| {
                    let mut whole = whole.clone();
                    whole[field] = part.clone();
                    is_record(&whole)
                };
                spoil(&mut value[field], HOSTILE, &accepts)
            }
        };
        assert!(spoiled > 0 || field == "devices", "{field}");
        for arguments in commands {
            bench.write("record.json", &value.to_string());
            shown(&bench, arguments);
        }
    }
    assert_clean(&bench.read("expected-hashes/small.yaml"), "committed digests");
    // And are read again.
    assert_eq!(shown(&bench, &["list", "manifests"]).0, 0);
}

/// Reasons, verdicts and ids of cases that are told on a terminal when a run goes on.
#[test]
fn a_run_that_goes_on() {
    let bench = Workbench::pinned(&[Section { shape: (4, 8), batch: "3", ..Section::default() }]);
    let run = ["manifests", "--no-measure", "--device", "cpu", "--json", "record.json"];
    assert_eq!(bench.verify(&run).code, 0);
    let mut value: Value = serde_json::from_str(&bench.read("record.json")).expect("JSON");
    let case = &mut value["cases"][0];
    case["reasons"] = vec![HOSTILE].into();
    case["measurement_reason"] = HOSTILE.into();
    for (key, text) in case["bits"].as_object_mut().expect("its bits were looked at") {
        if text.is_string() && ["plan", "perturbation", "operator"].contains(&key.as_str()) {
            *text = HOSTILE.into();
        }
    }
    bench.write("record.json", &value.to_string());
    let (_, said) = shown(&bench, &[&run[..], &["--resume", "--verbose"]].concat());
    assert!(said.contains(r"\u{1b}]0;owned\u{7}"), "{said}");
}

#[test]
fn names_of_files_and_arguments() {
    let bench = Workbench::pinned(&[Section { shape: (4, 8), batch: "3", ..Section::default() }]);
    let name = |end: &str| format!("x{HOSTILE}{end}");
    let manifest = format!("manifests/{}", name(".yaml"));
    bench.write(&manifest, &bench.read("manifests/small.yaml"));
    bench.write(&name("-record.json"), "{}");
    bench.write(&name("-empty.yaml"), "");
    let words: Vec<OsString> = [name(".yaml"), name("-empty.yaml"), name("-record.json"), manifest]
        .into_iter()
        .map(OsString::from)
        .chain([OsString::from_vec(b"\xff\x1b]0;owned\x07".to_vec())])
        .collect();
    let as_arguments = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
    for word in words {
        for before in [
            &[][..],
            &["list"],
            &["lint"],
            &["list", "manifests", "--case"],
            &["explain"],
            &["explain", "record.json", "--case"],
            &["report"],
            &["report", "--html"],
            &["merge", "--json", "merged.json"],
            &["judge", "manifests", "--record"],
            &["pin", "manifests", "--record"],
            &["pin"],
            &["pin", "--yes"],
            &["inputs", "manifests", "--out"],
            &["challenge", "manifests", "--out"],
            &["challenge", "manifests", "--out", "sent", "--force", "--nonce"],
            &["check"],
            &["check", "sent", "--nonce"],
            &["check", "sent", "--manifest"],
            &["check", "manifests", "--case", "*", "--y"],
            &["manifests", "--no-measure", "--nonce"],
            &["manifests", "--no-measure", "--json", "missing/x", "--junit"],
            &["manifests", "--no-measure", "--shard"],
            &["manifests", "--device"],
            &["manifests", "--isa"],
            &["--"],
            &["--no-such-option"],
        ] {
            let mut arguments = as_arguments(before);
            arguments.push(word.clone());
            run(&bench, &arguments);
        }
        // An option that there is not.
        let mut option = OsString::from("--");
        option.push(&word);
        run(&bench, &[option]);
    }
}

/// Help has styles on a terminal; in a pipe or a file it is plain text, of the same words.
#[test]
fn help_has_styles_on_a_terminal_alone() {
    let bench = Workbench::new(&[]);
    for arguments in [&["--help"][..], &["-h"], &["--version"], &["list", "--help"], &["help"]] {
        let plain = bench.verify(arguments);
        assert_eq!((plain.code, plain.stderr.as_str()), (0, ""), "{arguments:?}");
        assert_clean(&plain.stdout, &format!("{arguments:?}"));
        assert!(!plain.stdout.contains(r"\u{"), "{arguments:?}: {}", plain.stdout);

        let forced = || {
            let mut command = bench.command(arguments);
            command.env("CLICOLOR_FORCE", "1");
            command
        };
        let styled = crate::common::ran(&mut forced()).stdout;
        assert_eq!(styled.contains("\u{1b}[1m"), arguments != ["--version"], "{styled:?}");
        let styles = ["\u{1b}[0m", "\u{1b}[1m", "\u{1b}[4m"];
        let words = styles.iter().fold(styled, |text, style| text.replace(style, ""));
        assert_eq!(words, plain.stdout, "{arguments:?}");

        // A program of another name says its name, as text.
        let ran = crate::common::ran(forced().arg0(format!("/x{HOSTILE}")));
        assert_eq!(ran.code, 0, "{ran:?}");
        let words = styles.iter().fold(ran.stdout, |text, style| text.replace(style, ""));
        assert_clean(&words, &format!("{arguments:?}"));
    }
}

/// A terminal: the side of who sits at it, and that of programs.
pub fn open() -> (OwnedFd, File) {
    let ours = pty::openpt(pty::OpenptFlags::RDWR | pty::OpenptFlags::NOCTTY).expect("a terminal");
    pty::grantpt(&ours).expect("granted");
    pty::unlockpt(&ours).expect("unlocked");
    let name = pty::ptsname(&ours, Vec::new()).expect("a name").into_string().expect("text");
    let theirs = File::options().read(true).write(true).open(name).expect("opened");
    (ours, theirs)
}

/// What the program shows on a terminal of so many columns.
fn on_a_terminal(bench: &Workbench, columns: u16, arguments: &[&str]) -> String {
    on_a_terminal_with(bench, columns, arguments, false)
}

/// The same, with standard error on the terminal as well where that is `talk`.
fn on_a_terminal_with(bench: &Workbench, columns: u16, arguments: &[&str], talk: bool) -> String {
    use std::io::Read as _;
    let (ours, theirs) = open();
    let size = termios::Winsize { ws_row: 40, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    termios::tcsetwinsize(&theirs, size).expect("a size");
    let mut program = bench
        .command(arguments)
        .stdout(theirs.try_clone().expect("cloned"))
        .stderr(match talk {
            true => theirs.try_clone().expect("cloned").into(),
            false => std::process::Stdio::null(),
        })
        .spawn()
        .expect("the program was built");
    // Read while it runs: a terminal holds little.
    let reader = std::thread::spawn(move || {
        let mut shown = Vec::new();
        // Ends with an error once nobody has the other side.
        let _ = File::from(ours).read_to_end(&mut shown);
        String::from_utf8_lossy(&shown).into_owned()
    });
    drop(theirs);
    program.wait().expect("our child");
    reader.join().expect("no panic")
}

/// Characters that a line takes on a terminal: our colours take none.
fn width(line: &str) -> usize {
    let parts = line.split("\u{1b}[").enumerate().map(|(at, part)| match at {
        0 => part.chars().count(),
        _ => part.split_once('m').map_or(0, |(_, shown)| shown.chars().count()),
    });
    parts.sum()
}

#[test]
fn no_table_is_wider_than_the_terminal() {
    let bench = Workbench::pinned(&[Section { batch: "[1, 24]", ..Section::default() }]);
    let ran = bench.verify(&["manifests", "--json", "record.json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.lines().any(|line| line.len() > 160), "elsewhere lines are whole: {ran:?}");
    signers(&bench);
    let commands: [&[&str]; 11] = [
        &["attest", "record.json", "--key", "key", "--out", "s"],
        &["attest", "--check", "s", "--signers", "allowed"],
        &["quorum", "s", "--need", "2", "--signers", "allowed"],
        &["manifests"],
        &["manifests", "--no-measure", "--verbose"],
        &["list", "manifests"],
        &["list"],
        &["list", "--operators"],
        &["doctor"],
        &["recheck", "record.json"],
        &["compare", "record.json", "record.json"],
    ];
    for columns in [80, 100, 160] {
        for arguments in commands {
            let shown = on_a_terminal(&bench, columns, arguments);
            assert!(shown.lines().count() > 0, "{arguments:?}");
            for line in shown.lines() {
                let one_word = !line.trim().contains(' ');
                let fits = width(line) <= usize::from(columns);
                assert!(fits || one_word, "{columns}, {arguments:?}: {line:?}\n{shown}");
            }
        }
    }
}

#[test]
fn progress_says_how_far_the_run_is_in_one_line() {
    // Long enough for the bar to be drawn.
    let bench = Workbench::new(&[Section {
        shape: (1024, 2048),
        batch: "[256, 512]",
        patterns: "none",
        sparsity: "",
        ..Section::default()
    }]);
    for columns in [80, 100, 160] {
        let shown = on_a_terminal_with(&bench, columns, &["manifests", "--no-measure"], true);
        for case in ["1 of 2", "2 of 2"] {
            assert!(shown.contains(case), "{columns}: {shown:?}");
        }
        // What is drawn over itself is drawn in one line, or its rest would stay.
        for line in shown.split(['\r', '\n']).filter(|line| line.contains(" of 2 ")) {
            assert!(width(line) <= usize::from(columns), "{columns}: {line:?}");
        }
    }
}
