//! Memory that two processes have: inputs that only their owner can write, and outputs between guard bands.
//!
//! Each is an anonymous file (`memfd_create`) that is sealed before it is handed on. All have a fixed size
//! (`F_SEAL_SHRINK`, `F_SEAL_GROW`), so that nobody can take pages away from under a mapping. Inputs can no longer be
//! mapped to be written (`F_SEAL_FUTURE_WRITE`, Linux 5.1): the mapping that their owner made before is the only one.
//! `F_SEAL_SEAL` keeps all of that.
//!
//! Left out: times at which an input may be read. Whoever maps one sees each element when its owner writes it.

use std::io;
use std::ops::{Deref, DerefMut, Range};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use contract::dtype::Dtype;
use ndarray::{Array2, ArrayView2, ArrayViewMut2};
use rayon::prelude::*;
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

use super::Error;

/// Elements in a guard band at least: a page of 4 KiB of f32.
const PAGE: usize = 1024;

/// Elements that a thread copies before it takes the next ones: 1 MiB of f32.
const PART: usize = 1 << 18;

/// A mapping of a whole file, unmapped when it is dropped.
struct Map {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the mapping is owned, and handed out through borrows only, as a `Vec`'s memory is.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

impl Map {
    fn new(file: BorrowedFd<'_>, bytes: usize, how: ProtFlags) -> io::Result<Map> {
        // SAFETY: a new mapping at an address that the kernel chooses touches no memory that is in use.
        let start = unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), bytes, how, MapFlags::SHARED, file, 0)
        };
        let start = NonNull::new(start?.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Map { start, bytes })
    }

    /// As values of f32: a mapping begins at a page.
    fn values(&self) -> &[f32] {
        // SAFETY: initialised memory, aligned, in which all bits are values. Whoever has it as an input writes none of it
        // while it is read.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.bytes / 4) }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` with this length; whoever borrowed it is gone.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

/// Bytes of so many elements, and of one at least: a mapping cannot be empty.
fn bytes(len: usize, dtype: Dtype) -> io::Result<usize> {
    let too_large = || io::Error::new(io::ErrorKind::InvalidInput, "too many elements to map");
    let bytes = len.max(1).checked_mul(dtype.size());
    bytes.filter(|&bytes| isize::try_from(bytes).is_ok()).ok_or_else(too_large)
}

/// What is said of a process that wrote into a guard band.
pub const BESIDE: &str = "it wrote beside its output";

fn failed(error: io::Error) -> Error {
    Error::Environment(format!("shared memory: {error}"))
}

/// A file of zeros that can still be sealed.
fn new_file(bytes: usize) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = rustix::fs::memfd_create("sparse-verify", flags)?;
    rustix::fs::ftruncate(&file, bytes as u64)?;
    Ok(file)
}

/// An error unless a file has so many bytes and cannot lose them.
fn require(file: BorrowedFd<'_>, bytes: usize) -> io::Result<()> {
    let refuse = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidData, what.to_owned()));
    if rustix::fs::fstat(file)?.st_size as u64 != bytes as u64 {
        return refuse("shared memory has another size than was said");
    }
    if !rustix::fs::fcntl_get_seals(file)?.contains(SealFlags::SHRINK) {
        return refuse("shared memory could be taken away");
    }
    Ok(())
}

/// A file and its only mapping that can be written.
fn input(bytes: usize) -> io::Result<(OwnedFd, Map)> {
    let file = new_file(bytes)?;
    let map = Map::new(file.as_fd(), bytes, ProtFlags::READ | ProtFlags::WRITE)?;
    // From here on no mapping that is made can be written, and `write` fails; this one goes on.
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    Ok((file, map))
}

/// Elements of f32 that their owner writes and that other processes can only read.
pub struct SharedInput {
    file: OwnedFd,
    map: Map,
}

impl SharedInput {
    /// An input of `len` zeros.
    pub fn new(len: usize) -> Result<SharedInput, Error> {
        SharedInput::sealed(len).map_err(failed)
    }

    fn sealed(len: usize) -> io::Result<SharedInput> {
        let (file, map) = input(bytes(len, Dtype::F32)?)?;
        Ok(SharedInput { file, map })
    }

