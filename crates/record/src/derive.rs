//! What follows from the observations of a record, and whether the record says the same.
//!
//! Observations are digests, differences, bounds, promises that broke, what stopped a case, samples, what was asked for
//! and how the run ended. Verdicts, codes, statistics, ratios, words of claims and the outcome follow from them. A
//! record whose observations contradict each other, or that says something else than what follows, is refused.
//!
//! Digests are public and times are anybody's: a record that was rewritten consistently is not seen here.

use std::collections::{HashMap, HashSet};

use contract::digest::PANELS;
use contract::threads;

use crate::judge;
use crate::outcome;
use crate::run::{BitsRecord, CaseRecord, End, Record, Stopped};
use crate::shared::{SharedOutputs, VACUOUS};
use crate::timings::{CaseTimings, Timed};
use crate::verdict::{self, DigestRow, Verdict};

/// Two things of a record that cannot both be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place} is {says}, and {follows}")]
pub struct Contradiction {
    /// Which field, of which case.
    pub place: String,
    /// What the record says.
    pub says: String,
    /// What follows from the rest of it.
    pub follows: String,
}

type Result<T = ()> = std::result::Result<T, Contradiction>;

fn refuse<T>(place: impl ToString, says: impl ToString, follows: impl ToString) -> Result<T> {
    let (place, says, follows) = (place.to_string(), says.to_string(), follows.to_string());
    Err(Contradiction { place, says, follows })
}

/// Refuses `says` unless it is what follows.
fn same<T: PartialEq + std::fmt::Debug>(place: &str, says: &T, follows: &T) -> Result {
    match says == follows {
        true => Ok(()),
        false => refuse(place, short(says), format!("{} follows from the rest", short(follows))),
    }
}

/// A value in a message, which need not be read whole.
fn short(value: &impl std::fmt::Debug) -> String {
    const LEN_MAX: usize = 160;
    let text = format!("{value:?}");
    match text.char_indices().nth(LEN_MAX) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text,
    }
}

/// The verdict that a case's observations give; `is_shared` if other weights gave the same output digest.
pub fn verdict(case: &CaseRecord, is_shared: bool) -> Verdict {
    let bits = match (&case.bits, case.stopped) {
        (Some(bits), _) => bits,
        (None, Some(Stopped::OtherWeights)) => return Verdict::Mismatch,
        (None, _) => return Verdict::NotRun,
    };
    let contract = verdict::has_contract(&case.arithmetic);
    let outside = bits.bound.as_ref().is_some_and(|bound| bound.outside > 0);
    if bits.digests.iter().any(DigestRow::differs)
        || bits.committed_differs.is_some()
        || !bits.broken.is_empty()
        || contract && bits.difference.differing > 0
        || is_shared
    {
        Verdict::Mismatch
    } else if outside || !bits.out_of_bound.is_empty() {
        Verdict::OutOfBound
    } else if bits.digests.iter().all(|row| row.expected.is_none()) {
        Verdict::Unpinned
    } else if contract {
        Verdict::Verified
    } else {
        Verdict::WithinBound
    }
}

/// Says of each digest whether it is compared with the committed one.
fn compare_rows(bits: &mut BitsRecord, arithmetic: &str, nonce: bool) {
    let contract = verdict::has_contract(arithmetic);
    let pinned = bits.digests.iter().any(|row| row.name == "dense" && row.expected.is_some());
    for row in &mut bits.digests {
        row.compared = pinned && verdict::is_compared(&row.name, contract, nonce);
    }
}

/// Sets everything that follows from a record's observations.
pub fn fill(record: &mut Record) {
    let nonce = record.options.nonce.is_some();
    let mut seen = SharedOutputs::default();
    for case in &mut record.cases {
        let shared = seen.note_record(case);
        case.reasons.retain(|reason| !reason.starts_with(VACUOUS));
        let is_shared = shared.is_some();
        case.reasons.extend(shared);
        if let Some(bits) = &mut case.bits {
            compare_rows(bits, &case.arithmetic, nonce);
        }
        case.verdict = verdict(case, is_shared);
        case.exit_code = crate::exit::of_verdict(case.verdict, case.stopped.map(Stopped::code));
    }
    statistics(record);
    record.judged = judge::judge(record);
    record.outcome = record.ended.as_ref().map(|_| outcome::of(record));
}

