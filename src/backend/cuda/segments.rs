//! Work lists of persistent kernels (`kernels/segments.cuh`): which worker computes which steps of
//! which output tile, so that all end alike and every output stays one chain in ascending k.

/// Steps `step_begin..step_end` of one tile, for one worker. 32-bit as on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub tile: i32,
    pub step_begin: i32,
    pub step_end: i32,
    /// The slot to continue from, or -1 to start from +0.
    pub from: i32,
    /// The slot to leave accumulators in, or -1 to finish the tile.
    pub to: i32,
}

/// How tiles come to workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dealing {
    /// Whole tiles in turn, so that neighbours run side by side; the last one to two rounds are cut
    /// so that all workers end alike.
    Rounds,
    /// To each worker a stretch of neighbouring steps, about 1 / workers of all.
    Stretches,
}

/// The segments of all workers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkLists {
    /// Worker by worker, each one's in the order in which it works: what it hands over, whole
    /// tiles, what it continues.
    pub segments: Vec<Segment>,
    /// `workers + 1` positions: worker w has `segments[begin[w]..begin[w + 1]]`.
    pub begin: Vec<i32>,
    /// Slots for accumulators on their way from one worker to another.
    pub slots: usize,
}

impl WorkLists {
    /// Lists for `workers` (at least 1) from `steps[t]` steps of each tile t, at most `i32::MAX`
    /// tiles and steps of each. Step s of tile t takes `weight(t, s)`, in any unit, all together
    /// less than 2^62; a tile without steps is in no list.
    ///
    /// Where a cut would leave less than `piece_min` weight on one side it is moved to the tile's
    /// border: a hand-over has its price. While there are no more tiles than workers none is cut,
    /// because a chain gains nothing from a second worker.
    pub fn new(
        steps: &[usize],
        weight: impl Fn(usize, usize) -> u64,
        workers: usize,
        dealing: Dealing,
        piece_min: u64,
    ) -> WorkLists {
        let workers = workers.max(1);
        let weights: Vec<u64> = steps
            .iter()
            .enumerate()
            .map(|(tile, &steps)| (0..steps).map(|step| weight(tile, step)).sum())
            .collect();
        let rounds = rounds(&weights, workers, dealing);
        let mut lists: Vec<Lists> = vec![Lists::default(); workers];
        let mut loads = vec![0; workers];
        let dealt = steps.len().min(rounds.saturating_mul(workers));
        for tile in 0..dealt {
            if steps[tile] > 0 {
                lists[tile % workers].whole.push(segment(tile, 0, steps[tile]));
                loads[tile % workers] += weights[tile];
            }
        }
        let cuts = cuts(&weights, dealt, &loads, piece_min);
        let mut slots = 0;
        let (mut at, mut worker) = (0, 0);
        for (tile, &steps) in steps.iter().enumerate().skip(dealt) {
            let mut step = 0;
            let mut from = -1;
            while step < steps {
                // A step is the worker's in whose share its middle lies.
                let middle = |step| 2 * at + weight(tile, step);
                while worker + 1 < workers && middle(step) >= 2 * cuts[worker] {
                    worker += 1;
                }
                let begin = step;
                while step < steps
                    && (step == begin
                        || worker + 1 == workers
                        || 2 * at + weight(tile, step) < 2 * cuts[worker])
                {
                    at += weight(tile, step);
                    step += 1;
                }
                let mut segment = segment(tile, begin, step);
                segment.from = from;
                if step < steps {
                    segment.to = slots;
                    from = slots;
                    slots += 1;
                }
                lists[worker].add(segment);
            }
        }
        let mut all = WorkLists { begin: vec![0], slots: slots as usize, ..WorkLists::default() };
        for Lists { handed_over, whole, continued } in lists {
            all.segments.extend(handed_over.into_iter().chain(whole).chain(continued));
            all.begin.push(all.segments.len() as i32);
        }
        all
    }

    /// The segments as the device reads them, five integers each.
    pub fn encoded(&self) -> Vec<i32> {
        self.segments
            .iter()
            .flat_map(|s| [s.tile, s.step_begin, s.step_end, s.from, s.to])
            .collect()
    }
}

fn segment(tile: usize, begin: usize, end: usize) -> Segment {
    let [tile, step_begin, step_end] = [tile, begin, end].map(|x| x as i32);
    Segment { tile, step_begin, step_end, from: -1, to: -1 }
}

