//! On a CUDA device every kernel returns the bits of the host's operator: odd shapes, patterns, dtypes,
//! strategies; again on the same build, with another V, and from a captured graph.

use std::io::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use contract::arithmetic::tensor_core::{Architecture, Format};
use contract::arithmetic::{Arithmetic, Slices, TensorCoreModel};
use contract::dtype::Dtype;
use contract::strategy::Strategy;
use ndarray::Array2;
use sparse_verify::backend::cpu::Isa;
use sparse_verify::backend::cuda::{
    Device, DeviceMatrix, FixedKernel, FixedPointA, Graph, Selection, compiler_version,
    tensor_cores,
};
use sparse_verify::operator::{DeviceOperator, Operator, SkipDevice, SkipOperator, Staged};

/// m, k, n: below a group, a tile and a vector; around their borders; one column; nothing at all.
const SMALL: [(usize, usize, usize); 12] = [
    (1, 1, 1),
    (1, 8, 1),
    (3, 17, 5),
    (64, 64, 64),
    (129, 90, 77),
    (256, 64, 256),
    (300, 200, 264),
    (257, 333, 31),
    (700, 1000, 1),
    (0, 5, 3),
    (5, 0, 3),
    (5, 3, 0),
];

/// More tiles than multiprocessors, so that tiles are shared, and long chains.
const LARGE: [(usize, usize, usize); 3] = [(1500, 1000, 520), (9000, 96, 1100), (3000, 700, 1500)];

/// Where A is zero.
type Pattern = (&'static str, fn(usize, usize) -> bool);

const PATTERNS: [Pattern; 7] = [
    ("none", |_, _| false),
    ("rows", |i, _| mix(i as u64) % 10 < 7),
    ("columns", |_, j| mix(j as u64 / 16).is_multiple_of(2)),
    ("blocks", |i, j| !mix((i / 64 * 1009 + j / 16) as u64).is_multiple_of(4)),
    ("uniform", |i, j| mix((i * 65_537 + j) as u64) % 10 < 8),
    ("one element", |i, j| (i, j) != (0, 0)),
    ("everything", |_, _| true),
];

fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Full significands, magnitudes from 2^-6 to 2^2, some zeros, rounded to the dtype.
fn value(seed: u64, i: usize, j: usize, dtype: Dtype) -> f32 {
    let x = mix(seed ^ mix((i << 24 | j) as u64));
    if x.is_multiple_of(13) {
        return 0.0;
    }
    let significand = 1.0 + (x >> 40) as f32 / (1u64 << 24) as f32;
    let magnitude = significand * 2f32.powi((x >> 8 & 7) as i32 - 6);
    dtype.round(if x >> 7 & 1 == 1 { -magnitude } else { magnitude })
}

/// An element of A (seed 1) or V (seed 2).
type Value = fn(u64, usize, usize, Dtype) -> f32;

/// Any exponent of a row of A and a column of V, so that products leave binary32 at both ends; magnitudes over 2^24 in each,
/// largest ones around the border of the largest integer, and columns of zeros in V.
fn wide(seed: u64, i: usize, j: usize, _: Dtype) -> f32 {
    let line = mix(seed * 1000 + if seed == 1 { i } else { j } as u64);
    let x = mix(seed ^ mix((i << 24 | j) as u64));
    if x.is_multiple_of(13) || seed == 2 && line.is_multiple_of(7) {
        return 0.0;
    }
    let significand = match x >> 8 & 7 {
        0 => [0xfe_fefe, 0xfe_feff, 0xff_ffff, 0x80_0000][(line >> 8) as usize % 4],
        _ => 0x80_0000 | (x >> 40) as u32,
    };
    let below = if x >> 8 & 7 == 0 { 0 } else { x >> 16 & 24 };
    // From the subnormal numbers to the largest ones.
    let exponent = (line % 276) as i32 - 149 - below as i32;
    let magnitude = f64::from(significand & 0xff_ffff) * 2f64.powi(exponent - 23);
    (if x >> 7 & 1 == 1 { -magnitude } else { magnitude }) as f32
}

/// The largest integers, or those whose digits are -128.
fn extreme(_: u64, i: usize, j: usize, _: Dtype) -> f32 {
    match (i % 3, j % 3) {
        (0, _) | (_, 0) => 8_355_711.0,
        (1, _) => 8_290_176.0,
        _ => -8_355_711.0,
    }
}

/// One arithmetic on one kind of data.
#[derive(Clone, Copy)]
struct Case {
    value: Value,
    arithmetic: Arithmetic,
    dtype: Dtype,
    output: Dtype,
    shape: (usize, usize, usize),
    pattern: Pattern,
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Case { arithmetic, dtype, output, shape, pattern, .. } = self;
        write!(f, "{arithmetic} {dtype} -> {output}, m k n {shape:?}, dead {}", pattern.0)
    }
}

