//! What is signed: an in-toto Statement (v1) with a test result (v0.1) for its predicate, in canonical form. It follows
//! from a record's bytes alone, without a clock: whoever has the record makes the same bytes.
//!
//! The predicate is in-toto's test result, and not its simple verification result, which lists properties that hold and
//! nothing else: a run has cases that were refuted and cases that were not verified, and both must be said. Everything of
//! ours stands below one extension field; the in-toto part follows from it, and a statement whose parts say different
//! things is refused.

use std::collections::{BTreeMap, HashSet};

use contract::digest::Digest;
use record::commitment::After;
use record::environment::Environment;
use record::exit::{self, Require};
use record::expected::Entry;
use record::operator::CodeFile;
use record::verdict::{self, Verdict};
use record::{CaseRecord, End, FORMAT, ManifestRecord, Outcome, Record, SampleAsked};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::canonical;

/// The version of our part.
pub const STATEMENT_FORMAT: &str = "sparse-verify-statement/1";
/// The type of the whole.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// The type of the predicate.
pub const PREDICATE_TYPE: &str = "https://in-toto.io/attestation/test-result/v0.1";
/// The extension field of the predicate that holds our part.
const OWN: &str = "sparseVerify";
/// Largest statement that is read, in bytes: a case takes about 1 KB, and a manifest has 25,000 at most.
pub const STATEMENT_BYTES_MAX: u64 = 64 << 20;

/// What a record says, in the form in which it is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// [`STATEMENT_FORMAT`].
    pub format: String,
    /// Name and version of the program that made the record.
    pub tool: String,
    /// SHA-256 of its executable; `None` where the record does not say.
    pub tool_sha256: Option<Digest>,
    /// The record.
    pub record: RecordStated,
    /// What the run was asked to do.
    pub options: OptionsStated,
    /// The machines that it ran on, by their own word.
    pub machines: Vec<MachineStated>,
    /// The CUDA devices that cases ran on, by their own word.
    pub devices: Vec<DeviceStated>,
    /// The operator under test; `None` of our own.
    pub operator: Option<OperatorStated>,
    /// The manifests that cases are of.
    pub manifests: Vec<ManifestStated>,
    /// The cases of the record, in its order.
    pub cases: Vec<CaseStated>,
    /// How the run ended.
    pub ended: End,
    /// What the record amounts to.
    pub outcome: Outcome,
}

/// A record, by its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordStated {
    /// The version of its format.
    pub format: String,
    /// When the run began, by its own word.
    pub started: String,
    /// Digest of its bytes.
    pub sha256: Digest,
}

/// Options that change what a record shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptionsStated {
    /// The nonce that perturbations were drawn from; `None` without one.
    pub nonce: Option<String>,
    /// The commitment that the nonce was drawn after.
    pub after: Option<After>,
    /// Globs that chose cases; empty where all were asked for.
    pub select: Vec<String>,
    /// The shard, such as `2/4`; `None` of a whole run.
    pub shard: Option<String>,
    /// The sample of cases that was asked for; `None`, and left out, where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<SampleAsked>,
    /// Whether optional cases count.
    pub strict: bool,
    /// What exit code 0 asks for.
    pub require: Require,
    /// Whether outputs were judged that were made elsewhere.
    pub outputs: bool,
}

/// A machine, as it describes itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineStated {
    /// Model of its processor.
    pub cpu_model: String,
    /// Its architecture.
    pub architecture: String,
    /// The dispatch path of its kernels.
    pub isa: String,
    /// Digest of what of its description stays as long as the machine does: equal ones count as one machine.
    pub fingerprint: Digest,
}

impl MachineStated {
    fn of(environment: &Environment, isa: &str) -> MachineStated {
        let Environment { cpu_model, architecture, memory_bytes, cache_bytes, .. } = environment;
        // Neither cores nor the system: both change from run to run on one machine.
        let description = json!({
            "architecture": architecture, "cache_bytes": cache_bytes, "cpu_model": cpu_model,
            "memory_bytes": memory_bytes,
        });
        MachineStated {
            cpu_model: cpu_model.clone(),
            architecture: architecture.clone(),
            isa: isa.to_owned(),
            fingerprint: Digest::of(canonical::text(&description).as_bytes()),
        }
    }
}

