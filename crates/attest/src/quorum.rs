//! How many signers agree, case by case. One signer has one vote, and one machine has one: the votes of a case are the most
//! pairs of a signer and a machine in which nobody and nothing is twice. That machines are distinct is their own word.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use contract::digest::Digest;
use contract::words::{quote, visible};
use record::exit;
use record::verdict::{self, Verdict};
use serde::Serialize;

use crate::statement::{CaseStated, Statement};

/// Most statements that are counted at once.
pub const STATEMENTS_MAX: usize = 1024;

/// A statement whose signature is right.
#[derive(Clone, Debug)]
pub struct Signed {
    /// Its file, as it was given.
    pub file: String,
    /// Names of whoever may sign with its key, sorted.
    pub names: Vec<String>,
    /// Fingerprint of the key.
    pub key: String,
    /// What was signed.
    pub statement: Statement,
}

impl Signed {
    fn signer(&self) -> String {
        self.names.join(",")
    }
}

/// Why a statement cannot be counted with the others.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {what}\n  expected {expected}\n  got      {got}\nhint: {hint}")]
pub struct NotTheSame {
    /// The statement's file.
    pub file: String,
    /// What is another.
    pub what: String,
    /// As the others have it, and who says so.
    pub expected: String,
    /// As it has it.
    pub got: String,
    /// What to do.
    pub hint: &'static str,
}

/// One manifest and its committed digests, with confirmations left out.
#[derive(Clone, Debug)]
struct KnownManifest {
    /// Who says so: a file.
    by: String,
    sha256: Digest,
    committed: HashMap<String, (Digest, String)>,
    /// Whether a case that is not in `committed` has no committed digests.
    is_all: bool,
}

/// What all statements must be about: one version of the program, and for each manifest one file and one set of committed
/// digests.
#[derive(Clone, Debug)]
pub struct About {
    tool: String,
    manifests: BTreeMap<String, KnownManifest>,
    /// Whether a manifest that is not known is refused.
    is_closed: bool,
}

impl About {
    /// Statements of this version of the program, such as `sparse-verify 0.1.0`.
    pub fn tool(tool: &str) -> About {
        About { tool: tool.to_owned(), manifests: BTreeMap::new(), is_closed: false }
    }

    /// A manifest as it is here, with the digests of [`crate::statement::committed_of`] by case id.
    pub fn know(
        &mut self,
        file: &str,
        name: &str,
        sha256: Digest,
        committed: impl IntoIterator<Item = (String, Digest)>,
    ) {
        let committed = committed.into_iter().map(|(id, digest)| (id, (digest, file.to_owned())));
        let known = KnownManifest {
            by: file.to_owned(),
            sha256,
            committed: committed.collect(),
            is_all: true,
        };
        self.manifests.insert(name.to_owned(), known);
    }

    /// From here on manifests other than those known are refused.
    pub fn close(&mut self) {
        self.is_closed = true;
    }

