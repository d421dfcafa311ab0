//! V's and Y's of timed calls on a device, from the judge's side: the process that owns them draws, keeps and reads them.

use std::sync::Arc;

use ndarray::{Array2, ArrayView2};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use record::device::State;

use super::lane::block_shape;
use super::platform::{Called, Part, WROTE};
use super::workers::SharedA;
use crate::backend::cuda::CALLS_MAX;
use crate::backend::shared::{BESIDE, SharedInput, SharedOutputs};
use crate::operator::Error;
use crate::worker::message::{Block, DeviceReply, DeviceRequest, Drawing, Form, Handles};
use crate::worker::{MESSAGE_MAX, Place, RemoteDevice, bytes_of_slots};

/// Bytes of device memory that V's and Y's of a case take, at most, unless two slots take more.
const SLOT_BYTES_MAX: usize = 4 << 30;
/// V's of the ring, which are used again and again, at most.
const RING_MAX: usize = 8;
/// Numbers of slots, rows or columns that are put into a message, at most: each has ten digits and a comma.
pub const NUMBERS_MAX: usize = MESSAGE_MAX / 16;
/// So many numbers more take as much of a message as what stands around a block's rows and columns.
const NUMBERS_AROUND: usize = 4;
/// Room is made for so many elements of blocks at most, unless one block has more.
const GATHERED_MAX: usize = 4 << 20;

/// Numbers of V's, each with a Y: fresh ones, which a sample's calls have, and a ring that is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceSlots {
    pub fresh: usize,
    pub ring: usize,
    /// Of device memory.
    pub bytes: usize,
}

impl DeviceSlots {
    /// For timed calls of a case of shape m, k, n on a device with so much memory.
    pub fn of(shape: [usize; 3], memory_bytes: u64) -> DeviceSlots {
        let one = bytes_of_slots(shape, 1).max(1);
        let most = SLOT_BYTES_MAX.min(usize::try_from(memory_bytes / 8).unwrap_or(usize::MAX));
        let all = (most / one).clamp(2, CALLS_MAX + RING_MAX);
        let ring = (all / 4).clamp(1, RING_MAX);
        DeviceSlots { fresh: all - ring, ring, bytes: bytes_of_slots(shape, all) }
    }

    /// For single calls that nobody times, of A (m x k) and V's of n columns.
    pub fn least((m, k): (usize, usize), n: usize) -> DeviceSlots {
        DeviceSlots { fresh: 1, ring: 1, bytes: bytes_of_slots([m, k, n], 2) }
    }

    /// The most calls that a sample can have.
    pub fn calls_max(self) -> usize {
        self.fresh.min(CALLS_MAX)
    }
}

pub(super) fn words(error: Error) -> String {
    error.to_string()
}

/// The slots of one case, in the memory of a device's custodian.
pub struct Kept<'a> {
    pub device: &'a RemoteDevice,
    pub shape: [usize; 3],
    pub slots: DeviceSlots,
    /// What another process opens the slots by.
    pub handles: Handles,
    /// For one V that is not drawn on the device.
    v: SharedInput,
    /// The number of what lies there, if it has one.
    lying: Option<u64>,
    y: SharedOutputs,
    /// Elements of `y`.
    y_len: usize,
    /// The number of the next V.
    next: u64,
    /// What lies in each slot of the ring.
    in_ring: Vec<Option<Form>>,
    /// The first number of the fresh V's of now.
    pub first: u64,
    /// Whether the V's and the bands of the last sample are as they were; `None` before anybody looked.
    inspected: Option<Result<(), String>>,
    /// Fresh calls of the last sample.
    calls: usize,
    random: ChaCha8Rng,
}

