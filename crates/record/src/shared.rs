//! One output digest from different weights: an output that shows nothing of them.

use std::collections::HashMap;

use contract::digest::Digest;

use crate::CaseRecord;

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

    /// Notes a case of an earlier run, or of another machine's; says so as above.
    pub fn note_record(&mut self, case: &CaseRecord) -> Option<String> {
        let digest = |name| case.bits.as_ref()?.digests.iter().find(|row| row.name == name)?.got;
        self.note(&case.id, digest("a")?, digest("v")?, digest("operator")?)
    }
}
