//! V as the kernels read it: its columns' scales, and panels of integers.

use std::sync::{Mutex, PoisonError};

use ndarray::ArrayView2;

use super::super::memory::{AlignedBuffer, SharedMut, contiguous_rows, row};
use super::super::{Isa, parallel_for, per_isa};
use super::Path;
use contract::arithmetic::fixed_point::{exp2, log2_scale};

/// Rows of V that one thread lays out at a time, an even number.
const ROWS_PER_ITEM: usize = 128;

/// 1.5 * 2^52: added to a binary64 of magnitude up to 2^51 it leaves the nearest integer, ties to even, in the low bits.
pub(super) const TO_INTEGER: f64 = 6_755_399_441_055_744.0;

/// Where the halves of an entry's V lie: low, high, both, each for all columns of a panel and two k.
pub(super) const HALVES: usize = 3;

/// V (k x n), its columns scaled to integers.
///
/// In binary64 panels are `[ceil(n / panel)][k][panel]`; in halves `[ceil(n / panel)][ceil(k / 2)][3][panel][2]` of 16 bits,
/// the last index being k modulo 2. What is beyond k or n is zero.
pub struct FixedV {
    path: Path,
    k: usize,
    n: usize,
    data: AlignedBuffer,
    /// 2^-f of each column; NaN where a value is not finite.
    factors: Vec<f64>,
}

impl FixedV {
    /// Room for a `k x n` matrix. Panics where `isa` is not available.
    pub fn new(k: usize, n: usize, isa: Isa) -> FixedV {
        FixedV::on(Path::of(isa), k, n)
    }

    pub(super) fn on(path: Path, k: usize, n: usize) -> FixedV {
        assert!(path.is_available(), "{path:?} is not available on this processor");
        let panels = n.div_ceil(path.panel());
        let data = AlignedBuffer::zeroed(panels * panel_words(path, k));
        FixedV { path, k, n, data, factors: vec![1.0; n] }
    }

    /// Lays `v` out with the given number of threads.
    ///
    /// Panics unless `v` is `k x n`.
    pub fn load(&mut self, v: ArrayView2<'_, f32>, threads: usize) {
        assert_eq!(v.dim(), (self.k, self.n), "V to load against the laid out V");
        let (path, k, n) = (self.path, self.k, self.n);
        let isa = path.isa();
        let v = contiguous_rows(v);
        let largest = Mutex::new(vec![0u32; n]);
        parallel_for(threads, k.div_ceil(ROWS_PER_ITEM), |item| {
            let mut of_item = vec![0; n];
            for i in item * ROWS_PER_ITEM..k.min((item + 1) * ROWS_PER_ITEM) {
                magnitudes_max(isa, &row(&v, i), &mut of_item);
            }
            let mut largest = largest.lock().unwrap_or_else(PoisonError::into_inner);
            largest.iter_mut().zip(of_item).for_each(|(max, x)| *max = (*max).max(x));
        });
        let largest = largest.into_inner().unwrap_or_else(PoisonError::into_inner);
        // A column that is not finite has zeros for integers, and NaN for outputs.
        let largest = largest.into_iter().map(f32::from_bits);
        let scales: Vec<_> = largest.map(|x| x.is_finite().then(|| log2_scale(x))).collect();
        self.factors.clear();
        self.factors.extend(scales.iter().map(|f| f.map_or(f64::NAN, |f| exp2(-f))));
        let scales: Vec<f64> = scales.iter().map(|f| f.map_or(0.0, exp2)).collect();

        let (panel, words) = (path.panel(), panel_words(path, k));
        let data = SharedMut::of(&mut self.data);
        parallel_for(threads, k.div_ceil(ROWS_PER_ITEM), |item| {
            let rows = item * ROWS_PER_ITEM..k.min((item + 1) * ROWS_PER_ITEM);
            let (mut integers, mut second) = (vec![0.0; n], vec![0.0; n]);
            for i in rows.step_by(path.entry()) {
                integers_of(isa, &row(&v, i), &scales, &mut integers);
                if path == Path::Vnni {
                    second.fill(0.0);
                    if i + 1 < k {
                        integers_of(isa, &row(&v, i + 1), &scales, &mut second);
                    }
                }
                for (p, (first, second)) in
                    integers.chunks(panel).zip(second.chunks(panel)).enumerate()
                {
                    let (start, count) = match path {
                        Path::Vnni => {
                            let entry = HALVES * panel;
                            (p * words + i / 2 * entry, entry)
                        }
                        Path::Portable | Path::Avx2 | Path::Avx512 => {
                            (p * words + i * panel * 2, panel * 2)
                        }
                    };
                    // SAFETY: panel and entry are inside of the buffer, `count` words of 32 bits from `start` on; each
                    // entry is laid out by one thread.
                    let to =
                        unsafe { std::slice::from_raw_parts_mut(data.get().add(start), count) };
                    match path {
                        Path::Vnni => {
                            halves(isa, first, second, bytemuck::cast_slice_mut(to), panel)
                        }
                        Path::Portable | Path::Avx2 | Path::Avx512 => {
                            bytemuck::cast_slice_mut(to)[..first.len()].copy_from_slice(first);
                        }
                    }
                }
            }
        });
    }

