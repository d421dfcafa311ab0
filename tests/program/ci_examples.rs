//! The examples of a gate on other people's schedulers are run as they are written.

use crate::common;
use std::collections::HashMap;

use crate::common::{Ran, Workbench, change_digit, repository, small};

/// A small manifest of two sections, a folder for programs that the examples call, and what they find in the
/// environment.
struct Ci {
    bench: Workbench,
    path: String,
}

impl Ci {
    fn new(refuted: bool) -> Ci {
        let bench = Workbench::pinned(&small());
        if refuted {
            let committed = bench.read("expected-hashes/small.yaml");
            let id = "later/up/uniform-50/b3/f32/f32-chain";
            bench.write("expected-hashes/small.yaml", &change_digit(&committed, id, "    a: "));
        }
        std::fs::create_dir(bench.path("bin")).expect("new");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_verify"), bench.path("bin/verify"))
            .expect("new");
        let inherited = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{inherited}", bench.path("bin").display());
        Ci { bench, path }
    }

    /// As a runner does: `bash -e`, in the folder.
    fn shell(&self, script: &str, env: &[(&str, String)]) -> Ran {
        let mut command = std::process::Command::new("bash");
        command.args(["-e", "-c", script]).current_dir(self.bench.path(""));
        command.env("PATH", &self.path).envs(env.iter().map(|(key, value)| (key, value)));
        common::ran(&mut command)
    }
}

#[derive(serde::Deserialize)]
struct Workflow {
    jobs: HashMap<String, Job>,
}

#[derive(serde::Deserialize)]
struct Job {
    strategy: Option<Strategy>,
    #[serde(default)]
    env: HashMap<String, String>,
    steps: Vec<Step>,
}

#[derive(serde::Deserialize)]
struct Strategy {
    matrix: HashMap<String, Vec<u16>>,
}

#[derive(serde::Deserialize)]
struct Step {
    name: Option<String>,
    uses: Option<String>,
    run: Option<String>,
    #[serde(default)]
    with: HashMap<String, serde_json::Value>,
}

fn workflow() -> Workflow {
    let text =
        std::fs::read_to_string(repository("examples/ci/github-actions.yml")).expect("there");
    serde_saphyr::from_str(&text).expect("a workflow")
}

/// The steps of a job that are commands, but for that which builds the program.
fn commands(job: &Job) -> Vec<&str> {
    let own = job.steps.iter().filter(|step| step.name.as_deref() != Some("Build"));
    own.filter_map(|step| step.run.as_deref()).collect()
}

/// `text` with the expressions of a runner replaced, none of which may be left.
fn evaluate(text: &str, index: u16, count: usize) -> String {
    let text = text
        .replace("${{ matrix.index }}", &index.to_string())
        .replace("${{ strategy.job-total }}", &count.to_string());
    assert!(!text.contains("${{"), "{text}");
    text
}

/// The exit codes of the shards and of the gate, as the workflow's steps give them.
fn run_workflow(ci: &Ci) -> (Vec<i32>, i32) {
    let workflow = workflow();
    let (shard, gate) = (&workflow.jobs["shard"], &workflow.jobs["gate"]);
    let indices = &shard.strategy.as_ref().expect("a matrix").matrix["index"];
    let records = ci.bench.path("records");
    std::fs::create_dir(&records).expect("new");
    let mut codes = Vec::new();
    for &index in indices {
        let evaluate = |text: &str| evaluate(text, index, indices.len());
        let env: Vec<(&str, String)> =
            shard.env.iter().map(|(key, value)| (key.as_str(), evaluate(value))).collect();
        for command in commands(shard) {
            codes.push(ci.shell(command, &env).code);
        }
        // What the upload and the download do.
        let upload = shard
            .steps
            .iter()
            .find(|step| step.uses.as_deref().is_some_and(|uses| uses.contains("upload-artifact")))
            .expect("records are uploaded");
        let path = evaluate(upload.with["path"].as_str().expect("a path"));
        std::fs::rename(ci.bench.path(&path), records.join(&path)).expect("it was written");
    }
    let mut summary =
        vec![("GITHUB_STEP_SUMMARY", ci.bench.path("summary.md").display().to_string())];
    summary.extend(gate.env.iter().map(|(key, value)| (key.as_str(), value.clone())));
    let mut code = 0;
    for command in commands(gate) {
        let ran = ci.shell(command, &summary);
        if command.contains("verify merge") {
            code = ran.code;
        } else if command.contains("verify report") {
            assert_eq!(ran.code, code, "as the record: {command}: {ran:?}");
        } else {
            // A summary of what was refuted says so with its code as well.
            assert!(ran.code == 0 || ran.code == code, "{command}: {ran:?}");
        }
    }
    (codes, code)
}