/// One worker's segments, in the order in which it works.
#[derive(Clone, Default)]
struct Lists {
    handed_over: Vec<Segment>,
    whole: Vec<Segment>,
    continued: Vec<Segment>,
}

impl Lists {
    fn add(&mut self, segment: Segment) {
        match (segment.from, segment.to) {
            (-1, -1) => self.whole.push(segment),
            (-1, _) => self.handed_over.push(segment),
            _ => self.continued.push(segment),
        }
    }
}

/// Rounds of whole tiles to be dealt: as many as leave every worker room for a longest tile, so
/// that what is cut is cut once.
fn rounds(weights: &[u64], workers: usize, dealing: Dealing) -> usize {
    match dealing {
        Dealing::Stretches => return 0,
        Dealing::Rounds if weights.len() <= workers => return 1,
        Dealing::Rounds => {}
    }
    let share = weights.iter().sum::<u64>() / workers as u64;
    let longest = weights.iter().copied().max().unwrap_or(0);
    let mut loads = vec![0; workers];
    let mut rounds = 0;
    for round in weights.chunks_exact(workers) {
        loads.iter_mut().zip(round).for_each(|(load, weight)| *load += weight);
        if loads.iter().any(|load| load + longest > share) {
            break;
        }
        rounds += 1;
    }
    rounds
}

