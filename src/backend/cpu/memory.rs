//! Buffers and views as the kernels want them: aligned, contiguous by row, shared by threads.

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, handle_alloc_error};
use std::borrow::Cow;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;

use ndarray::{ArrayView2, ArrayViewMut2, CowArray, Ix2};

/// One 512-bit vector, and one cache line.
const LINE: usize = 64;

/// A huge page of x86-64 and of most arm64 systems. Buffers of several are aligned to it.
const HUGE_PAGE: usize = 2 << 20;

/// Asks the allocator to keep what is freed. Row panels of megabytes come and go all the time;
/// by default each one's pages are given back to the system and zeroed again for the next, which
/// takes as long as a tenth of the multiplication, and more with every thread.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        use std::ffi::c_int;
        // From malloc.h; the threshold is the largest that the allocator takes.
        const M_TRIM_THRESHOLD: c_int = -1;
        const M_MMAP_THRESHOLD: c_int = -3;
        const M_ARENA_MAX: c_int = -8;
        unsafe extern "C" {
            fn mallopt(parameter: c_int, value: c_int) -> c_int;
        }
        for (parameter, value) in
            [(M_MMAP_THRESHOLD, 32 << 20), (M_TRIM_THRESHOLD, 512 << 20), (M_ARENA_MAX, 1)]
        {
            // SAFETY: mallopt may be called at any time, with any values; it refuses bad ones,
            // and then everything works as before.
            unsafe { mallopt(parameter, value) };
        }
    }
}

/// A fixed-size run of f32 that starts on a cache line.
pub(super) struct AlignedBuffer {
    /// What was allocated, for [`dealloc`].
    allocation: *mut u8,
    layout: Layout,
    start: NonNull<f32>,
    len: usize,
}

// SAFETY: the buffer owns its memory and hands it out only through borrows, as `Vec` does.
unsafe impl Send for AlignedBuffer {}
// SAFETY: as above.
unsafe impl Sync for AlignedBuffer {}

impl AlignedBuffer {
    /// `len` zeros.
    pub fn zeroed(len: usize) -> AlignedBuffer {
        // SAFETY: zero bytes are initialised f32.
        unsafe { AlignedBuffer::allocate(len, alloc_zeroed) }
    }

    /// `len` values of which `fill` writes every one.
    ///
    /// # Safety
    ///
    /// When `fill` returns, each element has been written.
    pub unsafe fn filled(len: usize, fill: impl FnOnce(&mut [MaybeUninit<f32>])) -> AlignedBuffer {
        // SAFETY: the values are initialised below, before anybody can read them.
        let buffer = unsafe { AlignedBuffer::allocate(len, alloc) };
        // SAFETY: `len` places start at `start`, and nobody else knows of them.
        fill(unsafe { std::slice::from_raw_parts_mut(buffer.start.as_ptr().cast(), len) });
        buffer
    }

    /// # Safety
    ///
    /// `allocate` is an allocation function of `std::alloc`. What it leaves uninitialised is
    /// written before it is read.
    unsafe fn allocate(len: usize, allocate: unsafe fn(Layout) -> *mut u8) -> AlignedBuffer {
        let bytes = len.checked_mul(size_of::<f32>()).expect("a buffer's bytes fit in usize");
        let alignment = if bytes >= 4 * HUGE_PAGE { HUGE_PAGE } else { LINE };
        // Aligned by hand: an allocator asked for the alignment writes the zeros itself, on one
        // thread, where fresh pages of the system are zero already.
        let layout = bytes
            .checked_add(alignment)
            .and_then(|bytes| Layout::from_size_align(bytes, align_of::<f32>()).ok())
            .expect("a buffer's bytes fit in isize");
        // SAFETY: the layout is not empty.
        let allocation = unsafe { allocate(layout) };
        if allocation.is_null() {
            handle_alloc_error(layout);
        }
        let skipped = allocation.align_offset(alignment).min(alignment);
        // SAFETY: `alignment` bytes were allocated beyond those needed.
        let start = unsafe { allocation.add(skipped) }.cast::<f32>();
        if alignment == HUGE_PAGE {
            advise_huge_pages(start, bytes);
        }
        let start = NonNull::new(start).expect("inside an allocation");
        AlignedBuffer { allocation, layout, start, len }
    }
}