/// A device, as its driver describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceStated {
    /// Such as `NVIDIA H200`.
    pub name: String,
    /// Its UUID.
    pub uuid: String,
    /// The newest CUDA that its driver serves.
    pub driver: String,
}

/// An operator under test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorStated {
    /// Name, as its file has it.
    pub name: String,
    /// Version, as its file has it.
    pub version: String,
    /// Digest of its file.
    pub sha256: Digest,
    /// Digests of its code.
    pub files: Vec<CodeFile>,
    /// Layers of isolation that it was behind.
    pub isolation: Vec<String>,
    /// Layers that were not had.
    pub isolation_lacking: Vec<String>,
}

/// A manifest, and how much of it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestStated {
    /// Its name.
    pub name: String,
    /// Digest of its file.
    pub sha256: Digest,
    /// Digest of the file of committed digests, confirmations included; `None` where there was none.
    pub expected_sha256: Option<Digest>,
    /// Whether all cases were asked for that the operator claims.
    pub whole: bool,
    /// Ids of the cases that were asked for, those of other shards included; of a sample those that were drawn.
    pub asked: Vec<String>,
    /// Ids of those that are not required.
    pub optional: Vec<String>,
}

/// One case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseStated {
    /// Name of its manifest.
    pub manifest: String,
    /// Its id.
    pub id: String,
    /// The rule of Y's elements.
    pub arithmetic: String,
    /// The word for it.
    pub verdict: Verdict,
    /// The operator; `None` of a case that has no bits.
    pub operator: Option<String>,
    /// The device that the operator ran on; `None` for the processor.
    pub device: Option<String>,
    /// Digests that were found, by name: `a`, `v`, `dense`, `operator`, `rebuilt`, `shifted`. Empty without bits.
    pub digests: BTreeMap<String, Option<Digest>>,
    /// Digest of the committed digests of this case, by [`committed`]; `None` where nothing is committed.
    pub committed: Option<Digest>,
}

/// One digest of a case's committed digests, in which no confirmation has a part: entries that differ by who confirmed
/// them are one.
pub fn committed(digests: &BTreeMap<String, Option<Digest>>) -> Digest {
    Digest::of(canonical::text(digests).as_bytes())
}

/// The same of an entry of a file of committed digests.
pub fn committed_of(entry: &Entry) -> Digest {
    let Entry { a, v, dense, operator, rebuilt, shifted, .. } = entry;
    let all = [Some(*a), Some(*v), Some(*dense), *operator, *rebuilt, *shifted];
    committed(&verdict::DIGESTS.iter().map(|name| (*name).to_owned()).zip(all).collect())
}

/// Why there is no statement; reads on after a file's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

impl CaseStated {
    fn of(case: &CaseRecord) -> CaseStated {
        let rows = case.bits.iter().flat_map(|bits| &bits.digests);
        let digests = rows.clone().map(|row| (row.name.clone(), row.got)).collect();
        let pinned = rows.clone().any(|row| row.expected.is_some());
        let expected = || rows.clone().map(|row| (row.name.clone(), row.expected)).collect();
        CaseStated {
            manifest: case.manifest.clone(),
            id: case.id.clone(),
            arithmetic: case.arithmetic.clone(),
            verdict: case.verdict,
            operator: case.bits.as_ref().map(|bits| bits.operator.clone()),
            device: case.device.clone(),
            digests,
            committed: pinned.then(|| committed(&expected())),
        }
    }

    /// Names of digests that must be the same in two statements of this case; those of perturbed outputs only under one
    /// nonce.
    pub fn compared(&self, is_one_nonce: bool) -> impl Iterator<Item = &'static str> {
        let contract = verdict::has_contract(&self.arithmetic);
        verdict::DIGESTS
            .into_iter()
            .filter(move |name| verdict::is_compared(name, contract, !is_one_nonce))
    }
}

