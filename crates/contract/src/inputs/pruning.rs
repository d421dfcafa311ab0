//! Which elements become zero (VERIFY.md section 3), decided once, applied row by row.

use std::ops::Range;
use std::sync::Arc;

use super::source::{Source, SourceError};
use super::spec::{Pattern, Sparsity};
use super::stream::Stream;
use crate::threads;

/// What a pattern, a sparsity and (for magnitudes) the values themselves decide.
pub enum Pruning {
    Nothing,
    /// Element `e` goes if mask word `e` is below the threshold.
    Elements {
        mask: Stream,
        threshold: u64,
    },
    /// Each row has its own threshold.
    RowThresholds {
        mask: Stream,
        thresholds: Vec<u64>,
    },
    Blocks {
        mask: Stream,
        threshold: u64,
        size: usize,
    },
    Rows {
        live: Vec<bool>,
        /// The last row that stays by its magnitude, where that decides.
        last: Option<usize>,
    },
    /// By what somebody says of the last row that stays: its sum of squares, and its index.
    RowsFrom {
        least: f64,
        at: usize,
    },
    /// The same of the last element that stays: its magnitude as bits, and its row-major index.
    MagnitudesFrom {
        least: u32,
        at: u64,
    },
    /// Magnitudes (as bits) above `least` stay; of those equal to it, the first
    /// `ties_kept[i]` of row `i`.
    Magnitudes {
        least: u32,
        ties_kept: Vec<usize>,
    },
    /// Of four columns from a multiple of four on, the two of greatest magnitude stay, of equal ones the first.
    TwoOfFour,
}

/// Rows of weights by descending sum of squares, of equal ones the lower index first: what `row-magnitude` prunes by,
/// whatever the sparsity.
#[derive(Clone, Debug)]
pub struct RowRanking(Arc<Vec<usize>>);

impl RowRanking {
    /// Reads an m x k source once.
    pub fn of(
        (m, k): (usize, usize),
        source: &dyn Source,
        threads: usize,
    ) -> Result<RowRanking, SourceError> {
        let squares = fold_rows(m, k, source, threads, |sums: &mut Vec<f64>, rows| {
            sums_of_squares(rows, sums);
        })?;
        let squares: Vec<f64> = squares.into_iter().flatten().collect();
        let mut ranking: Vec<usize> = (0..m).collect();
        ranking.sort_by(|&i, &j| squares[j].total_cmp(&squares[i]).then(i.cmp(&j)));
        Ok(RowRanking(Arc::new(ranking)))
    }
}

/// What a pattern that goes by magnitude comes to: how many rows or elements stay, and the last of them. With it each row or
/// element is decided alone, by who takes it for true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastKept {
    /// Rows, or elements, that stay.
    pub kept: u64,
    /// Bits of the least magnitude that stays: of a row's sum of squares in binary64, of an element's absolute value in
    /// binary32. 0 where nothing stays.
    pub least: u64,
    /// The index of the last row that stays, or the row-major index of the last element: of equal magnitudes those up to
    /// it stay. 0 where nothing stays.
    pub at: u64,
}

impl LastKept {
    /// The pruning that follows for A (m x k) by this pattern; `None` where the pattern goes by no magnitude.
    pub fn pruning(self, pattern: Pattern, (m, k): (usize, usize)) -> Option<Pruning> {
        let LastKept { kept, least, at } = self;
        let all = match pattern {
            Pattern::RowMagnitude => m as u64,
            Pattern::ElementMagnitude => m as u64 * k as u64,
            Pattern::None
            | Pattern::Uniform
            | Pattern::PowerLaw
            | Pattern::Block { .. }
            | Pattern::TwoOfFour
            | Pattern::DeadExperts { .. } => return None,
        };
        Some(match pattern {
            _ if kept == 0 => Pruning::Rows { live: vec![false; m], last: None },
            _ if kept == all => Pruning::Nothing,
            Pattern::RowMagnitude => {
                Pruning::RowsFrom { least: f64::from_bits(least), at: at as usize }
            }
            // No magnitude has more bits; one that is given more is none.
            _ => Pruning::MagnitudesFrom { least: u32::try_from(least).unwrap_or(u32::MAX), at },
        })
    }
}

/// Rows read at once by the statistics passes.
const ROWS_AT_ONCE: usize = 64;

