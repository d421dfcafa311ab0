//! The command line: definitions here, one file per action.

pub mod attest;
pub mod challenge;
pub mod check;
pub mod commit;
pub mod compare;
pub mod device;
pub mod doctor;
pub mod eject;
pub mod explain;
pub mod generated;
pub mod inputs;
pub mod judge;
pub mod lint;
pub mod list;
pub mod merge;
pub mod near;
pub mod new;
mod on_all;
mod operators;
pub mod pin;
mod progress;
pub mod quorum;
pub mod recheck;
mod repeats;
pub mod report;
pub mod run;
pub mod running;
pub mod schema;
pub mod select;
mod signed;
pub mod spot;
pub mod tried;

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

use crate::audit::{Auditor, HeldInputs};
use crate::backend::cpu::Isa;
use crate::failure::Failure;
use crate::operator;
use crate::output::note;
use crate::weights::Resolver;
use contract::words::quote;
use record::exit::Require;
use record::operator::LAYERS;
use record::shard::Shard;
use record::shared::SharedOutputs;

/// Verify performance claims about sparse operators, bit for bit.
///
/// `verify PATH...` regenerates the inputs of every case in the manifests, runs the operator
/// and the dense reference (Y = A V), compares SHA-256 digests and a perturbation test with
/// the committed values in expected-hashes/, measures, and prints one verdict per case.
#[derive(Parser, Debug)]
#[command(
    name = "verify",
    version,
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true,
    after_help = "Exit codes:\n  \
        0  everything required was verified\n  \
        1  something was refuted\n  \
        2  bad usage, bad manifest or bad weights file\n  \
        3  nothing refuted, but something required was not verified\n  \
        4  the environment failed (memory, disk, permissions, network)\n  \
        130 and 143  after INT and TERM\n\n\
        VERIFY.md is the specification that all digests follow."
)]
pub struct Cli {
    #[command(subcommand)]
    pub action: Option<Action>,
    #[command(flatten)]
    pub run: RunArgs,
}

