//! Where contenders run, as a trait: the schedule gives calls and gets times, whether they were
//! made on a host's threads, on a device or in a test.

use ndarray::ArrayView2;
use record::timings::Sample;

use crate::operator::Operator;
use record::baseline::Kind;

/// Owns A (m x k), V (k x n) and Y (m x n) of one case, in host or device memory, and the clock
/// that times a call best. Calls are made one after the other, from one thread of the host.
///
/// An `Err` of [`Platform::build`], [`Platform::poison`], [`Platform::sample`] or
/// [`Platform::flush`] takes the contender at hand out of the case, with the text as its reason.
pub trait Platform {
    /// What a contender is built from.
    type Operator;
    /// A contender built from A. Dropping it gives its memory back.
    type Built;

    /// Threads of the host that multiply; 1 on a device, whose calls one thread launches.
    fn threads(&self) -> usize;

    /// The device's name, such as `NVIDIA H200`; `None` where the host multiplies.
    fn device(&self) -> Option<String>;

    /// Builds a contender from A and returns when that is done, on the device as well: the caller
    /// times it with the host's clock.
    fn build(&mut self, operator: &Self::Operator) -> Result<Self::Built, String>;

    /// Bytes that `built` keeps between calls, A's own if it is used in place; of device memory
    /// where a device multiplies.
    fn bytes_held(&self, built: &Self::Built) -> usize;

    /// How `built` holds A, and why.
    fn plan(&self, built: &Self::Built) -> String;

    /// Makes every element of Y a NaN. Never timed.
    fn poison(&mut self) -> Result<(), String>;

    /// The most calls that one sample can have: a device's are queued before the first may start.
    fn calls_max(&self) -> usize;

    /// Times exactly `calls` calls back to back, 1 <= `calls` <= [`Platform::calls_max`], each
    /// from the plain V to the whole Y, and returns when Y is there.
    fn sample(&mut self, built: &mut Self::Built, calls: usize) -> Result<Sample, String>;

    /// Makes as many calls, of any number, without timing them, as densely as the platform can:
    /// energy windows are filled with these, so that no clock or sensor is paid for in between.
    fn run(&mut self, built: &mut Self::Built, calls: usize) -> Result<(), String>;

    /// Y as it is now, m x n, widened to f32. An `Err` counts as an output that is wrong.
    fn output(&mut self) -> Result<ArrayView2<'_, f32>, String>;

    /// Leaves nothing of A, V and Y in the caches (a device's L2).
    fn flush(&mut self) -> Result<(), String>;
}

/// The operator or a baseline, with what is known of it.
pub struct Contender<'a, O = &'a dyn Operator> {
    pub name: String,
    pub operator: O,
    /// `None` for the operator under test.
    pub kind: Option<Kind>,
    pub library: &'a str,
    pub version: &'a str,
}
