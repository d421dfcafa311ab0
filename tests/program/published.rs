//! Published inputs, drawn again: the digests that were published, and what `verify doctor` says of them.

use crate::common::Workbench;
use contract::digest::Digest;
use contract::published::{Drawn, Generator, Hardware, KNOWN, Known, Platform, Recipe, Scope};
use record::exit::{NOT_VERIFIED, VERIFIED};
use sparse_verify::backend::cuda::Device;
use sparse_verify::published::{Error, Machine};

/// Of the uniform tensors, in the order of `KNOWN`: the whole digests of which the first 8 digits were
/// published.
const UNIFORM: [[&str; 2]; 3] = [
    [
        "b2687223984c8d57e926789714949efbce1d94b68a9a57669f60901e6459ed84",
        "f8b47533d822827315f701cde39ca9e9f608a6d9b6718cd75d2f4e200c5f7c69",
    ],
    [
        "6764dac001d29f149ce09aa1ed6e06ff2b7f2d484f585812472acefeb844f2de",
        "eabab8fac72ba5db41c4146e9f57bc24d29348a6e543f561f73146621c6876ba",
    ],
    [
        "76252923e29e5a104214e830132ad87644faa6582349b10dccd78f19f4bcf992",
        "7f9f717af07db051d90ecd0ac7916edb3d6209b974104d5e8d15b4419cf4df23",
    ],
];

fn uniform() -> impl Iterator<Item = &'static Known> {
    KNOWN.iter().filter(|known| known.recipe == Recipe::Uniform)
}

#[test]
fn published_uniform_inputs_come_out() {
    assert_eq!(uniform().count(), UNIFORM.len());
    for (known, digests) in uniform().zip(UNIFORM) {
        let drawn = known.draw().expect("within the limits");
        assert_eq!(drawn.len(), digests.len());
        for ((tensor, drawn), digest) in drawn.into_iter().zip(digests) {
            assert!(digest.starts_with(tensor.published));
            for threads in [1, 3] {
                let machine = Machine::cpu(threads);
                let compared = tensor.compare(
                    &drawn,
                    machine.digest(&drawn, tensor.scope).expect("needs no device"),
                );
                let name = format!("{} {}", known.title, tensor.name);
                assert_eq!(compared.got.to_string(), digest, "{name} on {threads} thread(s)");
                let percent = if tensor.name == "A" { 1 } else { 4 };
                assert_eq!(
                    compared.to_string(),
                    format!(
                        "prefix match: 8 of 64 digits; {percent}.00 % of the tensor, not pruned"
                    ),
                    "{name}"
                );
            }
        }
    }
}

/// Elements and whole tensors as VERIFY.md has them.
#[test]
fn the_vectors_of_the_specification_come_out() {
    const A: [u32; 4] = [0x3f1c_eaf0, 0x3c24_cdda, 0x3ecb_fce1, 0x3d25_1a6b];
    const V: [[u32; 4]; 2] = [
        [0x3e9d_9c4c, 0x3f5c_4a27, 0x3f61_ada8, 0x3e33_2d35],
        [0x3d13_9faf, 0x3caa_999e, 0x3f77_dbfd, 0x3f0e_0e6e],
    ];
    let machine = Machine::cpu(2);
    let bits = |drawn: &Drawn, first: usize| {
        let mut part = [0.0; 4];
        machine.fill(drawn, first, &mut part).expect("within the tensor");
        part.map(f32::to_bits)
    };
    let sweeps: Vec<_> = uniform().map(|known| known.draw().expect("within the limits")).collect();
    for (sweep, threads, v) in [(&sweeps[0], 132 * 2048, V[0]), (&sweeps[2], 304 * 2048, V[1])] {
        let (a, second) = (sweep[0].1, sweep[1].1);
        assert_eq!((bits(&a, 0), bits(&second, 0)), (A, v));
        let later = [threads, 2 * threads, 3 * threads].map(|first| bits(&a, first)[0]);
        assert_eq!(later, [0x3eef_ea92, 0x3d95_fa85, 0x3eae_8568]);
    }
    let whole = [
        "92bb5e9e967c95d8519a8eb8e054344448f38ada0c5bb5d0a9d8f490624d63b2",
        "b13a616abc714a804e83014b7943a4726851c1d16289db8142925e7484a553e7",
    ];
    for ((_, drawn), whole) in sweeps[0].iter().zip(whole) {
        let digest = machine.digest(drawn, Scope::WholeTensor).expect("needs no device");
        assert_eq!(digest.to_string(), whole);
    }
}

#[test]
fn the_offset_is_that_of_the_recipe() {
    let offsets = [(132, 372), (148, 332), (304, 164)];
    for (multiprocessors, offset) in offsets {
        let hardware = Hardware::new(Platform::Cuda, multiprocessors, 2048).expect("a device");
        let mut generator = Generator::new(42, hardware);
        generator.draw(Recipe::Uniform, (10_000, 10_000)).expect("within the limits");
        assert_eq!(generator.offset(), offset);
        // Nothing is started for a tensor without elements.
        let empty = generator.draw(Recipe::Uniform, (0, 7)).expect("within the limits");
        assert_eq!((empty.elements(), generator.offset()), (0, offset));
        let digest = Machine::cpu(1).digest(&empty, Scope::WholeTensor);
        assert_eq!(digest.expect("nothing to compute"), Digest::of(b""));
        // One element moves it as far as a round.
        generator.draw(Recipe::Normal, (1, 1)).expect("within the limits");
        assert_eq!(generator.offset(), offset + 4);
    }
}

