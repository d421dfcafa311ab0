//! What is said to whoever mistook a word, a file or an option, and to whoever reads a long run.

use std::collections::HashMap;

use crate::common::{Section, Workbench, repository, text};
use record::claims::{ClaimWord, Word};
use record::exit::{BAD_INPUT, ENVIRONMENT, NOT_VERIFIED, REFUTED, VERIFIED};
use record::verdict::Verdict;
use sparse_verify::manifest::operator::ARITHMETICS;

fn bench() -> Workbench {
    Workbench::pinned(&[Section { sparsity: "[0.5, 0.8]", ..Section::default() }])
}

/// docs/terms.md is in order, and has every word that the program prints for a case, a figure, a claim or a wall, and every code.
#[test]
fn the_page_of_terms_has_the_programs_words() {
    let page = std::fs::read_to_string(repository("docs/terms.md")).expect("the page");
    let terms = page.lines().filter_map(|line| line.strip_prefix("- **")?.split_once("**: "));
    let terms: Vec<String> = terms.map(|(term, _)| term.to_lowercase()).collect();
    assert!(terms.len() > 80, "{terms:?}");
    let key = |term: &String| term.replace(|c: char| !c.is_alphanumeric(), "");
    for pair in terms.windows(2) {
        assert!(key(&pair[0]) < key(&pair[1]), "{pair:?}");
    }
    // Lines are broken anywhere.
    let flat = page.split_whitespace().collect::<Vec<_>>().join(" ");
    let below = |term: &str| {
        let (_, rest) = flat.split_once(&format!("- **{term}**: ")).expect("the term");
        rest.split(" - **").next().unwrap_or_default().to_owned()
    };
    let has = |term: &str, word: &str| {
        assert!(below(term).contains(word), "`{word}` is not below {term}");
    };
    use Verdict::*;
    for verdict in [Verified, Mismatch, WithinBound, OutOfBound, Unpinned, InPart, NotRun] {
        has("verdict", &format!("*{}*", verdict.name()));
    }
    use Word as W;
    for word in [
        W::Attained,
        W::NotAttained,
        W::Reproduced,
        W::NotReproduced,
        W::Agrees,
        W::Differs,
        W::Impossible,
        W::Holds,
        W::Lower,
        W::Match,
        W::PrefixMatch,
        W::Mismatch,
        W::Inconclusive,
        W::NotJudged,
    ] {
        has("figure, word of a", &format!("*{}*", word.name()));
    }
    for word in ClaimWord::ALL {
        let word = word.name().split(" (").next().expect("a word");
        has("claim, word of a", &format!("*{word}*"));
    }
    for name in ARITHMETICS {
        has("arithmetic", &format!("*{name}*"));
    }
    for code in [VERIFIED, REFUTED, BAD_INPUT, NOT_VERIFIED, ENVIRONMENT, 130, 143] {
        has("exit code", &code.to_string());
    }
}

#[test]
fn a_mistyped_subcommand() {
    let bench = bench();
    for arguments in [&["lst"][..], &["lst", "manifests"], &["lst", "manifests", "--claims"]] {
        let ran = bench.verify(arguments);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.stderr.contains("hint: did you mean `verify list`?"), "{ran:?}");
    }
    // What is there is meant, and so is what looks like a file.
    std::fs::rename(bench.path("manifests"), bench.path("lst")).expect("free");
    let committed = "expected-hashes";
    std::fs::rename(bench.path(committed), bench.path("lst").join(committed)).expect("free");
    assert_eq!(bench.verify(&["lst", "--no-measure"]).code, 0);
    let ran = bench.verify(&["lint.yaml"]);
    assert_eq!(ran.code, 2);
    assert!(!ran.stderr.contains("hint"), "{ran:?}");
}

