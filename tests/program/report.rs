//! What `verify report` renders: to the byte, whatever a record holds, and with an exit code for records that differ.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::records::{derived, full, golden, record};
use crate::common::{Ran, ran};
use base64::Engine as _;
use contract::digest::Digest;
use record::Record;
use record::claims::Word;
use record::exit::Require;
use record::report::compare::{Agreement, compare};
use record::report::{csv, html, markdown, overview};
use record::verdict::{DENSE, OPERATOR, Verdict};
use serde_json::Value;

fn one(record: Record) -> Vec<(String, Record)> {
    vec![("record.json".into(), record)]
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn h200() -> PathBuf {
    root().join("tests/records/h200/h200.json")
}

/// A page with a line for each block, and without its style sheet: to be read in a diff.
fn in_lines(page: &str) -> String {
    let (head, rest) = page.split_once("<style>").expect("a style sheet");
    let (_, rest) = rest.split_once("</style>").expect("its end");
    let mut text = format!("{head}<style>...</style>{rest}");
    for tag in [
        "section", "h2", "h3", "h4", "p", "table", "tr", "details", "li", "svg", "path", "dt",
        "figure",
    ] {
        text = text.replace(&format!("<{tag}>"), &format!("\n<{tag}>"));
        text = text.replace(&format!("<{tag} "), &format!("\n<{tag} "));
    }
    text
}

#[test]
fn the_full_record_has_every_word_and_every_kind_of_verdict() {
    let record = full();
    let words: Vec<Word> = overview::words(&record).into_iter().map(|(word, _)| word).collect();
    assert_eq!(words.len(), 11, "{words:?}");
    let verdicts = overview::counts(&record);
    use Verdict::{Mismatch, NotRun, Unpinned, Verified};
    assert_eq!(verdicts, [(Verified, 4), (Mismatch, 1), (Unpinned, 1), (NotRun, 1)]);
}

#[test]
fn a_record_to_the_byte() {
    let records = one(full());
    golden("report.md", &markdown::render(&records));
    golden("report.html", &in_lines(&html::render(&records)));
}

#[test]
fn nothing_of_a_record_depends_on_when_it_is_rendered() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let render = |name: &str| {
        let path = folder.path().join(name);
        let ran = report(&[h200().to_str().expect("text"), "--html", path.to_str().expect("text")]);
        // Whether that run ended is not recorded.
        assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (3, "", ""));
        std::fs::read_to_string(path).expect("just written")
    };
    let (first, second) = (render("a.html"), render("b.html"));
    assert!(first == second, "twice the same record, two pages");
    let record = record::load(&h200()).expect("a record");
    for case in &record.cases {
        assert!(first.contains(&format!("--case '{}'", case.id)), "{}", case.id);
        let digest = overview::operator_digest(case).expect("it ran");
        assert!(first.contains(&digest[..16]), "{}", case.id);
    }
}

#[test]
fn the_page_fetches_nothing_and_runs_its_own_script_alone() {
    let page = html::render(&one(full()));
    let sha256 =
        base64::engine::general_purpose::STANDARD.encode(Digest::of(html::SCRIPT.as_bytes()).0);
    assert_eq!(html::SCRIPT_SHA256, sha256, "the policy names the script");
    assert!(page.contains(&format!("default-src 'none'; script-src 'sha256-{sha256}'; ")));
    assert!(!html::SCRIPT.contains('<'), "nothing in the script is taken for a tag");
    let (before, after) = page.split_once("<script>").expect("the script");
    let (script, after) = after.split_once("</script>").expect("its end");
    assert_eq!(script, html::SCRIPT);
    let page = format!("{before}{after}");
    for word in [
        "<script",
        " src=",
        "@import",
        "url(h",
        "javascript:alert(1)\"",
        " onload",
        "<iframe",
        "<base",
    ] {
        assert!(!page.contains(word), "{word}");
    }
    // An address of a claim is a link, and nothing else is.
    assert_eq!(page.matches("href=\"https://example.com/paper\"").count(), 2);
    assert!(page.contains("javascript:alert(1)"), "shown as text");
}

