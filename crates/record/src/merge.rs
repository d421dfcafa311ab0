//! Records of the shards of one run -> the record of the whole, as one machine would have written it but for times.
//! Runs nothing again; what one machine alone cannot see, one output digest on two of them, is looked for here.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::claims::PublishedInput;
use crate::derive;
use crate::exit;
use crate::operator::OperatorRecord;
use crate::run::End;
use crate::shard::Shard;
use crate::shared::{NOT_RIGHT, SharedOutputs, VACUOUS};
use crate::{CaseRecord, DeviceRecord, FORMAT, ManifestRecord, Record, RunOptions, ShardRecord};

/// A record and what to call it in messages.
pub struct Part {
    /// Name of the file.
    pub name: String,
    /// What it holds.
    pub record: Record,
}

/// The record of the whole, and what is to be said of it.
#[derive(Debug)]
pub struct Merged {
    /// The record of the whole.
    pub record: Record,
    /// Cases that two records had alike.
    pub duplicates: Vec<String>,
    /// Shards of which there is no record.
    pub missing_shards: Vec<Shard>,
    /// Shards whose records do not say that the run did all it had to do.
    pub unfinished_shards: Vec<Shard>,
    /// Cases that were asked for and are in no record.
    pub missing_cases: Vec<String>,
}

/// Why records are not of one run; each names the files.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// A record of a whole run.
    #[error("{0} is no record of a shard: it was made without --shard")]
    Whole(String),
    /// Two records that are not of one run.
    #[error("{first} and {second} are not of one run: {why}")]
    OtherRun {
        /// The first file.
        first: String,
        /// The other file.
        second: String,
        /// What they do not have in common.
        why: String,
    },
    /// A case that two records tell differently.
    #[error(
        "{first} and {second} differ in case `{id}`: {what}\nhint: leave one of them out, and run its other cases again"
    )]
    OtherCase {
        /// The first file.
        first: String,
        /// The other file.
        second: String,
        /// Id of the case.
        id: String,
        /// What differs.
        what: String,
    },
    /// A case that its own record did not ask for.
    #[error("{name} has case `{id}`, which is not among those that it says were asked for")]
    Unasked {
        /// The file.
        name: String,
        /// Id of the case.
        id: String,
    },
    /// A published input that two records made differently.
    #[error(
        "{first} and {second} differ in what they made of the published {tensor} of claim `{claim}`"
    )]
    OtherInput {
        /// The first file.
        first: String,
        /// The other file.
        second: String,
        /// Id of the claim.
        claim: String,
        /// The tensor's name.
        tensor: String,
    },
}

