//! A matrix in a checkpoint: where it lies in the bytes of a tensor, and its values, read by rows.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use safetensors::Dtype as Kind;
use sha2::{Digest as _, Sha256};

use super::encoding::{self, Encoding, F8_BLOCK, MX_BLOCK};
use super::header::{Entry, Fault};
use super::{WeightStats, WeightsError};
use contract::case::Stored;
use contract::digest::Digest;
use contract::dtype::Dtype;
use contract::words::quote;

/// Bytes read at once. Large enough that system calls do not show, small enough for the cache.
pub(super) const CHUNK_LEN: usize = 1 << 20;

/// A tensor as a file stores it.
#[derive(Clone, Debug)]
pub struct Raw {
    pub(super) path: PathBuf,
    pub(super) file: Arc<File>,
    pub(super) name: String,
    pub(super) entry: Entry,
}

impl Raw {
    fn malformed(&self, (message, hint): Fault) -> WeightsError {
        WeightsError::Malformed { path: self.path.clone(), message, hint }
    }

    /// Reads bytes of the tensor.
    fn read(&self, at: u64, bytes: &mut [u8]) -> Result<(), WeightsError> {
        self.file.read_exact_at(bytes, self.entry.bytes.start + at).map_err(|source| {
            let action = "read the tensor (has the file been cut since it was opened?)";
            WeightsError::Io { path: self.path.clone(), action, source }
        })
    }

    /// SHA-256 of the tensor's bytes.
    pub(super) fn digest(&self) -> Result<Digest, WeightsError> {
        let len = self.entry.bytes.end - self.entry.bytes.start;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; len.min(CHUNK_LEN as u64) as usize];
        let mut at = 0;
        while at < len {
            let chunk = &mut buffer[..(len - at).min(CHUNK_LEN as u64) as usize];
            self.read(at, chunk)?;
            hasher.update(&*chunk);
            at += chunk.len() as u64;
        }
        Ok(Digest::finish(hasher))
    }
}

/// Where A is in a tensor.
#[derive(Clone, Debug)]
struct Place {
    encoding: Encoding,
    /// Elements of the tensor before the stored matrix.
    before: usize,
    /// Rows and columns of the stored matrix.
    matrix: (usize, usize),
    /// The stored rows that are A's rows; where the matrix is transposed, the stored columns.
    window: Range<usize>,
}

/// Scales, one for each block of a stored matrix.
#[derive(Debug)]
struct Factors {
    values: Vec<f32>,
    /// Rows and columns of a block.
    block: (usize, usize),
    /// Blocks beside each other.
    columns: usize,
}

impl Factors {
    fn at(&self, row: usize, column: usize) -> f32 {
        self.values[row / self.block.0 * self.columns + column / self.block.1]
    }
}

/// A in a file: m x k, row-major.
#[derive(Debug)]
pub struct Tensor {
    raw: Raw,
    stored: Stored,
    place: Place,
    factors: Option<Factors>,
    m: usize,
    k: usize,
}

impl Tensor {
    /// A of m x k in `raw`, which is stored so; `scales` are there if `stored` names them. Reads the scales alone.
    pub(super) fn new(
        raw: Raw,
        scales: Option<&Raw>,
        stored: &Stored,
        (m, k): (usize, usize),
    ) -> Result<Tensor, WeightsError> {
        let place = place(&raw.name, &raw.entry, stored, (m, k));
        let place = place.map_err(|fault| raw.malformed(fault))?;
        let factors = scales.map(|scales| factors(scales, &raw, stored, &place)).transpose()?;
        Ok(Tensor { raw, stored: stored.clone(), place, factors, m, k })
    }

    /// The file that holds it.
    pub fn path(&self) -> &Path {
        &self.raw.path
    }

    pub fn name(&self) -> &str {
        &self.raw.name
    }

    /// Encoding of the stored elements.
    pub fn encoding(&self) -> Encoding {
        self.place.encoding
    }

    /// Whether values are products with scales, which are taken only where they are exact.
    pub fn is_scaled(&self) -> bool {
        self.factors.is_some()
    }

