//! Where contenders run, as a trait: the schedule gives calls and gets times, whether they were
//! made on a host's threads, on a device or in a test.

use std::sync::Arc;

use ndarray::{Array2, ArrayView2, Axis};
use record::timings::Sample;

use record::baseline::Kind;

use crate::backend::shared::BESIDE;
use crate::worker::{MOVED, ON_DEVICE};

/// How it begins that a contender wrote to A or V.
pub const WROTE: &str = "it wrote to its input";

/// Whether an error of [`Platform::outputs`] was found of the operator under test, and is none of the machine.
pub fn is_finding(why: &str) -> bool {
    [BESIDE, MOVED, ON_DEVICE].contains(&why) || why.starts_with(WROTE)
}

/// Owns A (m x k), V (k x n) and Y (m x n) of one case, in host or device memory, and the clock
/// that times a call best. Calls are made one after the other, from one thread of the host.
///
/// An `Err` of [`Platform::build`], [`Platform::prepare`], [`Platform::sample`] or
/// [`Platform::flush`] takes the contender at hand out of the case, with the text as its reason.
pub trait Platform {
    /// What a contender is built from.
    type Operator;
    /// A contender built from A. Dropping it gives its memory back.
    type Built;

    /// Threads of the host that multiply; 1 on a device, whose calls one thread launches.
    fn threads(&self) -> usize;

    /// m and n.
    fn shape(&self) -> (usize, usize);

    /// The device's name, such as `NVIDIA H200`; `None` where the host multiplies.
    fn device(&self) -> Option<String>;

    /// Hands A and the memory of calls to where a contender is, before the first build there. Never timed.
    fn hand_over(&mut self, _operator: &Self::Operator) -> Result<(), String> {
        Ok(())
    }

    /// Builds a contender from A and returns when that is done, on the device as well: the caller
    /// times it with the host's clock.
    fn build(&mut self, operator: &Self::Operator) -> Result<Self::Built, String>;

    /// Gives back what a contender was built into.
    fn drop_built(&mut self, built: Self::Built) {
        drop(built);
    }

    /// Bytes that `built` keeps between calls, A's own if it is used in place; of device memory
    /// where a device multiplies.
    fn bytes_held(&self, built: &Self::Built) -> usize;

    /// How `built` holds A, and why.
    fn plan(&self, built: &Self::Built) -> String;

    /// Draws a V of its own for each of the next `calls` fresh calls, 1 <= `calls` <= [`Platform::calls_max`], and
    /// makes every element of their Y's a NaN. Never timed.
    fn prepare(&mut self, built: &mut Self::Built, calls: usize) -> Result<(), String>;

    /// The most calls that one sample can have: each has a V and a Y of its own, and a device's are queued before the
    /// first may start.
    fn calls_max(&self) -> usize;

    /// Times exactly `calls` calls back to back, 1 <= `calls` <= [`Platform::calls_max`], each
    /// from the plain V to the whole Y, and returns when the last Y is there.
    fn sample(
        &mut self,
        built: &mut Self::Built,
        inputs: Inputs,
        calls: usize,
    ) -> Result<Sample, String>;

    /// Makes as many calls, of any number, without timing them, as densely as the platform can:
    /// energy windows are filled with these, so that no clock or sensor is paid for in between.
    fn run(&mut self, built: &mut Self::Built, calls: usize) -> Result<(), String>;

    /// Time of a sample of so many calls in which nothing is multiplied, in ns: what the way to a contender and back
    /// takes. `None` where there is no way.
    fn overhead_ns(&mut self, _built: &mut Self::Built, _calls: usize) -> Option<u64> {
        None
    }

    /// Whether one call of a rival is looked at whole in the samples that are checked, as one of the operator's is. Where
    /// that takes too long, as on a device, a rival's first call is, and elements of each of the others.
    fn compares_rivals_whole(&self) -> bool {
        true
    }

    /// The threads by which outputs may be looked at while other calls are made, where that disturbs none of them: a device
    /// multiplies while the host compares. `None` where they are looked at before the next call.
    fn looks_beside(&self) -> Option<usize> {
        None
    }

    /// Parts of fresh calls, the first being 0, as their Y's are now: one for each that is asked for, in that order. An `Err`
    /// counts as an output that is wrong.
    fn outputs(
        &mut self,
        built: &Self::Built,
        parts: &[(usize, Part)],
    ) -> Vec<Result<Called, String>>;

    /// The whole output of a first call that is not timed, with the case's own V, which is not given back: a library loads its kernels in it, and
    /// some libraries' wrong outputs take a thousand times as long as right ones. `None` where there is no need.
    fn first(&mut self, _built: &mut Self::Built) -> Result<Option<Called>, String> {
        Ok(None)
    }

    /// Changes of the float environment that calls left, since this was last asked.
    fn float_environment_changes(&mut self) -> u64 {
        0
    }

    /// Leaves nothing of A, V and Y in the caches that `built` uses (a device's L2).
    fn flush(&mut self, built: &mut Self::Built) -> Result<(), String>;
}

/// The V that a call gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inputs {
    /// The one that [`Platform::prepare`] drew for it, which no call had before.
    Fresh,
    /// One of a few that are used again and again, none of which a fresh call has.
    Ring,
}

/// The part of a call's output that is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Whole,
    /// Where these rows and columns of Y meet.
    Block {
        rows: Vec<usize>,
        columns: Vec<usize>,
    },
}

impl Part {
    /// Row and column of Y in which an element (i, j) of the part stands.
    pub fn place(&self, i: usize, j: usize) -> (usize, usize) {
        match self {
            Part::Whole => (i, j),
            Part::Block { rows, columns } => (rows[i], columns[j]),
        }
    }
}

/// A call that was made: the columns of V that matter, and Y where it is looked at, widened to f32.
pub struct Called {
    pub part: Part,
    pub v: Array2<f32>,
    /// Shared, because a whole one may be looked at by others for longer.
    pub y: Arc<Array2<f32>>,
}

impl Called {
    /// The part of a call with this V and Y.
    pub fn of(part: &Part, v: ArrayView2<'_, f32>, y: ArrayView2<'_, f32>) -> Called {
        let (v, y) = match part {
            Part::Whole => (v.to_owned(), y.to_owned()),
            Part::Block { rows, columns } => {
                let y = y.select(Axis(0), rows).select(Axis(1), columns);
                // Selected columns come column by column.
                (v.select(Axis(1), columns), y.as_standard_layout().into_owned())
            }
        };
        Called { part: part.clone(), v, y: Arc::new(y) }
    }
}

/// No part of any call, for the same reason.
pub fn unread(parts: &[(usize, Part)], why: &str) -> Vec<Result<Called, String>> {
    parts.iter().map(|_| Err(why.to_owned())).collect()
}

/// The operator or a baseline, with what is known of it.
pub struct Contender<O> {
    pub name: String,
    pub operator: O,
    /// `None` for the operator under test.
    pub kind: Option<Kind>,
    pub library: String,
    pub version: String,
}