/// Statistics of all cases, on the threads of this machine: resampling takes milliseconds a contender.
fn statistics(record: &mut Record) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let measured: Vec<(u64, &mut CaseTimings)> = record
        .cases
        .iter_mut()
        .filter_map(|case| Some((case.seed, case.measurement.as_mut()?)))
        .collect();
    threads::each(cores, measured.into_iter(), |(seed, timings)| timings.derive(seed));
}

/// The record with everything derived anew; refused if its observations contradict each other or what it says.
pub fn check(mut record: Record) -> Result<Record> {
    let is_old = record.is_old();
    if is_old {
        complete_old(&mut record)?;
    }
    facts(&record, is_old)?;
    for case in &record.cases {
        case_facts(case, is_old)?;
    }
    let said = record.clone();
    fill(&mut record);
    for (says, follows) in said.cases.iter().zip(&mut record.cases) {
        if is_old {
            keep_old(says, follows)?;
            continue;
        }
        let place = |what: &str| format!("{what} of case `{}`", says.id);
        if says.verdict != follows.verdict {
            return refuse(
                place("the verdict"),
                says.verdict.name(),
                format!("its observations give {}", follows.verdict.name()),
            );
        }
        same(&place("the exit code"), &says.exit_code, &follows.exit_code)?;
        same(&place("the comparison"), &compared(says), &compared(follows))?;
        if follows.verdict.refutes() && says.measurement.is_some() {
            return refuse(
                place("a measurement"),
                "there",
                format!("the verdict is {}: nothing of it is published", follows.verdict.name()),
            );
        }
        if let (Some(says), Some(follows)) = (&says.measurement, &follows.measurement) {
            same_statistics(&place, says, follows)?;
        }
    }
    if is_old {
        // Verdicts that rest on what old records lack were kept above.
        record.judged = judge::judge(&record);
        record.outcome = None;
        return Ok(record);
    }
    if said.ended.is_none() {
        if let Some(outcome) = &said.outcome {
            return refuse("the outcome", short(outcome), "the run did not end");
        }
        return Ok(record);
    }
    same("the number of judged claims", &said.judged.len(), &record.judged.len())?;
    for (says, follows) in said.judged.iter().zip(&record.judged) {
        let place = format!("claim `{}`", says.id);
        let key = |claim: &crate::claims::JudgedClaim| {
            (claim.manifest.clone(), claim.id.clone(), claim.twin.clone(), claim.cases.clone())
        };
        same(&place, &key(says), &key(follows))?;
        same(&format!("the word of {place}"), &says.word, &follows.word)?;
        let rows = |claim: &crate::claims::JudgedClaim| -> Vec<_> {
            let rows = claim.rows.iter();
            rows.map(|r| (r.rule.clone(), r.word, r.printed.clone(), r.here, r.interval)).collect()
        };
        for (says, follows) in rows(says).iter().zip(&rows(follows)) {
            same(&format!("a row of {place}"), says, follows)?;
        }
        same(&format!("the number of rows of {place}"), &says.rows.len(), &follows.rows.len())?;
    }
    same("the outcome", &said.outcome, &record.outcome)?;
    Ok(record)
}

/// Which digests of a case are compared with committed ones.
fn compared(case: &CaseRecord) -> Vec<(&str, bool)> {
    let rows = case.bits.iter().flat_map(|bits| &bits.digests);
    rows.map(|row| (row.name.as_str(), row.compared)).collect()
}