    /// m and k.
    pub fn shape(&self) -> (usize, usize) {
        (self.m, self.k)
    }

    pub(super) fn stored(&self) -> &Stored {
        &self.stored
    }

    /// Reads rows of A, exactly. `out` holds `rows.len() * k` values.
    ///
    /// Values that are not finite, or no binary32 numbers, are refused. Of a transposed matrix each stored row is read
    /// in part: k short reads, whatever the number of rows.
    pub fn rows(&self, rows: Range<usize>, out: &mut [f32]) -> Result<(), WeightsError> {
        assert!(rows.start <= rows.end && rows.end <= self.m, "rows {rows:?} of {}", self.m);
        assert_eq!(out.len(), rows.len() * self.k, "elements of rows {rows:?}");
        let window = self.place.window.start + rows.start..self.place.window.start + rows.end;
        if !self.stored.transposed {
            let columns = self.place.matrix.1;
            let mut at = 0;
            return self.chunks(window.start * columns..window.end * columns, |_, values| {
                out[at..at + values.len()].copy_from_slice(values);
                at += values.len();
            });
        }
        let mut at = 0;
        let k = self.k;
        self.strip(window, |values| {
            for value in values {
                let (column, row) = (at / rows.len(), at % rows.len());
                out[row * k + column] = *value;
                at += 1;
            }
        })
    }

    /// Reads everything once: SHA-256 of the tensor's bytes as stored unless it is `known`, and the magnitudes of A.
    ///
    /// Values that are not finite, or no binary32 numbers, are refused.
    pub fn pass(&self, known: Option<Digest>) -> Result<(Digest, WeightStats), WeightsError> {
        // Magnitudes of finite numbers are ordered as their bits are.
        let (mut min, mut max) = (u32::MAX, 0);
        let mut measure = |values: &[f32]| {
            for value in values {
                let bits = value.abs().to_bits();
                // Zero becomes the largest, so that it is never the smallest.
                min = min.min(bits.wrapping_sub(1));
                max = max.max(bits);
            }
        };
        let Place { matrix: (rows, columns), ref window, .. } = self.place;
        let across = if self.stored.transposed { columns } else { rows };
        let is_whole = self.stored.expert.is_none() && *window == (0..across);
        let digest = match known {
            None if is_whole => {
                let mut hasher = Sha256::new();
                self.chunks(0..rows * columns, |bytes, values| {
                    hasher.update(bytes);
                    measure(values);
                })?;
                Digest::finish(hasher)
            }
            known => {
                let digest = known.map_or_else(|| self.raw.digest(), Ok)?;
                match self.stored.transposed {
                    true => self.strip(window.clone(), measure)?,
                    false => {
                        let window = window.start * columns..window.end * columns;
                        self.chunks(window, |_, values| measure(values))?;
                    }
                }
                digest
            }
        };
        let min_nonzero = if max == 0 { 0.0 } else { f32::from_bits(min + 1) };
        Ok((digest, WeightStats { min_nonzero, max: f32::from_bits(max) }))
    }

    /// Reads a part of each stored row, one after the other.
    fn strip(
        &self,
        columns: Range<usize>,
        mut use_part: impl FnMut(&[f32]),
    ) -> Result<(), WeightsError> {
        let (rows, row_len) = self.place.matrix;
        if columns == (0..row_len) {
            return self.chunks(0..rows * row_len, |_, values| use_part(values));
        }
        for row in 0..rows {
            let first = row * row_len;
            self.chunks(first + columns.start..first + columns.end, |_, values| use_part(values))?;
        }
        Ok(())
    }

    /// Reads elements of the stored matrix in pieces: the bytes that hold them, and their values.
    fn chunks(
        &self,
        elements: Range<usize>,
        mut use_chunk: impl FnMut(&[u8], &[f32]),
    ) -> Result<(), WeightsError> {
        let bits = self.place.encoding.bits();
        let (mut at, end) = (elements.start, elements.end);
        let chunk = (8 * CHUNK_LEN / bits).min(end - at);
        let (mut bytes, mut values) = (vec![0u8; chunk * bits / 8 + 1], vec![0f32; chunk]);
        while at < end {
            let len = chunk.min(end - at);
            let (first, last) = (self.place.before + at, self.place.before + at + len);
            let start = first * bits / 8;
            let bytes = &mut bytes[..(last * bits).div_ceil(8) - start];
            let values = &mut values[..len];
            self.raw.read(start as u64, bytes)?;
            let odd = !(first * bits).is_multiple_of(8);
            self.place.encoding.decode(bytes, odd, values);
            self.scale(at, values)?;
            use_chunk(bytes, values);
            at += len;
        }
        Ok(())
    }