impl Pruning {
    /// Decides. `stream(role)` gives the weights' streams. Magnitude patterns read the source: rows once, unless
    /// their `ranking` is known, elements three times.
    pub fn decide(
        pattern: Pattern,
        sparsity: Sparsity,
        (m, k): (usize, usize),
        stream: &dyn Fn(&str) -> Stream,
        source: &dyn Source,
        ranking: &mut Option<RowRanking>,
        threads: usize,
    ) -> Result<Pruning, SourceError> {
        let threshold = sparsity.word_threshold();
        Ok(match pattern {
            Pattern::None => Pruning::Nothing,
            Pattern::Uniform => Pruning::Elements { mask: stream("A.mask"), threshold },
            Pattern::Block { size } => {
                Pruning::Blocks { mask: stream("A.blocks"), threshold, size }
            }
            Pattern::PowerLaw => {
                let mut words = vec![0; m];
                stream("A.rows").read(0, &mut words);
                let mut ranking: Vec<usize> = (0..m).collect();
                ranking.sort_by_key(|&i| (words[i], i));
                let counts = power_law_counts(m, k, sparsity);
                let mut thresholds = vec![0; m];
                for (&i, count) in ranking.iter().zip(counts) {
                    thresholds[i] = ((k as u64 - count) << 32) / (k as u64).max(1);
                }
                Pruning::RowThresholds { mask: stream("A.mask"), thresholds }
            }
            Pattern::RowMagnitude => {
                let ranking = match ranking {
                    Some(known) => known,
                    none => none.insert(RowRanking::of((m, k), source, threads)?),
                };
                let mut live = vec![false; m];
                for &i in &ranking.0[..sparsity.live_of(m as u64) as usize] {
                    live[i] = true;
                }
                let last = sparsity.live_of(m as u64).checked_sub(1);
                Pruning::Rows { live, last: last.map(|last| ranking.0[last as usize]) }
            }
            Pattern::TwoOfFour => Pruning::TwoOfFour,
            Pattern::DeadExperts { rows } => {
                // Manifests have whole experts alone; where rows are left over, they are a last one.
                let rows = rows.max(1);
                let experts = m.div_ceil(rows);
                let mut words = vec![0; experts];
                stream("A.experts").read(0, &mut words);
                let mut ranking: Vec<usize> = (0..experts).collect();
                ranking.sort_by_key(|&e| (words[e], e));
                let mut live = vec![false; m];
                for &e in &ranking[..sparsity.live_of(experts as u64) as usize] {
                    live[e * rows..m.min((e + 1) * rows)].fill(true);
                }
                Pruning::Rows { live, last: None }
            }
            Pattern::ElementMagnitude => {
                let keep = sparsity.live_of(m as u64 * k as u64);
                least_magnitude(m, k, keep, source, threads)?
            }
        })
    }

    /// The last of what stays, where magnitudes decided; `kept` is how many there are. Reads a row.
    pub fn last_kept(
        &self,
        kept: u64,
        k: usize,
        source: &dyn Source,
    ) -> Result<LastKept, SourceError> {
        let mut values = vec![0.0; k];
        let (least, at) = match self {
            Pruning::Rows { last: Some(last), .. } => {
                source.read(*last..*last + 1, &mut values)?;
                (sum_of_squares(&values).to_bits(), *last as u64)
            }
            Pruning::Magnitudes { least, ties_kept } => {
                let row = ties_kept.iter().rposition(|&ties| ties > 0).unwrap_or(0);
                source.read(row..row + 1, &mut values)?;
                let ties = values.iter().enumerate().filter(|(_, x)| magnitude(**x) == *least);
                let last = ties.map(|(j, _)| j).nth(ties_kept[row].saturating_sub(1));
                (u64::from(*least), row as u64 * k as u64 + last.unwrap_or(0) as u64)
            }
            _ => (0, 0),
        };
        Ok(LastKept { kept, least, at })
    }

    /// Whether row `i` is zero whatever its values: it need not be read.
    pub fn drops_row(&self, i: usize) -> bool {
        match self {
            Pruning::Rows { live, .. } => !live[i],
            Pruning::Nothing
            | Pruning::Elements { .. }
            | Pruning::RowThresholds { .. }
            | Pruning::Blocks { .. }
            | Pruning::TwoOfFour
            | Pruning::RowsFrom { .. }
            | Pruning::MagnitudesFrom { .. }
            | Pruning::Magnitudes { .. } => false,
        }
    }

