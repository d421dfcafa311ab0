//! A manifest that was read and validated: plain data. How it is read is the kit's business.

use std::path::PathBuf;

use contract::case::Case;
use contract::digest::Digest;
use serde::{Deserialize, Serialize};

use crate::claims::{Claim, ModelConfig, Page, Published};

/// A validated manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The file's stem: `h200` for `manifests/h200.yaml`.
    pub name: String,
    /// Path of the file.
    pub path: PathBuf,
    /// What the manifest is about, in a line.
    pub title: String,
    /// The hardware that the timings are about; `None` for any.
    pub platform: Option<String>,
    /// Digest of the file's bytes.
    pub sha256: Digest,
    /// In the order of the text, as are the cases.
    pub sections: Vec<SectionInfo>,
    /// Empty only where there are claims.
    pub cases: Vec<Case>,
    /// What is published, of sections and of everything.
    pub claims: Vec<Claim>,
    /// The page whose numbers it accounts for.
    pub page: Option<Page>,
}

/// Whether a platform is something other than a processor.
pub fn names_accelerator(platform: &str) -> bool {
    ["NVIDIA", "AMD Instinct", "AMD MI"].iter().any(|maker| platform.starts_with(maker))
}

/// What a section says of itself beyond its cases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SectionInfo {
    /// The section's name.
    pub name: String,
    /// Where it begins.
    pub line: u32,
    /// What of the publication it stands for.
    pub published: Option<Published>,
    /// The sections whose shapes it has with synthetic weights.
    pub twin_of: Vec<String>,
    /// Configuration of the model that its shapes are said to be of.
    pub config: Option<ModelConfig>,
}

impl Manifest {
    /// The published section that a case of this manifest stands for.
    pub fn published_as(&self, case: &Case) -> Option<&Published> {
        let section = self.sections.iter().find(|section| section.name == case.section)?;
        section.published.as_ref()
    }
}