#[derive(Subcommand, Debug)]
pub enum Action {
    /// Run cases and commit their digests to expected-hashes/ (its only writer)
    ///
    /// Shows the difference to what is committed and asks before it writes. With --record nothing is run and no
    /// digest is changed: committed digests are noted as confirmed by a run elsewhere.
    Pin(PinArgs),
    /// List cases with shapes, bytes, flops, arithmetic, and whether they are pinned
    ///
    /// Without PATH the manifests that the program carries, a line each. `verify quickstart` runs one by its name in any
    /// folder; a file manifests/NAME.yaml in the current folder goes first.
    List(ListArgs),
    /// Try one layer of a checkpoint on this machine, without a manifest
    ///
    /// Prunes the matrix, runs the operator and the dense reference on it, compares them bit for bit, and the outputs of the
    /// perturbed inputs; then measures beside the libraries that are here. Nothing is committed for such a case, so that its
    /// best verdict is `unpinned`, with exit code 3: `verify new` writes its manifest, `verify pin` commits its digests.
    Try(TryArgs),
    /// Write a commented manifest for one layer, or for matrices of a checkpoint on this machine, to begin with
    ///
    /// Goes to standard output, or with --out to a file, which must not be there. `verify list` shows its cases, `verify pin`
    /// commits their digests.
    New(NewArgs),
    /// Print the JSON Schema (2020-12) of a kind of file
    ///
    /// Editors complete and check a manifest whose first line is `# yaml-language-server: $schema=FILE`.
    Schema(SchemaArgs),
    /// Print the completions of a shell
    ///
    /// bash: verify completions bash > ~/.local/share/bash-completion/completions/verify
    #[command(verbatim_doc_comment)]
    Completions(CompletionsArgs),
    /// Write man pages, one for each command, into a folder
    ///
    /// `man -l DIR/verify.1` shows the first. They say what --help says.
    Man(ManArgs),
    /// Write the manifests, committed digests, operators and schemas that the program carries into a folder
    ///
    /// Writes DIR/manifests, DIR/expected-hashes, DIR/operators and DIR/schemas. Nothing that differs is written over without --force.
    Eject(EjectArgs),
    /// Check published claims against themselves: no hardware, no weights, no run
    ///
    /// Each finding is a line with the figures as they are printed, the rule and the arithmetic. A printed figure
    /// stands for all values that round to it. Exit code 1: there are findings.
    Lint(LintArgs),
    /// Judge published claims by a record that was made earlier; runs no case
    ///
    /// The record keeps what was found and measured; sections and claims are those of the manifests now. Each figure
    /// is a line: the rule, a word, the arithmetic. A published speed is `attained` or `not-attained` by the open
    /// operator, and neither changes the exit code. Exit code 1: something does not hold by its own rule, or bits are
    /// refuted; 3: something could not be judged, or was not verified.
    Judge(JudgeArgs),
    /// Write A and V of cases as .npy and safetensors, with --outputs also Y
    ///
    /// Each case has the folder DIR/MANIFEST/ID. f16 is NumPy's float16. bf16, which NumPy lacks, is BF16 in the
    /// safetensors file; in the .npy file its 16 bits stand as uint16.
    Inputs(InputsArgs),
    /// Write what somebody needs to compute outputs who has neither this program nor its code
    ///
    /// Each case has the folder DIR/MANIFEST/ID, with A, V and the perturbed V2 as .npy files and in inputs.safetensors.
    /// A1, the perturbed A, differs from A in one to three elements, which challenge.json lists; --full writes it whole.
    /// challenge.json says for each case the rule, the shapes and dtypes, and what to return: y of A V, rebuilt of A1 V,
    /// shifted of A V2, each as a .npy or safetensors file of that name in the case's folder. What is to be written is
    /// said before, and refused where the disk has no room for it. `verify check DIR` judges what comes back.
    Challenge(ChallengeArgs),
    /// Judge outputs that were made elsewhere; runs nobody's code
    ///
    /// `verify check DIR` judges the folder of a challenge that came back: A, V and the perturbation are made again from
    /// the manifest, and nothing in the folder is believed but the outputs. `verify check PATH --case ID --y FILE` judges
    /// single files. Each element, digest and perturbed output is judged as a run judges an operator's; record, reports
    /// and exit codes are those of a run.
    ///
    /// This shows whether the outputs are right. It does not show who made them, where, or how fast: a stated.json
    /// beside them ({"latency_ms": 0.52, "device": "..."}) is shown as stated, and nothing is judged by it.
    Check(CheckArgs),
    /// Join the records of a run's shards into the record of the whole, and exit as the whole would have
    ///
    /// Refuses records of other versions, options, manifests or committed digests, cases that two records have
    /// differently, and an incomplete set of shards.
    Merge(MergeArgs),
    /// Render records as one HTML page or as Markdown; several are set side by side
    ///
    /// Reads the records only, and derives what follows from them anew. Without --html, --markdown and --csv, Markdown goes to
    /// stdout. The exit code is the worst that follows from the records; 1 also where two of them differ in a digest,
    /// in a verdict or in the word of a claim.
    Report(ReportArgs),
    /// Set operators side by side on the same cases: a record each, verdict, time, memory
    ///
    /// A line for each case of the first record and each operator; ratios are to the first record's. Reads the records
    /// only. The exit code is the worst that follows from them.
    Compare(CompareArgs),
    /// Say why digests in a record differ
    ///
    /// Exit code: that which follows from the record.
    Explain(ExplainArgs),
    /// Make a few row panels of each case again, drawn by a nonce, and compare them with what is committed: seconds instead of
    /// minutes
    ///
    /// Of each case all of V is made, and those rows of A that K of the 64 row panels of the output need. The dense reference
    /// and the operator must give the committed digests of these panels. What cannot be seen in a part is said: digests of A
    /// are `not checked`, and where the magnitudes of all of A decide what stays of it, that is `assumed` by the committed
    /// last row or element, unless --all-rows reads all of it. Last comes how likely a share of wrong panels or cases was
    /// missed. The nonce should be a text that nobody could know when the digests were committed.
    ///
    /// Exit code 1: something is otherwise; 3: nothing could be looked at, or no panels are committed for a case.
    Spot(SpotArgs),
    /// Derive a record's verdict again, and set it beside the manifests and committed digests here
    ///
    /// Nothing is run. Digests are public, so that a record that was made up consistently passes: the best that is
    /// said is `consistent: nothing was re-derived`. Exit code: that which follows from the record; 2 if it
    /// contradicts itself, the manifests or the committed digests; at best 3 if a manifest of it is not here, or other
    /// digests are committed here.
    Recheck(RecheckArgs),
    /// Sign what a record says, or with --check look at what somebody signed
    ///
    /// Writes an in-toto Statement (test result v0.1) over the digests of record, program, manifests, committed digests and
    /// operator, and its SSH signature beside it (FILE.sig), which `ssh-keygen -Y verify` checks without this program. The
    /// statement follows from the record's bytes alone, so that it may be signed on another machine. A record that
    /// contradicts itself is refused.
    ///
    /// A signature shows whose key it was, and not that what was signed is true. Exit code of --check: that which follows
    /// from the statement; 2 if statement, signature, signer, record, manifest or version are not those asked for.
    Attest(AttestArgs),
    /// Count signed statements together: who confirms which cases, and where they disagree
    ///
    /// One signer has one vote, and one machine has one; that machines are distinct is their own word. Statements of another
    /// version, manifest or set of committed digests are refused by name; who confirmed a digest has no part in that. Exit
    /// code 0: every required case has --need votes; 1: a case is refuted, or two found different digests; 3: votes are
    /// missing.
    Quorum(QuorumArgs),
    /// Write what will be tested before the nonce of the test exists: manifests, operator, outputs
    ///
    /// Publish the digest that is printed, or give it to the auditor. A nonce that exists only later, such as a round of a
    /// public beacon, is then bound to it by `verify challenge --after FILE` or `verify PATH --after FILE`.
    Commit(CommitArgs),
    /// Say what this machine can verify and measure, and what is missing
    Doctor(DoctorArgs),
}

