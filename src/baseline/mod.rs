//! The rivals, behind the operator's own trait.
//!
//! Dense libraries, sparse libraries, and each dense library on the live rows only
//! (*compacted*), which is the honest rival wherever whole rows are dead, or on the live experts of a stack (*grouped*).
//! The embedded ones
//! are always there; a vendor library that is not installed is listed with the reason. Those of a
//! CUDA device are a list of their own, [`device_baselines`].
//!
//! What is deliberately absent: clocks and verdicts. A baseline has no bit contract.

mod compacted;
mod csr;
pub mod cuda;
mod dense;
pub mod grouped;
mod onemkl_bf16;
mod onemkl_csr;

use std::sync::Arc;

use record::baseline::{Kind, Missing};

pub use compacted::Compacted;
pub use csr::CsrRows;
pub use cuda::{DeviceBaseline, DeviceBaselines, Precision, device_baselines};
pub use dense::{Dense, DenseLibrary, GemmRs};
pub use grouped::Grouped;
pub use onemkl_bf16::{ONEMKL_BF16, OneMklBf16};
pub use onemkl_csr::OneMklCsr;

use crate::backend::cpu::{Isa, OneMkl, OpenBlas};
use crate::operator::Operator;
use contract::dtype::Dtype;
use serde::{Deserialize, Serialize};

/// A rival that can run here.
pub struct Baseline {
    pub operator: Arc<dyn Operator>,
    pub kind: Kind,
    /// The library's name, such as `OpenBLAS`.
    pub library: String,
    /// What the library says of itself, and its path where it was loaded from one.
    pub version: String,
}

/// All rivals, here or not.
pub struct Baselines {
    pub available: Vec<Baseline>,
    pub missing: Vec<Missing>,
}

/// The rivals of one host, as its worker opens them. The vendor's library is opened in the calling process, which
/// should have no other threads yet.
///
/// `threads` is how many the measurement will use: it is only mentioned where a library cannot follow.
pub fn of(host: Host, threads: usize) -> Baselines {
    let mut all = Baselines { available: Vec::new(), missing: Vec::new() };
    match host {
        Host::Embedded => {
            all.add_dense(GemmRs);
            all.available.push(Baseline {
                operator: Arc::new(CsrRows),
                kind: Kind::Sparse,
                library: "embedded CSR".into(),
                version: format!("{} {}", record::tool::VERSION, Isa::best()),
            });
        }
        Host::OpenBlas => match OpenBlas::get() {
            Ok(library) => all.add_dense(library),
            Err(reason) => all.miss(names(host), reason),
        },
        Host::OneMkl => match OneMkl::get() {
            Ok(library) => all.add_onemkl(library, threads),
            Err(reason) => all.miss(names(host), reason),
        },
        // Rivals there are of a device and a case; a stranger is none.
        Host::Cuda | Host::CudaLibraries | Host::Stranger => {}
    }
    all
}

/// The grouped product of the embedded dense library: a rival where A is a stack of experts, and not among those of
/// [`of`], since how many rows an expert has is the case's.
pub const GROUPED: &str = "grouped-gemm-rs";

/// Names of the rivals of a host.
pub fn names(host: Host) -> &'static [&'static str] {
    match host {
        Host::Embedded => &["gemm-rs", "compacted-gemm-rs", "csr", GROUPED],
        Host::OpenBlas => &["openblas", "compacted-openblas"],
        Host::OneMkl => &["onemkl", "compacted-onemkl", ONEMKL_BF16, "onemkl-csr"],
        Host::Cuda | Host::CudaLibraries | Host::Stranger => &[],
    }
}

/// The dtype of A and V that a rival on the host multiplies alone; `None` of one that takes all, as binary32.
pub fn only_dtype(name: &str) -> Option<Dtype> {
    (name == ONEMKL_BF16).then_some(Dtype::Bf16)
}

/// A process for contenders, by the library that it opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Host {
    /// Our own operator, and the rivals that are part of the program.
    Embedded,
    OpenBlas,
    OneMkl,
    /// NVIDIA's driver and our own kernels: the owner of the inputs and outputs of timed calls.
    Cuda,
    /// NVIDIA's driver, cuBLAS and cuSPARSE.
    CudaLibraries,
    /// The operator under test, where it is not our own.
    Stranger,
}

impl Host {
    /// All hosts; the embedded one comes first.
    pub const ALL: [Host; 6] = [
        Host::Embedded,
        Host::OpenBlas,
        Host::OneMkl,
        Host::Cuda,
        Host::CudaLibraries,
        Host::Stranger,
    ];
    /// Those whose rivals multiply on the host.
    pub const LIBRARIES: [Host; 3] = [Host::Embedded, Host::OpenBlas, Host::OneMkl];

    /// The name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Host::Embedded => "embedded",
            Host::OpenBlas => "openblas",
            Host::OneMkl => "onemkl",
            Host::Cuda => "cuda",
            Host::CudaLibraries => "cuda-libraries",
            Host::Stranger => "the operator",
        }
    }

    /// The host of that name.
    pub fn named(name: &str) -> Option<Host> {
        Host::ALL.into_iter().find(|host| host.name() == name)
    }
}

impl Baselines {
    fn add_dense<L: DenseLibrary>(&mut self, dense: L) {
        let (library, version) = (dense.library(), dense.version());
        self.available.push(Baseline {
            operator: Arc::new(Dense(dense)),
            kind: Kind::Dense,
            library: library.clone(),
            version: version.clone(),
        });
        self.available.push(Baseline {
            operator: Arc::new(Compacted(dense)),
            kind: Kind::Compacted,
            library,
            version,
        });
    }

    fn add_onemkl(&mut self, library: &'static OneMkl, threads: usize) {
        self.add_dense(library);
        match library.has_bf16() {
            Ok(()) => self.available.push(Baseline {
                operator: Arc::new(OneMklBf16(library)),
                kind: Kind::Dense,
                library: DenseLibrary::library(&library),
                version: DenseLibrary::version(&library),
            }),
            Err(reason) => self.miss(&[ONEMKL_BF16], &reason),
        }
        match library.has_sparse() {
            Ok(()) => self.available.push(Baseline {
                operator: Arc::new(OneMklCsr(library)),
                kind: Kind::Sparse,
                library: DenseLibrary::library(&library),
                version: DenseLibrary::version(&library),
            }),
            Err(reason) => self.miss(&["onemkl-csr"], &reason),
        }
        if threads > 1 && library.is_sequential() {
            let reason = "sequential: no threading layer or no runtime for it was found beside the library, so it runs \
                          on one thread";
            self.miss(&["onemkl threads"], reason);
        }
    }

    fn miss(&mut self, names: &[&str], reason: &str) {
        self.missing
            .extend(names.iter().map(|&name| Missing { name: name.into(), reason: reason.into() }));
    }
}

#[cfg(test)]
mod tests;
