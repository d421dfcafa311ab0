//! V as the kernels read it: its columns' scales, and panels of integers.

use std::ops::Range;
use std::sync::{Mutex, OnceLock, PoisonError};

use ndarray::ArrayView2;

use super::super::memory::{AlignedBuffer, SharedMut, contiguous_rows, row};
use super::super::{Isa, parallel_for, per_isa};
use super::pack::FixedSelection;
use super::{DIGITS, Layout, Path, tiled};
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
/// the last index being k modulo 2; in tiles `[ceil(n / panel)][ceil(k / 64)][3 digits][16][panel][4]` of 8 bits, the last index
/// being k modulo 4, and in fours the same of four k. What is beyond k or n is zero.
pub struct FixedV {
    path: Path,
    k: usize,
    n: usize,
    data: AlignedBuffer,
    /// 2^-f of each column; NaN where a value is not finite.
    factors: Vec<f64>,
    /// The same V for the other path of this dispatch path, where it has been asked for.
    other: OnceLock<Box<FixedV>>,
}

impl FixedV {
    /// Room for a `k x n` matrix. Panics where `isa` is not available.
    pub fn new(k: usize, n: usize, isa: Isa) -> FixedV {
        FixedV::on(Path::of(isa, FixedSelection::All), k, n)
    }

    pub(super) fn on(path: Path, k: usize, n: usize) -> FixedV {
        assert!(path.is_available(), "{path:?} is not available on this processor");
        let panels = n.div_ceil(path.panel());
        let data = AlignedBuffer::zeroed(panels * panel_words(path, k));
        FixedV { path, k, n, data, factors: vec![1.0; n], other: OnceLock::new() }
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

        self.other = OnceLock::new();
        self.lay_out(threads, |i, to| integers_of(isa, &row(&v, i), &scales, to));
    }

    /// Lays out the integers that `integers_of` gives of each row.
    fn lay_out(&mut self, threads: usize, integers_of: impl Fn(usize, &mut [f64]) + Sync) {
        let (path, k, n) = (self.path, self.k, self.n);
        let (panel, words) = (path.panel(), panel_words(path, k));
        let rows_at_once = match path.layout() {
            Layout::Integers => 1,
            Layout::Halves => 2,
            Layout::Tiles | Layout::Fours => 4,
        };
        let data = SharedMut::of(&mut self.data);
        parallel_for(threads, k.div_ceil(ROWS_PER_ITEM), |item| {
            let of_item = item * ROWS_PER_ITEM..k.min((item + 1) * ROWS_PER_ITEM);
            let mut integers = vec![vec![0.0; n]; rows_at_once];
            for i in of_item.step_by(rows_at_once) {
                for (i, integers) in (i..).zip(&mut integers) {
                    if i < k { integers_of(i, integers) } else { integers.fill(0.0) }
                }
                let (start, count) = match path.layout() {
                    Layout::Integers => {
                        // SAFETY: the row's place in each panel is inside of the buffer, and one thread lays out a row.
                        unsafe {
                            let to = data.get().add(i * panel * 2).cast::<f64>();
                            match panel {
                                8 => to_panels::<8>(&integers[0], to, words / 2),
                                32 => to_panels::<32>(&integers[0], to, words / 2),
                                _ => unreachable!("panels of binary64 have 8 or 32 columns"),
                            }
                        }
                        continue;
                    }
                    Layout::Halves => (i / 2 * HALVES * panel, HALVES * panel),
                    Layout::Tiles | Layout::Fours => {
                        let words = DIGITS * panel * path.entry() / 4;
                        (i / path.entry() * words, words)
                    }
                };
                for p in 0..n.div_ceil(panel) {
                    let columns = p * panel..n.min((p + 1) * panel);
                    let row = |r: usize| &integers[r][columns.clone()];
                    // SAFETY: panel and entry are inside of the buffer, `count` words of 32 bits from `start` on; each
                    // entry is laid out by one thread.
                    let to = unsafe {
                        std::slice::from_raw_parts_mut(data.get().add(p * words + start), count)
                    };
                    match path.layout() {
                        Layout::Integers => unreachable!("laid out above"),
                        Layout::Halves => {
                            let to = bytemuck::cast_slice_mut(to);
                            halves(path.isa(), row(0), row(1), to, panel);
                        }
                        Layout::Tiles | Layout::Fours => {
                            let to: &mut [u32] = bytemuck::cast_slice_mut(to);
                            let four = [row(0), row(1), row(2), row(3)];
                            let at = i % path.entry() / 4 * panel;
                            digits_of_four(path.isa(), four, to, at..at + panel);
                        }
                    }
                }
            }
        });
    }

    /// This V, or the same for another path.
    pub(super) fn laid_out_for(&self, path: Path) -> &FixedV {
        if path == self.path || !self.is_of_digits() {
            return self;
        }
        self.other.get_or_init(|| {
            let mut other = FixedV::on(path, self.k, self.n);
            other.factors.clone_from(&self.factors);
            // On one thread: others may wait for what is made here.
            other.lay_out(1, |i, to| self.integers_of_digits(i, to));
            Box::new(other)
        })
    }