impl<'a> Kept<'a> {
    /// Takes memory for A (m x k) and V's of n columns, drawn from `drawing`. The order of the ring and the bits of the
    /// bands follow from `secret`.
    pub fn new(
        device: &'a RemoteDevice,
        a: &SharedA,
        n: usize,
        slots: DeviceSlots,
        drawing: Drawing,
        secret: u64,
    ) -> Result<Kept<'a>, String> {
        let (m, k) = a.shape();
        let shape = [m, k, n];
        let v = SharedInput::new(k * n).map_err(words)?;
        // Room for a whole output, and for the blocks of a sample.
        let (rows, columns) = block_shape((m, n));
        let block_len = columns * (rows + k);
        let blocks_len = GATHERED_MAX.min(slots.calls_max() * block_len);
        let y_len = (m * n).max(block_len).max(blocks_len);
        let y = SharedOutputs::new(1, y_len, secret as u32).map_err(words)?;
        let request = DeviceRequest::Load {
            shape,
            slots: slots.fresh + slots.ring,
            y_len,
            guard: (secret >> 32) as u32,
            drawing,
            stack: a.stack().cloned(),
        };
        let files = [a.file(), v.file(), y.file()];
        let handles = match device.ask(Place::Custodian, request, &files).map_err(words)? {
            DeviceReply::Loaded(handles) => handles,
            other => return device.misled(Place::Custodian, &other).map_err(words),
        };
        Ok(Kept {
            device,
            shape,
            slots,
            handles,
            v,
            lying: None,
            y,
            y_len,
            // Those of the ring come first.
            next: slots.ring as u64,
            in_ring: vec![None; slots.ring],
            first: 0,
            inspected: None,
            calls: 0,
            random: ChaCha8Rng::seed_from_u64(secret),
        })
    }

    pub fn order(&self, request: DeviceRequest) -> Result<(), String> {
        self.device.order(Place::Custodian, request, &[]).map_err(words)
    }

    /// Uses every kernel once that calls of this form need, and as much memory, and begins again with the numbers of V's, as a
    /// new one does.
    pub fn warm_up(&mut self, form: Form) -> Result<(), String> {
        // A V that no call has.
        self.next = 1 << 20;
        self.prepare(form, 1)?;
        self.inspect(form, &|_| false)?;
        let [m, _, n] = self.shape;
        let (rows, columns) = block_shape((m, n));
        let [rows, columns] = [rows, columns].map(|count| (0..count as u32).collect());
        self.gather(form, &vec![Block { slot: 0, rows, columns }; self.slots.calls_max()])?;
        self.ring(form, 1)?;
        self.next = self.slots.ring as u64;
        Ok(())
    }

    /// Clocks, power and temperature of the device now.
    pub fn state(&self) -> Result<Option<State>, String> {
        match self.device.ask(Place::Custodian, DeviceRequest::State, &[]) {
            Ok(DeviceReply::State(state)) => Ok(state),
            Ok(other) => self.device.misled(Place::Custodian, &other).map_err(words),
            Err(error) => Err(words(error)),
        }
    }

    /// So many slots of the ring, in an order that nobody could know, with V's as a contender wants them.
    pub fn ring(&mut self, form: Form, calls: usize) -> Result<Vec<u32>, String> {
        let DeviceSlots { fresh, ring, .. } = self.slots;
        let chosen: Vec<usize> =
            (0..calls).map(|_| self.random.next_u64() as usize % ring).collect();
        for &at in &chosen {
            // Contenders that want the same V find it there.
            let is_there = self.in_ring[at]
                .is_some_and(|there| (there.input, there.layout) == (form.input, form.layout));
            if !is_there {
                let (slots, first) = (vec![(fresh + at) as u32], at as u64);
                self.order(DeviceRequest::Draw { form, slots, first })?;
                self.in_ring[at] = Some(form);
            }
        }
        Ok(chosen.into_iter().map(|at| (fresh + at) as u32).collect())
    }

    /// Draws a V of its own for each of the next calls, and poisons their Y's.
    pub fn prepare(&mut self, form: Form, calls: usize) -> Result<(), String> {
        let slots: Vec<u32> = (0..calls as u32).collect();
        (self.first, self.calls, self.inspected) = (self.next, calls, None);
        self.next += calls as u64;
        self.order(DeviceRequest::Draw { form, slots, first: self.first })
    }

    /// Gives a slot this V, and poisons its Y. Who gives the same V again says so by its number.
    pub fn put(
        &mut self,
        form: Form,
        slot: u32,
        v: ArrayView2<'_, f32>,
        number: Option<u64>,
    ) -> Result<(), String> {
        if number.is_none() || number != self.lying {
            self.v.write(0, v);
            self.lying = number;
        }
        self.order(DeviceRequest::Put { form, slot, number })
    }

    /// The first rows of a slot's Y.
    pub fn whole(&self, form: Form, slot: u32, rows: usize) -> Result<Array2<f32>, String> {
        let [_, _, n] = self.shape;
        self.y.poison_front(0, rows * n);
        self.order(DeviceRequest::Whole { form, slot, rows })?;
        self.y.read(0, (rows, n)).map_err(words)
    }

    /// Parts of calls, in order: `whole` reads a whole one, and the blocks of all calls are gathered at once. `row_of` says where
    /// a row of Y lies (`u32::MAX`: it is one of zeros).
    pub fn outputs(
        &self,
        form: Form,
        parts: &[(usize, Part)],
        row_of: impl Fn(usize) -> u32,
        whole: impl FnMut(usize) -> Result<Called, String>,
    ) -> Vec<Result<Called, String>> {
        put_together(parts, row_of, |blocks| self.gather(form, blocks), whole)
    }

    fn gather(&self, form: Form, blocks: &[Block]) -> Result<Vec<Gathered>, String> {
        let [_, k, _] = self.shape;
        gathered(blocks, k, (&self.y, self.y_len), |blocks| {
            self.order(DeviceRequest::Gather { form, blocks: blocks.to_vec() })
        })
    }

    /// An error unless the V's of the last sample's calls are what was drawn, but for those of the numbers in `given`, and
    /// nothing was written beside their Y's.
    pub fn inspect(&mut self, form: Form, given: &dyn Fn(u64) -> bool) -> Result<(), String> {
        if let Some(known) = &self.inspected {
            return known.clone();
        }
        let mut found = Ok(());
        // Runs of slots whose V's were drawn.
        let mut run: Vec<u32> = Vec::new();
        for slot in 0..=self.calls as u32 {
            if slot < self.calls as u32 && !given(self.first + u64::from(slot)) {
                run.push(slot);
                continue;
            }
            let slots = std::mem::take(&mut run);
            let Some(&begin) = slots.first() else { continue };
            let first = self.first + u64::from(begin);
            let request = DeviceRequest::Inspect { form, slots, first };
            let answer = self.device.ask(Place::Custodian, request, &[]).map_err(words)?;
            found = found.and(match answer {
                DeviceReply::Inspected { differing: 0, beside: false } => Ok(()),
                DeviceReply::Inspected { beside: true, .. } => Err(BESIDE.to_owned()),
                DeviceReply::Inspected { differing, .. } => {
                    Err(format!("{WROTE}: {differing} elements of V are others"))
                }
                other => self.device.misled(Place::Custodian, &other).map_err(words),
            });
        }
        self.inspected = Some(found.clone());
        found
    }
}