/// Which cases.
#[derive(Args, Debug, Clone)]
pub struct Selection {
    /// Manifests, or folders of manifests
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
    /// Only cases whose id matches (`*` matches any text, `/` included); may be repeated
    #[arg(long = "case", value_name = "GLOB")]
    pub cases: Vec<String>,
}

/// Where weights come from, and with how much machine.
#[derive(Args, Debug, Clone)]
pub struct Resources {
    /// Folder with weights files, looked at before the Hugging Face cache and the hub
    #[arg(long, value_name = "DIR")]
    pub weights: Option<PathBuf>,
    /// Never use the network: weights of models must be on this machine [also: HF_HUB_OFFLINE=1]
    #[arg(long)]
    pub offline: bool,
    /// Threads to use [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Run the operator on CUDA device N, on all of them with a case each at a time, or on the CPU [default: on the device
    /// that a manifest's platform names, where there is one, else on the CPU]
    #[arg(long, value_name = "N|all|cpu", value_parser = device)]
    pub device: Option<DeviceChoice>,
    /// Dispatch path of the CPU kernels; all give the same bits [default: the fastest here]
    #[arg(long, value_name = "ISA", value_parser = isa)]
    pub isa: Option<Isa>,
}

impl Resources {
    pub fn threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, |cores| cores.get());
        self.threads.map_or_else(cores, usize::from)
    }

    /// The `--device` that was given, as records keep it.
    pub fn device_text(&self) -> Option<String> {
        self.device.map(|choice| match choice {
            DeviceChoice::Cpu => "cpu".into(),
            DeviceChoice::Cuda(ordinal) => ordinal.to_string(),
            DeviceChoice::All => "all".into(),
        })
    }

    /// Where weights come from. On a terminal a bar shows what is fetched, unless `quiet`.
    pub fn resolver(&self, quiet: bool) -> Resolver {
        let mut resolver = Resolver::new(self.weights.clone(), self.offline);
        if let Some(hub) = resolver.hub.as_mut().filter(|_| !quiet) {
            // Draws nothing where stderr is no terminal.
            hub.bar = bytes_bar;
            hub.say = say_note;
        }
        if !quiet {
            resolver.say = say_note;
        }
        resolver
    }

    pub fn isa(&self) -> Isa {
        self.isa.unwrap_or_else(Isa::best)
    }

    /// Audits our own operator's bits on the CPU, and measures nothing.
    pub fn auditor(&self, quiet: bool) -> Auditor<'static> {
        crate::backend::cpu::make_pool();
        Auditor {
            isa: self.isa(),
            threads: self.threads(),
            nonce: None,
            measuring: None,
            device: None,
            stranger: None,
            weights: self.resolver(quiet),
            fetches_optional: true,
            operator: &operator::skip_operator,
            held: HeldInputs::default(),
            seen: SharedOutputs::default(),
        }
    }
}

fn say_note(what: &str) {
    note(&format!("note: {what}"));
}

/// A bar for so many bytes of a tensor, gone when it is dropped.
fn bytes_bar(tensor: &str, len: u64) -> ProgressBar {
    const TEMPLATE: &str =
        "{msg} {bar:30} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}";
    let bar = ProgressBar::with_draw_target(Some(len), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
        bar.set_style(style);
    }
    bar.set_message(format!("fetching {}", quote(tensor)));
    bar.with_finish(ProgressFinish::AndClear)
}

/// Where the operator runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceChoice {
    Cpu,
    Cuda(usize),
    /// Every CUDA device, each with cases of its own.
    All,
}

fn device(text: &str) -> Result<DeviceChoice, String> {
    match text {
        "cpu" => Ok(DeviceChoice::Cpu),
        "all" => Ok(DeviceChoice::All),
        number => number
            .parse()
            .map(DeviceChoice::Cuda)
            .map_err(|_| "expected the number of a CUDA device, `all` or `cpu`".into()),
    }
}

fn isa(text: &str) -> Result<Isa, String> {
    let known = || Isa::available().map(Isa::name).collect::<Vec<_>>().join(", ");
    match Isa::from_name(text) {
        Some(isa) if isa.is_available() => Ok(isa),
        Some(_) => Err(format!("this processor has no {text} (it has: {})", known())),
        None => Err(format!("not a dispatch path (known here: {})", known())),
    }
}

/// What [`Require`] is called on the command line.
fn require() -> impl TypedValueParser<Value = Require> {
    let help = |require| match require {
        Require::Bits => "Every required case's bits are verified",
        Require::Measurements => "And every required case was measured",
        Require::Claims => {
            "And every published claim was judged and holds by its own rule, attained by our operator or not"
        }
        Require::Isolation => {
            "Every required case's bits, and every layer of isolation around the operator under test"
        }
    };
    let values = Require::ALL.map(|known| PossibleValue::new(known.name()).help(help(known)));
    PossibleValuesParser::new(values).map(|name: String| {
        let known = Require::ALL.into_iter().find(|known| known.name() == name);
        known.unwrap_or_else(|| unreachable!("one of the values above"))
    })
}

