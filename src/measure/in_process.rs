//! Operators of this process as a platform, one V for all calls: for tests of the schedule.

use ndarray::{Array2, ArrayView2};

use super::Clock;
use super::platform::{Called, Inputs, Part, Platform};
use crate::operator::{Built, Operator, Staged};
use record::timings::Sample;

pub struct InProcess<'a> {
    pub a: ArrayView2<'a, f32>,
    pub v: ArrayView2<'a, f32>,
    y: Array2<f32>,
    clock: &'a dyn Clock,
}

impl<'a> InProcess<'a> {
    pub fn new(
        a: ArrayView2<'a, f32>,
        v: ArrayView2<'a, f32>,
        clock: &'a dyn Clock,
    ) -> InProcess<'a> {
        let y = Array2::from_elem((a.nrows(), v.ncols()), f32::NAN);
        InProcess { a, v, y, clock }
    }
}

pub struct BuiltHere<'a> {
    operator: &'a dyn Operator,
    built: Box<dyn Built + 'a>,
    staged: Staged,
}

impl<'a> Platform for InProcess<'a> {
    type Operator = &'a dyn Operator;
    type Built = BuiltHere<'a>;

    fn threads(&self) -> usize {
        1
    }

    fn shape(&self) -> (usize, usize) {
        self.y.dim()
    }

    fn device(&self) -> Option<String> {
        None
    }

    fn build(&mut self, operator: &&'a dyn Operator) -> Result<BuiltHere<'a>, String> {
        let built = operator.build(self.a).map_err(|error| error.to_string())?;
        Ok(BuiltHere { operator: *operator, built, staged: Staged::default() })
    }

    fn bytes_held(&self, built: &BuiltHere<'a>) -> usize {
        built.built.bytes_held()
    }

    fn plan(&self, built: &BuiltHere<'a>) -> String {
        built.built.plan().to_string()
    }

    fn prepare(&mut self, _built: &mut BuiltHere<'a>, _calls: usize) -> Result<(), String> {
        self.y.fill(f32::NAN);
        Ok(())
    }

    fn calls_max(&self) -> usize {
        usize::MAX
    }

    fn sample(
        &mut self,
        built: &mut BuiltHere<'a>,
        _inputs: Inputs,
        calls: usize,
    ) -> Result<Sample, String> {
        let start = self.clock.now_ns();
        self.run(built, calls)?;
        Ok(Sample {
            time_ns: (self.clock.now_ns() - start).max(1) as f64,
            host_ns: None,
            state: None,
        })
    }

    fn run(&mut self, built: &mut BuiltHere<'a>, calls: usize) -> Result<(), String> {
        let BuiltHere { operator, built, staged } = built;
        for _ in 0..calls {
            operator
                .stage(self.v, staged, 1)
                .and_then(|()| built.apply(self.v, staged, self.y.view_mut(), 1))
                .map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn outputs(
        &mut self,
        _built: &BuiltHere<'a>,
        parts: &[(usize, Part)],
    ) -> Vec<Result<Called, String>> {
        parts.iter().map(|(_, part)| Ok(Called::of(part, self.v, self.y.view()))).collect()
    }

    fn flush(&mut self, _built: &mut BuiltHere<'a>) -> Result<(), String> {
        Ok(())
    }
}
