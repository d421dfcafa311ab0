//! Kernels from source, compiled for the device at run time by NVRTC, with a cache on disk.
//!
//! The record says which source, compiled by what, with which options: the same source gives the
//! same bits by the arithmetic's contract, whatever the compiler does, and the digests show it.

use record::device::KernelRecord;
use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char};
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::{result, sys};
use cudarc::nvrtc::sys as nvrtc;

use super::device::Device;
use super::error::{Call, CudaError};
use contract::digest::Digest;

/// A file of `kernels/`.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// The file's name, such as `gemm_chain.cu`.
    pub name: &'static str,
    pub text: &'static str,
}

/// Headers that sources may include.
const HEADERS: [Source; 3] = [
    Source { name: "fixed_point.cuh", text: include_str!("../../../kernels/fixed_point.cuh") },
    Source { name: "round.cuh", text: include_str!("../../../kernels/round.cuh") },
    Source { name: "segments.cuh", text: include_str!("../../../kernels/segments.cuh") },
];

/// Never contract, never flush: the arithmetic is a contract.
const OPTIONS: [&str; 5] =
    ["-std=c++17", "-fmad=false", "-ftz=false", "-prec-div=true", "-prec-sqrt=true"];

/// The kernels of one device, each compiled once.
pub(super) struct Kernels {
    pub(super) architecture: (i32, i32),
    loaded: Mutex<HashMap<(String, String), Arc<Module>>>,
}

/// Machine code on the device.
pub struct Module {
    device: std::sync::Weak<Device>,
    handle: sys::CUmodule,
    pub record: KernelRecord,
}

// SAFETY: a module handle is used under the device's context, which each use makes current.
unsafe impl Send for Module {}
// SAFETY: as above; the driver's module calls are thread-safe.
unsafe impl Sync for Module {}

impl Kernels {
    pub(super) fn new(architecture: (i32, i32)) -> Kernels {
        Kernels { architecture, loaded: Mutex::default() }
    }
}

/// The architecture as NVRTC names it, with the instructions of that architecture alone where
/// there are any.
pub fn architecture_name((major, minor): (i32, i32)) -> String {
    let own = if major >= 9 { "a" } else { "" };
    format!("sm_{major}{minor}{own}")
}

impl Device {
    /// The module of a source under some defines, such as `BM=128`.
    pub fn module(
        self: &Arc<Device>,
        source: Source,
        defines: &[String],
    ) -> Result<Arc<Module>, CudaError> {
        let key = (source.name.to_owned(), defines.join(" "));
        // Held while compiling: two threads that want the same kernel compile it once.
        let mut loaded = self.kernels.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = loaded.get(&key) {
            return Ok(module.clone());
        }
        let name = architecture_name(self.kernels.architecture);
        let compiled = cubin(source, &name, defines)?;
        self.stream()?;
        // SAFETY: the image is a whole cubin, and is copied by the call.
        let handle = unsafe { result::module::load_data(compiled.bytes.as_ptr().cast()) }
            .call("cuModuleLoadData", || format!("{} for {name}", source.name))?;
        let module =
            Arc::new(Module { device: Arc::downgrade(self), handle, record: compiled.record });
        loaded.insert(key, module.clone());
        Ok(module)
    }

    /// All kernels loaded so far.
    pub fn kernels_loaded(&self) -> Vec<KernelRecord> {
        let loaded = self.kernels.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let mut records: Vec<KernelRecord> =
            loaded.values().map(|module| module.record.clone()).collect();
        records.sort();
        records
    }
}

impl Module {
    pub(super) fn function(&self, name: &str) -> Result<sys::CUfunction, CudaError> {
        let c_name = CString::new(name)
            .map_err(|_| CudaError::new("cuModuleGetFunction", "a name with a zero byte", name))?;
        // SAFETY: the module is loaded.
        unsafe { result::module::get_function(self.handle, c_name) }
            .call("cuModuleGetFunction", || format!("{name} of {}", self.record.source))
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        // Without the device the context is gone, and the module with it.
        if let Some(device) = self.device.upgrade()
            && device.stream().is_ok()
        {
            // SAFETY: loaded once, unloaded once. A failure leaves nothing to be done.
            let _ = unsafe { result::module::unload(self.handle) };
        }
    }
}

/// Machine code and how it came about.
pub struct Cubin {
    pub bytes: Vec<u8>,
    pub record: KernelRecord,
}

/// Compiles a source, or takes it from the cache.
///
/// `architecture` is a name such as `sm_90a`; no device is needed.
pub fn cubin(source: Source, architecture: &str, defines: &[String]) -> Result<Cubin, CudaError> {
    let compiler = compiler_version()?;
    let mut options: Vec<String> = vec![format!("-arch={architecture}")];
    options.extend(OPTIONS.map(Into::into));
    options.extend(defines.iter().map(|define| format!("-D{define}")));
    let mut text = source.text.as_bytes().to_vec();
    HEADERS.iter().for_each(|header| text.extend(header.text.as_bytes()));
    let source_sha256 = Digest::of(&text);
    let options_text = options.join(" ");
    let key = Digest::of(format!("{source_sha256} {options_text} {compiler}").as_bytes());
    let record = |bytes: &[u8]| KernelRecord {
        source: source.name.into(),
        source_sha256,
        options: options_text.clone(),
        compiler: compiler.clone(),
        cubin_sha256: Digest::of(bytes),
    };
    let path = crate::cache::folder().map(|folder| folder.join(format!("{key}.cubin")));
    if let Some(bytes) = path.as_ref().and_then(|path| cached(path)) {
        let record = record(&bytes);
        return Ok(Cubin { bytes, record });
    }
    let bytes = compile(source, &options)?;
    if let Some(path) = path {
        // A cache that cannot be written to costs time, nothing else.
        let mut entry = Digest::of(&bytes).to_string().into_bytes();
        entry.extend(&bytes);
        let _ = path.parent().map(std::fs::create_dir_all);
        let _ = crate::files::replace(&path, &entry);
    }
    let record = record(&bytes);
    Ok(Cubin { bytes, record })
}