/// Layers that can be left out: folders of its own each process has in any case.
fn layers() -> PossibleValuesParser {
    let names = LAYERS.into_iter().filter(|(name, _)| *name != "folders");
    PossibleValuesParser::new(names.map(|(name, what)| PossibleValue::new(name).help(what)))
}

/// What the exit code goes by.
#[derive(Args, Debug, Clone)]
pub struct Gate {
    /// What must be shown for exit code 0
    #[arg(long, value_name = "WHAT", value_parser = require(), default_value = "bits")]
    pub require: Require,
    /// Sections marked `required: false` count too
    #[arg(long)]
    pub strict: bool,
}

#[derive(Args, Debug, Clone)]
pub struct RunArgs {
    #[command(flatten)]
    pub selection: Selection,
    /// Run the I-th of N shards of the selected cases; `verify merge` joins their records
    ///
    /// Shards are disjoint, complete, the same on every machine, and balanced by an estimate of their work. Cases on
    /// the same weights stay together. A shard without cases succeeds.
    #[arg(long, value_name = "I/N")]
    pub shard: Option<Shard>,
    /// Run N whole cases of each manifest, drawn by a nonce, instead of all
    ///
    /// Those of the selected cases with the least SHA-256 of nonce, line break and id. Cases that are not required are drawn
    /// with --strict, or where no other ones are selected. Summary, record and JUnit say how many of how many were drawn, by
    /// which nonce, and how likely a share of wrong cases was missed. Exit code 0 is about the sample alone. `verify spot` looks
    /// at a part of every case instead.
    #[arg(long, value_name = "N", conflicts_with = "shard", value_parser = clap::value_parser!(u32).range(1..))]
    pub sample: Option<u32>,
    /// The text by which --sample draws [default: that of --nonce, or else a random one, which is printed and recorded]
    ///
    /// Perturbations are drawn from --nonce alone. With --resume and neither of them it is the record's.
    #[arg(long, value_name = "TEXT", requires = "sample")]
    pub sample_nonce: Option<String>,
    /// Write the record of the run here, case by case; `-` is standard output, at the end, with the table on standard error
    #[arg(long, value_name = "PATH")]
    pub json: Option<PathBuf>,
    /// Write a JUnit report here; begun at the start, so that cases that are missing are errors
    #[arg(long, value_name = "PATH")]
    pub junit: Option<PathBuf>,
    /// The operator under test, by its file or by the name of one in `operators/` [default: the open operator]
    ///
    /// Cases are those that its file claims, of those selected. It runs in processes of its own, behind walls that the
    /// record names; docs/operators.md describes the file.
    #[arg(long, value_name = "NAME|FILE")]
    pub operator: Option<String>,
    /// The Python that runs it, by path or by name on PATH [default: as its file says]
    #[arg(long, value_name = "PROGRAM", requires = "operator")]
    pub interpreter: Option<String>,
    /// Leave a layer of isolation out, where a system or a driver does not stand it; the headline says so
    #[arg(long, value_name = "LAYER", requires = "operator", value_parser = layers())]
    pub isolation_off: Vec<String>,
    /// Perturb at positions drawn from this text too, which nobody could know beforehand; it draws --sample as well
    #[arg(long, value_name = "TEXT")]
    pub nonce: Option<String>,
    #[command(flatten)]
    pub after: AfterArgs,
    /// Continue the run whose record is at --json
    ///
    /// Exactly what was asked then, by the same build: cases that were not run, or were cut off, are run now.
    #[arg(long, requires = "json", conflicts_with = "force")]
    pub resume: bool,
    /// Write over a record that is at --json
    #[arg(long, requires = "json")]
    pub force: bool,
    #[command(flatten)]
    pub gate: Gate,
    #[command(flatten)]
    pub resources: Resources,
    /// Download weights of cases that are not required too
    #[arg(long, conflicts_with = "offline")]
    pub fetch: bool,
    /// Verify bits only
    #[arg(long)]
    pub no_measure: bool,
    /// Measure on other hardware than a manifest names as well; claims about times are not judged by that
    #[arg(long, conflicts_with = "no_measure")]
    pub any_platform: bool,
    /// Only cases that are not verified, and the summary
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
    /// All digests, the plan and the perturbation of each case
    #[arg(short, long)]
    pub verbose: bool,
}

impl RunArgs {
    /// Refuses what no run can give.
    pub fn check(&self) -> Result<(), Failure> {
        if self.no_measure && self.gate.require == Require::Measurements {
            return Err(Failure::bad_input(
                "--require measurements asks for what --no-measure leaves out\n\
                 hint: leave --no-measure out, or gate on bits alone with --require bits",
            ));
        }
        if self.operator.is_some() && self.resources.device == Some(DeviceChoice::All) {
            return Err(Failure::bad_input(
                "--device all: an operator under test runs on one device\nhint: leave --device out, or give its number",
            ));
        }
        if self.gate.require == Require::Isolation && self.operator.is_none() {
            return Err(Failure::bad_input(
                "--require isolation is about an operator under test\nhint: name it with --operator",
            ));
        }
        Ok(())
    }
}

