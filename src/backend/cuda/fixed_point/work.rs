//! Which worker multiplies which steps of which tile. Sums are exact, so the parts of a tile are summed on their own, and
//! added by the worker that finishes it.

use super::super::segments::{Dealing, WorkLists};

/// Steps of 128 k after which a 32-bit sum of three products of digits could overflow: 3 * 2^14 * 128 * 341 < 2^31.
const STEPS_MAX: usize = 341;
/// Column tiles that are computed side by side, so that they read A from the cache.
const SIDE_BY_SIDE: usize = 16;
/// Steps that are worth a worker of their own.
const STEPS_MIN: usize = 2;

/// As `Part` of `kernels/gemm_fixed_wgmma.cu`, with the step in place of A's image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    row_tile: usize,
    column_tile: usize,
    step: usize,
    steps: usize,
    /// The slot to leave sums in; `None` finishes the tile.
    to: Option<usize>,
    /// The first slot to add, and how many.
    from: (usize, usize),
}

/// The parts of all workers.
pub(super) struct Work {
    parts: Vec<Part>,
    /// `workers + 1` positions: worker w has `parts[begin[w]..begin[w + 1]]`, in the order in which it works.
    pub begin: Vec<i32>,
    /// Slots for sums on their way from one part to another.
    pub slots: usize,
}

impl Work {
    /// For `steps` of each row tile, so many column tiles and workers, at least 1 of each. A row tile without steps is in no
    /// list.
    ///
    /// Workers stand in teams, a member for each of the column tiles that are computed side by side. Each waits only for
    /// sums of workers of lower index, which they leave before they wait themselves, or for its own.
    pub(super) fn new(steps: &[usize], column_tiles: usize, workers: usize) -> Work {
        let rounds = column_tiles.div_ceil(SIDE_BY_SIDE.min(workers));
        let members = column_tiles.div_ceil(rounds);
        let tiles: Vec<usize> =
            steps.iter().flat_map(|&steps| std::iter::repeat_n(steps, rounds)).collect();
        let all: usize = tiles.iter().sum();
        let teams = (workers / members).min(all / STEPS_MIN).max(1);
        // Unlike chains, tiles are cut where there are fewer than workers, too.
        let dealing = if tiles.len() <= teams { Dealing::Stretches } else { Dealing::Rounds };
        let lists = WorkLists::new(&tiles, |_, _| 1, teams, dealing, STEPS_MIN as u64);

        // Each tile's pieces in ascending steps: all but the last leave their sums in slots that follow each other.
        let pieces = |steps: i32| (steps as usize).div_ceil(STEPS_MAX);
        let mut counts = vec![0; tiles.len()];
        for segment in &lists.segments {
            counts[segment.tile as usize] += pieces(segment.step_end - segment.step_begin);
        }
        let mut first_slot = Vec::with_capacity(tiles.len());
        let mut slots = 0;
        for count in &counts {
            first_slot.push(slots);
            slots += count.max(&1) - 1;
        }
        let mut next = first_slot.clone();
        let mut of_segments = vec![0; lists.segments.len()];
        let mut in_order: Vec<usize> = (0..lists.segments.len()).collect();
        in_order.sort_by_key(|&s| (lists.segments[s].tile, lists.segments[s].step_begin));
        for s in in_order {
            let segment = &lists.segments[s];
            let next = &mut next[segment.tile as usize];
            of_segments[s] = *next;
            *next += pieces(segment.step_end - segment.step_begin);
        }

        let mut work = Work { parts: Vec::new(), begin: vec![0], slots: slots * members };
        for worker in 0..workers {
            let (team, member) = (worker / members, worker % members);
            let mine = match team < teams {
                true => lists.begin[team] as usize..lists.begin[team + 1] as usize,
                false => 0..0,
            };
            for s in mine {
                let (segment, tile) = (&lists.segments[s], lists.segments[s].tile as usize);
                let column_tile = tile % rounds * members + member;
                if column_tile >= column_tiles {
                    continue;
                }
                let (begin, end) = (segment.step_begin as usize, segment.step_end as usize);
                for (i, step) in (begin..end).step_by(STEPS_MAX).enumerate() {
                    let steps = STEPS_MAX.min(end - step);
                    let is_last = step + steps == tiles[tile];
                    let of_member = member * slots;
                    work.parts.push(Part {
                        row_tile: tile / rounds,
                        column_tile,
                        step,
                        steps,
                        to: (!is_last).then_some(of_member + of_segments[s] + i),
                        from: match is_last && counts[tile] > 1 {
                            true => (of_member + first_slot[tile], counts[tile] - 1),
                            false => (0, 0),
                        },
                    });
                }
            }
            work.begin.push(work.parts.len() as i32);
        }
        work
    }