    /// A copy of a matrix, row-major.
    pub fn of(x: ArrayView2<'_, f32>) -> Result<SharedInput, Error> {
        let mut shared = SharedInput::new(x.len())?;
        shared.write(0, x);
        Ok(shared)
    }

    /// Copies a matrix, row-major, to the elements from `first` on.
    pub fn write(&mut self, first: usize, x: ArrayView2<'_, f32>) {
        let to = &mut self[first..first + x.len()];
        match x.as_slice() {
            Some(values) => to.copy_from_slice(values),
            None => to.iter_mut().zip(x).for_each(|(to, &from)| *to = from),
        }
    }

    /// The file for another process to map.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Deref for SharedInput {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // Nobody but the owner can write it.
        self.map.values()
    }
}

impl DerefMut for SharedInput {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as in `Map::values`, and the borrow is unique. Other processes read no elements that are being
        // written: they are told when an input is ready.
        unsafe {
            std::slice::from_raw_parts_mut(self.map.start.as_ptr().cast(), self.map.bytes / 4)
        }
    }
}

/// The same in another dtype, as its encodings.
pub struct EncodedInput {
    file: OwnedFd,
    map: Map,
    dtype: Dtype,
}

impl EncodedInput {
    /// An input of `len` zeros.
    pub fn new(len: usize, dtype: Dtype) -> Result<EncodedInput, Error> {
        let (file, map) = bytes(len, dtype).and_then(input).map_err(failed)?;
        Ok(EncodedInput { file, map, dtype })
    }

    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Encodes values of the dtype, as the elements from `first` on. In the current pool.
    pub fn write(&mut self, first: usize, values: &[f32]) {
        let size = self.dtype.size();
        // SAFETY: initialised memory that nobody else can write, borrowed uniquely.
        let all =
            unsafe { std::slice::from_raw_parts_mut(self.map.start.as_ptr(), self.map.bytes) };
        let to = &mut all[first * size..(first + values.len()) * size];
        to.par_chunks_mut(PART * size)
            .zip(values.par_chunks(PART))
            .for_each(|(bytes, values)| self.dtype.encode_into(values, bytes));
    }

    /// The file for another process to map.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Another process's [`SharedInput`] or [`EncodedInput`].
pub struct MappedInput(Map);

impl MappedInput {
    /// The mapping of a file of `len` elements; an error if the file has another size or could lose it.
    pub fn new(file: OwnedFd, len: usize, dtype: Dtype) -> io::Result<MappedInput> {
        let bytes = bytes(len, dtype)?;
        require(file.as_fd(), bytes)?;
        Map::new(file.as_fd(), bytes, ProtFlags::READ).map(MappedInput)
    }

    /// The elements as values of f32, which they must be.
    pub fn values(&self) -> &[f32] {
        self.0.values()
    }

    /// The elements as they are stored.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: memory that cannot go away. The owner writes only what is not in use here.
        unsafe { std::slice::from_raw_parts(self.0.start.as_ptr(), self.0.bytes) }
    }
}

/// Places in a file of outputs: a guard band lies before each output and after the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slots {
    count: usize,
    /// Elements of an output.
    len: usize,
    /// Elements from the start of one to the start of the next.
    stride: usize,
}

impl Slots {
    fn new(count: usize, len: usize) -> io::Result<Slots> {
        let stride = len.checked_next_multiple_of(PAGE).and_then(|len| len.checked_add(PAGE));
        let stride = stride.ok_or(io::ErrorKind::InvalidInput)?;
        stride
            .checked_mul(count)
            .and_then(|all| all.checked_add(PAGE))
            .ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Slots { count, len, stride })
    }

    fn total(self) -> usize {
        self.count * self.stride + PAGE
    }

    fn of(self, slot: usize) -> Range<usize> {
        assert!(slot < self.count, "output {slot} of {}", self.count);
        let start = slot * self.stride + PAGE;
        start..start + self.len
    }

    /// The places before and behind an output, up to the outputs beside it.
    fn guards(self, slot: usize) -> [Range<usize>; 2] {
        let Range { start, end } = self.of(slot);
        [start - PAGE..start, end..(slot + 1) * self.stride + PAGE]
    }
}

