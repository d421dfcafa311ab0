//! Uniform elements on the CPU: integers, one conversion, one scaling by a power of two, one sum.

use super::generator::{Drawn, Platform, WORDS};
use super::philox::{LANES, philox4x32_10};
use crate::threads;

/// 2^-32.
const UNIT: f32 = 1.0 / (1u64 << 32) as f32;

/// What is added to word * 2^-32. Sources: cuRAND's `curand_uniform.h`, rocRAND's `rocrand_uniform.h`.
fn shift(platform: Platform) -> f32 {
    match platform {
        Platform::Cuda => UNIT / 2.0,
        Platform::Rocm => UNIT,
    }
}

/// The conversion and the sum round to nearest even; the product is exact. Both libraries' numbers
/// end with 1, which PyTorch replaces by 0.
#[inline(always)]
fn element(word: u32, shift: f32) -> f32 {
    let x = word as f32 * UNIT + shift;
    if x == 1.0 { 0.0 } else { x }
}

/// Threads of the device whose calls are made together. Their elements, 16 KiB, stay in L1.
const CHUNK: usize = 1024;

/// The elements of one call of up to [`CHUNK`] neighbouring threads.
struct Task<'a> {
    /// Since the generator was seeded.
    call: u64,
    first_thread: usize,
    /// For each word of a call, the elements that are wanted of it, and those of which thread come
    /// first, counted from `first_thread`.
    parts: [(usize, &'a mut [f32]); WORDS],
}

/// Fills `out` with elements `first`, `first + 1`, ... of a tensor that has them.
pub fn fill(drawn: &Drawn, first: usize, out: &mut [f32], threads: usize) {
    let (seed, shift) = (drawn.seed(), shift(drawn.platform()));
    let key = [seed as u32, (seed >> 32) as u32];
    let tasks = tasks(drawn, first, out);
    threads::each(threads, tasks.into_iter(), |task| task.run(key, shift));
}

/// Cuts `out` where a word, a chunk of threads or a round ends, and gives each call its pieces.
fn tasks<'a>(drawn: &Drawn, first: usize, out: &'a mut [f32]) -> Vec<Task<'a>> {
    let (threads, round) = (drawn.threads(), drawn.round());
    let chunks = threads.div_ceil(CHUNK);
    let first_round = first / round;
    let rounds = (first + out.len()).div_ceil(round) - first_round;
    let mut tasks: Vec<Task> = (0..rounds * chunks)
        .map(|i| Task {
            call: drawn.first_call() + (first_round + i / chunks) as u64,
            first_thread: i % chunks * CHUNK,
            parts: Default::default(),
        })
        .collect();
    let (mut at, mut rest) = (first, out);
    while !rest.is_empty() {
        let (word, thread) = (at % round / threads, at % threads);
        let (chunk, start) = (thread / CHUNK, thread % CHUNK);
        let len = (CHUNK - start).min(threads - thread).min(rest.len());
        let (part, after) = std::mem::take(&mut rest).split_at_mut(len);
        tasks[(at / round - first_round) * chunks + chunk].parts[word] = (start, part);
        (at, rest) = (at + len, after);
    }
    tasks.retain(|task| task.parts.iter().any(|(_, part)| !part.is_empty()));
    tasks
}