    /// Refuses a statement about something else; what the first of them says of a manifest holds for the others.
    pub fn take(&mut self, file: &str, statement: &Statement) -> Result<(), NotTheSame> {
        let other = |what: String, expected: String, got: String, hint: &'static str| {
            Err(NotTheSame { file: file.to_owned(), what, expected, got, hint })
        };
        if statement.tool != self.tool {
            return other(
                "it is of another version of the program".into(),
                self.tool.clone(),
                visible(&statement.tool).into_owned(),
                "`--tool 'NAME VERSION'` takes statements of that version",
            );
        }
        for stated in &statement.manifests {
            if self.is_closed && !self.manifests.contains_key(&stated.name) {
                let names: Vec<&str> = self.manifests.keys().map(String::as_str).collect();
                return other(
                    "it is of another manifest".into(),
                    visible(&names.join(", ")).into_owned(),
                    quote(&stated.name),
                    "--manifest PATH names every manifest that a statement may be about",
                );
            }
            let known =
                self.manifests.entry(stated.name.clone()).or_insert_with(|| KnownManifest {
                    by: file.to_owned(),
                    sha256: stated.sha256,
                    committed: HashMap::new(),
                    is_all: false,
                });
            if known.sha256 != stated.sha256 {
                return other(
                    format!("it is of another manifest {}", quote(&stated.name)),
                    format!("sha256 {} ({})", known.sha256, visible(&known.by)),
                    format!("sha256 {}", stated.sha256),
                    "it is of another version of that manifest: leave it out, or run again",
                );
            }
        }
        for case in &statement.cases {
            let (Some(committed), Some(known)) =
                (case.committed, self.manifests.get_mut(&case.manifest))
            else {
                continue;
            };
            let by = known.by.clone();
            let (expected, by) = match known.committed.get(&case.id) {
                Some((digest, _)) if *digest == committed => continue,
                Some((digest, by)) => (format!("sha256 {digest}"), by.clone()),
                None if known.is_all => ("none".to_owned(), by),
                None => {
                    known.committed.insert(case.id.clone(), (committed, file.to_owned()));
                    continue;
                }
            };
            return other(
                format!("other digests were committed for case {}", quote(&case.id)),
                format!("{expected} ({})", visible(&by)),
                format!("sha256 {committed}"),
                "confirmations have no part in these: the digests themselves are others; leave it out, or run again",
            );
        }
        Ok(())
    }
}

/// What became of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// As many as are needed agree, and nobody disagrees.
    Confirmed,
    /// Fewer agree than are needed, and nobody disagrees.
    Short,
    /// Somebody found it refuted, or two found different digests.
    Refuted,
}

impl Standing {
    /// The word in tables.
    pub fn name(self) -> &'static str {
        match self {
            Standing::Confirmed => "confirmed",
            Standing::Short => "short",
            Standing::Refuted => "refuted",
        }
    }
}

/// What one statement says of a case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Voice {
    /// Names of the signer.
    pub signer: String,
    /// The statement's file.
    pub file: String,
    /// The word for the case.
    pub verdict: Verdict,
    /// The operator; null where there are no bits.
    pub operator: Option<String>,
    /// The device, or the processors and their dispatch paths.
    pub on: String,
}

/// A digest that was not the same for all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Differing {
    /// Its name, such as `dense`.
    pub digest: String,
    /// Each value, and who found it.
    pub values: Vec<Found>,
}

/// A value of a digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// The digest; null where there is no such tensor.
    pub got: Option<Digest>,
    /// Signers that found it.
    pub signers: Vec<String>,
}

/// One case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CaseQuorum {
    /// Name of its manifest.
    pub manifest: String,
    /// Its id.
    pub id: String,
    /// Whether the exit code goes by it.
    pub required: bool,
    /// What became of it.
    pub standing: Standing,
    /// Votes for it.
    pub votes: usize,
    /// What each statement says of it, in their order.
    pub voices: Vec<Voice>,
    /// Digests that differ.
    pub differing: Vec<Differing>,
}

/// One statement, as it was counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// Its file.
    pub file: String,
    /// Names of its signer.
    pub signer: String,
    /// Fingerprint of the key.
    pub key: String,
    /// Number of the signer: equal ones have one vote.
    pub voter: usize,
    /// Number of the machine, by its own word: equal ones have one vote.
    pub machine: usize,
    /// Where it ran, by its own word.
    pub on: String,
    /// The operator under test; null of our own.
    pub operator: Option<String>,
    /// Layers of isolation that it lacked.
    pub isolation_lacking: Vec<String>,
    /// How much of its manifests was looked at.
    pub completeness: String,
    /// The nonce; null without one.
    pub nonce: Option<String>,
    /// The exit code that follows from its record.
    pub exit_code: u8,
}

