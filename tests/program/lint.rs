//! `verify lint`: every finding on the published claims, pinned; each rule on claims that do and do not agree.

use std::path::Path;
use std::process::{Command, Output};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn lint(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_verify"))
        .arg("lint")
        .args(arguments)
        .current_dir(root())
        .output()
        .expect("verify runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// With UPDATE_GOLDEN set the file is written instead, for somebody to read in a diff.
#[test]
fn the_findings_on_what_is_published_are_these() {
    let output = lint(&["manifests"]);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let path = root().join("tests/golden/lint.txt");
    let text = stdout(&output);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).expect("written");
    }
    let want = std::fs::read_to_string(&path).expect("tests/golden/lint.txt");
    for (got, want) in text.lines().zip(want.lines()) {
        assert_eq!(got, want);
    }
    assert_eq!(text.lines().count(), want.lines().count());
}

/// The second implementation of the rules, in Python, written from VERIFY.md.
fn independent(arguments: &[&str]) -> Output {
    let python = std::env::var_os("SPARSE_VERIFY_PYTHON").unwrap_or_else(|| "python3".into());
    Command::new(python)
        .arg(root().join("tests/independent/claims.py"))
        .args(arguments)
        .current_dir(root())
        .output()
        .expect("a Python runs; tests/run.sh sets up what this needs")
}

#[test]
fn a_second_implementation_has_the_same_findings() {
    let text = stdout(&lint(&["manifests", "--format", "json"]));
    let mut document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let findings = document["findings"].as_array().expect("a list").len();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lint.json");
    let compare = |document: &serde_json::Value| {
        std::fs::write(&path, document.to_string()).expect("written");
        independent(&["manifests", "--json", path.to_str().expect("text")])
    };
    let all = compare(&document);
    let errors = String::from_utf8_lossy(&all.stderr);
    assert_eq!(stdout(&all), format!("{findings} findings equal, 0 not\n"), "{errors}");
    assert_eq!(all.status.code(), Some(0));
    // A finding that only one of them has is seen.
    document["findings"].as_array_mut().expect("a list").pop();
    let fewer = compare(&document);
    let rest = findings - 1;
    assert!(stdout(&fewer).starts_with("FAIL only here: "), "{}", stdout(&fewer));
    assert!(stdout(&fewer).ends_with(&format!("{rest} findings equal, 1 not\n")));
    assert_eq!(fewer.status.code(), Some(1));
}

