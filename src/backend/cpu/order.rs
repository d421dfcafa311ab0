//! The order in which a kernel walks k: slice by slice, each slice cut into blocks.

use contract::arithmetic::Slices;

/// A run of positions in the order, all of one slice.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Block {
    pub start: usize,
    pub end: usize,
    /// The first block of its slice: chains start at +0.
    pub opens_slice: bool,
    /// The last block of its slice: the chains are added to the output.
    pub closes_slice: bool,
}

/// Every k once, slice by slice, ascending within a slice.
pub(super) struct Order {
    /// The k at each position; `None` where position and k are the same.
    positions: Option<Vec<u32>>,
    pub blocks: Vec<Block>,
    /// More than one slice holds any k, so chains must be summed.
    pub sums_slices: bool,
}

impl Order {
    /// Cuts `0..k` into blocks of at most `block_len` positions; the k of a block are at most
    /// `span_max` apart.
    ///
    /// Panics where `slices` does not give each k a slice, as the scalar rule does.
    pub fn new(k: usize, slices: Slices, block_len: usize, span_max: usize) -> Order {
        assert!(u32::try_from(k).is_ok(), "k = {k} is over the limit of 2^32 - 1");
        let mut positions = None;
        let mut slice_ends = Vec::new();
        match slices {
            Slices::One => slice_ends.push(k),
            Slices::Contiguous { count, len } => {
                assert!(count.saturating_mul(len) >= k, "{count} slices of {len} against k = {k}");
                // A length of 0 can only come with k = 0.
                slice_ends.extend((1..=k.div_ceil(len.max(1))).map(|s| k.min(s * len)));
            }
            Slices::Dealt { count, group } => {
                assert!(count > 0 && group > 0, "{count} slices dealt by {group}");
                let mut order = Vec::with_capacity(k);
                for slice in 0..count.min(k.div_ceil(group)) {
                    let groups = (slice * group..k).step_by(count.saturating_mul(group));
                    order.extend(
                        groups.flat_map(|g| g as u32..k.min(g.saturating_add(group)) as u32),
                    );
                    slice_ends.push(order.len());
                }
                positions = Some(order);
            }
        }
        let k_at = |i: usize| positions.as_ref().map_or(i, |p: &Vec<u32>| p[i] as usize);
        let mut blocks = Vec::new();
        let mut slice_start = 0;
        for &slice_end in &slice_ends {
            let mut start = slice_start;
            while start < slice_end {
                let mut end = slice_end.min(start + block_len);
                while k_at(end - 1) - k_at(start) > span_max {
                    end = start + (end - start) / 2;
                }
                blocks.push(Block {
                    start,
                    end,
                    opens_slice: start == slice_start,
                    closes_slice: end == slice_end,
                });
                start = end;
            }
            slice_start = slice_end;
        }
        Order { positions, blocks, sums_slices: slice_ends.len() > 1 }
    }

    /// The k at position `i`.
    pub fn k_at(&self, i: usize) -> usize {
        self.positions.as_ref().map_or(i, |positions| positions[i] as usize)
    }

    /// The k at each position, where that is not the position itself.
    pub fn positions(&self) -> Option<&[u32]> {
        self.positions.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_k_comes_once_in_its_slice_and_ascending() {
        for k in [0, 1, 7, 64, 65, 200] {
            for slices in [
                Slices::One,
                Slices::Contiguous { count: 3, len: 70 },
                Slices::Contiguous { count: 200, len: 1 },
                Slices::Dealt { count: 3, group: 8 },
                Slices::Dealt { count: 300, group: 1 },
                Slices::Dealt { count: 2, group: 1000 },
            ] {
                let order = Order::new(k, slices, 32, 50);
                let mut seen = Vec::new();
                let mut last_slice = None;
                for block in &order.blocks {
                    assert!(block.start < block.end && block.end - block.start <= 32);
                    let ks: Vec<_> = (block.start..block.end).map(|i| order.k_at(i)).collect();
                    assert!(ks.is_sorted() && ks[ks.len() - 1] - ks[0] <= 50);
                    let slice = slices.slice_of(ks[0]);
                    assert!(ks.iter().all(|&k| slices.slice_of(k) == slice));
                    assert_eq!(block.opens_slice, last_slice != Some(slice));
                    assert!(last_slice.is_none_or(|last| last <= slice));
                    last_slice = (!block.closes_slice).then_some(slice).or(Some(slice));
                    seen.extend(ks);
                }
                seen.sort_unstable();
                assert!(seen.into_iter().eq(0..k));
            }
        }
    }
}
