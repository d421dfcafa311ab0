//! Records of the same cases side by side: which digests agree. Left out: timings, which belong to machines.

use std::collections::BTreeMap;

use crate::claims::ClaimWord;
use crate::verdict::Verdict;
use crate::{CaseRecord, Record};
use contract::digest::Digest;

/// The digests that are set side by side, by their names in records.
pub const DIGESTS: [&str; 6] = ["a", "v", "dense", "operator", "rebuilt", "shifted"];
/// Digits of a digest in a message.
const DIGITS: usize = 12;

/// What several records say of one digest of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// All records have the same digest.
    Agrees,
    /// Two records have different ones.
    Differs,
    /// Nothing says that they should be equal: no bit contract, or other perturbations.
    NotCompared(&'static str),
    /// One record alone has the case's bits.
    OnlyInOne,
    /// No record has one.
    Nowhere,
}

impl Agreement {
    /// The words in tables.
    pub fn name(self) -> &'static str {
        match self {
            Agreement::Agrees => "agree",
            Agreement::Differs => "differ",
            Agreement::NotCompared(why) => why,
            Agreement::OnlyInOne => "only in one",
            Agreement::Nowhere => "-",
        }
    }
}

/// One case in all records.
pub struct Row<'a> {
    /// Name of the manifest.
    pub manifest: &'a str,
    /// Id of the case.
    pub id: &'a str,
    /// In the order of the records; `None` where a record lacks the case.
    pub cases: Vec<Option<&'a CaseRecord>>,
    /// Their verdicts.
    pub verdicts: Vec<Option<Verdict>>,
    /// In the order of [`DIGESTS`].
    pub digests: [Agreement; 6],
}

/// Records side by side.
pub struct Compared<'a> {
    /// In the order in which the records name them.
    pub rows: Vec<Row<'a>>,
    /// In words, each with its case; empty where the records agree.
    pub differences: Vec<String>,
    /// What explains differences, or limits what the agreement says.
    pub notes: Vec<String>,
}

/// Manifest and id.
type Key<'a> = (&'a str, &'a str);

impl Compared<'_> {
    /// Cases of which some digest was compared: without any, records neither agree nor differ.
    pub fn compared(&self) -> usize {
        let was = |found: &Agreement| matches!(found, Agreement::Agrees | Agreement::Differs);
        self.rows.iter().filter(|row| row.digests.iter().any(was)).count()
    }
}

/// Sets named records side by side.
pub fn compare<'a>(records: &'a [(String, Record)]) -> Compared<'a> {
    let mut cases: Vec<(Key<'_>, Vec<Option<&CaseRecord>>)> = Vec::new();
    let mut known: BTreeMap<Key<'_>, usize> = BTreeMap::new();
    let (mut differences, mut notes) = (Vec::new(), other_manifests(records));
    for (at, (name, record)) in records.iter().enumerate() {
        for case in &record.cases {
            let key = (case.manifest.as_str(), case.id.as_str());
            let place = *known.entry(key).or_insert_with(|| {
                cases.push((key, vec![None; records.len()]));
                cases.len() - 1
            });
            let places = &mut cases[place].1;
            if places[at].is_some() {
                notes.push(format!("{name} holds `{}` twice: its first is compared", case.id));
            }
            places[at].get_or_insert(case);
        }
    }
    // A manifest's cases stay together where a later record has more of them.
    let mut manifests: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, ((manifest, _), _)) in cases.iter().enumerate() {
        manifests.entry(manifest).or_insert(at);
    }
    cases.sort_by_key(|((manifest, _), _)| manifests.get(manifest).copied());
    let nonces: Vec<Option<&str>> =
        records.iter().map(|(_, record)| record.options.nonce.as_deref()).collect();
    let rows = cases.into_iter().map(|((manifest, id), places)| {
        let mut differs = |what: &str, texts: Vec<(usize, String)>| {
            let texts: Vec<String> =
                texts.iter().map(|(at, text)| format!("{text} ({})", records[*at].0)).collect();
            differences.push(format!("{manifest} `{id}`: {what}: {}", texts.join(", ")));
        };
        let here = || places.iter().enumerate().filter_map(|(at, case)| Some((at, (*case)?)));
        let described: Vec<(usize, String)> =
            here().map(|(at, case)| (at, description(case))).collect();
        if described.iter().any(|(_, text)| *text != described[0].1) {
            differs("not the same case", described);
        }
        let verdicts: Vec<(usize, Verdict)> = here().map(|(at, case)| (at, case.verdict)).collect();
        if verdicts.iter().any(|(_, v)| v.satisfies()) && verdicts.iter().any(|(_, v)| v.refutes())
        {
            differs(
                "verdicts differ",
                verdicts.iter().map(|(at, v)| (*at, v.name().into())).collect(),
            );
        }
        let digests = DIGESTS.map(|name| {
            let got: Vec<(usize, Option<Digest>)> =
                here().filter_map(|(at, case)| Some((at, got(case, name)?))).collect();
            let bounded = here().any(|(_, case)| case.arithmetic == "bounded");
            let other_nonce = got.iter().any(|(at, _)| nonces[*at] != nonces[got[0].0]);
            let agreement = agreement(name, &got, bounded, other_nonce);
            if agreement == Agreement::Differs {
                let text = |digest: Option<Digest>| {
                    digest.map_or("none".to_owned(), |d| d.to_string()[..DIGITS].to_owned() + "...")
                };
                let texts = got.iter().map(|(at, digest)| (*at, text(*digest))).collect();
                differs(&format!("the digests `{name}` differ"), texts);
            }
            agreement
        });
        let verdicts = places.iter().map(|case| case.map(|case| case.verdict)).collect();
        Row { manifest, id, cases: places, verdicts, digests }
    });
    let rows = rows.collect();
    differences.extend(claim_words(records));
    Compared { rows, differences, notes }
}