#[test]
fn cases_that_do_not_match() {
    let bench = bench();
    let hint = |glob: &str| {
        let ran = bench.verify(&["list", "manifests", "--case", glob]);
        assert_eq!(ran.code, 2, "{ran:?}");
        ran.stderr.lines().last().expect("a hint").to_owned()
    };
    assert_eq!(hint("smal/*"), "hint: did you mean `small/*` (2 cases)?");
    assert_eq!(hint("*row-magnitude-08*"), "hint: did you mean `*row-magnitude-80*` (1 case)?");
    assert_eq!(hint("row-magnitude"), "hint: did you mean `*row-magnitude*` (2 cases)?");
    assert_eq!(hint("elephants"), "hint: `verify list PATH` shows the ids; `*` matches any text");
    // A record's cases are matched likewise.
    let run = ["manifests", "--no-measure", "--json", "record.json"];
    assert_eq!(bench.verify(&run).code, 0);
    let ran = bench.verify(&["explain", "record.json", "--case", "smal/*"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("hint: did you mean `small/*` (2 cases)?"), "{ran:?}");
}

#[test]
fn a_record_in_a_manifests_place() {
    let bench = bench();
    assert_eq!(bench.verify(&["manifests", "--no-measure", "--json", "record.json"]).code, 0);
    // Larger than any manifest, and in whatever layout.
    let record = bench.read("record.json");
    bench.write("long.json", &(record.clone() + &" ".repeat(5 << 20)));
    let compact = serde_json::to_string(&bench.record("record.json")).expect("a record");
    bench.write("compact.json", &compact);
    for name in ["record.json", "long.json", "compact.json"] {
        let ran = bench.verify(&[name]);
        assert_eq!(ran.code, 2, "{ran:?}");
        let first = format!("error: {name}: expected a manifest, found the record of a run\n");
        assert!(ran.stderr.starts_with(&first), "{ran:?}");
        assert!(ran.stderr.contains("hint: `verify report` shows it"), "{ran:?}");
        assert_eq!(ran.stderr.lines().count(), 2, "{ran:?}");
    }
}

#[test]
fn measurements_that_cannot_be() {
    let bench = bench();
    let arguments = ["manifests", "--no-measure", "--require", "measurements", "--json", "r.json"];
    let ran = bench.verify(&arguments);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("asks for what --no-measure leaves out"), "{ran:?}");
    assert!(!bench.path("r.json").exists(), "nothing was begun");
    for require in ["bits", "claims"] {
        let ran = bench.verify(&["manifests", "--no-measure", "--require", require]);
        assert_ne!(ran.code, 2, "{ran:?}");
    }
}

#[test]
fn missing_weights_are_said_once() {
    let bench = Workbench::new(&[]);
    let weights = format!("{{file: weights.safetensors, sha256: {}}}", "0".repeat(64));
    let section = Section { sparsity: "[0.5, 0.8, 0.9]", ..Section::default() };
    let manifest = text(&[section])
        .replace("{synthetic: heavy-tailed}", &weights)
        .replace("name: up", "name: up, tensor: w");
    bench.write("manifests/small.yaml", &manifest);
    let run = ["manifests", "--no-measure", "--json", "record.json"];
    let ran = bench.verify(&run);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert_eq!(ran.stdout.matches("looked at").count(), 1, "{}", ran.stdout);
    let id = "small/up/row-magnitude-50/b24/f32/f32-chain";
    assert_eq!(ran.stdout.matches(&format!("(more at `{id}` above)")).count(), 2, "{}", ran.stdout);
    assert_eq!(ran.stdout.matches("not found").count(), 3, "{}", ran.stdout);
    // The record has each reason in full.
    let record = bench.record("record.json");
    let mut reasons: HashMap<&str, usize> = HashMap::new();
    for case in &record.cases {
        assert_eq!(case.verdict, Verdict::NotRun);
        *reasons.entry(case.reasons[0].as_str()).or_default() += 1;
    }
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    let reason = reasons.keys().next().expect("one");
    assert!(reason.contains("looked at") && reason.contains("hint: "), "{reason}");
}
