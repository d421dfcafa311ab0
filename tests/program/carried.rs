//! What the program carries, in a folder that has nothing.

use std::fs;
use std::process::Command;

use crate::common::{Ran, ran, repository};

/// The program in a folder.
fn verify(folder: &tempfile::TempDir, arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_verify"));
    ran(command.args(arguments).current_dir(folder.path()))
}

#[test]
fn quickstart_is_verified_in_an_empty_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let ran = verify(&folder, &["quickstart", "--no-measure", "--json", "record.json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("committed digests: carried:/expected-hashes/quickstart.yaml"));
    assert!(ran.stdout.contains("222 cases: 197 verified, 25 within-bound"), "{ran:?}");
    let record = record::load(&folder.path().join("record.json")).expect("a record");
    let used = record.manifests[0].expected_path.as_deref();
    assert_eq!(used, Some("carried:/expected-hashes/quickstart.yaml"));
    assert!(record.manifests[0].expected_sha256.is_some());
    // The manifests that are carried are known wherever a record is looked at.
    let ran = verify(&folder, &["recheck", "record.json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(!ran.stdout.contains("not here"), "{ran:?}");
}

#[test]
fn a_folders_own_files_go_first() {
    let folder = tempfile::tempdir().expect("a folder");
    assert_eq!(verify(&folder, &["eject"]).code, 0);
    let path = folder.path().join("manifests/quickstart.yaml");
    let text = fs::read_to_string(&path).expect("written");
    assert_eq!(text, fs::read_to_string(repository("manifests/quickstart.yaml")).expect("there"));
    fs::write(&path, text.replace("title: Every", "title: Our own, every")).expect("written");
    let ran = verify(&folder, &["quickstart", "--no-measure", "--case", "exact/up/none/*"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("quickstart: Our own, every"), "{ran:?}");
    assert!(ran.stdout.contains("digests: expected-hashes/quickstart.yaml"), "{ran:?}");
    let listed = verify(&folder, &["list"]);
    assert!(listed.stdout.contains("here     Our own"), "{listed:?}");

    // What is there and differs is kept.
    let ran = verify(&folder, &["eject"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("manifests/quickstart.yaml would be written over"), "{ran:?}");
    assert!(fs::read_to_string(&path).expect("kept").contains("Our own"));
    assert_eq!(verify(&folder, &["eject", "--force"]).code, 0);
    assert_eq!(fs::read_to_string(&path).expect("written"), text);
    assert_eq!(verify(&folder, &["eject", "other/folder"]).code, 0);
    assert!(folder.path().join("other/folder/operators/numpy.py").exists());
}

#[test]
fn names_stand_for_what_is_carried_and_for_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let refused = |arguments: &[&str], words: &str| {
        let ran = verify(&folder, arguments);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.stderr.contains(words), "{words}: {ran:?}");
    };
    refused(&["quickstrat"], "did you mean `quickstart`, which the program carries?");
    refused(&["manifests/h200.yaml"], "the program carries `h200`: give its name alone");
    refused(&["lits"], "did you mean `verify list`?");
    refused(&["../quickstart/x"], "found nothing");
    refused(&["quickstart", "--operator", "numpi", "--no-measure"], "did you mean `numpy`?");
    // Nothing is pinned where nothing can be written: a digest that is missing is not made up.
    let ran = verify(&folder, &["pin", "quickstart", "--case", "exact/up/none/b48/f32/*", "--yes"]);
    // A processor that is named among those that confirmed them has nothing to add.
    let is_known = ran.stdout == "carried:/expected-hashes/quickstart.yaml: unchanged\n";
    assert_eq!(ran.code, if is_known { 0 } else { 2 }, "{ran:?}");
    assert!(is_known || ran.stderr.contains("`verify eject` writes it out"), "{ran:?}");
    let listed = verify(&folder, &["list"]);
    assert_eq!((listed.code, listed.stdout.lines().count()), (0, 12), "{listed:?}");
    let listed = verify(&folder, &["list", "--operators"]);
    assert!(listed.stdout.contains("scipy-csr"), "{listed:?}");
    let json = verify(&folder, &["list", "--format", "json"]);
    let all: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(all.as_array().map(Vec::len), Some(11));
}

/// What was sent out by a carried manifest is known again when it comes back.
#[test]
fn a_challenge_of_a_carried_manifest_is_checked_without_naming_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let case = ["quickstart", "--case", "exact/up/none/b48/f32/exact"];
    assert_eq!(verify(&folder, &[&["challenge"], &case[..], &["--out", "sent"]].concat()).code, 0);
    let ran = verify(&folder, &["check", "sent"]);
    assert_eq!((ran.code, ran.stderr.contains("no such file")), (3, false), "{ran:?}");
    assert!(ran.stdout.contains("1 case: 1 not-run"), "nothing came back: {ran:?}");
}

/// Completions know every command, and each command has a man page.
#[test]
fn completions_and_man_pages_are_those_of_the_command_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let help = verify(&folder, &["--help"]).stdout;
    let (_, commands) = help.split_once("Commands:\n").expect("a list");
    let commands = commands.lines().take_while(|line| !line.is_empty());
    let first = |line: &str| line.strip_prefix("  ")?.split(' ').next().map(str::to_owned);
    let commands: Vec<String> =
        commands.filter_map(first).filter(|name| !name.is_empty()).collect();
    assert!(commands.len() > 10, "{commands:?}");
    for shell in ["bash", "zsh", "fish"] {
        let ran = verify(&folder, &["completions", shell]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{shell}: {ran:?}");
        assert!(commands.iter().all(|name| ran.stdout.contains(name.as_str())), "{shell}");
    }
    assert_eq!(verify(&folder, &["completions", "sh"]).code, 2);
    assert_eq!(verify(&folder, &["man", "pages/man1"]).code, 0);
    for name in commands.iter().filter(|name| *name != "help") {
        let page = folder.path().join(format!("pages/man1/verify-{name}.1"));
        let text = fs::read_to_string(&page).expect("a page");
        assert!(text.contains(".TH") && text.contains("SYNOPSIS"), "{name}: {text}");
    }
    assert!(folder.path().join("pages/man1/verify.1").exists());
    fs::write(folder.path().join("file"), "").expect("written");
    let ran = verify(&folder, &["man", "file"]);
    assert_eq!(ran.code, 4, "{ran:?}");
}
