//! An operator behind the C interface of `include/sparse_verify_operator.h`, opened in this process: only a stranger's own
//! process does that.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::path::Path;

use contract::dtype::Dtype;
use libloading::Library;

use super::Error;
use super::cuda::Buffer;

/// The version of the interface.
const ABI: u32 = 1;

/// DLPack's `DLDevice`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Device {
    kind: i32,
    id: i32,
}

const CPU: Device = Device { kind: 1, id: 0 };
/// The first that the process sees.
const CUDA: Device = Device { kind: 2, id: 0 };

/// DLPack's `DLDataType`.
#[repr(C)]
struct DataType {
    code: u8,
    bits: u8,
    lanes: u16,
}

impl DataType {
    fn of(dtype: Dtype) -> DataType {
        let code = if dtype == Dtype::Bf16 { 4 } else { 2 };
        DataType { code, bits: 8 * dtype.size() as u8, lanes: 1 }
    }
}

/// DLPack's `DLTensor`.
#[repr(C)]
struct Tensor {
    data: *mut c_void,
    device: Device,
    ndim: i32,
    dtype: DataType,
    shape: *mut i64,
    strides: *mut i64,
    byte_offset: u64,
}

/// `sv_settings`.
#[repr(C)]
struct Settings {
    abi: u32,
    threads: u32,
    arithmetic: *const c_char,
    device: Device,
}

type Open = unsafe extern "C" fn(*const Settings, *mut *mut c_void) -> c_int;
type Build = unsafe extern "C" fn(*mut c_void, *const Tensor) -> c_int;
type Apply = unsafe extern "C" fn(*mut c_void, *const Tensor, *const Tensor, *mut c_void) -> c_int;
type Close = unsafe extern "C" fn(*mut c_void);
type LastError = unsafe extern "C" fn(*mut c_void) -> *const c_char;

/// A library with the five functions.
pub struct ForeignLibrary {
    open: Open,
    build: Build,
    apply: Apply,
    close: Close,
    last_error: LastError,
}

/// A handle of a library, built from one A.
pub struct ForeignBuilt<'a> {
    library: &'static ForeignLibrary,
    handle: *mut c_void,
    /// What the library was told of A: it may keep the address.
    _tensor: Box<Described>,
    shape: (usize, usize),
    /// A, which the library may keep using.
    _a: PhantomData<&'a [u8]>,
}

// SAFETY: all calls are made from one thread at a time; the interface says so.
unsafe impl Send for ForeignBuilt<'_> {}
// SAFETY: as above; `apply` is called by one thread.
unsafe impl Sync for ForeignBuilt<'_> {}

/// A tensor with the arrays that it points to.
struct Described {
    tensor: Tensor,
    shape: [i64; 2],
    strides: [i64; 2],
}

/// Elements of a row-major matrix, as they are stored, in memory that lives as long as `'a`.
pub struct Elements<'a> {
    address: *mut c_void,
    bytes: usize,
    dtype: Dtype,
    device: Device,
    _memory: PhantomData<&'a [u8]>,
}

