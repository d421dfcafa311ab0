//! Elements of a sample's calls as they come from a custodian that is played here, in memory that is shared with it.

use std::cell::RefCell;
use std::sync::Arc;

use contract::dtype::Dtype;
use ndarray::Array2;
use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::kept::{NUMBERS_MAX, gathered, put_together};
use super::{Called, Part, block};
use crate::backend::shared::{MappedOutputs, SharedOutputs};
use crate::worker::MESSAGE_MAX;
use crate::worker::message::{Block, DeviceRequest, Form, Request};

/// An element of the Y, or of the V, of a call: another one at each place of each of them.
fn element(is_v: bool, call: usize, (i, j): (usize, usize)) -> f32 {
    ((call * 2 + usize::from(is_v)) * 4096 + i * 64 + j) as f32
}

/// The first rows of a Y are dead, and the others lie without them.
const DEAD: usize = 2;

fn row_of(row: usize) -> u32 {
    row.checked_sub(DEAD).map_or(u32::MAX, |at| at as u32)
}

/// What a custodian has there for blocks.
fn custodian(blocks: &[Block], k: usize, out: &mut [f32]) {
    let mut out = out.iter_mut();
    let mut put = |x| *out.next().expect("room for all") = x;
    for Block { slot, rows, columns } in blocks {
        let call = *slot as usize;
        for (&row, &column) in rows.iter().flat_map(|row| columns.iter().map(move |at| (row, at))) {
            let at = (row as usize + DEAD, column as usize);
            put(if row == u32::MAX { 0.0 } else { element(false, call, at) });
        }
        for (row, &column) in (0..k).flat_map(|row| columns.iter().map(move |at| (row, at))) {
            put(element(true, call, (row, column as usize)));
        }
    }
}

/// The outputs of `parts`, and the blocks of each request for them.
fn outputs(
    parts: &[(usize, Part)],
    k: usize,
    y_len: usize,
) -> (Vec<Result<Called, String>>, Vec<Vec<Block>>) {
    let y = SharedOutputs::new(1, y_len, 7).expect("memory");
    let file = y.file().try_clone_to_owned().expect("a file");
    let there = RefCell::new(MappedOutputs::new(file, 1, y_len, Dtype::F32).expect("it is mapped"));
    let asked = RefCell::new(Vec::new());
    let ask = |blocks: &[Block]| {
        asked.borrow_mut().push(blocks.to_vec());
        custodian(blocks, k, there.borrow_mut().get_mut(0));
        Ok(())
    };
    let whole = |call: usize| {
        let y = Arc::new(Array2::from_elem((1, 1), call as f32));
        Ok(Called { part: Part::Whole, v: Array2::zeros((0, 0)), y })
    };
    let gather = |blocks: &[Block]| gathered(blocks, k, (&y, y_len), ask);
    let found = put_together(parts, row_of, gather, whole);
    (found, asked.into_inner())
}

/// Blocks of calls, the `whole` one but for that.
fn parts_of(calls: usize, whole: Option<usize>, shape: (usize, usize)) -> Vec<(usize, Part)> {
    let mut random = ChaCha8Rng::seed_from_u64(11);
    let mut part = |call| match whole == Some(call) {
        true => Part::Whole,
        false => block(shape, &mut random),
    };
    (0..calls).map(|call| (call, part(call))).collect()
}

/// Each output must be of its call, and each element of its place.
fn assert_in_place(parts: &[(usize, Part)], found: Vec<Result<Called, String>>, k: usize) {
    assert_eq!(parts.len(), found.len());
    for ((call, part), called) in parts.iter().zip(found) {
        let called = called.expect("it was read");
        assert_eq!(called.part, *part);
        let Part::Block { rows, columns } = part else {
            assert_eq!(called.y[[0, 0]], *call as f32);
            continue;
        };
        let y = Array2::from_shape_fn((rows.len(), columns.len()), |(i, j)| match rows[i] {
            ..DEAD => 0.0,
            row => element(false, *call, (row, columns[j])),
        });
        let v = |(i, j): (usize, usize)| element(true, *call, (i, columns[j]));
        assert_eq!(*called.y, y, "call {call}");
        assert_eq!(called.v, Array2::from_shape_fn((k, columns.len()), v), "call {call}");
    }
}

