//! A checkpoint's tensor as a source of A.

use std::ops::Range;

use contract::dtype::Dtype;
use contract::inputs::source::{Source, SourceError};
use contract::words::quote;

use super::tensor::INEXACT;
use super::{Tensor, WeightStats, WeightsError};

/// A checkpoint's tensor, rounded to a case's dtype.
pub struct Checkpoint {
    pub tensor: Tensor,
    pub dtype: Dtype,
}

impl Source for Checkpoint {
    fn read(&self, rows: Range<usize>, out: &mut [f32]) -> Result<(), SourceError> {
        let first = rows.start;
        self.tensor.rows(rows, out)?;
        // Adding +0 turns -0 into +0.
        let exact = self.tensor.is_scaled().then(|| out.to_vec());
        self.dtype.round_all(out);
        out.iter_mut().for_each(|x| *x += 0.0);
        let rounded = exact.and_then(|exact| {
            let at = exact.iter().zip(&*out).position(|(exact, rounded)| exact != rounded)?;
            Some((at, exact[at]))
        });
        if let Some((at, value)) = rounded {
            let k = self.tensor.shape().1.max(1);
            return Err(SourceError::Refused(format!(
                "tensor {} element ({}, {}) with its scale is {value}, no {} number\nhint: {INEXACT}",
                quote(self.tensor.name()),
                first + at / k,
                at % k,
                self.dtype
            )));
        }
        match out.iter().position(|x| !x.is_finite()) {
            None => Ok(()),
            Some(at) => {
                let k = self.tensor.shape().1.max(1);
                Err(SourceError::Refused(format!(
                    "tensor `{}` element ({}, {}) overflows {}",
                    self.tensor.name(),
                    first + at / k,
                    at % k,
                    self.dtype
                )))
            }
        }
    }
}

impl From<WeightsError> for SourceError {
    fn from(error: WeightsError) -> SourceError {
        match error {
            WeightsError::Io { .. } | WeightsError::NotFound { .. } | WeightsError::Hub { .. } => {
                SourceError::Environment(error.to_string())
            }
            WeightsError::Malformed { .. }
            | WeightsError::Pointer { .. }
            | WeightsError::DigestMismatch { .. } => SourceError::Refused(error.to_string()),
        }
    }
}

/// Whether scaling by 8 can neither overflow nor meet subnormals (VERIFY.md section 6).
pub fn is_moderate(stats: &WeightStats) -> bool {
    stats.max == 0.0 || (stats.min_nonzero >= 2f32.powi(-60) && stats.max <= 2f32.powi(60))
}