    /// Multiplies values, of elements from `at` on, by their scales. All must be finite, products exact.
    fn scale(&self, at: usize, values: &mut [f32]) -> Result<(), WeightsError> {
        let columns = self.place.matrix.1;
        let refuse = |i: usize, what: &str, fault: &str, hint: Option<&str>| {
            let name = quote(&self.raw.name);
            let of =
                self.stored.expert.map_or(String::new(), |expert| format!(", expert {expert}"));
            let (row, column) = ((at + i) / columns, (at + i) % columns);
            let message =
                format!("tensor {name}{of}: {what} at (row {row}, column {column}){fault}");
            Err(self.raw.malformed((message, hint.map(str::to_owned))))
        };
        if let Some(i) = values.iter().position(|x| !x.is_finite()) {
            return refuse(i, &values[i].to_string(), ", must be finite", None);
        }
        let Some(factors) = &self.factors else { return Ok(()) };
        let exact = |i: usize, value: f32| {
            let factor = factors.at((at + i) / columns, (at + i) % columns);
            // Four bits times 24 bits: exact in binary64.
            let product = f64::from(value) * f64::from(factor);
            let rounded = product as f32;
            let is_exact = rounded.is_finite() && f64::from(rounded) == product;
            is_exact.then_some(rounded).ok_or(factor)
        };
        for (i, value) in values.iter_mut().enumerate() {
            match exact(i, *value) {
                Ok(product) => *value = product,
                Err(factor) => {
                    let what = format!("{value} times scale {factor}");
                    return refuse(i, &what, " is no f32 number", Some(INEXACT));
                }
            }
        }
        Ok(())
    }
}

/// What to do where scales are no powers of two.
pub(super) const INEXACT: &str = "no rounding is chosen here: write the values, rounded as the model rounds them, to a checkpoint in F32, BF16 or F16";

/// Refuses a tensor that does not have A of m x k stored so, or that seems to have scales which nobody named, among
/// the `names` beside it: message and hint.
pub(super) fn check<'a>(
    name: &str,
    entry: &Entry,
    stored: &Stored,
    shape: (usize, usize),
    mut names: impl Iterator<Item = &'a str>,
) -> Result<(), Fault> {
    let place = place(name, entry, stored, shape)?;
    let is_small = !matches!(place.encoding, Encoding::Plain(_));
    if !is_small || stored.scales.is_some() {
        return Ok(());
    }
    let stem = name.strip_suffix(".weight").unwrap_or(name);
    let is_scale = |other: &&str| {
        other
            .strip_prefix(stem)
            .is_some_and(|rest| rest.contains("scale") && !rest.contains("input"))
    };
    match names.find(is_scale) {
        None => Ok(()),
        Some(scales) => {
            let scales = quote(scales);
            let message = format!("tensor {}: its values need their scales, {scales}", quote(name));
            Err((message, Some(format!("name them: `scales:` with {scales}"))))
        }
    }
}

