//! Spot audits: which cases and which row panels a text draws, and how likely it is that a share of wrong ones is missed.
//!
//! The text (a nonce) is one that nobody could know before what is audited was committed. Everything is ranked by SHA-256, so
//! that nobody can choose what is drawn, and anybody can draw it again.

use crate::digest::{Digest, PANELS};

/// Shares of wrong panels and cases of which it is said how likely they were missed.
pub const SHARES: [f64; 2] = [0.01, 0.1];

/// The `count` of these cases that a nonce draws, as their places in `ids`, ascending: those with the least SHA-256 of nonce,
/// line break and id. All of them if there are fewer.
pub fn cases(nonce: &str, ids: &[&str], count: usize) -> Vec<usize> {
    let rank = |id: &str| Digest::of(format!("{nonce}\n{id}").as_bytes());
    let mut places: Vec<usize> = (0..ids.len()).collect();
    places.sort_by_key(|&place| (rank(ids[place]), place));
    places.truncate(count);
    places.sort_unstable();
    places
}

/// The `count` of the 64 row panels of a case that a nonce draws, ascending: those with the least SHA-256 of nonce, line
/// break, the case's id, line break and the panel's number in decimal digits.
pub fn panels(nonce: &str, id: &str, count: usize) -> Vec<usize> {
    let rank = |panel: usize| Digest::of(format!("{nonce}\n{id}\n{panel}").as_bytes());
    let mut panels: Vec<usize> = (0..PANELS).collect();
    panels.sort_by_key(|&panel| (rank(panel), panel));
    panels.truncate(count);
    panels.sort_unstable();
    panels
}

/// What was drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// Cases that there are.
    pub all: usize,
    /// Of those, cases that were looked at.
    pub cases: usize,
    /// Row panels looked at in each of them.
    pub panels: usize,
}

impl Drawn {
    /// The probability that `wrong` of a case's panels are all left out by its draw.
    pub fn misses_panels(self, wrong: f64) -> f64 {
        let all = PANELS as f64;
        (0..self.panels.min(PANELS))
            .map(|drawn| (1.0 - wrong / (all - drawn as f64)).max(0.0))
            .product()
    }

    /// The probability, at most, that not one panel of a share `share` of all panels of all cases that are wrong is looked
    /// at, however they are spread.
    ///
    /// Of a case with w wrong panels the draw misses all with g(w) = C(64 - w, K) / C(64, K). Where every case is looked
    /// at the product of the g(w) is largest if all cases have as many, because log g is concave. Where N of C cases are
    /// drawn the mean of such products over all draws is at most the N-th power of the mean of g (Maclaurin's inequality),
    /// and that is at most 1 - `share`, because g is convex between g(0) = 1 and g(64) = 0.
    pub fn misses_panels_everywhere(self, share: f64) -> f64 {
        match self.cases >= self.all {
            // Nothing is left out.
            true if self.panels >= PANELS => 0.0,
            true => self.misses_panels(share * PANELS as f64).powi(self.cases as i32),
            false => (1.0 - share).powi(self.cases as i32),
        }
    }

    /// The probability that not one of `wrong` cases, wrong in every panel, is looked at.
    pub fn misses_cases(self, wrong: usize) -> f64 {
        let Drawn { all, cases, .. } = self;
        (0..cases.min(all))
            .map(|drawn| (all - drawn).saturating_sub(wrong) as f64 / (all - drawn) as f64)
            .product()
    }

    /// A share of all cases, rounded down to whole ones and at least one.
    pub fn share_of_cases(self, share: f64) -> usize {
        ((share * self.all as f64) as usize).clamp(1, self.all.max(1))
    }

