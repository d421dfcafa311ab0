//! Buffers and views as the kernels want them: aligned, contiguous by row, shared by threads.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::borrow::Cow;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use ndarray::{ArrayView2, ArrayViewMut2, CowArray, Ix2};

/// One 512-bit vector, and one cache line.
const ALIGNMENT: usize = 64;

/// A zeroed, fixed-size run of f32 that starts on a cache line.
pub(super) struct AlignedBuffer {
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
        if len == 0 {
            return AlignedBuffer { start: NonNull::dangling(), len };
        }
        let layout = Self::layout(len);
        // SAFETY: the layout is not empty.
        let start = unsafe { alloc_zeroed(layout) }.cast::<f32>();
        match NonNull::new(start) {
            Some(start) => AlignedBuffer { start, len },
            None => handle_alloc_error(layout),
        }
    }

    fn layout(len: usize) -> Layout {
        let bytes = len.checked_mul(size_of::<f32>()).expect("a buffer's bytes fit in usize");
        Layout::from_size_align(bytes, ALIGNMENT).expect("a buffer's bytes fit in isize")
    }
}

impl Drop for AlignedBuffer {
    fn drop(&mut self) {
        if self.len != 0 {
            // SAFETY: allocated in `zeroed` with this layout, and not freed before.
            unsafe { dealloc(self.start.as_ptr().cast(), Self::layout(self.len)) }
        }
    }
}

impl Deref for AlignedBuffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: `len` initialised values start at `start`; an empty slice may dangle.
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
#[derive(Clone, Copy)]
pub(super) struct SharedMut(*mut f32);

// SAFETY: whoever dereferences it promises, at that place, that no two threads touch an element.
unsafe impl Send for SharedMut {}
// SAFETY: as above.
unsafe impl Sync for SharedMut {}

impl SharedMut {
    pub fn of(slice: &mut [f32]) -> SharedMut {
        SharedMut(slice.as_mut_ptr())
    }

    pub fn get(self) -> *mut f32 {
        self.0
    }
}

/// The rows of Y, written by several threads, each row piece by one of them.
#[derive(Clone, Copy)]
pub(super) struct OutputRows {
    start: SharedMut,
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
