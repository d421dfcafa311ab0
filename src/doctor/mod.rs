//! What can be verified and measured on this machine, and what is missing for the rest.

mod cuda;
mod published;

use record::environment::Environment;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

pub use cuda::Cuda;
pub use published::{PublishedReport, PublishedTensor, published};

use crate::baseline;
use crate::check::bits;
use crate::environment::environment;
use crate::measure::{EnergyCounter, POWERCAP, Rapl};
use crate::rules::probe;
use crate::rules::probe::{Followed, Setting, Shape};
use crate::weights::{InForce, Settings};
use crate::worker::{Distant, Workers};
use contract::dtype::Dtype;
use record::baseline::{Kind, Missing};

/// Everything that `verify doctor` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DoctorReport {
    pub environment: Environment,
    pub baselines: Vec<Found>,
    pub baselines_missing: Vec<Missing>,
    pub cuda: Cuda,
    pub energy: Availability,
    /// Where pinned revisions of models are looked for.
    pub weights: Availability,
    /// How the hub is asked, and which variable says so.
    pub hub: Vec<InForce>,
    pub can: Vec<String>,
    pub cannot: Vec<String>,
    /// What libraries were seen to follow; empty unless asked for.
    pub arithmetic: Vec<Followed>,
}

/// A baseline that can run here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    pub name: String,
    pub kind: Kind,
    pub library: String,
    pub version: String,
}

/// Something that is there, or why it is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Availability {
    pub available: bool,
    /// What it is, or the reason.
    pub detail: String,
}

/// Examines this machine. With `arithmetic` every baseline is probed, which takes seconds, and minutes
/// with a device: what its libraries compute is computed again here.
pub fn report(arithmetic: bool) -> DoctorReport {
    // Before libraries are opened, which sets the floating-point modes anew: what a run would find.
    let environment = environment();
    let workers = Workers::open(environment.cores);
    let energy = match Rapl::open(Path::new(POWERCAP)) {
        Ok(rapl) => Availability { available: true, detail: rapl.name() },
        Err(reason) => Availability { available: false, detail: reason },
    };
    let settings = Settings::from_environment();
    let weights = match settings.cache.as_ref().map(|cache| &cache.value) {
        Some(folder) => {
            let available = folder.is_dir();
            let absent = if available { "" } else { "no folder " };
            Availability { available, detail: format!("{absent}{}", folder.display()) }
        }
        None => Availability { available: false, detail: "no home folder is set".into() },
    };
    let (cuda, devices) = cuda::cuda();
    let (mut can, mut cannot) = (Vec::new(), Vec::new());
    if environment.float_environment_is_ieee {
        can.push("verify every digest of every manifest, those of accelerators included".into());
        can.push(format!("measure on the CPU, with up to {} threads", environment.cores));
    } else {
        cannot.push(format!("verify any digest: {}", bits::NOT_IEEE));
    }
    cuda.can(&mut can, &mut cannot);
    if !energy.available {
        cannot.push(format!("measure energy: {}", energy.detail));
    }
    let mut missing: Vec<Missing> = workers.missing().cloned().collect();
    let vendors = |name: &str| missing.iter().any(|missing| missing.name == name);
    if vendors("openblas") && vendors("onemkl") {
        cannot.push("compare with a vendor's CPU library: none was found".into());
    }
    let rivals = workers.hosts.into_iter().flat_map(|hosted| hosted.rivals);
    let mut found: Vec<Found> = rivals
        .map(|rival| Found {
            name: rival.name,
            kind: rival.kind,
            library: rival.library,
            version: rival.version,
        })
        .collect();
    let mut followed = if arithmetic { followed(environment.cores) } else { Vec::new() };
    // All devices have the same libraries.
    if let Some(device) = devices.first() {
        let there = cuda::f32_baselines(device);
        found.extend(there.available.into_iter().map(|baseline| Found {
            name: baseline.operator.name(),
            kind: baseline.rival.kind,
            library: baseline.rival.library,
            version: format!("{} on {}", baseline.rival.version, device.info.name),
        }));
        missing.extend(there.missing);
        if arithmetic {
            followed.extend(cuda::followed(device, environment.cores));
        }
    }
    DoctorReport {
        arithmetic: followed,
        baselines: found,
        baselines_missing: missing,
        cuda,
        environment,
        energy,
        weights,
        hub: settings.in_force(),
        can,
        cannot,
    }
}

/// Any seed serves: the probe compares all elements.
const PROBE_SEED: u64 = 1;