/// The commitment that a nonce was drawn after.
#[derive(Args, Debug, Clone)]
pub struct AfterArgs {
    /// The commitment that was made before the nonce existed, written by `verify commit`
    #[arg(long, value_name = "COMMIT", requires_all = ["nonce", "nonce_source"])]
    pub after: Option<PathBuf>,
    /// Where the nonce is from: words, drand:CHAIN:ROUND:RANDOMNESS (and :SIGNATURE), or bitcoin:HEIGHT:HASH
    ///
    /// Of the last two the form is checked without a network, that the nonce is the randomness or the hash, and, of drand
    /// chains whose times are known, that the round is later than the commitment.
    #[arg(long, value_name = "TEXT", requires = "after")]
    pub nonce_source: Option<String>,
}

#[derive(Args, Debug, Clone)]
pub struct AttestArgs {
    /// A record written with --json
    #[arg(value_name = "RECORD", required_unless_present = "check", conflicts_with = "check")]
    pub record_path: Option<PathBuf>,
    /// The private key, ed25519 or ecdsa, in OpenSSH's format; its passphrase is asked on the terminal
    #[arg(long, value_name = "FILE", required_unless_present_any = ["check", "unsigned"])]
    pub key: Option<PathBuf>,
    /// Write the statement alone: for cosign, a forge's own attestations, or `ssh-keygen -Y sign` elsewhere
    #[arg(long, conflicts_with_all = ["key", "check"])]
    pub unsigned: bool,
    /// Have `ssh-keygen -Y sign` sign: for keys behind a FIDO token, and with a .pub file for --key those in an agent
    #[arg(long, requires = "key")]
    pub with_ssh_keygen: bool,
    /// Write the statement here, and its signature to FILE.sig [default: RECORD with the ending .statement.json]
    #[arg(long, value_name = "FILE", requires = "record_path")]
    pub out: Option<PathBuf>,
    /// Look at a signed statement instead
    #[arg(long, value_name = "STATEMENT", requires = "signers", conflicts_with_all = ["key", "out"])]
    pub check: Option<PathBuf>,
    /// The signer must be of this name
    #[arg(long, value_name = "NAME", requires = "check")]
    pub identity: Option<String>,
    /// The statement must be of this record
    #[arg(long, value_name = "RECORD", requires = "check")]
    pub record: Option<PathBuf>,
    #[command(flatten)]
    pub trust: signed::Trust,
    #[command(flatten)]
    pub printed: Printed,
}

#[derive(Args, Debug, Clone)]
pub struct QuorumArgs {
    /// Signed statements, each with its signature beside it
    #[arg(value_name = "STATEMENT", required = true)]
    pub statements: Vec<PathBuf>,
    /// Votes that a case needs
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub need: u16,
    #[command(flatten)]
    pub trust: signed::Trust,
    /// Only cases whose id matches (`*` matches any text, `/` included); may be repeated
    #[arg(long = "case", value_name = "GLOB")]
    pub cases: Vec<String>,
    /// Sections marked `required: false` count too
    #[arg(long)]
    pub strict: bool,
    #[command(flatten)]
    pub printed: Printed,
}

