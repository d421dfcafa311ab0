//! Exit codes: stable, documented, one constant each.

use serde::{Deserialize, Serialize};

use crate::verdict::Verdict;

/// Everything required was verified.
pub const VERIFIED: u8 = 0;
/// Something was refuted.
pub const REFUTED: u8 = 1;
/// Bad usage, a bad manifest or a bad weights file.
pub const BAD_INPUT: u8 = 2;
/// Nothing was refuted, but something required was not verified: unpinned, or not run.
pub const NOT_VERIFIED: u8 = 3;
/// The environment failed: memory, disk, permissions, network.
pub const ENVIRONMENT: u8 = 4;

/// The worse of two codes. What was refuted stays refuted whatever else failed; a failed
/// environment explains why something was not verified.
pub fn worse(a: u8, b: u8) -> u8 {
    let rank = |code| match code {
        REFUTED => 4,
        BAD_INPUT => 3,
        ENVIRONMENT => 2,
        NOT_VERIFIED => 1,
        _ => 0,
    };
    if rank(a) >= rank(b) { a } else { b }
}

/// The code that one case's verdict gives. `failed` is the code of what kept it from running.
pub fn of_verdict(verdict: Verdict, failed: Option<u8>) -> u8 {
    match verdict {
        Verdict::Verified | Verdict::WithinBound => VERIFIED,
        Verdict::Mismatch | Verdict::OutOfBound => REFUTED,
        Verdict::Unpinned | Verdict::InPart => NOT_VERIFIED,
        Verdict::NotRun => failed.unwrap_or(NOT_VERIFIED),
    }
}

/// What must be shown for exit code 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Require {
    /// Every required case's bits are verified.
    #[default]
    Bits,
    /// And every required case was measured
    Measurements,
    /// And every published claim was judged and holds by its own rule, attained by our operator or not
    Claims,
    /// Every required case's bits are verified, and the operator under test was behind every layer of isolation.
    Isolation,
}

impl Require {
    /// All.
    pub const ALL: [Require; 4] =
        [Require::Bits, Require::Measurements, Require::Claims, Require::Isolation];

    /// The name on the command line and in records.
    pub fn name(self) -> &'static str {
        match self {
            Require::Bits => "bits",
            Require::Measurements => "measurements",
            Require::Claims => "claims",
            Require::Isolation => "isolation",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verdict_has_its_code() {
        assert_eq!(of_verdict(Verdict::Verified, None), 0);
        assert_eq!(of_verdict(Verdict::WithinBound, None), 0);
        assert_eq!(of_verdict(Verdict::Mismatch, None), 1);
        assert_eq!(of_verdict(Verdict::OutOfBound, None), 1);
        assert_eq!(of_verdict(Verdict::NotRun, Some(BAD_INPUT)), 2);
        assert_eq!(of_verdict(Verdict::Unpinned, None), 3);
        assert_eq!(of_verdict(Verdict::InPart, None), 3);
        assert_eq!(of_verdict(Verdict::NotRun, None), 3);
        assert_eq!(of_verdict(Verdict::NotRun, Some(ENVIRONMENT)), 4);
    }

    #[test]
    fn a_refutation_outranks_everything() {
        for code in [VERIFIED, BAD_INPUT, NOT_VERIFIED, ENVIRONMENT] {
            assert_eq!(worse(code, REFUTED), REFUTED);
            assert_eq!(worse(REFUTED, code), REFUTED);
            assert_eq!(worse(code, VERIFIED), code);
        }
        assert_eq!(worse(ENVIRONMENT, NOT_VERIFIED), ENVIRONMENT);
        assert_eq!(worse(NOT_VERIFIED, BAD_INPUT), BAD_INPUT);
    }
}