/// Each row of tests/independent/mutations.yaml changes one figure, and with it the findings that it names, in both.
#[test]
fn a_changed_figure_changes_the_same_findings_in_both() {
    let output = independent(&["manifests", "--mutations", env!("CARGO_BIN_EXE_verify")]);
    let (printed, errors) = (stdout(&output), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{printed}{errors}");
    assert!(printed.ends_with(" rules, 0 failed\n"), "{printed}");
}

/// A section with claims, as a manifest.
fn with_claims(claims: &str) -> String {
    format!(
        "format: sparse-verify/2\ntitle: Claims\nplatform: NVIDIA H200\nsections:\n  - name: up\n    seed: 1\n    \
         weights: {{synthetic: uniform}}\n    layers: [{{name: up_proj, shape: [14336, 4096]}}]\n    \
         patterns: row-magnitude\n    sparsity: [0.8, 0.9]\n    batch: 1024\n    dtype: f32\n    \
         arithmetic: f32-chain\n    config: {{source: s, dtype: bf16, hidden_size: 4096, intermediate_size: 14336, \
         attention_heads: 32, key_value_heads: 8, vocabulary: 128256}}\n    claims:\n{claims}"
    )
}

/// Rules that find something in claims on the 80 % case, in the order of the output.
fn rules(claims: &[&str]) -> Vec<String> {
    let claims: String = claims
        .iter()
        .enumerate()
        .map(|(i, claim)| {
            format!("      - {{id: c{i}, case: {{sparsity: 0.8}}, sources: [s], {claim}}}\n")
        })
        .collect();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("claims.yaml");
    std::fs::write(&path, with_claims(&claims)).expect("written");
    let output = lint(&[path.to_str().expect("text"), "--format", "json"]);
    let document: serde_json::Value = serde_json::from_str(&stdout(&output))
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let findings = document["findings"].as_array().expect("a list");
    assert_eq!(output.status.code(), Some(i32::from(!findings.is_empty())));
    findings.iter().map(|finding| finding["rule"].as_str().expect("text").to_owned()).collect()
}

#[test]
fn claims_that_agree_with_themselves_give_no_finding() {
    let none: [&str; 0] = [];
    for claim in [
        "vendor_ms: 5.8984, operator_ms: 0.619, speedup: 9.53",
        "operator_ms: 2.5, tokens_per_s: 409600",
        // 2 x 11744051 x 1024 / 0.619 ms.
        "operator_ms: 0.619, gflops: 38857",
        "speedup: 9.53, energy_saved_percent: 89.5, energy_method: time-ratio",
        "speedup: 9.53, energy_saved_percent: 92.1, energy_method: counter",
        "live_rows: 2867",
        "speedup: 4.01, baseline: cuBLAS, over: {cuSPARSE: 9.53}",
        "memory_mb: 47, dense_memory_mb: 235, memory_reduction: 2.5",
        "tolerance: 1.0e-3, tolerance_of: output",
        "cases: 24, factors: [4, 6]",
        "operator_ms: 0.36",
        // 750 % is the low end of 8.45 and more.
        "speedup: 8.5 to 9.2, gain_percent: 750",
        // 0.001 / 3.9e-6 is 253 to 260.
        "tolerance: 0.001, max_abs_error: 3.9e-6, tolerance_over_error: 256",
        "tolerance: 0.001, max_abs_error: 3.9e-6, tolerance_over_error: 250",
        "cases: 4, cases_passed: 4, perturbations_passed: 4",
        "cases: 4, cases_passed: 3, perturbations_passed: 3",
        // A call saves 5.2865 ms at most, so that 51.5 s are 9742 of them.
        "build_s: 52, vendor_ms: 5.90, operator_ms: 0.619, break_even_calls: few thousand",
        "build_s: 0, us_per_token: 0.41, vendor_us_per_token: 4.44, break_even_calls: 0",
        // 11.74 million non-zeros, and as many as half a percent more.
        "index_max: 11800000",
    ] {
        assert_eq!(rules(&[claim]), none, "{claim}");
    }
    assert_eq!(rules(&["vendor_ms: 5.90", "vendor_ms: 5.8984"]), none);
}

/// One device and one shape at two levels of a hundredfold difference in non-zeros.
#[test]
fn times_that_do_not_depend_on_non_zeros_are_found_at_the_sparsest_level() {
    let rules = |claims: &[&str]| {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("times.yaml");
        let claims: String = claims
            .iter()
            .enumerate()
            .map(|(i, claim)| {
                let (level, rest) = claim.split_once(' ').expect("a level first");
                format!("  - {{id: c{i}, case: {{shape: [64, 64], batch: 8, sparsity: {level}}}, sources: [s], {rest}}}\n")
            })
            .collect();
        let text = format!("format: sparse-verify/2\ntitle: Times\nclaims:\n{claims}");
        std::fs::write(&path, text).expect("written");
        let output = lint(&[path.to_str().expect("text"), "--format", "json"]);
        let document: serde_json::Value = serde_json::from_str(&stdout(&output)).expect("JSON");
        let findings = document["findings"].as_array().expect("a list").clone();
        let name = |finding: &serde_json::Value, key: &str| {
            finding[key].as_str().unwrap_or_default().to_owned()
        };
        findings.iter().map(|f| (name(f, "about"), name(f, "rule"))).collect::<Vec<_>>()
    };
    let none: [(String, String); 0] = [];
    let same = "operator_ms: 1.00";
    let found = rules(&[&format!("0.99 {same}"), &format!("0.5 {same}"), "0 operator_ms: 1.03"]);
    assert_eq!(found, [("c0".to_owned(), "time and non-zeros".to_owned())]);
    // Slower by more, fewer non-zeros by less, another device, nothing but zeros.
    // 1.00 may be 0.995, and 1.04 may be 1.045.
    assert_eq!(rules(&[&format!("0.99 {same}"), "0 operator_ms: 1.04"]), none);
    assert_eq!(rules(&[&format!("0.99 {same}"), &format!("0.91 {same}")]), none);
    assert_eq!(rules(&[&format!("0.99 {same}"), &format!("0 {same}, platform: CPU")]), none);
    assert_eq!(rules(&[&format!("1 {same}"), &format!("0.9 {same}")]), none);
    assert_eq!(rules(&[&format!("0.99 {same}")]), none);
}

#[test]
fn each_rule_finds_what_it_is_for() {
    for (claims, rule) in [
        (&["vendor_ms: 5.8984, operator_ms: 0.619, speedup: 9.55"][..], "speedup"),
        (&["vendor_us_per_token: 4.44, us_per_token: 0.41, speedup: 11.2"], "speedup"),
        (&["operator_ms: 2.6, tokens_per_s: 409600"], "tokens"),
        (&["operator_ms: 0.619, gflops: 194286"], "gflops"),
        (&["speedup: 9.53, energy_saved_percent: 89.5, energy_method: counter"], "energy"),
        (&["speedup: 9.53, energy_saved_percent: 91.5, energy_method: time-ratio"], "energy"),
        // 24 GFLOP at 66.9 TFLOP/s take 0.36 ms.
        (&["operator_ms: 0.30"], "roofline"),
        (&["live_rows: 2860"], "live rows"),
        (&["speedup: 9.53, baseline: cuSPARSE, over: {cuBLAS: 4.01}"], "baseline"),
        (&["memory_mb: 50"], "memory"),
        (&["memory_reduction: 5"], "memory"),
        (&["tolerance: 2, tolerance_of: normalised-columns"], "tolerance"),
        (&["cases: 24, factors: [5, 6]"], "totals"),
        (&["operator_ms: 0.619", "operator_ms: 0.43"], "same case"),
        (&["operator_ms: 0.619", "operator_ms: 71, layers: 32"], "same case"),
        (&["speedup_max: 9", "speedup: 9.53"], "peak"),
        (
            &[
                "digests: {operator: 8dbe5f139fd946d4cd84e8cc612cd9f68cbc87e394457884acc0c5dad56dd8dd}",
            ],
            "vacuous digest",
        ),
        (&["digests: {v: 00112233}, scope: prefix"], "prefix coverage"),
        (&["speedup: 8.5 to 9.2, gain_percent: 730"], "gain"),
        (&["tolerance: 0.001, max_abs_error: 3.9e-6, tolerance_over_error: 310"], "margin"),
        (&["cases: 60, cases_passed: 60, perturbations_passed: 59"], "totals"),
        (
            &["build_s: 54, vendor_ms: 5.90, operator_ms: 0.619, break_even_calls: few thousand"],
            "amortisation",
        ),
        // 1.5 s / (4.04 us x 1024).
        (
            &["build_s: 2, us_per_token: 0.41, vendor_us_per_token: 4.44, break_even_calls: 300"],
            "amortisation",
        ),
        // Nothing is saved.
        (&["build_s: 0, vendor_ms: 0.61, operator_ms: 0.619, break_even_calls: 9"], "amortisation"),
        (&["index_max: 2147483647"], "index"),
    ] {
        assert_eq!(rules(claims), [rule], "{claims:?}");
    }
}

/// Findings of these manifests, files of one folder, as `about: rule: text`.
fn findings(manifests: &[(&str, &str)]) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in manifests {
        std::fs::write(folder.path().join(name), text).expect("written");
    }
    let output = lint(&[folder.path().to_str().expect("text"), "--format", "json"]);
    let document: serde_json::Value = serde_json::from_str(&stdout(&output))
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let findings = document["findings"].as_array().expect("a list").iter();
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    findings
        .map(|one| {
            format!("{}: {}: {}", text(&one["about"]), text(&one["rule"]), text(&one["finding"]))
        })
        .collect()
}

