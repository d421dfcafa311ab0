//! The row of a textbook CSR product, compiled for each dispatch path.
//!
//! This is what a framework's CSR does, and no more: for each non-zero, one row of V is scaled
//! and added. It stands for those frameworks among the baselines; the compiler vectorises it.

use super::Isa;

macro_rules! row {
    ($name:ident $(, $feature:literal)?) => {
        $(#[target_feature(enable = $feature)])?
        fn $name(columns: &[u32], values: &[f32], v: &[f32], y: &mut [f32]) {
            let n = y.len();
            y.fill(0.0);
            for (&k, &a) in columns.iter().zip(values) {
                let v = &v[k as usize * n..][..n];
                for (y, &v) in y.iter_mut().zip(v) {
                    *y += a * v;
                }
            }
        }
    };
}

row!(portable);
#[cfg(target_arch = "x86_64")]
row!(avx2, "avx2,fma");
#[cfg(target_arch = "x86_64")]
row!(avx512, "avx512f,avx512bw,avx512dq,avx512vl");

/// One row of Y from one row of A, `v` being all of V row-major with rows as long as `y`.
pub fn csr_row(isa: Isa, columns: &[u32], values: &[f32], v: &[f32], y: &mut [f32]) {
    assert!(isa.is_available(), "the {isa} path needs another processor");
    match isa {
        Isa::Portable => portable(columns, values, v, y),
        // SAFETY: the processor has the features of the path, asserted above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { avx2(columns, values, v, y) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { avx512(columns, values, v, y) },
        #[cfg(not(target_arch = "x86_64"))]
        _ => unreachable!("not available on this architecture"),
    }
}