/// The host's Y, with +0 for every zero.
fn on_host(case: &Case, a: &Array2<f32>, v: &Array2<f32>) -> Array2<f32> {
    let Case { arithmetic, output, .. } = *case;
    let operator = SkipOperator { arithmetic, output, strategy: Strategy::Auto, isa: Isa::best() };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut staged = Staged::default();
    operator.stage(v.view(), &mut staged, threads).expect("the host multiplies");
    let mut y = Array2::from_elem((a.nrows(), v.ncols()), f32::NAN);
    let built = operator.build(a.view()).expect("the host multiplies");
    built.apply(v.view(), &staged, y.view_mut(), threads).expect("the host multiplies");
    y.mapv_into(|x| x + 0.0)
}

/// What differs, if anything does.
fn compare(got: &DeviceMatrix, want: &Array2<f32>) -> Option<String> {
    let got = got.read().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(got.dim(), want.dim());
    let all = got.len();
    let pairs =
        got.indexed_iter().zip(want).filter(|((_, got), want)| got.to_bits() != want.to_bits());
    let differing: Vec<_> = pairs.collect();
    let ((at, got), want) = differing.first()?;
    Some(format!(
        "{} of {} differ, first at {at:?}: {:#010x}, want {:#010x}",
        differing.len(),
        all,
        got.to_bits(),
        want.to_bits()
    ))
}

/// A, V, and the host's Y.
fn inputs(case: &Case) -> [Array2<f32>; 3] {
    let Case { value, dtype, shape: (m, k, n), pattern: (_, is_dead), .. } = *case;
    let a = Array2::from_shape_fn(
        (m, k),
        |(i, j)| {
            if is_dead(i, j) { 0.0 } else { value(1, i, j, dtype) }
        },
    );
    let v = Array2::from_shape_fn((k, n), |(i, j)| value(2, i, j, dtype));
    let want = on_host(case, &a, &v);
    [a, v, want]
}

/// Every strategy on one case: what differed, and how A was held.
fn check(device: &Arc<Device>, case: &Case, strategies: &[Strategy]) -> Vec<String> {
    let Case { arithmetic, dtype, output, shape: (m, _, n), .. } = *case;
    let [a, v, want] = inputs(case);
    // Every rule is symmetric.
    let opposite = want.mapv(|x| if x == 0.0 { 0.0 } else { -x });

    let mut wrong = Vec::new();
    for &strategy in strategies {
        let stop =
            |what: &str, error: String| -> ! { panic!("{case}, {strategy}, {what}: {error}") };
        let operator = SkipDevice::new(arithmetic, dtype, output, strategy, device);
        let built = operator
            .build(device, a.view(), n)
            .unwrap_or_else(|error| stop("build", error.to_string()));
        let upload = |v: &Array2<f32>| {
            DeviceMatrix::upload(device, v.view(), operator.input(), "V")
                .unwrap_or_else(|error| stop("upload", error.to_string()))
        };
        let there = upload(&v);
        let mut y = DeviceMatrix::new(device, (m, n), output, "Y")
            .unwrap_or_else(|error| stop("Y", error.to_string()));
        let plan = built.plan();
        let mut look = |what: &str, y: &DeviceMatrix, want: &Array2<f32>| {
            if let Some(how) = compare(y, want) {
                wrong.push(format!(
                    "{case}, {strategy} as {} ({}), {what}: {how}",
                    plan.strategy, plan.reason
                ));
            }
        };
        let poison = |y: &mut DeviceMatrix| {
            y.poison().unwrap_or_else(|error| stop("poison", error.to_string()));
        };
        for what in ["first launch", "second launch"] {
            poison(&mut y);
            built.launch(&there, &mut y).unwrap_or_else(|error| stop(what, error.to_string()));
            look(what, &y, &want);
        }
        // Another V, at another address.
        let negative = upload(&v.mapv(|x| -x));
        poison(&mut y);
        built
            .launch(&negative, &mut y)
            .unwrap_or_else(|error| stop("another V", error.to_string()));
        look("another V", &y, &opposite);
        if m * n == 0 {
            continue;
        }
        let graph = Graph::capture(device, &mut || {
            built.launch(&there, &mut y).map_err(|error| error.to_string())
        })
        .unwrap_or_else(|error| stop("capture", error));
        for what in ["graph", "graph again"] {
            poison(&mut y);
            graph.launch().unwrap_or_else(|error| stop(what, error.to_string()));
            look(what, &y, &want);
        }
    }
    wrong
}