/// Records of which the second has other outputs of one case, as its committed digests have, and another A of the next.
fn differing() -> Vec<(String, Record)> {
    let (a, mut b) = (record(), record());
    let row = |case: usize, digest: usize, b: &mut Record| {
        let bits = b.cases[case].bits.as_mut().expect("it ran");
        bits.digests[digest].got = Some(Digest::of(b"another"));
    };
    row(0, DENSE, &mut b);
    row(0, OPERATOR, &mut b);
    let bits = b.cases[0].bits.as_mut().expect("it ran");
    bits.digests.iter_mut().for_each(|row| row.expected = row.got);
    row(1, 0, &mut b);
    keep(&mut b, &["good", "wrong", "gone"]);
    vec![("cpu.json".into(), a), ("gpu.json".into(), derived(b))]
}

/// The record of a run that was asked for these sections alone.
fn keep(record: &mut Record, sections: &[&str]) {
    let is_kept = |id: &str| sections.iter().any(|name| id.starts_with(&format!("{name}/")));
    record.cases.retain(|case| is_kept(&case.id));
    record.manifests[0].selected.retain(|id| is_kept(id));
    record.manifests[0].optional.retain(|id| is_kept(id));
}

/// A record of which everything is verified.
fn good() -> Record {
    let mut record = record();
    keep(&mut record, &["good"]);
    derived(record)
}

#[test]
fn records_that_agree_say_so() {
    let records = vec![("cpu.json".to_owned(), record()), ("gpu.json".to_owned(), record())];
    let compared = compare(&records);
    assert_eq!(compared.differences, [""; 0]);
    assert_eq!(compared.rows.len(), 4);
    let agree = |id: &str| {
        let row = compared.rows.iter().find(|row| row.id.starts_with(id)).expect("a case");
        row.digests
    };
    assert_eq!(agree("good/"), [Agreement::Agrees; 6]);
    assert_eq!(agree("gone/"), [Agreement::Nowhere; 6]);
    let (text, page) = (markdown::render(&records), html::render(&records));
    assert!(
        text.starts_with("# sparse-verify: records side by side\n\n**No difference**"),
        "{text}"
    );
    assert!(page.contains("The records agree."));
    assert!(text.contains("in 3 cases that more than one record has"), "{text}");
}

#[test]
fn records_without_a_common_case_do_not_agree() {
    let (mut a, mut b) = (record(), record());
    a.cases.truncate(1);
    b.cases.remove(0);
    let records = vec![("a.json".to_owned(), a), ("b.json".to_owned(), b)];
    assert_eq!(compare(&records).differences, [""; 0]);
    let (text, page) = (markdown::render(&records), html::render(&records));
    assert!(text.contains("**Nothing can be compared**"), "{text}");
    assert!(page.contains("Nothing can be compared.") && !page.contains("The records agree."));
}

#[test]
fn records_that_differ_name_it_first() {
    let records = differing();
    let compared = compare(&records);
    let starts = [
        "small `good/up/none/b3/f32/exact`: the digests `dense` differ: ",
        "small `good/up/none/b3/f32/exact`: the digests `operator` differ: ",
        "small `wrong/up/none/b3/f32/exact`: the digests `a` differ: ",
    ];
    assert_eq!(compared.differences.len(), starts.len(), "{:?}", compared.differences);
    for (difference, start) in compared.differences.iter().zip(starts) {
        assert!(difference.starts_with(start), "{difference}");
    }
    let new = compared.rows.iter().find(|row| row.id.starts_with("new/")).expect("in one of them");
    assert_eq!(new.verdicts, [Some(Verdict::Unpinned), None]);
    assert_eq!(new.digests, [Agreement::OnlyInOne; 6]);
    golden("report-differing.md", &markdown::render(&records));
    let page = html::render(&records);
    let (first, second) = (page.find("The records differ"), page.find("Side by side"));
    assert!(first < second && first.is_some(), "the difference comes first");
}