impl Statement {
    /// The statement of a record that was derived anew, and of the bytes that it was read from.
    pub fn of(record: &Record, bytes: &[u8]) -> Result<Statement, Refused> {
        if record.is_old() {
            return Err(Refused(format!(
                "it is a record of the older format {}, which lacks what a statement says\n  expected {FORMAT}\nhint: run \
                 again with this version",
                record.format
            )));
        }
        let (Some(ended), Some(outcome)) = (record.ended.clone(), record.outcome.clone()) else {
            return Err(Refused(
                "its run did not end, and nothing follows from it\nhint: the same command with --resume goes on with it"
                    .into(),
            ));
        };
        let options = &record.options;
        let mut machines: Vec<MachineStated> = match &record.shards[..] {
            [] => vec![MachineStated::of(&record.environment, &options.isa)],
            shards => shards.iter().map(|s| MachineStated::of(&s.environment, &s.isa)).collect(),
        };
        machines.sort_by(|a, b| (a.fingerprint, &a.isa).cmp(&(b.fingerprint, &b.isa)));
        machines.dedup();
        let selects_all = options.select.is_empty() && options.sample.is_none();
        // What was asked for of a sample is what was drawn.
        let asked = |manifest: &ManifestRecord| match options.sample {
            Some(_) => manifest.own().to_vec(),
            None => manifest.selected.clone(),
        };
        Ok(Statement {
            format: STATEMENT_FORMAT.to_owned(),
            tool: record.tool.clone(),
            tool_sha256: record.environment.tool_sha256.as_ref().and_then(|text| text.parse().ok()),
            record: RecordStated {
                format: record.format.clone(),
                started: record.started.clone(),
                sha256: Digest::of(bytes),
            },
            options: OptionsStated {
                nonce: options.nonce.clone(),
                after: options.after.clone(),
                select: options.select.clone(),
                shard: options.shard.map(|shard| shard.to_string()),
                sample: options.sample.clone(),
                strict: options.strict,
                require: options.require,
                outputs: options.outputs.is_some(),
            },
            machines,
            devices: record
                .devices
                .iter()
                .map(|on| DeviceStated {
                    name: on.device.name.clone(),
                    uuid: on.device.uuid.clone(),
                    driver: on.device.driver.clone(),
                })
                .collect(),
            operator: record.operator.as_ref().map(|operator| OperatorStated {
                name: operator.name.clone(),
                version: operator.version.clone(),
                sha256: operator.sha256,
                files: operator.files.clone(),
                isolation: operator
                    .isolation
                    .iter()
                    .filter(|layer| layer.had)
                    .map(|layer| layer.name.clone())
                    .collect(),
                isolation_lacking: operator.lacking().into_iter().map(str::to_owned).collect(),
            }),
            manifests: record
                .manifests
                .iter()
                .map(|manifest| ManifestStated {
                    name: manifest.name.clone(),
                    sha256: manifest.sha256,
                    expected_sha256: manifest.expected_sha256,
                    whole: selects_all,
                    asked: asked(manifest),
                    optional: {
                        let asked = asked(manifest);
                        manifest.optional.iter().filter(|id| asked.contains(id)).cloned().collect()
                    },
                })
                .collect(),
            cases: record.cases.iter().map(CaseStated::of).collect(),
            ended,
            outcome,
        })
    }

    /// The bytes that are signed.
    pub fn text(&self) -> String {
        canonical::text(&self.whole())
    }

