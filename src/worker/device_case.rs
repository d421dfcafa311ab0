//! One case on a CUDA device, in a process that has the device: V's and Y's of calls in slots of its memory, and what was
//! built of A.

use std::collections::HashMap;
use std::sync::Arc;

use contract::dtype::Dtype;
use contract::stack::Stack;
use ndarray::ArrayView2;

use super::message::{Block, Form, Handles, Places, Stacked};
use super::serve::Refusal;
use crate::backend::cuda::{
    Buffer, Crossing, CudaError, Device, DeviceMatrix, Drawing, Handle, Layout, ROW_MULTIPLE,
    Timer, Watch, counter, gather,
};
use crate::operator::{DeviceBuilt, DeviceOperator, Error, StackOperator};

/// Bytes of a band beside a Y.
const BAND: usize = 4096;

/// Bytes of a V and of a Y in the largest form that a contender may want.
fn slot_bytes([m, k, n]: [usize; 3]) -> (usize, usize) {
    let largest = |rows: usize, cols: usize| {
        let lines = |lines: usize, length: usize| 4 * lines * length.next_multiple_of(ROW_MULTIPLE);
        lines(rows, cols).max(lines(cols, rows)).next_multiple_of(BAND)
    };
    (largest(k, n), largest(m, n))
}

/// Bytes of device memory that so many slots take.
pub fn bytes_of_slots(shape: [usize; 3], slots: usize) -> usize {
    let (v, y) = slot_bytes(shape);
    slots * (v + y + BAND) + BAND
}

/// Where the slots of a case lie.
pub fn places(shape: [usize; 3]) -> Places {
    let (v, y) = slot_bytes(shape);
    Places { v_apart: v, y_apart: y + BAND, y_first: BAND }
}

/// Memory for V's (k x n) and Y's (m x n): a band lies before each Y and after the last.
pub struct Slots {
    shape: [usize; 3],
    count: usize,
    v: Arc<Buffer>,
    y: Arc<Buffer>,
}

impl Slots {
    /// Bytes of all V's, and of all Y's with their bands.
    fn bytes(shape: [usize; 3], count: usize) -> (usize, usize) {
        let (v, y) = slot_bytes(shape);
        (count * v, count * (y + BAND) + BAND)
    }

    /// Memory of this process.
    pub fn new(device: &Arc<Device>, shape: [usize; 3], count: usize) -> Result<Slots, CudaError> {
        let (v, y) = Slots::bytes(shape, count);
        let v = Arc::new(Buffer::to_share(device, v, "V's of calls")?);
        let y = Arc::new(Buffer::to_share(device, y, "Y's of calls")?);
        Ok(Slots { shape, count, v, y })
    }

    /// Memory of another process.
    pub fn open(
        device: &Arc<Device>,
        shape: [usize; 3],
        count: usize,
        handles: &Handles,
    ) -> Result<Slots, Refusal> {
        let (v, y) = Slots::bytes(shape, count);
        let open = |handle: &str, bytes| {
            let handle = handle_of(handle).ok_or_else(|| Refusal::of("no handle"))?;
            Buffer::open(device, handle, bytes).map(Arc::new).map_err(Refusal::machine)
        };
        Ok(Slots { shape, count, v: open(&handles.v, v)?, y: open(&handles.y, y)? })
    }

    /// What another process opens them by.
    pub fn handles(&self) -> Result<Handles, CudaError> {
        Ok(Handles { v: text_of(self.v.handle()?), y: text_of(self.y.handle()?) })
    }

    fn require(&self, slot: u32) -> Result<usize, Refusal> {
        let slot = slot as usize;
        if slot < self.count { Ok(slot) } else { Err(Refusal::of("no such slot")) }
    }

    fn v(&self, form: Form, slot: u32) -> Result<DeviceMatrix, Refusal> {
        let ([_, k, n], (bytes, _)) = (self.shape, slot_bytes(self.shape));
        let part = self.v.part(self.require(slot)? * bytes, bytes);
        Ok(DeviceMatrix::in_buffer(part, form.layout, (k, n), form.input))
    }

    fn y(&self, form: Form, slot: u32) -> Result<DeviceMatrix, Refusal> {
        let [m, _, n] = self.shape;
        let part = self.whole_y(slot)?;
        Ok(DeviceMatrix::in_buffer(part, form.layout, (m, n), form.output))
    }

    /// All that belongs to a Y.
    fn whole_y(&self, slot: u32) -> Result<Buffer, Refusal> {
        let (_, bytes) = slot_bytes(self.shape);
        Ok(self.y.part(self.require(slot)? * (bytes + BAND) + BAND, bytes))
    }

