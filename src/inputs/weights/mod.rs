use super::source::{Source, SourceError};
use std::path::PathBuf;
pub struct Stats;
impl Stats {
    pub fn is_moderate(&self) -> bool {
        true
    }
}
pub struct Tensor {
    pub stats: Stats,
}
impl Source for Tensor {
    fn read(&self, _r: std::ops::Range<usize>, _o: &mut [f32]) -> Result<(), SourceError> {
        Ok(())
    }
}
pub struct Resolver {
    pub dir: Option<PathBuf>,
    pub offline: bool,
}
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    #[error("{s}")]
    NotFound { s: String },
    #[error("{s}")]
    DigestMismatch { s: String },
    #[error("{s}")]
    Malformed { s: String },
    #[error("{s}")]
    Io { s: String },
}
impl Resolver {
    pub fn new(dir: Option<PathBuf>, offline: bool) -> Resolver {
        Resolver { dir, offline }
    }
    pub fn open(
        &mut self,
        _m: &crate::manifest::Manifest,
        _c: &crate::manifest::Case,
    ) -> Result<Tensor, WeightsError> {
        Err(WeightsError::NotFound { s: "no".into() })
    }
}
