//! Philox4x32-10: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3",
//! SC 2011. A counter of four words and a key of two give four random words.

/// Multipliers of words 0 and 2 of the counter.
const MULTIPLIERS: [u32; 2] = [0xd251_1f53, 0xcd9e_8d57];
/// What is added to the key after each round: the golden ratio and the square root of 3, less 1.
const KEY_STEPS: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];
const ROUNDS: usize = 10;

/// Counters that are worked on side by side, in registers: one vector of the widest kind.
pub const LANES: usize = 16;

/// One word of each of [`LANES`] counters.
pub type Lanes = [u32; LANES];

/// The four words of each counter, in place of the counters.
#[inline]
pub fn philox4x32_10(mut counters: [Lanes; 4], mut key: [u32; 2]) -> [Lanes; 4] {
    for _ in 0..ROUNDS {
        let [c0, c1, c2, c3] = counters;
        let (high0, low0) = products(c0, MULTIPLIERS[0]);
        let (high2, low2) = products(c2, MULTIPLIERS[1]);
        counters = [xor(high2, c1, key[0]), low2, xor(high0, c3, key[1]), low0];
        key = [key[0].wrapping_add(KEY_STEPS[0]), key[1].wrapping_add(KEY_STEPS[1])];
    }
    counters
}

/// High and low halves.
#[inline(always)]
fn products(x: Lanes, multiplier: u32) -> (Lanes, Lanes) {
    let product = |x: u32| u64::from(x) * u64::from(multiplier);
    (x.map(|x| (product(x) >> 32) as u32), x.map(|x| product(x) as u32))
}

#[inline(always)]
fn xor(x: Lanes, y: Lanes, key: u32) -> Lanes {
    std::array::from_fn(|i| x[i] ^ y[i] ^ key)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counter, key and output: the three `philox4x32 10` lines of the known answers that the authors
    /// distribute with Random123 (`kat_vectors`).
    const KNOWN: [([u32; 4], [u32; 2], [u32; 4]); 3] = [
        ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
        ([!0; 4], [!0; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
        (
            [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
            [0xa409_3822, 0x299f_31d0],
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
        ),
    ];

    #[test]
    fn it_gives_the_known_answers_in_every_lane() {
        for (counter, key, words) in KNOWN {
            assert_eq!(philox4x32_10(counter.map(|c| [c; LANES]), key), words.map(|w| [w; LANES]));
            for lane in 0..LANES {
                let mut counters = [[7; LANES]; 4];
                (0..4).for_each(|i| counters[i][lane] = counter[i]);
                let got = philox4x32_10(counters, key).map(|lanes| lanes[lane]);
                assert_eq!(got, words, "lane {lane}");
            }
        }
    }
}