/// What statements amount to together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Quorum {
    /// 0: every required case has its quorum; 1: something was refuted; 3: a required case is short of votes.
    pub exit_code: u8,
    /// Votes that a case needs.
    pub need: usize,
    /// The statements, as they were given.
    pub statements: Vec<Counted>,
    /// Every case that one of them was asked for, in order of manifest and of first appearance.
    pub cases: Vec<CaseQuorum>,
}

/// Where a statement was made, in words.
fn places(statement: &Statement) -> String {
    let machines = statement.machines.iter().map(|m| format!("{} ({})", m.cpu_model, m.isa));
    let devices = statement.devices.iter().map(|device| device.name.clone());
    let mut all: Vec<String> = devices.chain(machines).collect();
    all.dedup();
    all.join(", ")
}

/// For each of `count` things a number, the same for those that `is_one` joins, directly or by way of others.
fn joined(count: usize, is_one: &dyn Fn(usize, usize) -> bool) -> Vec<usize> {
    let mut numbers: Vec<usize> = (0..count).collect();
    for one in 0..count {
        for other in 0..one {
            let (from, to) = (numbers[one], numbers[other]);
            if from != to && is_one(one, other) {
                let (from, to) = (from.max(to), from.min(to));
                numbers.iter_mut().filter(|number| **number == from).for_each(|n| *n = to);
            }
        }
    }
    numbers
}

/// Whether two statements may be of one machine: a device of one is the other's, or their processors and memory are alike
/// and no devices tell them apart.
fn is_one_machine(one: &Statement, other: &Statement) -> bool {
    let uuids = |s: &Statement| -> BTreeSet<String> {
        s.devices.iter().map(|device| device.uuid.clone()).collect()
    };
    let (uuids, others) = (uuids(one), uuids(other));
    if !uuids.is_disjoint(&others) {
        return true;
    }
    let are_told_apart = !uuids.is_empty() && !others.is_empty();
    let prints: BTreeSet<Digest> = one.machines.iter().map(|m| m.fingerprint).collect();
    !are_told_apart && other.machines.iter().any(|m| prints.contains(&m.fingerprint))
}

/// The most pairs of a signer and a machine with nobody and nothing twice (Kuhn's augmenting paths).
fn votes(pairs: &BTreeSet<(usize, usize)>) -> usize {
    let mut machines: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for &(signer, machine) in pairs {
        machines.entry(signer).or_default().push(machine);
    }
    /// Finds a machine for a signer, moving others where they have another one.
    fn place(
        signer: usize,
        machines: &BTreeMap<usize, Vec<usize>>,
        seen: &mut BTreeSet<usize>,
        taken: &mut BTreeMap<usize, usize>,
    ) -> bool {
        for &machine in machines.get(&signer).into_iter().flatten() {
            if !seen.insert(machine) {
                continue;
            }
            let is_free = match taken.get(&machine).copied() {
                None => true,
                Some(other) => place(other, machines, seen, taken),
            };
            if is_free {
                taken.insert(machine, signer);
                return true;
            }
        }
        false
    }
    let mut taken = BTreeMap::new();
    machines
        .keys()
        .filter(|&&signer| place(signer, &machines, &mut BTreeSet::new(), &mut taken))
        .count()
}

/// Digests of a case that are not the same for all who found some.
fn differing(said: &[(&Signed, &CaseStated)]) -> Vec<Differing> {
    let with_bits: Vec<_> = said.iter().filter(|(_, case)| !case.digests.is_empty()).collect();
    let contract = with_bits.iter().any(|(_, case)| verdict::has_contract(&case.arithmetic));
    let mut all = Vec::new();
    for name in verdict::DIGESTS {
        if !verdict::is_compared(name, contract, false) {
            continue;
        }
        let is_perturbed = ["rebuilt", "shifted"].contains(&name);
        // Perturbed outputs are of a nonce.
        let mut by_nonce: BTreeMap<Option<&str>, BTreeMap<Option<Digest>, Vec<String>>> =
            BTreeMap::new();
        for (signed, case) in &with_bits {
            let Some(got) = case.digests.get(name) else { continue };
            // Who judged outputs of others may not have asked for the perturbed ones.
            if is_perturbed && got.is_none() {
                continue;
            }
            let nonce = signed.statement.options.nonce.as_deref().filter(|_| is_perturbed);
            by_nonce.entry(nonce).or_default().entry(*got).or_default().push(signed.signer());
        }
        for values in by_nonce.into_values().filter(|values| values.len() > 1) {
            let found = values.into_iter().map(|(got, mut signers)| {
                signers.dedup();
                Found { got, signers }
            });
            all.push(Differing { digest: name.to_owned(), values: found.collect() });
        }
    }
    all
}

