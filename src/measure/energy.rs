//! Energy from counters, over windows of seconds.

use record::timings::Window;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::Clock;
use crate::worker::RemoteMonitor;

/// Where Linux shows RAPL, Intel's and AMD's alike.
pub const POWERCAP: &str = "/sys/class/powercap";

/// Shortest window from which a figure is taken: RAPL counts in steps of about a millisecond and
/// its clock is not ours, so that a second keeps both below one percent.
pub const WINDOW_S_MIN: f64 = 1.0;
/// The same for NVML, whose counter moves every 20 to 100 ms: some percent at the edges.
const NVML_WINDOW_S_MIN: f64 = 1.5;

/// Counters that only rise, until they wrap.
pub trait EnergyCounter: Sync {
    /// What is counted, such as `RAPL package-0`.
    fn name(&self) -> String;

    /// One reading of each counter, in microjoules.
    fn read_uj(&self) -> Result<Vec<u64>, String>;

    /// The largest value of each counter, after which it starts at 0.
    fn range_uj(&self) -> Vec<u64>;

    /// Shortest window from which a figure is taken, in seconds.
    fn window_s_min(&self) -> f64 {
        WINDOW_S_MIN
    }
}

/// Joules between two readings, each counter having wrapped at most once.
pub fn energy_j(counter: &dyn EnergyCounter, before: &[u64], after: &[u64]) -> f64 {
    let microjoules: u64 =
        before
            .iter()
            .zip(after)
            .zip(counter.range_uj())
            .map(|((&before, &after), range)| {
                if after >= before { after - before } else { range.saturating_sub(before) + after }
            })
            .sum();
    microjoules as f64 * 1e-6
}

/// The package counters of RAPL.
#[derive(Clone, Debug)]
pub struct Rapl {
    /// Name, counter file, range.
    packages: Vec<(String, PathBuf, u64)>,
}

impl Rapl {
    /// Finds the packages below `root` (usually [`POWERCAP`]), or says why they cannot be read.
    pub fn open(root: &Path) -> Result<Rapl, String> {
        let zones = fs::read_dir(root).map_err(|error| format!("{}: {error}", root.display()))?;
        let mut packages = Vec::new();
        for zone in zones.flatten().map(|zone| zone.path()) {
            let read = |file: &str| {
                let path = zone.join(file);
                fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
            };
            // The same package is shown again by other interfaces (`intel-rapl-mmio`).
            let is_rapl = zone
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("intel-rapl:"));
            // Cores and memory are inside or beside a package; only packages are added up.
            let Ok(name) = read("name") else { continue };
            if !is_rapl || !name.starts_with("package") {
                continue;
            }
            read("energy_uj")?;
            let range = read("max_energy_range_uj")?;
            let range =
                range.trim().parse().map_err(|_| format!("{}: no range", zone.display()))?;
            packages.push((name.trim().to_string(), zone.join("energy_uj"), range));
        }
        packages.sort();
        if packages.is_empty() {
            return Err(format!("no RAPL package in {}", root.display()));
        }
        Ok(Rapl { packages })
    }
}

impl EnergyCounter for Rapl {
    fn name(&self) -> String {
        let names: Vec<_> = self.packages.iter().map(|(name, ..)| name.as_str()).collect();
        format!("RAPL {}", names.join(" + "))
    }

    fn read_uj(&self) -> Result<Vec<u64>, String> {
        self.packages
            .iter()
            .map(|(_, path, _)| {
                let text =
                    fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
                text.trim().parse().map_err(|_| format!("{}: no number", path.display()))
            })
            .collect()
    }

    fn range_uj(&self) -> Vec<u64> {
        self.packages.iter().map(|(.., range)| *range).collect()
    }
}

/// The total energy of a board.
impl EnergyCounter for RemoteMonitor<'_> {
    fn name(&self) -> String {
        format!("NVML {}", self.name)
    }

    fn read_uj(&self) -> Result<Vec<u64>, String> {
        Ok(vec![self.energy_uj()?])
    }

    fn range_uj(&self) -> Vec<u64> {
        vec![u64::MAX]
    }

    fn window_s_min(&self) -> f64 {
        NVML_WINDOW_S_MIN
    }
}

/// A counter that a test drives.
#[derive(Debug)]
pub struct MockEnergy {
    uj: AtomicU64,
    range_uj: u64,
}

impl MockEnergy {
    pub fn new(start_uj: u64, range_uj: u64) -> MockEnergy {
        MockEnergy { uj: AtomicU64::new(start_uj), range_uj }
    }

