//! Slips of the keyboard on the command line: the subcommand, or the cases, that somebody may have meant.

use std::borrow::Cow;
use std::ffi::OsString;
use std::path::Path;

use clap::CommandFactory as _;
use clap::error::{ContextKind, ContextValue};
use globset::Glob;

use super::Cli;
use crate::manifest::ManifestErrors;
use crate::output;
use contract::words::{nearest, visible, visible_lines};

/// The subcommand that `word` may have been meant to be.
pub fn subcommand(word: &str) -> Option<String> {
    if !word.bytes().all(|b| b.is_ascii_alphabetic()) {
        return None;
    }
    let command = Cli::command();
    nearest(word, command.get_subcommands().map(clap::Command::get_name)).map(str::to_owned)
}

/// A hint for whoever wrote a word where a subcommand stands.
pub fn subcommand_hint(word: &Path) -> Option<String> {
    subcommand(word.to_str()?).map(|name| format!("did you mean `verify {name}`?"))
}

/// Whether arguments, the program's name among them, hold nothing that does something to a terminal.
fn arguments_are_text() -> bool {
    let is_text = |word: OsString| matches!(visible(&word.to_string_lossy()), Cow::Borrowed(_));
    std::env::args_os().all(is_text)
}

/// Writes help or a version to standard output: with the parser's styles on a terminal, plain elsewhere. Both repeat
/// the program's name; where that holds more than text, styles are left out everywhere.
pub fn print_help(said: &clap::Error) {
    let said = said.render();
    if arguments_are_text() {
        output::print_styled(&said.ansi().to_string());
    } else {
        output::print(&said.to_string());
    }
}

/// A hint for whoever gives a command `--json` that has `--format`.
fn format_hint(error: &clap::Error, name: &Path) -> Option<String> {
    let is_json =
        error.get(ContextKind::InvalidArg) == Some(&ContextValue::String("--json".into()));
    let command = Cli::command();
    let command = command.find_subcommand(name.to_str()?)?;
    let has_format = command.get_arguments().any(|known| known.get_id() == "format");
    let hint = "`--format json` prints one JSON document; `--json FILE` writes the record of a run";
    (is_json && has_format).then(|| hint.to_owned())
}

/// Shows an error of the command line's parser, which repeats arguments. Where those hold more than text, styles are
/// left out, and escape sequences with them.
pub fn print_usage_error(error: &clap::Error) {
    if arguments_are_text() {
        let _ = error.print();
    } else {
        anstream::eprint!("{}", visible_lines(&error.render().to_string()));
    }
    let first = std::env::args_os().nth(1);
    let first = first.as_deref().map(Path::new);
    let hint = first.and_then(|word| format_hint(error, word).or_else(|| subcommand_hint(word)));
    if let (true, Some(hint)) = (error.kind() == clap::error::ErrorKind::UnknownArgument, hint) {
        anstream::eprintln!("hint: {hint}");
    }
}

/// The errors of paths that name no manifest; where one is close to a subcommand, a hint says so.
pub fn with_subcommand(mut errors: ManifestErrors) -> ManifestErrors {
    if let ([error], false) = (&mut errors.errors[..], errors.path.exists()) {
        error.hint = error.hint.take().or_else(|| subcommand_hint(&errors.path));
    }
    errors
}

/// A glob close to `pattern` that matches some of `ids`, and how many: the same as a part of an id, or with each word
/// that is in no id replaced by the nearest that is.
pub fn glob(pattern: &str, ids: &[&str]) -> Option<(String, usize)> {
    let count = |glob: &str| {
        let matcher = Glob::new(glob).ok()?.compile_matcher();
        Some(ids.iter().filter(|id| matcher.is_match(id)).count()).filter(|&count| count > 0)
    };
    let spelled = respelled(pattern, ids);
    let candidates = [pattern, &spelled].into_iter().flat_map(|pattern| {
        let star = |has: bool| if has { "" } else { "*" };
        let (before, after) = (star(pattern.starts_with('*')), star(pattern.ends_with('*')));
        [pattern.to_owned(), format!("{pattern}{after}"), format!("{before}{pattern}{after}")]
    });
    candidates.into_iter().find_map(|glob| count(&glob).map(|count| (glob, count)))
}

/// `pattern` with each word that is in no id replaced by the nearest that is.
fn respelled(pattern: &str, ids: &[&str]) -> String {
    let is_in_word = |c: char| c.is_ascii_alphanumeric();
    let mut known: Vec<&str> = ids.iter().flat_map(|id| id.split(|c| !is_in_word(c))).collect();
    known.sort_unstable();
    known.dedup();
    let mut spelled = String::new();
    let mut rest = pattern;
    while !rest.is_empty() {
        let word = &rest[..rest.find(|c| !is_in_word(c)).unwrap_or(rest.len())];
        let is_known = word.is_empty() || known.binary_search(&word).is_ok();
        let known = known.iter().copied().filter(|known| !known.is_empty());
        spelled.push_str(if is_known { word } else { nearest(word, known).unwrap_or(word) });
        rest = &rest[word.len()..];
        let between = rest.find(is_in_word).unwrap_or(rest.len());
        spelled.push_str(&rest[..between]);
        rest = &rest[between..];
    }
    spelled
}

/// A hint for globs of which none matches: near ones, or where the ids are listed.
pub fn glob_hint(patterns: &[String], ids: &[&str]) -> String {
    const SHOWN_MAX: usize = 3;
    let near = patterns.iter().filter_map(|pattern| glob(pattern, ids)).take(SHOWN_MAX);
    let near: Vec<String> = near
        .map(|(glob, count)| {
            format!("`{glob}` ({count} case{})", if count == 1 { "" } else { "s" })
        })
        .collect();
    match near.is_empty() {
        true => "`verify list PATH` shows the ids; `*` matches any text".into(),
        false => format!("did you mean {}?", near.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: [&str; 4] = [
        "chain/up_proj/uniform-80/b48/f32/f32-chain",
        "chain/up_proj/uniform-90/b48/f32/f32-chain",
        "rows/down_proj/row-magnitude-80/b1024/f32/f32-chain",
        "tensor/up_proj/none/b48/bf16/tensor-core-hopper",
    ];

    #[test]
    fn near_globs_match_something() {
        for (pattern, near, count) in [
            ("chain", "chain*", 2),
            ("up_proj", "*up_proj*", 3),
            ("*/up_porj/*", "*/up_proj/*", 3),
            ("chian/*", "chain/*", 2),
            ("*unifrom-*", "*uniform-*", 2),
            ("row-magnitud-80", "*row-magnitude-80*", 1),
            ("*tensor-core-hoper", "*tensor-core-hopper", 1),
        ] {
            assert_eq!(glob(pattern, &IDS), Some((near.to_owned(), count)), "{pattern}");
        }
        for pattern in ["elephants/*", "", "[", "*/b7777777/*", "\u{202e}*"] {
            let found = glob(pattern, &IDS);
            assert!(pattern.is_empty() || found.is_none(), "{pattern}: {found:?}");
        }
    }

    #[test]
    fn subcommands_are_recognised_and_names_of_files_are_not() {
        for (word, name) in [("lst", "list"), ("reprot", "report"), ("dcotor", "doctor")] {
            assert_eq!(subcommand(word).as_deref(), Some(name));
        }
        for word in ["manifests", "h200.yaml", "lst/", "quickstart", ""] {
            assert_eq!(subcommand(word), None, "{word}");
        }
    }
}
