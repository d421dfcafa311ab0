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
use std::sync::atomic::{AtomicU32, Ordering};

use ndarray::{Array2, ArrayView2, ArrayViewMut2};
use rayon::prelude::*;
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

use super::Error;

/// Elements of f32 in a page of 4 KiB, and in a guard band at least.
const PAGE: usize = 1024;

/// Elements that a thread copies before it takes the next ones: 1 MiB.
const PART: usize = 1 << 18;

/// A mapping of a whole file of f32, unmapped when it is dropped.
struct Map {
    start: NonNull<f32>,
    len: usize,
}

// SAFETY: the mapping is owned, and handed out through borrows only, as a `Vec`'s memory is.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

impl Map {
    fn new(file: BorrowedFd<'_>, len: usize, how: ProtFlags) -> io::Result<Map> {
        let bytes = bytes(len)?;
        // SAFETY: a new mapping at an address that the kernel chooses touches no memory that is in use.
        let start = unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), bytes, how, MapFlags::SHARED, file, 0)
        };
        let start = NonNull::new(start?.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Map { start, len })
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` with this length; whoever borrowed it is gone.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), 4 * self.len) };
    }
}

/// Bytes of so many elements of f32, and of one at least: a mapping cannot be empty.
fn bytes(len: usize) -> io::Result<usize> {
    let too_large = || io::Error::new(io::ErrorKind::InvalidInput, "too many elements to map");
    len.max(1).checked_mul(4).filter(|&bytes| isize::try_from(bytes).is_ok()).ok_or_else(too_large)
}

/// A file of `len` zeros of f32 that can still be sealed.
/// What is said of a process that wrote into a guard band.
pub const BESIDE: &str = "it wrote beside its output";

fn failed(error: io::Error) -> Error {
    Error::Environment(format!("shared memory: {error}"))
}

fn new_file(len: usize) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = rustix::fs::memfd_create("sparse-verify", flags)?;
    rustix::fs::ftruncate(&file, bytes(len)? as u64)?;
    Ok(file)
}

/// An error unless a file has `len` elements and cannot lose them.
fn require(file: BorrowedFd<'_>, len: usize) -> io::Result<()> {
    let refuse = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidData, what.to_owned()));
    if rustix::fs::fstat(file)?.st_size as u64 != bytes(len)? as u64 {
        return refuse("shared memory has another size than was said");
    }
    if !rustix::fs::fcntl_get_seals(file)?.contains(SealFlags::SHRINK) {
        return refuse("shared memory could be taken away");
    }
    Ok(())
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
        let file = new_file(len)?;
        let map = Map::new(file.as_fd(), len.max(1), ProtFlags::READ | ProtFlags::WRITE)?;
        // From here on no mapping that is made can be written, and `write` fails; this one goes on.
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&file, seals)?;
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
        // SAFETY: `len` initialised values, which nobody but the owner can write.
        unsafe { std::slice::from_raw_parts(self.map.start.as_ptr(), self.map.len) }
    }
}

impl DerefMut for SharedInput {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as in `deref`, and the borrow is unique. Other processes read no elements that are being
        // written: they are told when an input is ready.
        unsafe { std::slice::from_raw_parts_mut(self.map.start.as_ptr(), self.map.len) }
    }
}

/// Another process's [`SharedInput`].
pub struct MappedInput(Map);

impl MappedInput {
    /// The mapping of a file of `len` elements; an error if the file has another size or could lose it.
    pub fn new(file: OwnedFd, len: usize) -> io::Result<MappedInput> {
        require(file.as_fd(), len)?;
        Map::new(file.as_fd(), len.max(1), ProtFlags::READ).map(MappedInput)
    }
}

impl Deref for MappedInput {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: `len` values whose memory cannot go away. The owner writes only what is not in use here.
        unsafe { std::slice::from_raw_parts(self.0.start.as_ptr(), self.0.len) }
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

/// Outputs of f32 that another process writes, each between guard bands. Elements are copied out and never borrowed:
/// whoever has the other mapping may write at any time.
pub struct SharedOutputs {
    file: OwnedFd,
    map: Map,
    slots: Slots,
    guard: u32,
}

impl SharedOutputs {
    /// `count` outputs of `len` elements, poisoned. `guard` stands in each element of the bands: bits that the other
    /// process cannot know before it looks.
    pub fn new(count: usize, len: usize, guard: u32) -> Result<SharedOutputs, Error> {
        SharedOutputs::sealed(count, len, guard).map_err(failed)
    }

    fn sealed(count: usize, len: usize, guard: u32) -> io::Result<SharedOutputs> {
        let slots = Slots::new(count, len)?;
        let file = new_file(slots.total())?;
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let map = Map::new(file.as_fd(), slots.total(), ProtFlags::READ | ProtFlags::WRITE)?;
        let outputs = SharedOutputs { file, map, slots, guard };
        (0..count).for_each(|slot| outputs.poison(slot));
        Ok(outputs)
    }

    /// The file for another process to map.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    fn cells(&self, range: Range<usize>) -> &[AtomicU32] {
        assert!(range.start <= range.end && range.end <= self.map.len);
        // SAFETY: the range is inside the mapping, and atomics may be read and written while others do.
        unsafe {
            std::slice::from_raw_parts(
                self.map.start.as_ptr().cast::<AtomicU32>().add(range.start),
                range.len(),
            )
        }
    }

    /// Makes every element of an output a NaN, and the guard bands beside it whole.
    pub fn poison(&self, slot: usize) {
        let fill = |range, bits| {
            self.cells(range).iter().for_each(|cell| cell.store(bits, Ordering::Relaxed));
        };
        self.poison_front(slot, self.slots.len);
        self.slots.guards(slot).into_iter().for_each(|range| fill(range, self.guard));
    }

    /// Makes the first `len` elements NaN's, where no others will be looked at. In the current pool.
    pub fn poison_front(&self, slot: usize, len: usize) {
        let start = self.slots.of(slot).start;
        let cells = self.cells(start..start + len.min(self.slots.len));
        let poison = |cell: &AtomicU32| cell.store(f32::NAN.to_bits(), Ordering::Relaxed);
        match cells.len() {
            // Not worth waking other threads.
            ..PART => cells.iter().for_each(poison),
            _ => cells.par_chunks(PART).for_each(|part| part.iter().for_each(poison)),
        }
    }

    /// Copies the elements `range` of an output to `out`, which is as long. In the current pool.
    pub fn copy(&self, slot: usize, range: Range<usize>, out: &mut [f32]) {
        assert!(range.end <= self.slots.len && range.len() == out.len());
        let start = self.slots.of(slot).start;
        let cells = self.cells(start + range.start..start + range.end);
        let copy = |(out, cell): (&mut f32, &AtomicU32)| {
            *out = f32::from_bits(cell.load(Ordering::Relaxed));
        };
        match out.len() {
            ..PART => out.iter_mut().zip(cells).for_each(copy),
            _ => out
                .par_chunks_mut(PART)
                .zip(cells.par_chunks(PART))
                .for_each(|(out, cells)| out.iter_mut().zip(cells).for_each(copy)),
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
        let is_whole =
            |range| self.cells(range).iter().all(|cell| cell.load(Ordering::Relaxed) == self.guard);
        self.slots.guards(slot).into_iter().all(is_whole)
    }
}

/// Another process's [`SharedOutputs`].
pub struct MappedOutputs {
    map: Map,
    slots: Slots,
}

impl MappedOutputs {
    /// The mapping of a file of `count` outputs of `len` elements; an error if the file has another size or could lose
    /// it.
    pub fn new(file: OwnedFd, count: usize, len: usize) -> io::Result<MappedOutputs> {
        let slots = Slots::new(count, len)?;
        require(file.as_fd(), slots.total())?;
        let map = Map::new(file.as_fd(), slots.total(), ProtFlags::READ | ProtFlags::WRITE)?;
        Ok(MappedOutputs { map, slots })
    }

    /// One output, to be written.
    pub fn get_mut(&mut self, slot: usize) -> &mut [f32] {
        let range = self.slots.of(slot);
        // SAFETY: inside the mapping, and borrowed uniquely. The owner looks at it only through atomics, and only
        // once it was told that the output is there.
        unsafe {
            std::slice::from_raw_parts_mut(self.map.start.as_ptr().add(range.start), range.len())
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
        assert!(Map::new(file.as_fd(), 3, ProtFlags::READ | ProtFlags::WRITE).is_err());
        assert!(rustix::io::write(&file, &[0; 4]).is_err());
        assert!(rustix::fs::ftruncate(&file, 0).is_err());
        let other = MappedInput::new(file, 3).unwrap();
        assert_eq!(other[..], [1.0, 2.0, 3.0]);
        own[1] = 5.0;
        assert_eq!(other[1], 5.0);
    }

    #[test]
    fn memory_of_another_size_or_that_could_go_away_is_refused() {
        let own = SharedInput::new(3).unwrap();
        let refused = |file, len| MappedInput::new(file, len).map(drop).unwrap_err().to_string();
        let file = || own.file().try_clone_to_owned().unwrap();
        assert!(refused(file(), 4).contains("another size"));
        assert!(refused(new_file(3).unwrap(), 3).contains("taken away"));
        assert!(MappedOutputs::new(file(), 1, 3).is_err());
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
            let mut other = MappedOutputs::new(file, 2, 5).unwrap();
            other.get_mut(1).copy_from_slice(&[1.0, 2.0, 3.0, 4.0, 5.0]);
            assert!(own.is_guarded(0) && own.is_guarded(1));
            assert_eq!((own.element(1, 4), own.element(0, 4).is_nan()), (5.0, true));
            own.cells(cell..cell + 1)[0].store(1, Ordering::Relaxed);
            assert!(!own.is_guarded(slot), "{cell}");
            own.poison(slot);
            assert!(own.is_guarded(slot), "{cell}");
        }
    }
}