/// An element of shared outputs.
trait Cell: Sync {
    fn put(&self, bits: u32);
    fn get(&self) -> u32;
}

impl Cell for AtomicU32 {
    fn put(&self, bits: u32) {
        self.store(bits, Ordering::Relaxed);
    }

    fn get(&self) -> u32 {
        self.load(Ordering::Relaxed)
    }
}

impl Cell for AtomicU16 {
    fn put(&self, bits: u32) {
        self.store(bits as u16, Ordering::Relaxed);
    }

    fn get(&self) -> u32 {
        self.load(Ordering::Relaxed).into()
    }
}

/// Outputs that another process writes, each between guard bands. Elements are copied out and never borrowed:
/// whoever has the other mapping may write at any time.
pub struct SharedOutputs {
    file: OwnedFd,
    map: Map,
    dtype: Dtype,
    slots: Slots,
    /// The bits of an element of the bands.
    guard: u32,
}

impl SharedOutputs {
    /// `count` outputs of `len` elements of f32, poisoned. `guard` stands in each element of the bands: bits that the
    /// other process cannot know before it looks.
    pub fn new(count: usize, len: usize, guard: u32) -> Result<SharedOutputs, Error> {
        SharedOutputs::of(Dtype::F32, count, len, guard)
    }

    /// The same of any dtype. Of two bytes an element, bands have the lower half of `guard`.
    pub fn of(dtype: Dtype, count: usize, len: usize, guard: u32) -> Result<SharedOutputs, Error> {
        SharedOutputs::sealed(dtype, count, len, guard).map_err(failed)
    }

    fn sealed(dtype: Dtype, count: usize, len: usize, guard: u32) -> io::Result<SharedOutputs> {
        let slots = Slots::new(count, len)?;
        let bytes = bytes(slots.total(), dtype)?;
        let file = new_file(bytes)?;
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let map = Map::new(file.as_fd(), bytes, ProtFlags::READ | ProtFlags::WRITE)?;
        let guard = if dtype.size() == 4 { guard } else { guard & 0xffff };
        let outputs = SharedOutputs { file, map, dtype, slots, guard };
        (0..count).for_each(|slot| outputs.poison(slot));
        Ok(outputs)
    }