#[test]
fn what_need_not_be_equal_is_no_difference() {
    let mut records = differing();
    records[1].1.cases[1] = records[0].1.cases[1].clone();
    // No bit contract: the operator may give other bits, the inputs may not.
    records.iter_mut().for_each(|(_, record)| record.cases[0].arithmetic = "bounded".into());
    let dense = records[0].1.cases[0].bits.as_ref().expect("it ran").digests[DENSE].clone();
    records[1].1.cases[0].bits.as_mut().expect("it ran").digests[DENSE] = dense;
    assert_eq!(compare(&records).differences, [""; 0]);
    assert_eq!(compare(&records).rows[0].digests[3], Agreement::NotCompared("no bit contract"));
    // Another nonce perturbs elsewhere.
    let mut records = vec![("a".to_owned(), record()), ("b".to_owned(), record())];
    let bits = records[1].1.cases[0].bits.as_mut().expect("it ran");
    bits.digests[4].got = Some(Digest::of(b"another"));
    assert_eq!(compare(&records).differences.len(), 1);
    records[1].1.options.nonce = Some("today".into());
    assert_eq!(compare(&records).differences, [""; 0]);
    // One id, two cases; and one verifies what the other refutes.
    records[1].1.cases[0].seed += 1;
    records[1].1.cases[0].verdict = Verdict::Mismatch;
    let differences = compare(&records).differences;
    assert_eq!(differences.len(), 2, "{differences:?}");
    assert!(differences[0].contains("not the same case"), "{differences:?}");
    assert!(
        differences[1].contains("verdicts differ: verified (a), mismatch (b)"),
        "{differences:?}"
    );
}

#[test]
fn a_record_without_cases_verifies_nothing() {
    let mut record = record();
    record.cases.clear();
    let mut nothing = record.clone();
    nothing.manifests[0].selected.clear();
    for (record, words) in [
        (record, "0 of 4 cases: cases are missing; not verified: bits of 0 of 4 cases"),
        (nothing, "ot verified: bits of 0 of 0 cases"),
    ] {
        let records = one(record);
        for text in [markdown::render(&records), html::render(&records)] {
            assert!(text.contains(&format!("{words} (exit code 3)")), "{text}");
        }
    }
    let mut bare = full();
    bare.manifests.clear();
    bare.devices.clear();
    let page = html::render(&one(bare));
    assert!(page.contains("sweep/"), "cases of no manifest are shown");
    assert!(html::render(&[]).contains("No record."));
}

#[test]
fn the_exit_code_is_that_of_the_run() {
    let code = |record: &Record| record::outcome::of(record).code;
    let mut record = record();
    assert_eq!(code(&record), 1);
    keep(&mut record, &["good", "new"]);
    assert_eq!(code(&record), 0);
    record.options.strict = true;
    assert_eq!(code(&record), 3);
    keep(&mut record, &["good"]);
    assert_eq!(code(&record), 0);
    record.options.require = Require::Measurements;
    assert_eq!(code(&record), 3);
    // Nothing but what is not required: then it is what counts.
    let mut optional = self::record();
    keep(&mut optional, &["new"]);
    assert_eq!(code(&optional), 3);
    // Cut off, though every case is there.
    keep(&mut record, &["good"]);
    record.options.require = Require::Bits;
    assert_eq!(code(&record), 0);
    record.ended = None;
    assert_eq!(code(&record), 3);
    assert!(record::outcome::of(&record).headline.starts_with("1 of 1 cases: cut off"));
}