#[derive(Args, Debug, Clone)]
pub struct CommitArgs {
    /// Manifests, or folders of manifests, whose cases will be asked for
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
    /// The operator under test, by its file or by the name of one in `operators/` [default: the open operator]
    #[arg(long, value_name = "NAME|FILE")]
    pub operator: Option<String>,
    /// A folder of outputs that were made already, laid out as that of a challenge: the digest of each y in it
    #[arg(long, value_name = "DIR")]
    pub outputs: Option<PathBuf>,
    /// Write to this file, which must not be there
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

#[derive(Args, Debug, Clone)]
pub struct PinArgs {
    #[command(flatten)]
    pub selection: Selection,
    #[command(flatten)]
    pub resources: Resources,
    /// Add what the record of a run elsewhere confirms; refuses one that differs in a digest
    #[arg(long, value_name = "RECORD", conflicts_with_all = ["weights", "threads", "device", "isa"])]
    pub record: Option<PathBuf>,
    /// The signed statement of that record: confirmations then name who signed it, and are marked `unsigned` otherwise
    #[arg(long, value_name = "STATEMENT", requires = "record", requires = "signers")]
    pub attestation: Option<PathBuf>,
    /// Who may sign: OpenSSH's file of allowed signers
    #[arg(long, value_name = "FILE", requires = "attestation")]
    pub signers: Option<PathBuf>,
    /// Write without asking
    #[arg(long)]
    pub yes: bool,
}

#[derive(Args, Debug, Clone)]
pub struct ListArgs {
    /// Manifests, or folders of manifests [default: those that the program carries, without their cases]
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Only cases whose id matches (`*` matches any text, `/` included); may be repeated
    #[arg(long = "case", value_name = "GLOB")]
    pub cases: Vec<String>,
    /// Operators that can be put to the test by name, instead of cases
    #[arg(long, conflicts_with_all = ["paths", "cases", "claims"])]
    pub operators: bool,
    #[command(flatten)]
    pub printed: Printed,
    /// Published claims instead of cases: their figures as printed, and the cases that stand for them
    #[arg(long)]
    pub claims: bool,
    /// Every number of the pages that the manifests account for: by which claim and rule it is judged, or why not
    #[arg(long, conflicts_with_all = ["cases", "claims", "operators"])]
    pub page: bool,
}

/// How data is printed.
#[derive(Args, Debug, Clone)]
pub struct Printed {
    /// As text for people, or as one JSON document whose keys docs/json.md describes
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

impl Printed {
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }
}

/// Forms of printed data.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

#[derive(Args, Debug, Clone)]
#[command(group = ArgGroup::new("of").args(["checkpoint", "shape"]).required(true))]
pub struct NewArgs {
    /// A safetensors file, an index of some, or a model in Hugging Face's cache, with --tensor
    #[arg(value_name = CHECKPOINT, requires = "tensors")]
    pub checkpoint: Option<String>,
    /// A matrix of the checkpoint; may be repeated
    #[arg(long = "tensor", value_name = "NAME", requires = "checkpoint")]
    pub tensors: Vec<String>,
    /// Rows and columns of an A that is drawn, such as 14336x4096
    #[arg(long, value_name = "MxK", value_parser = shape)]
    pub shape: Option<(u64, u64)>,
    /// Values of an A that is drawn: uniform, heavy-tailed, binomial or wide [default: heavy-tailed, or binomial where sums are
    /// exact]
    #[arg(long, value_name = "VALUES", requires = "shape")]
    pub values: Option<String>,
    /// The layer's name, where A is drawn
    #[arg(long, value_name = "NAME", default_value = "layer", conflicts_with = "checkpoint")]
    pub layer: String,
    #[command(flatten)]
    pub case: CaseArgs,
    /// Write to this file, which must not be there [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// How a checkpoint is named.
const CHECKPOINT: &str = "FILE|ORG/NAME[@COMMIT]";

#[derive(Args, Debug, Clone)]
pub struct TryArgs {
    /// A safetensors file, an index of some, or a model in Hugging Face's cache
    #[arg(value_name = CHECKPOINT)]
    pub checkpoint: String,
    /// The matrix of it that becomes A
    #[arg(long, value_name = "NAME")]
    pub tensor: String,
    #[command(flatten)]
    pub case: CaseArgs,
    /// The operator under test, by its file or by the name of one in `operators/` [default: the open operator]
    #[arg(long, value_name = "NAME|FILE")]
    pub operator: Option<String>,
    /// The Python that runs it, by path or by name on PATH [default: as its file says]
    #[arg(long, value_name = "PROGRAM", requires = "operator")]
    pub interpreter: Option<String>,
    /// Write the record here; `-` is standard output, at the end, with the table on standard error
    #[arg(long, value_name = "PATH")]
    pub json: Option<PathBuf>,
    /// Write over a record that is at --json
    #[arg(long, requires = "json")]
    pub force: bool,
    /// Bits only
    #[arg(long)]
    pub no_measure: bool,
    /// All digests, the plan and the perturbation
    #[arg(short, long)]
    pub verbose: bool,
    #[command(flatten)]
    pub resources: Resources,
}

/// What a layer's cases are like.
#[derive(Args, Debug, Clone)]
pub struct CaseArgs {
    /// Columns of V; several with commas
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "128")]
    pub batch: Vec<u64>,
    /// Share of zeros, such as 0.8; several with commas
    #[arg(long, value_name = "S", value_delimiter = ',', default_value = "0.8")]
    pub sparsity: Vec<String>,
    /// Which elements become zero: uniform, row-magnitude, element-magnitude, power-law, block32, dead-experts2048, two-of-four
    /// or none
    #[arg(long, value_name = "PATTERN", default_value = "row-magnitude")]
    pub pattern: String,
    /// f32, bf16 or f16; several with commas [default: f32, or as the checkpoint stores it]
    #[arg(long, value_name = "DTYPE", value_delimiter = ',')]
    pub dtype: Vec<String>,
    /// The rule of the sums: f32-chain, fixed-point-24, exact, bounded or tensor-core-hopper (volta, turing, ampere, ada, blackwell, amx-bf16, avx512-bf16)
    #[arg(long, value_name = "RULE", default_value = "f32-chain")]
    pub arithmetic: String,
    /// What inputs are drawn from, and the perturbation
    #[arg(long, value_name = "SEED", default_value_t = 42)]
    pub seed: u64,
}

/// `14336x4096`.
fn shape(text: &str) -> Result<(u64, u64), String> {
    let parts = text.split_once('x').and_then(|(m, k)| Some((m.parse().ok()?, k.parse().ok()?)));
    parts.ok_or_else(|| "expected rows and columns, such as 14336x4096".into())
}

#[derive(Args, Debug, Clone)]
pub struct SchemaArgs {
    #[arg(value_name = "KIND", value_parser = PossibleValuesParser::new(schema::SCHEMAS.map(|(kind, _)| kind)))]
    pub kind: String,
}

