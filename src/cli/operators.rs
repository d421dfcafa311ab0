//! `--operator NAME|FILE`: the operator under test, and the cases that it claims.

use std::path::{Path, PathBuf};

use super::select::Selected;
use crate::audit::claims;
use crate::failure::Failure;
use crate::manifest::operator::{self, OperatorFile};
use crate::worker::Stranger;
use contract::words::{self, nearest, quote};

/// The folder of operator files that are named without a path.
pub const FOLDER: &str = "operators";

/// An operator by the path of its file, or by the name of one in [`FOLDER`].
pub fn open(asked: &str, off: &[String]) -> Result<Stranger, Failure> {
    let path = match asked.contains('/') || asked.ends_with(".yaml") {
        true => PathBuf::from(asked),
        false => Path::new(FOLDER).join(format!("{asked}.yaml")),
    };
    if !path.is_file() {
        let known = names();
        let near = nearest(asked, known.iter().map(String::as_str));
        let hint = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!(
                "a name stands for {FOLDER}/NAME.yaml; a path has a `/` or ends in .yaml; `verify list --operators` lists those here"
            ),
        };
        return Err(Failure::bad_input(format!(
            "--operator {}: no file {}\nhint: {hint}",
            quote(asked),
            words::path(&path)
        )));
    }
    Stranger::new(operator::load(&path)?, off.to_vec())
}

/// Names of operators that are here.
pub fn names() -> Vec<String> {
    let files = std::fs::read_dir(FOLDER).into_iter().flatten().flatten();
    let mut names: Vec<String> = files
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    names
}

/// Leaves the cases that an operator claims.
pub fn keep_claimed(selected: &mut [Selected], file: &OperatorFile) -> Result<(), Failure> {
    let asked: usize = selected.iter().map(|selected| selected.chosen.len()).sum();
    for selected in selected.iter_mut() {
        let cases = &selected.manifest.cases;
        selected.chosen.retain(|&at| claims(file, &cases[at]));
    }
    match selected.iter().all(|selected| selected.chosen.is_empty()) {
        false => Ok(()),
        true => Err(Failure::bad_input(format!(
            "{} claims none of the {asked} cases: it has arithmetics {}, dtypes {}, output f32",
            words::path(&file.path),
            file.arithmetics.join(", "),
            file.dtypes.iter().map(|dtype| dtype.name()).collect::<Vec<_>>().join(", "),
        ))),
    }
}