    /// The parts as the device reads them, eight integers each. `first_image` is A's first image of each row tile.
    pub(super) fn encoded(&self, first_image: &[usize]) -> Vec<i32> {
        let of = |part: &Part| {
            let image = first_image[part.row_tile] + part.step;
            let to = part.to.map_or(-1, |slot| slot as i32);
            let [row_tile, column_tile, image] =
                [part.row_tile, part.column_tile, image].map(|x| x as i32);
            let [step, steps, from, from_count] =
                [part.step, part.steps, part.from.0, part.from.1].map(|x| x as i32);
            [row_tile, column_tile, image, step, steps, to, from, from_count]
        };
        self.parts.iter().flat_map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Checks all that the kernel relies on, and returns each worker's steps.
    fn check(steps: &[usize], column_tiles: usize, workers: usize) -> Vec<usize> {
        let work = Work::new(steps, column_tiles, workers);
        assert_eq!(work.begin.len(), workers + 1);
        let of = |w: usize| &work.parts[work.begin[w] as usize..work.begin[w + 1] as usize];
        // Workers go through their parts, the last ones first where they can.
        let mut next = vec![0; workers];
        let mut left: Vec<Option<&Part>> = vec![None; work.slots];
        let mut done = vec![vec![Vec::new(); column_tiles]; steps.len()];
        loop {
            let is_ready =
                |part: &Part| left[part.from.0..][..part.from.1].iter().all(Option::is_some);
            let Some(w) = (0..workers).rev().find(|&w| of(w).get(next[w]).is_some_and(is_ready))
            else {
                break;
            };
            let part = &of(w)[next[w]];
            next[w] += 1;
            assert!((1..=STEPS_MAX).contains(&part.steps), "{part:?}");
            let here: &mut Vec<usize> = &mut done[part.row_tile][part.column_tile];
            match part.to {
                Some(slot) => {
                    assert_eq!(part.from.1, 0, "{part:?}");
                    assert!(left[slot].replace(part).is_none(), "slot {slot} is written twice");
                }
                None => {
                    assert!(here.is_empty(), "{part:?} is finished twice");
                    let slots = left[part.from.0..][..part.from.1].iter_mut();
                    for handed in slots.filter_map(Option::take).chain([part]) {
                        assert_eq!(
                            (handed.row_tile, handed.column_tile),
                            (part.row_tile, part.column_tile)
                        );
                        here.extend(handed.step..handed.step + handed.steps);
                    }
                }
            }
        }
        assert!((0..workers).all(|w| next[w] == of(w).len()), "workers wait for each other");
        assert!(left.iter().all(Option::is_none), "a flag stays up");
        for (steps, done) in steps.iter().zip(done) {
            done.iter().for_each(|done| assert!(done.iter().copied().eq(0..*steps), "{done:?}"));
        }
        (0..workers).map(|w| of(w).iter().map(|part| part.steps).sum()).collect()
    }

    #[test]
    fn teams_end_alike() {
        // 112 row tiles of 32 steps, 8 teams of 16: 14 each, nothing is cut.
        let loads = check(&[32; 112], 16, 132);
        assert_eq!((loads[0], loads[127], loads[128]), (448, 448, 0));
        // Two row tiles: a quarter of each for each team.
        assert!(check(&[32; 2], 16, 132)[..128].iter().all(|&steps| steps == 8));
        // One column tile: every worker is a team.
        let loads = check(&[32; 23], 1, 132);
        assert!(loads.iter().all(|steps| (5..=6).contains(steps)), "{loads:?}");
    }

    #[test]
    fn long_sums_are_cut_before_they_overflow() {
        assert_eq!(check(&[2000; 3], 1, 1), [6000]);
        assert_eq!(3i64 * (1 << 14) * 128 * STEPS_MAX as i64 >> 31, 0);
        assert_eq!(3i64 * (1 << 14) * 128 * (STEPS_MAX as i64 + 1) >> 31, 1);
        let work = Work::new(&[342], 1, 1);
        assert_eq!(work.encoded(&[7]), [0, 0, 7, 0, 341, 0, 0, 0, 0, 0, 348, 341, 1, -1, 0, 1]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn any_work_is_done_once(
            steps in prop::collection::vec(prop_oneof![0usize..40, 0usize..1200], 1..40),
            column_tiles in 1usize..40,
            workers in 1usize..140,
        ) {
            check(&steps, column_tiles, workers);
        }
    }
}