/// Claims that records judge otherwise, in words; what one of them could not judge is no difference.
fn claim_words(records: &[(String, Record)]) -> Vec<String> {
    let mut found: BTreeMap<Key<'_>, Vec<(&str, ClaimWord)>> = BTreeMap::new();
    for (name, record) in records {
        for claim in record.judged.iter().filter(|claim| claim.word != ClaimWord::NotJudged) {
            let key = (claim.manifest.as_str(), claim.id.as_str());
            found.entry(key).or_default().push((name, claim.word));
        }
    }
    let differ = found.into_iter().filter(|(_, words)| words.iter().any(|w| w.1 != words[0].1));
    let texts = differ.map(|((manifest, id), words)| {
        let words: Vec<String> =
            words.iter().map(|(name, word)| format!("{} ({name})", word.name())).collect();
        format!("{manifest} claim `{id}`: {}", words.join(", "))
    });
    texts.collect()
}

/// The digest of that name in a case that has bits.
fn got(case: &CaseRecord, name: &str) -> Option<Option<Digest>> {
    let bits = case.bits.as_ref()?;
    Some(bits.digests.iter().find(|row| row.name == name).and_then(|row| row.got))
}

fn agreement(
    name: &str,
    got: &[(usize, Option<Digest>)],
    bounded: bool,
    other_nonce: bool,
) -> Agreement {
    let is_output = matches!(name, "operator" | "rebuilt" | "shifted");
    let is_perturbed = matches!(name, "rebuilt" | "shifted");
    match got {
        [] => Agreement::Nowhere,
        all if all.iter().all(|(_, digest)| digest.is_none()) => Agreement::Nowhere,
        [_] => Agreement::OnlyInOne,
        [(_, first), rest @ ..] if rest.iter().all(|(_, digest)| digest == first) => {
            Agreement::Agrees
        }
        _ if is_output && bounded => Agreement::NotCompared("no bit contract"),
        _ if is_perturbed && other_nonce => Agreement::NotCompared("another nonce"),
        _ => Agreement::Differs,
    }
}

/// What a case is of: equal ids should be of equal cases.
fn description(case: &CaseRecord) -> String {
    format!(
        "{} x {} x {}, {} to {}, seed {}, A {}, V {}, {} {} %, {}",
        case.m,
        case.k,
        case.n,
        case.dtype,
        case.output,
        case.seed,
        case.weights,
        case.activations,
        case.pattern,
        case.sparsity_percent,
        case.arithmetic
    )
}

/// Manifests and committed digests that are not the same in all records.
fn other_manifests(records: &[(String, Record)]) -> Vec<String> {
    let mut notes = Vec::new();
    let mut seen: BTreeMap<&str, (&str, Digest, Option<Digest>)> = BTreeMap::new();
    for (name, record) in records {
        for manifest in &record.manifests {
            let known = *seen.entry(&manifest.name).or_insert((
                name,
                manifest.sha256,
                manifest.expected_sha256,
            ));
            let (other, sha256, expected) = known;
            for (what, differs) in [
                ("the manifest", sha256 != manifest.sha256),
                ("the file of committed digests of", expected != manifest.expected_sha256),
            ] {
                if differs {
                    notes.push(format!(
                        "{what} `{}` is not the same in {other} and {name}",
                        manifest.name
                    ));
                }
            }
        }
    }
    notes
}
