//! The command line: what there is to choose from, and the options of a run. Each action has a file, with its options.

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
pub mod options;
pub mod pin;
mod progress;
pub mod quorum;
pub mod recheck;
mod repeats;
pub mod report;
pub mod resources;
pub mod run;
pub mod running;
pub mod schema;
pub mod select;
mod signed;
pub mod spot;
pub mod tried;

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Args, Parser, Subcommand};
use record::exit::Require;
use record::operator::LAYERS;
use record::shard::Shard;

use self::commit::AfterArgs;
use self::options::{Gate, Selection};
use self::resources::{DeviceChoice, Resources};
use crate::failure::Failure;

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
    Pin(pin::PinArgs),
    /// List cases with shapes, bytes, flops, arithmetic, and whether they are pinned
    ///
    /// Without PATH the manifests that the program carries, a line each. `verify quickstart` runs one by its name in any
    /// folder; a file manifests/NAME.yaml in the current folder goes first.
    List(list::ListArgs),
    /// Try one layer of a checkpoint on this machine, without a manifest
    ///
    /// Prunes the matrix, runs the operator and the dense reference on it, compares them bit for bit, and the outputs of the
    /// perturbed inputs; then measures beside the libraries that are here. Nothing is committed for such a case, so that its
    /// best verdict is `unpinned`, with exit code 3: `verify new` writes its manifest, `verify pin` commits its digests.
    Try(tried::TryArgs),
    /// Write a commented manifest for one layer, or for matrices of a checkpoint on this machine, to begin with
    ///
    /// Goes to standard output, or with --out to a file, which must not be there. `verify list` shows its cases, `verify pin`
    /// commits their digests.
    New(new::NewArgs),
    /// Print the JSON Schema (2020-12) of a kind of file
    ///
    /// Editors complete and check a manifest whose first line is `# yaml-language-server: $schema=FILE`.
    Schema(schema::SchemaArgs),
    /// Print the completions of a shell
    ///
    /// bash: verify completions bash > ~/.local/share/bash-completion/completions/verify
    #[command(verbatim_doc_comment)]
    Completions(generated::CompletionsArgs),
    /// Write man pages, one for each command, into a folder
    ///
    /// `man -l DIR/verify.1` shows the first. They say what --help says.
    Man(generated::ManArgs),
    /// Write the manifests, committed digests, operators and schemas that the program carries into a folder
    ///
    /// Writes DIR/manifests, DIR/expected-hashes, DIR/operators and DIR/schemas. Nothing that differs is written over without --force.
    Eject(eject::EjectArgs),
    /// Check published claims against themselves: no hardware, no weights, no run
    ///
    /// Each finding is a line with the figures as they are printed, the rule and the arithmetic. A printed figure
    /// stands for all values that round to it. Exit code 1: there are findings.
    Lint(lint::LintArgs),
    /// Judge published claims by a record that was made earlier; runs no case
    ///
    /// The record keeps what was found and measured; sections and claims are those of the manifests now. Each figure
    /// is a line: the rule, a word, the arithmetic. A published speed is `attained` or `not-attained` by the open
    /// operator, and neither changes the exit code. Exit code 1: something does not hold by its own rule, or bits are
    /// refuted; 3: something could not be judged, or was not verified.
    Judge(judge::JudgeArgs),
    /// Write A and V of cases as .npy and safetensors, with --outputs also Y
    ///
    /// Each case has the folder DIR/MANIFEST/ID. f16 is NumPy's float16. bf16, which NumPy lacks, is BF16 in the
    /// safetensors file; in the .npy file its 16 bits stand as uint16.
    Inputs(inputs::InputsArgs),
    /// Write what somebody needs to compute outputs who has neither this program nor its code
    ///
    /// Each case has the folder DIR/MANIFEST/ID, with A, V and the perturbed V2 as .npy files and in inputs.safetensors.
    /// A1, the perturbed A, differs from A in one to three elements, which challenge.json lists; --full writes it whole.
    /// challenge.json says for each case the rule, the shapes and dtypes, and what to return: y of A V, rebuilt of A1 V,
    /// shifted of A V2, each as a .npy or safetensors file of that name in the case's folder. What is to be written is
    /// said before, and refused where the disk has no room for it. `verify check DIR` judges what comes back.
    Challenge(challenge::ChallengeArgs),
    /// Judge outputs that were made elsewhere; runs nobody's code
    ///
    /// `verify check DIR` judges the folder of a challenge that came back: A, V and the perturbation are made again from
    /// the manifest, and nothing in the folder is believed but the outputs. `verify check PATH --case ID --y FILE` judges
    /// single files. Each element, digest and perturbed output is judged as a run judges an operator's; record, reports
    /// and exit codes are those of a run.
    ///
    /// This shows whether the outputs are right. It does not show who made them, where, or how fast: a stated.json
    /// beside them ({"latency_ms": 0.52, "device": "..."}) is shown as stated, and nothing is judged by it.
    Check(check::CheckArgs),
    /// Join the records of a run's shards into the record of the whole, and exit as the whole would have
    ///
    /// Refuses records of other versions, options, manifests or committed digests, cases that two records have
    /// differently, and an incomplete set of shards.
    Merge(merge::MergeArgs),
    /// Render records as one HTML page or as Markdown; several are set side by side
    ///
    /// Reads the records only, and derives what follows from them anew. Without --html, --markdown and --csv, Markdown goes to
    /// stdout. The exit code is the worst that follows from the records; 1 also where two of them differ in a digest,
    /// in a verdict or in the word of a claim.
    Report(report::ReportArgs),
    /// Set operators side by side on the same cases: a record each, verdict, time, memory
    ///
    /// A line for each case of the first record and each operator; ratios are to the first record's. Reads the records
    /// only. The exit code is the worst that follows from them.
    Compare(compare::CompareArgs),
    /// Say why digests in a record differ
    ///
    /// Exit code: that which follows from the record.
    Explain(explain::ExplainArgs),
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
    Spot(spot::SpotArgs),
    /// Derive a record's verdict again, and set it beside the manifests and committed digests here
    ///
    /// Nothing is run. Digests are public, so that a record that was made up consistently passes: the best that is
    /// said is `consistent: nothing was re-derived`. Exit code: that which follows from the record; 2 if it
    /// contradicts itself, the manifests or the committed digests; at best 3 if a manifest of it is not here, or other
    /// digests are committed here.
    Recheck(recheck::RecheckArgs),
    /// Sign what a record says, or with --check look at what somebody signed
    ///
    /// Writes an in-toto Statement (test result v0.1) over the digests of record, program, manifests, committed digests and
    /// operator, and its SSH signature beside it (FILE.sig), which `ssh-keygen -Y verify` checks without this program. The
    /// statement follows from the record's bytes alone, so that it may be signed on another machine. A record that
    /// contradicts itself is refused.
    ///
    /// A signature shows whose key it was, and not that what was signed is true. Exit code of --check: that which follows
    /// from the statement; 2 if statement, signature, signer, record, manifest or version are not those asked for.
    Attest(attest::AttestArgs),
    /// Count signed statements together: who confirms which cases, and where they disagree
    ///
    /// One signer has one vote, and one machine has one; that machines are distinct is their own word. Statements of another
    /// version, manifest or set of committed digests are refused by name; who confirmed a digest has no part in that. Exit
    /// code 0: every required case has --need votes; 1: a case is refuted, or two found different digests; 3: votes are
    /// missing.
    Quorum(quorum::QuorumArgs),
    /// Write what will be tested before the nonce of the test exists: manifests, operator, outputs
    ///
    /// Publish the digest that is printed, or give it to the auditor. A nonce that exists only later, such as a round of a
    /// public beacon, is then bound to it by `verify challenge --after FILE` or `verify PATH --after FILE`.
    Commit(commit::CommitArgs),
    /// Say what this machine can verify and measure, and what is missing
    Doctor(doctor::DoctorArgs),
}

/// Layers that can be left out: folders of its own each process has in any case.
fn layers() -> PossibleValuesParser {
    let names = LAYERS.into_iter().filter(|(name, _)| *name != "folders");
    PossibleValuesParser::new(names.map(|(name, what)| PossibleValue::new(name).help(what)))
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
