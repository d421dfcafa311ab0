//! `verify doctor`: what this machine can verify and measure, and what is missing.

use std::sync::Arc;

use std::path::{Path, PathBuf};

use clap::Args;

use super::list::print;
use super::list::print_json;
use super::options::Printed;
use crate::backend::cuda::Device;
use crate::doctor;
use crate::failure::Failure;
use crate::published::Machine;
use crate::rules::vectors;
use contract::arithmetic::bf16_dot::Instruction;
use contract::arithmetic::tensor_core::Architecture;
use contract::words;
use record;
use record::DeviceRecord;
use record::exit::{REFUTED, VERIFIED};

#[derive(Args, Debug, Clone)]
pub struct DoctorArgs {
    /// Find out which arithmetic each library follows on this machine
    #[arg(long)]
    pub arithmetic: bool,
    /// Have the tensor cores of a CUDA device compute chained dot products, write them to FILE, and say which models
    /// they refute; nothing else is examined
    ///
    /// Each set is computed by mma.sync, by our own operator, and by cuBLAS where it is installed. Exit code 1: an
    /// output is not that of the device's published model.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["arithmetic", "format"], group = "on_a_device")]
    pub vectors: Option<PathBuf>,
    /// With --vectors: have this processor's own bf16 instruction compute them, in place of a device's tensor cores
    ///
    /// Exit code 1: an output is not that of the instruction's rule; 4: the processor has no such instruction.
    #[arg(long, value_name = "NAME", requires = "vectors", conflicts_with = "device")]
    pub instruction: Option<InstructionName>,
    /// Draw published inputs whose recipe is known again, and compare their digests with the published ones;
    /// nothing else is examined
    ///
    /// What PyTorch's generators drew on devices named in the publications. Uniform tensors are drawn on the CPU,
    /// normal ones need a CUDA device of any kind. Exit code 1: a digest is another; 3: one could not be made here.
    #[arg(long, conflicts_with = "arithmetic", group = "on_a_device")]
    pub published: bool,
    /// The CUDA device for --vectors and --published
    #[arg(long, value_name = "N", default_value_t = 0, requires = "on_a_device")]
    pub device: usize,
    #[command(flatten)]
    pub printed: Printed,
}

/// A bf16 instruction of CPUs.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstructionName {
    /// TDPBF16PS
    AmxBf16,
    /// VDPBF16PS
    #[value(name = "avx512-bf16")]
    Avx512Bf16,
}

pub fn run(args: &DoctorArgs) -> Result<u8, Failure> {
    crate::backend::cpu::make_pool();
    if let Some(path) = &args.vectors {
        return match args.instruction {
            Some(name) => measure_instruction(path, name),
            None => measure_vectors(path, args.device),
        };
    }
    if args.published {
        return draw_published(args);
    }
    let report = doctor::report(args.arithmetic);
    if args.printed.is_json() {
        print_json(&serde_json::json!(report));
    } else {
        print(&report.to_string());
    }
    Ok(VERIFIED)
}

/// Draws published inputs again. What needs a device and has none is not run, with the reason.
fn draw_published(args: &DoctorArgs) -> Result<u8, Failure> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let machine =
        Machine { threads, device: Device::open(args.device).map(|device| Arc::new(device) as _) };
    let report = doctor::published(&machine).map_err(Failure::environment)?;
    if args.printed.is_json() {
        print_json(&serde_json::json!(report));
    } else {
        print(&report.to_string());
    }
    Ok(report.exit_code())
}

/// Writes what a device's tensor cores compute, and says what does not fit their published models.
fn measure_vectors(path: &Path, ordinal: usize) -> Result<u8, Failure> {
    let device = Device::open(ordinal).map_err(Failure::environment)?;
    let Some(architecture) = Architecture::of(device.compute_capability()) else {
        return Err(Failure::environment(format!(
            "{} has no tensor cores (compute capability {})",
            device.info.name, device.info.compute_capability
        )));
    };
    let (implementations, missing) = vectors::implementations(&device);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut on = || DeviceRecord { device: device.info.clone(), kernels: device.kernels_loaded() };
    let file = vectors::measure(
        &mut on,
        architecture,
        &implementations,
        missing,
        vectors::REPEATS,
        threads,
    )
    .map_err(Failure::environment)?;
    written(path, &file.to_text(), &file.summary(), &file.replay())
}

/// Writes what this processor's instruction computes, and says what does not fit its rule.
fn measure_instruction(path: &Path, name: InstructionName) -> Result<u8, Failure> {
    let instruction = match name {
        InstructionName::AmxBf16 => Instruction::Amx,
        InstructionName::Avx512Bf16 => Instruction::Avx512,
    };
    let file = vectors::measure_instruction(instruction).map_err(|why| {
        Failure::environment(format!("the vectors of {instruction} are not measured: {why}"))
    })?;
    written(path, &file.to_text(), &file.summary(), &file.replay())
}

fn written(path: &Path, text: &str, summary: &str, wrong: &[String]) -> Result<u8, Failure> {
    crate::files::replace(path, text.as_bytes()).map_err(|error| {
        Failure::environment(format!("failed to write {}: {error}", path.display()))
    })?;
    print(summary);
    wrong.iter().for_each(|line| print(&format!("! {line}\n")));
    print(&format!("wrote {}\n", words::path(path)));
    Ok(if wrong.is_empty() { VERIFIED } else { REFUTED })
}
