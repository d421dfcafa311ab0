//! `verify completions` and `verify man`: what is made from the definition of the command line.

use std::path::PathBuf;

use clap::Args;
use clap::CommandFactory as _;

use super::Cli;
use crate::failure::Failure;
use crate::output::print;
use contract::words;
use record::exit::VERIFIED;

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

pub fn completions(args: &CompletionsArgs) -> Result<u8, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "verify", &mut text);
    print(&String::from_utf8_lossy(&text));
    Ok(VERIFIED)
}

pub fn man(args: &ManArgs) -> Result<u8, Failure> {
    let folder = &args.folder;
    let failed = |error: std::io::Error| {
        Failure::environment(format!(
            "failed to write man pages to {}: {error}",
            words::path(folder)
        ))
    };
    std::fs::create_dir_all(folder).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), folder).map_err(failed)?;
    print(&format!(
        "wrote man pages to {}: verify.1 and one for each command\n",
        words::path(folder)
    ));
    Ok(VERIFIED)
}
