//! The zoo (tests/zoo/): operators that cheat, each in its own way, and honest ones that look as if they did. Each file
//! says at its top what it tries, why that fails, and which words the user sees.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::operators::{file, library, quickstart};
use crate::common::repository;

/// Times that an honest operator is run.
const HONEST_RUNS: usize = 10;

struct Animal {
    name: String,
    path: PathBuf,
    says: BTreeMap<String, String>,
}

impl Animal {
    fn read(path: &Path) -> Animal {
        let text = fs::read_to_string(path).expect("an operator");
        let comments =
            text.lines().map_while(|line| line.strip_prefix("# ").or(line.strip_prefix("// ")));
        let says = comments.filter_map(|line| line.split_once(": "));
        let says = says.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Animal { name, path: path.to_owned(), says }
    }

    fn get(&self, key: &str) -> &str {
        self.says.get(key).unwrap_or_else(|| panic!("{}: no line `{key}: ...`", self.name))
    }

    fn is_honest(&self) -> bool {
        match self.get("zoo") {
            "honest" => true,
            "cheat" => false,
            other => panic!("{}: zoo: {other}", self.name),
        }
    }

    fn is_on_device(&self) -> bool {
        self.path.parent().is_some_and(|folder| folder.ends_with("cuda"))
    }

    /// What differs from what it says of itself.
    fn differs(&self) -> Vec<String> {
        let folder = tempfile::tempdir().expect("a folder");
        let entry = match self.path.extension().is_some_and(|extension| extension == "c") {
            true => match library(&self.path, folder.path()) {
                Some(entry) => entry,
                None => return Vec::new(),
            },
            false => {
                fs::copy(&self.path, folder.path().join("mine.py")).expect("copied");
                "mine.py".to_owned()
            }
        };
        let extra = self.says.get("extra").map_or("", String::as_str);
        let extra = extra.replace("FOLDER", &folder.path().display().to_string());
        let mut extra = extra.replace("ROOT", &repository(""));
        if self.is_on_device() {
            extra.push_str("\ndevice: cuda");
        }
        let operator = file(folder.path(), &entry, self.get("claims"), &extra);
        let mut found = Vec::new();
        let mut run = |off: Option<&str>, words: &str, code: &str, is_measured: bool| {
            let mut more = match self.get("measure") {
                "yes" if is_measured => Vec::new(),
                _ => vec!["--no-measure"],
            };
            more.extend(off.iter().flat_map(|layer| ["--isolation-off", *layer]));
            let ran = quickstart(&operator, self.get("case"), &more);
            let said = format!("{}{}", ran.stdout, ran.stderr);
            // A layer that this system has not is as good as one that is off.
            let lacks = said.lines().filter_map(|line| line.split_once("without isolation by "));
            let lacks: Vec<String> =
                lacks.flat_map(|(_, layers)| layers.split(", ").map(str::to_owned)).collect();
            if off.is_none() && self.says.get("layer").is_some_and(|layer| lacks.contains(layer)) {
                eprintln!(
                    "not run: {}: this system has no layer {:?}",
                    self.name,
                    self.says.get("layer")
                );
                return;
            }
            if ran.code.to_string() != code || !said.contains(words) {
                let off = off.map_or(String::new(), |layer| format!(", without {layer}"));
                found.push(format!(
                    "{}{off}: code {} instead of {code}, or not the words `{words}`:\n{said}",
                    self.name, ran.code
                ));
            }
        };
        // On a device measuring takes most of the time: once is enough there.
        let is_measured = |run| run == 0 || !self.is_on_device();
        for i in 0..if self.is_honest() { HONEST_RUNS } else { 1 } {
            run(None, self.get("words"), self.get("code"), is_measured(i));
        }
        if let Some(layer) = self.says.get("layer") {
            run(Some(layer), self.get("off-words"), self.get("off-code"), true);
        }
        found
    }
}

fn animals(folder: &str) -> Vec<Animal> {
    let files = fs::read_dir(repository(folder)).expect("the zoo").flatten();
    let mut paths: Vec<PathBuf> = files
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|e| e == "py" || e == "c"))
        .collect();
    paths.sort();
    paths.iter().map(|path| Animal::read(path)).collect()
}

#[test]
fn every_operator_of_the_zoo_ends_as_its_file_says() {
    let python = std::process::Command::new(super::operators::python())
        .args(["-I", "-c", "import numpy"])
        .output();
    if !python.is_ok_and(|output| output.status.success()) {
        eprintln!("not run: no Python with NumPy");
        return;
    }
    let all = animals("tests/zoo");
    let honest = all.iter().filter(|animal| animal.is_honest()).count();
    assert!(honest >= 4 && all.len() - honest >= 30, "{honest} of {}", all.len());
    let (next, found) = (Mutex::new(all.iter()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(animal) = next.lock().expect("no panic").next() else { return };
                    let differs = animal.differs();
                    found.lock().expect("no panic").extend(differs);
                }
            });
        }
    });
    let found = found.into_inner().expect("no panic");
    assert!(found.is_empty(), "{} differ:\n{}", found.len(), found.join("\n\n"));
}

/// One after the other: what another one does on the device is what each is watched for. What a device showed is in
/// tests/records/h200/zoo.txt.
#[test]
fn every_operator_of_a_device_ends_as_its_file_says() {
    let all = animals("tests/zoo/cuda");
    let honest = all.iter().filter(|animal| animal.is_honest()).count();
    assert!(honest >= 4 && all.len() - honest >= 16, "{honest} of {}", all.len());
    let python = std::process::Command::new(super::operators::python())
        .args(["-I", "-c", "import torch; print(torch.cuda.get_device_name(0))"])
        .output();
    let Some(device) = python.ok().filter(|output| output.status.success()) else {
        eprintln!("not run: no Python with PyTorch and a CUDA device");
        return;
    };
    eprintln!("device: {}", String::from_utf8_lossy(&device.stdout).trim());
    // One of them alone takes seconds, all of them six minutes.
    let only = std::env::var("SPARSE_VERIFY_ZOO").unwrap_or_default();
    let mut found = Vec::new();
    for animal in all.iter().filter(|animal| animal.name.contains(&only)) {
        let differs = animal.differs();
        let times = if animal.is_honest() { HONEST_RUNS } else { 1 };
        match differs.is_empty() {
            true => eprintln!(
                "as it says: {}, {times} run(s): code {}, `{}`",
                animal.name,
                animal.get("code"),
                animal.get("words")
            ),
            false => eprintln!("OTHERWISE: {}", animal.name),
        }
        found.extend(differs);
    }
    assert!(found.is_empty(), "{} differ:\n{}", found.len(), found.join("\n\n"));
}