#[test]
fn the_example_for_github_actions_passes_and_fails_as_it_should() {
    let ci = Ci::new(false);
    assert_eq!(run_workflow(&ci), (vec![0; 4], 0));
    assert!(ci.bench.read("report.xml").contains(r#"tests="10""#));
    let ci = Ci::new(true);
    let (mut codes, gate) = run_workflow(&ci);
    codes.sort_unstable();
    assert_eq!((codes, gate), (vec![0, 0, 0, 1], 1));
}

#[test]
fn the_commands_of_the_examples_are_ones_that_the_program_knows() {
    use clap::Parser as _;
    let workflow = workflow();
    let mut seen = Vec::new();
    let slurm = std::fs::read_to_string(repository("examples/ci/slurm.sh")).expect("there");
    let slurm = slurm.replace("\\\n", " ");
    let lines = workflow.jobs.values().flat_map(commands).chain(slurm.lines());
    for line in lines.map(str::trim).filter(|line| line.starts_with("verify ")) {
        let line = line.split(" >> ").next().unwrap_or_default();
        // As a shell would leave them, with numbers for variables.
        let line = line
            .replace("${SLURM_CPUS_PER_TASK:-1}", "1")
            .replace("$SLURM_ARRAY_TASK_COUNT", "4")
            .replace("$COUNT", "4")
            .replace("$INDEX", "2")
            .replace("$index", "2")
            .replace('"', "");
        let words: Vec<&str> = line.split_whitespace().collect();
        if let Err(error) = sparse_verify::cli::Cli::try_parse_from(&words) {
            panic!("{line}: {error}");
        }
        seen.push(words[1].to_owned());
    }
    assert!(seen.len() >= 4, "{seen:?}");
    assert!(
        ["merge", "report"].iter().all(|command| seen.iter().any(|seen| seen == command)),
        "{seen:?}"
    );
}

/// The exit codes of the jobs that the script submits, in order.
fn run_slurm(ci: &Ci) -> Vec<i32> {
    std::fs::copy(repository("examples/ci/slurm.sh"), ci.bench.path("slurm.sh")).expect("there");
    // Runs what it is given at once, an array task by task, and notes each exit code.
    let sbatch = r#"#!/usr/bin/env bash
array=1-1
while [[ "$1" == --* ]]; do
    case "$1" in --array=*) array=${1#--array=} ;; --dependency=afterany:77) ;; --dependency=*) exit 9 ;; esac
    shift
done
for index in $(seq "${array%-*}" "${array#*-}"); do
    SLURM_ARRAY_TASK_ID=$index SLURM_ARRAY_TASK_COUNT=${array#*-} SLURM_CPUS_PER_TASK=1 bash "$@" >/dev/null
    echo $? >>codes
done
echo 77
"#;
    ci.bench.write("bin/sbatch", sbatch);
    let path = ci.bench.path("bin/sbatch");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(path, mode).expect("ours");
    let ran = ci.shell("./slurm.sh", &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    ci.bench.read("codes").lines().map(|line| line.parse().expect("a code")).collect()
}

#[test]
fn the_example_for_slurm_passes_and_fails_as_it_should() {
    let ci = Ci::new(false);
    assert_eq!(run_slurm(&ci), [0; 5]);
    assert_eq!(ci.bench.record("record.json").cases.len(), 10);
    let ci = Ci::new(true);
    let codes = run_slurm(&ci);
    assert_eq!(codes.iter().filter(|&&code| code == 1).count(), 2, "{codes:?}");
    assert_eq!(codes.last(), Some(&1), "the gate");
}
