//! Sparse product Y = A V, A in CSR, in binary32, behind the C interface of `include/sparse_verify_operator.h`.
//!
//! Each element follows the rule `f32-chain`: y = +0, and y = fma(a[k], v[k], y) for k ascending.

use std::ffi::{c_char, c_int, c_void};
use std::slice::{from_raw_parts, from_raw_parts_mut};

/// `DLTensor`, of float32 and row-major.
#[repr(C)]
pub struct Tensor {
    data: *mut f32,
    device: [i32; 2],
    ndim: i32,
    dtype: [u16; 2],
    shape: *const [i64; 2],
    strides: *const [i64; 2],
    byte_offset: u64,
}

pub struct Csr {
    threads: usize,
    row_offsets: Vec<usize>,
    /// Column and value of each element that is not zero, row by row.
    entries: Vec<(usize, f32)>,
}

/// `sv_settings` begins with these two numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv_open(&[abi, threads]: &[u32; 2], handle: &mut *mut Csr) -> c_int {
    let csr = Csr { threads: threads as usize, row_offsets: vec![0], entries: vec![] };
    *handle = Box::into_raw(Box::new(csr));
    (abi != 1).into()
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv_build(csr: &mut Csr, a: &Tensor) -> c_int {
    let [m, k] = unsafe { *a.shape }.map(|size| size as usize);
    for row in unsafe { from_raw_parts(a.data.byte_add(a.byte_offset as usize), m * k) }.chunks(k) {
        csr.entries.extend(row.iter().copied().enumerate().filter(|(_, value)| *value != 0.0));
        csr.row_offsets.push(csr.entries.len());
    }
    0
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv_apply(csr: &Csr, v: &Tensor, y: &Tensor, _: *mut c_void) -> c_int {
    let [[k, n], [m, _]] = unsafe { [*v.shape, *y.shape] }.map(|sizes| sizes.map(|n| n as usize));
    let v = unsafe { from_raw_parts(v.data.byte_add(v.byte_offset as usize), k * n) };
    let y = unsafe { from_raw_parts_mut(y.data.byte_add(y.byte_offset as usize), m * n) };
    // Fewer products take less time than a thread that is started for them.
    let rows = m.div_ceil((csr.entries.len() * n / 1_000_000).clamp(1, csr.threads));
    let multiply = |(part, y): (usize, &mut [f32])| {
        for (y, ends) in y.chunks_mut(n).zip(csr.row_offsets[part * rows..].windows(2)) {
            y.fill(0.0);
            for &(column, a) in &csr.entries[ends[0]..ends[1]] {
                y.iter_mut().zip(&v[column * n..]).for_each(|(y, &v)| *y = a.mul_add(v, *y));
            }
        }
    };
    std::thread::scope(|scope| {
        let mut parts = y.chunks_mut(rows * n).enumerate();
        let own = parts.next();
        parts.for_each(|part| drop(scope.spawn(move || multiply(part))));
        own.into_iter().for_each(multiply);
    });
    0
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn sv_close(csr: *mut Csr) {
    drop(unsafe { Box::from_raw(csr) });
}

#[unsafe(no_mangle)]
pub extern "C" fn sv_last_error(_: *mut Csr) -> *const c_char {
    std::ptr::null()
}