/// Tests take turns on the device: what one leaves there is not another's.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The first device, or why there is none: past the test's captured output, so that it shows.
fn device() -> Option<Arc<Device>> {
    match compiler_version().and_then(|_| Device::open(0)) {
        Ok(device) => Some(device),
        Err(reason) => {
            let _ = writeln!(std::io::stderr(), "not run: {reason}");
            None
        }
    }
}

/// Runs all cases, and names the first of those that differ.
fn check_all(what: &str, cases: &[Case], strategies: &[Strategy]) {
    let _turn = turn();
    let Some(device) = device() else { return };
    let mut wrong = Vec::new();
    for case in cases {
        wrong.extend(check(&device, case, strategies));
    }
    let outputs = cases.len() * strategies.len();
    let _ = writeln!(
        std::io::stderr(),
        "{what} on {}: {outputs} builds, {} wrong outputs",
        device.info.name,
        wrong.len()
    );
    let shown = wrong.iter().take(30).cloned().collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "{} wrong outputs, of which the first:\n{shown}", wrong.len());
}

/// All shapes and patterns for one arithmetic.
fn cases(
    arithmetic: Arithmetic,
    dtype: Dtype,
    output: Dtype,
    shapes: &[(usize, usize, usize)],
) -> Vec<Case> {
    let patterns =
        |shape| PATTERNS.map(|pattern| Case { value, arithmetic, dtype, output, shape, pattern });
    shapes.iter().flat_map(|&shape| patterns(shape)).collect()
}

const TYPES: [(Dtype, Dtype); 5] = [
    (Dtype::F32, Dtype::F32),
    (Dtype::F32, Dtype::Bf16),
    (Dtype::F32, Dtype::F16),
    (Dtype::Bf16, Dtype::F32),
    (Dtype::Bf16, Dtype::Bf16),
];

#[test]
fn chains_are_the_hosts() {
    let chain = |(dtype, output): (Dtype, Dtype)| {
        cases(Arithmetic::F32Chain(Slices::One), dtype, output, &SMALL)
    };
    let mut all: Vec<Case> = TYPES.into_iter().flat_map(chain).collect();
    all.extend(cases(Arithmetic::F32Chain(Slices::One), Dtype::F32, Dtype::F32, &LARGE));
    check_all("f32-chain", &all, &Strategy::ALL);
}

#[test]
fn slices_are_the_hosts() {
    let mut all = Vec::new();
    for slices in [
        // Enough for the longest k.
        Slices::Contiguous { count: 4, len: 250 },
        Slices::Contiguous { count: 40, len: 25 },
        Slices::Dealt { count: 3, group: 8 },
        Slices::Dealt { count: 8, group: 6 },
    ] {
        all.extend(cases(Arithmetic::F32Chain(slices), Dtype::F32, Dtype::F32, &SMALL));
    }
    check_all("f32-sliced", &all, &Strategy::ALL);
}