/// Where A of m x k is in a tensor that is stored so; else message and hint.
fn place(
    name: &str,
    entry: &Entry,
    stored: &Stored,
    (m, k): (usize, usize),
) -> Result<Place, Fault> {
    let shown = quote(name);
    let (encoding, shape) = elements(name, entry, stored)?;
    let fail =
        |message: String, hint: Option<String>| Err((format!("tensor {shown}: {message}"), hint));
    let (index, rows, columns) = match (stored.expert, &shape[..]) {
        (None, &[rows, columns]) => (0, rows, columns),
        (Some(expert), &[stack, rows, columns]) => {
            if expert >= stack {
                let message =
                    format!("expected a stack of more than {expert} matrices, found {shape:?}");
                return fail(message, Some("the first matrix is `expert: 0`".to_owned()));
            }
            (expert, rows, columns)
        }
        (Some(_), _) => {
            let message = format!("expected a stack of matrices, found shape {shape:?}");
            return fail(message, Some("without `expert` a tensor is a matrix".to_owned()));
        }
        (None, _) => {
            let hint = (shape.len() == 3).then(|| {
                format!("it is a stack of {} matrices: `expert: I` takes one of them", shape[0])
            });
            return fail(format!("expected shape [{m}, {k}], found {shape:?}"), hint);
        }
    };
    let turn = |(a, b)| if stored.transposed { (b, a) } else { (a, b) };
    let (height, width) = turn((rows, columns));
    let window = stored.rows.clone().unwrap_or(0..height);
    let fits =
        window.start <= window.end && window.end <= height && window.len() == m && width == k;
    if !fits {
        let expected = match &stored.rows {
            None => {
                let (rows, columns) = turn((m, k));
                let why = if stored.transposed { ", the transpose of A" } else { "" };
                format!("expected shape [{rows}, {columns}]{why}")
            }
            Some(window) => {
                let what = if stored.transposed { "columns" } else { "rows" };
                let (start, end) = (window.start, window.end);
                let across = if stored.transposed { "rows" } else { "columns" };
                format!("expected {what} {start}..{end} with {k} {across}")
            }
        };
        let hint = match (&stored.rows, stored.transposed) {
            (None, false) if (rows, columns) == (k, m) => {
                Some("it is stored transposed: say `transposed: true`")
            }
            (None, true) if (rows, columns) == (m, k) => {
                Some("it is not stored transposed: leave `transposed` out")
            }
            (None, _) if width == k && height > m => {
                Some("`rows: [first, end]` takes a part of its rows")
            }
            _ => None,
        };
        let found = if stored.expert.is_some() {
            format!("{:?} of {shape:?}", [rows, columns])
        } else {
            format!("{shape:?}")
        };
        return fail(format!("{expected}, found {found}"), hint.map(str::to_owned));
    }
    Ok(Place { encoding, before: index * rows * columns, matrix: (rows, columns), window })
}

/// Encoding of a tensor's elements and its shape in elements; else message and hint.
fn elements(name: &str, entry: &Entry, stored: &Stored) -> Result<(Encoding, Vec<usize>), Fault> {
    let shown = quote(name);
    let Entry { dtype, shape, .. } = entry;
    let is_scaled = stored.scales.is_some();
    let encoding = match dtype {
        Kind::F32 => Encoding::Plain(Dtype::F32),
        Kind::F16 => Encoding::Plain(Dtype::F16),
        Kind::BF16 => Encoding::Plain(Dtype::Bf16),
        Kind::F8_E4M3 => Encoding::F8E4m3,
        Kind::F8_E5M2 => Encoding::F8E5m2,
        Kind::U8 if is_scaled => {
            let (Some(&[blocks, 16]), rest) =
                (shape.last_chunk::<2>(), &shape[..shape.len().saturating_sub(2)])
            else {
                let message = format!(
                    "tensor {shown}: expected blocks of 16 bytes [.., rows, blocks, 16], found U8 of shape {shape:?}"
                );
                return Err((message, None));
            };
            let columns = blocks
                .checked_mul(MX_BLOCK)
                .ok_or_else(|| (format!("tensor {shown}: its shape {shape:?} overflows"), None))?;
            return Ok((Encoding::F4E2m1, [rest, &[columns]].concat()));
        }
        other => {
            let message = format!("tensor {shown}: expected F32, F16, BF16 or F8, found {other}");
            let hint = match other {
                Kind::F64 => Some(FROM_F64.to_owned()),
                Kind::U8 if shape.last() == Some(&16) => {
                    Some("packed MXFP4 blocks? `scales: NAME` names their scales".to_owned())
                }
                _ => None,
            };
            return Err((message, hint));
        }
    };
    if is_scaled && matches!(encoding, Encoding::Plain(_)) {
        let message =
            format!("tensor {shown}: expected F8 or packed U8 with `scales`, found {dtype}");
        return Err((message, Some("F32, F16 and BF16 have none: leave `scales` out".to_owned())));
    }
    Ok((encoding, shape.clone()))
}