#[derive(Args, Debug, Clone)]
pub struct CompletionsArgs {
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

#[derive(Args, Debug, Clone)]
pub struct ManArgs {
    /// The folder, which is made where it is not there
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}

#[derive(Args, Debug, Clone)]
pub struct EjectArgs {
    /// Where they are written
    #[arg(value_name = "DIR", default_value = ".")]
    pub folder: PathBuf,
    /// Write over files that differ
    #[arg(long)]
    pub force: bool,
}

#[derive(Args, Debug, Clone)]
pub struct LintArgs {
    /// Manifests, or folders of manifests; sums are of all that are given
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
    /// One claim alone: its sources and figures, every rule that looks at it, and the strongest reading in the publisher's
    /// favour of each finding
    #[arg(long, value_name = "ID")]
    pub explain: Option<String>,
    #[command(flatten)]
    pub printed: Printed,
}

#[derive(Args, Debug, Clone)]
pub struct JudgeArgs {
    #[command(flatten)]
    pub selection: Selection,
    /// The record, written with --json
    #[arg(long, value_name = "RECORD")]
    pub record: PathBuf,
    /// Write the record with its claims judged here
    #[arg(long, value_name = "PATH")]
    pub json: Option<PathBuf>,
    #[command(flatten)]
    pub printed: Printed,
    #[command(flatten)]
    pub resources: Resources,
}

#[derive(Args, Debug, Clone)]
pub struct InputsArgs {
    #[command(flatten)]
    pub selection: Selection,
    #[command(flatten)]
    pub resources: Resources,
    /// Folder to write to
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Also Y = A V, by our operator (y.npy) and by the dense reference (dense.npy)
    #[arg(long)]
    pub outputs: bool,
}

#[derive(Args, Debug, Clone)]
pub struct ChallengeArgs {
    #[command(flatten)]
    pub selection: Selection,
    #[command(flatten)]
    pub resources: Resources,
    /// Folder to write to; one that holds something is refused
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Perturb at positions drawn from this text too, which nobody could know beforehand
    #[arg(long, value_name = "TEXT")]
    pub nonce: Option<String>,
    #[command(flatten)]
    pub after: AfterArgs,
    /// Write A1 whole, too
    #[arg(long)]
    pub full: bool,
    /// Write into a folder that holds something; outputs that answered an earlier challenge there are removed
    #[arg(long)]
    pub force: bool,
}

#[derive(Args, Debug, Clone)]
pub struct CheckArgs {
    /// The folder of a challenge that came back; with --y a manifest
    #[arg(value_name = "DIR|PATH")]
    pub path: PathBuf,
    /// Only cases whose id matches (`*` matches any text, `/` included); may be repeated. With --y the id of one case
    #[arg(long = "case", value_name = "GLOB")]
    pub cases: Vec<String>,
    /// The manifest that the challenge was written from, where it is not at the place that challenge.json names
    #[arg(long, value_name = "PATH", conflicts_with = "y")]
    pub manifest: Vec<PathBuf>,
    /// File of Y = A V, .npy or safetensors. Without --rebuilt and --shifted nothing perturbed is asked for, and the
    /// headline says so
    #[arg(long, value_name = "FILE", requires = "cases")]
    pub y: Option<PathBuf>,
    /// An operator file of kind `outputs`: who made them, by which name and version, and what is claimed of them. Cases are
    /// those that it claims; the headline and the record name it
    #[arg(long, value_name = "FILE")]
    pub operator: Option<PathBuf>,
    /// File of A1 V
    #[arg(long, value_name = "FILE", requires = "y")]
    pub rebuilt: Option<PathBuf>,
    /// File of A V2
    #[arg(long, value_name = "FILE", requires = "y")]
    pub shifted: Option<PathBuf>,
    /// The text that the perturbation was drawn from; a challenge of another one is refused
    #[arg(long, value_name = "TEXT")]
    pub nonce: Option<String>,
    /// The commitment that a challenge names, which its manifests, the operator of --operator and outputs are set beside
    #[arg(long, value_name = "COMMIT", conflicts_with = "y")]
    pub after: Option<PathBuf>,
    /// Write the record here, case by case; `-` is standard output, at the end, with the table on standard error
    #[arg(long, value_name = "PATH")]
    pub json: Option<PathBuf>,
    /// Write a JUnit report here
    #[arg(long, value_name = "PATH")]
    pub junit: Option<PathBuf>,
    /// Write over a record that is at --json
    #[arg(long, requires = "json")]
    pub force: bool,
    /// Sections marked `required: false` count too
    #[arg(long)]
    pub strict: bool,
    #[command(flatten)]
    pub resources: Resources,
    /// Only cases that are not verified, and the summary
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
    /// All digests and the perturbation of each case
    #[arg(short, long)]
    pub verbose: bool,
}

#[derive(Args, Debug, Clone)]
pub struct MergeArgs {
    /// Records written with --shard and --json
    #[arg(value_name = "RECORD", required = true)]
    pub records: Vec<PathBuf>,
    /// Write the record of the whole here
    #[arg(long, value_name = "PATH")]
    pub json: PathBuf,
    /// Write a JUnit report of the whole here
    #[arg(long, value_name = "PATH")]
    pub junit: Option<PathBuf>,
    /// Join an incomplete set: what is missing is named, and the exit code is 3 at best
    #[arg(long)]
    pub partial: bool,
    #[command(flatten)]
    pub gate: Gate,
}

#[derive(Args, Debug, Clone)]
pub struct ReportArgs {
    /// Records written with --json
    #[arg(value_name = "RECORD", required = true)]
    pub records: Vec<PathBuf>,
    /// Write one self-contained page here: nothing is fetched, and it is read without scripts as well
    #[arg(long, value_name = "OUT")]
    pub html: Option<PathBuf>,
    /// Write Markdown for a pull request or a summary here, or to stdout (`-`, or without OUT)
    #[arg(long, value_name = "OUT", num_args = 0..=1, default_missing_value = "-")]
    pub markdown: Option<PathBuf>,
    /// Write cases.csv, times.csv, samples.csv and claims.csv into this folder, with times in ns, sizes in bytes and
    /// energy in J; text that a spreadsheet would take for a formula has a ' before it
    #[arg(long, value_name = "FOLDER")]
    pub csv: Option<PathBuf>,
}

#[derive(Args, Debug, Clone)]
pub struct CompareArgs {
    /// Records written with --json, each of an operator of its own
    #[arg(value_name = "RECORD", required = true, num_args = 2..)]
    pub records: Vec<PathBuf>,
    /// Write CSV here, with times in ns and sizes in bytes; `-` is standard output
    #[arg(long, value_name = "OUT", conflicts_with = "format")]
    pub csv: Option<PathBuf>,
    #[command(flatten)]
    pub printed: Printed,
}

#[derive(Args, Debug, Clone)]
pub struct ExplainArgs {
    /// A record written with --json
    #[arg(value_name = "RECORD")]
    pub record: PathBuf,
    /// Only cases whose id matches
    #[arg(long = "case", value_name = "GLOB")]
    pub cases: Vec<String>,
    #[command(flatten)]
    pub printed: Printed,
}

#[derive(Args, Debug, Clone)]
pub struct SpotArgs {
    #[command(flatten)]
    pub selection: Selection,
    #[command(flatten)]
    pub resources: Resources,
    /// Cases of each manifest that are drawn [default: all]
    #[arg(long = "cases", value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub sample: Option<u16>,
    /// Row panels of each case that are drawn
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub panels: u8,
    /// The text by which cases and panels are drawn [default: a random one, which is printed]
    #[arg(long, value_name = "TEXT")]
    pub nonce: Option<String>,
    /// Compare with what this record says instead of with what is committed
    #[arg(long, value_name = "RECORD")]
    pub record: Option<PathBuf>,
    /// Read all of A where its magnitudes decide what stays
    #[arg(long)]
    pub all_rows: bool,
    /// Also cases that are not required and need weights of a model: get these
    #[arg(long)]
    pub fetch: bool,
    #[command(flatten)]
    pub printed: Printed,
}

#[derive(Args, Debug, Clone)]
pub struct RecheckArgs {
    /// Records written with --json
    #[arg(value_name = "RECORD", required = true)]
    pub records: Vec<PathBuf>,
    /// Manifests, or folders of manifests, that the records are set beside
    #[arg(long, value_name = "PATH", default_value = "manifests")]
    pub manifests: Vec<PathBuf>,
    #[command(flatten)]
    pub printed: Printed,
}

/// A bf16 instruction of CPUs.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstructionName {
    /// TDPBF16PS
    AmxBf16,
    /// VDPBF16PS
    #[value(name = "avx512-bf16")]
    Avx512Bf16,
}

