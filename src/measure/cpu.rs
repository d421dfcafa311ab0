//! The host as a platform: one call a sample, timed with the host's clock.

use std::hint::black_box;

use ndarray::{Array2, ArrayView2};

use super::Clock;
use super::{platform::Contender, platform::Platform};
use crate::baseline::Baseline;
use crate::operator::{Built, Operator, Staged};
use record::timings::Sample;

/// The current thread, or the rayon pool around it.
pub struct CpuPlatform<'a> {
    a: ArrayView2<'a, f32>,
    v: ArrayView2<'a, f32>,
    y: Array2<f32>,
    threads: usize,
    clock: &'a dyn Clock,
    flush: &'a dyn Fn(),
}

impl<'a> CpuPlatform<'a> {
    /// For A (m x k, whole) and V (k x n). Everything is to happen inside of [`with_threads`] of
    /// as many threads; `flush` empties the caches.
    pub fn new(
        a: ArrayView2<'a, f32>,
        v: ArrayView2<'a, f32>,
        threads: usize,
        clock: &'a dyn Clock,
        flush: &'a dyn Fn(),
    ) -> CpuPlatform<'a> {
        let y = Array2::from_elem((a.nrows(), v.ncols()), f32::NAN);
        CpuPlatform { a, v, y, threads, clock, flush }
    }
}

/// An operator built from the platform's A, with its own form of V.
pub struct CpuBuilt<'a> {
    operator: &'a dyn Operator,
    built: Box<dyn Built + 'a>,
    staged: Staged,
}

impl<'a> Platform for CpuPlatform<'a> {
    type Operator = &'a dyn Operator;
    type Built = CpuBuilt<'a>;

    fn threads(&self) -> usize {
        self.threads
    }

    fn device(&self) -> Option<String> {
        None
    }

    fn build(&mut self, operator: &&'a dyn Operator) -> Result<CpuBuilt<'a>, String> {
        let built = operator.build(self.a).map_err(|error| error.to_string())?;
        Ok(CpuBuilt { operator: *operator, built, staged: Staged::default() })
    }

    fn bytes_held(&self, built: &CpuBuilt<'a>) -> usize {
        built.built.bytes_held()
    }

    fn plan(&self, built: &CpuBuilt<'a>) -> String {
        built.built.plan().to_string()
    }

    fn poison(&mut self) -> Result<(), String> {
        self.y.fill(f32::NAN);
        Ok(())
    }

    fn calls_max(&self) -> usize {
        usize::MAX
    }

    fn sample(&mut self, built: &mut CpuBuilt<'a>, calls: usize) -> Result<Sample, String> {
        let start = self.clock.now_ns();
        self.run(built, calls)?;
        // A clock too coarse to see the calls still gives a time that can be divided by.
        let time_ns = (self.clock.now_ns() - start).max(1) as f64;
        Ok(Sample { time_ns, host_ns: None, state: None })
    }

    fn run(&mut self, built: &mut CpuBuilt<'a>, calls: usize) -> Result<(), String> {
        let CpuBuilt { operator, built, staged } = built;
        for _ in 0..calls {
            operator
                .stage(self.v, staged, self.threads)
                .and_then(|()| built.apply(self.v, staged, self.y.view_mut(), self.threads))
                .map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn output(&mut self) -> Result<ArrayView2<'_, f32>, String> {
        Ok(self.y.view())
    }

    fn flush(&mut self) -> Result<(), String> {
        (self.flush)();
        Ok(())
    }
}

impl<'a> From<&'a Baseline> for Contender<'a> {
    fn from(baseline: &'a Baseline) -> Contender<'a> {
        Contender {
            name: baseline.operator.name(),
            operator: &*baseline.operator,
            kind: Some(baseline.kind),
            library: &baseline.library,
            version: &baseline.version,
        }
    }
}

/// Empties the caches by reading a buffer that is larger than all of them.
pub struct CacheFlush(Vec<u64>);

impl CacheFlush {
    /// Twice the caches: those that do not replace the least recently used line need more than
    /// their size.
    pub fn new(cache_bytes: u64) -> CacheFlush {
        CacheFlush((0..cache_bytes / 4).collect())
    }

    pub fn flush(&self) {
        black_box(black_box(&self.0).iter().fold(0u64, |x, &word| x ^ word));
    }
}

/// Runs `work` where `threads` means what operators expect: on this thread for 1, else in a pool
/// of so many.
pub fn with_threads<T: Send>(
    threads: usize,
    work: impl FnOnce() -> T + Send,
) -> Result<T, rayon::ThreadPoolBuildError> {
    if threads <= 1 {
        return Ok(work());
    }
    Ok(rayon::ThreadPoolBuilder::new().num_threads(threads).build()?.install(work))
}