/// The members: 8.53x and 4.01x on the case at 80 %, in the section `claims/up` of two published cases.
const MEMBERS: &str =
    "      - {id: sparse, case: {sparsity: 0.8}, sources: [s], baseline: cuSPARSE, speedup: 9.53}
      - {id: dense, case: {sparsity: 0.8}, sources: [s], baseline: cuBLAS, speedup: 4.01}
      - {id: count, sources: [s], cases: 2, cases_passed: 1, max_abs_error: 3.9e-6}
";

#[test]
fn a_claim_about_sections_is_held_against_theirs_alone() {
    let published = "    published: {title: Two, cases: 2}\n    seed: 1\n";
    let members = with_claims(MEMBERS).replacen("    seed: 1\n", published, 1);
    let other = members.replace("9.53", "25.00");
    let about = |claim: &str| {
        format!(
            "format: sparse-verify/2\ntitle: All\nclaims:\n  - {{id: all, sources: [s], {claim}}}\n"
        )
    };
    let none: [&str; 0] = [];
    for (claim, want) in [
        ("about: a/up, speedup_max: 9.53", &none[..]),
        ("about: a/up, speedup_max: 9.50", &["all: peak: at most 9.50x, and 9.53x in `sparse`"]),
        ("about: a/up, speedup_max: 4.0, baseline: cuBLAS", &none),
        (
            "about: a/up, speedup_max: 3.9, baseline: cuBLAS",
            &["all: peak: at most 3.9x, and 4.01x in `dense`"],
        ),
        (
            "about: [a, b/up], speedup_max: 9.53",
            &["all: peak: at most 9.53x, and 25.00x in `sparse`"],
        ),
        ("speedup_max: 9.53", &["all: peak: at most 9.53x, and 25.00x in `sparse`"]),
        ("about: a, cases: 2", &none),
        ("about: a, cases: 3", &["all: totals: 3 cases, 2 of named sections (1): 1 are of none"]),
        ("about: [a, b], cases: 3", &["all: totals: 3 cases, and 4 of named sections (2)"]),
        (
            "about: [a, b], cases: 4, cases_passed: 4",
            &["all: totals: all passed, and 1 of 2 in `count`"],
        ),
        (
            "about: b, max_abs_error: 3.7e-6",
            &["all: maximum: error of all at most 3.7e-6, and 3.9e-6 in `count`"],
        ),
        ("about: a/down, cases: 2", &["all: about: no section is named `a/down`"]),
    ] {
        let found =
            findings(&[("a.yaml", &members), ("b.yaml", &other), ("c.yaml", &about(claim))]);
        assert_eq!(found, want, "{claim}");
    }
}