/// Joins them; `arguments` is the command line of the join.
pub fn join(parts: &[Part], arguments: Vec<String>) -> Result<Merged, Refusal> {
    let Some(first) = parts.first() else { unreachable!("the command line asks for a record") };
    let mut shards: Vec<ShardRecord> = Vec::new();
    for part in parts {
        let of_part = shards_of(part)?;
        if let Some(why) = differs(&first.record, &part.record) {
            return Err(other_run(first, part, why));
        }
        let count = |shards: &[ShardRecord]| shards.first().map(|s| s.shard.count());
        if let (Some(known), Some(count)) = (count(&shards), count(&of_part))
            && known != count
        {
            let why = format!("one is of {known} shards, the other of {count}");
            return Err(other_run(first, part, why));
        }
        of_part.into_iter().for_each(|shard| {
            if !shards.contains(&shard) {
                shards.push(shard);
            }
        });
    }
    // The same files in any order give the same record.
    shards.sort_by(|a, b| (a.shard, &a.started).cmp(&(b.shard, &b.started)));

    let (mut cases, duplicates) = join_cases(parts)?;
    find_shared_outputs(&mut cases);
    let has: BTreeSet<(&str, &str)> =
        cases.iter().map(|case| (case.manifest.as_str(), case.id.as_str())).collect();
    let missing_cases = first
        .record
        .manifests
        .iter()
        .flat_map(|manifest| manifest.selected.iter().map(|id| (manifest.name.as_str(), id)))
        .filter(|(manifest, id)| !has.contains(&(*manifest, id.as_str())))
        .map(|(_, id)| id.clone())
        .collect();
    let present: BTreeSet<Shard> = shards.iter().map(|shard| shard.shard).collect();
    let count = shards.first().map_or(0, |shard| shard.shard.count());
    let missing_shards: Vec<Shard> =
        Shard::all(count).filter(|shard| !present.contains(shard)).collect();
    let missing_cases: Vec<String> = missing_cases;
    let finished: BTreeSet<Shard> =
        shards.iter().filter(|shard| shard.is_complete()).map(|shard| shard.shard).collect();
    let unfinished_shards: Vec<Shard> = present.difference(&finished).copied().collect();
    let end = match (missing_shards.len(), missing_cases.len(), unfinished_shards.len()) {
        (0, 0, 0) => End::Completed,
        (0, 0, shards) => End::Partial {
            missing: format!("{shards} of {count} shards were not ended by themselves"),
        },
        (shards, cases, _) => End::Partial {
            missing: format!("without {shards} of {count} shards and {cases} cases"),
        },
    };

    let Some(one) = shards.first() else { unreachable!("every part is a shard or has some") };
    let mut record = Record {
        format: FORMAT.to_owned(),
        tool: first.record.tool.clone(),
        arguments,
        started: shards.iter().map(|shard| shard.started.clone()).min().unwrap_or_default(),
        environment: one.environment.clone(),
        options: RunOptions {
            shard: None,
            threads: one.threads,
            isa: one.isa.clone(),
            ..first.record.options.clone()
        },
        operator: join_operator(parts),
        manifests: first.record.manifests.clone(),
        devices: join_devices(parts),
        cases,
        published_inputs: join_published_inputs(parts)?,
        judged: Vec::new(),
        shards,
        running: None,
        ended: Some(end),
        outcome: None,
    };
    for manifest in &mut record.manifests {
        manifest.dealt = None;
    }
    // Each shard judged by its own cases alone.
    derive::fill(&mut record);
    Ok(Merged { record, duplicates, missing_shards, unfinished_shards, missing_cases })
}

/// What a record is of: one shard, or those that it was joined from.
fn shards_of(part: &Part) -> Result<Vec<ShardRecord>, Refusal> {
    let Record { arguments, started, environment, options, shards, ended, .. } = &part.record;
    match options.shard {
        Some(shard) => Ok(vec![ShardRecord {
            shard,
            threads: options.threads,
            isa: options.isa.clone(),
            arguments: arguments.clone(),
            started: started.clone(),
            environment: environment.clone(),
            ended: ended.clone(),
        }]),
        None if shards.is_empty() => Err(Refusal::Whole(part.name.clone())),
        None => Ok(shards.clone()),
    }
}

fn other_run(first: &Part, second: &Part, why: String) -> Refusal {
    Refusal::OtherRun { first: first.name.clone(), second: second.name.clone(), why }
}

/// The commitment that a nonce was drawn after, and its source, in words.
fn commitment(options: &RunOptions) -> String {
    let after = options.after.as_ref();
    after.map_or("none".into(), |after| format!("{} ({})", after.commit_sha256, after.nonce_source))
}