    /// The band before a Y, or behind the last.
    fn band(&self, at: usize) -> Buffer {
        let (_, bytes) = slot_bytes(self.shape);
        self.y.part(at * (bytes + BAND), BAND)
    }
}

fn text_of(handle: Handle) -> String {
    handle.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn handle_of(text: &str) -> Option<Handle> {
    let mut bytes = [0; 64];
    if text.len() != 128 || !text.is_ascii() {
        return None;
    }
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(Handle(bytes))
}

/// A contender that was built from A.
struct Contender {
    form: Form,
    built: Box<dyn DeviceBuilt>,
}

/// A (m x k, on the host), the slots of a case, and what was built.
pub struct DeviceCase<'a> {
    /// Goes first: memory is given back only when nothing runs.
    watch: Option<Watch>,
    device: Arc<Device>,
    timer: Timer,
    a: ArrayView2<'a, f32>,
    /// Where A is the A's of all layers, in a row.
    stack: Option<(Arc<Stack>, Dtype)>,
    slots: Slots,
    built: HashMap<String, Contender>,
    /// A in memory that another process may have.
    shared: Option<DeviceMatrix>,
}

impl<'a> DeviceCase<'a> {
    pub fn new(
        device: &Arc<Device>,
        a: ArrayView2<'a, f32>,
        slots: Slots,
        stack: Option<Stacked>,
    ) -> Result<DeviceCase<'a>, CudaError> {
        let timer = Timer::new(device)?;
        let stack = stack.map(|Stacked { layers, dtype }| (Arc::new(layers), dtype));
        let (watch, shared) = (None, None);
        Ok(DeviceCase {
            watch,
            device: device.clone(),
            timer,
            a,
            stack,
            slots,
            built: HashMap::new(),
            shared,
        })
    }

    /// Gives A's elements of now to memory of `dtype`, and what another process opens that by.
    pub fn share_a(&mut self, dtype: Dtype) -> Result<String, Refusal> {
        let (layout, shape) = (Layout::Dense, self.a.dim());
        let shared = match self.shared.take() {
            Some(shared) if shared.dtype == dtype => shared,
            _ => {
                let bytes = DeviceMatrix::bytes(layout, shape, dtype);
                let buffer = Buffer::to_share(&self.device, bytes, "A")?;
                DeviceMatrix::in_buffer(buffer, layout, shape, dtype)
            }
        };
        let shared = self.shared.insert(shared);
        shared.write(self.a)?;
        Ok(text_of(shared.buffer.handle()?))
    }

    /// Elements of that memory that are not A's.
    pub fn inspect_a(&self) -> Result<u32, Refusal> {
        let shared = self.shared.as_ref().ok_or_else(|| Refusal::of("A is not shared"))?;
        let there = shared.read()?;
        let differ = there.iter().zip(self.a).filter(|(x, y)| x.to_bits() != y.to_bits()).count();
        Ok(u32::try_from(differ).unwrap_or(u32::MAX))
    }

    /// Begins to watch the device.
    pub fn watch(&mut self) -> Result<(), Refusal> {
        let watch = match self.watch.take() {
            Some(watch) => watch,
            None => Watch::new(&self.device)?,
        };
        Ok(self.watch.insert(watch).start()?)
    }

    /// The longest time for which others had the device.
    pub fn watched(&mut self, ends: bool) -> Result<Option<u32>, Refusal> {
        match &mut self.watch {
            Some(watch) if ends => Ok(watch.stop()?),
            Some(watch) => Ok(watch.longest_ns()),
            None => Ok(None),
        }
    }

    /// Gives the device a kernel that does nothing.
    pub fn touch(&self) -> Result<(), Refusal> {
        Ok(self.timer.touch()?)
    }

    /// Builds a contender from A and returns when that is done, on the device as well. One of that name goes first.
    pub fn build(
        &mut self,
        operator: Arc<dyn DeviceOperator>,
    ) -> Result<(&dyn DeviceBuilt, Form), Error> {
        let operator: Arc<dyn DeviceOperator> = match &self.stack {
            None => operator,
            Some((stack, dtype)) => {
                Arc::new(StackOperator { of: operator, stack: stack.clone(), dtype: *dtype })
            }
        };
        let form = Form {
            input: operator.input(),
            output: operator.output(),
            layout: operator.layout(),
            live_rows_only: operator.live_rows_only(),
        };
        let name = operator.name();
        // Two would hold twice the memory.
        self.built.remove(&name);
        let [_, _, n] = self.slots.shape;
        let built = operator.build(&self.device, self.a, n)?;
        self.device.synchronize()?;
        let contender = self.built.entry(name).insert_entry(Contender { form, built });
        Ok((&*contender.into_mut().built, form))
    }

    /// Drops what was built under a name.
    pub fn forget(&mut self, name: &str) {
        self.built.remove(name);
    }

    /// Queues a call for each slot; without a name, nothing.
    pub fn hold(&mut self, name: Option<&str>, slots: &[u32]) -> Result<(), Refusal> {
        let Some(name) = name else {
            return self.timer.hold(0, &mut |_| Ok(())).map_err(Refusal::machine);
        };
        let (contender, mut calls) = calls(&self.built, &self.slots, name, slots)?;
        let mut launch = |call: usize| {
            let (v, y) = &mut calls[call];
            contender.built.launch(v, y).map_err(|error| error.to_string())
        };
        self.timer.hold(slots.len(), &mut launch).map_err(Refusal::machine)
    }

    /// Lets the queued calls go: nanoseconds by the device's clock.
    pub fn release(&mut self) -> Result<f64, Refusal> {
        self.timer.release().map_err(Refusal::machine)
    }

    /// Makes a call for each slot.
    pub fn run(&mut self, name: &str, slots: &[u32]) -> Result<(), Refusal> {
        let (contender, mut calls) = calls(&self.built, &self.slots, name, slots)?;
        for (v, y) in &mut calls {
            contender.built.launch(v, y)?;
        }
        self.device.synchronize_all().map_err(Refusal::machine)
    }
}

