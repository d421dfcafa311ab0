//! What follows from the observations of a record, and whether the record says the same.
//!
//! Observations are digests, differences, bounds, promises that broke, what stopped a case, samples, what was asked for
//! and how the run ended. Verdicts, codes, statistics, ratios, words of claims and the outcome follow from them. A
//! record whose observations contradict each other, or that says something else than what follows, is refused.
//!
//! Digests are public and times are anybody's: a record that was rewritten consistently is not seen here.

use std::collections::{HashMap, HashSet};

use contract::arithmetic::{exact, fixed_point};
use contract::digest::{PANELS, panel_start};
use contract::dtype::Dtype;
use contract::published::Scope;
use contract::threads;

use crate::claims::Tensor;
use crate::compare::{Difference, Distance, Element};
use crate::judge;
use crate::operator::{LAYERS, OperatorDevice, OperatorKind, OperatorRecord, is_plain};
use crate::outcome;
use crate::run::{BitsRecord, CaseRecord, End, Record, RunOptions, Stopped};
use crate::sample;
use crate::shard::Shard;
use crate::shared::{SharedOutputs, VACUOUS};
use crate::timings::{
    CaseTimings, ElementBytes, Energy, GIVEN_MARGIN, LayerSizes, MEASURED_MARGIN, Timed, Window,
};
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

/// Elements that are recomputed by the scalar rule at least, where there are as many.
const RECOMPUTED_MIN: u64 = 256;
/// The arithmetic whose sums are certified.
const EXACT: &str = "exact";
/// The name of the arithmetic of integers with scales.
const FIXED_POINT: &str = "fixed-point-24";

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
    } else if !bits.not_returned.is_empty() {
        Verdict::InPart
    } else if contract {
        Verdict::Verified
    } else {
        Verdict::WithinBound
    }
}

/// Says of each digest whether it is compared with the committed one: not that of an output which was not asked for or
/// did not come back.
fn compare_rows(bits: &mut BitsRecord, arithmetic: &str, options: &RunOptions) {
    let contract = verdict::has_contract(arithmetic);
    let pinned = bits.digests.iter().any(|row| row.name == "dense" && row.expected.is_some());
    let only_y = options.outputs.as_ref().is_some_and(|asked| !asked.perturbed);
    let BitsRecord { digests, not_returned, .. } = bits;
    for row in digests {
        let is_absent = not_returned.contains(&row.name)
            || only_y && ["rebuilt", "shifted"].contains(&row.name.as_str());
        let is_compared = verdict::is_compared(&row.name, contract, options.nonce.is_some());
        row.compared = pinned && is_compared && !is_absent;
    }
}