/// Where each worker's part of the tiles from `dealt` on ends, in weight from their start, not
/// descending. The last entry is not looked at: the last worker takes what is left.
fn cuts(weights: &[u64], dealt: usize, loads: &[u64], piece_min: u64) -> Vec<u64> {
    let workers = loads.len();
    let total: u64 = weights.iter().sum();
    let mut given = 0;
    let mut tile = dealt;
    let mut start = 0;
    let mut cuts = Vec::with_capacity(workers);
    for (worker, load) in loads.iter().enumerate() {
        given += load;
        // What all workers up to this one should do, less the whole tiles that they have.
        let share = u128::from(total) * (worker as u128 + 1) / workers as u128;
        let cut = (share as u64).saturating_sub(given);
        while tile < weights.len() && start + weights[tile] <= cut {
            start += weights[tile];
            tile += 1;
        }
        // The cut lies in this tile, or behind the last.
        let before = cut.saturating_sub(start);
        let after = weights.get(tile).map_or(0, |weight| weight - before);
        cuts.push(match before.min(after) < piece_min {
            true if before <= after => start,
            true => start + before + after,
            false => cut,
        });
    }
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Checks the lists as the kernels rely on them, and returns each worker's weight.
    fn check(steps: &[usize], weight: impl Fn(usize, usize) -> u64, lists: &WorkLists) -> Vec<u64> {
        let workers = lists.begin.len() - 1;
        assert_eq!((lists.begin[0], lists.begin[workers]), (0, lists.segments.len() as i32));
        let of = |w: usize| &lists.segments[lists.begin[w] as usize..lists.begin[w + 1] as usize];

        // Each slot is written once and read once, for the same place of the same tile, by a worker
        // of higher index.
        let ends = |end: fn(&Segment) -> i32| {
            let mut ends: Vec<(i32, usize, Segment)> = (0..workers)
                .flat_map(|w| of(w).iter().map(move |s| (end(s), w, *s)))
                .filter(|(slot, ..)| *slot >= 0)
                .collect();
            ends.sort_by_key(|(slot, ..)| *slot);
            assert!(ends.iter().map(|(slot, ..)| *slot).eq(0..lists.slots as i32));
            ends
        };
        for ((_, writer, left), (_, reader, taken)) in ends(|s| s.to).iter().zip(ends(|s| s.from)) {
            assert!(*writer < reader, "worker {reader} waits for {writer}");
            assert_eq!((left.tile, left.step_end), (taken.tile, taken.step_begin));
        }

        // What is handed over comes first, what is continued last.
        for w in 0..workers {
            let rank = |s: &Segment| if s.from >= 0 { 2 } else { i32::from(s.to < 0) };
            assert!(of(w).iter().map(rank).is_sorted(), "worker {w}: {:?}", of(w));
        }

        // Workers that each go through their list, in an order that favours the last ones.
        let mut next = vec![0; workers];
        let mut raised = vec![false; lists.slots];
        let mut done = vec![0; steps.len()];
        loop {
            let ready = (0..workers).rev().find(|&w| {
                of(w).get(next[w]).is_some_and(|s| s.from < 0 || raised[s.from as usize])
            });
            let Some(w) = ready else { break };
            let s = of(w)[next[w]];
            next[w] += 1;
            assert!(s.step_begin < s.step_end, "an empty segment");
            let done = &mut done[s.tile as usize];
            assert_eq!(*done, s.step_begin as usize, "tile {} out of order", s.tile);
            assert_eq!(s.from >= 0, s.step_begin > 0);
            assert_eq!(s.to < 0, s.step_end as usize == steps[s.tile as usize]);
            *done = s.step_end as usize;
            if s.from >= 0 {
                raised[s.from as usize] = false;
            }
            if s.to >= 0 {
                raised[s.to as usize] = true;
            }
        }
        assert!((0..workers).all(|w| next[w] == of(w).len()), "workers wait for each other");
        assert_eq!(done, steps, "steps left out");
        assert!(raised.iter().all(|raised| !raised), "a flag stays up");

        let weight_of = |s: &Segment| -> u64 {
            (s.step_begin..s.step_end).map(|step| weight(s.tile as usize, step as usize)).sum()
        };
        (0..workers).map(|w| of(w).iter().map(weight_of).sum()).collect()
    }

    fn even(tiles: usize, steps: usize, workers: usize) -> (WorkLists, Vec<u64>) {
        let steps = vec![steps; tiles];
        let lists = WorkLists::new(&steps, |_, _| 1, workers, Dealing::Rounds, 0);
        let loads = check(&steps, |_, _| 1, &lists);
        (lists, loads)
    }

    #[test]
    fn equal_tiles_are_shared_to_the_step() {
        // 3.39 rounds: 2 whole ones, and 184 tiles cut for 132 workers.
        let (lists, loads) = even(448, 64, 132);
        let (least, most) = (loads.iter().min().unwrap(), loads.iter().max().unwrap());
        assert_eq!((*least, *most), (217, 218));
        assert!(lists.slots < 132);
        assert_eq!(lists.segments[lists.begin[7] as usize..][1].tile, 7);

        // Whole rounds, and no more tiles than workers: nothing is cut.
        for tiles in [1, 5, 131, 132, 264, 1320] {
            assert_eq!(even(tiles, 64, 132).0.slots, 0, "{tiles} tiles");
        }
        assert_eq!(even(0, 64, 132).0.segments, []);
        assert_eq!(even(3, 0, 2).0.segments, []);
        assert_eq!(even(7, 9, 1).0.slots, 0);
    }

    #[test]
    fn small_pieces_stay_with_their_tile() {
        let steps = [64; 133];
        let lists = WorkLists::new(&steps, |_, _| 1, 132, Dealing::Rounds, 8);
        check(&steps, |_, _| 1, &lists);
        let small = |s: &&Segment| s.step_end - s.step_begin < 7;
        assert_eq!(lists.segments.iter().filter(small).count(), 0);
    }

    #[test]
    fn segments_are_encoded_as_the_kernels_declare_them() {
        let segment = Segment { tile: 1, step_begin: 2, step_end: 3, from: -1, to: 4 };
        let lists = WorkLists { segments: vec![segment; 2], begin: vec![0, 2], slots: 5 };
        assert_eq!(lists.encoded(), [1, 2, 3, -1, 4, 1, 2, 3, -1, 4]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        /// Any steps, weights and workers: the lists hold together, and no worker has more than
        /// its share, a step at each end, what was not worth a cut, and a tile where none is cut.
        #[test]
        fn any_work_is_covered_and_shared(
            steps in prop::collection::vec(0usize..40, 0..300),
            workers in 1usize..50,
            weight_max in 1u64..30,
            piece_min in 0u64..40,
            stretches: bool,
        ) {
            let weight = |tile: usize, step: usize| (tile * 7 + step * step * 3) as u64 % weight_max;
            let dealing = if stretches { Dealing::Stretches } else { Dealing::Rounds };
            let lists = WorkLists::new(&steps, weight, workers, dealing, piece_min);
            let loads = check(&steps, weight, &lists);
            let share = loads.iter().sum::<u64>().div_ceil(workers as u64);
            let longest = steps.iter().enumerate();
            let longest = longest.map(|(t, &n)| (0..n).map(|s| weight(t, s)).sum::<u64>()).max();
            let whole = !stretches && steps.len() <= workers;
            let most = match whole {
                true => longest.unwrap_or(0),
                false => share + weight_max + 2 * piece_min,
            };
            prop_assert!(loads.iter().all(|&load| load <= most), "{loads:?}, share {share}");
        }
    }
}