    /// The file for another process to map.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    fn cells<C: Cell>(&self, range: Range<usize>) -> &[C] {
        let size = size_of::<C>();
        assert!(size == self.dtype.size(), "cells of another size");
        assert!(range.start <= range.end && range.end <= self.map.bytes / size);
        // SAFETY: the range is inside the mapping, and atomics may be read and written while others do. Only atomics of
        // 2 or 4 bytes are cells, and a mapping begins at a page.
        unsafe {
            std::slice::from_raw_parts(
                self.map.start.as_ptr().cast::<C>().add(range.start),
                range.len(),
            )
        }
    }

    /// Stores the same bits in each element of a range. In the current pool.
    fn fill(&self, range: Range<usize>, bits: u32) {
        fn fill<C: Cell>(cells: &[C], bits: u32) {
            let all = |cells: &[C]| cells.iter().for_each(|cell| cell.put(bits));
            match cells.len() {
                // Not worth waking other threads.
                ..PART => all(cells),
                _ => cells.par_chunks(PART).for_each(all),
            }
        }
        match self.dtype.size() {
            4 => fill(self.cells::<AtomicU32>(range), bits),
            _ => fill(self.cells::<AtomicU16>(range), bits),
        }
    }

    /// Makes every element of an output a NaN, and the guard bands beside it whole.
    pub fn poison(&self, slot: usize) {
        self.poison_front(slot, self.slots.len);
        self.slots.guards(slot).into_iter().for_each(|range| self.fill(range, self.guard));
    }

    /// Makes the first `len` elements NaN's, where no others will be looked at. In the current pool.
    pub fn poison_front(&self, slot: usize, len: usize) {
        let start = self.slots.of(slot).start;
        self.fill(start..start + len.min(self.slots.len), self.dtype.nan_bits());
    }

    /// Copies the elements `range` of an output to `out`, which is as long. In the current pool.
    pub fn copy(&self, slot: usize, range: Range<usize>, out: &mut [f32]) {
        fn copy<C: Cell>(dtype: Dtype, cells: &[C], out: &mut [f32]) {
            let all = |(out, cells): (&mut [f32], &[C])| {
                out.iter_mut().zip(cells).for_each(|(out, cell)| *out = dtype.of_bits(cell.get()));
            };
            match out.len() {
                ..PART => all((out, cells)),
                _ => out.par_chunks_mut(PART).zip(cells.par_chunks(PART)).for_each(all),
            }
        }
        assert!(range.end <= self.slots.len && range.len() == out.len());
        let start = self.slots.of(slot).start;
        let range = start + range.start..start + range.end;
        match self.dtype.size() {
            4 => copy(self.dtype, self.cells::<AtomicU32>(range), out),
            _ => copy(self.dtype, self.cells::<AtomicU16>(range), out),
        }
    }

    /// The first `rows` x `cols` elements of an output, whose guard bands must be as they were made.
    pub fn read(&self, slot: usize, shape: (usize, usize)) -> Result<Array2<f32>, Error> {
        let mut out = Array2::zeros(shape);
        self.read_to(slot, out.view_mut())?;
        Ok(out)
    }

    /// The same to a matrix.
    pub fn read_to(&self, slot: usize, mut out: ArrayViewMut2<'_, f32>) -> Result<(), Error> {
        if !self.is_guarded(slot) {
            return Err(Error::Environment(BESIDE.into()));
        }
        let cols = out.ncols();
        match out.as_slice_mut() {
            Some(values) => self.copy(slot, 0..values.len(), values),
            None => out.rows_mut().into_iter().enumerate().for_each(|(i, mut row)| {
                row.indexed_iter_mut().for_each(|(j, x)| *x = self.element(slot, i * cols + j));
            }),
        }
        Ok(())
    }

    /// One element of an output.
    pub fn element(&self, slot: usize, at: usize) -> f32 {
        let mut out = [0.0];
        self.copy(slot, at..at + 1, &mut out);
        out[0]
    }

    /// Whether the guard bands beside an output are as they were made.
    pub fn is_guarded(&self, slot: usize) -> bool {
        fn are_all<C: Cell>(cells: &[C], bits: u32) -> bool {
            cells.iter().all(|cell| cell.get() == bits)
        }
        self.slots.guards(slot).into_iter().all(|range| match self.dtype.size() {
            4 => are_all(self.cells::<AtomicU32>(range), self.guard),
            _ => are_all(self.cells::<AtomicU16>(range), self.guard),
        })
    }
}

/// Another process's [`SharedOutputs`].
pub struct MappedOutputs {
    map: Map,
    dtype: Dtype,
    slots: Slots,
}

impl MappedOutputs {
    /// The mapping of a file of `count` outputs of `len` elements; an error if the file has another size or could lose
    /// it.
    pub fn new(file: OwnedFd, count: usize, len: usize, dtype: Dtype) -> io::Result<MappedOutputs> {
        let slots = Slots::new(count, len)?;
        let bytes = bytes(slots.total(), dtype)?;
        require(file.as_fd(), bytes)?;
        let map = Map::new(file.as_fd(), bytes, ProtFlags::READ | ProtFlags::WRITE)?;
        Ok(MappedOutputs { map, dtype, slots })
    }