/// V and Y of a call.
type Call = (DeviceMatrix, DeviceMatrix);

/// A contender, and its calls.
fn calls<'a>(
    built: &'a HashMap<String, Contender>,
    slots: &Slots,
    name: &str,
    at: &[u32],
) -> Result<(&'a Contender, Vec<Call>), Refusal> {
    let contender = built.get(name).ok_or_else(|| Refusal::of("not built"))?;
    let form = contender.form;
    let call = |&slot: &u32| Ok((slots.v(form, slot)?, slots.y(form, slot)?));
    Ok((contender, at.iter().map(call).collect::<Result<_, Refusal>>()?))
}

/// The slots of a case in the process that owns them.
pub struct Custody {
    device: Arc<Device>,
    drawing: Drawing,
    guard: u32,
    /// More than twice the L2.
    flush: Buffer,
    /// The latest first.
    put: Vec<LastPut>,
}

/// V's that are kept: one that all contenders of a case have, in both layouts.
const PUT_MAX: usize = 2;

/// A V that comes again, as it lies in a slot.
struct LastPut {
    number: u64,
    lies_as: (Dtype, Layout),
    v: Buffer,
}

impl Custody {
    /// Bands are made whole.
    pub fn new(
        device: &Arc<Device>,
        slots: &Slots,
        drawing: Drawing,
        guard: u32,
    ) -> Result<Custody, CudaError> {
        let flush = Buffer::new(
            device,
            3 * device.info.l2_bytes as usize,
            "a buffer to empty the L2 with",
        )?;
        let custody = Custody { device: device.clone(), drawing, guard, flush, put: Vec::new() };
        (0..=slots.count).try_for_each(|at| custody.mend(slots, at))?;
        Ok(custody)
    }

    fn mend(&self, slots: &Slots, at: usize) -> Result<(), CudaError> {
        slots.band(at).write(&[self.guard; BAND / 4])
    }

    /// Draws tensors `first`, `first + 1`, ... into V's, and then poisons their Y's.
    pub fn draw(
        &self,
        case: &DeviceCase<'_>,
        form: Form,
        at: &[u32],
        first: u64,
    ) -> Result<(), Refusal> {
        for (&slot, number) in at.iter().zip(first..) {
            case.slots.v(form, slot)?.draw(&self.drawing, number)?;
        }
        for &slot in at {
            self.poison(case, slot)?;
        }
        Ok(self.device.synchronize()?)
    }

    /// Copies a V to a slot's, and poisons its Y. One that has a number is kept, and copied from there the next time.
    pub fn put(
        &mut self,
        case: &DeviceCase<'_>,
        form: Form,
        slot: u32,
        v: ArrayView2<'_, f32>,
        number: Option<u64>,
    ) -> Result<(), Refusal> {
        let mut there = case.slots.v(form, slot)?;
        let is_it =
            |put: &&LastPut| Some(put.number) == number && put.lies_as == (form.input, form.layout);
        if let Some(put) = self.put.iter().find(is_it) {
            there.buffer.copy_from(&put.v)?;
        } else {
            there.write(v)?;
            let copy = number.map(|number| {
                let mut v =
                    Buffer::new(&self.device, there.buffer.bytes(), "a V that comes again")?;
                v.copy_from(&there.buffer)?;
                Ok::<_, CudaError>(LastPut { number, lies_as: (form.input, form.layout), v })
            });
            self.put.truncate(PUT_MAX - 1);
            // Without room for it, it is brought here again.
            self.put.splice(0..0, copy.and_then(Result::ok));
        }
        self.poison(case, slot)?;
        Ok(self.device.synchronize()?)
    }