/// Elements of a block of Y, and its columns of V.
pub type Gathered = [Array2<f32>; 2];

/// Parts of calls, in order: blocks as `gather` gives them, which is asked once for all of them.
pub fn put_together(
    parts: &[(usize, Part)],
    row_of: impl Fn(usize) -> u32,
    gather: impl FnOnce(&[Block]) -> Result<Vec<Gathered>, String>,
    mut whole: impl FnMut(usize) -> Result<Called, String>,
) -> Vec<Result<Called, String>> {
    let block = |(call, part): &(usize, Part)| match part {
        Part::Whole => None,
        Part::Block { rows, columns } => Some(Block {
            slot: *call as u32,
            rows: rows.iter().map(|&row| row_of(row)).collect(),
            columns: columns.iter().map(|&column| column as u32).collect(),
        }),
    };
    let blocks: Vec<Block> = parts.iter().filter_map(block).collect();
    let mut gathered = gather(&blocks).map(Vec::into_iter);
    let mut output = |(call, part): &(usize, Part)| {
        if *part == Part::Whole {
            return whole(*call);
        }
        let gathered = gathered.as_mut().map_err(|why| why.clone())?;
        let [y, v] = gathered.next().unwrap_or_else(|| unreachable!("one for each block"));
        Ok(Called { part: part.clone(), v, y: Arc::new(y) })
    };
    parts.iter().map(&mut output).collect()
}

/// Elements of blocks of Y's and of V's of k rows, in order. `ask` has those of as many as there is room for written to `y`, of so
/// many elements, one block behind the other.
pub fn gathered(
    blocks: &[Block],
    k: usize,
    (y, y_len): (&SharedOutputs, usize),
    mut ask: impl FnMut(&[Block]) -> Result<(), String>,
) -> Result<Vec<Gathered>, String> {
    let mut all = Vec::with_capacity(blocks.len());
    let mut left = blocks;
    while !left.is_empty() {
        let (now, later) = left.split_at(fitting(left, k, y_len));
        left = later;
        y.poison_front(0, now.iter().map(|block| block.len(k)).sum());
        ask(now)?;
        let mut at = 0;
        for Block { rows, columns, .. } in now {
            all.push([rows.len(), k].map(|rows| {
                let mut elements = Array2::zeros((rows, columns.len()));
                let range = at..at + elements.len();
                at = range.end;
                y.copy(0, range, elements.as_slice_mut().unwrap_or_default());
                elements
            }));
        }
    }
    Ok(all)
}

/// How many of the first blocks one request can have: one at least.
fn fitting(blocks: &[Block], k: usize, y_len: usize) -> usize {
    let (mut elements, mut numbers) = (0, 0);
    let fits = |block: &&Block| {
        elements += block.len(k);
        numbers += block.rows.len() + block.columns.len() + NUMBERS_AROUND;
        elements <= y_len && numbers <= NUMBERS_MAX
    };
    blocks.iter().take_while(fits).count().max(1)
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        // One that is gone has nothing loaded.
        let _ = self.order(DeviceRequest::Unload);
    }
}
