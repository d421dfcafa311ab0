//! Inputs that a device draws are the host's, bit for bit, in every form; elements are gathered from where they are; a
//! changed element is seen.
//!
//! Without a device the test says `not run` and why.

use std::sync::Arc;

use contract::dtype::Dtype;
use contract::inputs::Stream;
use contract::inputs::spec::Values;
use contract::inputs::synthetic::fill;
use ndarray::Array2;
use sparse_verify::backend::cuda::{
    Buffer, Crossing, DeviceMatrix, Drawing, Layout, counter, gather,
};

use crate::device;

/// Of an odd shape, so that neither rows nor blocks of the stream are full.
const SHAPE: (usize, usize) = (37, 53);
/// So that the stream's first word stands in the middle of a block.
const NUMBER: u64 = 3;

#[test]
fn a_device_draws_what_the_host_draws() {
    let Some(device) = device() else { return };
    let stream = |dtype| Stream::new(5, "V.timed", &[SHAPE.0, SHAPE.1], dtype, Some("nonce"));
    let all = [Dtype::F32, Dtype::Bf16, Dtype::F16];
    let forms = all.into_iter().flat_map(|dtype| [(dtype, dtype), (dtype, Dtype::F32)]);
    for (dtype, stored) in forms {
        let key = stream(dtype).key();
        let key = std::array::from_fn(|i| {
            u32::from_le_bytes(std::array::from_fn(|byte| key[4 * i + byte]))
        });
        for values in Values::ALL {
            let mut want = Array2::zeros(SHAPE);
            let first = NUMBER * (SHAPE.0 * SHAPE.1) as u64;
            fill(values, &stream(dtype), dtype, first, want.as_slice_mut().expect("row-major"));
            let drawing = Drawing { key, values, dtype };
            for layout in [Layout::RowMajor, Layout::ColumnMajor] {
                let what = format!("{values:?} of {dtype} held as {stored}, {layout:?}");
                let mut v = DeviceMatrix::new_in(layout, &device, SHAPE, stored, "V").unwrap();
                v.poison().unwrap();
                v.draw(&drawing, NUMBER).unwrap();
                let bits = |x: &Array2<f32>| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&v.read().unwrap()), bits(&want), "{what}");

                // Of two matrices of other types, at once: elements, none, and whole columns.
                let other = Array2::from_shape_fn((3, 5), |(i, j)| (5 * i + j) as f32 + 0.5);
                let there = DeviceMatrix::upload(&device, other.view(), Dtype::F32, "").unwrap();
                let (rows, columns) = ([36u32, 0, u32::MAX, 5], [52u32, 7]);
                let crossings = [
                    Crossing { matrix: &v, rows: Some(&rows), columns: &columns },
                    Crossing { matrix: &v, rows: Some(&rows), columns: &[] },
                    Crossing { matrix: &there, rows: Some(&[2, u32::MAX]), columns: &[4, 0, 1] },
                    Crossing { matrix: &v, rows: None, columns: &columns[1..] },
                    Crossing { matrix: &there, rows: None, columns: &[3] },
                ];
                let at = |row: u32, column: u32| match row {
                    u32::MAX => 0.0,
                    row => want[(row as usize, column as usize)],
                };
                let all = rows.iter().flat_map(|&row| columns.map(|column| at(row, column)));
                let all = all.chain([14.5, 10.5, 11.5, 0.0, 0.0, 0.0]);
                let all = all.chain((0..37).map(|row| at(row, 7))).chain([3.5, 8.5, 13.5]);
                let all: Vec<u32> = all.map(f32::to_bits).collect();
                let mut out = vec![f32::NAN; 8 + 6 + 37 + 3];
                gather(&device, &crossings, &mut out).unwrap();
                let out: Vec<u32> = out.into_iter().map(f32::to_bits).collect();
                assert_eq!(out, all, "{what}");

                let differing = |v: &DeviceMatrix, number| {
                    let (count, mut found) = (counter(&device).unwrap(), [0u32]);
                    v.count_differing(&drawing, number, &count).unwrap();
                    count.read(&mut found).unwrap();
                    found[0]
                };
                assert_eq!(differing(&v, NUMBER), 0, "{what}");
                // Another tensor of the stream, and one element that is another.
                assert!(differing(&v, NUMBER + 1) > 500, "{what}");
                let mut changed = want.clone();
                changed[[36, 52]] = 0.25;
                v.write(changed.view()).unwrap();
                assert_eq!(differing(&v, NUMBER), 1, "{what}");
            }
        }
    }
}

#[test]
fn a_part_of_a_buffer_is_where_it_is_said_to_be() {
    let Some(device) = device() else { return };
    let whole = Arc::new(Buffer::to_share(&device, 3 << 20, "a test").unwrap());
    whole.part(1 << 20, 512).write(&[7u32; 128]).unwrap();
    let mut bytes = [0u8; 1024];
    whole.read_from((1 << 20) - 256, &mut bytes).unwrap();
    assert_eq!((bytes[255], bytes[256], bytes[257], bytes[768]), (0xff, 7, 0, 0xff));
    let (one, other) = (whole.handle().unwrap(), whole.handle().unwrap());
    assert_eq!(one, other);
    // A process cannot open its own.
    assert!(Buffer::open(&device, one, 3 << 20).is_err());
}
