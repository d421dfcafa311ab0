//! The processes; in the one that works: parse, dispatch, error -> exit code.

use std::process::ExitCode;

use clap::Parser;
use record::exit::{self, BAD_INPUT, ENVIRONMENT};
use sparse_verify::baseline::Host;
use sparse_verify::cli::{
    Action, Cli, attest, challenge, check, commit, compare, doctor, eject, explain, generated,
    inputs, judge, lint, list, merge, near, new, pin, quorum, recheck, report, run, schema, spot,
    tried,
};
use sparse_verify::failure::Failure;
use sparse_verify::output::{self, note};
use sparse_verify::own_folder::OwnFolder;
use sparse_verify::supervise::{self, AFTER, After, JOURNAL, Role};
use sparse_verify::worker::{self, Channel};
use sparse_verify::{interrupt, panics};

fn main() -> ExitCode {
    if let Some(taken) = worker::role() {
        return work_for_another(taken);
    }
    worker::allow();
    let ended = match supervise::role() {
        Ok(Role::Parent) => {
            // Where a run notes its progress if its record is nowhere else: gone with this process.
            let folder = OwnFolder::new().ok();
            let journal = folder.as_ref().map(|folder| folder.path().join("journal.json"));
            let variables = journal.map(|path| (JOURNAL.into(), path.into_os_string()));
            supervise::supervise(variables.into_iter().collect(), &mut |death| {
                note(&format!("error: {death}"));
                After::Again { variables: vec![(AFTER.into(), death.to_string().into())] }
            })
        }
        Ok(Role::Child | Role::Alone) => {
            interrupt::listen();
            supervise::end(program())
        }
        Err(message) => Err(message),
    };
    ExitCode::from(ended.unwrap_or_else(|message| {
        note(&format!("error: {message}"));
        ENVIRONMENT
    }))
}

/// A worker's life. Its exit status is nobody's verdict.
fn work_for_another(taken: Result<(Host, Channel), String>) -> ExitCode {
    panics::note_places();
    let served = taken.and_then(|(host, channel)| {
        worker::serve(host, &channel).map_err(|error| error.to_string())
    });
    match served {
        // No exit handler of a loaded library is run.
        Ok(()) => supervise::end(exit::VERIFIED),
        Err(message) => {
            note(&format!("error: {message}"));
            supervise::end(ENVIRONMENT)
        }
    }
}

/// The work, and the code that it ends with.
fn program() -> u8 {
    panics::note_places();
    // Nothing is used after a panic but standard output, which is written at once.
    let ended = panics::catch(work).unwrap_or_else(|panicked| Err(Failure::environment(panicked)));
    let code = ended.as_ref().map_or_else(|failure| failure.code, |&code| code);
    let failures = [ended.err(), output::result().err()];
    failures.into_iter().flatten().fold(code, |code, failure| {
        note(&format!("error: {failure}"));
        exit::worse(code, failure.code)
    })
}

fn work() -> Result<u8, Failure> {
    all_text()?;
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version are data; anything else is bad usage.
        Err(error) if !error.use_stderr() => {
            near::print_help(&error);
            return Ok(exit::VERIFIED);
        }
        Err(error) => {
            near::print_usage_error(&error);
            return Ok(BAD_INPUT);
        }
    };
    sparse_verify::backend::cpu::keep_freed_memory();
    if cli.action.is_some() && std::env::var_os(AFTER).is_some() {
        // Only a run has parts that can still be done.
        return Ok(ENVIRONMENT);
    }
    match cli.action {
        None => run::run(&cli.run),
        Some(Action::Pin(args)) => pin::run(&args),
        Some(Action::List(args)) => list::run(&args),
        Some(Action::Try(args)) => tried::run(&args),
        Some(Action::New(args)) => new::run(&args),
        Some(Action::Schema(args)) => schema::run(&args),
        Some(Action::Eject(args)) => eject::run(&args),
        Some(Action::Completions(args)) => generated::completions(&args),
        Some(Action::Man(args)) => generated::man(&args),
        Some(Action::Lint(args)) => lint::run(&args),
        Some(Action::Judge(args)) => judge::run(&args),
        Some(Action::Report(args)) => report::run(&args),
        Some(Action::Inputs(args)) => inputs::run(&args),
        Some(Action::Challenge(args)) => challenge::run(&args),
        Some(Action::Check(args)) => check::run(&args),
        Some(Action::Merge(args)) => merge::run(&args),
        Some(Action::Compare(args)) => compare::run(&args),
        Some(Action::Explain(args)) => explain::run(&args),
        Some(Action::Attest(args)) => attest::run(&args),
        Some(Action::Quorum(args)) => quorum::run(&args),
        Some(Action::Commit(args)) => commit::run(&args),
        Some(Action::Recheck(args)) => recheck::run(&args),
        Some(Action::Spot(args)) => spot::run(&args),
        Some(Action::Doctor(args)) => doctor::run(&args),
    }
}

/// Refuses arguments that a record could not hold.
fn all_text() -> Result<(), Failure> {
    match std::env::args_os().skip(1).enumerate().find(|(_, text)| text.to_str().is_none()) {
        None => Ok(()),
        Some((at, text)) => Err(Failure::bad_input(format!(
            "argument {} is not UTF-8: {text:?}\nhint: records are JSON and keep the arguments; give the file a name in UTF-8",
            at + 1
        ))),
    }
}