#[test]
fn a_command_is_for_a_shell_and_only_of_names_that_manifests_allow() {
    let mut record = full();
    let command = |record: &Record| overview::command(record, &record.cases[0]);
    assert_eq!(
        command(&record).as_deref(),
        Some(
            r"verify manifests/small.yaml --case 'good/up/none/b3/f32/exact' --nonce='today'\''s numbers'"
        )
    );
    record.options.nonce = None;
    record.options.measure = false;
    record.options.device = Some("0".into());
    let plain = command(&record).expect("a command");
    assert!(plain.ends_with(" --device='0' --no-measure"), "{plain}");
    for id in ["a'; rm -rf x #", "a b", "a\nb", "*", "", "a$(b)"] {
        record.cases[0].id = id.into();
        assert_eq!(command(&record), None, "{id}");
    }
}

const HOSTILE: &str = "<script>alert(1)</script>\"'|`\n\n# x\n- [y](javascript:z) &amp; \u{202e}\u{0}\u{1b}[31m @me www.x https://y $z$ ";

/// The record with `change` done to every text that may be any text.
fn with_texts(record: &Record, text: &str) -> Record {
    let mut value = serde_json::to_value(record).expect("a record");
    let mut places = Vec::new();
    walk(&value, &mut String::new(), &mut places, &|leaf| leaf.is_string());
    let mut changed = 0;
    for place in places {
        let leaf = value.pointer_mut(&place).expect("it was there");
        let old = std::mem::replace(leaf, Value::String(text.into()));
        // A digest, a verdict or a word is no free text; the names of digests and `bounded` decide something.
        let decides = place.contains("/digests/");
        if decides || serde_json::from_value::<Record>(value.clone()).is_err() {
            *value.pointer_mut(&place).expect("it was there") = old;
        } else {
            changed += 1;
        }
    }
    assert!(changed > 100, "{changed}");
    serde_json::from_value(value).expect("each change was tried")
}

fn walk(
    value: &Value,
    place: &mut String,
    places: &mut Vec<String>,
    wanted: &dyn Fn(&Value) -> bool,
) {
    let len = place.len();
    let mut inside = |key: &str, value: &Value| {
        // Panels are 64 texts of the same kind.
        if key.starts_with("panels_") {
            return;
        }
        place.push('/');
        place.push_str(&key.replace('~', "~0").replace('/', "~1"));
        walk(value, place, places, wanted);
        place.truncate(len);
    };
    match value {
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, item)| inside(&at.to_string(), item));
        }
        Value::Object(map) => map.iter().for_each(|(key, item)| inside(key, item)),
        leaf if wanted(leaf) => places.push(place.clone()),
        _ => {}
    }
}

/// The names of all tags in their order, but for places where a name may be broken.
fn tags(page: &str) -> Vec<&str> {
    let (_, page) = page.split_once("</style>").expect("a style sheet");
    page.split('<')
        .skip(1)
        .map(|rest| rest.split(['>', ' ']).next().unwrap_or(""))
        .filter(|tag| *tag != "wbr")
        .collect()
}

#[test]
fn hostile_text_is_text() {
    let record = full();
    let (harmless, hostile) = (with_texts(&record, "x"), with_texts(&record, HOSTILE));
    let (expected, page) = (html::render(&one(harmless)), html::render(&one(hostile.clone())));
    assert_eq!(tags(&page), tags(&expected));
    assert_eq!(page.matches("<script").count(), 1, "the page's own");
    for raw in ["<script>alert", "\u{202e}", "\u{0}", "\u{1b}", "href=\"javascript"] {
        assert!(!page.contains(raw), "{raw:?}");
    }
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/"), "it is shown");
    // Attributes end where they should: no quote of the text is left.
    let quotes = |page: &str| page.split_once("</style>").expect("a page").1.matches('"').count();
    assert_eq!(quotes(&page), quotes(&expected));

    let text = markdown::render(&one(hostile));
    for raw in [
        "<script",
        "[y](",
        "\u{202e}",
        "\u{0}",
        "\u{1b}",
        " @me",
        "www.x",
        "https://y",
        "\n# x",
        "\n- \\[y",
    ] {
        assert!(!text.contains(raw), "{raw:?} in {text}");
    }
    // Tables keep their shape.
    for block in text.split("\n\n").filter(|block| block.starts_with("| ")) {
        let bars: Vec<usize> = block.lines().map(|line| line.matches('|').count()).collect();
        assert!(bars.iter().all(|count| *count == bars[0]), "{block}");
    }
}

