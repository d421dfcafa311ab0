//! A device operator on every layer of a stack, with the step between the products on the device too.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use ndarray::ArrayView2;

use super::device::{DeviceBuilt, DeviceOperator, live_rows};
use super::{Error, Plan};
use crate::backend::cuda::{
    Buffer, ColumnMax, CudaError, Device, DeviceFeed, DeviceMatrix, Graph, Layout, StackStep,
};
use contract::dtype::Dtype;
use contract::stack::{Feed, Layer, Stack};

/// Y of the last layer from the input of the first, by one operator throughout. A, on the host, is 1 x elements: the A's of
/// all layers one behind the other.
pub struct StackOperator {
    pub of: Arc<dyn DeviceOperator>,
    pub stack: Arc<Stack>,
    /// What V's are rounded to.
    pub dtype: Dtype,
}

/// One launch, from the input to the end.
struct StackBuilt {
    /// The graph goes first: what it refers to is behind it, and below.
    recorded: Mutex<(Graph, Kept)>,
    layers: Vec<Box<dyn DeviceBuilt>>,
    bytes: usize,
}

/// Memory that the graph's launches read and write.
struct Kept {
    /// Of blocks, in turn; the first one has the stack's.
    inputs: [DeviceMatrix; 2],
    /// The output of the last layer.
    end: DeviceMatrix,
    step: StackStep,
    input_max: ColumnMax,
    /// Of the layers of a block, used again by each block.
    layers: Vec<KeptLayer>,
    /// Where rows of outputs lie, for each layer of all blocks; `None` where each is at its own place.
    places: Vec<Option<Buffer>>,
}

struct KeptLayer {
    v: DeviceMatrix,
    y: DeviceMatrix,
    y_max: ColumnMax,
}

/// Elements of the A's before a layer, and its own.
pub fn elements(stack: &Stack, at: usize) -> Range<usize> {
    let size = |layer: &Layer| layer.m * layer.k;
    let first: usize = stack.all().take(at).map(size).sum();
    first..first + stack.all().nth(at).map_or(0, size)
}

impl StackOperator {
    /// What a matrix of activations takes, with nothing but zeros between its rows.
    fn zeroed(
        &self,
        device: &Arc<Device>,
        shape: (usize, usize),
        dtype: Dtype,
    ) -> Result<DeviceMatrix, CudaError> {
        let mut matrix =
            DeviceMatrix::new_in(self.of.layout(), device, shape, dtype, "activations")?;
        matrix.buffer.fill(0)?;
        Ok(matrix)
    }

    /// Whether two layers of a block have the same V.
    fn shares(&self, at: usize) -> bool {
        let layers = &self.stack.layers;
        at > 0 && (layers[at].k, &layers[at].from) == (layers[at - 1].k, &layers[at - 1].from)
    }
}

impl DeviceOperator for StackOperator {
    fn name(&self) -> String {
        self.of.name()
    }

    fn input(&self) -> Dtype {
        self.of.input()
    }

    fn output(&self) -> Dtype {
        self.of.output()
    }

    fn layout(&self) -> Layout {
        self.of.layout()
    }

    fn live_rows_only(&self) -> bool {
        self.of.live_rows_only()
    }

    fn build(
        &self,
        device: &Arc<Device>,
        a: ArrayView2<'_, f32>,
        n: usize,
    ) -> Result<Box<dyn DeviceBuilt>, Error> {
        let stack = &self.stack;
        if self.layout() == Layout::ColumnMajor {
            let what = "the step between a stack's products is made for rows";
            return Err(Error::Unsupported(what.into()));
        }
        let values = a.as_slice().ok_or_else(|| Error::Unsupported("A in parts".into()))?;
        let (mut layers, mut places, mut live_counts) = (Vec::new(), Vec::new(), Vec::new());
        let mut rest = values;
        for layer in stack.all() {
            let wrong = || Error::Unsupported("fewer elements than the layers have".into());
            let (own, others) = rest.split_at_checked(layer.m * layer.k).ok_or_else(wrong)?;
            rest = others;
            let own = ArrayView2::from_shape((layer.m, layer.k), own).map_err(|_| wrong())?;
            layers.push(self.of.build(device, own, n)?);
            let live = self.live_rows_only().then(|| live_rows(own));
            live_counts.push(live.as_ref().map_or(layer.m, Vec::len));
            let place = live.map(|live| {
                let mut place = vec![-1i32; layer.m];
                (0..).zip(live).for_each(|(at, row)| place[row] = at);
                Buffer::from_slice(device, &place, "places of rows")
            });
            places.push(place.transpose()?);
        }
        let rows_max = stack.layers.iter().map(|layer| layer.k).chain([stack.width()]).max();
        let dtypes = [self.dtype, self.input(), self.output()];
        let kept_layer = |layer: &Layer| {
            Ok::<_, CudaError>(KeptLayer {
                v: self.zeroed(device, (layer.k, n), self.input())?,
                y: self.zeroed(device, (layer.m, n), self.output())?,
                y_max: ColumnMax::new(device, n)?,
            })
        };
        let m = stack.layers.last().map_or(0, |layer| layer.m);
        let input = || self.zeroed(device, (stack.width(), n), self.input());
        let mut kept = Kept {
            inputs: [input()?, input()?],
            end: self.zeroed(device, (m, n), self.output())?,
            step: StackStep::new(device, (rows_max.unwrap_or(0), n), dtypes)?,
            input_max: ColumnMax::new(device, n)?,
            layers: stack.layers.iter().map(kept_layer).collect::<Result<_, _>>()?,
            places,
        };
        // Once before it is recorded: libraries load kernels in their first call, which a recording does not allow.
        self.launch_all(&layers, &live_counts, &mut kept)?;
        device.synchronize()?;
        let mut launch =
            || self.launch_all(&layers, &live_counts, &mut kept).map_err(|error| error.to_string());
        let graph = Graph::capture(device, &mut launch).map_err(Error::Environment)?;
        let own = |layer: &dyn DeviceBuilt| layer.bytes_held() - layer.bytes_shared();
        let shared = layers.iter().map(|layer| layer.bytes_shared()).max().unwrap_or(0);
        let bytes = layers.iter().map(|layer| own(&**layer)).sum::<usize>() + shared + kept.bytes();
        Ok(Box::new(StackBuilt { recorded: Mutex::new((graph, kept)), layers, bytes }))
    }
}