/// Statistics and ratios beside those that the samples give.
fn same_statistics(
    place: &dyn Fn(&str) -> String,
    says: &CaseTimings,
    follows: &CaseTimings,
) -> Result {
    same(&place("the work"), &says.work, &follows.work)?;
    same(&place("the shortest possible time"), &says.minimum_time_ns, &follows.minimum_time_ns)?;
    let all = |timings: &CaseTimings| -> Vec<Timed> {
        std::iter::once(&timings.operator).chain(&timings.baselines).cloned().collect()
    };
    for (says, follows) in all(says).iter().zip(&all(follows)) {
        let place = place(&format!("the timing of `{}`", says.name));
        same(&place, &says.timing, &follows.timing)?;
    }
    same(&place("the speedups"), &says.speedups, &follows.speedups)?;
    same(&place("the reasons without a speedup"), &says.no_speedup, &follows.no_speedup)?;
    same(&place("the break-even"), &says.break_even_calls, &follows.break_even_calls)
}

/// What old records say in other places.
fn complete_old(record: &mut Record) -> Result {
    let has = |option: &str| record.arguments.iter().any(|argument| argument == option);
    let after = |option: &str| -> Vec<String> {
        let pairs = record.arguments.windows(2);
        let apart = pairs.filter(|pair| pair[0] == option).map(|pair| pair[1].clone());
        let joined = record.arguments.iter();
        let joined =
            joined.filter_map(|a| a.strip_prefix(&format!("{option}="))).map(str::to_owned);
        apart.chain(joined).collect()
    };
    let require = after("--require").pop();
    let known = crate::exit::Require::ALL.into_iter();
    let mut known = known.filter(|known| Some(known.name()) == require.as_deref());
    (record.options.strict, record.options.select) = (has("--strict"), after("--case"));
    record.options.require = known.next().unwrap_or_default();
    for case in &mut record.cases {
        case.stopped = match (&case.bits, case.verdict, case.exit_code) {
            (Some(_), ..) => None,
            (None, Verdict::Mismatch, crate::exit::REFUTED) => Some(Stopped::OtherWeights),
            (None, Verdict::NotRun, crate::exit::BAD_INPUT) => Some(Stopped::Refused),
            (None, Verdict::NotRun, crate::exit::ENVIRONMENT) => Some(Stopped::Environment),
            (None, Verdict::NotRun, crate::exit::NOT_VERIFIED) => Some(Stopped::Unavailable),
            (None, verdict, code) => {
                return refuse(
                    format!("the verdict of case `{}`", case.id),
                    format!("{} with exit code {code}", verdict.name()),
                    "it has no bits",
                );
            }
        };
    }
    Ok(())
}

/// An old verdict rests on words as well: what was refuted stays so, and nothing is verified that its digests refute.
fn keep_old(says: &CaseRecord, follows: &mut CaseRecord) -> Result {
    let place = |what: &str| format!("{what} of case `{}`", says.id);
    let (old, new) = (says.verdict, follows.verdict);
    if old.satisfies() && !new.satisfies() {
        return refuse(
            place("the verdict"),
            old.name(),
            format!("its observations give {}", new.name()),
        );
    }
    if old != new {
        if new.refutes() && !old.refutes() {
            return refuse(
                place("the verdict"),
                old.name(),
                format!("its digests give {}", new.name()),
            );
        }
        follows.verdict = old;
        follows.exit_code = says.exit_code;
        follows.reasons = says.reasons.clone();
    }
    let code = crate::exit::of_verdict(follows.verdict, follows.stopped.map(Stopped::code));
    if says.exit_code != code {
        let follows = format!("its verdict {} gives {code}", follows.verdict.name());
        return refuse(place("the exit code"), says.exit_code, follows);
    }
    Ok(())
}