#[test]
fn long_texts_are_shown_whole_on_the_page_and_cut_in_a_summary() {
    let mut record = full();
    let long = "x".repeat(10_000);
    record.cases[1].id = long.clone();
    record.cases[1].reasons = vec![long.clone()];
    let records = one(record);
    assert!(html::render(&records).contains(&long));
    let text = markdown::render(&records);
    assert!(text.lines().all(|line| line.len() < 2_000), "{text}");
    // As many lines as there are rows, however many cases there are.
    let mut many = full();
    let case = many.cases[1].clone();
    many.cases.extend(std::iter::repeat_n(case, 5_000));
    let text = markdown::render(&one(many));
    assert!(text.chars().count() <= markdown::LENGTH_MAX, "{}", text.len());
    assert!(text.contains(" more are not shown here."), "{text}");
}

#[test]
fn markdown_has_the_claims_first_and_fits_in_a_comment() {
    let record = record::load(&h200()).expect("a record");
    let text = markdown::render(&one(record.clone()));
    assert!(text.chars().count() <= markdown::LENGTH_MAX, "{}", text.len());
    let row = "| h200-llama31-8b-up-80 | **refuted** | 9.53x over cuSPARSE | 10.02x [10.01 to 10.04] cusparse-default: \
               attained | 1.016x [1.013 to 1.018] compacted-cublas |";
    let place = text.find(row).unwrap_or_else(|| panic!("{text}"));
    assert!(place < text.find("<details>").expect("something folded"), "the claim comes first");
    // However many records there are.
    let many: Vec<(String, Record)> =
        (0..40).map(|at| (format!("{at}.json"), record.clone())).collect();
    let text = markdown::render(&many);
    assert!(text.chars().count() <= markdown::LENGTH_MAX, "{}", text.len());
    assert!(text.contains("`verify report RECORD"), "{text}");
}

#[test]
fn the_headline_claim_is_on_the_page_by_both_rules() {
    let page = html::render(&one(record::load(&h200()).expect("a record")));
    let card = page.split("<div class=\"card ").nth(1).expect("a card");
    for words in [
        "9.53x: <span class=\"verdict\">refuted</span>",
        "h200-llama31-8b-up-80",
        "<strong>9.53x</strong><span class=\"why\">over cuSPARSE</span>",
        "<strong>10.02x</strong> [10.01 to 10.04]",
        "over cusparse-default: ",
        "<strong>1.016x</strong> [1.013 to 1.018]",
        "over compacted-cublas",
        "choice of baseline",
        "class=\"mark printed\"",
        "class=\"interval published\"",
    ] {
        assert!(card.contains(words), "{words}: {card}");
    }
}

/// The markers of a look in the plots of errors, and the lines of their tables.
fn errors_shown(page: &str) -> Option<(usize, usize, usize)> {
    let (_, rest) = page.split_once("<summary>Error against time</summary>")?;
    // The next part that folds on its own.
    let (part, _) = rest.split_once("<summary>Energy</summary>").expect("it follows");
    let marks = |look: &str| {
        let plots = part.split("<svg class=\"plot\"").skip(1);
        plots.map(|plot| plot.matches(&format!("class=\"mark {look}\"")).count()).sum()
    };
    let lines = part.matches("<th scope=\"row\"").count();
    Some((marks("operator"), marks("best"), lines))
}

