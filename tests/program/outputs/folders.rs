//! What is written for others: said before, never over anything, in dtypes that NumPy and safetensors have.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use contract::dtype::Dtype;

use super::{CHAIN, answer, bytes, cases, chain, challenge, list, load, place, sections};
use crate::common::{Section, Workbench};

#[test]
fn what_is_written_is_said_before_and_nothing_is_written_over() {
    let bench = Workbench::pinned(&[chain(), sections().remove(5)]);
    let ran = challenge(&bench, "sent", &[]);
    assert_eq!(ran.stderr, "writes 30.7 kB to sent in 9 files\n");
    let (mut files, mut bytes) = (0, 0);
    let mut folders = vec![bench.path("sent")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
                continue;
            }
            files += 1;
            bytes += entry.metadata().expect("there").len();
            let mode = entry.metadata().expect("there").permissions().mode() & 0o777;
            let usual = bench.path("usual");
            fs::write(&usual, "").expect("written");
            let usual = fs::metadata(usual).expect("there").permissions().mode() & 0o777;
            assert_eq!(mode, usual, "{}", entry.path().display());
        }
    }
    assert_eq!(files, 9);
    assert!((18_000..30_720).contains(&bytes), "{bytes}");
    let again = bench.verify(&["challenge", "manifests/small.yaml", "--out", "sent"]);
    assert_eq!(again.code, 2, "{again:?}");
    assert!(again.stderr.contains("sent holds something already\nhint: "), "{again:?}");
    bench.write("file", "x");
    let file = bench.verify(&["challenge", "manifests/small.yaml", "--out", "file"]);
    assert_eq!(file.code, 2, "{file:?}");
    assert!(file.stderr.contains("file is a file, and --out is a folder"), "{file:?}");
    // An answer to this challenge is none to the next.
    answer(&bench, "sent");
    bench.write(&format!("sent/small/{CHAIN}/notes.txt"), "mine");
    challenge(&bench, "sent", &["--force", "--nonce", "x", "--full"]);
    let left = bench.list(&format!("sent/small/{CHAIN}"));
    assert_eq!(left, ["a.npy", "a1.npy", "inputs.safetensors", "notes.txt", "v.npy", "v2.npy"]);
}

#[test]
fn what_the_disk_has_no_room_for_is_not_begun() {
    let vast = Section { shape: (1 << 21, 1 << 18), batch: "1", ..chain() };
    let bench = Workbench::new(&[vast]);
    for command in [&["challenge"][..], &["inputs"]] {
        let ran = bench.verify(&[command, &["manifests", "--out", "sent"]].concat());
        assert_eq!(ran.code, 4, "{ran:?}");
        assert!(ran.stderr.starts_with("writes 4.40 TB to sent in "), "{ran:?}");
        assert!(ran.stderr.contains(" are to be written, the disk has room for "), "{ran:?}");
        assert!(!bench.path("sent").exists());
    }
}

#[test]
fn inputs_are_in_numpys_dtypes_and_in_safetensors_own() {
    let bench = Workbench::pinned(&sections());
    challenge(&bench, "sent", &["--full"]);
    for case in cases(&bench) {
        let folder = place(&bench, "sent", &case);
        let (npy, own) = match case.dtype {
            Dtype::F32 => ("'<f4'", safetensors::Dtype::F32),
            Dtype::F16 => ("'<f2'", safetensors::Dtype::F16),
            Dtype::Bf16 => ("'<u2'", safetensors::Dtype::BF16),
        };
        let file = fs::read(folder.join("inputs.safetensors")).expect("there");
        let tensors = safetensors::SafeTensors::deserialize(&file).expect("well-formed");
        let mut names = tensors.names();
        names.sort();
        let all = if case.section == "dead" { &["a", "v"][..] } else { &["a", "a1", "v", "v2"] };
        assert_eq!(names, all, "{}", case.id);
        for name in all {
            let tensor = tensors.tensor(name).expect("there");
            assert_eq!(tensor.dtype(), own, "{}", case.id);
            let bytes = fs::read(folder.join(format!("{name}.npy"))).expect("there");
            assert!(bytes.ends_with(tensor.data()), "{} {name}", case.id);
            assert!(String::from_utf8_lossy(&bytes[..128]).contains(npy), "{} {name}", case.id);
        }
        let a1 = all.contains(&"a1").then(|| load(&folder.join("a1.npy"), case.dtype.name()));
        let Some(a1) = a1 else { continue };
        let a = load(&folder.join("a.npy"), case.dtype.name());
        let list = list(&bench, "sent");
        let asked = list["cases"].as_array().expect("a list").iter().find(|c| c["id"] == case.id);
        let patch = asked.expect("asked for")["patch"].as_array().expect("a list");
        let differing = a.iter().zip(&a1).filter(|(a, a1)| a != a1).count();
        assert_eq!(differing, patch.len(), "{}", case.id);
    }
}

#[test]
fn no_two_cases_share_a_folder_and_outputs_have_the_committed_digests() {
    let one = Section { name: "a", ..chain() };
    let bench = Workbench::new(&[one.clone(), Section { name: "a_up", seed: 5, ..one }]);
    // `a/b_c` and `a_b/c` had one name.
    let text = bench.read("manifests/small.yaml");
    let (first, second) = text.split_at(text.find("  - name: a_up").expect("the second"));
    let text = format!(
        "{}{}",
        first.replace("name: up", "name: up_x"),
        second.replace("name: up,", "name: x,")
    );
    bench.write("manifests/small.yaml", &text);
    assert_eq!(bench.verify(&["pin", "manifests", "--yes"]).code, 0);
    let ran = bench.verify(&["inputs", "manifests", "--out", "inputs", "--outputs"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.stderr.starts_with("writes ") && ran.stderr.contains(" to inputs in 12 files"),
        "{ran:?}"
    );
    let committed = bench.read("expected-hashes/small.yaml");
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines.len(), 8);
    let mut folders: Vec<&str> = Vec::new();
    for line in lines {
        let [path, name, digest] = line.split("  ").collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let key = if name == "y" { "operator" } else { name };
        assert!(committed.contains(&format!("    {key}: \"{digest}\"")), "{line}");
        let matrix = load(&bench.path(path), "f32");
        assert_eq!(contract::digest::Digest::of(&bytes(Dtype::F32, &matrix)).to_string(), digest);
        folders.extend(path.rsplit_once('/').map(|(folder, _)| folder));
    }
    folders.dedup();
    assert_eq!(folders.len(), 2, "{folders:?}");
    // What our own operator made is right.
    for case in cases(&bench) {
        let y = format!("inputs/small/{}/y.npy", case.id);
        let ran = bench.verify(&["check", "manifests/small.yaml", "--case", &case.id, "--y", &y]);
        assert_eq!(ran.code, 0, "{ran:?}");
    }
}