/// How a file of F64 becomes one of F32, in a line of Python.
pub(super) const FROM_F64: &str = "F64 has no place in a kernel of f32; round it once: `from safetensors.numpy import load_file, save_file; save_file({n: t.astype(\"float32\") if t.dtype == \"float64\" else t for n, t in load_file(\"in.safetensors\").items()}, \"out.safetensors\")`";

/// The scales of a matrix, read.
fn factors(
    scales: &Raw,
    of: &Raw,
    stored: &Stored,
    place: &Place,
) -> Result<Factors, WeightsError> {
    let (rows, columns) = place.matrix;
    let fail = |message: String| {
        Err(scales.malformed((format!("scales {}: {message}", quote(&scales.name)), None)))
    };
    let Entry { dtype, shape, .. } = &scales.entry;
    let is_mx = place.encoding == Encoding::F4E2m1;
    let decode: fn(&[u8], &mut [f32]) = match (is_mx, dtype) {
        (true, Kind::U8 | Kind::F8_E8M0) => |bytes, values| {
            for (value, byte) in values.iter_mut().zip(bytes) {
                *value = encoding::power(*byte);
            }
        },
        (false, Kind::F32) => |bytes, values| super::widen(Dtype::F32, bytes, values),
        (false, Kind::BF16) => |bytes, values| super::widen(Dtype::Bf16, bytes, values),
        (false, Kind::F16) => |bytes, values| super::widen(Dtype::F16, bytes, values),
        (true, other) => return fail(format!("expected U8 or F8_E8M0, found {other}")),
        (false, other) => return fail(format!("expected F32, F16 or BF16, found {other}")),
    };
    // Of a stack: the scales of the one matrix, or one scale of all.
    let (index, own) = match (stored.expert, &shape[..]) {
        (Some(expert), [stack, own @ ..]) if *stack == of.entry.shape[0] => (expert, own),
        (Some(_), own @ ([] | [1])) => (0, own),
        (Some(_), _) => {
            return fail(format!(
                "expected a stack of {}, found shape {shape:?}",
                of.entry.shape[0]
            ));
        }
        (None, own) => (0, own),
    };
    let blocks = |rows_each: usize, columns_each: usize| {
        ((rows_each, columns_each), columns.div_ceil(columns_each), rows.div_ceil(rows_each))
    };
    let layouts = if is_mx {
        vec![(blocks(1, MX_BLOCK), vec![rows, columns / MX_BLOCK])]
    } else {
        let whole = blocks(rows.max(1), columns.max(1));
        let by_row = blocks(1, columns.max(1));
        let by_block = blocks(F8_BLOCK, F8_BLOCK);
        vec![
            (whole, vec![]),
            (whole, vec![1]),
            (whole, vec![1, 1]),
            (by_row, vec![rows]),
            (by_row, vec![rows, 1]),
            (by_block, vec![by_block.2, by_block.1]),
        ]
    };
    let Some(((block, across, _), _)) = layouts.iter().find(|(_, shape)| shape[..] == *own) else {
        let expected: Vec<String> = layouts.iter().map(|(_, shape)| format!("{shape:?}")).collect();
        let message = format!(
            "expected shape {} for {rows} x {columns}, found {own:?}",
            expected.join(" or ")
        );
        return fail(message);
    };
    let count: usize = own.iter().product();
    let size = dtype.bitsize() / 8;
    let (mut bytes, mut values) = (vec![0; count * size], vec![0f32; count]);
    scales.read((index * count * size) as u64, &mut bytes)?;
    decode(&bytes, &mut values);
    if let Some(at) = values.iter().position(|value| !value.is_finite()) {
        let width = own.get(1).copied().unwrap_or(1).max(1);
        let (row, column) = (at / width, at % width);
        return fail(format!("{} at (row {row}, column {column}), must be finite", values[at]));
    }
    Ok(Factors { values, block: *block, columns: *across })
}