/// What the parts of a record say of each other.
fn facts(record: &Record, is_old: bool) -> Result {
    let environments = record.shards.iter().map(|shard| &shard.environment);
    for environment in std::iter::once(&record.environment).chain(environments) {
        let version = &environment.tool_version;
        if record.tool != format!("{} {version}", crate::tool::NAME) {
            let follows = format!("the record is of `{}`", record.tool);
            return refuse("the version of the tool", version, follows);
        }
    }
    let mut names = HashSet::new();
    let mut places = HashMap::new();
    for manifest in &record.manifests {
        if !names.insert(manifest.name.as_str()) {
            return refuse(
                "a manifest's name",
                format!("`{}`", manifest.name),
                "it is there twice",
            );
        }
        let mut ids = HashSet::new();
        for id in &manifest.selected {
            if !ids.insert(id.as_str()) {
                return refuse("a case that was asked for", format!("`{id}`"), "it is there twice");
            }
        }
        let parts = manifest.optional.iter().chain(manifest.dealt.iter().flatten());
        for id in parts {
            if !ids.contains(id.as_str()) {
                return refuse("a case", format!("`{id}`"), "it is none of those asked for");
            }
        }
        for id in manifest.own() {
            places.insert((manifest.name.as_str(), id.as_str()), places.len());
        }
        let is_dealt = manifest.dealt.is_some();
        if !is_old && is_dealt != record.options.shard.is_some() {
            return refuse("the shard", short(&record.options.shard), "the cases say otherwise");
        }
    }
    let is_known = !is_old || record.manifests.iter().any(|m| !m.selected.is_empty());
    let optional: HashSet<(&str, &str)> = record
        .manifests
        .iter()
        .flat_map(|m| m.optional.iter().map(|id| (m.name.as_str(), id.as_str())))
        .collect();
    let mut last = None;
    for case in record.cases.iter().filter(|_| is_known) {
        let key = (case.manifest.as_str(), case.id.as_str());
        // Old shards do not say which cases were theirs.
        let Some(&place) = places.get(&key) else {
            return refuse("a case", format!("`{}`", case.id), "it is none of those asked for");
        };
        if last.is_some_and(|last| last >= place) {
            return refuse(
                "the place of a case",
                format!("`{}`", case.id),
                "it is out of order or twice",
            );
        }
        last = Some(place);
        if !is_old && case.required == optional.contains(&key) {
            return refuse(
                format!("`required` of case `{}`", case.id),
                case.required,
                "the selection says otherwise",
            );
        }
    }
    if record.ended == Some(End::Completed) {
        if let Some(running) = &record.running {
            return refuse("the case at work", format!("`{}`", running.id), "the run is complete");
        }
        if record.cases.len() < places.len() {
            let says = format!("{} of {}", record.cases.len(), places.len());
            return refuse("the number of cases", says, "the run is said to be complete");
        }
    }
    Ok(())
}

/// What the observations of a case say of each other.
fn case_facts(case: &CaseRecord, is_old: bool) -> Result {
    let place = |what: &str| format!("{what} of case `{}`", case.id);
    let bits = match (&case.bits, case.stopped) {
        (Some(bits), None) => bits,
        (None, Some(_)) => {
            if case.measurement.is_some() || !case.baselines.is_empty() {
                return refuse(place("a measurement"), "there", "it has no bits");
            }
            return Ok(());
        }
        (None, None) => {
            return refuse(
                place("the verdict"),
                case.verdict.name(),
                "it has no bits, and nothing says what stopped it",
            );
        }
        (Some(_), Some(stopped)) => {
            return refuse(place("`stopped`"), short(&stopped), "it has bits");
        }
    };
    bits_facts(case, bits, is_old)?;
    let Some(timings) = &case.measurement else { return Ok(()) };
    let sizes = [
        ("m", timings.m, case.m),
        ("k", timings.k, case.k),
        ("n", timings.n, case.n),
        ("non-zeros", timings.nnz, bits.structure.nnz as usize),
    ];
    for (what, timed, of_case) in sizes {
        same(&place(&format!("{what} of the measurement")), &timed, &of_case)?;
    }
    let live = [
        ("live rows", timings.live_rows, case.m.checked_sub(bits.structure.dead_rows)),
        ("live columns", timings.live_columns, case.k.checked_sub(bits.structure.dead_columns)),
    ];
    for (what, timed, of_bits) in live.into_iter().filter(|_| !is_old) {
        same(&place(&format!("{what} of the measurement")), &timed, &of_bits)?;
    }
    if !is_old && (timings.roofline.is_none() || timings.element_bytes.is_none()) {
        return refuse(place("the roofline"), "not there", "a measurement has one");
    }
    for timed in std::iter::once(&timings.operator).chain(&timings.baselines) {
        let place = |what: &str| place(&format!("{what} of `{}`", timed.name));
        if timed.verified == Some(true) && timed.checked_samples.is_empty() {
            return refuse(place("`verified`"), "true", "no sample was checked");
        }
        if let Some(at) = timed.checked_samples.iter().find(|at| **at >= timed.samples_ns.len()) {
            return refuse(place("a checked sample"), at, "there are fewer samples");
        }
    }
    Ok(())
}

