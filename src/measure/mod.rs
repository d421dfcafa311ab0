use serde::{Deserialize, Serialize};
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurement {}
#[derive(Default, Clone)]
pub struct Settings;
