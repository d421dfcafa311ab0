//! Texts from files, devices and other people, shown as what they are: no character of theirs moves the cursor, changes
//! the direction of what follows, or hides.
//!
//! Shown as `\u{202e}`, hexadecimal as in Rust. A backslash is left alone, so that a text is not shown otherwise by being
//! shown twice. What these functions do not look at: letters that look like others, and how wide a letter is.

use std::borrow::Cow;

/// First and last of the characters that are shown by number. Beside control characters these are, by Unicode 17.0:
/// whatever has the property Default_Ignorable_Code_Point (DerivedCoreProperties.txt: it is drawn as nothing) or
/// Bidi_Control (PropList.txt: it changes the direction), the line and paragraph separators (Zl, Zp), the interlinear
/// annotation marks U+FFF9 to U+FFFB, and noncharacters in the basic plane. The sets hardly change: the property is given
/// to whole ranges in advance.
const HIDDEN: [(char, char); 26] = [
    // Control characters: C0, and delete with C1.
    ('\u{0}', '\u{1f}'),
    ('\u{7f}', '\u{9f}'),
    // Soft hyphen, combining grapheme joiner.
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    // Arabic letter mark.
    ('\u{61c}', '\u{61c}'),
    // Fillers of Hangul, inherent vowels of Khmer, variation selectors of Mongolian.
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    // Spaces of no width, joiners, marks of direction.
    ('\u{200b}', '\u{200f}'),
    // Line and paragraph separators.
    ('\u{2028}', '\u{2029}'),
    // Embeddings and overrides of direction.
    ('\u{202a}', '\u{202e}'),
    // Word joiner, invisible operators, isolates, deprecated format characters.
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fdd0}', '\u{fdef}'),
    // Variation selectors.
    ('\u{fe00}', '\u{fe0f}'),
    // Byte order mark.
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    // Reserved as invisible, interlinear annotation.
    ('\u{fff0}', '\u{fffb}'),
    ('\u{fffe}', '\u{ffff}'),
    // Format controls of shorthand and of music.
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    // Noncharacters at the ends of planes that have letters.
    ('\u{1fffe}', '\u{1ffff}'),
    ('\u{2fffe}', '\u{2ffff}'),
    ('\u{3fffe}', '\u{3ffff}'),
    // Tags, more variation selectors, and what is reserved beside them.
    ('\u{e0000}', '\u{e0fff}'),
    // Private planes: nobody but the sender knows what is shown.
    ('\u{f0000}', '\u{10ffff}'),
];

/// Whether a character is shown by its number.
fn is_hidden(c: char) -> bool {
    let after = HIDDEN.partition_point(|&(_, last)| last < c);
    HIDDEN.get(after).is_some_and(|&(first, _)| first <= c)
}

/// `text` on one line: line breaks are shown by number too.
pub fn visible(text: &str) -> Cow<'_, str> {
    replaced(text, is_hidden, |c, shown| shown.extend(c.escape_unicode()))
}

/// `text` with its line breaks.
pub fn visible_lines(text: &str) -> Cow<'_, str> {
    let hidden = |c| c != '\n' && is_hidden(c);
    replaced(text, hidden, |c, shown| shown.extend(c.escape_unicode()))
}

/// A JSON document of the same value: in its strings, the only place where they can stand, hidden characters are escapes
/// of JSON.
pub fn visible_json(document: &str) -> Cow<'_, str> {
    let hidden = |c| c != '\n' && is_hidden(c);
    replaced(document, hidden, |c, shown| {
        for unit in c.encode_utf16(&mut [0; 2]) {
            shown.push_str(&format!("\\u{unit:04x}"));
        }
    })
}

/// What stands in a double-quoted scalar of YAML, of the same value: hidden characters, line breaks among them, are
/// escapes of YAML.
pub fn visible_yaml(scalar: &str) -> Cow<'_, str> {
    replaced(scalar, is_hidden, |c, shown| {
        let code = u32::from(c);
        shown.push_str(&match code {
            0..=0xff => format!("\\x{code:02x}"),
            0x100..=0xffff => format!("\\u{code:04x}"),
            _ => format!("\\U{code:08x}"),
        });
    })
}

/// The styles that our tables set: green, red, yellow, and back.
const STYLES: [&str; 4] = ["\u{1b}[32m", "\u{1b}[31m", "\u{1b}[33m", "\u{1b}[0m"];

/// Lines on their way to a terminal: the styles of our tables pass, and nothing else does. The last wall, behind whoever
/// puts a text into a line, who knows where it ends.
pub fn terminal_lines(text: &str) -> Cow<'_, str> {
    if !text.contains('\u{1b}') {
        return visible_lines(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\u{1b}') {
        let (before, from) = rest.split_at(at);
        shown.push_str(&visible_lines(before));
        // An escape that begins no style of ours is a character like others.
        let end = STYLES.iter().find(|&&style| from.starts_with(style)).map_or(1, |style| {
            shown.push_str(style);
            style.len()
        });
        if end == 1 {
            shown.extend('\u{1b}'.escape_unicode());
        }
        rest = &from[end..];
    }
    shown.push_str(&visible_lines(rest));
    Cow::Owned(shown)
}

