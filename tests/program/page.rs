//! Numbers of the published page: each is a claim's or is said not to be judged, and each figure of a claim is printed where
//! `tests/published/figures.csv` says. The table has numbers and their places; the texts themselves are not ours to commit.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use record::claims::Claim;
use record::judge::accounted;
use record::manifest::Manifest;
use sparse_verify::manifest;

const PAGE: &str = "product page";

/// A folder with the texts, one file a source; see [`file_of`].
const TEXTS: &str = "SPARSE_VERIFY_SOURCES";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A line of the table: the `number`th number of a line of a source, and a claim's figure that it is. On the page, numbers
/// of no claim stand here as well.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    source: String,
    line: usize,
    number: usize,
    printed: String,
    claim: String,
    figure: String,
}

fn table() -> Vec<Row> {
    let text =
        std::fs::read_to_string(root().join("tests/published/figures.csv")).expect("a table");
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("source,line,number,printed,claim,figure"));
    let rows = lines.map(|line| {
        let fields: Vec<&str> = line.split(',').collect();
        let [source, at, number, printed, claim, figure] = fields[..] else { panic!("{line}") };
        Row {
            source: source.into(),
            line: at.parse().expect("a line"),
            number: number.parse().expect("a count"),
            printed: printed.into(),
            claim: claim.into(),
            figure: figure.into(),
        }
    });
    rows.collect()
}

fn manifests() -> Vec<Manifest> {
    let paths = manifest::find(&[root().join("manifests")]).expect("manifests");
    paths.iter().map(|path| manifest::load(path).unwrap_or_else(|e| panic!("{e}"))).collect()
}

/// Claims by manifest and id, with their manifests.
fn claims(manifests: &[Manifest]) -> BTreeMap<String, (&Manifest, &Claim)> {
    let mut all = BTreeMap::new();
    for manifest in manifests {
        for claim in &manifest.claims {
            all.insert(format!("{}/{}", manifest.name, claim.id), (manifest, claim));
        }
    }
    all
}

/// Figures of a claim by their names, each as it is printed.
fn figures(manifest: &Manifest, claim: &Claim) -> Vec<(String, String)> {
    accounted(manifest, claim).into_iter().map(|one| (one.figure, one.printed)).collect()
}

/// Shape, batch and levels of the cases that stand for a claim: printed or chosen, and so on the page or not.
fn subject(manifest: &Manifest, claim: &Claim) -> Vec<(&'static str, String)> {
    let cases = manifest.cases.iter().filter(|case| claim.cases.contains(&case.id));
    let levels: BTreeSet<String> =
        cases.map(|case| format!("{:>6}", case.sparsity.to_string())).collect();
    let (low, high) = (levels.first(), levels.last());
    let mut all = Vec::new();
    if let Some((low, high)) = low.zip(high) {
        let (low, high) = (low.trim(), high.trim());
        all.push(("sparsity", if low == high { low.into() } else { format!("{low} to {high}") }));
    }
    all.extend(claim.subject.shape.map(|(m, k)| ("shape", format!("{m} x {k}"))));
    all.extend(claim.subject.batch.map(|n| ("batch", n.to_string())));
    all
}

#[test]
fn every_number_of_the_page_is_accounted_for() {
    let output = Command::new(env!("CARGO_BIN_EXE_verify"))
        .args(["list", "manifests/", "--page", "--format", "json"])
        .current_dir(root())
        .output()
        .expect("verify runs");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let pages: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let [page] = &pages.as_array().expect("pages")[..] else { panic!("{pages}") };
    assert_eq!(page["source"], PAGE);
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();

    let on_page: Vec<Row> = table().into_iter().filter(|row| row.source == PAGE).collect();
    // Those of no claim are those that are not judged, line by line, as often as they are printed.
    let mut without: Vec<(usize, String)> = on_page
        .iter()
        .filter(|row| row.claim.is_empty())
        .map(|row| (row.line, row.printed.clone()))
        .collect();
    let not_judged = page["not_judged"].as_array().expect("a list").iter();
    let mut not_judged: Vec<(usize, String)> = not_judged
        .map(|number| (number["line"].as_u64().expect("a line") as usize, text(&number["printed"])))
        .collect();
    without.sort();
    not_judged.sort();
    assert_eq!(not_judged, without);

    // The others are figures of claims that name the page, and what these are about.
    let manifests = manifests();
    let claims = claims(&manifests);
    let listed: BTreeSet<(String, String, String)> = page["figures"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| {
            let id = format!("{}/{}", text(&one["manifest"]), text(&one["claim"]));
            (id, text(&one["figure"]), text(&one["printed"]))
        })
        .collect();
    let mut seen = BTreeSet::new();
    for row in on_page.iter().filter(|row| !row.claim.is_empty()) {
        let key = (row.claim.clone(), row.figure.clone(), row.printed.clone());
        let (manifest, claim) =
            claims.get(&row.claim).unwrap_or_else(|| panic!("no claim: {row:?}"));
        let is_subject = subject(manifest, claim)
            .iter()
            .any(|(name, printed)| *name == row.figure && *printed == row.printed);
        assert!(listed.contains(&key) || is_subject, "accounted for by nothing: {row:?}");
        seen.insert(key);
    }
    let missing: Vec<_> = listed.difference(&seen).collect();
    assert!(missing.is_empty(), "accounted for and not on the page: {missing:?}");
    // A figure that nothing looks at says why.
    for one in page["figures"].as_array().expect("a list") {
        let is_judged = one["lint"] != serde_json::json!([]) || !one["record"].is_null();
        assert_ne!(is_judged, one["because"].is_string(), "{one}");
    }
}