impl Task<'_> {
    fn run(self, key: [u32; 2], shift: f32) {
        let wanted = || self.parts.iter().filter(|(_, part)| !part.is_empty());
        let from = wanted().map(|(start, _)| *start).min().unwrap_or(0);
        let to = wanted().map(|(start, part)| start + part.len()).max().unwrap_or(0);
        let mut elements = [[0.0; CHUNK]; WORDS];
        for block in from / LANES..to.div_ceil(LANES) {
            let at = block * LANES;
            let lane = std::array::from_fn(|lane| (self.first_thread + at + lane) as u32);
            let call = [self.call as u32, (self.call >> 32) as u32];
            // Threads are fewer than 2^32.
            let counters = [[call[0]; LANES], [call[1]; LANES], lane, [0; LANES]];
            let words = philox4x32_10(counters, key);
            for (elements, words) in elements.iter_mut().zip(words) {
                for (x, word) in elements[at..at + LANES].iter_mut().zip(words) {
                    *x = element(word, shift);
                }
            }
        }
        for (elements, (start, part)) in elements.iter().zip(self.parts) {
            part.copy_from_slice(&elements[start..start + part.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Error, Generator, Hardware, Recipe};
    use super::*;

    /// An element by the words of VERIFY.md.
    fn slow(drawn: &Drawn, index: usize) -> f32 {
        let (threads, round) = (drawn.threads(), drawn.round());
        let call = drawn.first_call() + (index / round) as u64;
        let counter = [call as u32, (call >> 32) as u32, (index % threads) as u32, 0];
        let seed = drawn.seed();
        let words = philox4x32_10(counter.map(|c| [c; LANES]), [seed as u32, (seed >> 32) as u32]);
        element(words[index % round / threads][0], shift(drawn.platform()))
    }

    fn bits(x: &[f32]) -> Vec<u32> {
        x.iter().map(|x| x.to_bits()).collect()
    }

    #[test]
    fn words_become_numbers_below_one() {
        for platform in [Platform::Cuda, Platform::Rocm] {
            let shift = shift(platform);
            assert_eq!(
                element(0, shift),
                if platform == Platform::Cuda { 0.5 } else { 1.0 } * UNIT
            );
            assert_eq!(element(u32::MAX, shift), 0.0);
            // The last word that is not converted to 2^32, and the first that is.
            assert_eq!(element(u32::MAX - 128, shift), 1.0 - f32::EPSILON / 2.0);
            assert_eq!(element(u32::MAX - 127, shift), 0.0);
            assert_eq!(element(1 << 31, shift), 0.5);
        }
        assert_eq!(element(1, shift(Platform::Cuda)), 1.5 * UNIT);
        assert_eq!(element(1, shift(Platform::Rocm)), 2.0 * UNIT);
    }

    #[test]
    fn any_part_can_be_drawn_alone_on_any_threads() {
        // Three blocks: rounds of 3072 elements, words that end inside a chunk, and two draws before.
        let hardware = Hardware::new(Platform::Cuda, 3, 256).unwrap();
        let mut generator = Generator::new(0x1234_5678_9abc_def0, hardware);
        for shape in [(1, 5), (97, 71), (61, 211)] {
            let drawn = generator.draw(Recipe::Uniform, shape).unwrap();
            let want: Vec<f32> = (0..drawn.elements()).map(|i| slow(&drawn, i)).collect();
            for threads in [1, 3] {
                let fill = |first: usize, out: &mut [f32]| drawn.fill(first, out, threads);
                let rows = drawn.rows::<Error>(0..shape.0, fill).unwrap();
                assert_eq!(bits(rows.as_slice().unwrap()), bits(&want));
                for (first, len) in [(0, 1), (1, 4), (767, 2), (3071, 2), (700, 5000), (6880, 7)] {
                    let mut part = vec![f32::NAN; len];
                    match drawn.fill(first, &mut part, threads) {
                        Ok(()) => assert_eq!(bits(&part), bits(&want[first..first + len])),
                        Err(error) => assert!(first + len > want.len(), "{error}"),
                    }
                }
            }
        }
    }

    #[test]
    fn wide_devices_cross_chunks() {
        let hardware = Hardware::of(Platform::Rocm, 304);
        let mut generator = Generator::new(7, hardware);
        let drawn = generator.draw(Recipe::Uniform, (4000, 1000)).unwrap();
        for first in [0, 1023, 622_590, 2_490_360, 3_999_990] {
            let mut part = [0.0; 10];
            drawn.fill(first, &mut part, 2).unwrap();
            let want: Vec<f32> = (first..first + 10).map(|i| slow(&drawn, i)).collect();
            assert_eq!(bits(&part), bits(&want), "from {first}");
        }
    }
}
