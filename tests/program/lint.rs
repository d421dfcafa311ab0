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

/// A section with claims, as a manifest.
fn with_claims(claims: &str) -> String {
    format!(
        "format: sparse-verify/2-draft\ntitle: Claims\nplatform: NVIDIA H200\nsections:\n  - name: up\n    seed: 1\n    \
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
        "tolerance: 1e-3, tolerance_of: output",
        "cases: 24, factors: [4, 6]",
        "operator_ms: 0.36",
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
        let text = format!("format: sparse-verify/2-draft\ntitle: Times\nclaims:\n{claims}");
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
        (&["tolerance: 0.05, tolerance_of: normalised-columns"], "tolerance"),
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
    ] {
        assert_eq!(rules(claims), [rule], "{claims:?}");
    }
}