#[derive(Args, Debug, Clone)]
pub struct DoctorArgs {
    /// Find out which arithmetic each library follows on this machine
    #[arg(long)]
    pub arithmetic: bool,
    /// Have the tensor cores of a CUDA device compute chained dot products, write them to FILE, and say which models
    /// they refute; nothing else is examined
    ///
    /// Each set is computed by mma.sync, by our own operator, and by cuBLAS where it is installed. Exit code 1: an
    /// output is not that of the device's published model.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["arithmetic", "format"], group = "on_a_device")]
    pub vectors: Option<PathBuf>,
    /// With --vectors: have this processor's own bf16 instruction compute them, in place of a device's tensor cores
    ///
    /// Exit code 1: an output is not that of the instruction's rule; 4: the processor has no such instruction.
    #[arg(long, value_name = "NAME", requires = "vectors", conflicts_with = "device")]
    pub instruction: Option<InstructionName>,
    /// Draw published inputs whose recipe is known again, and compare their digests with the published ones;
    /// nothing else is examined
    ///
    /// What PyTorch's generators drew on devices named in the publications. Uniform tensors are drawn on the CPU,
    /// normal ones need a CUDA device of any kind. Exit code 1: a digest is another; 3: one could not be made here.
    #[arg(long, conflicts_with = "arithmetic", group = "on_a_device")]
    pub published: bool,
    /// The CUDA device for --vectors and --published
    #[arg(long, value_name = "N", default_value_t = 0, requires = "on_a_device")]
    pub device: usize,
    #[command(flatten)]
    pub printed: Printed,
}