    /// Counts on, wrapping.
    pub fn add_uj(&self, uj: u64) {
        let next = (self.uj.load(Ordering::Relaxed) + uj) % (self.range_uj + 1);
        self.uj.store(next, Ordering::Relaxed);
    }
}

impl EnergyCounter for MockEnergy {
    fn name(&self) -> String {
        "mock".into()
    }

    fn read_uj(&self) -> Result<Vec<u64>, String> {
        Ok(vec![self.uj.load(Ordering::Relaxed)])
    }

    fn range_uj(&self) -> Vec<u64> {
        vec![self.range_uj]
    }
}

/// Calls `work`, which says how many calls it made, until the window is full.
pub fn open_window(
    counter: &dyn EnergyCounter,
    clock: &dyn Clock,
    window_ns: u64,
    mut work: impl FnMut() -> Result<u64, String>,
) -> Result<Window, String> {
    let before = counter.read_uj()?;
    let start = clock.now_ns();
    let mut calls = 0;
    let elapsed = loop {
        calls += work()?;
        let elapsed = clock.now_ns() - start;
        if elapsed >= window_ns {
            break elapsed;
        }
    };
    let energy_j = energy_j(counter, &before, &counter.read_uj()?);
    let seconds = elapsed as f64 * 1e-9;
    Ok(Window { seconds, calls, energy_j, power_w: energy_j / seconds })
}

#[cfg(test)]
mod tests {
    use super::super::MockClock;
    use record::timings::Energy;

    use super::*;

    #[test]
    fn a_wrapped_counter_counts_on() {
        let counter = MockEnergy::new(900, 1000);
        let before = counter.read_uj().unwrap();
        counter.add_uj(300);
        let after = counter.read_uj().unwrap();
        assert_eq!(after, [199]);
        // The counter holds 0 ..= range, so one step in range + 1 is lost by the kernel's own
        // definition of the range.
        assert_eq!(energy_j(&counter, &before, &after), 299e-6);
    }

    #[test]
    fn windows_give_joules_a_call_above_idle() {
        let (clock, counter) = (MockClock::default(), MockEnergy::new(0, u64::MAX >> 1));
        let run = |ns: u64, uj: u64| {
            open_window(&counter, &clock, 1_000_000_000, || {
                clock.advance_ns(ns);
                counter.add_uj(uj);
                Ok(1)
            })
            .unwrap()
        };
        let idle = run(100_000_000, 1_000_000);
        assert_eq!((idle.calls, idle.power_w), (10, 10.0));
        let busy = Energy::of(run(250_000_000, 10_000_000), &idle, WINDOW_S_MIN);
        assert_eq!(busy.joules_per_call, 10.0);
        assert_eq!(busy.joules_per_call_above_idle, 7.5);
        assert_eq!(busy.idle_power_w, 10.0);
        assert!(busy.is_valid);
        let short = Energy::of(run(250_000_000, 10_000_000), &idle, 3.0);
        assert_eq!(short, Energy { is_valid: false, ..busy });
        assert!(!Energy::of(run(1_000_000_000, 1), &idle, WINDOW_S_MIN).is_valid);
    }

    #[test]
    fn rapl_is_read_or_a_reason() {
        let root = tempfile::tempdir().unwrap();
        let reason = Rapl::open(&root.path().join("nothing")).unwrap_err();
        assert!(reason.contains("nothing"), "{reason}");
        assert!(Rapl::open(root.path()).unwrap_err().starts_with("no RAPL package in "));

        for (zone, name, uj) in [
            ("intel-rapl:0", "package-0", "12"),
            ("intel-rapl:1", "package-1", "30"),
            ("intel-rapl:0:0", "core", "5"),
            ("intel-rapl-mmio:0", "package-0", "12"),
        ] {
            let zone = root.path().join(zone);
            fs::create_dir(&zone).unwrap();
            fs::write(zone.join("name"), format!("{name}\n")).unwrap();
            fs::write(zone.join("energy_uj"), format!("{uj}\n")).unwrap();
            fs::write(zone.join("max_energy_range_uj"), "1000\n").unwrap();
        }
        let rapl = Rapl::open(root.path()).unwrap();
        assert_eq!(rapl.name(), "RAPL package-0 + package-1");
        assert_eq!(rapl.read_uj().unwrap(), [12, 30]);
        assert_eq!(rapl.range_uj(), [1000, 1000]);

        fs::remove_file(root.path().join("intel-rapl:1/energy_uj")).unwrap();
        assert!(Rapl::open(root.path()).unwrap_err().contains("intel-rapl:1/energy_uj: "));
    }
}
