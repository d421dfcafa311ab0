use super::DoctorArgs;
use crate::exit::Failure;
pub fn run(_args: &DoctorArgs) -> Result<u8, Failure> {
    Ok(0)
}