    fn is_of_digits(&self) -> bool {
        match self.path.layout() {
            Layout::Integers | Layout::Halves => false,
            Layout::Tiles | Layout::Fours => true,
        }
    }

    /// The integers of row `i`, from their digits.
    fn integers_of_digits(&self, i: usize, to: &mut [f64]) {
        let (panel, entry) = (self.path.panel(), self.path.entry());
        // Bytes of a digit of an entry.
        let bytes = panel * entry;
        for (p, to) in to.chunks_mut(panel).enumerate() {
            let of_panel: &[i8] = bytemuck::cast_slice(self.panel(p));
            for (c, to) in to.iter_mut().enumerate() {
                let at = i / entry * (DIGITS * bytes) + (i % entry / 4 * panel + c) * 4 + i % 4;
                let digit = |d: usize| f64::from(of_panel[at + d * bytes]);
                *to = (digit(0) * 256.0 + digit(1)) * 256.0 + digit(2);
            }
        }
    }

    /// Bytes of a `k x n` matrix at most, on whichever path of this processor: where V lies in digits and A is held by single
    /// rows, V is there a second time, as these want it.
    pub fn bytes_max(k: usize, n: usize) -> u128 {
        let of_path = |isa| {
            let digits = Path::of(isa, FixedSelection::All);
            let single = Path::of(isa, FixedSelection::Elements);
            let other = if single == digits { 0 } else { bytes_of(single, k, n) };
            bytes_of(digits, k, n) + other
        };
        Isa::available().map(of_path).max().unwrap_or(0)
    }

    /// Bytes of the layout, and of the other one where it has been asked for.
    pub fn bytes_held(&self) -> usize {
        size_of_val::<[f32]>(&self.data)
            + size_of_val(self.factors.as_slice())
            + self.other.get().map_or(0, |other| other.bytes_held())
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
        self.path == Path::of(isa, FixedSelection::All)
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

/// Copies a row to its place in each panel, `to` in the first and `stride` values further in each next one. A function by
/// itself, so that its loop is the same whoever calls it.
///
/// # Safety
///
/// These places are inside of one buffer, and nobody else touches them.
#[inline(never)]
unsafe fn to_panels<const PANEL: usize>(row: &[f64], to: *mut f64, stride: usize) {
    let (whole, last) = row.as_chunks::<PANEL>();
    for (p, piece) in whole.iter().enumerate() {
        // SAFETY: the caller's promise. The constant length makes this straight moves of vectors.
        unsafe { piece.as_ptr().copy_to_nonoverlapping(to.add(p * stride), PANEL) }
    }
    if !last.is_empty() {
        // SAFETY: as above.
        unsafe { last.as_ptr().copy_to_nonoverlapping(to.add(whole.len() * stride), last.len()) }
    }
}

/// Bytes of a `k x n` matrix laid out for a path, and of its columns' scales.
pub(super) fn bytes_of(path: Path, k: usize, n: usize) -> u128 {
    4 * n.div_ceil(path.panel()) as u128 * panel_words(path, k) as u128 + 8 * n as u128
}

/// Words of 32 bits of a panel.
fn panel_words(path: Path, k: usize) -> usize {
    match path.layout() {
        Layout::Integers => 2 * k * path.panel(),
        Layout::Halves => k.div_ceil(2) * HALVES * path.panel(),
        Layout::Tiles | Layout::Fours => {
            k.div_ceil(path.entry()) * (DIGITS * path.panel() * path.entry() / 4)
        }
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

per_isa! {
    /// Four rows of integers of a panel as digits, to a place in each third of an entry: a word for each column.
    fn digits_of_four(rows: [&[f64]; 4], to: &mut [u32], place: Range<usize>) {
        let mut words = [[0u32; tiled::SIDE]; DIGITS];
        for (i, row) in rows.iter().enumerate() {
            for (c, &x) in row.iter().enumerate() {
                let of_x = digits((x + TO_INTEGER).to_bits() as i32);
                for (words, digit) in words.iter_mut().zip(of_x) {
                    words[c] |= u32::from(digit) << (8 * i);
                }
            }
        }
        let third = to.len() / DIGITS;
        for (to, words) in to.chunks_exact_mut(third).zip(words) {
            to[place.clone()].copy_from_slice(&words[..place.len()]);
        }
    }
}

/// The bytes of the digits of an integer d 2^16 + d' 2^8 + d'', from -128 to 127, the greatest first.
#[inline(always)]
pub(super) fn digits(x: i32) -> [u8; DIGITS] {
    let [least, middle, greatest, _] = ((x + 0x80_8080) ^ 0x80_8080).to_le_bytes();
    [greatest, middle, least]
}

/// l and h of an integer h 2^12 + l, l from -2^11 to 2^11 - 1.
#[inline(always)]
pub(super) fn half(x: i32) -> [i16; 2] {
    let low = x << 20 >> 20;
    [low as i16, ((x - low) >> 12) as i16]
}