    /// Zeroes what goes, in rows `rows` (k elements each) held in `values`.
    pub fn apply(&self, rows: Range<usize>, k: usize, values: &mut [f32]) {
        if k == 0 {
            return;
        }
        match self {
            Pruning::Nothing => {}
            Pruning::Elements { mask, threshold } => {
                drop_below(mask, *threshold, rows.start as u64 * k as u64, values);
            }
            Pruning::RowThresholds { mask, thresholds } => {
                for (i, row) in rows.zip(values.chunks_mut(k)) {
                    drop_below(mask, thresholds[i], i as u64 * k as u64, row);
                }
            }
            Pruning::Blocks { mask, threshold, size } => {
                let across = k.div_ceil(*size);
                let mut words = vec![0; across];
                let mut loaded = None;
                for (i, row) in rows.zip(values.chunks_mut(k)) {
                    let down = i / size;
                    if loaded != Some(down) {
                        mask.read(down as u64 * across as u64, &mut words);
                        loaded = Some(down);
                    }
                    for (block, &word) in row.chunks_mut(*size).zip(&words) {
                        if u64::from(word) < *threshold {
                            block.fill(0.0);
                        }
                    }
                }
            }
            Pruning::Rows { live, .. } => {
                for (i, row) in rows.zip(values.chunks_mut(k)) {
                    if !live[i] {
                        row.fill(0.0);
                    }
                }
            }
            Pruning::RowsFrom { least, at } => {
                for (i, row) in rows.zip(values.chunks_mut(k)) {
                    let magnitude = sum_of_squares(row);
                    if !(magnitude > *least || magnitude == *least && i <= *at) {
                        row.fill(0.0);
                    }
                }
            }
            Pruning::MagnitudesFrom { least, at } => {
                for (x, place) in values.iter_mut().zip(rows.start as u64 * k as u64..) {
                    let bits = magnitude(*x);
                    if !(bits > *least || bits == *least && place <= *at) {
                        *x = 0.0;
                    }
                }
            }
            Pruning::TwoOfFour => {
                for row in values.chunks_mut(k) {
                    row.chunks_mut(4).for_each(keep_two);
                }
            }
            Pruning::Magnitudes { least, ties_kept } => {
                for (i, row) in rows.zip(values.chunks_mut(k)) {
                    let mut ties = ties_kept[i];
                    for x in row {
                        let bits = magnitude(*x);
                        if bits == *least && ties > 0 {
                            ties -= 1;
                        } else if bits <= *least {
                            *x = 0.0;
                        }
                    }
                }
            }
        }
    }
}

/// Zeroes all but the two of greatest magnitude, of equal ones the first.
fn keep_two(group: &mut [f32]) {
    let mut bits = [0; 4];
    bits.iter_mut().zip(&*group).for_each(|(bits, &x)| *bits = magnitude(x));
    for (i, x) in group.iter_mut().enumerate() {
        let before = bits.iter().enumerate();
        let before = before.filter(|&(j, &other)| (other, i) > (bits[i], j) && j != i).count();
        if before >= 2 {
            *x = 0.0;
        }
    }
}

fn drop_below(mask: &Stream, threshold: u64, first: u64, values: &mut [f32]) {
    let mut words = [0u32; 2048];
    let mut position = first;
    for values in values.chunks_mut(words.len()) {
        let words = &mut words[..values.len()];
        mask.read(position, words);
        position += words.len() as u64;
        // threshold is at most 2^32; one less fits a word, which keeps the loop in 32 bits.
        let Some(last_dropped) = threshold.checked_sub(1) else { continue };
        let last_dropped = last_dropped as u32;
        for (x, &word) in values.iter_mut().zip(words.iter()) {
            *x = if word <= last_dropped { 0.0 } else { *x };
        }
    }
}

