//! Parse, dispatch, error -> exit code.

use std::process::ExitCode;

use clap::Parser;
use sparse_verify::cli::{
    Action, Cli, doctor, explain, inputs, judge, lint, list, merge, near, pin, report, run,
};
use sparse_verify::exit::BAD_INPUT;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are data; anything else is bad usage.
            let asked_for = !error.use_stderr();
            near::print_usage_error(&error);
            return ExitCode::from(if asked_for { 0 } else { BAD_INPUT });
        }
    };
    sparse_verify::backend::cpu::keep_freed_memory();
    let result = match cli.action {
        None => run::run(&cli.run),
        Some(Action::Pin(args)) => pin::run(&args),
        Some(Action::List(args)) => list::run(&args),
        Some(Action::Lint(args)) => lint::run(&args),
        Some(Action::Judge(args)) => judge::run(&args),
        Some(Action::Report(args)) => report::run(&args),
        Some(Action::Inputs(args)) => inputs::run(&args),
        Some(Action::Merge(args)) => merge::run(&args),
        Some(Action::Explain(args)) => explain::run(&args),
        Some(Action::Doctor(args)) => doctor::run(&args),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            anstream::eprintln!("error: {failure}");
            ExitCode::from(failure.code)
        }
    }
}