    /// The in-toto statement, all of which follows from our part.
    fn whole(&self) -> Value {
        let named =
            |name: String, sha256: Digest| json!({"name": name, "digest": {"sha256": sha256}});
        let mut configuration = Vec::new();
        for ManifestStated { name, sha256, expected_sha256, .. } in &self.manifests {
            configuration.push(named(format!("manifest {name}"), *sha256));
            let expected =
                expected_sha256.map(|d| named(format!("committed digests of {name}"), d));
            configuration.extend(expected);
        }
        let operator = self.operator.as_ref();
        configuration.extend(operator.map(|o| named(format!("operator {}", o.name), o.sha256)));
        let mut subject = vec![named("record".into(), self.record.sha256)];
        subject
            .extend(self.tool_sha256.map(|sha256| named(format!("program {}", self.tool), sha256)));
        subject.extend(configuration.iter().cloned());
        let tests = |is_wanted: &dyn Fn(&CaseStated) -> bool| -> Vec<String> {
            let cases = self.cases.iter().filter(|case| is_wanted(case));
            cases.map(|case| format!("{}: {}", case.manifest, case.id)).collect()
        };
        let optional = self.optional();
        let result = if self.outcome.code == exit::VERIFIED { "PASSED" } else { "FAILED" };
        json!({
            "_type": STATEMENT_TYPE,
            "subject": subject,
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "result": result,
                "configuration": configuration,
                "passedTests": tests(&|case| case.verdict.satisfies()),
                // Of a test that passes with warnings; a case that was not verified did not pass.
                "warnedTests": Vec::<String>::new(),
                "failedTests": tests(&|case| {
                    let is_optional = optional.contains(&(case.manifest.as_str(), case.id.as_str()));
                    case.verdict.refutes() || !is_optional && !case.verdict.satisfies()
                }),
                OWN: self,
            },
        })
    }

    /// Cases that count only with `--strict`, by manifest and id.
    pub fn optional(&self) -> HashSet<(&str, &str)> {
        self.manifests
            .iter()
            .flat_map(|manifest| {
                manifest.optional.iter().map(|id| (manifest.name.as_str(), id.as_str()))
            })
            .collect()
    }

    /// Reads a statement in the form that is written, all of whose parts say the same.
    pub fn read(bytes: &[u8]) -> Result<Statement, Refused> {
        const HINT: &str = "hint: `verify attest RECORD --key KEY` writes one";
        let refuse = |why: String| Refused(format!("it is no statement: {why}\n{HINT}"));
        let value: Value =
            serde_json::from_slice(bytes).map_err(|error| refuse(error.to_string()))?;
        for (place, expected) in [("_type", STATEMENT_TYPE), ("predicateType", PREDICATE_TYPE)] {
            match value.get(place).and_then(Value::as_str) {
                Some(type_) if type_ == expected => {}
                Some(other) => {
                    let other = contract::words::quote(other);
                    return Err(refuse(format!("`{place}` is {other}, expected {expected}")));
                }
                None => return Err(refuse(format!("it has no `{place}`, expected {expected}"))),
            }
        }
        let own = value.get("predicate").and_then(|predicate| predicate.get(OWN));
        let own = own.ok_or_else(|| refuse(format!("its predicate has no `{OWN}`")))?;
        // The version first, so that a newer one is not called malformed.
        match own.get("format").and_then(Value::as_str) {
            Some(STATEMENT_FORMAT) => {}
            Some(other) => {
                let hint = match other.strip_suffix("-draft") {
                    Some(STATEMENT_FORMAT) => {
                        "a draft of it; a signature is of its bytes: make it again from the record, by `verify attest`"
                    }
                    _ => "a version of the program that wrote it reads it",
                };
                return Err(Refused(format!(
                    "its format is {}, expected `{STATEMENT_FORMAT}`\nhint: {hint}",
                    contract::words::quote(other)
                )));
            }
            None => return Err(refuse(format!("`{OWN}` has no `format`"))),
        }
        let statement: Statement =
            serde_json::from_value(own.clone()).map_err(|error| refuse(error.to_string()))?;
        let written = statement.text();
        if written.as_bytes() != bytes {
            let at = written.bytes().zip(bytes).take_while(|(own, given)| own == *given).count();
            return Err(refuse(format!(
                "byte {at} is not what follows from the rest of it: it was changed, or is not in canonical form"
            )));
        }
        if statement.record.format != FORMAT {
            return Err(Refused(format!(
                "it is of a record of another version\n  expected {FORMAT}\n  got      {}",
                contract::words::visible(&statement.record.format)
            )));
        }
        statement.hold()?;
        Ok(statement)
    }

    /// Refuses what no record can say: cases twice, cases that were not asked for, counts that are others.
    fn hold(&self) -> Result<(), Refused> {
        let refuse = |why: String| Err(Refused(format!("it contradicts itself: {why}")));
        let mut asked = BTreeMap::new();
        for manifest in &self.manifests {
            for id in &manifest.asked {
                let key = (manifest.name.as_str(), id.as_str());
                if asked.insert(key, false).is_some() {
                    return refuse(format!("case `{id}` was asked for twice"));
                }
            }
        }
        for case in &self.cases {
            match asked.get_mut(&(case.manifest.as_str(), case.id.as_str())) {
                Some(seen) if !*seen => *seen = true,
                Some(_) => return refuse(format!("case `{}` is there twice", case.id)),
                None => return refuse(format!("case `{}` was not asked for", case.id)),
            }
            let names: Vec<&str> = case.digests.keys().map(String::as_str).collect();
            let mut known = verdict::DIGESTS;
            known.sort_unstable();
            let has_bits = case.operator.is_some();
            if has_bits && names != known || !has_bits && !names.is_empty() {
                return refuse(format!("the digests of case `{}` are {names:?}", case.id));
            }
            let needs = case.verdict.satisfies();
            if needs && (!has_bits || case.committed.is_none()) {
                return refuse(format!(
                    "case `{}` is {}, and it has no digests or none are committed",
                    case.id,
                    case.verdict.name()
                ));
            }
        }
        let verified = self.cases.iter().filter(|case| case.verdict.satisfies()).count();
        if (self.outcome.present, self.outcome.verified) != (self.cases.len(), verified) {
            return refuse(format!(
                "its outcome counts {} cases, {} of them verified, and it has {} and {verified}",
                self.outcome.present,
                self.outcome.verified,
                self.cases.len()
            ));
        }
        let refuted = self.cases.iter().any(|case| case.verdict.refutes());
        if refuted && self.outcome.code != exit::REFUTED {
            return refuse(format!(
                "a case is refuted, and the exit code is {}",
                self.outcome.code
            ));
        }
        if let Some(after) = &self.options.after {
            after.check(self.options.nonce.as_deref()).map_err(|bad| Refused(bad.to_string()))?;
        }
        Ok(())
    }

    /// What differs from the statement of a record, in words; `None` where they are one.
    pub fn differs(&self, of_record: &Statement) -> Option<String> {
        if self.record.sha256 != of_record.record.sha256 {
            return Some(format!(
                "it is of another record\n  expected sha256 {}\n  got      {}",
                self.record.sha256, of_record.record.sha256
            ));
        }
        // Of one record's bytes there is one statement.
        (self != of_record).then(|| "it says something else than its record does".to_owned())
    }

    /// How much of what it is about was looked at, in words.
    pub fn completeness(&self) -> String {
        let mut parts: Vec<String> = Vec::new();
        if !self.options.select.is_empty() {
            parts.push("a selection of cases".into());
        }
        parts.extend(self.options.shard.as_ref().map(|shard| format!("shard {shard}")));
        parts.extend(self.options.sample.as_ref().map(|sample| {
            format!(
                "a sample of cases, drawn by the nonce {}",
                contract::words::visible(&sample.nonce)
            )
        }));
        let asked: usize = self.manifests.iter().map(|manifest| manifest.asked.len()).sum();
        if parts.is_empty() {
            parts.push("whole manifests".into());
        }
        parts.push(format!("{} of {asked} cases", self.cases.len()));
        parts.join(", ")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::OnceLock;

    /// A record of a run on an H100.
    const ROWS: &str = include_str!("../../../tests/records/h100/rows.json");

    pub fn statement() -> Statement {
        static ONCE: OnceLock<Statement> = OnceLock::new();
        let of_rows = || {
            let record = record::parse(ROWS.as_bytes(), "rows.json").expect("a record");
            Statement::of(&record, ROWS.as_bytes()).expect("a statement")
        };
        ONCE.get_or_init(of_rows).clone()
    }

    #[test]
    fn a_statement_follows_from_its_record_and_comes_back() {
        let statement = statement();
        let text = statement.text();
        assert_eq!(Statement::read(text.as_bytes()), Ok(statement.clone()));
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value["_type"], STATEMENT_TYPE);
        assert_eq!(value["predicateType"], PREDICATE_TYPE);
        assert_eq!(value["predicate"]["result"], "PASSED");
        let subject = value["subject"].as_array().expect("a list");
        assert_eq!(subject[0]["digest"]["sha256"], Digest::of(ROWS.as_bytes()).to_string());
        assert_eq!(subject.len(), 4, "record, program, manifest, committed digests: {subject:?}");
        let passed = value["predicate"]["passedTests"].as_array().map(Vec::len);
        assert_eq!(passed, Some(statement.cases.len()));
        assert!(text.len() < 4096 + 1600 * statement.cases.len(), "{}", text.len());
    }

    /// Every bit of a small statement's file: changed ones are refused, or read as another statement, which has other
    /// bytes to sign.
    #[test]
    fn one_changed_bit_is_seen() {
        let mut small = statement();
        small.cases.truncate(1);
        small.manifests[0].asked.truncate(1);
        small.outcome.present = 1;
        small.outcome.verified = 1;
        let good = small.text().into_bytes();
        assert_eq!(Statement::read(&good), Ok(small.clone()));
        for at in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[at / 8] ^= 1 << (at % 8);
            if let Ok(read) = Statement::read(&bad) {
                assert_ne!(read, small, "bit {at}");
            }
        }
    }

    #[test]
    fn what_no_record_says_is_refused() {
        let change = |change: &dyn Fn(&mut Statement)| {
            let mut statement = statement();
            change(&mut statement);
            Statement::read(statement.text().as_bytes()).map(drop).map_err(|e| e.to_string())
        };
        assert_eq!(change(&|_| {}), Ok(()));
        for (words, edit) in [
            (
                "is there twice",
                &(|s: &mut Statement| s.cases.push(s.cases[0].clone())) as &dyn Fn(&mut Statement),
            ),
            ("was not asked for", &|s| s.cases[0].id = "other".into()),
            ("was asked for twice", &|s| {
                let first = s.manifests[0].asked[0].clone();
                s.manifests[0].asked.push(first);
            }),
            ("its outcome counts", &|s| s.outcome.verified -= 1),
            ("its outcome counts", &|s| s.cases[0].verdict = Verdict::Unpinned),
            ("and the exit code is 0", &|s| {
                s.cases[0].verdict = Verdict::Mismatch;
                s.outcome.verified -= 1;
            }),
            ("the digests of case", &|s| {
                s.cases[0].digests.remove("dense");
            }),
            ("the digests of case", &|s| s.cases[0].operator = None),
            ("none are committed", &|s| s.cases[0].committed = None),
            ("a record of another version", &|s| s.record.format = "sparse-verify-record/3".into()),
            ("its format is", &|s| s.format = "sparse-verify-statement/2".into()),
            ("and there is none", &|s| {
                s.options.after = Some(After {
                    commit_sha256: Digest::of(b""),
                    committed: "2026-01-01T00:00:00Z".into(),
                    nonce_source: "words".into(),
                });
            }),
        ] {
            let error = change(edit).expect_err(words);
            assert!(error.contains(words), "{words}: {error}");
        }
        // A part of in-toto's that says more than ours.
        let text = statement().text();
        for (from, to) in [
            ("\"result\":\"PASSED\"", "\"result\":\"FAILED\""),
            ("\"warnedTests\":[]", "\"warnedTests\":[\"x\"]"),
            ("\"predicate\":{", "\"predicate\":{\"a\":1,"),
            ("{\"_type\"", "{ \"_type\""),
        ] {
            assert_eq!(text.matches(from).count(), 1, "{from}");
            let error = Statement::read(text.replace(from, to).as_bytes()).unwrap_err().to_string();
            assert!(error.contains("is not what follows"), "{to}: {error}");
        }
    }

    #[test]
    fn confirmations_have_no_part_in_the_committed_digest() {
        let statement = statement();
        let case = &statement.cases[0];
        assert_eq!(case.committed, Some(committed(&case.digests)), "verified: both are the same");
    }

    #[test]
    fn records_without_an_outcome_are_refused() {
        let record = record::parse(ROWS.as_bytes(), "rows.json").expect("a record");
        let cut = Record { ended: None, outcome: None, ..record.clone() };
        let error = Statement::of(&cut, b"").unwrap_err().to_string();
        assert!(error.contains("did not end") && error.contains("hint: "), "{error}");
        let old = Record { format: "sparse-verify-record/3".into(), ..record };
        assert!(Statement::of(&old, b"").unwrap_err().to_string().contains("older format"));
    }

    proptest! {
        #[test]
        fn any_bytes_as_a_statement(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Statement::read(&bytes).is_err());
        }

        /// Some bytes of a statement replaced, taken away or doubled: refused, or exactly what was read.
        #[test]
        fn a_mutated_statement_is_refused_or_is_itself(
            edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 1..4)
        ) {
            let mut bytes = statement().text().into_bytes();
            for (at, byte, how) in edits {
                let at = at.index(bytes.len());
                match how {
                    0 => bytes[at] = byte,
                    1 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, byte),
                }
            }
            if let Ok(read) = Statement::read(&bytes) {
                prop_assert_eq!(read.text().into_bytes(), bytes);
            }
        }
    }
}