fn replaced(
    text: &str,
    is_replaced: impl Fn(char) -> bool,
    replace: impl Fn(char, &mut String),
) -> Cow<'_, str> {
    let Some(first) = text.find(&is_replaced) else { return Cow::Borrowed(text) };
    let mut shown = String::with_capacity(text.len() + 16);
    shown.push_str(&text[..first]);
    for c in text[first..].chars() {
        if is_replaced(c) {
            replace(c, &mut shown);
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_table_ascends() {
        assert!(HIDDEN.iter().all(|(first, last)| first <= last));
        assert!(HIDDEN.windows(2).all(|pair| pair[0].1 < pair[1].0));
    }

    #[test]
    fn what_hides_or_moves_is_shown_by_number() {
        for (text, shown) in [
            ("\u{1b}]0;owned\u{7}", r"\u{1b}]0;owned\u{7}"),
            ("\u{9b}31m", r"\u{9b}31m"),
            ("a\tb\rc\u{8}", r"a\u{9}b\u{d}c\u{8}"),
            ("user\u{202e}gnp.exe", r"user\u{202e}gnp.exe"),
            ("\u{2066}x\u{2069}", r"\u{2066}x\u{2069}"),
            (
                "\u{61c}\u{200b}\u{200f}\u{2028}\u{feff}\u{fffb}",
                r"\u{61c}\u{200b}\u{200f}\u{2028}\u{feff}\u{fffb}",
            ),
            ("\u{e0041}\u{e007f}", r"\u{e0041}\u{e007f}"),
            ("\u{fffe}\u{0}\u{10ffff}", r"\u{fffe}\u{0}\u{10ffff}"),
        ] {
            assert_eq!(visible(text), shown);
        }
        assert_eq!(visible("two\nlines"), r"two\u{a}lines");
        assert_eq!(visible_lines("two\nlines\r"), "two\nlines\\u{d}");
    }

    #[test]
    fn what_is_written_in_any_language_stays() {
        for text in [
            "",
            "NVIDIA H200",
            r"C:\weights",
            "grün, é as two: e\u{301}",
            "日本語",
            "עברית",
            "1 → 2 µs",
            "\u{fffd}",
        ] {
            assert!(matches!(visible(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn only_our_styles_reach_a_terminal() {
        let line = "case  \u{1b}[32mverified\u{1b}[0m  1 ms\n";
        assert_eq!(terminal_lines(line), line);
        assert_eq!(
            terminal_lines("\u{1b}[32mgreen\u{1b}[0m \u{1b}[8mhidden\u{1b}[2J\u{1b}"),
            "\u{1b}[32mgreen\u{1b}[0m \\u{1b}[8mhidden\\u{1b}[2J\\u{1b}"
        );
    }

    /// Any text, rich in what matters here.
    fn texts() -> impl Strategy<Value = String> {
        let hidden = proptest::sample::select(&HIDDEN[..])
            .prop_flat_map(|(first, last)| proptest::char::range(first, last));
        let c = prop_oneof![hidden, proptest::char::any(), proptest::char::range(' ', '~')];
        proptest::collection::vec(c, 0..40).prop_map(String::from_iter)
    }

    proptest! {
        #[test]
        fn nothing_hidden_is_left(text in texts()) {
            let shown = visible(&text);
            prop_assert!(!shown.contains(is_hidden), "{shown:?}");
            prop_assert!(!shown.chars().any(char::is_control));
            prop_assert!(!visible_lines(&text).contains(|c| c != '\n' && is_hidden(c)));
            let lines = terminal_lines(&text);
            let lines = STYLES.iter().fold(lines.into_owned(), |lines, style| lines.replace(style, ""));
            prop_assert!(!lines.contains(|c| c != '\n' && is_hidden(c)), "{lines:?}");
        }

        #[test]
        fn showing_twice_changes_nothing(text in texts()) {
            let once = visible(&text);
            prop_assert_eq!(visible(&once), once.clone());
            let once = terminal_lines(&text);
            prop_assert_eq!(terminal_lines(&once), once.clone());
        }

        #[test]
        fn every_other_character_stays_in_its_place(text in texts()) {
            let by_hand: String = text
                .chars()
                .map(|c| if is_hidden(c) { format!("\\u{{{:x}}}", u32::from(c)) } else { c.into() })
                .collect();
            prop_assert_eq!(visible(&text), by_hand);
        }

        #[test]
        fn yaml_keeps_its_value(text in texts()) {
            let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
            let document = format!("\"{}\"", visible_yaml(&quoted));
            prop_assert!(!document.contains(is_hidden), "{document:?}");
            prop_assert_eq!(serde_saphyr::from_str::<String>(&document).expect("YAML"), text);
        }

        #[test]
        fn json_keeps_its_value(text in texts()) {
            let value = serde_json::json!({ text.clone(): [text] });
            let shown = visible_json(&format!("{value:#}")).into_owned();
            prop_assert!(!shown.contains(|c| c != '\n' && is_hidden(c)));
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).expect("JSON"), value);
        }
    }
}
