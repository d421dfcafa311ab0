//! Words from outside in our messages: shown safely, and matched with those we know.

mod visible;

pub use visible::{terminal_lines, visible, visible_json, visible_lines};

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

/// Levenshtein's distance over bytes, row by row.
fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substitution = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substitution.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

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
