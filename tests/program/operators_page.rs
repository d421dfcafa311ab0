//! The blocks of docs/operators.md, as a vendor would copy them: files are written, digests filled in, commands run.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::common::{ran, repository};

/// A fenced block: its language, the file that it is, its lines.
struct Block<'t> {
    language: &'t str,
    file: Option<&'t str>,
    body: &'t str,
}

fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut rest = page;
    let mut blocks = Vec::new();
    while let Some((_, after)) = rest.split_once("\n```") {
        let (head, after) = after.split_once('\n').expect("a block's first line");
        let (body, after) = after.split_once("```").expect("a block's end");
        let (language, more) = head.split_once(' ').unwrap_or((head, ""));
        blocks.push(Block { language, file: more.strip_prefix("title="), body });
        rest = after;
    }
    blocks
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).expect("copied")),
        }
    }
}

/// Puts the digests of files beside an operator file in the place of `DIGEST`.
fn fill_in(file: &Path) {
    let text = fs::read_to_string(file).expect("an operator file");
    let filled = text.lines().map(|line| match line.trim().split_once(": DIGEST") {
        Some((name, "")) => {
            let code = fs::read(file.with_file_name(name)).expect("the code");
            line.replace("DIGEST", &contract::digest::Digest::of(&code).to_string())
        }
        _ => line.to_owned(),
    });
    fs::write(file, filled.collect::<Vec<_>>().join("\n")).expect("written");
}

#[test]
fn a_vendor_gets_from_a_function_to_a_record_by_the_page() {
    let python = super::operators::python();
    let has = |program: &Path, arguments: &[&str]| {
        Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
    };
    if !has(&python, &["-I", "-c", "import numpy"]) || !has("cc".as_ref(), &["--version"]) {
        eprintln!("not run: no Python with NumPy, or no C compiler");
        return;
    }
    let page = fs::read_to_string(repository("docs/operators.md")).expect("the page");
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    for name in ["manifests", "expected-hashes", "include", "examples"] {
        copy(repository(name).as_ref(), &folder.join(name));
    }
    let bin = Path::new(env!("CARGO_BIN_EXE_verify")).parent().expect("a folder");
    let path = format!(
        "{}:{}:{}",
        bin.display(),
        python.parent().expect("a folder").display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let (mut written, mut verified) = (Vec::new(), Vec::new());
    for block in blocks(&page) {
        if let Some(file) = block.file {
            let path = folder.join(file);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(&path, block.body).expect("written");
            written.push(path);
            continue;
        }
        for line in block.body.lines().filter(|_| block.language == "console") {
            let command = line.strip_prefix("$ ").unwrap_or_else(|| panic!("`{line}`"));
            if command.starts_with("verify manifests") {
                let files =
                    written.iter().filter(|path| path.extension().is_some_and(|e| e == "yaml"));
                files.for_each(|file| fill_in(file));
            }
            let ran = ran(Command::new("bash")
                .args(["-c", command])
                .current_dir(folder)
                .env("PATH", &path));
            assert_eq!(ran.code, 0, "{command}: {ran:?}");
            if command.starts_with("verify manifests") {
                verified.extend(
                    ran.stdout
                        .lines()
                        .find(|line| line.starts_with("bits verified: "))
                        .map(str::to_owned),
                );
            }
        }
    }
    let kinds =
        ["dense 1.0", "csr-c 1.0"].map(|name| verified.iter().any(|line| line.contains(name)));
    assert_eq!(kinds, [true; 2], "{verified:?}");
}