    /// One output of f32, which it must be, to be written.
    pub fn get_mut(&mut self, slot: usize) -> &mut [f32] {
        assert!(self.dtype == Dtype::F32, "an output of {}", self.dtype);
        let bytes = self.bytes_mut(slot);
        // SAFETY: the bytes are elements of f32, aligned as they are: a multiple of 4 from the start of a page.
        unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), bytes.len() / 4) }
    }

    /// One output as it is stored, to be written.
    pub fn bytes_mut(&mut self, slot: usize) -> &mut [u8] {
        let (range, size) = (self.slots.of(slot), self.dtype.size());
        // SAFETY: inside the mapping, and borrowed uniquely. The owner looks at it only through atomics, and only
        // once it was told that the output is there.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.map.start.as_ptr().add(range.start * size),
                range.len() * size,
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_can_be_written_by_their_owner_alone() {
        let mut own = SharedInput::new(3).unwrap();
        own.copy_from_slice(&[1.0, 2.0, 3.0]);
        let file = own.file().try_clone_to_owned().unwrap();
        assert!(Map::new(file.as_fd(), 12, ProtFlags::READ | ProtFlags::WRITE).is_err());
        assert!(rustix::io::write(&file, &[0; 4]).is_err());
        assert!(rustix::fs::ftruncate(&file, 0).is_err());
        let other = MappedInput::new(file, 3, Dtype::F32).unwrap();
        assert_eq!(other.values(), [1.0, 2.0, 3.0]);
        own[1] = 5.0;
        assert_eq!(other.values()[1], 5.0);
    }

    #[test]
    fn memory_of_another_size_or_that_could_go_away_is_refused() {
        let own = SharedInput::new(3).unwrap();
        let refused =
            |file, len| MappedInput::new(file, len, Dtype::F32).map(drop).unwrap_err().to_string();
        let file = || own.file().try_clone_to_owned().unwrap();
        assert!(refused(file(), 4).contains("another size"));
        assert!(refused(new_file(12).unwrap(), 3).contains("taken away"));
        assert!(MappedInput::new(file(), 3, Dtype::F16).is_err());
        assert!(MappedOutputs::new(file(), 1, 3, Dtype::F32).is_err());
        assert!(SharedInput::new(usize::MAX / 2).is_err());
        assert!(SharedOutputs::new(usize::MAX / 2, 3, 0).is_err());
    }

    #[test]
    fn what_is_written_beside_an_output_is_seen() {
        for (slot, cell) in
            [(0, 0), (0, PAGE + 5), (1, 2 * PAGE), (1, 3 * PAGE + 5), (1, 5 * PAGE - 1)]
        {
            let own = SharedOutputs::new(2, 5, 0xfeed).unwrap();
            let file = own.file().try_clone_to_owned().unwrap();
            let mut other = MappedOutputs::new(file, 2, 5, Dtype::F32).unwrap();
            other.get_mut(1).copy_from_slice(&[1.0, 2.0, 3.0, 4.0, 5.0]);
            assert!(own.is_guarded(0) && own.is_guarded(1));
            assert_eq!((own.element(1, 4), own.element(0, 4).is_nan()), (5.0, true));
            own.fill(cell..cell + 1, 1);
            assert!(!own.is_guarded(slot), "{cell}");
            own.poison(slot);
            assert!(own.is_guarded(slot), "{cell}");
        }
    }

    #[test]
    fn elements_of_two_bytes_are_read_as_their_values() {
        for dtype in [Dtype::Bf16, Dtype::F16] {
            let own = SharedOutputs::of(dtype, 2, 3, 0x1234_5678).unwrap();
            let file = own.file().try_clone_to_owned().unwrap();
            assert!(MappedOutputs::new(file.try_clone().unwrap(), 2, 3, Dtype::F32).is_err());
            let mut other = MappedOutputs::new(file, 2, 3, dtype).unwrap();
            let mut input = EncodedInput::new(3, dtype).unwrap();
            input.write(1, &[-1.5, 0.25]);
            let file = input.file().try_clone_to_owned().unwrap();
            let mapped = MappedInput::new(file, 3, dtype).unwrap();
            other.bytes_mut(1).copy_from_slice(mapped.bytes());
            assert_eq!([0, 1, 2].map(|at| own.element(1, at)), [0.0, -1.5, 0.25], "{dtype}");
            assert!((0..3).all(|at| own.element(0, at).is_nan()) && own.is_guarded(1), "{dtype}");
            own.fill(own.slots.of(1).end..own.slots.of(1).end + 1, 0x1234_5679);
            assert!(own.is_guarded(0) && !own.is_guarded(1), "{dtype}");
        }
    }
}