/// What is about another manifest and was not given it is compared with nothing, and says so.
#[test]
fn a_claim_about_a_manifest_that_is_not_given_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("c.yaml");
    let text = "format: sparse-verify/2\ntitle: All\nclaims:\n  - {id: all, about: [a/up, b], sources: [s], cases: 3}\n";
    std::fs::write(&path, text).expect("written");
    let path = path.to_str().expect("text");
    let output = lint(&[path]);
    let note = "all: not compared: it is about sections of a, b, not given\n1 claims, 0 findings\n";
    assert_eq!((stdout(&output).as_str(), output.status.code()), (note, Some(0)));
    let output = lint(&[path, "--format", "json"]);
    let document: serde_json::Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    let note = serde_json::json!([{"claim": "all", "not_given": ["a", "b"]}]);
    assert_eq!(document["not_compared"], note);
}

/// The peak that is printed of four models holds of each of them.
#[test]
fn the_published_peak_is_that_of_all_its_sections() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["b200.yaml", "h200.yaml", "mi300x.yaml", "page.yaml"] {
        let text = std::fs::read_to_string(root().join("manifests").join(name)).expect("text");
        let changed = text.replacen("speedup: 19.42\n", "speedup: 25.00\n", 1);
        assert_eq!(text != changed, name == "b200.yaml");
        std::fs::write(folder.path().join(name), changed).expect("written");
    }
    let output = lint(&[folder.path().to_str().expect("text")]);
    let finding = "b200-hf: peak: at most 19.42x, and 25.00x in `b200-hf-5`";
    assert!(stdout(&output).contains(finding), "{}", stdout(&output));
}

