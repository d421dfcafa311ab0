//! `verify doctor`: what this machine can verify and measure, and what is missing.

use super::DoctorArgs;
use super::list::print;
use crate::doctor;
use crate::exit::{Failure, VERIFIED};

pub fn run(args: &DoctorArgs) -> Result<u8, Failure> {
    let report = doctor::report(args.arithmetic);
    if args.json {
        print(&format!("{:#}\n", serde_json::json!(report)));
    } else {
        print(&report.to_string());
    }
    Ok(VERIFIED)
}
