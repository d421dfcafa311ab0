//! Files that a stranger made: everything about them is checked before the first element is read. Whatever they are,
//! nothing is waited for, nothing is followed, and no more memory is taken than asked for.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use ndarray::Array2;
use ndarray_npy::npy::header::Header;

use super::Layout;
use crate::files;
use crate::weights::{parse_header, widen};
use contract::dtype::Dtype;
use contract::words::{self, quote, visible_lines};

/// Bytes of a .npy file's header, at most: NumPy's is one of 128 for a matrix.
const NPY_HEADER_MAX: usize = 1024;
/// Bytes of a safetensors file's header, at most: that of a few tensors has a few hundred.
const SAFETENSORS_HEADER_MAX: u64 = 1 << 20;
/// The first bytes of a .npy file.
const NPY_MAGIC: &[u8] = b"\x93NUMPY";

/// Why a file cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum TensorError {
    /// There is no such file, or it has other outputs alone.
    #[error("{}: not there", words::path(.0))]
    Absent(PathBuf),
    /// The file is not what was asked for.
    #[error("{}: {}\nhint: {hint}", words::path(path), visible_lines(message))]
    Malformed { path: PathBuf, message: String, hint: String },
    /// The machine failed.
    #[error("{}: failed to {action}: {error}", words::path(path))]
    Io { path: PathBuf, action: &'static str, error: io::Error },
}

/// A matrix in a file, of a known layout.
pub struct TensorFile {
    path: PathBuf,
    file: File,
    /// Of its first byte in the file.
    start: u64,
    layout: Layout,
}

impl TensorFile {
    /// Opens a .npy or safetensors file, by what it holds, that has the matrix `name` of this layout. A safetensors file
    /// has it under that name, or has one tensor; others there may be are `known`.
    pub fn open(
        path: &Path,
        name: &str,
        layout: Layout,
        known: &[&str],
    ) -> Result<TensorFile, TensorError> {
        let malformed = |(message, hint)| {
            let path = path.to_owned();
            TensorError::Malformed { path, message, hint }
        };
        let failed = |action| {
            move |error: io::Error| TensorError::Io { path: path.to_owned(), action, error }
        };
        let file = files::open_regular(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => TensorError::Absent(path.to_owned()),
            ErrorKind::InvalidInput => malformed((
                error.to_string(),
                "give the file itself: what comes from elsewhere is not followed".into(),
            )),
            _ => failed("open the file")(error),
        })?;
        let len = file.metadata().map_err(failed("look at the file"))?.len();
        let mut first = vec![0; len.min(NPY_HEADER_MAX as u64 + 12) as usize];
        file.read_exact_at(&mut first, 0).map_err(failed("read the header"))?;
        let start = if first.starts_with(NPY_MAGIC) {
            npy_start(&first, len, layout).map_err(malformed)?
        } else if first.is_empty() {
            let hint = "a file that was not written to its end, or not at all".to_owned();
            return Err(malformed((format!("expected {}, found no bytes", shape(layout)), hint)));
        } else {
            let header =
                safetensors_header(&file, &first, len).map_err(failed("read the header"))?;
            let header = header.map_err(malformed)?;
            let start = safetensors_start(&header, len, name, layout, known).map_err(malformed)?;
            start.ok_or_else(|| TensorError::Absent(path.to_owned()))?
        };
        Ok(TensorFile { path: path.to_owned(), file, start, layout })
    }

    /// Reads rows, widened exactly to binary32, whatever the values are.
    pub fn rows(&self, rows: Range<usize>) -> Result<Array2<f32>, TensorError> {
        let Layout { columns, dtype, .. } = self.layout;
        let len = rows.len() * columns;
        let (mut bytes, mut values) = (vec![0; len * dtype.size()], vec![0.0; len]);
        let start = self.start + (rows.start * columns * dtype.size()) as u64;
        self.file.read_exact_at(&mut bytes, start).map_err(|error| {
            let action = "read the elements (has the file been cut since it was opened?)";
            TensorError::Io { path: self.path.clone(), action, error }
        })?;
        widen(dtype, &bytes, &mut values);
        let rows = Array2::from_shape_vec((rows.len(), columns), values);
        Ok(rows.unwrap_or_else(|_| unreachable!("as many values as elements")))
    }
}

/// A message and what to do about it.
type Fault = (String, String);

/// `float32 of shape (3, 5)`, as NumPy says it.
fn shape(Layout { rows, columns, dtype }: Layout) -> String {
    format!("{} of shape ({rows}, {columns})", numpy_name(dtype))
}

fn numpy_name(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F32 => "float32",
        Dtype::F16 => "float16",
        Dtype::Bf16 => "bfloat16 as uint16",
    }
}

