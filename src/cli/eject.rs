//! `verify eject`: the files that the program carries, written out.

use std::path::PathBuf;

use clap::Args;

use super::schema::SCHEMAS;
use crate::carried::FILES;
use crate::failure::Failure;
use crate::files;
use crate::output::print;
use contract::words;
use record::exit::VERIFIED;

#[derive(Args, Debug, Clone)]
pub struct EjectArgs {
    /// Where they are written
    #[arg(value_name = "DIR", default_value = ".")]
    pub folder: PathBuf,
    /// Write over files that differ
    #[arg(long)]
    pub force: bool,
}

pub fn run(args: &EjectArgs) -> Result<u8, Failure> {
    let schemas =
        SCHEMAS.iter().map(|(kind, text)| (format!("schemas/{kind}.json"), text.as_bytes()));
    let files = FILES.iter().map(|(name, bytes)| ((*name).to_owned(), *bytes)).chain(schemas);
    let places: Vec<(PathBuf, &[u8])> =
        files.map(|(name, bytes)| (args.folder.join(name), bytes)).collect();
    let differs = |(path, bytes): &&(PathBuf, &[u8])| {
        std::fs::symlink_metadata(path).is_ok()
            && std::fs::read(path).ok().as_deref() != Some(bytes)
    };
    let others: Vec<String> =
        places.iter().filter(differs).map(|(path, _)| words::path(path)).collect();
    if let (Some(first), false) = (others.first(), args.force) {
        let more = match others.len() {
            1 => String::new(),
            count => format!(" and {} more", count - 1),
        };
        return Err(Failure::bad_input(format!(
            "{first}{more} would be written over, and differ from what the program carries; nothing was written\n\
             hint: name another folder, or give --force"
        )));
    }
    for (path, bytes) in &places {
        let write = || {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            files::replace(path, bytes)
        };
        write().map_err(|error| {
            Failure::environment(format!("failed to write {}: {error}", words::path(path)))
        })?;
    }
    let folder = words::path(&args.folder);
    print(&format!(
        "wrote {} files to {folder}: manifests/, expected-hashes/, operators/, schemas/\n",
        places.len()
    ));
    Ok(VERIFIED)
}
