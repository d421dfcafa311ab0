//! V as the kernels read it.

use ndarray::ArrayView2;

use super::{Exponents, Isa, LANES, PANEL, Panel, Values, Window, bulk, for_each};
use contract::arithmetic::tensor_core::Model;

/// V (k x n) in panels of 64 columns: operands rounded to the format, and their exponents.
/// Loaded once, used with any number of chunks of A.
pub struct GroupedV {
    k: usize,
    n: usize,
    model: Option<Model>,
    /// Rows of a panel: k rounded up to whole groups.
    depth: usize,
    /// `values[panel * depth + k]`, and the same for the exponents.
    values: Vec<Values>,
    exponents: Vec<Exponents>,
    window: Option<Window>,
    /// For each block of 16 columns, 4 to a panel, whether only the exact path serves it.
    wild: Vec<bool>,
    finite: bool,
}

impl GroupedV {
    /// Room for a k x n matrix; nothing is loaded.
    pub fn new(k: usize, n: usize) -> GroupedV {
        GroupedV {
            k,
            n,
            model: None,
            depth: 0,
            values: Vec::new(),
            exponents: Vec::new(),
            window: None,
            wild: Vec::new(),
            finite: true,
        }
    }

    /// Takes over `v` (k x n, values of the model's format) for products under `model`.
    ///
    /// # Panics
    ///
    /// If the shape is not the announced one.
    pub fn load(&mut self, v: ArrayView2<f32>, model: Model, threads: usize) {
        assert_eq!(v.dim(), (self.k, self.n), "shape of V");
        self.model = Some(model);
        let depth = self.k.next_multiple_of(model.group);
        let panels = self.n.div_ceil(PANEL);
        // Padding is zero: the tail of a panel is written here and never again, as long as the
        // groups end at the same depth.
        if (self.depth, self.values.len()) != (depth, panels * depth) {
            self.depth = depth;
            self.values.clear();
            self.values.resize(panels * depth, Values([0.0; PANEL]));
            self.exponents.resize(panels * depth, Exponents([-128; PANEL]));
        }
        if self.values.is_empty() {
            self.window = Some(Window { top: 0, low: 0 });
            self.wild = vec![false; panels * (PANEL / LANES)];
            self.finite = true;
            return;
        }

        let isa = Isa::best();
        let exponent_min = model.format.exponent_min();
        let mut found = vec![([None; PANEL / LANES], true); panels];
        let parts: Vec<_> =
            self.values.chunks_mut(self.depth).zip(&mut found).enumerate().collect();
        for_each(threads, parts, |(p, (values, (windows, finite)))| {
            let first = p * PANEL;
            let columns = first..(first + PANEL).min(v.ncols());
            for (row, values) in v.outer_iter().zip(&mut *values) {
                let row = row.slice_move(ndarray::s![columns.clone()]);
                match row.as_slice() {
                    Some(row) => values.0[..row.len()].copy_from_slice(row),
                    None => row.iter().zip(&mut values.0).for_each(|(&x, value)| *value = x),
                }
            }
            let [top, low] = bulk::scan_columns(isa, values, model.format);
            for (c, window) in windows.iter_mut().enumerate() {
                let lanes = c * LANES..(c + 1) * LANES;
                let extremes = [&top[lanes.clone()], &low[lanes]];
                let top = extremes[0].iter().copied().max().unwrap_or(0);
                let low = extremes[1].iter().copied().min().unwrap_or(u32::MAX);
                let ends = [top, low.wrapping_add(1)].map(f32::from_bits);
                *window = Window::of(&ends, exponent_min);
            }
            *finite = top.iter().all(|&top| top < 0x7f80_0000);
        });

        self.finite = found.iter().all(|&(_, finite)| finite);
        let windows: Vec<_> = found.into_iter().flat_map(|(windows, _)| windows).collect();
        (self.window, self.wild) = Window::choose(&windows);
        let window = self.window.unwrap_or(Window { top: 0, low: 0 });
        let parts: Vec<_> =
            self.values.chunks(self.depth).zip(self.exponents.chunks_mut(self.depth)).collect();
        for_each(threads, parts, |(values, exponents)| {
            bulk::relative_columns(isa, window, exponent_min, values, exponents);
        });
    }

    /// k.
    pub fn k(&self) -> usize {
        self.k
    }

    /// n.
    pub fn n(&self) -> usize {
        self.n
    }

    /// What the values were loaded for; `None` before the first load.
    pub fn model(&self) -> Option<Model> {
        self.model
    }

    /// Bytes of the packed values and exponents.
    pub fn bytes_held(&self) -> usize {
        self.values.len() * size_of::<Values>() + self.exponents.len() * size_of::<Exponents>()
    }

    pub(super) fn window(&self) -> Option<Window> {
        self.window
    }

    pub(super) fn panel_count(&self) -> usize {
        self.n.div_ceil(PANEL)
    }

    pub(super) fn panel(&self, p: usize) -> Panel<'_> {
        let rows = p * self.depth..(p + 1) * self.depth;
        Panel {
            values: &self.values[rows.clone()],
            exponents: &self.exponents[rows],
            vectors: (self.n - p * PANEL).min(PANEL).div_ceil(LANES),
            finite: self.finite,
        }
    }

    /// Whether only the exact path serves block `c` of 16 columns of panel `p`.
    pub(super) fn is_wild(&self, p: usize, c: usize) -> bool {
        self.wild[p * (PANEL / LANES) + c]
    }
}