#[test]
fn a_range_over_levels_holds_each_of_them() {
    let none: [&str; 0] = [];
    for (span, want) in [
        ("0.35 to 0.62", &none[..]),
        ("0.35 to 0.60", &["all: range: operator_ms 0.35 to 0.60, and 0.619 in `at-80`"]),
        ("0.40 to 0.62", &["all: range: operator_ms 0.40 to 0.62, and 0.36 in `at-90`"]),
    ] {
        let claims = format!(
            "      - {{id: all, case: {{sparsity: [0.8, 0.9]}}, sources: [s], operator_ms: {span}}}\n      - {{id: at-80, case: \
             {{sparsity: 0.8}}, sources: [s], operator_ms: 0.619}}\n      - {{id: at-90, case: {{sparsity: 0.9}}, sources: \
             [s], operator_ms: 0.36}}\n"
        );
        assert_eq!(findings(&[("a.yaml", &with_claims(&claims))]), want, "{span}");
    }
}

/// 4.82 ms is printed beside 70 %, and 30.33 ms of the same library at 80 %.
#[test]
fn a_sparse_library_is_no_faster_with_more_to_do() {
    let at = |level: &str, baseline: &str, ms: &str| {
        format!(
            "      - {{id: at-{level}-{ms}, case: {{sparsity: 0.{level}}}, sources: [s], baseline: {baseline}, vendor_ms: {ms}}}\n"
        )
    };
    let none: [&str; 0] = [];
    for (claims, want) in [
        ([at("8", "cuSPARSE", "5.90"), at("9", "cuSPARSE", "3.01")], &none[..]),
        // Of a dense one they may be alike, and in any order.
        ([at("8", "cuBLAS", "2.48"), at("9", "cuBLAS", "2.49")], &none),
        ([at("8", "cuSPARSE", "2.90"), at("9", "rocSPARSE", "3.01")], &none),
        (
            [at("8", "cuSPARSE", "2.90"), at("9", "cuSPARSE", "3.01")],
            &[
                "at-8-2.90: sparse time: 2.90 ms at 80 %, and 3.01 ms at 90 % in `at-9-3.01`, where there is less to do",
            ],
        ),
    ] {
        assert_eq!(findings(&[("a.yaml", &with_claims(&claims.concat()))]), want);
    }
}

/// The published counts are nominal to a digit; as many operations more as a random mask has by chance are no finding.
#[test]
fn non_zeros_of_a_random_mask_scatter() {
    let text = std::fs::read_to_string(root().join("manifests/mi300x.yaml")).expect("text");
    let is_found = |text: &str| {
        let found = findings(&[("mi300x.yaml", text)]);
        found.iter().filter(|line| line.starts_with("mi300x-sweep-99: non-zeros: ")).count()
    };
    assert_eq!(is_found(&text), 1);
    let scattered: Vec<String> = text
        .lines()
        .map(|line| match line.strip_prefix("        gflops: ") {
            Some(gflops) => {
                let gflops: f64 = gflops.parse().expect("a number");
                format!("        gflops: {:.0}", gflops * 1.0002)
            }
            None => line.to_owned(),
        })
        .collect();
    assert_eq!(is_found(&scattered.join("\n")), 0);
    // At too few levels it may be chance.
    let few: Vec<&str> = text.lines().collect();
    let at = few.iter().position(|line| line.contains("id: mi300x-sweep-85")).expect("it");
    assert_eq!(is_found(&few[..at].join("\n")), 0);
}

#[test]
fn one_figure_of_five_digits_is_of_one_device() {
    let on = |platform: &str, gflops: &str| {
        let claim = format!(
            "      - {{id: rate, case: {{sparsity: 0.8}}, sources: [s], gflops: {gflops}}}\n"
        );
        with_claims(&claim).replace("platform: NVIDIA H200", &format!("platform: {platform}"))
    };
    let none: [&str; 0] = [];
    let want = ["rate: shared figure: gflops 44987 on NVIDIA B200, and on NVIDIA H200 in `rate`"];
    for (platform, gflops, want) in [
        ("NVIDIA B200", "44987", &want[..]),
        ("NVIDIA B200", "44988", &none),
        ("NVIDIA H200", "44987", &none),
    ] {
        let (a, b) = (on("NVIDIA H200", "44987"), on(platform, gflops));
        assert_eq!(findings(&[("a.yaml", &a), ("b.yaml", &b)]), want, "{platform}");
    }
    let (a, b) = (on("NVIDIA H200", "4498"), on("NVIDIA B200", "4498"));
    assert_eq!(findings(&[("a.yaml", &a), ("b.yaml", &b)]), none, "four digits");
}

