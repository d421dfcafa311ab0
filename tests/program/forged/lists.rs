//! Which places of a record may be changed, and why; the rules that every forgery has to obey.

use super::forgery::{Fate, Forgery, kind, table};

pub(super) const GREEN: &str = "exit code 0: everything required was verified (by the record)";

/// What follows from the rest of a record: whatever else is written there is refused when it is read.
pub(super) const DERIVED: [&str; 24] = [
    "/cases/*/verdict",
    "/cases/*/exit_code",
    "/cases/*/required",
    "/cases/*/bits/digests/*/compared",
    "/cases/*/bits/implementations_agree",
    "/cases/*/bits/likely_cause",
    "/cases/*/measurement/sparsity",
    "/cases/*/measurement/sparsity_measured",
    "/cases/*/measurement/work",
    "/cases/*/measurement/minimum_time_ns",
    "/cases/*/measurement/operator/timing",
    "/cases/*/measurement/baselines/*/timing",
    "/cases/*/measurement/speedups",
    "/cases/*/measurement/no_speedup",
    "/cases/*/measurement/break_even_calls",
    "/published_inputs/*/compared/matches",
    "/judged/*/cases",
    "/judged/*/id",
    "/judged/*/twin",
    "/judged/*/word",
    "/judged/*/rows/*/word",
    "/judged/*/rows/*/here",
    "/judged/*/rows/*/interval",
    "/outcome",
];

/// Observations that another observation, the manifest or what is committed contradicts: no change of one passes.
pub(super) const CONTRADICTED: [&str; 33] = [
    "/manifests/*/selected",
    "/manifests/*/optional",
    "/manifests/*/dealt",
    "/manifests/*/claims",
    "/manifests/*/sections",
    "/cases/*/id",
    "/cases/*/m",
    "/cases/*/k",
    "/cases/*/n",
    "/cases/*/seed",
    "/cases/*/weights",
    "/cases/*/arithmetic",
    "/cases/*/model",
    "/cases/*/stopped",
    "/cases/*/reasons",
    "/cases/*/bits/digests/*/expected",
    "/cases/*/bits/panels_dense",
    "/cases/*/bits/structure/elements",
    "/cases/*/bits/structure/nnz",
    "/cases/*/bits/structure/dead_rows",
    "/cases/*/bits/structure/dead_columns",
    "/cases/*/bits/structure/block_size",
    "/cases/*/bits/difference/elements",
    "/cases/*/bits/difference/differing",
    "/cases/*/bits/bound/outside",
    "/cases/*/measurement/nnz",
    "/cases/*/measurement/live_rows",
    "/cases/*/measurement/device",
    "/cases/*/measurement/element_bytes",
    "/cases/*/measurement/rounds",
    "/cases/*/measurement/roofline/margin",
    "/cases/*/measurement/operator/threads",
    "/published_inputs/*/compared/got",
];

/// The same of a measurement on a device.
pub(super) const CONTRADICTED_ON_DEVICES: [&str; 6] = [
    "/cases/*/measurement/operator/device_samples/*/time_ns",
    "/cases/*/measurement/operator/device_cold_samples/*/time_ns",
    "/cases/*/measurement/operator/energy/joules_per_call",
    "/cases/*/measurement/operator/energy/joules_per_call_above_idle",
    "/cases/*/measurement/operator/energy/window",
    "/devices/*/device/clock_khz_max",
];

