//! One output digest from different weights: an output that shows nothing of them.

use std::collections::HashMap;

use contract::digest::Digest;

use crate::{CaseRecord, derive, exit};

/// How the reason begins that [`SharedOutputs`] gives.
pub const VACUOUS: &str = "vacuous output: ";
/// Why there are no timings of a case that is refuted.
pub const NOT_RIGHT: &str = "not measured: the output is not right";

/// (manifest-independent) V and output digests -> A digest and case.
#[derive(Default)]
pub struct SharedOutputs(HashMap<(Digest, Digest), (Digest, String)>);

impl SharedOutputs {
    /// Notes a case's digests; says so if another case with equal V and another A gave the same
    /// output. An output without elements is exempt: there is but one.
    pub fn note(&mut self, id: &str, a: Digest, v: Digest, output: Digest) -> Option<String> {
        if output == Digest::of(b"") {
            return None;
        }
        match self.0.get(&(v, output)) {
            Some((other_a, other)) if *other_a != a => Some(format!(
                "{VACUOUS}`{other}` has other weights, the same activations and the same \
                 output digest {output}"
            )),
            Some(_) => None,
            None => {
                self.0.insert((v, output), (a, id.to_owned()));
                None
            }
        }
    }

    /// Notes a case that was audited without the others, and refutes it if another with other weights gave the same
    /// output, as a run does that sees them one after the other.
    pub fn refute(&mut self, case: &mut CaseRecord) {
        let Some(reason) = self.note_record(case) else { return };
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

    /// Notes a case of an earlier run, or of another machine's; says so as above.
    pub fn note_record(&mut self, case: &CaseRecord) -> Option<String> {
        let digest = |name| case.bits.as_ref()?.digests.iter().find(|row| row.name == name)?.got;
        self.note(&case.id, digest("a")?, digest("v")?, digest("operator")?)
    }
}