/// 6.63 times as fast with a hundredth of the energy is a twentieth of a board's power or less.
#[test]
fn no_board_takes_less_than_an_idle_one() {
    let found = |platform: &str, claim: &str| {
        let claim =
            format!("      - {{id: one, case: {{sparsity: 0.8}}, sources: [s], {claim}}}\n");
        let text =
            with_claims(&claim).replace("platform: NVIDIA H200", &format!("platform: {platform}"));
        findings(&[("a.yaml", &text)])
    };
    let none: [&str; 0] = [];
    let claim = "speedup: 6.63, energy_saved_percent: 99";
    let found_here = found("NVIDIA B200", claim);
    assert_eq!(found_here.len(), 1, "{found_here:?}");
    assert!(found_here[0].starts_with("one: power: (1 - 99 %) x 6.63 = "), "{found_here:?}");
    // Of a board of which no listing is known, of times, of more of the energy, and of a range.
    assert_eq!(found("NVIDIA H200", claim), none);
    assert_eq!(found("NVIDIA B200", "speedup: 6.63, energy_saved_percent: 98"), none);
    assert_eq!(found("NVIDIA B200", "speedup: 6.63, energy_saved_percent: 98 to 99"), none);
    let times = "speedup: 1.11, energy_saved_percent: 10, energy_method: time-ratio";
    assert_eq!(found("NVIDIA B200", times), none);
}

#[test]
fn a_matrix_that_is_looked_up_multiplies_nothing() {
    let claim =
        "      - {id: one, case: {sparsity: 0.8}, sources: [s], baseline: cuBLAS, speedup: 9.53}\n";
    let embedding = |tied: &str, name: &str| {
        let text = with_claims(claim)
            .replace("name: up_proj, shape: [14336", &format!("name: {name}, shape: [128256"));
        findings(&[(
            "a.yaml",
            &text.replace("vocabulary: 128256}", &format!("vocabulary: 128256{tied}}}")),
        )])
    };
    let none: [&str; 0] = [];
    let found = embedding(", tie_word_embeddings: false", "model.embed_tokens");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("up: look-up: rows of `embed_tokens` are looked up"), "{found:?}");
    assert_eq!(embedding(", tie_word_embeddings: true", "model.embed_tokens"), none);
    assert_eq!(embedding("", "model.embed_tokens"), none);
    assert_eq!(embedding(", tie_word_embeddings: false", "lm_head"), none);
}