#[test]
fn errors_are_shown_beside_times_where_they_were_measured() {
    let mut record = full();
    let timed = record.cases.iter().filter(|case| case.measurement.is_some()).count();
    assert!(timed > 0);
    let shown = |record: &Record| errors_shown(&html::render(&one(record.clone())));
    // Each case has two baselines.
    assert_eq!(shown(&record), Some((timed, 2 * timed, 3 * timed)));
    // An error of 0 has no place on the axis, and is in the table.
    let timings = record.cases.iter_mut().find_map(|case| case.measurement.as_mut());
    let timings = timings.expect("one of them");
    let error = timings.baselines[0].error.as_mut().expect("it was measured");
    (error.error_max, error.error_share) = (0.0, Some(0.0));
    assert_eq!(shown(&record), Some((timed, 2 * timed - 1, 3 * timed)));
    // One error is beside nothing.
    for timings in record.cases.iter_mut().filter_map(|case| case.measurement.as_mut()) {
        timings.baselines.iter_mut().for_each(|timed| timed.error = None);
    }
    assert_eq!(shown(&record), None);
}

/// The cells of a line of CSV.
fn cells(line: &str) -> Vec<String> {
    let (mut cells, mut is_quoted) = (vec![String::new()], false);
    for c in line.chars() {
        match c {
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => cells.push(String::new()),
            c => cells.last_mut().expect("there is one").push(c),
        }
    }
    assert!(!is_quoted, "{line}");
    cells
}

#[test]
fn csv_has_every_case_every_time_and_every_figure() {
    let record = record::load(&h200()).expect("a record");
    let timed: usize = record
        .cases
        .iter()
        .filter_map(|case| case.measurement.as_ref())
        .map(|t| 1 + t.baselines.len())
        .sum();
    let figures: usize = record.judged.iter().map(|claim| claim.rows.len()).sum();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("a/b");
    let ran = report(&[h200().to_str().expect("text"), "--csv", out.to_str().expect("text")]);
    assert_eq!((ran.code, ran.stdout.as_str()), (3, ""), "{ran:?}");
    for (name, text) in csv::render(&one(record.clone())) {
        let written = std::fs::read_to_string(out.join(name)).expect("written");
        assert_eq!(written.lines().count(), text.lines().count(), "{name}");
        let widths: Vec<usize> = written.lines().map(|line| cells(line).len()).collect();
        assert!(widths.iter().all(|width| *width == widths[0]), "{name}: ragged");
        let rows = widths.len() - 1;
        match name {
            "cases.csv" => assert_eq!(rows, record.cases.len()),
            "times.csv" => assert_eq!(rows, timed),
            "claims.csv" => assert_eq!(rows, figures),
            _ => assert!(rows > timed, "{rows} samples"),
        }
    }
    let hostile = with_texts(&full(), HOSTILE);
    for (name, text) in csv::render(&one(hostile)) {
        let widths: Vec<usize> = text.lines().map(|line| cells(line).len()).collect();
        assert!(widths.iter().all(|width| *width == widths[0]), "{name}: ragged");
        for raw in ["\u{202e}", "\u{0}", "\u{1b}"] {
            assert!(!text.contains(raw), "{name}: {raw:?}");
        }
    }
}

#[test]
fn odd_numbers_break_nothing() {
    let record = full();
    let value = serde_json::to_value(&record).expect("a record");
    let mut places = Vec::new();
    walk(&value, &mut String::new(), &mut places, &|leaf| leaf.is_number());
    assert!(places.len() > 300, "{}", places.len());
    let odd: [Value; 6] =
        [0.into(), (-1).into(), u64::MAX.into(), 1e300.into(), 1e-300.into(), 255.into()];
    for odd in odd {
        let mut all = value.clone();
        for place in &places {
            let mut one_changed = value.clone();
            *one_changed.pointer_mut(place).expect("it is there") = odd.clone();
            if serde_json::from_value::<Record>(one_changed).is_ok() {
                *all.pointer_mut(place).expect("it is there") = odd.clone();
            }
        }
        check_numbers(serde_json::from_value(all).expect("each change was tried"));
    }
    // One field at a time, of one case: what is beside it is as usual.
    let places = places
        .iter()
        .filter(|place| place.starts_with("/cases/4/") || !place.starts_with("/cases"));
    for place in places.filter(|place| !place.contains("samples")) {
        for odd in [Value::from(0), u64::MAX.into(), 1e300.into()] {
            let mut changed = value.clone();
            *changed.pointer_mut(place).expect("it is there") = odd;
            if let Ok(record) = serde_json::from_value::<Record>(changed) {
                check_numbers(record);
            }
        }
    }
}

