//! Files that are written row by row. Headers are made by the libraries that define them.

use std::io::{self, Write as _};
use std::path::Path;

use ndarray::Array2;
use ndarray_npy::npy::header::{Header, Layout as Order};
use safetensors::tensor::{Metadata, TensorInfo};

use super::Layout;
use crate::files::Parts;

/// A .npy file in the making.
pub struct Npy(Parts, Encoder);

impl Npy {
    /// Begins the file. All rows must follow.
    pub fn begin(path: &Path, layout: Layout) -> io::Result<Npy> {
        let mut file = Parts::begin(path)?;
        let descr = format!("'{}'", layout.npy_descr());
        let header = Header {
            type_descriptor: descr.parse().map_err(io::Error::other)?,
            layout: Order::Standard,
            shape: vec![layout.rows, layout.columns],
        };
        file.write_all(&header.to_bytes().map_err(io::Error::other)?)?;
        Ok(Npy(file, Encoder::default()))
    }

    /// Appends rows.
    pub fn rows(&mut self, layout: Layout, rows: &Array2<f32>) -> io::Result<()> {
        self.0.write_all(self.1.encode(layout, rows))
    }

    /// Moves the whole file to its place.
    pub fn finish(self) -> io::Result<()> {
        self.0.finish()
    }
}

/// A safetensors file in the making.
pub struct Safetensors(Parts, Encoder);

impl Safetensors {
    /// Begins the file. All rows of all tensors must follow, in the order given.
    pub fn begin(path: &Path, tensors: &[(&str, Layout)]) -> io::Result<Safetensors> {
        let mut at = 0;
        let infos = tensors.iter().map(|(name, layout)| {
            let end = at + layout.bytes() as usize;
            let info = TensorInfo {
                dtype: layout.safetensors_dtype(),
                shape: vec![layout.rows, layout.columns],
                data_offsets: (std::mem::replace(&mut at, end), end),
            };
            ((*name).to_owned(), info)
        });
        let metadata = Metadata::new(None, infos.collect()).map_err(io::Error::other)?;
        let mut json = serde_json::to_vec(&metadata).map_err(io::Error::other)?;
        // Tensors begin where numbers may.
        json.resize(json.len().next_multiple_of(8), b' ');
        let mut file = Parts::begin(path)?;
        file.write_all(&(json.len() as u64).to_le_bytes())?;
        file.write_all(&json)?;
        Ok(Safetensors(file, Encoder::default()))
    }

    /// Appends rows of the tensor whose turn it is.
    pub fn rows(&mut self, layout: Layout, rows: &Array2<f32>) -> io::Result<()> {
        self.0.write_all(self.1.encode(layout, rows))
    }

    /// Moves the whole file to its place.
    pub fn finish(self) -> io::Result<()> {
        self.0.finish()
    }
}

/// Bytes of elements, in memory that is used again.
#[derive(Default)]
struct Encoder(Vec<u8>);

impl Encoder {
    fn encode(&mut self, layout: Layout, rows: &Array2<f32>) -> &[u8] {
        self.0.clear();
        let values = rows.as_slice().unwrap_or_else(|| unreachable!("panels are row-major"));
        layout.dtype.encode(values, &mut self.0);
        &self.0
    }
}