/// What keeps two records from being of one run, but for their shards.
fn differs(first: &Record, second: &Record) -> Option<String> {
    if first.tool != second.tool {
        return Some(format!("one was made by {}, the other by {}", first.tool, second.tool));
    }
    let (one, other) = (&first.options, &second.options);
    // Threads and dispatch path are each machine's own: they change no bit.
    let options = [
        ("--device", text(&one.device), text(&other.device)),
        ("--nonce", text(&one.nonce), text(&other.nonce)),
        ("measuring", one.measure.to_string(), other.measure.to_string()),
        ("--any-platform", one.any_platform.to_string(), other.any_platform.to_string()),
        ("--after", commitment(one), commitment(other)),
    ];
    if let Some((name, one, other)) = options.into_iter().find(|(_, one, other)| one != other) {
        return Some(format!("they have other options: {name} is {one} and {other}"));
    }
    let under_test = |record: &Record| {
        let operator = record.operator.as_ref();
        operator.map_or("the open operator".to_owned(), OperatorRecord::in_words)
    };
    if under_test(first) != under_test(second) {
        let (one, other) = (under_test(first), under_test(second));
        return Some(format!("one is of {one}, the other of {other}"));
    }
    let names = |record: &Record| -> Vec<String> {
        record.manifests.iter().map(|manifest| manifest.name.clone()).collect()
    };
    if names(first) != names(second) {
        let list = |record| names(record).join(", ");
        let (one, other) = (list(first), list(second));
        return Some(format!("one is of the manifests {one}, the other of {other}"));
    }
    let pairs = first.manifests.iter().zip(&second.manifests);
    pairs.into_iter().find_map(|(one, other)| manifest_differs(one, other))
}

/// The operator, with those layers of isolation alone that all parts had.
fn join_operator(parts: &[Part]) -> Option<OperatorRecord> {
    let mut all = parts.iter().filter_map(|part| part.record.operator.clone());
    let first = all.next()?;
    Some(all.fold(first, |mut joined, other| {
        for layer in &mut joined.isolation {
            let same = other.isolation.iter().find(|of_other| of_other.name == layer.name);
            if let Some(worse) = same.filter(|of_other| layer.had && !of_other.had) {
                *layer = worse.clone();
            }
        }
        joined
    }))
}

fn text(option: &Option<String>) -> String {
    option.clone().unwrap_or_else(|| "not given".into())
}

fn manifest_differs(one: &ManifestRecord, other: &ManifestRecord) -> Option<String> {
    let name = &one.name;
    if one.sha256 != other.sha256 {
        return Some(format!("manifest `{name}` has sha256 {} and {}", one.sha256, other.sha256));
    }
    if one.expected_sha256 != other.expected_sha256 {
        return Some(format!("the committed digests of manifest `{name}` differ"));
    }
    if one.selected != other.selected {
        return Some(format!(
            "{} and {} cases of manifest `{name}` were asked for, and they are not the same: give all shards the \
             same PATH and --case",
            one.selected.len(),
            other.selected.len()
        ));
    }
    // Which cases were dealt to whom is each shard's own.
    let undealt = |manifest: &ManifestRecord| ManifestRecord { dealt: None, ..manifest.clone() };
    (undealt(one) != undealt(other)).then(|| format!("manifest `{name}` is described otherwise"))
}

/// The cases in the order of the unsharded run, and the ids of those that were there twice.
fn join_cases(parts: &[Part]) -> Result<(Vec<CaseRecord>, Vec<String>), Refusal> {
    let mut places = HashMap::new();
    for manifest in parts.iter().take(1).flat_map(|part| &part.record.manifests) {
        for id in &manifest.selected {
            let place = places.len();
            places.insert((manifest.name.as_str(), id.as_str()), place);
        }
    }
    let mut found: BTreeMap<usize, (&Part, &CaseRecord)> = BTreeMap::new();
    let mut duplicates = Vec::new();
    for part in parts {
        for case in &part.record.cases {
            let Some(&place) = places.get(&(case.manifest.as_str(), case.id.as_str())) else {
                return Err(Refusal::Unasked { name: part.name.clone(), id: case.id.clone() });
            };
            let Some((other, twin)) = found.get(&place) else {
                found.insert(place, (part, case));
                continue;
            };
            if let Some(what) = case_differs(twin, case) {
                return Err(Refusal::OtherCase {
                    first: other.name.clone(),
                    second: part.name.clone(),
                    id: case.id.clone(),
                    what,
                });
            }
            duplicates.push(case.id.clone());
        }
    }
    Ok((found.into_values().map(|(_, case)| case.clone()).collect(), duplicates))
}