/// Counts statements that were all taken by one [`About`]. `is_wanted` chooses cases by id; with `strict` optional cases
/// count too.
pub fn count(
    signed: &[Signed],
    need: usize,
    strict: bool,
    is_wanted: &dyn Fn(&str) -> bool,
) -> Quorum {
    let voters = joined(signed.len(), &|one, other| {
        let (one, other) = (&signed[one], &signed[other]);
        one.key == other.key || one.names.iter().any(|name| other.names.contains(name))
    });
    let machines = joined(signed.len(), &|one, other| {
        is_one_machine(&signed[one].statement, &signed[other].statement)
    });
    // Every case that was asked for, whether or not somebody has it; required if it is for one who was asked.
    let mut order: Vec<(&str, &str)> = Vec::new();
    let mut required: HashMap<(&str, &str), bool> = HashMap::new();
    let mut said: HashMap<(&str, &str), Vec<(usize, &CaseStated)>> = HashMap::new();
    for (at, one) in signed.iter().enumerate() {
        let optional = one.statement.optional();
        for manifest in &one.statement.manifests {
            for id in manifest.asked.iter().filter(|id| is_wanted(id)) {
                let key = (manifest.name.as_str(), id.as_str());
                let is_required = strict || !optional.contains(&key);
                let known = required.entry(key).or_insert_with(|| {
                    order.push(key);
                    false
                });
                *known |= is_required;
            }
        }
        for case in &one.statement.cases {
            said.entry((&case.manifest, &case.id)).or_default().push((at, case));
        }
    }
    // As a run does: where nothing that is required was asked for, all of it counts.
    let counts_all = !required.values().any(|required| *required);
    order.sort_by_key(|(manifest, _)| *manifest);
    let cases: Vec<CaseQuorum> = order
        .iter()
        .map(|key| {
            let said = said.get(key).map_or(&[][..], Vec::as_slice);
            let pairs = said.iter().filter(|(_, case)| case.verdict.satisfies());
            let votes = votes(&pairs.map(|(at, _)| (voters[*at], machines[*at])).collect());
            let beside: Vec<_> = said.iter().map(|(at, case)| (&signed[*at], *case)).collect();
            let differing = differing(&beside);
            let is_refuted =
                !differing.is_empty() || said.iter().any(|(_, case)| case.verdict.refutes());
            let standing = match (is_refuted, votes >= need) {
                (true, _) => Standing::Refuted,
                (false, true) => Standing::Confirmed,
                (false, false) => Standing::Short,
            };
            let voices = beside.iter().map(|(signed, case)| Voice {
                signer: signed.signer(),
                file: signed.file.clone(),
                verdict: case.verdict,
                operator: case.operator.clone(),
                on: case.device.clone().unwrap_or_else(|| {
                    let machines = signed.statement.machines.iter();
                    let each = machines.map(|m| format!("{} ({})", m.cpu_model, m.isa));
                    each.collect::<Vec<_>>().join(" or ")
                }),
            });
            CaseQuorum {
                manifest: key.0.to_owned(),
                id: key.1.to_owned(),
                required: counts_all || required[key],
                standing,
                votes,
                voices: voices.collect(),
                differing,
            }
        })
        .collect();
    let has = |standing, only_required: bool| {
        let of = |case: &&CaseQuorum| case.required || !only_required;
        cases.iter().filter(of).any(|case| case.standing == standing)
    };
    let exit_code = if has(Standing::Refuted, false) {
        exit::REFUTED
    } else if cases.is_empty() || has(Standing::Short, true) {
        exit::NOT_VERIFIED
    } else {
        exit::VERIFIED
    };
    let statements = signed.iter().enumerate().map(|(at, signed)| {
        let statement = &signed.statement;
        Counted {
            file: signed.file.clone(),
            signer: signed.signer(),
            key: signed.key.clone(),
            voter: voters[at],
            machine: machines[at],
            on: places(statement),
            operator: statement.operator.as_ref().map(|o| format!("{} {}", o.name, o.version)),
            isolation_lacking: statement
                .operator
                .as_ref()
                .map_or_else(Vec::new, |operator| operator.isolation_lacking.clone()),
            completeness: statement.completeness(),
            nonce: statement.options.nonce.clone(),
            exit_code: statement.outcome.code,
        }
    });
    Quorum { exit_code, need, statements: statements.collect(), cases }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statement::tests::statement;

    /// A statement of a processor of that name, signed by `name`.
    fn signed(name: &str, machine: &str) -> Signed {
        let mut statement = statement();
        statement.devices.clear();
        statement.machines[0].fingerprint = Digest::of(machine.as_bytes());
        Signed {
            file: format!("{name}-{machine}.json"),
            names: vec![name.to_owned()],
            key: format!("SHA256:{name}"),
            statement,
        }
    }

    fn count_all(signed: &[Signed], need: usize) -> Quorum {
        count(signed, need, false, &|_| true)
    }

    #[test]
    fn one_signer_and_one_machine_have_one_vote() {
        for (pairs, expected) in [
            (&[("ada", "m1")][..], 1),
            (&[("ada", "m1"), ("bob", "m2")], 2),
            (&[("ada", "m1"), ("ada", "m2")], 1),
            (&[("ada", "m1"), ("bob", "m1")], 1),
            (&[("ada", "m1"), ("ada", "m2"), ("bob", "m1")], 2),
            (&[("ada", "m1"), ("bob", "m1"), ("eve", "m2"), ("eve", "m3"), ("bob", "m3")], 3),
        ] {
            let all: Vec<Signed> =
                pairs.iter().map(|(name, machine)| signed(name, machine)).collect();
            for (need, code) in [(expected, 0), (expected + 1, 3)] {
                let quorum = count_all(&all, need);
                assert!(quorum.cases.iter().all(|case| case.votes == expected), "{pairs:?}");
                assert_eq!(quorum.exit_code, code, "{pairs:?}");
            }
        }
    }

    #[test]
    fn two_names_of_one_key_are_one_signer_and_devices_tell_machines_apart() {
        let mut both = [signed("ada", "m1"), signed("bob", "m2")];
        both[1].key = both[0].key.clone();
        assert_eq!(count_all(&both, 1).cases[0].votes, 1);
        let devices = statement().devices;
        assert_eq!(devices.len(), 1);
        let mut both = [signed("ada", "m1"), signed("bob", "m1")];
        both[0].statement.devices = devices.clone();
        assert_eq!(count_all(&both, 1).cases[0].votes, 1, "its processor and its device");
        both[1].statement.devices = devices.clone();
        both[1].statement.devices[0].uuid = "GPU-other".into();
        assert_eq!(count_all(&both, 1).cases[0].votes, 2);
        both[1].statement.machines[0].fingerprint = Digest::of(b"m2");
        both[1].statement.devices = devices;
        assert_eq!(count_all(&both, 1).cases[0].votes, 1, "one device");
    }

    #[test]
    fn one_differing_digest_refutes_and_names_who_found_it() {
        let mut both = [signed("ada", "m1"), signed("bob", "m2")];
        let case = both[1].statement.cases[1].clone();
        both[1].statement.cases[1].digests.insert("dense".into(), Some(Digest::of(b"other")));
        let quorum = count_all(&both, 2);
        assert_eq!(quorum.exit_code, 1);
        let refuted: Vec<_> =
            quorum.cases.iter().filter(|c| c.standing == Standing::Refuted).collect();
        assert_eq!(refuted.len(), 1);
        assert_eq!(refuted[0].id, case.id);
        let [differing] = &refuted[0].differing[..] else { panic!("{refuted:?}") };
        assert_eq!(differing.digest, "dense");
        let by: Vec<_> = differing.values.iter().map(|found| found.signers.concat()).collect();
        assert!(by.contains(&"ada".into()) && by.contains(&"bob".into()), "{by:?}");
    }

    #[test]
    fn perturbed_digests_are_of_a_nonce() {
        let mut both = [signed("ada", "m1"), signed("bob", "m2")];
        for case in &mut both[1].statement.cases {
            case.digests.insert("rebuilt".into(), Some(Digest::of(b"of a nonce")));
        }
        assert_eq!(count_all(&both, 2).exit_code, 1);
        both[1].statement.options.nonce = Some("drawn".into());
        assert_eq!(count_all(&both, 2).exit_code, 0);
    }

    #[test]
    fn a_case_that_nobody_has_is_short() {
        let mut both = [signed("ada", "m1"), signed("bob", "m2")];
        both.iter_mut().for_each(|one| drop(one.statement.cases.remove(0)));
        let quorum = count_all(&both, 2);
        assert_eq!((quorum.exit_code, quorum.cases[0].votes), (3, 0));
        let id = both[0].statement.manifests[0].asked[0].clone();
        assert_eq!(count(&both, 2, false, &|wanted| wanted != id).exit_code, 0);
        both.iter_mut().for_each(|one| one.statement.manifests[0].optional.push(id.clone()));
        assert_eq!(count_all(&both, 2).exit_code, 0);
        assert_eq!(count(&both, 2, true, &|_| true).exit_code, 3);
        assert_eq!(count(&both, 2, false, &|_| false).exit_code, 3, "of no case nothing is shown");
    }

    #[test]
    fn statements_of_something_else_are_not_the_same() {
        let first = signed("ada", "m1");
        let tool = first.statement.tool.clone();
        let take = |edit: &dyn Fn(&mut Statement)| {
            let mut about = About::tool(&tool);
            about.take("first", &first.statement).expect("the first");
            let mut second = signed("bob", "m2");
            edit(&mut second.statement);
            about.take("second", &second.statement).map_err(|other| other.to_string())
        };
        assert_eq!(take(&|s| s.manifests[0].expected_sha256 = None), Ok(()), "confirmations");
        for (words, edit) in [
            (
                "another version of the program",
                &(|s: &mut Statement| s.tool = "sparse-verify 9.9.9".into())
                    as &dyn Fn(&mut Statement),
            ),
            ("another manifest", &|s| s.manifests[0].sha256 = Digest::of(b"")),
            ("other digests were committed for case", &|s| {
                s.cases[1].committed = Some(Digest::of(b""))
            }),
        ] {
            let error = take(edit).expect_err(words);
            assert!(error.starts_with("second: ") && error.contains(words), "{error}");
        }
        // Beside manifests that are here.
        let mut about = About::tool(&tool);
        about.know("here", "another", Digest::of(b""), []);
        about.close();
        let error = about.take("first", &first.statement).expect_err("not here").to_string();
        assert!(error.contains("expected another"), "{error}");
        let name = first.statement.manifests[0].name.clone();
        let sha256 = first.statement.manifests[0].sha256;
        let mut about = About::tool(&tool);
        about.know("here", &name, sha256, []);
        let error = about.take("first", &first.statement).expect_err("not pinned here").to_string();
        assert!(error.contains("expected none (here)"), "{error}");
    }
}
