//! Where unpruned weights come from: the seam at which checkpoints and published recipes join.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::spec::Values;
use super::stream::Stream;
use super::synthetic::Fill;
use crate::dtype::Dtype;
use crate::threads;

/// An m x k matrix of values of one dtype, any rows of which can be read alone.
pub trait Source: Send + Sync {
    /// Fills `out`, whose length is that of `rows` times k, row-major. Every zero is +0.
    fn read(&self, rows: Range<usize>, out: &mut [f32]) -> Result<(), SourceError>;
}

/// Why values could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// They are there, and outside what can be verified.
    #[error("{0}")]
    Refused(String),
    /// The machine failed: a file that changed or broke under the reader.
    #[error("{0}")]
    Environment(String),
}

/// Values by formula.
pub struct Synthetic {
    /// The distribution.
    pub values: Values,
    /// The stream of its random words.
    pub stream: Stream,
    /// The dtype that values are rounded to.
    pub dtype: Dtype,
    /// Columns of the matrix.
    pub k: usize,
    /// The function that turns words into values.
    pub fill: Fill,
}

impl Source for Synthetic {
    fn read(&self, rows: Range<usize>, out: &mut [f32]) -> Result<(), SourceError> {
        let first = rows.start as u64 * self.k as u64;
        (self.fill)(self.values, &self.stream, self.dtype, first, out);
        Ok(())
    }
}

/// Values held in memory, so that several passes over them cost one reading.
pub struct Held {
    /// All elements, row-major.
    pub values: Vec<f32>,
    /// Columns of the matrix.
    pub k: usize,
}

impl Source for Held {
    fn read(&self, rows: Range<usize>, out: &mut [f32]) -> Result<(), SourceError> {
        out.copy_from_slice(&self.values[rows.start * self.k..rows.end * self.k]);
        Ok(())
    }
}

impl Held {
    /// Sources up to this many bytes are held, so that a run can stay within 2 GiB.
    pub const BYTES_MAX: usize = 512 << 20;

    /// A whole m x k source as `fill` fills it in, if it is small enough to be held.
    pub fn filled<E>(
        (m, k): (usize, usize),
        fill: impl FnOnce(&mut [f32]) -> Result<(), E>,
    ) -> Result<Option<Held>, E> {
        if m * k * size_of::<f32>() > Held::BYTES_MAX || k == 0 {
            return Ok(None);
        }
        let mut values = vec![0.0; m * k];
        fill(&mut values)?;
        Ok(Some(Held { values, k }))
    }

    /// The same, read some rows at a time.
    pub fn read(
        source: &dyn Source,
        (m, k): (usize, usize),
        threads: usize,
    ) -> Result<Option<Held>, SourceError> {
        Held::filled((m, k), |values| {
            let failure = Mutex::new(None);
            threads::fill(threads, values, 64 * k, |first, part| {
                let rows = first / k..(first + part.len()) / k;
                if let Err(error) = source.read(rows, part) {
                    failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                }
            });
            failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
        })
    }
}

impl Source for Arc<Held> {
    fn read(&self, rows: Range<usize>, out: &mut [f32]) -> Result<(), SourceError> {
        (**self).read(rows, out)
    }
}
