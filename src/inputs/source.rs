//! Where unpruned weights come from: the seam at which checkpoints and published recipes join.

use std::ops::Range;

use super::spec::Values;
use super::stream::Stream;
use super::synthetic;
use crate::matrix::Dtype;

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
    pub values: Values,
    pub stream: Stream,
    pub dtype: Dtype,
    pub k: usize,
}

impl Source for Synthetic {
    fn read(&self, rows: Range<usize>, out: &mut [f32]) -> Result<(), SourceError> {
        let first = rows.start as u64 * self.k as u64;
        synthetic::fill(self.values, &self.stream, self.dtype, first, out);
        Ok(())
    }
}

/// Values held in memory, so that several passes over them cost one reading.
pub struct Held {
    pub values: Vec<f32>,
    pub k: usize,
}

impl Source for Held {
    fn read(&self, rows: Range<usize>, out: &mut [f32]) -> Result<(), SourceError> {
        out.copy_from_slice(&self.values[rows.start * self.k..rows.end * self.k]);
        Ok(())
    }
}