/// A cache entry: the digest of the code in hexadecimal, then the code.
fn cached(path: &std::path::Path) -> Option<Vec<u8>> {
    let entry = std::fs::read(path).ok()?;
    let (digest, bytes) = entry.split_at_checked(64)?;
    (Digest::of(bytes).to_string().as_bytes() == digest).then(|| bytes.to_vec())
}

/// `NVRTC 13.0`, or why there is no compiler.
pub fn compiler_version() -> Result<String, CudaError> {
    // SAFETY: opens the library, whose initialisers are NVIDIA's.
    if !unsafe { nvrtc::is_culib_present() } {
        return Err(CudaError::new("dlopen", "libnvrtc was not found", "the kernel compiler")
            .hint("install the CUDA toolkit or PyPI's nvidia-cuda-nvrtc, and name its folder in LD_LIBRARY_PATH"));
    }
    let (mut major, mut minor) = (0, 0);
    // SAFETY: writes two integers.
    check(unsafe { nvrtc::nvrtcVersion(&mut major, &mut minor) }, "nvrtcVersion", "")?;
    Ok(format!("NVRTC {major}.{minor}"))
}

fn check(code: nvrtc::nvrtcResult, call: &str, asked: &str) -> Result<(), CudaError> {
    match code {
        nvrtc::nvrtcResult::NVRTC_SUCCESS => Ok(()),
        code => Err(CudaError::new(call, format!("{code:?}"), asked)),
    }
}

fn compile(source: Source, options: &[String]) -> Result<Vec<u8>, CudaError> {
    // Sources and options are ours: none holds a zero byte.
    let c = |text: &str| CString::new(text.replace('\0', " ")).unwrap_or_default();
    let (text, name) = (c(source.text), c(source.name));
    let header_texts = HEADERS.map(|header| c(header.text));
    let header_names = HEADERS.map(|header| c(header.name));
    let pointers =
        |strings: &[CString]| strings.iter().map(|s| s.as_ptr()).collect::<Vec<*const c_char>>();
    let options: Vec<CString> = options.iter().map(|option| c(option)).collect();
    let mut program = Program(std::ptr::null_mut());
    // SAFETY: all strings live until the program is destroyed at the end of this function.
    unsafe {
        let code = nvrtc::nvrtcCreateProgram(
            &mut program.0,
            text.as_ptr(),
            name.as_ptr(),
            HEADERS.len() as i32,
            pointers(&header_texts).as_ptr(),
            pointers(&header_names).as_ptr(),
        );
        check(code, "nvrtcCreateProgram", source.name)?;
        let asked = || {
            format!(
                "{} with {}",
                source.name,
                options.iter().map(|o| o.to_string_lossy()).collect::<Vec<_>>().join(" ")
            )
        };
        if let Err(error) = check(
            nvrtc::nvrtcCompileProgram(
                program.0,
                options.len() as i32,
                pointers(&options).as_ptr(),
            ),
            "nvrtcCompileProgram",
            &asked(),
        ) {
            return Err(CudaError { code: format!("{}\n{}", error.code, program.log()), ..error }
                .hint("this compiler does not accept the kernel: report the lines above with the compiler's version"));
        }
        let mut size = 0;
        check(nvrtc::nvrtcGetCUBINSize(program.0, &mut size), "nvrtcGetCUBINSize", source.name)?;
        let mut bytes = vec![0u8; size];
        check(
            nvrtc::nvrtcGetCUBIN(program.0, bytes.as_mut_ptr().cast()),
            "nvrtcGetCUBIN",
            source.name,
        )?;
        Ok(bytes)
    }
}

struct Program(nvrtc::nvrtcProgram);

impl Program {
    fn log(&self) -> String {
        let mut size = 0;
        // SAFETY: the program exists; the buffer is as long as asked for.
        unsafe {
            if check(nvrtc::nvrtcGetProgramLogSize(self.0, &mut size), "", "").is_err() {
                return String::new();
            }
            let mut log = vec![0u8; size.max(1)];
            if check(nvrtc::nvrtcGetProgramLog(self.0, log.as_mut_ptr().cast()), "", "").is_err() {
                return String::new();
            }
            CStr::from_bytes_until_nul(&log)
                .map(|log| log.to_string_lossy().trim().to_owned())
                .unwrap_or_default()
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: created once, destroyed once.
            unsafe { nvrtc::nvrtcDestroyProgram(&mut self.0) };
        }
    }
}
