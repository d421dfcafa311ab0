//! The path that README shows a newcomer, as it is written there: from a claim on the page to a gate.

use std::path::Path;
use std::process::Command;

use crate::common::{Ran, change_digit, ran};
use record::claims::Word;
use record::verdict::Verdict;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The commands of the section's block, without its comments.
fn commands() -> Vec<String> {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    let section = readme.split("## From a claim to a gate").nth(1).expect("the section");
    let block = section.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next());
    let lines = block.expect("a block of commands").lines();
    lines.filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

/// A line of README in a folder with copies of what a clone has there, `verify` in the path. No hub answers.
fn shell(folder: &Path, line: &str) -> Ran {
    let program = Path::new(env!("CARGO_BIN_EXE_verify"));
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", program.parent().expect("a folder").display());
    ran(Command::new("bash")
        .args(["-c", line])
        .current_dir(folder)
        .env("PATH", path)
        .env("HF_ENDPOINT", "http://127.0.0.1:9")
        .env("HF_HOME", folder.join("hub"))
        .env("SPARSE_VERIFY_CACHE", folder.join("cache")))
}

#[test]
fn a_newcomer_gets_from_a_claim_to_a_gate() {
    let commands = commands();
    let [list, run, report, recheck, gate] = &commands[..] else { panic!("{commands:?}") };
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    for name in ["manifests", "expected-hashes"] {
        std::fs::create_dir(folder.join(name)).expect("it is new");
        for file in std::fs::read_dir(root().join(name)).expect("a folder").flatten() {
            std::fs::copy(file.path(), folder.join(name).join(file.file_name())).expect("copied");
        }
    }

    let found = shell(folder, list);
    assert_eq!(found.code, 0, "{found:?}");
    let lines: Vec<&str> = found.stdout.lines().collect();
    // The row of the table, and the figures of it that stand in the heading.
    assert_eq!(lines.len(), 2, "{found:?}");
    for (line, claim) in lines.iter().zip(["up-80 ", "up-80-headline "]) {
        assert!(
            line.starts_with("h200 ") && line.contains(&format!("h200-llama31-8b-{claim}")),
            "{line}"
        );
        assert!(
            line.contains("[llama-3.1-8b/up_proj/row-magnitude-80/b1024/f32/f32-chain]"),
            "{line}"
        );
    }

    let ran = shell(folder, run);
    assert_eq!(ran.code, 0, "{ran:?}");
    let record = record::load(&folder.join("run.json")).expect("a record");
    let verdicts: Vec<(&str, Verdict)> =
        record.cases.iter().map(|case| (case.section.as_str(), case.verdict)).collect();
    assert_eq!(verdicts, [("rows", Verdict::Verified), ("llama-3.1-8b", Verdict::NotRun)]);
    let claim = record.judged.iter().find(|claim| claim.id == "h200-llama31-8b-up-80");
    let claim = claim.expect("it was judged");
    assert_eq!(claim.twin.as_deref(), Some("rows"));
    let word = |rule: &str| claim.rows.iter().find(|row| row.rule == rule).map(|row| row.word);
    assert_eq!(word("live rows here"), Some(Word::Agrees));
    assert_eq!(word("tolerance here"), Some(Word::Agrees));
    assert_eq!(word("baseline"), Some(Word::Differs));
    // On an H200 it is judged by times as well.
    let measured = record.cases[0].measurement.is_some();
    assert_eq!(word("times"), (!measured).then_some(Word::NotJudged));

    let page = shell(folder, report);
    assert_eq!(page.code, 0, "{page:?}");
    let page = std::fs::read_to_string(folder.join("run.html")).expect("a page");
    for text in ["h200-llama31-8b-up-80", "Synthetic weights stood for the", "not measured"] {
        assert!(measured || page.contains(text), "no `{text}`");
    }

    let rechecked = shell(folder, recheck);
    assert_eq!(rechecked.code, 0, "{rechecked:?}");
    assert!(
        rechecked.stdout.contains("run.json: consistent: nothing was re-derived\n"),
        "{rechecked:?}"
    );

    let gated = shell(folder, gate);
    assert_eq!(gated.code, 0, "{gated:?}");
    let junit = || std::fs::read_to_string(folder.join("gate.xml")).expect("a report");
    assert!(junit().contains("failures=\"0\" errors=\"0\""), "{}", junit());
    // And a gate that cannot close is none.
    let path = folder.join("expected-hashes/h200.yaml");
    let text = std::fs::read_to_string(&path).expect("committed digests");
    let id = &record.cases[0].id;
    std::fs::write(&path, change_digit(&text, id, "operator:")).expect("written");
    let closed = shell(folder, gate);
    assert_eq!(closed.code, 1, "{closed:?}");
    assert!(junit().contains("failures=\"1\""), "{}", junit());
}

/// Short enough to be read, and every other command of it does what it says, in an empty folder.
#[test]
fn every_command_of_readme_runs_as_it_is_written() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    let words = readme.split_whitespace().count();
    assert!(words <= 900, "README has {words} words");
    let blocks = |language: &str| -> Vec<String> {
        let begins = format!("```{language}\n");
        let blocks = readme.split(&begins).skip(1).filter_map(|rest| rest.split("```").next());
        blocks.map(str::to_owned).collect()
    };
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let [manifest] = &blocks("yaml")[..] else { panic!("one manifest") };
    std::fs::write(folder.join("mine.yaml"), manifest).expect("written");
    // The interpreter of the tests, which has NumPy.
    let python = super::operators::python();
    let lines = blocks("sh").join("");
    // Another test runs the section about claims; the first command builds what all of them run.
    let claims = commands();
    let lines = lines.lines().filter(|line| {
        !line.starts_with('#')
            && !claims.iter().any(|other| other == line)
            && *line != "cargo install --path ."
    });
    let lines: Vec<&str> = lines.collect();
    assert_eq!(lines.len(), 4, "{lines:?}");
    for line in lines {
        // Named by its path: an interpreter that stands for another must be the one that it stands for.
        let line = match line.contains("--operator") {
            true => format!("{line} --no-measure --interpreter '{}'", python.display()),
            false => line.to_owned(),
        };
        let ran = shell(folder, &line);
        assert_eq!(ran.code, 0, "{line}: {ran:?}");
    }
    let record = record::load(&folder.join("run.json")).expect("a record");
    assert!(record.cases.iter().all(|case| case.verdict == Verdict::Verified));
    assert_eq!(record.cases.len(), 2);
    for name in readme.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        assert!(name.starts_with("http") || root().join(name).exists(), "README links to {name}");
    }
}
