//! Which figures a claim may have.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Printed;

/// A published quantity. The key in manifests says its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// Time of the vendor's library, in ms.
    VendorMs,
    /// Time of the operator, in ms.
    OperatorMs,
    /// Vendor's time over the operator's.
    Speedup,
    /// The largest speedup of all cases that the claim is about.
    SpeedupMax,
    /// Energy that the operator saves of the vendor's, in percent.
    EnergySavedPercent,
    /// Columns of V a second, of the operator.
    TokensPerS,
    /// Columns of V a second, of the vendor's library.
    VendorTokensPerS,
    /// 10^9 operations a second of the operator, on non-zeros.
    Gflops,
    /// 10^9 operations a second of the vendor's library.
    VendorGflops,
    /// Time a column of V, of the operator, in microseconds.
    UsPerToken,
    /// Time a column of V, of the vendor's library, in microseconds.
    VendorUsPerToken,
    /// Time to build the operator from A, in seconds.
    BuildS,
    /// Calls after which the operator's gains have paid for its build.
    BreakEvenCalls,
    /// Layers that both times are of; 1 if not given.
    Layers,
    /// Rows of A that have a non-zero.
    LiveRows,
    /// Speedup less one, in percent.
    GainPercent,
    /// Largest difference of two output elements.
    MaxAbsError,
    /// Tolerance of such a difference.
    Tolerance,
    /// Tolerance over the largest difference.
    ToleranceOverError,
    /// 10^6 bytes, of A as the operator holds it and as it was dense.
    MemoryMb,
    /// Megabytes of A as it was dense.
    DenseMemoryMb,
    /// Dense memory over the operator's.
    MemoryReduction,
    /// Cases that the claim is about.
    Cases,
    /// Cases that passed everything that is claimed of all.
    CasesPassed,
    /// Cases whose output changed where one weight was changed.
    PerturbationsPassed,
    /// Iterations that were averaged.
    Iterations,
    /// The largest number of an integer that what a sparse library counts of A is said to exceed.
    IndexMax,
}

impl Figure {
    /// With their keys in manifests.
    pub const ALL: [(&'static str, Figure); 27] = [
        ("vendor_ms", Figure::VendorMs),
        ("operator_ms", Figure::OperatorMs),
        ("speedup", Figure::Speedup),
        ("speedup_max", Figure::SpeedupMax),
        ("energy_saved_percent", Figure::EnergySavedPercent),
        ("tokens_per_s", Figure::TokensPerS),
        ("vendor_tokens_per_s", Figure::VendorTokensPerS),
        ("gflops", Figure::Gflops),
        ("vendor_gflops", Figure::VendorGflops),
        ("us_per_token", Figure::UsPerToken),
        ("vendor_us_per_token", Figure::VendorUsPerToken),
        ("build_s", Figure::BuildS),
        ("break_even_calls", Figure::BreakEvenCalls),
        ("layers", Figure::Layers),
        ("live_rows", Figure::LiveRows),
        ("gain_percent", Figure::GainPercent),
        ("max_abs_error", Figure::MaxAbsError),
        ("tolerance", Figure::Tolerance),
        ("tolerance_over_error", Figure::ToleranceOverError),
        ("memory_mb", Figure::MemoryMb),
        ("dense_memory_mb", Figure::DenseMemoryMb),
        ("memory_reduction", Figure::MemoryReduction),
        ("cases", Figure::Cases),
        ("cases_passed", Figure::CasesPassed),
        ("perturbations_passed", Figure::PerturbationsPassed),
        ("iterations", Figure::Iterations),
        ("index_max", Figure::IndexMax),
    ];

    /// Its key in manifests.
    pub fn key(self) -> &'static str {
        let known = Figure::ALL.iter().find(|(_, figure)| *figure == self);
        known.map_or("", |(key, _)| key)
    }

    /// Reads what is printed of it.
    pub fn read(self, text: &str) -> Option<Printed> {
        if self.is_count() { Printed::count(text) } else { Printed::parse(text) }
    }

    /// Whether it is counted, so that what is printed is all there is.
    pub fn is_count(self) -> bool {
        use Figure::{
            Cases, CasesPassed, IndexMax, Iterations, Layers, LiveRows, PerturbationsPassed,
        };
        matches!(
            self,
            Layers | LiveRows | Cases | CasesPassed | PerturbationsPassed | Iterations | IndexMax
        )
    }
}

/// Figures in records: their keys, and what is printed.
pub(super) mod as_map {
    use super::*;

    pub fn serialize<S: Serializer>(
        figures: &[(Figure, Printed)],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(figures.iter().map(|(figure, printed)| (figure.key(), printed)))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<(Figure, Printed)>, D::Error> {
        use serde::de::Error as _;
        let texts: BTreeMap<Figure, String> = BTreeMap::deserialize(deserializer)?;
        let read = |(figure, text): (Figure, String)| {
            let printed = figure.read(&text);
            let why = || D::Error::custom(format!("`{text}` is no {}", figure.key()));
            Ok((figure, printed.ok_or_else(why)?))
        };
        texts.into_iter().map(read).collect()
    }
}
