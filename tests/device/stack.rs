//! A stack in one launch on a CUDA device has the bits of its layers one after the other on the host, and another input gives
//! another end; libraries come near.

use std::io::Write as _;
use std::sync::Arc;

use contract::arithmetic::tensor_core::Format;
use contract::arithmetic::{Architecture, Arithmetic, Slices, TensorCoreModel};
use contract::dtype::Dtype;
use contract::stack::{Feed, Flow, Layer, Stack};
use contract::strategy::Strategy;
use ndarray::{Array2, ArrayView2};
use sparse_verify::backend::cpu::Isa;
use sparse_verify::backend::cuda::{Device, DeviceMatrix};
use sparse_verify::baseline::cuda::{DeadRows, Libraries, device_baselines};
use sparse_verify::operator::{
    DeviceOperator, Operator as _, SkipDevice, SkipOperator, StackOperator, Staged, live_rows,
};

/// Three blocks; feeds of other heights than the V that they make, a V that two layers share, and odd sizes.
fn stack() -> Stack {
    let layer = |m, k, from: &[Feed]| Layer { m, k, from: from.to_vec() };
    let at = Feed::Layer;
    Stack {
        blocks: 3,
        layers: vec![
            layer(70, 130, &[Feed::Input]),
            layer(33, 130, &[Feed::Input]),
            layer(130, 99, &[at(0), at(1)]),
            layer(257, 130, &[Feed::Input, at(2)]),
            layer(257, 130, &[Feed::Input, at(2)]),
            layer(130, 257, &[at(3), at(4)]),
        ],
        next: vec![Feed::Input, at(2), at(5)],
    }
}