/// Whether a kind of place is one of these, or inside of one.
pub(super) fn is_in(kinds: &[&str], kind: &str) -> bool {
    kinds.iter().any(|known| {
        kind.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// Observations that nothing else in a record, and nothing that is committed, contradicts: a machine's word, which is as
/// good as the machine. Some changes of them are found, and some are not.
const WORDS_OF_MACHINES: [(&str, &str); 39] = [
    ("/arguments", "the command line is told, not used"),
    ("/started", "a time of day"),
    ("/environment", "a machine's description of itself"),
    ("/devices", "a device's description of itself"),
    ("/options/any_platform", "what was asked for, where it changes no outcome"),
    ("/options/device", "what was asked for: what ran is in the cases"),
    ("/options/isa", "a dispatch path: it changes no bit"),
    // Refused where a time is too noisy, which counts where times are required; on a quiet machine none may be.
    ("/options/require", "what was asked for, where it changes no outcome"),
    ("/options/strict", "what was asked for, where it changes no outcome"),
    ("/options/threads", "how it ran: it changes no bit"),
    ("/manifests/*/expected_path", "a path on another machine"),
    ("/manifests/*/expected_sha256", "the digests in the file are compared one by one"),
    ("/cases/*/seconds", "a time"),
    ("/cases/*/measurement_reason", "why nothing was measured, in words"),
    ("/cases/*/baselines", "what a vendor's library computed"),
    ("/cases/*/baselines_missing", "what was looked for on another machine"),
    ("/cases/*/bits/operator", "the name of what ran"),
    ("/cases/*/bits/plan", "how it ran, in words"),
    ("/cases/*/bits/perturbation", "what was changed, in words"),
    ("/cases/*/bits/recomputed", "a count, within its bounds"),
    ("/cases/*/bits/negative_zeros_operator", "a count, within its bounds"),
    ("/cases/*/bits/negative_zeros_dense", "a count, within its bounds"),
    ("/cases/*/bits/dense_max", "a magnitude"),
    ("/cases/*/bits/dense_share_max", "a share"),
    ("/cases/*/bits/accuracy", "distances of elements that were recomputed, within their bounds"),
    ("/cases/*/bits/certificate", "a bound of sums, below its limit"),
    ("/cases/*/bits/structure", "counts of zeros, within their bounds"),
    ("/cases/*/bits/bound/used_max", "a share, of at most 1"),
    ("/cases/*/bits/difference", "of an output that no digest is committed of"),
    ("/cases/*/bits/digests/*/got", "of an output that no digest is committed of"),
    ("/cases/*/bits/panels_operator", "of an output that no digest is committed of"),
    ("/cases/*/measurement", "what a clock, a counter or a library said"),
    ("/cases/*/bits/returned/*/file", "a path on another machine"),
    ("/cases/*/stated", "what came with outputs: it is shown as stated"),
    ("/cases/*/weights_note", "where weights came from, in words"),
    ("/options/outputs/challenge_sha256", "a file that nobody here has"),
    ("/published_inputs/*/compared/pruned", "which tensor had the digest"),
    ("/published_inputs/*/device", "what drew it"),
    ("/published_inputs/*/reason", "why it was not made, in words"),
];

/// The rules that every forgery has to obey.
pub(super) fn assert_fates(forged: &[Forgery], fates: &[Fate]) {
    let table = table(forged, fates);
    println!("{table}");
    let machines: Vec<&str> = WORDS_OF_MACHINES.iter().map(|(kind, _)| *kind).collect();
    let mut wrong = Vec::new();
    for (forgery, fate) in forged.iter().zip(fates) {
        let kind = kind(&forgery.place);
        let is_right = match fate {
            Fate::Refused => true,
            _ if is_in(&DERIVED, &kind) => false,
            Fate::WithoutEffect | Fate::Accepted
                if is_in(&CONTRADICTED, &kind) || is_in(&CONTRADICTED_ON_DEVICES, &kind) =>
            {
                false
            }
            // A claim's lines, and what is said of it twice.
            Fate::WithoutEffect => is_in(&["/judged"], &kind),
            Fate::Rechecked | Fate::NotShown => true,
            Fate::Accepted => is_in(&machines, &kind),
        };
        if !is_right {
            let new = forgery.value.to_string().chars().take(120).collect::<String>();
            wrong.push(format!("{fate:?}: {} -> {new}\n", forgery.place));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.concat());
}