/// Probes every dense and sparse baseline on one thread and, where there are more, on all. The
/// compacted ones are their dense libraries at another m.
fn followed(cores: usize) -> Vec<Followed> {
    let mut thread_counts = vec![1, cores];
    thread_counts.dedup();
    let mut rows = Vec::new();
    for threads in thread_counts {
        let workers = Workers::open(threads);
        let rivals: Vec<(usize, String)> = workers
            .hosts
            .iter()
            .enumerate()
            .flat_map(|(host, hosted)| hosted.rivals.iter().map(move |rival| (host, rival)))
            .filter(|(_, rival)| rival.kind != Kind::Compacted)
            .map(|(host, rival)| (host, rival.name.clone()))
            .collect();
        let workers = Arc::new(Mutex::new(workers));
        for (host, name) in rivals {
            let distant = Distant { workers: workers.clone(), host, name: name.clone() };
            for shape in probe::SHAPES {
                let dtype = baseline::only_dtype(&name).unwrap_or(Dtype::F32);
                let setting = Setting { dtype, ..Setting::cpu(threads, PROBE_SEED) };
                match probe::probe(&distant, &[shape], setting) {
                    Ok(followed) => rows.extend(followed),
                    Err(error) => rows.push(not_probed(&name, shape, threads, &error)),
                }
            }
        }
    }
    rows
}

/// A row that says why there is no finding.
fn not_probed(operator: &str, shape: Shape, threads: usize, error: &dyn fmt::Display) -> Followed {
    Followed {
        operator: format!("{operator} failed: {error}").replace('\n', "; "),
        shape,
        threads,
        model: None,
        can_be_named: false,
        tried: 0,
        elements: 0,
        unlike_chain: 0,
    }
}

/// The report as short text.
impl fmt::Display for DoctorReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let e = &self.environment;
        let gib = |bytes: u64| format!("{:.1} GiB", bytes as f64 / (1u64 << 30) as f64);
        let yes = |yes: bool| if yes { "yes" } else { "no" };
        writeln!(f, "machine")?;
        let memory = e.memory_bytes.map_or("unknown memory".into(), gib);
        writeln!(f, "  processor   {}, {} core(s), {memory}", e.cpu_model, e.cores)?;
        let kernel = e.kernel.as_deref().unwrap_or("unknown kernel");
        writeln!(f, "  system      {}, {kernel}, {}", e.os, e.architecture)?;
        writeln!(f, "  kernels     {} (can run: {})", e.isa, e.isa_available.join(", "))?;
        writeln!(
            f,
            "  SHA-256     {}",
            if e.sha_instructions { "instructions" } else { "software" }
        )?;
        writeln!(f, "  IEEE state  {}", yes(e.float_environment_is_ieee))?;
        let revision = e.git_revision.as_ref().map_or(String::new(), |r| format!(", {r}"));
        writeln!(f, "  verify      {}{revision}", e.tool_version)?;
        for (what, it) in [("energy", &self.energy), ("weights", &self.weights)] {
            let absent = if it.available { "" } else { "not available: " };
            writeln!(f, "  {what:10}  {absent}{}", it.detail)?;
        }
        writeln!(f, "hub of models")?;
        for InForce { name, value, origin } in &self.hub {
            let origin = if origin == "default" { String::new() } else { format!(" ({origin})") };
            writeln!(f, "  {name:11} {value}{origin}")?;
        }
        writeln!(f, "CUDA")?;
        for (name, text) in self.cuda.lines() {
            writeln!(f, "  {name:10}  {text}")?;
        }
        writeln!(f, "baselines")?;
        for found in &self.baselines {
            writeln!(f, "  {:20}  {}, {}", found.name, found.library, found.version)?;
        }
        // A library that is missing takes several baselines with it: its reason is said once.
        for missing in self.baselines_missing.chunk_by(|x, y| x.reason == y.reason) {
            let names: Vec<_> = missing.iter().map(|missing| missing.name.as_str()).collect();
            writeln!(f, "  {}: {}", names.join(", "), missing[0].reason)?;
        }
        for (head, lines) in [("can", &self.can), ("cannot", &self.cannot)] {
            writeln!(f, "{head}")?;
            for line in lines {
                writeln!(f, "  {line}")?;
            }
        }
        if !self.arithmetic.is_empty() {
            writeln!(f, "arithmetic seen here (library, version, machine, shape and threads)")?;
            let rows = probe::table(&self.arithmetic);
            let width = rows.iter().map(|row| row[0].len()).filter(|&width| width < 32).max();
            let width = width.unwrap_or(0).max(12);
            for [library, shape, threads, model, like] in
                std::iter::once(probe::TABLE_HEAD.map(String::from)).chain(rows)
            {
                writeln!(f, "  {library:width$} {shape:16} {threads:>7}  {like:>17}  {model}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_what_is_there_and_what_is_not() {
        let report = report(false);
        let text = report.to_string();
        println!("{text}");
        for line in ["machine", "hub of models", "CUDA", "baselines", "can", "cannot"] {
            assert!(text.contains(line), "{line} in {text}");
        }
        for missing in &report.baselines_missing {
            assert!(text.contains(&missing.reason));
        }
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<DoctorReport>(&json).unwrap(), report);
    }
}