/// Live elements of the row of each rank: min(k, floor(C / (rank + 1))) for the largest C that
/// keeps the total within the live count asked for.
fn power_law_counts(m: usize, k: usize, sparsity: Sparsity) -> impl Iterator<Item = u64> {
    let (m, k) = (m as u64, k as u64);
    let budget = sparsity.live_of(m * k);
    let count = move |c: u64, rank: u64| k.min(c / (rank + 1));
    let total = |c: u64| (0..m).map(|rank| count(c, rank)).sum::<u64>();
    let (mut low, mut high) = (0, m * k);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if total(middle) <= budget {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    (0..m).map(move |rank| count(low, rank))
}

fn magnitude(x: f32) -> u32 {
    x.to_bits() & 0x7fff_ffff
}

/// Folds `f(state, values)` over the whole source, a few rows at a time. There is a state for each
/// of a few consecutive stripes of rows; they come back in row order.
fn fold_rows<T: Send + Default>(
    m: usize,
    k: usize,
    source: &dyn Source,
    threads: usize,
    f: impl Fn(&mut T, &[&[f32]]) + Sync,
) -> Result<Vec<T>, SourceError> {
    let stripes = threads::ranges(m, m.div_ceil(4 * threads).next_multiple_of(ROWS_AT_ONCE));
    threads::map(threads, stripes.len(), |stripe| {
        let mut state = T::default();
        let mut values = vec![0.0; ROWS_AT_ONCE * k];
        for start in stripes[stripe].clone().step_by(ROWS_AT_ONCE) {
            let rows = start..stripes[stripe].end.min(start + ROWS_AT_ONCE);
            let values = &mut values[..rows.len() * k];
            source.read(rows.clone(), values)?;
            let values = &*values;
            let rows: Vec<&[f32]> = (0..rows.len()).map(|i| &values[i * k..(i + 1) * k]).collect();
            f(&mut state, &rows);
        }
        Ok(state)
    })
    .into_iter()
    .collect()
}

/// Sum of squares of each row in binary64, ascending k.
fn sums_of_squares(rows: &[&[f32]], sums: &mut Vec<f64>) {
    // Eight rows side by side: one row alone waits for each addition to finish.
    let (eights, rest) = rows.as_chunks::<8>();
    for eight in eights {
        let k = eight[0].len();
        let [r0, r1, r2, r3, r4, r5, r6, r7] = eight.map(|row| &row[..k]);
        let mut eight_sums = [0.0f64; 8];
        for i in 0..k {
            let x = [r0[i], r1[i], r2[i], r3[i], r4[i], r5[i], r6[i], r7[i]].map(f64::from);
            for (sum, x) in eight_sums.iter_mut().zip(x) {
                *sum += x * x;
            }
        }
        sums.extend(eight_sums);
    }
    sums.extend(rest.iter().map(|row| sum_of_squares(row)));
}

fn sum_of_squares(row: &[f32]) -> f64 {
    row.iter().fold(0.0, |sum, &x| sum + f64::from(x) * f64::from(x))
}

/// The magnitude of the last element kept, found by its high bits first and then its low bits,
/// so that no more than two small histograms are held.
fn least_magnitude(
    m: usize,
    k: usize,
    keep: u64,
    source: &dyn Source,
    threads: usize,
) -> Result<Pruning, SourceError> {
    const LOW_BITS: u32 = 15;
    if keep == 0 {
        return Ok(Pruning::Rows { live: vec![false; m], last: None });
    }
    if keep == m as u64 * k as u64 {
        return Ok(Pruning::Nothing);
    }
    // (bucket of the keep-th greatest, how many of that bucket are kept)
    let select = |bucket_of: &(dyn Fn(u32) -> Option<usize> + Sync), keep: u64| {
        let histograms = fold_rows(m, k, source, threads, |histogram: &mut Vec<u64>, rows| {
            histogram.resize(1 << 16, 0);
            let magnitudes = rows.iter().flat_map(|row| row.iter().map(|&x| magnitude(x)));
            magnitudes.filter_map(bucket_of).for_each(|bucket| histogram[bucket] += 1);
        })?;
        let mut left = keep;
        for bucket in (0..1usize << 16).rev() {
            let count = histograms.iter().map(|h| h[bucket]).sum::<u64>();
            if left <= count {
                return Ok::<_, SourceError>((bucket as u32, left));
            }
            left -= count;
        }
        unreachable!("there are more elements than are kept")
    };
    let (high, left) = select(&|bits| Some((bits >> LOW_BITS) as usize), keep)?;
    let low =
        |bits: u32| (bits >> LOW_BITS == high).then_some((bits & ((1 << LOW_BITS) - 1)) as usize);
    let (low, ties) = select(&low, left)?;
    let least = high << LOW_BITS | low;

    let in_rows = fold_rows(m, k, source, threads, |ties: &mut Vec<usize>, rows| {
        let is_tie = |x: &&f32| magnitude(**x) == least;
        ties.extend(rows.iter().map(|row| row.iter().filter(is_tie).count()));
    })?;
    let mut left = ties as usize;
    let ties_kept = in_rows
        .into_iter()
        .flatten()
        .map(|ties| {
            let kept = ties.min(left);
            left -= kept;
            kept
        })
        .collect();
    Ok(Pruning::Magnitudes { least, ties_kept })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::source::Synthetic;
    use super::super::spec::Values;
    use super::super::synthetic::fill;
    use super::*;
    use crate::dtype::Dtype;

    #[test]
    fn of_four_the_two_of_greatest_magnitude_stay() {
        let mut rows = [
            [1.0, -2.0, 3.0, -4.0, 5.0, 6.0],
            [-1.0, 1.0, 1.0, -1.0, 0.0, -0.5],
            [0.0, 0.0, 2.0, 0.0, 0.0, 0.0],
        ]
        .concat();
        Pruning::TwoOfFour.apply(0..3, 6, &mut rows);
        let kept = [
            [0.0, 0.0, 3.0, -4.0, 5.0, 6.0],
            [-1.0, 1.0, 0.0, 0.0, 0.0, -0.5],
            [0.0, 0.0, 2.0, 0.0, 0.0, 0.0],
        ];
        assert_eq!(rows, kept.concat());
    }

    /// Live rows of m x 3 weights by the pattern of experts, from the words of a seed.
    fn live(seed: u64, m: usize, rows: usize, sparsity: Sparsity) -> Vec<bool> {
        let stream = |role: &str| Stream::new(seed, role, &[m, 3], Dtype::F32, None);
        let values = Synthetic {
            values: Values::Uniform,
            stream: stream("A.values"),
            dtype: Dtype::F32,
            k: 3,
            fill,
        };
        let pattern = Pattern::DeadExperts { rows };
        let pruning =
            Pruning::decide(pattern, sparsity, (m, 3), &stream, &values, &mut None, 1).unwrap();
        let mut ones = vec![1.0; 3 * m];
        pruning.apply(0..m, 3, &mut ones);
        (0..m)
            .map(|i| {
                let is_live = !pruning.drops_row(i);
                assert_eq!(&ones[3 * i..3 * i + 3], &[f32::from(u8::from(is_live)); 3]);
                is_live
            })
            .collect()
    }

    proptest! {
        /// As many experts live as the sparsity says, rounded as everywhere, and each is whole.
        #[test]
        fn whole_experts_die_and_exactly_as_many_as_are_asked_for(
            seed: u64, experts in 0..40usize, rows in 1..9usize, billionths in 0..=1_000_000_000u32,
        ) {
            let sparsity = Sparsity::try_from(billionths).unwrap();
            let live = live(seed, experts * rows, rows, sparsity);
            let blocks: Vec<&[bool]> = live.chunks(rows).collect();
            prop_assert!(blocks.iter().all(|block| block.iter().all(|&row| row == block[0])));
            let count = blocks.iter().filter(|block| block[0]).count() as u64;
            // Nearest to experts * (1 - s), and of two the even one, in integers.
            let exact = u128::from(1_000_000_000 - billionths) * experts as u128;
            let distance = |count: u64| (u128::from(count) * 1_000_000_000).abs_diff(exact);
            let nearest = (0..=experts as u64).min_by_key(|&count| (distance(count), count % 2));
            prop_assert_eq!(Some(count), nearest);
        }

        /// A level more sparse leaves a subset alive: the ranking is the seed's alone.
        #[test]
        fn experts_that_live_at_a_level_live_at_every_lower_one(
            seed: u64, rows in 1..5usize, low in 0..=1_000_000_000u32, high in 0..=1_000_000_000u32,
        ) {
            let level = |billionths| Sparsity::try_from(billionths).unwrap();
            let fewer = live(seed, 32 * rows, rows, level(low.max(high)));
            let more = live(seed, 32 * rows, rows, level(low.min(high)));
            prop_assert!(fewer.iter().zip(&more).all(|(&fewer, &more)| more || !fewer));
        }
    }

    #[test]
    fn seeds_choose_other_experts_and_all_of_them_in_turn() {
        let quarter = Sparsity::parse("0.75").unwrap();
        let choices: Vec<Vec<bool>> = (0..64).map(|seed| live(seed, 16, 2, quarter)).collect();
        let different: std::collections::HashSet<_> = choices.iter().collect();
        // Two of eight: 28 pairs.
        assert!(different.len() > 20, "{}", different.len());
        for e in 0..8 {
            let times = choices.iter().filter(|live| live[2 * e]).count();
            assert!((6..=28).contains(&times), "expert {e}: {times} of 64, 16 expected");
        }
    }

    /// VERIFY.md section 3 has the same.
    #[test]
    fn the_vector_of_the_specification() {
        let live = live(42, 16, 2, Sparsity::parse("0.75").unwrap());
        let experts: Vec<usize> = (0..8).filter(|e| live[2 * e]).collect();
        assert_eq!(experts, [0, 4]);
    }

    /// Rows that are left over are an expert: what is timed on a part of a matrix need not be whole.
    #[test]
    fn a_part_of_an_expert_is_one() {
        let none = live(1, 7, 3, Sparsity::ZERO);
        assert_eq!(none, [true; 7]);
        let all = live(1, 7, 0, Sparsity::parse("1").unwrap());
        assert_eq!(all, [false; 7]);
        assert_eq!(live(1, 7, 100, Sparsity::ZERO), [true; 7]);
    }
}
