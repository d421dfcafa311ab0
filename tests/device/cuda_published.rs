//! Normal inputs as PyTorch draws them, on a CUDA device: the published digest, and numbers that a CPU can check.

use std::f64::consts::TAU;

use contract::published::{Generator, Hardware, KNOWN, Platform, Recipe};
use sparse_verify::backend::cuda::Device;
use sparse_verify::published::Machine;

/// What computes, or `None`, said aloud.
fn machine() -> Option<Machine> {
    match Device::open(0) {
        Ok(device) => Some(Machine { threads: 2, device: Ok(std::sync::Arc::new(device)) }),
        Err(error) => {
            aloud(&format!("not run: torch-device-normal ({error})"));
            None
        }
    }
}

/// Written past the test harness's capture, so that a plain run shows it.
fn aloud(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn generator(seed: u64, multiprocessors: u32) -> Generator {
    let hardware = Hardware::new(Platform::Cuda, multiprocessors, Hardware::THREADS);
    Generator::new(seed, hardware.expect("within the limits"))
}

/// V of LLaMA-3.1-8B's up_proj on an H200, nothing drawn before it; all digits were published.
#[test]
fn the_published_normal_digest_comes_out() {
    let Some(machine) = machine() else { return };
    let known = KNOWN.iter().find(|known| known.recipe == Recipe::Normal).expect("there is one");
    let (tensor, drawn) = known.draw().expect("within the limits")[0];
    let compared = tensor.compare(
        &drawn,
        machine.digest(&drawn, tensor.scope).unwrap_or_else(|error| panic!("{error}")),
    );
    aloud(&format!(
        "{} {}: {compared}\n  published {}\n  got       {}",
        known.title, tensor.name, tensor.published, compared.got
    ));
    assert_eq!(drawn.shape(), (4096, 1024));
    assert_eq!(
        compared.to_string(),
        "prefix match: 64 of 64 digits; 23.84 % of the tensor, not pruned"
    );
}

#[test]
fn any_part_can_be_drawn_alone() {
    let Some(machine) = machine() else { return };
    // Rounds of 16,384 elements; the second tensor begins behind four of them.
    let mut generator = generator(u64::MAX - 7, 2);
    for shape in [(64, 1000), (101, 333)] {
        let drawn = generator.draw(Recipe::Normal, shape).expect("within the limits");
        let whole = machine.rows(&drawn, 0..shape.0).unwrap_or_else(|error| panic!("{error}"));
        let whole = whole.as_slice().expect("row-major");
        for (first, len) in [(0, 1), (4095, 2), (16_383, 2), (20_000, 13_000), (33_632, 1)] {
            let mut part = vec![f32::NAN; len];
            machine.fill(&drawn, first, &mut part).unwrap_or_else(|error| panic!("{error}"));
            let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&part), bits(&whole[first..first + len]), "{len} from {first}");
        }
    }
}

/// Uniform elements are the same words: from them and Box-Muller in binary64 the normal ones follow to within
/// what the fast sine and cosine leave. It tells wrong places from other last bits.
#[test]
fn normal_elements_are_box_muller_of_the_uniform_ones() {
    let Some(machine) = machine() else { return };
    const THREADS: usize = 3 * 2048;
    const SHAPE: (usize, usize) = (3, 4 * THREADS);
    let mut generators = [generator(5, 3), generator(5, 3)];
    for _ in 0..2 {
        let [uniform, normal] = [Recipe::Uniform, Recipe::Normal].map(|recipe| {
            let generator = &mut generators[usize::from(recipe == Recipe::Normal)];
            let drawn = generator.draw(recipe, SHAPE).expect("within the limits");
            machine.rows(&drawn, 0..SHAPE.0).unwrap_or_else(|error| panic!("{error}"))
        });
        for (uniform, normal) in uniform.rows().into_iter().zip(normal.rows()) {
            // A row is a round; words 0 and 1 make the first pair, 2 and 3 the second.
            for pair in [0, 2 * THREADS] {
                for at in pair..pair + THREADS {
                    // What PyTorch made 0 was 1.
                    let u = if uniform[at] == 0.0 { 1.0 } else { f64::from(uniform[at]) };
                    let angle = TAU * f64::from(uniform[at + THREADS]);
                    let radius = (-2.0 * u.ln()).sqrt();
                    let close = |got: f32, want: f64| (f64::from(got) - want).abs() < 1e-4;
                    let got = (normal[at], normal[at + THREADS]);
                    assert!(close(got.0, radius * angle.sin()), "element {at}: {}", got.0);
                    assert!(close(got.1, radius * angle.cos()), "element {at} + T: {}", got.1);
                }
            }
        }
    }
}