/// The rules that the device's own tensor cores follow.
fn own_models(device: &Device) -> Vec<TensorCoreModel> {
    let is_own =
        |model: &TensorCoreModel| tensor_cores(device.compute_capability(), *model).is_some();
    Architecture::ALL
        .into_iter()
        .flat_map(|architecture| {
            [Format::F16, Format::Bf16, Format::Tf32]
                .into_iter()
                .filter_map(move |format| TensorCoreModel::of(architecture, format))
        })
        .filter(is_own)
        .collect()
}

#[test]
fn the_devices_tensor_cores_are_the_hosts_model() {
    let Some(device) = device() else { return };
    let models = own_models(&device);
    if models.is_empty() {
        let _ = writeln!(
            std::io::stderr(),
            "not run: no rule is known for the tensor cores of {}",
            device.info.name
        );
    }
    drop(device);
    for model in models {
        let dtype = model.format.dtype();
        let mut all = Vec::new();
        for output in [Dtype::F32, Dtype::Bf16, Dtype::F16] {
            all.extend(cases(Arithmetic::TensorCore(model), dtype, output, &SMALL));
        }
        all.extend(cases(Arithmetic::TensorCore(model), dtype, Dtype::F32, &LARGE));
        let what = format!("tensor cores, {} {dtype}", model.architecture);
        check_all(&what, &all, &Strategy::ALL);
    }
}

#[test]
fn other_tensor_cores_are_followed_by_integers() {
    let Some(device) = device() else { return };
    let capability = device.compute_capability();
    drop(device);
    let mut all = Vec::new();
    for architecture in Architecture::ALL {
        for format in [Format::F16, Format::Bf16, Format::Tf32] {
            match TensorCoreModel::of(architecture, format) {
                Some(model) if tensor_cores(capability, model).is_none() => {
                    let arithmetic = Arithmetic::TensorCore(model);
                    all.extend(cases(arithmetic, format.dtype(), Dtype::F32, &SMALL[..7]));
                }
                _ => {}
            }
        }
    }
    check_all("other tensor cores", &all, &[Strategy::Auto]);
}

/// With other data.
fn of(value: Value, cases: Vec<Case>) -> impl Iterator<Item = Case> {
    cases.into_iter().map(move |case| Case { value, ..case })
}

/// k of more steps than 32 bits sum, and more than any A may have without a look at its rows.
const LONG: [(usize, usize, usize); 3] = [(130, 50_000, 70), (5, 50_000, 3), (3, 140_001, 20)];

#[test]
fn fixed_points_are_the_hosts() {
    let fixed = |(dtype, output), shapes: &[(usize, usize, usize)]| {
        cases(Arithmetic::FixedPoint, dtype, output, shapes)
    };
    let plain = (Dtype::F32, Dtype::F32);
    let mut all: Vec<Case> = TYPES.into_iter().flat_map(|types| fixed(types, &SMALL)).collect();
    all.extend(fixed(plain, &LARGE));
    for output in [Dtype::F32, Dtype::Bf16, Dtype::F16] {
        all.extend(of(wide, fixed((Dtype::F32, output), &SMALL)));
    }
    all.extend(of(wide, fixed(plain, &LARGE[..1])));
    all.extend(of(extreme, fixed(plain, &LONG[..2])));
    all.extend(of(wide, fixed(plain, &LONG[..1])));
    // Rows of which too little is live to be refused.
    all.extend(fixed(plain, &LONG[2..]).into_iter().filter(|case| case.pattern.0 == "uniform"));
    check_all("fixed-point", &all, &Strategy::ALL);
}

