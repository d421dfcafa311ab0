use serde::{Deserialize, Serialize};
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Default)]
pub struct Environment {
    pub cpu: String,
}
impl Environment {
    pub fn read() -> Environment {
        Environment { cpu: String::new() }
    }
}