fn bits_facts(case: &CaseRecord, bits: &BitsRecord, is_old: bool) -> Result {
    let place = |what: &str| format!("{what} of case `{}`", case.id);
    let names: Vec<&str> = bits.digests.iter().map(|row| row.name.as_str()).collect();
    same(&place("the digests"), &names, &verdict::DIGESTS.to_vec())?;
    let pinned = bits.digests[verdict::DENSE].expected.is_some();
    for row in &bits.digests[..=verdict::DENSE] {
        if row.got.is_none() {
            return refuse(place(&format!("the digest `{}`", row.name)), "none", "it has bits");
        }
        if row.expected.is_some() != pinned {
            return refuse(
                place(&format!("the committed digest `{}`", row.name)),
                short(&row.expected),
                "an entry commits all of them or none",
            );
        }
    }
    let (m, k, n) = (case.m as u64, case.k as u64, case.n as u64);
    let elements = |a: u64, b: u64| a.saturating_mul(b);
    let (s, d) = (&bits.structure, &bits.difference);
    same(&place("the elements of A"), &s.elements, &elements(m, k))?;
    same(&place("the elements compared"), &d.elements, &elements(m, n))?;
    if s.nnz > s.elements || s.dead_rows > case.m || s.dead_columns > case.k {
        return refuse(place("the structure"), short(s), "A has fewer elements");
    }
    if d.differing > d.elements || (d.differing > 0) != d.first.is_some() {
        return refuse(place("the difference"), short(d), "its counts say otherwise");
    }
    if let Some(bound) = &bits.bound
        && (bound.outside > 0) != bound.first_outside.is_some()
    {
        return refuse(place("the bound"), short(bound), "its counts say otherwise");
    }
    let contract = verdict::has_contract(&case.arithmetic);
    same(&place("whether there is a bound"), &bits.bound.is_some(), &!contract)?;
    let [dense, operator] = [verdict::DENSE, verdict::OPERATOR].map(|at| bits.digests[at].got);
    let panels = bits.panels_dense == bits.panels_operator;
    if (dense == operator) != (d.differing == 0) {
        return refuse(
            place("the number of differing elements"),
            d.differing,
            "the digests of the dense and the operator's output say otherwise",
        );
    }
    if panels != (dense == operator) {
        return refuse(
            place("the row panels"),
            "not as the digests",
            "they are of the same outputs",
        );
    }
    for (name, panels) in [("dense", &bits.panels_dense), ("operator", &bits.panels_operator)] {
        let is_panel = |text: &String| {
            text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        if panels.len() != PANELS || !panels.iter().all(is_panel) {
            return refuse(
                place(&format!("the panels of `{name}`")),
                panels.len(),
                format!("{PANELS} digests of 16 digits are there"),
            );
        }
    }
    if !is_old {
        let agree = (!contract || d.differing == 0)
            && bits.bound.as_ref().is_none_or(|bound| bound.outside == 0)
            && bits.broken.is_empty()
            && bits.out_of_bound.is_empty();
        same(&place("`implementations_agree`"), &bits.implementations_agree, &agree)?;
    }
    Ok(())
}