#[test]
fn a_trend_is_refuted_by_two_figures_that_no_rounding_puts_in_order() {
    let none: [&str; 0] = [];
    let claims = |claims: &[&str]| {
        let all = claims.iter().enumerate();
        let all = all.map(|(i, claim)| {
            let (at, rest) = claim.split_once(": ").expect("a batch first");
            format!(
                "  - {{id: c{i}, case: {{shape: [64, 64], sparsity: 0.5, dtype: f32, batch: {at}}}, sources: [s], baseline: x, \
                 speedup: {rest}}}\n"
            )
        });
        let all: String = all.collect();
        let text = format!(
            "format: sparse-verify/2\ntitle: T\nclaims:\n  - {{id: rises, sources: [s], speedup_rises_with: batch}}\n{all}"
        );
        findings(&[("a.yaml", &text)])
    };
    assert_eq!(claims(&["1: 1.24", "64: 7.92", "512: 7.92", "1024: 9.90"]), none);
    // 7.915 is a value of both.
    assert_eq!(claims(&["64: 7.92", "512: 7.91"]), none);
    let fallen = claims(&["512: 7.90", "1: 1.24", "64: 7.92"]);
    let want = "rises: trend: speedup is said to rise with batch: 7.92x at batch 64 in `c2`, and 7.90x at batch 512 in `c0`";
    assert_eq!(fallen, [want]);
    // Of two at one place any may be meant; on another board nothing is said.
    assert_eq!(claims(&["64: 7.92", "512: 7.00", "512: 8.00"]), none);
    assert_eq!(claims(&["64: 7.92", "512: '7.00', platform: NVIDIA B200"]), none);
    assert_eq!(claims(&["64: over 100", "512: 7.00"]).len(), 1);
    assert_eq!(claims(&["64: 7.92", "512: over 7"]), none);
    // One layer name in sections of two sizes, and other layers beside it.
    let section = |speedups: [&str; 2], shape: &str| {
        let claims: String = ["0.8", "0.9"].iter().zip(speedups).map(|(level, speedup)| {
            format!("      - {{id: s-{level}, case: {{sparsity: {level}}}, sources: [s], baseline: cuSPARSE, speedup: {speedup}}}\n")
        }).collect();
        with_claims(&claims)
            .replace("[14336, 4096]", shape)
            .replace("intermediate_size: 14336", "intermediate_size: 28672")
    };
    let about = |axis: &str| {
        format!(
            "format: sparse-verify/2\ntitle: T\nclaims:\n  - {{id: rises, about: [a/up, b/up], sources: [s], speedup_rises_with: {axis}}}\n"
        )
    };
    let of = |axis: &str, small: [&str; 2], large: [&str; 2]| {
        let (a, b) = (
            section(small, "[28672, 4096]"),
            section(large, "[28672, 8192]").replace("hidden_size: 4096", "hidden_size: 8192"),
        );
        findings(&[("a.yaml", &a), ("b.yaml", &b), ("c.yaml", &about(axis))])
    };
    assert_eq!(of("size", ["9.53", "8.66"], ["9.60", "8.70"]), none);
    assert_eq!(of("size", ["9.53", "8.66"], ["9.60", "8.50"]).len(), 1);
    assert_eq!(of("sparsity", ["8.66", "9.53"], ["8.50", "8.60"]), none);
    assert_eq!(of("sparsity", ["8.66", "9.53"], ["8.60", "8.50"]).len(), 1);
}

#[test]
fn one_claim_is_explained() {
    let claims = "      - {id: one, case: {sparsity: 0.8}, sources: [a page, 'a kit'], vendor_ms: 5.90, operator_ms: 0.619, \
                  speedup: 9.60, live_rows: 2867}\n      - {id: two, sources: [s], speedup: over 100}\n";
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("a.yaml"), with_claims(claims)).expect("written");
    let explain = |more: &[&str]| {
        let arguments = [&["a.yaml"], more].concat();
        let command = Command::new(env!("CARGO_BIN_EXE_verify"))
            .arg("lint")
            .args(arguments)
            .current_dir(folder.path())
            .output();
        command.expect("verify runs")
    };
    let one = explain(&["--explain", "one"]);
    assert_eq!(one.status.code(), Some(1));
    assert_eq!(
        stdout(&one),
        "a.yaml:16: one
  sources: a page, a kit
  vendor_ms 5.90: 5.895 to 5.905
  operator_ms 0.619: 0.6185 to 0.6195
  speedup 9.60: 9.595 to 9.605
  live_rows 2867: no other value
  speedup: finding: 5.90 / 0.619 ms = 9.516 to 9.547, printed 9.60
    no finding if the ratio is of other runs than the two times, or was rounded more coarsely than its digits say
  roofline: agrees: 2.393e10 flops / 66900 GFLOP/s = 0.3577 ms at least, printed 0.619 ms
  live rows: agrees: 14336 rows x (1 - 0.8) = 2867, printed 2867
"
    );
    let two = explain(&["--explain", "two"]);
    assert_eq!(two.status.code(), Some(0));
    assert!(stdout(&two).contains("  speedup over 100: 100 and more\n"), "{}", stdout(&two));
    let json = explain(&["--explain", "one", "--format", "json"]);
    let json: serde_json::Value = serde_json::from_str(&stdout(&json)).expect("JSON");
    let rule = &json[0]["rules"][0];
    assert_eq!((&rule["rule"], &rule["holds"]), (&"speedup".into(), &false.into()));
    assert!(rule["reading"].is_string() && json[0]["rules"][1]["reading"].is_null());
    let none = explain(&["--explain", "oen"]);
    assert_eq!(none.status.code(), Some(2));
    let message = "error: no claim has the id `oen`\nhint: did you mean `one`?\n";
    assert_eq!(String::from_utf8_lossy(&none.stderr), message);
}