#[test]
fn every_figure_has_a_line_in_every_source_of_its_claim() {
    let manifests = manifests();
    let claims = claims(&manifests);
    let table = table();
    let tabled: BTreeSet<&str> = table.iter().map(|row| row.source.as_str()).collect();
    let places: BTreeSet<(&str, &str, &str, &str)> =
        table.iter().map(|row| (&*row.source, &*row.claim, &*row.figure, &*row.printed)).collect();
    let mut missing = Vec::new();
    for (id, (manifest, claim)) in &claims {
        for source in claim.sources.iter().filter(|source| tabled.contains(source.as_str())) {
            for (figure, printed) in figures(manifest, claim) {
                if !places.contains(&(
                    source.as_str(),
                    id.as_str(),
                    figure.as_str(),
                    printed.as_str(),
                )) {
                    missing.push(format!("{id}: {figure} {printed} has no line of {source}"));
                }
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    for row in table.iter().filter(|row| !row.claim.is_empty()) {
        let (manifest, claim) =
            claims.get(&row.claim).unwrap_or_else(|| panic!("no claim: {row:?}"));
        assert!(claim.sources.contains(&row.source), "the claim does not name it: {row:?}");
        let own = figures(manifest, claim);
        let own = own.iter().map(|(figure, printed)| (figure.as_str(), printed.as_str()));
        let about = subject(manifest, claim);
        let about = about.iter().map(|(figure, printed)| (*figure, printed.as_str()));
        let mut all = own.chain(about);
        assert!(all.any(|one| one == (&*row.figure, &*row.printed)), "no figure: {row:?}");
    }
}

/// Names with digits, longest first: no numbers.
const NAMES: [&str; 19] = [
    "DeepSeek-R1-Distill-Qwen-7B",
    "Mistral-7B-Instruct-v0.3",
    "Qwen2.5-7B-Instruct",
    "LLaMA-3.1-405B",
    "LLaMA-3.1-70B",
    "LLaMA-3.1-8B",
    "LLaMA-2-7B",
    "LLaMA-3.1",
    "EPYC 7B13",
    "SHA-256",
    "MI300X",
    "H200",
    "B200",
    "BF16",
    "405B",
    "70B",
    "05a",
    "8B",
    "T4",
];

/// The one number in words.
const IN_WORDS: &str = "few thousand";

/// Numbers of a line, as figures of manifests are written: `1,024` is 1024, `3.9×10⁻⁶` 3.9e-6, `7.6–9.2` 7.6 to 9.2,
/// `100×+` over 100, `64×32` 64 x 32. Digests are numbers as well.
fn numbers(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = line;
    let mut before = ' ';
    while let Some(first) = rest.chars().next() {
        let (number, len) = if let Some(name) = NAMES.iter().find(|name| rest.starts_with(**name)) {
            (None, name.len())
        } else if let Some(digest) = digest(rest).filter(|_| !is_hex(before)) {
            (Some(digest.to_owned()), digest.len())
        } else if rest.starts_with(IN_WORDS) {
            (Some(IN_WORDS.to_owned()), IN_WORDS.len())
        } else if first.is_ascii_digit() {
            let (number, len) = number(rest);
            (Some(number), len)
        } else {
            (None, first.len_utf8())
        };
        found.extend(number);
        before = rest[..len].chars().next_back().unwrap_or(' ');
        rest = &rest[len..];
    }
    found
}

fn is_hex(c: char) -> bool {
    matches!(c, '0'..='9' | 'a'..='f')
}

/// A SHA-256 digest at the start, or eight digits of one.
fn digest(text: &str) -> Option<&str> {
    let len = text.find(|c| !is_hex(c)).unwrap_or(text.len());
    let digits = &text[..len];
    let is_whole = len == 64 || len == 8;
    (is_whole && digits.contains(|c: char| c.is_ascii_digit())).then_some(digits)
}

/// The number at the start, and how long it is.
fn number(text: &str) -> (String, usize) {
    let (first, len) = decimal(text);
    let rest = &text[len..];
    for power in ["×10", " x 10^"] {
        let exponent = rest.strip_prefix(power).and_then(exponent);
        if let Some((exponent, digits)) = exponent {
            return (format!("{first}e{exponent}"), len + power.len() + digits);
        }
    }
    for (between, word) in [("–", "to"), ("×", "x")] {
        if let Some(second) = rest.strip_prefix(between)
            && second.starts_with(|c: char| c.is_ascii_digit())
        {
            let (second, more) = decimal(second);
            return (format!("{first} {word} {second}"), len + between.len() + more);
        }
    }
    let unit = ["%+", "×+", "+"].into_iter().find(|unit| rest.starts_with(unit));
    match unit {
        Some(unit) => (format!("over {first}"), len + unit.len()),
        None if rest.starts_with('M') && !rest[1..].starts_with(char::is_alphanumeric) => {
            (format!("{first}M"), len + 1)
        }
        None => (first, len),
    }
}

/// Digits with commas between thousands, and a point; without the commas.
fn decimal(text: &str) -> (String, usize) {
    let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let mut len = digits(text);
    while text[len..].starts_with(',') && digits(&text[len + 1..]) >= 3 {
        len += 4;
    }
    if text[len..].starts_with('.') && digits(&text[len + 1..]) > 0 {
        len += 1 + digits(&text[len + 1..]);
    }
    (text[..len].replace(',', ""), len)
}

/// A negative exponent, raised or not, and its length in bytes.
fn exponent(text: &str) -> Option<(String, usize)> {
    const RAISED: &str = "⁰¹²³⁴⁵⁶⁷⁸⁹";
    let mut exponent = String::new();
    let mut len = 0;
    for c in text.chars() {
        let digit = RAISED.chars().position(|raised| raised == c);
        match c {
            '⁻' | '-' if exponent.is_empty() => exponent.push('-'),
            _ if digit.is_some() => {
                exponent.extend(digit.map(|digit| (b'0' + digit as u8) as char))
            }
            '0'..='9' if !exponent.is_empty() => exponent.push(c),
            _ => break,
        }
        len += c.len_utf8();
    }
    (exponent.len() > 1).then_some((exponent, len))
}

#[test]
fn numbers_are_read_as_they_are_printed() {
    for (line, want) in [
        ("Peak9.53× and 1,024 of 14,336", &["9.53", "1024", "14336"][..]),
        ("max 3.9×10⁻⁶, 3.2×10-6 or 9.87 x 10^-7", &["3.9e-6", "3.2e-6", "9.87e-7"]),
        ("64×32 on an H200, 7.6–9.2×, 70–95%", &["64 x 32", "7.6 to 9.2", "70 to 95"]),
        ("over 100×+, 6+, 70%+ and +99%", &["over 100", "over 6", "over 70", "99"]),
        ("19.3M a second, 2 MB, 5Mx", &["19.3M", "2", "5"]),
        ("A hash: 76252923 V: 7f9f717a", &["76252923", "7f9f717a"]),
        ("4×SHA and SHA-256, LLaMA-3.1-8B", &["4"]),
        ("50/50. 1,5", &["50", "50", "1", "5"]),
        ("the first few thousand iterations, 10.90", &["few thousand", "10.90"]),
        ("nothing", &[]),
    ] {
        assert_eq!(numbers(line), want, "{line}");
    }
}

/// The file of a source's text: its name with `_` for all but letters, digits, `.`, `-` and `@`.
fn file_of(folder: &Path, source: &str) -> PathBuf {
    let is_kept = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '@');
    let name: String = source.chars().map(|c| if is_kept(c) { c } else { '_' }).collect();
    folder.join(format!("{name}.txt"))
}

/// Written past the test harness's capture, so that a plain `cargo test` shows it.
fn not_run(what: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "not run: {what}");
}

#[test]
fn figures_are_printed_where_the_table_says() {
    let Some(folder) = std::env::var_os(TEXTS).map(PathBuf::from) else {
        not_run(&format!(
            "figures in the texts of their sources (set {TEXTS} to a folder of texts)"
        ));
        return;
    };
    let manifests = manifests();
    let claims = claims(&manifests);
    let sources: BTreeSet<&str> =
        claims.values().flat_map(|(_, claim)| &claim.sources).map(String::as_str).collect();
    let table = table();
    let mut wrong = Vec::new();
    for source in sources {
        let path = file_of(&folder, source);
        let Ok(bytes) = std::fs::read(&path) else {
            not_run(&format!("figures of {source} (no text {})", path.display()));
            continue;
        };
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<Vec<String>> = text.lines().map(numbers).collect();
        let of_source = table.iter().filter(|row| row.source == source);
        for row in of_source.clone() {
            let there = lines.get(row.line - 1).and_then(|line| line.get(row.number - 1));
            if there != Some(&row.printed) {
                wrong.push(format!("found {there:?}: {row:?}"));
            }
        }
        if source == PAGE {
            let tabled: BTreeSet<(usize, usize)> =
                of_source.map(|row| (row.line, row.number)).collect();
            for (at, line) in lines.iter().enumerate() {
                for (index, number) in line.iter().enumerate() {
                    if !tabled.contains(&(at + 1, index + 1)) {
                        wrong.push(format!(
                            "{source}, line {}: {number} is not in the table",
                            at + 1
                        ));
                    }
                }
            }
        }
        let all: BTreeSet<&str> = lines.iter().flatten().map(String::as_str).collect();
        for (id, (manifest, claim)) in &claims {
            if !claim.sources.iter().any(|known| known == source) {
                continue;
            }
            for (figure, printed) in figures(manifest, claim) {
                if !all.contains(printed.as_str()) {
                    wrong.push(format!("{id}: {figure} {printed} is not printed in {source}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
