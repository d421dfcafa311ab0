//! Exit codes: stable, documented, one constant each.

use clap::ValueEnum;

use crate::check::verdict::Verdict;
use crate::claims::{JudgedClaim, Word};
use crate::record::{CaseRecord, Record};
use crate::words::visible_lines;

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

/// A failure that ends the program, with its code. Whatever its message came from, it is shown as text.
#[derive(Debug, thiserror::Error)]
#[error("{}", visible_lines(message))]
pub struct Failure {
    pub code: u8,
    pub message: String,
}

impl Failure {
    pub fn bad_input(message: impl ToString) -> Failure {
        Failure { code: BAD_INPUT, message: message.to_string() }
    }

    pub fn environment(message: impl ToString) -> Failure {
        Failure { code: ENVIRONMENT, message: message.to_string() }
    }
}

/// The code that one case's verdict gives. `failed` is the code of what kept it from running.
pub fn of_verdict(verdict: Verdict, failed: Option<u8>) -> u8 {
    match verdict {
        Verdict::Verified | Verdict::WithinBound => VERIFIED,
        Verdict::Mismatch | Verdict::OutOfBound => REFUTED,
        Verdict::Unpinned => NOT_VERIFIED,
        Verdict::NotRun => failed.unwrap_or(NOT_VERIFIED),
    }
}

/// The code of a run. A refutation and bad input count wherever they are; what is merely missing, or
/// cannot be had here, counts in required sections, and everywhere under `--strict`.
fn of_run<'a>(
    cases: impl Iterator<Item = &'a CaseRecord>,
    strict: bool,
    require_measurements: bool,
) -> u8 {
    cases.fold(VERIFIED, |code, case| {
        let counts = case.required || strict;
        let own = case.exit_code;
        let own = match own {
            NOT_VERIFIED | ENVIRONMENT if !counts => VERIFIED,
            own => own,
        };
        let unmeasured = require_measurements && counts && case.measurement.is_none();
        worse(code, if unmeasured { worse(own, NOT_VERIFIED) } else { own })
    })
}

/// What must be shown for exit code 0.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Require {
    /// Every required case's bits are verified
    #[default]
    Bits,
    /// And every required case was measured
    Measurements,
    /// And every published claim was judged and holds by its own rule, attained by our operator or not
    Claims,
}

/// The code of a run, or of what was joined or is read again.
pub fn of_record(record: &Record, strict: bool, require: Require) -> u8 {
    let code = of_run(record.cases.iter(), strict, require == Require::Measurements);
    match require {
        Require::Claims => worse(code, of_claims(&record.judged)),
        Require::Bits | Require::Measurements => code,
    }
}

/// The code of judged claims, where they are required: what does not hold by its own rule is refuted, what could not
/// be judged was not verified. Whether the open operator attains a published speed is neither.
pub fn of_claims(judged: &[JudgedClaim]) -> u8 {
    let words = judged.iter().flat_map(|claim| &claim.rows).map(|row| row.word);
    words.fold(VERIFIED, |code, word| match word {
        Word::NotJudged => worse(code, NOT_VERIFIED),
        word if word.refutes() => worse(code, REFUTED),
        _ => code,
    })
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