/// The offset of the first element of a .npy file, of which `first` are the first bytes.
fn npy_start(first: &[u8], len: u64, layout: Layout) -> Result<u64, Fault> {
    let truncated = || {
        let hint = "the file was not written to its end: write it again".to_owned();
        (format!("truncated: its {len} bytes end within the header"), hint)
    };
    let odd = |why: String| {
        let hint = "`numpy.save` of one plain matrix writes what is expected".to_owned();
        (format!("the header is not that of a .npy file of one matrix: {why}"), hint)
    };
    let version = *first.get(6).ok_or_else(truncated)?;
    let prefix = if version == 1 { 10 } else { 12 };
    let bytes = first.get(8..prefix).ok_or_else(truncated)?;
    let header_len = bytes.iter().rev().fold(0usize, |len, byte| len << 8 | usize::from(*byte));
    if header_len > NPY_HEADER_MAX {
        return Err(odd(format!("it has {header_len} bytes, more than {NPY_HEADER_MAX}")));
    }
    let end = prefix + header_len;
    let header = first.get(..end).ok_or_else(truncated)?;
    // One dictionary and one tuple. What is nested deeper, the parser would follow.
    const BRACKETS_MAX: usize = 4;
    if header[prefix..].iter().filter(|byte| b"([{".contains(byte)).count() > BRACKETS_MAX {
        return Err(odd("its dtype has parts".into()));
    }
    let header = Header::from_reader(&mut &*header).map_err(|error| odd(error.to_string()))?;
    let descr = header.type_descriptor.as_string().map_or("", String::as_str);
    let wanted = layout.npy_descr();
    if descr != wanted {
        let is_big = descr.starts_with('>') && descr.get(1..) == wanted.get(1..);
        let what = if is_big { "big-endian" } else { "another dtype" };
        let astype = match layout.dtype {
            Dtype::F32 | Dtype::F16 => format!("save `y.astype('{wanted}')`"),
            Dtype::Bf16 => format!("save the 16 bits of each element, `y.view('{wanted}')`"),
        };
        return Err((
            format!("{what}: expected '{wanted}' ({}), found {descr:?}", numpy_name(layout.dtype)),
            astype,
        ));
    }
    if header.layout.is_fortran() && layout.rows > 1 && layout.columns > 1 {
        let hint = "save `numpy.ascontiguousarray(y)`".to_owned();
        return Err(("Fortran order: expected rows one after the other (C order)".into(), hint));
    }
    if header.shape != [layout.rows, layout.columns] {
        return Err(other_shape(&header.shape, layout));
    }
    let (expected, found) = (layout.bytes(), len - end as u64);
    if expected != found {
        let what = if found < expected { "too short" } else { "too long" };
        let hint = match found < expected {
            true => "the file was not written to its end: write it again",
            false => "there is more in it than the matrix: one matrix a file",
        };
        let message = format!("{what}: expected {expected} bytes of elements, found {found}");
        return Err((message, hint.to_owned()));
    }
    Ok(end as u64)
}

fn other_shape(found: &[usize], layout: Layout) -> Fault {
    let Layout { rows, columns, .. } = layout;
    let hint = match found == [columns, rows] {
        true => "it is transposed",
        false => "an output of another case, or of a part of this one?",
    };
    (format!("another shape: expected [{rows}, {columns}], found {found:?}"), hint.to_owned())
}

/// The length and the JSON of a safetensors file's header; the inner error is the file's fault.
fn safetensors_header(file: &File, first: &[u8], len: u64) -> io::Result<Result<Vec<u8>, Fault>> {
    let hint = || "write a .npy file with `numpy.save`, or a safetensors file".to_owned();
    let Some(prefix) = first.first_chunk::<8>() else {
        let message = format!("neither a .npy nor a safetensors file: it has {len} bytes");
        return Ok(Err((message, hint())));
    };
    let header_len = u64::from_le_bytes(*prefix);
    if header_len > SAFETENSORS_HEADER_MAX || first.get(8).is_some_and(|byte| *byte != b'{') {
        let message = "neither a .npy nor a safetensors file, by its first bytes".to_owned();
        return Ok(Err((message, hint())));
    }
    if header_len > len - 8 {
        let message = format!("truncated: its {len} bytes end within the header");
        return Ok(Err((message, "the file was not written to its end: write it again".into())));
    }
    let mut bytes = vec![0; 8 + header_len as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(Ok(bytes))
}

/// The offset of the first element of the tensor in a safetensors file; `None` if the file is one of other tensors that
/// are known.
fn safetensors_start(
    header: &[u8],
    len: u64,
    name: &str,
    layout: Layout,
    known: &[&str],
) -> Result<Option<u64>, Fault> {
    let header = parse_header(header, len).map_err(|(message, _)| {
        (message, "the file was not written to its end, or not by a safetensors library".into())
    })?;
    let names: Vec<&str> = header.tensor_names().collect();
    let own = match &names[..] {
        _ if names.contains(&name) => name,
        [only] if !known.contains(only) => only,
        _ if !names.is_empty() && names.iter().all(|name| known.contains(name)) => return Ok(None),
        _ => {
            let list: Vec<String> = names.iter().take(5).map(|name| quote(name)).collect();
            let message =
                format!("expected a tensor `{name}`, found {} ({})", names.len(), list.join(", "));
            let hint = format!("name it `{name}`, or write a file with that tensor alone");
            return Err((message, hint));
        }
    };
    let found = header.shape(own).unwrap_or_default();
    if found != [layout.rows, layout.columns] {
        return Err(other_shape(found, layout));
    }
    let wanted = layout.safetensors_dtype();
    let other = |found: &dyn std::fmt::Display| {
        let message = format!("another dtype: expected {wanted}, found {found}");
        (message, format!("convert it to {} before it is written", layout.dtype))
    };
    let entry = header.entry(own).map_err(|(message, _)| other(&message))?;
    if entry.dtype != wanted {
        return Err(other(&entry.dtype));
    }
    Ok(Some(entry.bytes.start))
}