/// Asks for huge pages: a tile's k-block is some tens of KiB, and prefetching stops at page
/// borders. Advice only, so a refusal is no error.
fn advise_huge_pages(start: *mut f32, bytes: usize) {
    #[cfg(target_os = "linux")]
    {
        use std::ffi::{c_int, c_void};

        unsafe extern "C" {
            fn madvise(start: *mut c_void, bytes: usize, advice: c_int) -> c_int;
        }
        const MADV_HUGEPAGE: c_int = 14;
        // SAFETY: the range is this buffer's, and the advice changes no contents.
        let _ = unsafe { madvise(start.cast(), bytes, MADV_HUGEPAGE) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (start, bytes);
}

impl Drop for AlignedBuffer {
    fn drop(&mut self) {
        // SAFETY: allocated in `allocate` with this layout, and not freed before.
        unsafe { dealloc(self.allocation, self.layout) }
    }
}

impl Deref for AlignedBuffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: `len` initialised values start at `start`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as in `deref`, and the borrow is unique.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

/// The matrix itself where each row is contiguous, else a copy in which it is.
pub(super) fn contiguous_rows(a: ArrayView2<'_, f32>) -> CowArray<'_, f32, Ix2> {
    if a.ncols() <= 1 || a.strides()[1] == 1 {
        CowArray::from(a)
    } else {
        CowArray::from(a.as_standard_layout().into_owned())
    }
}

/// Row `i` of a matrix that came from [`contiguous_rows`].
pub(super) fn row<'a>(a: &'a CowArray<'_, f32, Ix2>, i: usize) -> Cow<'a, [f32]> {
    let row = a.row(i);
    match row.to_slice() {
        Some(row) => Cow::Borrowed(row),
        None => Cow::Owned(row.to_vec()),
    }
}

/// A pointer that several threads write through, each to elements of its own.
pub(super) struct SharedMut<T>(*mut T);

impl<T> Clone for SharedMut<T> {
    fn clone(&self) -> SharedMut<T> {
        *self
    }
}

impl<T> Copy for SharedMut<T> {}

// SAFETY: whoever dereferences it promises, at that place, that no two threads touch an element.
unsafe impl<T: Send> Send for SharedMut<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SharedMut<T> {}

impl<T> SharedMut<T> {
    pub fn of(slice: &mut [T]) -> SharedMut<T> {
        SharedMut(slice.as_mut_ptr())
    }

    pub fn get(self) -> *mut T {
        self.0
    }
}

/// The rows of Y, written by several threads, each row piece by one of them.
#[derive(Clone, Copy)]
pub(super) struct OutputRows {
    start: SharedMut<f32>,
    rows: usize,
    cols: usize,
    row_stride: isize,
    col_stride: isize,
}

impl OutputRows {
    /// The borrow of `y` ends before the writes do: the caller keeps `y` for as long.
    pub fn of(y: &mut ArrayViewMut2<'_, f32>) -> OutputRows {
        OutputRows {
            start: SharedMut(y.as_mut_ptr()),
            rows: y.nrows(),
            cols: y.ncols(),
            row_stride: y.strides()[0],
            col_stride: y.strides()[1],
        }
    }

    /// Writes `values` to row `i` from column `j` on.
    ///
    /// # Safety
    ///
    /// No other thread touches these elements, and the view behind is still borrowed uniquely.
    #[inline]
    pub unsafe fn write(self, i: usize, j: usize, values: &[f32]) {
        assert!(i < self.rows && j <= self.cols && values.len() <= self.cols - j);
        // SAFETY: the assertion keeps every element below inside the view.
        unsafe {
            let start = self.start.get().offset(i as isize * self.row_stride);
            if self.col_stride == 1 {
                values.as_ptr().copy_to_nonoverlapping(start.add(j), values.len());
            } else {
                for (j, &value) in (j as isize..).zip(values) {
                    start.offset(j * self.col_stride).write(value);
                }
            }
        }
    }

    /// Writes the first `columns` values of each row of `values`, which are as long as each other, to `rows` from column `j` on.
    /// A function by itself, so that its loop is the same whoever calls it.
    ///
    /// # Safety
    ///
    /// As for [`OutputRows::write`].
    #[inline(never)]
    pub unsafe fn write_rows(self, rows: Range<usize>, j: usize, columns: usize, values: &[f32]) {
        if columns == 0 || rows.is_empty() {
            return;
        }
        let length = values.len() / rows.len();
        for (values, i) in values.chunks_exact(length).zip(rows) {
            // SAFETY: the caller's promise.
            unsafe { self.write(i, j, &values[..columns]) }
        }
    }

    /// Writes +0 to all of row `i`.
    ///
    /// # Safety
    ///
    /// As for [`OutputRows::write`].
    pub unsafe fn write_zeros(self, i: usize) {
        assert!(i < self.rows);
        // SAFETY: row `i` is inside the view, and so is every column.
        unsafe {
            let start = self.start.get().offset(i as isize * self.row_stride);
            if self.col_stride == 1 {
                start.write_bytes(0, self.cols);
            } else {
                for j in 0..self.cols as isize {
                    start.offset(j * self.col_stride).write(0.0);
                }
            }
        }
    }
}
