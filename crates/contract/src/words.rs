//! Words from outside in our messages: shown safely, and matched with those we know.

mod visible;

use std::path::Path;

pub use visible::{terminal_lines, visible, visible_json, visible_lines, visible_yaml};

/// A path as messages have it: whatever a file is called, on one line.
pub fn path(path: &Path) -> String {
    visible(&path.display().to_string()).into_owned()
}

/// `text` in backquotes, escaped and at most 80 characters of it: messages go to terminals.
pub fn quote(text: &str) -> String {
    let shown: String = text.chars().take(80).flat_map(char::escape_debug).collect();
    let rest = if text.chars().nth(80).is_some() { "..." } else { "" };
    format!("`{shown}{rest}`")
}

/// Edits that still count as a slip: half of the word, at least one, at most three.
fn edits_max(word: &str) -> usize {
    (word.len() / 2).clamp(1, 3)
}

/// Longest word that is compared: the comparison is quadratic in it.
const LEN_MAX: usize = 128;

/// The word of `known` closest to `word`, if it is close enough to be a slip of the keyboard.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > LEN_MAX {
        return None;
    }
    known
        .into_iter()
        .filter(|candidate| candidate.len() <= LEN_MAX)
        .map(|candidate| (edit_distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= edits_max(word))
        .min()
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, substitutions and exchanges of neighbours that lead from one to the other, over bytes, row by
/// row (optimal string alignment; Damerau 1964 found that nearly all slips are one of these).
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    let (mut above, mut above_that) = (row.clone(), row.clone());
    for i in 0..a.len() {
        std::mem::swap(&mut above_that, &mut above);
        std::mem::swap(&mut above, &mut row);
        row[0] = i + 1;
        for j in 0..b.len() {
            let substitution = above[j] + usize::from(a[i] != b[j]);
            row[j + 1] = substitution.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                row[j + 1] = row[j + 1].min(above_that[j - 1] + 1);
            }
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::{edit_distance, nearest};

    #[test]
    fn distances() {
        for (a, b, distance) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("seed", "seed", 0),
            ("kitten", "sitting", 3),
            ("porj", "proj", 1),
            ("porj", "core", 2),
            ("abcd", "badc", 2),
        ] {
            assert_eq!(edit_distance(a, b), distance, "{a} {b}");
        }
    }

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let known = ["sparsity", "seed", "shape"];
        assert_eq!(nearest("sparcity", known), Some("sparsity"));
        assert_eq!(nearest("seeds", known), Some("seed"));
        assert_eq!(nearest("esed", known), Some("seed"));
        assert_eq!(nearest("weights", known), None);
        assert_eq!(nearest("", known), None);
        assert_eq!(nearest("x".repeat(1 << 20).as_str(), known), None);
    }
}
