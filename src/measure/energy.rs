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
/// The same for NVML, whose windows begin and end as its counter moves: what is left is the way to the counter and the
/// calls between two looks, a few milliseconds at each edge.
const NVML_WINDOW_S_MIN: f64 = 0.5;
/// NVML's counter moves every 20 to 100 ms (an H200: 100), by what was used since.
const NVML_STEP_NS: u64 = 100_000_000;
/// A counter that has not moved for so many steps stands still.
const STEPS_MAX: u64 = 10;
/// Looks at a counter begin so long before it is to move: a batch may take half of that, and a move that is missed costs
/// a whole step of looking, in which the load is not what it was.
const EARLY_NS: u64 = 35_000_000;

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

    /// The longest time between two moves, where that is long enough to matter: windows then begin and end with one.
    fn step_ns_max(&self) -> Option<u64> {
        None
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

    fn step_ns_max(&self) -> Option<u64> {
        Some(NVML_STEP_NS)
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

/// What an energy window wants of the work in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// A batch as long as is convenient.
    Batch,
    /// Little: the counter is about to move, and is looked at after it.
    Little,
}

/// Lets `work`, which says how many calls it made, go on until the window is full. Where the counter moves in steps,
/// the window begins at one of them and ends at another, and the calls between are its own.
pub fn open_window(
    counter: &dyn EnergyCounter,
    clock: &dyn Clock,
    window_ns: u64,
    mut work: impl FnMut(Pace) -> Result<u64, String>,
) -> Result<Window, String> {
    let step_ns = counter.step_ns_max();
    let (start, before) = match step_ns {
        // Calls before the first step are not in the window.
        Some(step_ns) => until_it_moves(counter, clock, step_ns, &mut |pace| work(pace).map(drop))?,
        None => (clock.now_ns(), counter.read_uj()?),
    };
    let early_ns = step_ns.map_or(0, |_| EARLY_NS);
    let mut calls = 0;
    let mut end = start;
    while end - start < window_ns.saturating_sub(early_ns) {
        calls += work(Pace::Batch)?;
        end = clock.now_ns();
    }
    let after = match step_ns {
        Some(step_ns) => {
            let mut one = |pace| work(pace).map(|made| calls += made);
            let (at, after) = until_it_moves(counter, clock, step_ns, &mut one)?;
            end = at;
            after
        }
        None => counter.read_uj()?,
    };
    let energy_j = energy_j(counter, &before, &after);
    let seconds = (end - start) as f64 * 1e-9;
    Ok(Window { seconds, calls, energy_j, power_w: energy_j / seconds })
}

/// Works until the counter is seen to move: when that was, and what it shows.
fn until_it_moves(
    counter: &dyn EnergyCounter,
    clock: &dyn Clock,
    step_ns: u64,
    work: &mut dyn FnMut(Pace) -> Result<(), String>,
) -> Result<(u64, Vec<u64>), String> {
    let (since, before) = (clock.now_ns(), counter.read_uj()?);
    loop {
        work(Pace::Little)?;
        let now = counter.read_uj()?;
        let at = clock.now_ns();
        if now != before {
            return Ok((at, now));
        }
        if at - since > STEPS_MAX * step_ns {
            let s = (at - since) as f64 * 1e-9;
            return Err(format!("{} stood still for {s:.1} s", counter.name()));
        }
    }
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
            open_window(&counter, &clock, 1_000_000_000, |_| {
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

    /// A counter that shows what it had at the last multiple of a step.
    struct Steps<'a> {
        clock: &'a MockClock,
        step_ns: u64,
        /// Used so far: W, where the load never pauses.
        watts: u64,
    }

    impl EnergyCounter for Steps<'_> {
        fn name(&self) -> String {
            "steps".into()
        }

        fn read_uj(&self) -> Result<Vec<u64>, String> {
            // Looking takes its time.
            self.clock.advance_ns(1_500_000);
            let seen_ns = self.clock.now_ns() / self.step_ns.max(1) * self.step_ns;
            Ok(vec![seen_ns * self.watts / 1000])
        }

        fn range_uj(&self) -> Vec<u64> {
            vec![u64::MAX]
        }

        fn step_ns_max(&self) -> Option<u64> {
            Some(100_000_000)
        }
    }

    #[test]
    fn a_window_of_steps_begins_and_ends_with_one() {
        for (step_ns, begin_ns) in
            [(100_000_000, 0), (100_000_000, 77_000_000), (20_000_000, 5), (93_000_000, 60_000_000)]
        {
            let clock = MockClock::default();
            clock.advance_ns(begin_ns);
            let counter = Steps { clock: &clock, step_ns, watts: 600 };
            let window = open_window(&counter, &clock, 600_000_000, |pace| {
                let calls = if pace == Pace::Batch { 20 } else { 4 };
                clock.advance_ns(calls * 500_000);
                Ok(calls)
            });
            let window = window.unwrap();
            // The load is 600 W and a call takes 0.5 ms, but for the time of the looks.
            assert!((window.power_w - 600.0).abs() < 7.0, "{step_ns}: {window:?}");
            assert!((0.59..0.67).contains(&window.seconds), "{step_ns}: {window:?}");
            let busy_s = window.calls as f64 * 0.5e-3;
            assert!(busy_s > 0.93 * window.seconds, "{step_ns}: {window:?}");
            // Whole steps.
            let steps = window.energy_j / (step_ns as f64 * 600e-9);
            assert!((steps - steps.round()).abs() < 1e-6, "{step_ns}: {steps}");
        }
        let clock = MockClock::default();
        let still = Steps { clock: &clock, step_ns: 0, watts: 600 };
        let outcome = open_window(&still, &clock, 600_000_000, |_| {
            clock.advance_ns(2_000_000);
            Ok(4)
        });
        assert_eq!(outcome.unwrap_err(), "steps stood still for 1.0 s");
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