    /// Makes every element of a Y a NaN, in stream order.
    fn poison(&self, case: &DeviceCase<'_>, slot: u32) -> Result<(), Refusal> {
        // Of floats of any width.
        Ok(case.slots.whole_y(slot)?.fill(0xff)?)
    }

    /// Elements of V's that are not those of [`Custody::draw`], and whether a band beside the Y's was written, which is
    /// made whole again.
    pub fn inspect(
        &self,
        case: &DeviceCase<'_>,
        form: Form,
        at: &[u32],
        first: u64,
    ) -> Result<(u32, bool), Refusal> {
        let differing = counter(&self.device)?;
        for (&slot, number) in at.iter().zip(first..) {
            case.slots.v(form, slot)?.count_differing(&self.drawing, number, &differing)?;
        }
        let mut count = [0u32];
        differing.read(&mut count)?;
        let is_near = |band: &usize| {
            at.iter().any(|&slot| (slot as usize..=slot as usize + 1).contains(band))
        };
        let near: Vec<usize> = (0..=case.slots.count).filter(is_near).collect();
        // Brought together first: one wait for all of them.
        let bands = Arc::new(Buffer::new(&self.device, near.len() * BAND, "bands")?);
        for (i, &band) in near.iter().enumerate() {
            bands.part(i * BAND, BAND).copy_from(&case.slots.band(band))?;
        }
        let mut words = vec![0u32; near.len() * BAND / 4];
        bands.read(&mut words)?;
        let mut beside = false;
        for (&band, words) in near.iter().zip(words.chunks(BAND / 4)) {
            if words.iter().any(|&word| word != self.guard) {
                beside = true;
                self.mend(&case.slots, band)?;
            }
        }
        Ok((count[0], beside))
    }

    /// Elements of blocks to the front of `out`, one block behind the other.
    pub fn gather(
        &self,
        case: &DeviceCase<'_>,
        form: Form,
        blocks: &[Block],
        out: &mut [f32],
    ) -> Result<(), Refusal> {
        let [m, k, n] = case.slots.shape;
        let mut held = Vec::with_capacity(blocks.len());
        for Block { slot, rows, columns } in blocks {
            let are_there = rows.iter().all(|&row| row == u32::MAX || (row as usize) < m)
                && columns.iter().all(|&column| (column as usize) < n);
            if !are_there {
                return Err(Refusal::of("no such row or column"));
            }
            held.push((case.slots.y(form, *slot)?, case.slots.v(form, *slot)?));
        }
        let len = blocks.iter().fold(0, |len: usize, block| len.saturating_add(block.len(k)));
        let out = out.get_mut(..len);
        let out = out.ok_or_else(|| Refusal::of("no room for so many elements"))?;
        let crossings =
            blocks.iter().zip(&held).flat_map(|(Block { rows, columns, .. }, (y, v))| {
                let of_y = Crossing { matrix: y, rows: Some(rows), columns };
                [of_y, Crossing { matrix: v, rows: None, columns }]
            });
        Ok(gather(&self.device, &crossings.collect::<Vec<_>>(), out)?)
    }

    /// The first rows of a Y, row-major.
    pub fn whole(
        &self,
        case: &DeviceCase<'_>,
        form: Form,
        slot: u32,
        rows: usize,
        out: &mut [f32],
    ) -> Result<(), Refusal> {
        let [m, _, n] = case.slots.shape;
        let fits = rows <= m && rows.checked_mul(n).is_some_and(|len| len <= out.len());
        if !fits {
            return Err(Refusal::of("no room for so many rows"));
        }
        let y = case.slots.whole_y(slot)?;
        let y = DeviceMatrix::in_buffer(y, form.layout, (rows, n), form.output);
        Ok(y.read_to(&mut out[..rows * n])?)
    }

    /// Leaves nothing of A, V and Y in the L2.
    pub fn flush(&mut self) -> Result<(), Refusal> {
        Ok(self.flush.fill(1).and_then(|()| self.device.synchronize())?)
    }
}
