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

/// What an example for Kubernetes may say: a key that is not here is mistyped, or new.
mod job {
    use serde::Deserialize;
    use std::collections::HashMap;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    pub struct Job {
        pub api_version: String,
        pub kind: String,
        pub metadata: Named,
        pub spec: Spec,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Named {
        pub name: String,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    pub struct Spec {
        pub completion_mode: Option<String>,
        pub completions: Option<u16>,
        pub parallelism: Option<u16>,
        pub backoff_limit: Option<u16>,
        pub backoff_limit_per_index: Option<u16>,
        pub active_deadline_seconds: Option<u32>,
        pub pod_failure_policy: Option<Policy>,
        pub template: Template,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Policy {
        pub rules: Vec<Rule>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    pub struct Rule {
        pub action: String,
        pub on_exit_codes: Codes,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Codes {
        pub operator: String,
        pub values: Vec<u8>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Template {
        pub spec: Pod,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    pub struct Pod {
        pub restart_policy: String,
        pub containers: Vec<Container>,
        pub volumes: Vec<Volume>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    pub struct Container {
        #[serde(rename = "name")]
        pub _name: String,
        pub image: String,
        pub command: Vec<String>,
        pub args: Vec<String>,
        pub env: Vec<Variable>,
        #[serde(default)]
        pub resources: HashMap<String, HashMap<String, String>>,
        pub volume_mounts: Vec<Mount>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Variable {
        pub name: String,
        /// Kubernetes takes text alone: `value: 4` would be refused.
        pub value: String,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    pub struct Mount {
        pub name: String,
        pub mount_path: String,
        #[serde(rename = "readOnly", default)]
        pub _read_only: bool,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    pub struct Volume {
        pub name: String,
        pub persistent_volume_claim: Option<HashMap<String, String>>,
        pub secret: Option<HashMap<String, String>>,
        pub config_map: Option<HashMap<String, String>>,
    }
}

fn kubernetes() -> Vec<job::Job> {
    let text = std::fs::read_to_string(repository("examples/ci/kubernetes.yaml")).expect("there");
    let jobs = text.split("\n---\n").map(|job| serde_saphyr::from_str(job).expect("a job"));
    jobs.collect()
}

#[test]
fn the_jobs_for_kubernetes_are_ones() {
    let jobs = kubernetes();
    let names: Vec<&str> = jobs.iter().map(|job| job.metadata.name.as_str()).collect();
    assert_eq!(names, ["verify-cpu", "verify-gpu", "verify-quorum"]);
    let mut records = 0;
    for job in &jobs {
        assert_eq!((&*job.api_version, &*job.kind), ("batch/v1", "Job"));
        let (spec, pod) = (&job.spec, &job.spec.template.spec);
        let [container] = &pod.containers[..] else { panic!("{}", job.metadata.name) };
        // A policy on exit codes asks for it.
        assert_eq!(pod.restart_policy, "Never");
        assert!(container.image.contains("sparse-verify:"));
        assert_eq!(container.command, ["bash", "-euc"]);
        // Each volume is mounted, each mount is of a volume, and each volume is of one kind.
        let mounted: Vec<&str> = container.volume_mounts.iter().map(|m| &*m.name).collect();
        let volumes: Vec<&str> = pod.volumes.iter().map(|volume| &*volume.name).collect();
        assert_eq!(mounted, volumes);
        assert!(container.volume_mounts.iter().all(|m| m.mount_path.starts_with('/')));
        for volume in &pod.volumes {
            let kinds = [&volume.persistent_volume_claim, &volume.secret, &volume.config_map];
            assert_eq!(kinds.into_iter().flatten().count(), 1, "{}", volume.name);
        }
        let value = |name: &str| {
            let found = container.env.iter().find(|variable| variable.name == name);
            found.map(|variable| variable.value.as_str())
        };
        let Some(completions) = spec.completions else {
            assert_eq!((spec.backoff_limit, spec.active_deadline_seconds), (Some(0), Some(7200)));
            assert_eq!(value("RECORDS"), Some(&*records.to_string()));
            continue;
        };
        records += completions;
        assert_eq!(spec.completion_mode.as_deref(), Some("Indexed"));
        assert_eq!(
            (spec.parallelism, value("SHARDS")),
            (Some(completions), Some(&*completions.to_string()))
        );
        assert!(spec.backoff_limit_per_index.is_some());
        let rules = &spec.pod_failure_policy.as_ref().expect("one").rules;
        let [rule] = &rules[..] else { panic!("one rule") };
        assert_eq!((&*rule.action, &*rule.on_exit_codes.operator), ("FailIndex", "In"));
        // What a run found is not tried again; a machine that failed is.
        assert_eq!(rule.on_exit_codes.values, [1, 2, 3]);
        let is_gpu =
            container.resources.get("limits").is_some_and(|l| l.contains_key("nvidia.com/gpu"));
        assert_eq!(value("DEVICE"), Some(if is_gpu { "all" } else { "cpu" }));
    }
}

/// The exit codes of all pods, in order; the quorum's is the last. The second job's machine has another description, if
/// `is_another`: here all of them are one.
fn run_kubernetes(ci: &Ci, is_another: bool) -> (Vec<i32>, String) {
    let folders = ["records", "keys-cpu", "keys-gpu", "signers"];
    folders.iter().for_each(|folder| std::fs::create_dir(ci.bench.path(folder)).expect("new"));
    let mut allowed = String::new();
    for (kind, key) in [("cpu", "ed25519"), ("gpu", "ecdsa256")] {
        let key = std::fs::read_to_string(repository(&format!("crates/attest/tests/keys/{key}")))
            .expect("there");
        ci.bench.write(&format!("keys-{kind}/id"), &key);
        let key = attest::signature::Key::read(key.as_bytes()).expect("a key");
        allowed.push_str(&format!("{kind} {}\n", key.public().text().expect("text")));
    }
    ci.bench.write("signers/allowed", &allowed);
    if is_another {
        // Another machine by its own word, which is all that a record has.
        std::fs::remove_file(ci.bench.path("bin/verify")).expect("ours");
        let own = env!("CARGO_BIN_EXE_verify");
        let wrapper = format!(
            "#!/usr/bin/env bash\nif [ \"$1\" = attest ] && [ \"$KIND\" = gpu ]; then\n    \
             sed -i 's/\"memory_bytes\":[0-9]*/\"memory_bytes\":1/' \"$2\"\nfi\nexec '{own}' \"$@\"\n"
        );
        ci.bench.write("bin/verify", &wrapper);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(ci.bench.path("bin/verify"), mode).expect("ours");
    }
    let (mut codes, mut said) = (Vec::new(), String::new());
    for job in kubernetes() {
        let container = &job.spec.template.spec.containers[0];
        let mut env: Vec<(&str, String)> = Vec::new();
        for variable in &container.env {
            let value = match variable.name.as_str() {
                "MANIFESTS" => "manifests",
                // No GPU for these: the shards of its job run on the processor.
                "DEVICE" => "cpu",
                _ => variable.value.as_str(),
            };
            env.push((&variable.name, value.to_owned()));
        }
        let kind = env.iter().find(|(name, _)| *name == "KIND").map_or("", |(_, kind)| kind);
        let script = container.args[0]
            .replace("/records/", "records/")
            .replace("/signers/", "signers/")
            .replace("/keys/", &format!("keys-{kind}/"));
        for index in 0..job.spec.completions.unwrap_or(1) {
            let own = [&env[..], &[("JOB_COMPLETION_INDEX", index.to_string())]].concat();
            let ran = ci.shell(&format!("set -u\n{script}"), &own);
            codes.push(ran.code);
            said = ran.stdout;
        }
    }
    (codes, said)
}

#[test]
fn the_example_for_kubernetes_passes_and_fails_as_it_should() {
    let (codes, said) = run_kubernetes(&Ci::new(false), true);
    assert_eq!(codes, [0; 7], "{said}");
    assert!(said.contains("2 signers, 2 machines by their own word"), "{said}");
    // One machine under two keys is one vote.
    let (codes, said) = run_kubernetes(&Ci::new(false), false);
    assert_eq!(codes, [0, 0, 0, 0, 0, 0, 3], "{said}");
    let (codes, said) = run_kubernetes(&Ci::new(true), true);
    assert_eq!(codes.iter().filter(|&&code| code == 1).count(), 3, "{codes:?} {said}");
    assert_eq!(codes.last(), Some(&1), "the gate: {said}");
    assert!(said.contains("later/up/uniform-50/b3/f32/f32-chain: refuted"), "{said}");
}

#[test]
fn the_example_that_a_forge_signs_writes_what_is_signed() {
    let text = std::fs::read_to_string(repository("examples/ci/github-attest.yml")).expect("there");
    let workflow: Workflow = serde_saphyr::from_str(&text).expect("a workflow");
    let job = &workflow.jobs["verify"];
    let ci = Ci::new(false);
    // Stands for cosign: all that it gets is the statement.
    ci.bench.write(
        "bin/cosign",
        "#!/usr/bin/env bash\necho \"$@\" >cosign.txt\ncp \"$4\" signed.json\n",
    );
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(ci.bench.path("bin/cosign"), mode).expect("ours");
    let has_jq = std::process::Command::new("jq").arg("--version").output().is_ok();
    for command in commands(job) {
        if command.contains("jq ") && !has_jq {
            use std::io::Write as _;
            let _ = writeln!(std::io::stderr(), "not run: parts of a statement (no jq)");
            continue;
        }
        let ran = ci.shell(command, &[]);
        assert_eq!(ran.code, 0, "{command}: {ran:?}");
    }
    let read = attest::statement::Statement::read(ci.bench.read("signed.json").as_bytes());
    let statement = read.expect("a statement");
    assert_eq!(statement.cases.len(), 10);
    assert!(!ci.bench.path("record.statement.json.sig").exists(), "nobody's key");
    if has_jq {
        let predicate: serde_json::Value =
            serde_json::from_str(&ci.bench.read("predicate.json")).expect("JSON");
        assert_eq!(predicate["result"], "PASSED");
        let record = contract::digest::Digest::of(ci.bench.read("record.json").as_bytes());
        let subjects = ci.bench.read("subjects.txt");
        assert!(subjects.lines().any(|line| line == format!("{record}  record")), "{subjects}");
    }
    // The types that are named are those of the statement.
    let attest = job.steps.iter().find(|step| step.name.as_deref() == Some("Attest"));
    let with = &attest.expect("a step").with;
    assert_eq!(with["predicate-type"], attest::statement::PREDICATE_TYPE);
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