    /// Rows of V.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns of V.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Whether it is laid out as A is for this dispatch path.
    pub fn serves(&self, isa: Isa) -> bool {
        self.path == Path::of(isa)
    }

    pub(super) fn path(&self) -> Path {
        self.path
    }

    /// Entries of a panel.
    pub(super) fn entries(&self) -> usize {
        self.k.div_ceil(self.path.entry())
    }

    /// Number of panels.
    pub(super) fn panels(&self) -> usize {
        self.n.div_ceil(self.path.panel())
    }

    /// 2^-f of each column.
    pub(super) fn factors(&self) -> &[f64] {
        &self.factors
    }

    /// Panel `p`, from its first entry on.
    pub(super) fn panel(&self, p: usize) -> &[f32] {
        let words = panel_words(self.path, self.k);
        &self.data[p * words..(p + 1) * words]
    }
}

/// Words of 32 bits of a panel.
fn panel_words(path: Path, k: usize) -> usize {
    match path {
        Path::Portable | Path::Avx2 | Path::Avx512 => 2 * k * path.panel(),
        Path::Vnni => k.div_ceil(2) * HALVES * path.panel(),
    }
}

per_isa! {
    /// The largest encoding's magnitude so far of each column.
    fn magnitudes_max(row: &[f32], max: &mut [u32]) {
        max.iter_mut().zip(row).for_each(|(max, x)| *max = (*max).max(x.to_bits() & 0x7fff_ffff));
    }
}

per_isa! {
    /// Values times their columns' scales, rounded to integers; 0 where the scale is.
    fn integers_of(row: &[f32], scales: &[f64], integers: &mut [f64]) {
        for ((integer, &x), &scale) in integers.iter_mut().zip(row).zip(scales) {
            let rounded = (f64::from(x) * scale + TO_INTEGER) - TO_INTEGER;
            *integer = if scale == 0.0 { 0.0 } else { rounded };
        }
    }
}

per_isa! {
    /// Two rows of integers of a panel as halves: low, high and their sum, each `[panel][2]`.
    fn halves(first: &[f64], second: &[f64], to: &mut [i16], panel: usize) {
        let (low, to) = to.split_at_mut(2 * panel);
        let (high, both) = to.split_at_mut(2 * panel);
        let low = low.as_chunks_mut::<2>().0.iter_mut();
        let to = low.zip(high.as_chunks_mut::<2>().0).zip(both.as_chunks_mut::<2>().0);
        for ((&first, &second), ((low, high), both)) in first.iter().zip(second).zip(to) {
            for (x, i) in [(first, 0), (second, 1)] {
                let [l, h] = half((x + TO_INTEGER).to_bits() as i32);
                (low[i], high[i], both[i]) = (l, h, l + h);
            }
        }
    }
}

/// l and h of an integer h 2^12 + l, l from -2^11 to 2^11 - 1.
#[inline(always)]
pub(super) fn half(x: i32) -> [i16; 2] {
    let low = x << 20 >> 20;
    [low as i16, ((x - low) >> 12) as i16]
}
