//! Options that say where weights come from and with how much machine, and what is made of them.

use std::path::PathBuf;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

use crate::audit::{Auditor, HeldInputs};
use crate::backend::cpu::Isa;
use crate::operator;
use crate::output::note;
use crate::weights::Resolver;
use contract::words::quote;
use record::shared::SharedOutputs;

/// Where weights come from, and with how much machine.
#[derive(Args, Debug, Clone)]
pub struct Resources {
    /// Folder with weights files, looked at before the Hugging Face cache and the hub
    #[arg(long, value_name = "DIR")]
    pub weights: Option<PathBuf>,
    /// Never use the network: weights of models must be on this machine [also: HF_HUB_OFFLINE=1]
    #[arg(long)]
    pub offline: bool,
    /// Threads to use [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Run the operator on CUDA device N, on all of them with a case each at a time, or on the CPU [default: on the device
    /// that a manifest's platform names, where there is one, else on the CPU]
    #[arg(long, value_name = "N|all|cpu", value_parser = device)]
    pub device: Option<DeviceChoice>,
    /// Dispatch path of the CPU kernels; all give the same bits [default: the fastest here]
    #[arg(long, value_name = "ISA", value_parser = isa)]
    pub isa: Option<Isa>,
}

impl Resources {
    pub fn threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, |cores| cores.get());
        self.threads.map_or_else(cores, usize::from)
    }

    /// The `--device` that was given, as records keep it.
    pub fn device_text(&self) -> Option<String> {
        self.device.map(|choice| match choice {
            DeviceChoice::Cpu => "cpu".into(),
            DeviceChoice::Cuda(ordinal) => ordinal.to_string(),
            DeviceChoice::All => "all".into(),
        })
    }

    /// Where weights come from. On a terminal a bar shows what is fetched, unless `quiet`.
    pub fn resolver(&self, quiet: bool) -> Resolver {
        let mut resolver = Resolver::new(self.weights.clone(), self.offline);
        if let Some(hub) = resolver.hub.as_mut().filter(|_| !quiet) {
            // Draws nothing where stderr is no terminal.
            hub.bar = bytes_bar;
            hub.say = say_note;
        }
        if !quiet {
            resolver.say = say_note;
        }
        resolver
    }

    pub fn isa(&self) -> Isa {
        self.isa.unwrap_or_else(Isa::best)
    }

    /// Audits our own operator's bits on the CPU, and measures nothing.
    pub fn auditor(&self, quiet: bool) -> Auditor<'static> {
        crate::backend::cpu::make_pool();
        Auditor {
            isa: self.isa(),
            threads: self.threads(),
            nonce: None,
            measuring: None,
            device: None,
            stranger: None,
            weights: self.resolver(quiet),
            fetches_optional: true,
            operator: &operator::skip_operator,
            held: HeldInputs::default(),
            seen: SharedOutputs::default(),
        }
    }
}

fn say_note(what: &str) {
    note(&format!("note: {what}"));
}

/// A bar for so many bytes of a tensor, gone when it is dropped.
fn bytes_bar(tensor: &str, len: u64) -> ProgressBar {
    const TEMPLATE: &str =
        "{msg} {bar:30} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}";
    let bar = ProgressBar::with_draw_target(Some(len), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
        bar.set_style(style);
    }
    bar.set_message(format!("fetching {}", quote(tensor)));
    bar.with_finish(ProgressFinish::AndClear)
}

/// Where the operator runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceChoice {
    Cpu,
    Cuda(usize),
    /// Every CUDA device, each with cases of its own.
    All,
}

fn device(text: &str) -> Result<DeviceChoice, String> {
    match text {
        "cpu" => Ok(DeviceChoice::Cpu),
        "all" => Ok(DeviceChoice::All),
        number => number
            .parse()
            .map(DeviceChoice::Cuda)
            .map_err(|_| "expected the number of a CUDA device, `all` or `cpu`".into()),
    }
}

fn isa(text: &str) -> Result<Isa, String> {
    let known = || Isa::available().map(Isa::name).collect::<Vec<_>>().join(", ");
    match Isa::from_name(text) {
        Some(isa) if isa.is_available() => Ok(isa),
        Some(_) => Err(format!("this processor has no {text} (it has: {})", known())),
        None => Err(format!("not a dispatch path (known here: {})", known())),
    }
}
