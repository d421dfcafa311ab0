//! How far a run is, on a terminal: `13 of 487, 6 min left`, and the case in hand.

use std::time::{Duration, Instant};

use contract::case::Case;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::shard;

/// Cases that were begun, of all that are to be done.
pub struct Progress {
    is_shown: bool,
    started: Instant,
    all: usize,
    begun: usize,
    /// By the same estimate as shards are dealt.
    work: u128,
    work_done: u128,
}

impl Progress {
    pub fn new<'a>(cases: impl Iterator<Item = &'a Case>, is_shown: bool) -> Progress {
        let (all, work) =
            cases.fold((0, 0), |(all, work), case| (all + 1, work + shard::work(case)));
        Progress { is_shown, started: Instant::now(), all, begun: 0, work, work_done: 0 }
    }

    /// The bar of the next case, a step for each of its rows; on standard error, where that is a terminal.
    pub fn begin(&mut self, case: &Case) -> ProgressBar {
        self.begun += 1;
        if !self.is_shown {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::with_draw_target(Some(case.m as u64), ProgressDrawTarget::stderr())
            .with_prefix(words(self.begun, self.all, self.left()))
            .with_message(case.id.clone());
        // The id is cut off where the terminal ends.
        if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:20} {wide_msg}") {
            bar.set_style(style);
        }
        bar
    }

    /// The case that was begun is done.
    pub fn end(&mut self, case: &Case) {
        self.work_done += shard::work(case);
    }

    /// Time for the rest, if that takes as long for its work as what is done took; `None` at the start.
    fn left(&self) -> Option<Duration> {
        const SOON: Duration = Duration::from_secs(2);
        let elapsed = self.started.elapsed();
        if self.work_done == 0 || elapsed < SOON {
            return None;
        }
        let rest = self.work.saturating_sub(self.work_done) as f64 / self.work_done as f64;
        Duration::try_from_secs_f64(elapsed.as_secs_f64() * rest).ok()
    }
}

fn words(at: usize, all: usize, left: Option<Duration>) -> String {
    let left = match left.map(|left| left.as_secs()) {
        None => String::new(),
        Some(seconds @ ..90) => format!(", {} s left", seconds.max(1)),
        Some(seconds @ ..5400) => format!(", {} min left", (seconds + 30) / 60),
        Some(seconds) => format!(", {} h left", (seconds + 1800) / 3600),
    };
    format!("{at} of {all}{left}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_is_said_in_its_own_unit() {
        let of = |seconds| words(13, 487, Some(Duration::from_secs(seconds)));
        assert_eq!(words(1, 1, None), "1 of 1");
        assert_eq!(of(0), "13 of 487, 1 s left");
        assert_eq!(of(89), "13 of 487, 89 s left");
        assert_eq!(of(90), "13 of 487, 2 min left");
        assert_eq!(of(360), "13 of 487, 6 min left");
        assert_eq!(of(7200), "13 of 487, 2 h left");
    }
}