impl<'a> Elements<'a> {
    /// To be read.
    pub fn of(bytes: &'a [u8], dtype: Dtype) -> Elements<'a> {
        Elements::new(bytes.as_ptr().cast_mut().cast(), bytes.len(), dtype, CPU)
    }

    /// To be written.
    pub fn of_mut(bytes: &'a mut [u8], dtype: Dtype) -> Elements<'a> {
        Elements::new(bytes.as_mut_ptr().cast(), bytes.len(), dtype, CPU)
    }

    /// On a CUDA device, whose memory this process does not touch itself.
    pub fn on_cuda(memory: &'a Buffer, dtype: Dtype) -> Elements<'a> {
        Elements::new(memory.pointer() as *mut c_void, memory.bytes(), dtype, CUDA)
    }

    fn new(address: *mut c_void, bytes: usize, dtype: Dtype, device: Device) -> Elements<'a> {
        Elements { address, bytes, dtype, device, _memory: PhantomData }
    }

    /// An error unless there are as many bytes as a matrix has.
    fn require(&self, (rows, columns): (usize, usize)) -> Result<(), Error> {
        let wanted = rows.checked_mul(columns).and_then(|len| len.checked_mul(self.dtype.size()));
        match wanted == Some(self.bytes) {
            true => Ok(()),
            false => Err(Error::Unsupported("a matrix of another size than was said".into())),
        }
    }
}

impl Described {
    fn new(elements: &Elements<'_>, (rows, columns): (usize, usize)) -> Box<Described> {
        // Sizes of memory that exists.
        let shape = [rows as i64, columns as i64];
        let mut described = Box::new(Described {
            tensor: Tensor {
                data: elements.address,
                device: elements.device,
                ndim: 2,
                dtype: DataType::of(elements.dtype),
                shape: std::ptr::null_mut(),
                strides: std::ptr::null_mut(),
                byte_offset: 0,
            },
            shape,
            strides: [columns as i64, 1],
        });
        described.tensor.shape = described.shape.as_mut_ptr();
        described.tensor.strides = described.strides.as_mut_ptr();
        described
    }
}

impl ForeignLibrary {
    /// Opens a library; an error in words if that fails, or if it lacks a function.
    pub fn open(path: &Path) -> Result<&'static ForeignLibrary, Error> {
        // SAFETY: the library's initialisers run, which is why this process is a stranger's own.
        let library = unsafe { Library::new(path) };
        // Never closed: its threads may run on.
        let library: &'static Library =
            Box::leak(Box::new(library.map_err(|error| Error::Unsupported(error.to_string()))?));
        let lacks =
            |name: &str| Error::Unsupported(format!("the library has no function `{name}`"));
        macro_rules! function {
            ($name:literal) => {
                // SAFETY: the function has this type by the interface; the library stays open.
                *unsafe { library.get($name) }
                    .map_err(|_| lacks(&String::from_utf8_lossy($name)))?
            };
        }
        Ok(Box::leak(Box::new(ForeignLibrary {
            open: function!(b"sv_open"),
            build: function!(b"sv_build"),
            apply: function!(b"sv_apply"),
            close: function!(b"sv_close"),
            last_error: function!(b"sv_last_error"),
        })))
    }

    fn fail(&self, what: &str, code: c_int, handle: *mut c_void) -> Error {
        // SAFETY: by the interface, NULL or a text that lives until the next call.
        let text = unsafe {
            let text = (self.last_error)(handle);
            (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
        };
        let text = text.map_or(String::new(), |text| format!(": {text}"));
        Error::Environment(format!("{what} failed with {code}{text}"))
    }

    /// A handle built from A (rows x columns, row-major), which the library may keep using while the handle is there.
    pub fn build<'a>(
        &'static self,
        a: Elements<'a>,
        shape: (usize, usize),
        arithmetic: &str,
        threads: usize,
    ) -> Result<ForeignBuilt<'a>, Error> {
        a.require(shape)?;
        let arithmetic = CString::new(arithmetic).unwrap_or_default();
        let settings = Settings {
            abi: ABI,
            threads: u32::try_from(threads).unwrap_or(u32::MAX),
            arithmetic: arithmetic.as_ptr(),
            device: a.device,
        };
        let mut handle = std::ptr::null_mut();
        // SAFETY: as the interface asks for; the texts live until the call returns.
        let code = unsafe { (self.open)(&settings, &mut handle) };
        if code != 0 {
            return Err(self.fail("sv_open", code, std::ptr::null_mut()));
        }
        let tensor = Described::new(&a, shape);
        let built = ForeignBuilt { library: self, handle, _tensor: tensor, shape, _a: PhantomData };
        // SAFETY: the handle is open, and A is there as long as `built`.
        let code = unsafe { (self.build)(handle, &built._tensor.tensor) };
        if code != 0 {
            return Err(self.fail("sv_build", code, handle));
        }
        Ok(built)
    }
}

impl ForeignBuilt<'_> {
    /// Writes y = a v, both row-major; v has `n` columns, y has A's rows. On a device it may not be there yet: it was put into
    /// the default stream.
    pub fn apply(&self, v: Elements<'_>, y: Elements<'_>, n: usize) -> Result<(), Error> {
        let (of_v, of_y) = ((self.shape.1, n), (self.shape.0, n));
        v.require(of_v)?;
        y.require(of_y)?;
        let (v, y) = (Described::new(&v, of_v), Described::new(&y, of_y));
        // SAFETY: the handle is built; V and Y have these shapes.
        let code = unsafe {
            (self.library.apply)(self.handle, &v.tensor, &y.tensor, std::ptr::null_mut())
        };
        match code {
            0 => Ok(()),
            code => Err(self.library.fail("sv_apply", code, self.handle)),
        }
    }
}

impl Drop for ForeignBuilt<'_> {
    fn drop(&mut self) {
        // SAFETY: opened, and not closed before.
        unsafe { (self.library.close)(self.handle) };
    }
}