    /// The probability that none of such a share of wrong cases is looked at.
    pub fn misses_a_share_of_cases(self, share: f64) -> f64 {
        self.misses_cases(self.share_of_cases(share))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_from_the_text_alone() {
        // As Python's hashlib ranks them.
        assert_eq!(panels("round 1", "chain/up/none/b48/f32/f32-chain", 3), [4, 5, 9]);
        assert_eq!(panels("round 1", "a", 64), (0..64).collect::<Vec<_>>());
        assert_eq!(panels("round 1", "a", 0), [0usize; 0]);
        assert_ne!(panels("round 1", "a", 5), panels("round 2", "a", 5));
        assert_ne!(panels("round 1", "a", 5), panels("round 1", "b", 5));
        let ids = ["a", "b", "c", "d", "e"];
        let two = cases("round 1", &ids, 2);
        assert!(two.len() == 2 && two.is_sorted());
        assert_eq!(cases("round 1", &ids, 9), [0, 1, 2, 3, 4]);
        // Longer draws hold the shorter ones.
        assert!(two.iter().all(|case| cases("round 1", &ids, 3).contains(case)));
    }

    #[test]
    fn every_panel_is_drawn_as_often() {
        let mut times = [0usize; PANELS];
        for nonce in 0..6400 {
            times[panels(&nonce.to_string(), "a case", 1)[0]] += 1;
        }
        // 100 times each: five standard deviations are 50.
        assert!(times.iter().all(|&times| (50..=150).contains(&times)), "{times:?}");
    }

    /// Plants wrong panels, draws with many nonces, and counts how often none is hit.
    #[test]
    fn what_is_planted_is_missed_as_often_as_is_said() {
        const NONCES: usize = 4000;
        for (planted, drawn) in
            [(vec![6; 4], 1usize), (vec![6; 4], 2), (vec![1, 0, 12, 3], 2), (vec![16, 1, 1, 1], 3)]
        {
            let ids: Vec<String> = (0..planted.len()).map(|case| format!("case {case}")).collect();
            let missed = (0..NONCES)
                .filter(|nonce| {
                    let is_hit = |(id, &wrong): (&String, &usize)| {
                        // The wrong ones are anywhere; the first ones serve.
                        panels(&nonce.to_string(), id, drawn).iter().any(|&panel| panel < wrong)
                    };
                    !ids.iter().zip(&planted).any(is_hit)
                })
                .count() as f64
                / NONCES as f64;
            let all = planted.len();
            let of = Drawn { all, cases: all, panels: drawn };
            let said: f64 = planted.iter().map(|&wrong| of.misses_panels(wrong as f64)).product();
            let deviation = (said * (1.0 - said) / NONCES as f64).sqrt();
            assert!(
                (missed - said).abs() < 4.0 * deviation,
                "{planted:?}, {drawn}: {missed}, {said}"
            );
            let share = planted.iter().sum::<usize>() as f64 / (all * PANELS) as f64;
            assert!(said <= of.misses_panels_everywhere(share) + 1e-12, "{planted:?}, {drawn}");
        }
    }

    #[test]
    fn a_draw_of_cases_misses_no_more_than_is_said() {
        // All draws of 2 of 4 cases, however 16 wrong panels are spread over them.
        let pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)];
        for drawn in 1..6 {
            let of = Drawn { all: 4, cases: 2, panels: drawn };
            for planted in [[4, 4, 4, 4], [16, 0, 0, 0], [8, 8, 0, 0], [10, 3, 2, 1], [64, 0, 0, 0]]
            {
                let g: Vec<f64> = planted.iter().map(|&w| of.misses_panels(f64::from(w))).collect();
                let missed = pairs.iter().map(|&(i, j)| g[i] * g[j]).sum::<f64>() / 6.0;
                let share = f64::from(planted.iter().sum::<i32>()) / (4.0 * 64.0);
                let said = of.misses_panels_everywhere(share);
                assert!(missed <= said + 1e-12, "{planted:?}, {drawn}: {missed}, {said}");
            }
        }
    }

    #[test]
    fn probabilities_of_small_draws_are_exact() {
        let one = Drawn { all: 10, cases: 10, panels: 1 };
        assert_eq!(one.misses_panels(16.0), 0.75);
        assert_eq!(one.misses_panels_everywhere(0.25), 0.75f64.powi(10));
        assert_eq!(one.misses_cases(1), 0.0);
        let all = Drawn { panels: PANELS, ..one };
        assert_eq!((all.misses_panels(1.0), all.misses_panels_everywhere(0.001)), (0.0, 0.0));
        let two = Drawn { all: 4, cases: 1, panels: 2 };
        assert_eq!(two.misses_panels(63.0), 0.0);
        assert_eq!((two.misses_cases(1), two.misses_cases(4)), (0.75, 0.0));
        assert_eq!(two.misses_a_share_of_cases(0.01), 0.75);
        assert_eq!(two.misses_panels_everywhere(0.5), 0.5);
    }
}