fn check_numbers(record: Record) {
    let records = one(record);
    let page = html::render(&records);
    let (_, body) = page.split_once("</style>").expect("a page");
    for word in ["NaN", "\"inf", "-inf"] {
        assert!(!body.contains(word), "{word}");
    }
    markdown::render(&records);
}

fn report(arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_verify"));
    ran(command.arg("report").args(arguments).current_dir(root()))
}

/// Records in files, by their names.
fn saved(records: &[(String, Record)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, record) in records {
        sparse_verify::records::save(record, &folder.path().join(name))
            .expect("the folder is there");
    }
    folder
}

#[test]
fn the_program_writes_where_it_is_told() {
    let folder = saved(&[differing(), vec![("good.json".into(), good())]].concat());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (cpu, gpu, good) = (path("cpu.json"), path("gpu.json"), path("good.json"));
    // The code is that which follows from the record.
    assert_eq!(report(&[&good]).code, 0);
    let ran = report(&[&cpu]);
    assert_eq!((ran.code, ran.stderr.as_str()), (1, ""));
    assert_eq!(
        ran.stdout,
        markdown::render(&one(record::load(Path::new(&cpu)).expect("a record")))
    );
    assert_eq!(report(&[&cpu, "--markdown"]).stdout, ran.stdout);
    assert_eq!(report(&["--markdown", "-", &cpu]).stdout, ran.stdout);
    let ran = report(&[&cpu, &gpu, "--html", &path("x.html"), "--markdown", &path("x.md")]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{ran:?}");
    assert!(ran.stderr.starts_with("the records differ: small `good/"), "{}", ran.stderr);
    assert!(ran.stderr.ends_with("and 2 more\n"), "{}", ran.stderr);
    assert!(
        std::fs::read_to_string(path("x.html")).expect("written").starts_with("<!DOCTYPE html>")
    );
    assert!(std::fs::read_to_string(path("x.md")).expect("written").starts_with("# "));
    assert_eq!(report(&[&good, &good]).code, 0);
    assert_eq!(report(&[&good, &cpu]).code, 1);
}

#[test]
fn what_cannot_be_read_or_written_has_its_code() {
    let folder = saved(&[differing(), vec![("good.json".into(), good())]].concat());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (cpu, gpu, good) = (path("cpu.json"), path("gpu.json"), path("good.json"));
    std::fs::write(path("bad.json"), "{}").expect("the folder is there");
    for (arguments, code, words) in [
        (vec![], 2, "RECORD"),
        (vec![path("bad.json")], 2, "is not a record"),
        (vec![path("missing.json")], 4, "failed to read the record"),
        (vec![good.clone(), "--html".into(), path("missing/x.html")], 4, "failed to write"),
        (vec![good.clone(), "--markdown".into(), path("missing/x.md")], 4, "failed to write"),
        // A slip that would cost a record.
        (vec!["--markdown".into(), cpu.clone(), gpu.clone()], 2, "would be written over"),
    ] {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let ran = report(&arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (code, ""), "{ran:?}");
        assert!(ran.stderr.contains(words), "{}", ran.stderr);
    }
    assert!(record::load(Path::new(&cpu)).is_ok());
    if Path::new("/dev/full").exists() {
        let full = std::fs::File::options().write(true).open("/dev/full").expect("a device");
        let mut command = Command::new(env!("CARGO_BIN_EXE_verify"));
        let status =
            command.args(["report", &good]).stdout(full).stderr(std::process::Stdio::null());
        assert_eq!(status.status().expect("it ran").code(), Some(4));
    }
}