/// A V drawn first, or after an A of another size, has another digest: what the published one shows.
#[test]
fn the_digest_depends_on_what_was_drawn_before_and_on_the_device() {
    let digest = |multiprocessors, before: &[(usize, usize)]| {
        let hardware = Hardware::new(Platform::Cuda, multiprocessors, 2048).expect("a device");
        let mut generator = Generator::new(42, hardware);
        for &shape in before {
            generator.draw(Recipe::Uniform, shape).expect("within the limits");
        }
        let drawn = generator.draw(Recipe::Uniform, (10_000, 2500)).expect("within the limits");
        Machine::cpu(2).digest(&drawn, Scope::Prefix).expect("needs no device").to_string()
    };
    let published = UNIFORM[0][1];
    assert_eq!(digest(132, &[(10_000, 10_000)]), published);
    // As many rounds of 1,081,344 elements, and one more.
    assert_eq!(digest(132, &[(93, 1_081_344)]), published);
    assert_ne!(digest(132, &[(93, 1_081_344), (1, 1)]), published);
    assert_ne!(digest(132, &[(93 * 1_081_344 + 1, 1)]), published);
    assert_ne!(digest(132, &[]), published);
    assert_ne!(digest(133, &[(10_000, 10_000)]), published);
}

#[test]
fn what_cannot_be_drawn_is_an_error() {
    let device = |multiprocessors, threads| Hardware::new(Platform::Rocm, multiprocessors, threads);
    for (multiprocessors, threads) in [(0, 2048), (1, 255), (u32::MAX, 2048), (1 << 22, 256)] {
        assert_eq!(
            device(multiprocessors, threads),
            Err(contract::published::Error::Hardware { multiprocessors, threads })
        );
    }
    let error = device(1, 128).expect_err("less than a block").to_string();
    assert_eq!(
        error,
        "no generator for 1 multiprocessors of 128 threads: expected blocks of 256 threads, from 1 to \
         4194303 in all"
    );
    let mut generator = Generator::new(1, device(304, 2048).expect("a device"));
    let error = generator.draw(Recipe::Normal, (2, 2)).expect_err("CUDA's alone").to_string();
    assert_eq!(
        error,
        "torch-device-normal is not known for ROCm: rocRAND makes normal numbers in its own way"
    );
    for (rows, cols) in [(Drawn::ELEMENTS_MAX + 1, 1), (usize::MAX, usize::MAX)] {
        let error = generator.draw(Recipe::Uniform, (rows, cols)).expect_err("too large");
        assert_eq!(error, contract::published::Error::TooLarge { rows, cols });
    }
    assert_eq!(generator.offset(), 0);
    let drawn = generator.draw(Recipe::Uniform, (5, 7)).expect("within the limits");
    let machine = Machine::cpu(1);
    for (first, len) in [(36, 0), (30, 6), (usize::MAX, 1)] {
        let error = drawn.fill(first, &mut vec![0.0; len], 1).expect_err("not there");
        assert_eq!(error, contract::published::Error::OutOfRange { first, len, elements: 35 });
    }
    assert!(machine.rows(&drawn, 3..6).is_err());
    assert!(machine.rows(&drawn, usize::MAX - 1..usize::MAX).is_err());
    assert_eq!(machine.rows(&drawn, 5..5).expect("no rows").dim(), (0, 7));
}

#[test]
fn normal_inputs_without_a_device_are_not_run_with_a_reason() {
    let normal = KNOWN.iter().find(|known| known.recipe == Recipe::Normal).expect("there is one");
    let (_, drawn) = normal.draw().expect("within the limits")[0];
    let error = Machine::cpu(1).digest(&drawn, Scope::Prefix).expect_err("needs a device");
    assert!(matches!(error, Error::NotRun { recipe: Recipe::Normal, .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        "torch-device-normal was not run: opening a device failed (a recipe that needs a CUDA device): \
         only the CPU was to be used"
    );
}

#[test]
fn doctor_draws_published_inputs_again() {
    let bench = Workbench::new(&[]);
    let ran = bench.verify(&["doctor", "--published"]);
    println!("{}", ran.stdout);
    let with_device = Device::open(0).is_ok();
    let want = if with_device { VERIFIED } else { NOT_VERIFIED };
    assert_eq!((ran.code, ran.stderr.as_str()), (i32::from(want), ""), "{}", ran.stdout);
    for digest in UNIFORM.iter().flatten() {
        let line = ran.stdout.lines().find(|line| line.contains(&digest[..16]));
        let line = line.unwrap_or_else(|| panic!("{digest} in {}", ran.stdout));
        assert!(line.contains("  prefix-match  "), "{line}");
        assert!(line.contains(" %  no") && line.contains(&digest[..8]), "{line}");
    }
    if !with_device {
        assert!(ran.stdout.contains("6 prefix-match, 1 not-run"), "{}", ran.stdout);
        assert!(ran.stdout.contains("torch-device-normal was not run: "), "{}", ran.stdout);
    }
    let ran = bench.verify(&["doctor", "--published", "--format", "json"]);
    assert_eq!(ran.code, i32::from(want), "{ran:?}");
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let first = &json["tensors"][0];
    assert_eq!(first["outcome"], "prefix-match", "{json}");
    assert_eq!(
        first["compared"],
        serde_json::json!({
            "scope": "prefix", "share": 0.01, "pruned": false, "digits": 8, "matches": true,
            "got": UNIFORM[0][0],
        }),
        "{json}"
    );
    let last = &json["tensors"][6];
    assert_eq!(last["outcome"], if with_device { "prefix-match" } else { "not-run" }, "{json}");
}