#[test]
fn a_sample_of_several_calls_is_asked_for_once() {
    let (k, calls) = (33, 24);
    let parts = parts_of(calls, Some(5), (40, 50));
    let (found, asked) = outputs(&parts, k, calls * 16 * (16 + k));
    assert_in_place(&parts, found, k);
    assert_eq!(asked.len(), 1);
    let slots: Vec<u32> = asked[0].iter().map(|block| block.slot).collect();
    assert_eq!(slots, (0..24).filter(|&call| call != 5).collect::<Vec<_>>());
}

#[test]
fn where_there_is_no_room_for_all_each_request_has_as_many_as_fit() {
    let (k, calls, one) = (33, 24, 16 * (16 + 33));
    for (y_len, want) in [(one, vec![1; 24]), (7 * one + one - 1, vec![7, 7, 7, 3])] {
        let parts = parts_of(calls, None, (40, 50));
        let (found, asked) = outputs(&parts, k, y_len);
        assert_in_place(&parts, found, k);
        assert_eq!(asked.iter().map(Vec::len).collect::<Vec<_>>(), want);
    }
}

#[test]
fn a_failure_is_that_of_every_block_and_of_no_whole_output() {
    let parts = parts_of(4, Some(2), (40, 50));
    let gather = |_: &[Block]| Err("the device is gone".to_owned());
    let whole = |_| Err("a whole one".to_owned());
    let found = put_together(&parts, row_of, gather, whole);
    let found: Vec<String> = found.into_iter().filter_map(Result::err).collect();
    let gone = "the device is gone";
    assert_eq!(found, [gone, gone, "a whole one", gone]);
}

proptest! {
    /// Blocks of any Y, also of few rows and many columns: elements in place, and requests that are messages.
    #[test]
    fn blocks_of_any_shape_come_in_messages(
        (m, n) in (1usize..70, 1usize..300),
        k in 0usize..9,
        calls in 1usize..=100,
    ) {
        let parts = parts_of(calls, None, (m, n));
        let (_, asked) = outputs(&parts, k, 1 << 20);
        let form = Form {
            input: Dtype::Bf16,
            output: Dtype::Bf16,
            layout: crate::backend::cuda::Layout::ColumnMajor,
            live_rows_only: true,
        };
        prop_assert_eq!(asked.iter().map(Vec::len).sum::<usize>(), calls);
        for mut blocks in asked {
            // The longest numbers that there are.
            for Block { slot, rows, columns } in &mut blocks {
                *slot = u32::MAX;
                rows.iter_mut().chain(columns).for_each(|at| *at = u32::MAX);
            }
            let request = Request::Device(DeviceRequest::Gather { form, blocks });
            prop_assert!(serde_json::to_vec(&request).unwrap().len() <= MESSAGE_MAX);
        }
    }
}

#[test]
fn numbers_of_slots_fit_into_a_message() {
    let slots = vec![u32::MAX; NUMBERS_MAX];
    let request = Request::Device(DeviceRequest::Run { name: "x".repeat(256), slots });
    assert!(serde_json::to_vec(&request).unwrap().len() <= MESSAGE_MAX);
}

#[test]
fn lengths_that_cannot_be_counted_are_too_long() {
    let block = |rows, columns| Block { slot: 0, rows: vec![0; rows], columns: vec![0; columns] };
    assert_eq!(block(3, 5).len(7), 5 * (3 + 7));
    assert_eq!(block(0, 0).len(usize::MAX), 0);
    assert_eq!(block(1, 2).len(usize::MAX), usize::MAX);
}
