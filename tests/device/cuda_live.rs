//! Our kernels beside a library's product of the live rows or experts, launched without the library: rows go to their
//! places in Y, and a group of experts is readied. Every byte is compared, those between rows and around Y too. Tools that
//! follow each access can run these tests; with the library they fail in it, or do not see the bytes that it wrote.

use std::sync::Arc;

use contract::dtype::Dtype;
use ndarray::Array2;
use sparse_verify::backend::cuda::{
    Buffer, Device, DeviceMatrix, ExpertAddresses, Layout, Scatter,
};

use crate::device;

const DTYPES: [Dtype; 3] = [Dtype::F32, Dtype::Bf16, Dtype::F16];

/// Bytes before and after Y: parts of a buffer start at multiples of it.
const AROUND: usize = 256;
/// Every byte of Y and around it, before a launch.
const UNTOUCHED: u8 = 0xff;

/// A Y in the middle of a larger buffer, of which every byte is [`UNTOUCHED`].
fn y_inside(
    device: &Arc<Device>,
    shape: (usize, usize),
    dtype: Dtype,
) -> (Arc<Buffer>, DeviceMatrix) {
    let bytes = DeviceMatrix::bytes(Layout::RowMajor, shape, dtype);
    let mut whole = Buffer::new(device, bytes + 2 * AROUND, "Y and around").expect("it fits");
    whole.fill(UNTOUCHED).expect("filled");
    let whole = Arc::new(whole);
    let y = DeviceMatrix::in_buffer(whole.part(AROUND, bytes), Layout::RowMajor, shape, dtype);
    (whole, y)
}

/// Where the first byte differs from [`UNTOUCHED`] around Y and from `want` in it; bytes before Y count as below zero.
fn first_wrong(whole: &Buffer, want: &[u8]) -> Option<isize> {
    let mut got = vec![0u8; whole.bytes()];
    whole.read(&mut got).expect("read");
    let around = [UNTOUCHED; AROUND];
    let want = [&around[..], want, &around].concat();
    assert_eq!(got.len(), want.len(), "all of Y is expected");
    let at = got.iter().zip(&want).position(|(got, want)| got != want)?;
    Some(at as isize - AROUND as isize)
}

/// None, the first, the last, every third, and all of so many.
fn choices(count: usize) -> Vec<Vec<usize>> {
    let mut choices = vec![
        vec![],
        (0..count.min(1)).collect(),
        (count.saturating_sub(1)..count).collect(),
        (1..count).step_by(3).collect(),
        (0..count).collect(),
    ];
    choices.sort();
    choices.dedup();
    choices
}

#[test]
fn rows_are_scattered_without_a_library() {
    let Some(device) = device() else { return };
    // One column, odd ones, rows without and with room behind them, rows longer than a block's threads take at once.
    let shapes =
        [(1, 1), (7, 1), (13, 3), (64, 16), (37, 17), (200, 32), (9, 2051), (0, 5), (5, 0)];
    let mut launched = 0;
    for ((m, n), dtype) in shapes.iter().flat_map(|&shape| DTYPES.map(|dtype| (shape, dtype))) {
        for live in choices(m) {
            let what = format!("{m} x {n} {dtype}, live {live:?}");
            let mut product = DeviceMatrix::new(&device, (live.len(), n), dtype, "product")
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            // No two rows alike, and no byte 0 or untouched; those between rows as well.
            let row_bytes = product.stride * dtype.size();
            let byte = |at: usize| (1 + (at + at / row_bytes * 31) % 251) as u8;
            let bytes: Vec<u8> = (0..live.len() * row_bytes).map(byte).collect();
            product.buffer.write(&bytes).expect("as many bytes as it has");
            let (whole, mut y) = y_inside(&device, (m, n), dtype);
            let scatter =
                Scatter::new(&device, &live, m).unwrap_or_else(|error| panic!("{what}: {error}"));
            scatter.launch(&product, &mut y).unwrap_or_else(|error| panic!("{what}: {error}"));
            let mut want = vec![0; m * row_bytes];
            for (at, &row) in live.iter().enumerate() {
                want[row * row_bytes..][..row_bytes]
                    .copy_from_slice(&bytes[at * row_bytes..][..row_bytes]);
            }
            assert_eq!(first_wrong(&whole, &want), None, "{what}: byte, of {row_bytes} a row");
            launched += 1;
        }
    }
    println!("{launched} products scattered");
}

#[test]
fn experts_are_readied_without_a_library() {
    let Some(device) = device() else { return };
    // Experts of less than a block's threads zero at once, of one block, of some, and of as many as there are for one.
    let stacks = [(1, 1, 1), (4, 32, 16), (5, 7, 17), (16, 3, 33), (6, 64, 300), (3, 512, 1100)];
    let mut launched = 0;
    for ((experts, rows, n), dtype) in
        stacks.iter().flat_map(|&stack| DTYPES.map(|dtype| (stack, dtype)))
    {
        let (m, k) = (experts * rows, 5);
        let upload = |rows, cols| {
            let ones = Array2::ones((rows, cols));
            DeviceMatrix::upload(&device, ones.view(), dtype, "A or V").expect("it fits")
        };
        for live in choices(experts) {
            let what = format!("{experts} experts of {rows} rows, {n} {dtype}, live {live:?}");
            let (a, v) = (upload(live.len() * rows, k), upload(k, n));
            let ready = ExpertAddresses::new(&device, &a, (experts, rows), &live)
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            // The second launch has another V and another Y.
            let (vs, ys) = ([v, upload(k, n)], [(); 2].map(|()| y_inside(&device, (m, n), dtype)));
            for (v, (whole, mut y)) in vs.iter().zip(ys) {
                ready.launch(v, &mut y).unwrap_or_else(|error| panic!("{what}: {error}"));
                let expert_bytes = rows * y.stride * dtype.size();
                // Rows of live experts are the library's to write.
                let mut want = vec![0; experts * expert_bytes];
                for &expert in &live {
                    want[expert * expert_bytes..][..expert_bytes].fill(UNTOUCHED);
                }
                let wrong = first_wrong(&whole, &want);
                assert_eq!(wrong, None, "{what}: byte, of {expert_bytes} an expert");
                let of_a = |at: usize| a.pointer() + (at * rows * a.stride * dtype.size()) as u64;
                let of_y = |&expert: &usize| y.pointer() + (expert * expert_bytes) as u64;
                let mut want = vec![v.pointer(); live.len()];
                want.extend((0..live.len()).map(of_a));
                want.extend(live.iter().map(of_y));
                let mut got = vec![0; want.len()];
                ready.addresses().read(&mut got).expect("three a live expert");
                assert_eq!(got, want, "{what}: addresses of V, A, Y");
                launched += 1;
            }
        }
    }
    println!("{launched} groups readied");
}
