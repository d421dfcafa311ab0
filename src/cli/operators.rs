//! `--operator NAME|FILE`: the operator under test, and the cases that it claims.

use std::path::{Path, PathBuf};

use super::select::Selected;
use crate::carried;
use crate::failure::Failure;
use crate::manifest::operator::{self, OperatorFile};
use crate::worker::Stranger;
use contract::words::{self, nearest, quote, visible};
use record::operator::{OperatorKind, OperatorRecord, claims, claims_in_words};

/// The folder of operator files that are named without a path.
pub const FOLDER: &str = "operators";

/// An operator by the path of its file, or by the name of one in [`FOLDER`].
pub fn open(asked: &str, interpreter: Option<&str>, off: &[String]) -> Result<Stranger, Failure> {
    let path = located(asked)?;
    let file = operator::load(&path)?;
    if file.kind == OperatorKind::Outputs {
        return Err(Failure::bad_input(format!(
            "{}: outputs come from elsewhere, and nothing is run\nhint: `verify challenge` writes what they are made from; \
             `verify check DIR --operator FILE` judges them",
            words::path(&path)
        )));
    }
    if let (Some(_), OperatorKind::Library) = (interpreter, file.kind) {
        return Err(Failure::bad_input(format!(
            "--interpreter: {} is a library",
            words::path(&path)
        )));
    }
    Stranger::new(file, interpreter, off.to_vec())
}

/// What a record says of an operator of any kind, but for what it ran in.
pub fn described(asked: &str) -> Result<OperatorRecord, Failure> {
    Ok(operator::load(&located(asked)?)?.record())
}

/// The file of an operator that is named so.
fn located(asked: &str) -> Result<PathBuf, Failure> {
    let path = match asked.contains('/') || asked.ends_with(".yaml") {
        true => PathBuf::from(asked),
        false => carried::named(FOLDER, asked)
            .unwrap_or_else(|| Path::new(FOLDER).join(format!("{asked}.yaml"))),
    };
    if !path.is_file() && carried::bytes(&path).is_none() {
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
    Ok(path)
}

/// Who is said to have made outputs: by an operator file of that kind, which leaves the cases that it claims.
pub fn maker(path: &Path, selected: &mut [Selected]) -> Result<OperatorRecord, Failure> {
    let file = operator::load(path)?;
    if file.kind != OperatorKind::Outputs {
        return Err(Failure::bad_input(format!(
            "{}: kind {}, and outputs are judged here\nhint: `verify PATH --operator FILE` runs an operator; its outputs are \
             then its own",
            words::path(path),
            file.kind.name()
        )));
    }
    keep_claimed(selected, &file)?;
    Ok(file.record())
}

/// Names of operators that are here, or carried.
pub fn names() -> Vec<String> {
    let files = std::fs::read_dir(FOLDER).into_iter().flatten().flatten();
    let mut names: Vec<String> = files
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
        .collect();
    names.extend(carried::names(FOLDER).map(str::to_owned));
    names.sort();
    names.dedup();
    names
}

/// Leaves the cases that an operator claims.
pub fn keep_claimed(selected: &mut [Selected], file: &OperatorFile) -> Result<(), Failure> {
    let asked: usize = selected.iter().map(|selected| selected.chosen.len()).sum();
    let [arithmetics, dtypes, outputs] = file.claimed();
    for selected in selected.iter_mut() {
        let cases = &selected.manifest.cases;
        selected.chosen.retain(|&at| claims(&arithmetics, &dtypes, &outputs, &cases[at]));
    }
    match selected.iter().all(|selected| selected.chosen.is_empty()) {
        false => Ok(()),
        true => Err(Failure::bad_input(format!(
            "{} claims none of the {asked} cases: it claims {}{}",
            words::path(&file.path),
            claims_in_words(&arithmetics, &dtypes, &outputs),
            if outputs.is_empty() { ", to f32" } else { "" },
        ))),
    }
}

/// The same as documents.
pub fn documents() -> Vec<serde_json::Value> {
    let own = serde_json::json!({
        "operator": "open", "version": record::tool::VERSION, "kind": "own", "device": null,
        "arithmetics": operator::ARITHMETICS, "dtypes": null, "outputs": null, "error": null,
    });
    let named = names().into_iter().map(|name| match operator::load(&place(&name)) {
        Ok(file) => {
            let [arithmetics, dtypes, outputs] = file.claimed();
            serde_json::json!({
                "operator": name, "version": file.version, "kind": file.kind.name(),
                "device": file.device.name(), "arithmetics": arithmetics, "dtypes": dtypes, "outputs": outputs, "error": null,
            })
        }
        Err(errors) => serde_json::json!({
            "operator": name, "version": null, "kind": null, "device": null,
            "arithmetics": null, "dtypes": null, "outputs": null, "error": errors.to_string(),
        }),
    });
    std::iter::once(own).chain(named).collect()
}

/// The file of an operator's name.
fn place(name: &str) -> PathBuf {
    carried::named(FOLDER, name).unwrap_or_else(|| Path::new(FOLDER).join(name))
}

/// `verify list --operators`: those of [`FOLDER`], a line each; of a file that is wrong, what is wrong with it.
pub fn list() -> String {
    let names = names();
    let width = names.iter().map(String::len).max().unwrap_or(0).max("operator".len());
    let mut text = format!(
        "{:<width$}  {:<8}  {:<8}  {:<6}  claims\n",
        "operator", "version", "kind", "device"
    );
    // The default.
    let own = "exact, f32-chain, f32-sliced, tensor-core, fixed-point-24, bounded (the default, without --operator)";
    text.push_str(&format!(
        "{:<width$}  {:<8}  {:<8}  {:<6}  {own}\n",
        "open",
        record::tool::VERSION,
        "own",
        "any"
    ));
    for name in names {
        let line = match operator::load(&place(&name)) {
            Ok(file) => {
                let [arithmetics, dtypes, outputs] = file.claimed();
                format!(
                    "{:<8}  {:<8}  {:<6}  {}",
                    visible(&file.version),
                    file.kind.name(),
                    file.device.name(),
                    claims_in_words(&arithmetics, &dtypes, &outputs)
                )
            }
            Err(errors) => format!("not usable: {errors}"),
        };
        text.push_str(&format!("{:<width$}  {line}\n", visible(&name)));
    }
    text
}