#[test]
fn fixed_points_of_every_kernel_are_the_hosts() {
    let _turn = turn();
    let Some(device) = device() else { return };
    let capability = device.compute_capability();
    // Others than the device's own, which the test above has.
    let kernels: Vec<FixedKernel> = FixedKernel::ALL
        .into_iter()
        .filter(|&kernel| kernel != FixedKernel::of(capability) && kernel.serves(capability))
        .collect();
    let mut all = Vec::new();
    for output in [Dtype::F32, Dtype::Bf16, Dtype::F16] {
        for value in [value as Value, wide, extreme] {
            all.extend(of(value, cases(Arithmetic::FixedPoint, Dtype::F32, output, &SMALL)));
        }
    }
    let plain = |shapes| cases(Arithmetic::FixedPoint, Dtype::F32, Dtype::F32, shapes);
    all.extend(of(extreme, plain(&LONG[..2])));
    all.extend(plain(&LARGE));
    check_fixed(&device, &kernels, &all);
}

/// One small product of each pattern by every kernel that serves the device: what tools that follow each access can run.
#[test]
fn a_small_product_by_every_kernel() {
    const SHAPE: [(usize, usize, usize); 1] = [(131, 171, 37)];
    let of = |arithmetic, dtype| cases(arithmetic, dtype, Dtype::F32, &SHAPE);
    let chain = |slices| of(Arithmetic::F32Chain(slices), Dtype::F32);
    check_all("f32-chain", &chain(Slices::One), &Strategy::ALL);
    let dealt = Slices::Dealt { count: 3, group: 8 };
    check_all("f32-sliced", &chain(dealt)[..2], &[Strategy::Auto]);
    let Some(device) = device() else { return };
    let own = own_models(&device);
    for &model in &own {
        let all = of(Arithmetic::TensorCore(model), model.format.dtype());
        check_all(&format!("tensor cores, {}", model.architecture), &all, &Strategy::ALL);
    }
    let other = Architecture::ALL
        .into_iter()
        .filter_map(|architecture| TensorCoreModel::of(architecture, Format::Bf16))
        .find(|model| !own.contains(model));
    if let Some(model) = other {
        let all = of(Arithmetic::TensorCore(model), model.format.dtype());
        check_all("integers", &all[..2], &[Strategy::Auto]);
    }
    let capability = device.compute_capability();
    let kernels = FixedKernel::ALL.into_iter().filter(|kernel| kernel.serves(capability));
    let _turn = turn();
    check_fixed(&device, &kernels.collect::<Vec<_>>(), &of(Arithmetic::FixedPoint, Dtype::F32));
}

/// Each kernel and selection on each case.
fn check_fixed(device: &Arc<Device>, kernels: &[FixedKernel], all: &[Case]) {
    let mut wrong = Vec::new();
    for case in all {
        let (output, (m, _, n)) = (case.output, case.shape);
        let [a, v, want] = inputs(case);
        let v = DeviceMatrix::upload(device, v.view(), Dtype::F32, "V").expect("it fits");
        let mut y = DeviceMatrix::new(device, (m, n), output, "Y").expect("it fits");
        let selections = Selection::EVERY.map(Some).into_iter().chain([None]);
        for (kernel, selection) in
            kernels.iter().flat_map(|kernel| selections.clone().map(move |s| (*kernel, s)))
        {
            let what = format!("{case}, {kernel:?}, {selection:?}");
            let built = FixedPointA::pack_for(device, kernel, a.view(), n, output, selection)
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            // Where anything is live the kernel is the one that was asked for.
            let description = built.description();
            let is_this = match kernel {
                FixedKernel::Plain => description.contains("64 bits"),
                FixedKernel::MmaK16 => description.contains("mma.sync of 16 k"),
                FixedKernel::Mma => description.contains("mma.sync,"),
                FixedKernel::Wgmma => description.contains("wgmma"),
            };
            let is_live = a.iter().any(|x| *x != 0.0) && n > 0;
            assert!(is_this || !is_live, "{what}: {description}");
            for launch in ["first", "second"] {
                y.poison().expect("a device");
                built.launch(&v, &mut y).unwrap_or_else(|error| panic!("{what}: {error}"));
                let how = compare(&y, &want);
                wrong.extend(how.map(|how| format!("{what}, {launch}: {how}")));
            }
        }
    }
    let shown = wrong.iter().take(30).cloned().collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "{} wrong outputs, of which the first:\n{shown}", wrong.len());
}