impl Kept {
    fn bytes(&self) -> usize {
        let Kept { inputs, end, step, layers, places, .. } = self;
        let between = |layer: &KeptLayer| layer.v.buffer.bytes() + layer.y.buffer.bytes();
        let ends = inputs.iter().chain([end]).map(|matrix| matrix.buffer.bytes());
        ends.sum::<usize>()
            + layers.iter().map(between).sum::<usize>()
            + places.iter().flatten().map(Buffer::bytes).sum::<usize>()
            + step.bytes_held()
    }
}

impl StackOperator {
    /// Gives all layers and steps to the device's stream.
    fn launch_all(
        &self,
        built: &[Box<dyn DeviceBuilt>],
        live_counts: &[usize],
        kept: &mut Kept,
    ) -> Result<(), Error> {
        let stack = &self.stack;
        let per_block = stack.layers.len();
        let Kept { inputs: [input, next], end, step, input_max, layers, places } = kept;
        let (mut input, mut next) = (input, next);
        for block in 0..stack.blocks {
            let places = &places[block * per_block..][..per_block];
            step.input_max(input, input_max)?;
            for (at, layer) in stack.layers.iter().enumerate() {
                let index = block * per_block + at;
                let (before, from_here) = layers.split_at_mut(at);
                let KeptLayer { v, y, y_max } = &mut from_here[0];
                let v = match self.shares(at) {
                    // The first of those that share has it.
                    true => {
                        let first = (0..at).rev().find(|&at| !self.shares(at)).unwrap_or(0);
                        &before[first].v
                    }
                    false => {
                        let feeds = feeds(&layer.from, (input, input_max), before, places);
                        step.make(&feeds, v)?;
                        &*v
                    }
                };
                if index + 1 == stack.count() {
                    built[index].launch(v, end)?;
                } else {
                    built[index].launch(v, y)?;
                    step.output_max(y, live_counts[index], y_max)?;
                }
            }
            if block + 1 < stack.blocks {
                step.make(&feeds(&stack.next, (input, input_max), layers, places), next)?;
                std::mem::swap(&mut input, &mut next);
            }
        }
        Ok(())
    }
}

/// What feeds a V: the block's input, or outputs of the layers before it.
fn feeds<'a>(
    from: &[Feed],
    (input, input_max): (&'a DeviceMatrix, &'a ColumnMax),
    layers: &'a [KeptLayer],
    places: &'a [Option<Buffer>],
) -> Vec<(DeviceFeed<'a>, bool)> {
    let feed = |feed: &Feed| match *feed {
        Feed::Input => (DeviceFeed { matrix: input, largest: input_max, place: None }, true),
        Feed::Layer(at) => {
            let KeptLayer { y, y_max, .. } = &layers[at];
            (DeviceFeed { matrix: y, largest: y_max, place: places[at].as_ref() }, false)
        }
    };
    from.iter().map(feed).collect()
}

impl DeviceBuilt for StackBuilt {
    fn launch(&self, v: &DeviceMatrix, y: &mut DeviceMatrix) -> Result<(), Error> {
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        let (graph, kept) = &mut *recorded;
        kept.inputs[0].buffer.copy_from(&v.buffer)?;
        graph.launch()?;
        Ok(y.buffer.copy_from(&kept.end.buffer)?)
    }

    fn bytes_held(&self) -> usize {
        self.bytes
    }

    fn plan(&self) -> Plan {
        let mut plans = self.layers.iter().map(|layer| layer.plan());
        let first = plans.next().unwrap_or_else(Plan::of_first_apply);
        let reason = format!("{} layers, the first: {}", self.layers.len(), first.reason);
        Plan { strategy: first.strategy, reason }
    }
}
