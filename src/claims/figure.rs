//! Which figures a claim may have.

/// A published quantity. The key in manifests says its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Figure {
    VendorMs,
    OperatorMs,
    /// Vendor's time over the operator's.
    Speedup,
    /// Of all cases that the claim is about.
    SpeedupMax,
    EnergySavedPercent,
    TokensPerS,
    VendorTokensPerS,
    /// On non-zeros.
    Gflops,
    VendorGflops,
    UsPerToken,
    VendorUsPerToken,
    /// That both times are of; 1 if not given.
    Layers,
    LiveRows,
    MaxAbsError,
    Tolerance,
    /// 10^6 bytes, of A as the operator holds it and as it was dense.
    MemoryMb,
    DenseMemoryMb,
    MemoryReduction,
    Cases,
    /// Cases that passed everything that is claimed of all.
    CasesPassed,
    /// That were averaged.
    Iterations,
}

impl Figure {
    /// With their keys in manifests.
    pub const ALL: [(&'static str, Figure); 21] = [
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
        ("layers", Figure::Layers),
        ("live_rows", Figure::LiveRows),
        ("max_abs_error", Figure::MaxAbsError),
        ("tolerance", Figure::Tolerance),
        ("memory_mb", Figure::MemoryMb),
        ("dense_memory_mb", Figure::DenseMemoryMb),
        ("memory_reduction", Figure::MemoryReduction),
        ("cases", Figure::Cases),
        ("cases_passed", Figure::CasesPassed),
        ("iterations", Figure::Iterations),
    ];

    /// Whether it is counted, so that what is printed is all there is.
    pub fn is_count(self) -> bool {
        use Figure::{Cases, CasesPassed, Iterations, Layers, LiveRows};
        matches!(self, Layers | LiveRows | Cases | CasesPassed | Iterations)
    }
}