/// Sets everything that follows from a record's observations.
pub fn fill(record: &mut Record) {
    let mut seen = SharedOutputs::default();
    let Record { options, cases, .. } = record;
    for case in cases {
        let shared = seen.note_record(case);
        case.reasons.retain(|reason| !reason.starts_with(VACUOUS));
        let is_shared = shared.is_some();
        case.reasons.extend(shared);
        if let Some(bits) = &mut case.bits {
            compare_rows(bits, &case.arithmetic, options);
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
    if let Some(operator) = &record.operator {
        isolation_facts(operator)?;
        let was_run = operator.kind != OperatorKind::Outputs;
        same("whether the operator was run", &was_run, &record.options.outputs.is_none())?;
    }
    for (at, case) in record.cases.iter().enumerate() {
        case_facts(case, is_old)?;
        layers_facts(case, &record.cases[..at])?;
        outputs_facts(case, &record.options)?;
        operator_facts(case, record.operator.as_ref())?;
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
    if old.satisfies() && old != new {
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
    if let Some(after) = &record.options.after
        && let Err(bad) = after.check(record.options.nonce.as_deref())
    {
        return refuse("the nonce's source", short(&after.nonce_source), bad);
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
        for part in [Some(&manifest.optional), manifest.dealt.as_ref()].into_iter().flatten() {
            if let Some(id) = part.iter().find(|id| !ids.contains(id.as_str())) {
                return refuse("a case", format!("`{id}`"), "it is none of those asked for");
            }
            let kept: HashSet<&String> = part.iter().collect();
            if !manifest.selected.iter().filter(|id| kept.contains(id)).eq(part) {
                let follows = "they are out of the order asked for, or there twice";
                return refuse("a list of cases", short(part), follows);
            }
        }
        for id in manifest.own() {
            places.insert((manifest.name.as_str(), id.as_str()), places.len());
        }
        let is_dealt = manifest.dealt.is_some();
        let is_part = record.options.shard.is_some() || record.options.sample.is_some();
        if !is_old && is_dealt != is_part {
            return refuse("the shard", short(&record.options.shard), "the cases say otherwise");
        }
    }
    sample_facts(record)?;
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
    if !record.options.measure
        && let Some(case) = record.cases.iter().find(|case| case.measurement.is_some())
    {
        return refuse(
            format!("a measurement of case `{}`", case.id),
            "there",
            "nothing was to be measured",
        );
    }
    published_facts(record)?;
    let shards: HashSet<_> = record.shards.iter().map(|shard| shard.shard).collect();
    let count = record.shards.first().map_or(0, |shard| shard.shard.count());
    if record.ended == Some(End::Completed) && shards != Shard::all(count).collect() {
        let says = format!("{} of {count}", shards.len());
        return refuse("the number of shards", says, "all of them are said to be joined");
    }
    let finished = record.shards.iter().filter(|shard| shard.is_complete());
    let finished: HashSet<_> = finished.map(|shard| shard.shard).collect();
    // Old records do not say how their shards ended.
    if record.ended == Some(End::Completed) && !record.is_old() && finished != shards {
        let says = format!("{} of {count}", finished.len());
        return refuse("the number of shards that were completed", says, "the whole is complete");
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

/// What is said of published inputs is said of digests that are published.
fn published_facts(record: &Record) -> Result {
    let mut seen = HashSet::new();
    for input in &record.published_inputs {
        let place = format!("the published {} of claim `{}`", input.tensor.name(), input.claim);
        if !seen.insert((&input.manifest, &input.claim, input.tensor.name())) {
            return refuse(place, "there", "it is there twice");
        }
        if input.compared.is_some() == input.reason.is_some() {
            let says = short(&input.reason);
            return refuse(format!("why {place} was not made"), says, "either is there, not both");
        }
        let manifests = record.manifests.iter().filter(|known| known.name == input.manifest);
        let mut claims = manifests.flat_map(|known| &known.claims).filter(|c| c.id == input.claim);
        let claim = claims.next();
        let digests = claim.map_or(&[][..], |claim| &claim.digests);
        let Some(published) = digests.iter().find(|digest| digest.tensor == input.tensor) else {
            return refuse(place, "made again", "no manifest publishes it");
        };
        let Some(compared) = &input.compared else { continue };
        same(&format!("the scope of {place}"), &compared.scope, &published.scope)?;
        let digits = published.digits.as_str().len();
        same(&format!("the digits of {place}"), &compared.digits, &digits)?;
        let matches = published.matches(&compared.got);
        same(&format!("`matches` of {place}"), &compared.matches, &matches)?;
        // By its cases, where they are here: it may be the tensor of any of them.
        let ids = claim.map_or(&[][..], |claim| &claim.cases);
        let is_of = |case: &&CaseRecord| case.manifest == input.manifest && ids.contains(&case.id);
        let cases: Vec<&CaseRecord> = record.cases.iter().filter(is_of).collect();
        let elements = |case: &CaseRecord| match input.tensor {
            Tensor::A => case.m.checked_mul(case.k),
            Tensor::V => case.k.checked_mul(case.n),
            Tensor::Dense | Tensor::Operator => case.m.checked_mul(case.n),
        };
        let mut sizes: Vec<Option<usize>> = cases.iter().map(|case| elements(case)).collect();
        let mut whose = "its cases have";
        if let Some(claim) = claim.filter(|claim| sizes.is_empty() && claim.has_own_inputs()) {
            // By what the claim says of itself.
            sizes.push(claim.elements(input.tensor).and_then(|n| usize::try_from(n).ok()));
            whose = "the claim has";
        }
        let share = |n: &Option<usize>| n.map(|n| compared.scope.share(n)) == compared.share;
        if !sizes.is_empty() && !sizes.iter().any(share) {
            let says = short(&compared.share);
            return refuse(format!("the share of {place}"), says, format!("{whose} other shapes"));
        }
        let is_a = |case: &&&CaseRecord| {
            let digests = case.bits.iter().flat_map(|bits| &bits.digests);
            digests.take(1).any(|row| row.got == Some(compared.got))
        };
        if compared.pruned
            && (input.tensor, compared.scope) == (Tensor::A, Scope::WholeTensor)
            && cases.iter().any(|case| case.bits.is_some())
            && !cases.iter().any(|case| is_a(&case))
        {
            return refuse(format!("`pruned` of {place}"), "true", "no A of its cases is that one");
        }
    }
    Ok(())
}

/// What the observations of a case say of each other.
fn case_facts(case: &CaseRecord, is_old: bool) -> Result {
    let place = |what: &str| format!("{what} of case `{}`", case.id);
    if case.measurement.is_some() == case.measurement_reason.is_some() {
        let says = short(&case.measurement_reason);
        return refuse(place("why nothing was measured"), says, "either is there, not both");
    }
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
    bits_facts(case, bits)?;
    if case.verdict.satisfies() && !case.reasons.is_empty() {
        let follows = format!("its verdict is {}", case.verdict.name());
        return refuse(place("the reasons"), short(&case.reasons), follows);
    }
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
    same(&place("the device of the measurement"), &timings.device, &case.device)?;
    let percent: f64 = case.sparsity_percent.parse().unwrap_or(f64::NAN);
    // Both are decimals of nine places.
    if (timings.sparsity - percent / 100.0).abs() >= 1e-10 || percent.is_nan() {
        return refuse(
            place("the sparsity of the measurement"),
            timings.sparsity,
            format!("it is {} % of the case", case.sparsity_percent),
        );
    }
    let elements = (case.m * case.k) as f64;
    let measured = if elements == 0.0 { 0.0 } else { 1.0 - timings.nnz as f64 / elements };
    same(&place("the sparsity found"), &timings.sparsity_measured, &measured)?;
    if let Some(roofline) = &timings.roofline
        && ![GIVEN_MARGIN, MEASURED_MARGIN].contains(&roofline.margin)
    {
        let known = format!("it is {GIVEN_MARGIN} or {MEASURED_MARGIN}");
        return refuse(place("the margin of the roofline"), roofline.margin, known);
    }
    if !is_old && timings.device.is_none() {
        let bytes = Some(ElementBytes::F32);
        same(&place("the size of elements"), &timings.element_bytes, &bytes)?;
    }
    same(&place("the operator of the measurement"), &timings.operator.name, &bits.operator)?;
    for timed in std::iter::once(&timings.operator).chain(&timings.baselines) {
        let place = |what: &str| place(&format!("{what} of `{}`", timed.name));
        timed_facts(&place, timed, timings.device.is_some())?;
        same(&place("the threads"), &timed.threads, &timings.threads)?;
        let is_operator = std::ptr::eq(timed, &timings.operator);
        same(&place("whether it is a baseline"), &timed.kind.is_none(), &is_operator)?;
        let (rounds, samples) = (timings.rounds, timed.samples_ns.len());
        if samples > rounds || is_operator && timed.failure.is_none() && samples < rounds {
            return refuse(
                place("the number of samples"),
                samples,
                format!("{rounds} rounds were made"),
            );
        }
        if timed.verified == Some(true) && timed.checked_samples.is_empty() {
            return refuse(place("`verified`"), "true", "no sample was checked");
        }
        if let Some(at) = timed.checked_samples.iter().find(|at| **at >= timed.samples_ns.len()) {
            return refuse(place("a checked sample"), at, "there are fewer samples");
        }
    }
    Ok(())
}

/// What a measurement of a whole stack says of its layers: the last one is the case's own, and those before it are the cases
/// before it, as far as they were run.
fn layers_facts(case: &CaseRecord, before: &[CaseRecord]) -> Result {
    let Some(timings) = &case.measurement else { return Ok(()) };
    let Some(layers) = &timings.layers else { return Ok(()) };
    let place = |what: &str| format!("{what} of the stack that case `{}` ends", case.id);
    if timings.device.is_none() {
        return refuse(place("a measurement"), "there", "a stack is timed on a device alone");
    }
    let Some((last, others)) = layers.split_last() else {
        return refuse(place("the layers"), "none", "a stack has some");
    };
    let own = LayerSizes {
        m: timings.m,
        k: timings.k,
        nnz: timings.nnz,
        live_rows: timings.live_rows.unwrap_or(0),
        live_columns: timings.live_columns.unwrap_or(0),
    };
    same(&place("the last layer"), last, &own)?;
    let is_possible = |layer: &LayerSizes| {
        let LayerSizes { m, k, nnz, live_rows, live_columns } = *layer;
        live_rows <= m
            && live_columns <= k
            && live_rows.checked_mul(live_columns).is_some_and(|most| nnz <= most)
    };
    if let Some(layer) = layers.iter().find(|layer| !is_possible(layer)) {
        return refuse(place("a layer"), short(layer), "it has more non-zeros than it can have");
    }
    let of_section =
        |other: &&CaseRecord| (&other.manifest, &other.section) == (&case.manifest, &case.section);
    let known = before.iter().rev().take_while(of_section);
    for (layer, other) in others.iter().rev().zip(known) {
        let Some(bits) = &other.bits else { continue };
        let sizes = LayerSizes {
            m: other.m,
            k: other.k,
            nnz: bits.structure.nnz as usize,
            live_rows: other.m.saturating_sub(bits.structure.dead_rows),
            live_columns: other.k.saturating_sub(bits.structure.dead_columns),
        };
        same(&place(&format!("layer `{}`", other.id)), layer, &sizes)?;
    }
    Ok(())
}

/// What a case says of the operator under test, where that is not our own.
fn operator_facts(case: &CaseRecord, operator: Option<&OperatorRecord>) -> Result {
    let place = |what: &str| format!("{what} of case `{}`", case.id);
    let Some(operator) = operator else {
        return match case.stopped {
            Some(Stopped::Operator) => {
                refuse(place("what stopped it"), "an operator under test", "there was none")
            }
            _ => Ok(()),
        };
    };
    if operator.kind == OperatorKind::Outputs {
        // What came back is judged by the options, whoever is said to have made it.
        return Ok(());
    }
    match (operator.device, &case.device) {
        (OperatorDevice::Cpu, Some(_)) => {
            return refuse(place("the device"), short(&case.device), "the operator ran on the CPU");
        }
        // One that was never begun has none.
        (OperatorDevice::Cuda, None) if case.bits.is_some() => {
            return refuse(place("the device"), "none", "the operator ran on one");
        }
        (OperatorDevice::Cpu, None) | (OperatorDevice::Cuda, _) => {}
    }
    if let Some(bits) = &case.bits {
        same(&place("the operator"), &bits.operator, &operator.name)?;
    }
    if let Some(timings) = &case.measurement {
        same(&place("the operator that was timed"), &timings.operator.name, &operator.name)?;
    }
    Ok(())
}

/// An operator as its file can have it, and its layers of isolation: all of them, by their names.
fn isolation_facts(operator: &OperatorRecord) -> Result {
    for (what, text) in
        [("the operator's name", &operator.name), ("its version", &operator.version)]
    {
        if !is_plain(text) {
            return refuse(what, short(text), "no operator file can have it");
        }
    }
    let says: Vec<&str> = operator.isolation.iter().map(|layer| layer.name.as_str()).collect();
    let follows: Vec<&str> = match operator.kind {
        OperatorKind::Outputs => Vec::new(),
        _ => LAYERS.iter().map(|(name, _)| *name).collect(),
    };
    same("the layers of isolation", &says, &follows)
}

/// A sample has the cases that its nonce draws.
fn sample_facts(record: &Record) -> Result {
    let Some(drawn) = sample::drawn(record) else { return Ok(()) };
    if record.options.shard.is_some() {
        return refuse("the sample", short(&record.options.sample), "it is a shard as well");
    }
    if record.options.outputs.is_some() {
        let why = "outputs made elsewhere were judged";
        return refuse("the sample", short(&record.options.sample), why);
    }
    for (manifest, drawn) in record.manifests.iter().zip(drawn) {
        if manifest.own() != drawn {
            let place = format!("the sample of manifest `{}`", manifest.name);
            let follows = format!("its nonce draws {}", short(&drawn));
            return refuse(place, short(&manifest.own()), follows);
        }
    }
    Ok(())
}

/// What is said of outputs made elsewhere, where such were judged and nowhere else.
fn outputs_facts(case: &CaseRecord, options: &RunOptions) -> Result {
    let place = |what: &str| format!("{what} of case `{}`", case.id);
    let Some(asked) = &options.outputs else {
        let bits = case.bits.as_ref();
        if bits.is_some_and(|bits| !bits.returned.is_empty() || !bits.not_returned.is_empty()) {
            return refuse(place("what came back"), "there", "an operator was run");
        }
        return match &case.stated {
            Some(stated) => refuse(place("`stated`"), short(stated), "an operator was run"),
            None => Ok(()),
        };
    };
    if options.measure || options.shard.is_some() {
        return refuse("the options", "of a run", "outputs made elsewhere were judged");
    }
    if !asked.perturbed && options.nonce.is_some() {
        return refuse("the nonce", short(&options.nonce), "nothing perturbed was asked for");
    }
    if case.device.is_some() || case.measurement.is_some() {
        return refuse(place("the device"), short(&case.device), "nothing was run");
    }
    let latency = case.stated.as_ref().and_then(|stated| stated.latency_ms);
    if latency.is_some_and(|ms| !ms.is_finite() || ms <= 0.0) {
        return refuse(place("the stated time"), short(&latency), "it is no time");
    }
    let Some(bits) = &case.bits else { return Ok(()) };
    same(&place("the operator"), &bits.operator, &asked.operator())?;
    let names: Vec<&str> = bits.returned.iter().map(|output| output.name.as_str()).collect();
    let absent: Vec<&str> = bits.not_returned.iter().map(String::as_str).collect();
    for (at, (name, digest)) in verdict::OUTPUTS.into_iter().enumerate() {
        let is_y = at == 0;
        let is_there = bits.digests.iter().any(|row| row.name == digest && row.got.is_some());
        same(&place(&format!("whether `{name}` came back")), &names.contains(&name), &is_there)?;
        if absent.contains(&name) && (is_y || is_there || !asked.perturbed) {
            return refuse(
                place("what did not come back"),
                short(&absent),
                "the rest says otherwise",
            );
        }
        if is_there && !is_y && !asked.perturbed {
            return refuse(place("what came back"), short(&names), "it was not asked for");
        }
    }
    let known: Vec<&str> = verdict::OUTPUTS.iter().map(|(name, _)| *name).collect();
    for (what, names) in [("what came back", names), ("what did not come back", absent)] {
        let follows: Vec<&str> =
            known.iter().copied().filter(|known| names.contains(known)).collect();
        same(&place(what), &names, &follows)?;
    }
    Ok(())
}

/// Where outputs differ, and by how much.
fn difference_facts(case: &CaseRecord, bits: &BitsRecord) -> Result {
    let place = |what: &str| format!("{what} of case `{}`", case.id);
    let d: &Difference = &bits.difference;
    let differs = d.differing > 0 && verdict::has_contract(&case.arithmetic);
    let cause = differs.then(|| d.likely_cause().to_owned());
    same(&place("the likely cause"), &bits.likely_cause, &cause)?;
    let dtype = [Dtype::F32, Dtype::Bf16, Dtype::F16].into_iter();
    let dtype = dtype.into_iter().find(|dtype| dtype.name() == case.output);
    let outside = bits.bound.as_ref().and_then(|bound| bound.first_outside);
    for at in [d.first, outside].into_iter().flatten() {
        let [got, want] = [at.got, at.want].map(f32::from_bits);
        if at.row >= case.m || at.column >= case.n || at.got == at.want {
            return refuse(place("an element that differs"), short(&at), "there is no such one");
        }
        let ulps = dtype.map(|dtype| Element::new(dtype, at.row, at.column, got, want).ulps);
        same(&place("the ULPs of an element that differs"), &Some(at.ulps), &ulps)?;
    }
    let Some(first) = d.first else { return Ok(()) };
    let panels = bits.panels_dense.iter().zip(&bits.panels_operator);
    let panel = panels.into_iter().position(|(dense, operator)| dense != operator);
    let rows = panel.map(|p| panel_start(p, case.m)..panel_start(p + 1, case.m));
    if rows.as_ref().is_some_and(|rows| !rows.contains(&first.row)) {
        return refuse(
            place("the first row that differs"),
            first.row,
            format!("the first panel that differs has rows {}", short(&rows)),
        );
    }
    let error =
        (f64::from(f32::from_bits(first.got)) - f64::from(f32::from_bits(first.want))).abs();
    if d.error_max.is_some_and(|most| most < error) {
        return refuse(
            place("the largest error"),
            short(&d.error_max),
            format!("{error:e} is there"),
        );
    }
    Ok(())
}

/// What the observations of a contender say of each other.
fn timed_facts(place: &dyn Fn(&str) -> String, timed: &Timed, on_device: bool) -> Result {
    let per_call_ns =
        |(sample, calls): (f64, usize)| ((sample / calls as f64).round() as u64).max(1);
    let pairs = [
        (&timed.samples_ns, &timed.device_samples, timed.calls_per_sample),
        (&timed.cold_samples_ns, &timed.device_cold_samples, 1),
    ];
    if timed.calls_per_sample == 0 {
        return refuse(place("the calls of a sample"), 0, "there is one at least");
    }
    if timed.energy.is_some() == timed.energy_reason.is_some() {
        let says = short(&timed.energy_reason);
        return refuse(place("why there is no energy"), says, "either is there, not both");
    }
    for (samples_ns, behind, calls) in pairs {
        if !on_device && behind.is_empty() {
            continue;
        }
        let behind: Vec<u64> = behind.iter().map(|s| per_call_ns((s.time_ns, calls))).collect();
        same(&place("the samples"), samples_ns, &behind)?;
    }
    let is_rising = timed.checked_samples.windows(2).all(|pair| pair[0] < pair[1]);
    if !is_rising {
        let says = short(&timed.checked_samples);
        return refuse(place("the checked samples"), says, "each sample was checked once");
    }
    if let Some(error) = &timed.error {
        let figures = [error.error_max, error.error_share.unwrap_or(0.0).into()];
        let is_sound = figures.iter().all(|x| x.is_finite() && *x >= 0.0)
            && (figures[0] > 0.0 || figures[1] == 0.0)
            && (1..=timed.checked_elements).contains(&error.elements);
        if !is_sound {
            let follows = "of elements that were checked, finite, and 0 where the largest is";
            return refuse(place("the error"), short(error), follows);
        }
    }
    if timed.timing.is_some()
        && let Some(failure) = &timed.failure
    {
        return refuse(place("a timing"), "there", format!("it failed: {}", short(failure)));
    }
    let Some(energy) = &timed.energy else { return Ok(()) };
    let window = &energy.window;
    // Whether both windows were long enough is not recorded.
    let longest =
        Window { seconds: f64::INFINITY, energy_j: 0.0, calls: 0, power_w: energy.idle_power_w };
    let follows = Energy::of(window.clone(), &longest, 0.0);
    let key = |energy: &Energy| (energy.joules_per_call, energy.joules_per_call_above_idle);
    same(&place("the energy of a call"), &key(energy), &key(&follows))?;
    same(&place("the power"), &window.power_w, &(window.energy_j / window.seconds))?;
    if energy.is_valid && !follows.is_valid {
        return refuse(place("the energy"), "valid", "an idle machine draws as much");
    }
    Ok(())
}

fn bits_facts(case: &CaseRecord, bits: &BitsRecord) -> Result {
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
    // A row that lives has a non-zero, in a column that lives.
    let [rows, columns] = [case.m - s.dead_rows, case.k - s.dead_columns].map(|live| live as u64);
    let blocks = |size: usize| {
        (size > 0).then(|| elements(m.div_ceil(size as u64), k.div_ceil(size as u64)))
    };
    if s.nnz < rows.max(columns) || s.nnz > elements(rows, columns) {
        return refuse(place("the structure"), short(s), "live rows and columns say otherwise");
    }
    if blocks(s.block_size) != Some(s.blocks) || s.dead_blocks > s.blocks {
        return refuse(place("the structure"), short(s), "A has other blocks");
    }
    let counted: u64 = d.ulp_histogram.iter().fold(d.not_numbers, |sum, n| sum.saturating_add(*n));
    if d.differing > d.elements
        || (d.differing > 0) != d.first.is_some()
        || counted != d.differing
        || d.missing > d.differing
        // An infinite error is null in JSON.
        || d.error_max.is_some() && d.differing == d.not_numbers
    {
        return refuse(place("the difference"), short(d), "its counts say otherwise");
    }
    difference_facts(case, bits)?;
    if let Some(bound) = &bits.bound
        && ((bound.outside > 0) != bound.first_outside.is_some()
            || bound.outside > d.elements
            || bound.outside == 0 && bound.used_max > 1.0)
    {
        return refuse(place("the bound"), short(bound), "its counts say otherwise");
    }
    let least = d.elements.min(RECOMPUTED_MIN);
    if bits.recomputed < least || bits.recomputed > d.elements {
        let follows = format!("{least} are at least, of {}", d.elements);
        return refuse(place("the number of recomputed elements"), bits.recomputed, follows);
    }
    let zeros = [bits.negative_zeros_operator, bits.negative_zeros_dense];
    if let Some(zeros) = zeros.into_iter().find(|zeros| *zeros > d.elements) {
        return refuse(place("the number of negative zeros"), zeros, "there are fewer elements");
    }
    let limit = match &*case.arithmetic {
        EXACT => Some(exact::LIMIT),
        FIXED_POINT => Some(fixed_point::LIMIT),
        _ => None,
    };
    if bits.certificate.is_some() != limit.is_some()
        || bits.certificate.zip(limit).is_some_and(|(sum, limit)| sum >= limit)
    {
        let follows = match limit {
            Some(limit) => format!("sums below {limit} are certified of `{}`", case.arithmetic),
            None => format!("sums are certified of `{EXACT}` and `{FIXED_POINT}` alone"),
        };
        return refuse(place("the certificate"), short(&bits.certificate), follows);
    }
    let contract = verdict::has_contract(&case.arithmetic);
    if let Some(accuracy) = &bits.accuracy {
        same(
            &place("the number of elements beside the binary64 sum"),
            &accuracy.elements,
            &bits.recomputed,
        )?;
        let is_outside = accuracy.rule.used_max > 1.0;
        let is_sound = |of: &Distance| {
            let figures = [of.error_max, of.used_max, of.bound_max.unwrap_or(0.0)];
            figures.iter().all(|x| x.is_finite() && *x >= 0.0)
                && of
                    .bound_max
                    .is_none_or(|bound| of.error_max <= of.used_max * bound * (1.0 + 1e-9))
        };
        let distances = std::iter::once(&accuracy.rule).chain(&accuracy.f32_chain);
        if !contract || !distances.into_iter().all(is_sound) || is_outside && bits.broken.is_empty()
        {
            let follows = "distances are of bit contracts, not negative, and within their bounds or noted as broken";
            return refuse(
                place("the distance from the binary64 sum"),
                accuracy.rule.error_max,
                follows,
            );
        }
    }
    same(&place("whether there is a bound"), &bits.bound.is_some(), &!contract)?;
    let [dense, operator] = [verdict::DENSE, verdict::OPERATOR].map(|at| bits.digests[at].got);
    if operator.is_none() {
        return refuse(place("the digest `operator`"), "none", "it has bits");
    }
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
    let agree = (!contract || d.differing == 0)
        && bits.bound.as_ref().is_none_or(|bound| bound.outside == 0)
        && bits.broken.is_empty()
        && bits.out_of_bound.is_empty();
    same(&place("`implementations_agree`"), &bits.implementations_agree, &agree)
}
