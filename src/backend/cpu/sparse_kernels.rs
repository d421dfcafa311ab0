//! The micro-kernel of sparse rows: a row's chains stay in registers while its non-zeros in a
//! k-block are multiplied with rows of V.

use std::ops::Range;

use super::Isa;
use super::packed::{PANEL, PackedV};
use super::sparse_pack::Cell;

/// A row block's share of a k-block against a group of panels.
pub(super) struct CellCall<'a> {
    pub isa: Isa,
    pub cell: Cell<'a>,
    pub v: &'a PackedV,
    /// One panel, or as many as [`panels_at_once`] says.
    pub panels: Range<usize>,
    /// The k that the cell's offsets count from.
    pub first_k: usize,
    /// `[row of the block][32 x panels]`, 64-byte aligned.
    pub chains: &'a mut [f32],
}

/// Panels whose chains fit in the registers of a path.
pub(super) fn panels_at_once(isa: Isa) -> usize {
    match isa {
        Isa::Avx512 => 2,
        Isa::Avx2 | Isa::Portable => 1,
    }
}

/// Runs the kernel of the call's dispatch path.
///
/// # Safety
///
/// The path is available. The cell's buckets describe exactly its arrays, its row ids are rows of the chains, and
/// `first_k` plus any of its offsets is a row of V. The chains are 64-byte aligned.
pub(super) unsafe fn run_cell(call: CellCall<'_>) {
    match call.isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the caller's promise.
        Isa::Avx512 => unsafe { x86::run_avx512(call) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx2 => unsafe { x86::run_avx2(call) },
        _ => run_portable(call),
    }
}

/// A function by itself, as the other paths' are, so that its loops are the same whoever calls it.
#[inline(never)]
fn run_portable(call: CellCall<'_>) {
    let Cell { mut values, mut offsets, mut row_ids, buckets } = call.cell;
    let panel = call.v.panel(call.panels.start);
    let width = call.v.panel_width(call.panels.start);
    for bucket in buckets {
        let (ids, rest) = row_ids.split_at(bucket.rows as usize);
        row_ids = rest;
        for &id in ids {
            let (row_values, rest) = values.split_at(bucket.nonzeros as usize);
            values = rest;
            let (row_offsets, rest) = offsets.split_at(bucket.nonzeros as usize);
            offsets = rest;
            let chains = &mut call.chains[id as usize * PANEL..][..width];
            for (&a, &offset) in row_values.iter().zip(row_offsets) {
                let v = &panel[(call.first_k + offset as usize) * PANEL..];
                let a = f32::from_bits(a);
                for (chain, &v) in chains.iter_mut().zip(v) {
                    *chain = a.mul_add(v, *chain);
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
// Registers are named by row and column; iterators over nested arrays hide that.
#[allow(clippy::needless_range_loop)]
mod x86 {
    use std::arch::x86_64::*;

    use super::{CellCall, PANEL};

    /// # Safety
    ///
    /// AVX-512 F is available; the cell's arrays fit each other, its rows the chains and its
    /// offsets V.
    #[target_feature(enable = "avx512f")]
    pub unsafe fn run_avx512(call: CellCall<'_>) {
        let start = call.first_k * PANEL;
        let (v, panels) = (call.v, call.panels.clone());
        let panel = |p: usize| v.panel(panels.start + p)[start..].as_ptr();
        // SAFETY: handed on, with the panels' pieces from the first k on.
        unsafe {
            match panels.len() {
                1 if v.panel_width(panels.start) <= 16 => cell_avx512::<1, 1>(call, [panel(0)]),
                1 => cell_avx512::<1, 2>(call, [panel(0)]),
                2 => cell_avx512::<2, 2>(call, [panel(0), panel(1)]),
                panels => unreachable!("{panels} panels at once"),
            }
        }
    }

    /// `P` panels, `Z` vectors of each; `panels` are their pieces from the first k on.
    ///
    /// # Safety
    ///
    /// As for [`run_avx512`].
    #[target_feature(enable = "avx512f")]
    unsafe fn cell_avx512<const P: usize, const Z: usize>(
        call: CellCall<'_>,
        panels: [*const f32; P],
    ) {
        let mut values = call.cell.values.as_ptr().cast::<f32>();
        let mut offsets = call.cell.offsets.as_ptr();
        let mut row_ids = call.cell.row_ids.as_ptr();
        let chains = call.chains.as_mut_ptr();
        for bucket in call.cell.buckets {
            let nonzeros = bucket.nonzeros as usize;
            for _ in 0..bucket.rows {
                // SAFETY: the buckets describe exactly the cell's arrays; row ids are rows of
                // `chains`, offsets rows of V behind the first k. Every vector's address is a
                // multiple of 64 bytes.
                unsafe {
                    let y_at = chains.add(*row_ids as usize * (P * PANEL));
                    row_ids = row_ids.add(1);
                    let mut y = [[_mm512_setzero_ps(); Z]; P];
                    for p in 0..P {
                        for z in 0..Z {
                            y[p][z] = _mm512_load_ps(y_at.add(p * PANEL + z * 16));
                        }
                    }
                    for i in 0..nonzeros {
                        let a = _mm512_set1_ps(*values.add(i));
                        let at = *offsets.add(i) as usize * PANEL;
                        for p in 0..P {
                            for z in 0..Z {
                                let v = _mm512_load_ps(panels[p].add(at + z * 16));
                                y[p][z] = _mm512_fmadd_ps(a, v, y[p][z]);
                            }
                        }
                    }
                    values = values.add(nonzeros);
                    offsets = offsets.add(nonzeros);
                    for p in 0..P {
                        for z in 0..Z {
                            _mm512_store_ps(y_at.add(p * PANEL + z * 16), y[p][z]);
                        }
                    }
                }
            }
        }
    }

    /// # Safety
    ///
    /// AVX2 and FMA are available; the rest as for [`run_avx512`]. One panel.
    #[target_feature(enable = "avx2,fma")]
    pub unsafe fn run_avx2(call: CellCall<'_>) {
        const Y: usize = PANEL / 8;
        let mut values = call.cell.values.as_ptr().cast::<f32>();
        let mut offsets = call.cell.offsets.as_ptr();
        let mut row_ids = call.cell.row_ids.as_ptr();
        let chains = call.chains.as_mut_ptr();
        let panel = call.v.panel(call.panels.start)[call.first_k * PANEL..].as_ptr();
        for bucket in call.cell.buckets {
            for _ in 0..bucket.rows {
                // SAFETY: as in `cell_avx512`.
                unsafe {
                    let y_at = chains.add(*row_ids as usize * PANEL);
                    row_ids = row_ids.add(1);
                    let mut y = [_mm256_setzero_ps(); Y];
                    for (z, y) in y.iter_mut().enumerate() {
                        *y = _mm256_load_ps(y_at.add(z * 8));
                    }
                    for i in 0..bucket.nonzeros as usize {
                        let a = _mm256_set1_ps(*values.add(i));
                        let v = panel.add(*offsets.add(i) as usize * PANEL);
                        for (z, y) in y.iter_mut().enumerate() {
                            *y = _mm256_fmadd_ps(a, _mm256_load_ps(v.add(z * 8)), *y);
                        }
                    }
                    values = values.add(bucket.nonzeros as usize);
                    offsets = offsets.add(bucket.nonzeros as usize);
                    for (z, &y) in y.iter().enumerate() {
                        _mm256_store_ps(y_at.add(z * 8), y);
                    }
                }
            }
        }
    }
}