fn value(seed: usize, i: usize, j: usize) -> f32 {
    let x = (seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ ((i as u64) << 32 | j as u64).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 30)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let x = x ^ (x >> 31);
    let significand = (x >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
    significand * 2f32.powi((x & 15) as i32 - 8)
}

/// A's of all layers, most rows dead, and an input.
fn inputs(stack: &Stack, n: usize, dtype: Dtype) -> (Vec<Array2<f32>>, Array2<f32>) {
    let a = |(at, layer): (usize, &Layer)| {
        Array2::from_shape_fn((layer.m, layer.k), |(i, j)| {
            let is_live = value(at, i, usize::MAX).abs() > 2f32.powi(-3) || i == 1;
            if is_live { dtype.round(value(at, i, j)) } else { 0.0 }
        })
    };
    let v = Array2::from_shape_fn((stack.width(), n), |(i, j)| dtype.round(value(1000, i, j)));
    (stack.all().enumerate().map(a).collect(), v)
}

fn on_host(
    stack: &Stack,
    all: &[Array2<f32>],
    v: ArrayView2<'_, f32>,
    operator: &SkipOperator,
    dtype: Dtype,
) -> Array2<f32> {
    let mut flow = Flow::new(Arc::new(stack.clone()), v.to_owned(), dtype);
    let mut end = Array2::zeros((0, 0));
    for a in all {
        let v = flow.activations(1).expect("not the end");
        let mut staged = Staged::default();
        operator.stage(v.view(), &mut staged, 1).expect("staged");
        let mut y = Array2::zeros((a.nrows(), v.ncols()));
        let built = operator.build(a.view()).expect("built");
        built.apply(v.view(), &staged, y.view_mut(), 1).expect("applied");
        y.mapv_inplace(|x| x + 0.0);
        end = y.clone();
        flow.push(y, 1);
    }
    end
}

fn launched(
    device: &Arc<Device>,
    of: Arc<dyn DeviceOperator>,
    (stack, all): (&Stack, &[Array2<f32>]),
    inputs: &[ArrayView2<'_, f32>],
    dtype: Dtype,
) -> Vec<Array2<f32>> {
    let operator = StackOperator { of, stack: Arc::new(stack.clone()), dtype };
    let values: Vec<f32> = all.iter().flat_map(|a| a.iter().copied()).collect();
    let a = ArrayView2::from_shape((1, values.len()), &values).expect("a row");
    let (m, n) = (all.last().expect("a layer").nrows(), inputs[0].ncols());
    let built = operator.build(device, a, n).unwrap_or_else(|error| panic!("build: {error}"));
    assert!(built.bytes_held() > 0);
    let launch = |v: &ArrayView2<'_, f32>| {
        let there = operator.upload(device, v.view()).expect("uploaded");
        let mut y = operator.room(device, (m, n)).expect("room");
        y.poison().expect("poisoned");
        built.launch(&there, &mut y).unwrap_or_else(|error| panic!("launch: {error}"));
        end(&y, operator.live_rows_only().then(|| live_rows(all[all.len() - 1].view())))
    };
    inputs.iter().map(launch).collect()
}

fn end(y: &DeviceMatrix, live: Option<Vec<usize>>) -> Array2<f32> {
    let got = y.read().expect("read");
    let mut all = Array2::zeros(got.dim());
    match live {
        None => all.assign(&got),
        Some(live) => (0..).zip(live).for_each(|(at, row)| all.row_mut(row).assign(&got.row(at))),
    }
    all + 0.0
}

#[test]
fn a_stack_in_one_launch_has_the_bits_of_its_layers() {
    let Some(device) = super::device() else { return };
    let stack = stack();
    let mut rules = vec![(Arithmetic::F32Chain(Slices::One), Dtype::F32, Dtype::F32)];
    for format in [Format::Bf16, Format::F16] {
        let own = Architecture::of(device.compute_capability());
        let model = own.and_then(|own| TensorCoreModel::of(own, format));
        for output in [Dtype::F32, format.dtype()] {
            rules
                .extend(model.map(|model| (Arithmetic::TensorCore(model), format.dtype(), output)));
        }
        // Held as binary32 on the device, whatever they are.
        let chain = Arithmetic::F32Chain(Slices::Contiguous { count: 9, len: 32 });
        rules.push((chain, format.dtype(), format.dtype()));
    }
    for (arithmetic, dtype, output) in rules {
        for n in [1, 64, 77] {
            let (all, v) = inputs(&stack, n, dtype);
            let isa = Isa::best();
            let strategy = Strategy::Auto;
            let host = SkipOperator { arithmetic, output, strategy, isa };
            let mut another = v.clone();
            another[[3, 0]] = 1.5;
            let want = [&v, &another].map(|v| on_host(&stack, &all, v.view(), &host, dtype));
            assert_ne!(want[0], want[1]);
            assert!(want[0].iter().any(|&x| x != 0.0) && want[0].iter().all(|x| x.is_finite()));
            let own = SkipDevice::new(arithmetic, dtype, output, strategy, &device);
            let inputs = [v.view(), another.view(), v.view()];
            let ends = launched(&device, Arc::new(own), (&stack, &all), &inputs, dtype);
            let wants = [&want[0], &want[1], &want[0]];
            for (call, (got, want)) in ends.iter().zip(wants).enumerate() {
                let differing =
                    got.iter().zip(want).filter(|(x, y)| x.to_bits() != y.to_bits()).count();
                assert_eq!(
                    differing, 0,
                    "{arithmetic} {dtype} -> {output}, n = {n}, call {call}: elements that differ"
                );
            }
        }
    }
    let _ = writeln!(std::io::stderr(), "stack on {}: bits as on the host", device.info.name);
}

#[test]
fn libraries_come_near_the_end_of_a_stack() {
    let Some(device) = super::device() else { return };
    let stack = stack();
    let (dtype, arithmetic) = (Dtype::F32, Arithmetic::F32Chain(Slices::One));
    let (all, v) = inputs(&stack, 64, dtype);
    let (isa, strategy) = (Isa::best(), Strategy::Auto);
    let host = SkipOperator { arithmetic, output: dtype, strategy, isa };
    let want = on_host(&stack, &all, v.view(), &host, dtype);
    let baselines = device_baselines(
        &mut Libraries::default(),
        &device,
        dtype,
        dtype,
        arithmetic,
        DeadRows::None,
    );
    for name in ["cublas", "compacted-cublas", "cusparse-alg2", "cusparse-alg3"] {
        let baseline = baselines.available.iter().find(|b| b.rival.name == name);
        let Some(baseline) = baseline else {
            let _ = writeln!(std::io::stderr(), "not run: {name}");
            continue;
        };
        let of = baseline.operator.clone();
        let got = &launched(&device, of, (&stack, &all), &[v.view()], dtype)[0];
        let near = |j: &usize| {
            let norm = |x: Array2<f32>| x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
            let column = |y: &Array2<f32>| y.column(*j).insert_axis(ndarray::Axis(1)).to_owned();
            norm(column(got) - column(&want)) <= norm(column(&want)) / 1000.0
        };
        let count = (0..64).filter(near).count();
        let _ = writeln!(std::io::stderr(), "{name}: {count} of 64 columns within 1/1000");
        assert!(count >= 48, "{name}: {count} of 64 columns are near");
    }
}