/// What two records of a case say differently. How long it took is of no account.
fn case_differs(one: &CaseRecord, other: &CaseRecord) -> Option<String> {
    if (CaseRecord { seconds: other.seconds, ..one.clone() }) == *other {
        return None;
    }
    if one.verdict != other.verdict {
        return Some(format!("{} and {}", one.verdict.name(), other.verdict.name()));
    }
    Some(if one.bits != other.bits {
        "what was found about its bits".into()
    } else if one.measurement != other.measurement {
        "it was measured twice".into()
    } else {
        "its description or reasons".into()
    })
}

/// Refutes cases with one output digest whose weights differ, as a run does that sees them all.
fn find_shared_outputs(cases: &mut [CaseRecord]) {
    let mut seen = SharedOutputs::default();
    cases.iter_mut().for_each(|case| refute_shared(&mut seen, case));
}

/// Notes a case that was audited without the others, and refutes it if another with other weights gave the same output,
/// as a run does that sees them one after the other.
pub fn refute_shared(seen: &mut SharedOutputs, case: &mut CaseRecord) {
    let Some(reason) = seen.note_record(case) else { return };
    // One that saw some of the others named another.
    case.reasons.retain(|reason| !reason.starts_with(VACUOUS));
    case.reasons.push(reason);
    if case.measurement.take().is_some() {
        case.measurement_reason = Some(NOT_RIGHT.to_owned());
        case.baselines.clear();
        case.baselines_missing.clear();
    }
    case.verdict = derive::verdict(case, true);
    case.exit_code = exit::of_verdict(case.verdict, None);
}

/// Each device once, with all kernels that ran on it.
fn join_devices(parts: &[Part]) -> Vec<DeviceRecord> {
    let mut devices: Vec<DeviceRecord> = Vec::new();
    for record in parts.iter().flat_map(|part| &part.record.devices) {
        match devices.iter_mut().find(|known| known.device == record.device) {
            Some(known) => known.kernels.extend(record.kernels.iter().cloned()),
            None => devices.push(record.clone()),
        }
    }
    for device in &mut devices {
        device.kernels.sort();
        device.kernels.dedup();
    }
    devices.sort_by(|a, b| {
        (a.device.ordinal, &a.device.uuid).cmp(&(b.device.ordinal, &b.device.uuid))
    });
    devices
}

/// Each input once, in the order of manifests and claims; one that was compared wins over one that could not be made.
fn join_published_inputs(parts: &[Part]) -> Result<Vec<PublishedInput>, Refusal> {
    let mut inputs: Vec<(&Part, &PublishedInput)> = Vec::new();
    for part in parts {
        for input in &part.record.published_inputs {
            let is_same = |known: &PublishedInput| {
                (&known.manifest, &known.claim, known.tensor)
                    == (&input.manifest, &input.claim, input.tensor)
            };
            let Some(known) = inputs.iter_mut().find(|(_, known)| is_same(known)) else {
                inputs.push((part, input));
                continue;
            };
            match (&known.1.compared, &input.compared) {
                (None, Some(_)) => *known = (part, input),
                // Only the shard that has the case finds that A was pruned first.
                (Some(one), Some(other)) if !one.matches && other.matches && other.pruned => {
                    *known = (part, input);
                }
                (Some(one), Some(other)) if one.matches && one.pruned && !other.matches => {}
                (Some(one), Some(other)) if one != other => {
                    return Err(Refusal::OtherInput {
                        first: known.0.name.clone(),
                        second: part.name.clone(),
                        claim: input.claim.clone(),
                        tensor: input.tensor.name().to_owned(),
                    });
                }
                _ => {}
            }
        }
    }
    let manifests = parts.first().map_or(&[][..], |part| &part.record.manifests);
    let place = |input: &PublishedInput| {
        let manifest = manifests.iter().position(|m| m.name == input.manifest);
        let claims = manifest.map_or(&[][..], |at| &manifests[at].claims);
        let claim = claims.iter().position(|claim| claim.id == input.claim);
        (manifest, claim, input.tensor)
    };
    inputs.sort_by_key(|(_, input)| place(input));
    Ok(inputs.into_iter().map(|(_, input)| input.clone()).collect())
}
