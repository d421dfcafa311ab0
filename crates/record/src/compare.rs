//! How two outputs differ, element by element.

use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

use contract::dtype::Dtype;

/// Where and how far two tensors that should be equal differ.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Difference {
    /// Elements compared.
    pub elements: u64,
    /// Elements whose bits differ.
    pub differing: u64,
    /// The differing element of lowest row, then column.
    pub first: Option<Element>,
    /// Largest |got - want|; null if one of them is not a number.
    pub error_max: Option<f64>,
    /// Differing elements by distance: entry b counts those 2^b to 2^(b+1) - 1 ULPs away.
    pub ulp_histogram: Vec<u64>,
    /// Elements that are not a number: an output that was not written, or computed from one.
    pub not_numbers: u64,
    /// Elements that are 0 where the other is not.
    pub missing: u64,
}

/// One differing element.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Element {
    /// Row, from 0.
    pub row: usize,
    /// Column, from 0.
    pub column: usize,
    /// Bits as binary32.
    pub got: u32,
    /// Bits of the other as binary32.
    pub want: u32,
    /// Distance in units of the last place of the output dtype.
    pub ulps: u64,
}

impl Element {
    /// The element at (row, column), `got` beside `want`, both of that dtype.
    pub fn new(dtype: Dtype, row: usize, column: usize, got: f32, want: f32) -> Element {
        let (got_bits, want_bits) = (got.to_bits(), want.to_bits());
        Element { row, column, got: got_bits, want: want_bits, ulps: ulps(dtype, got, want) }
    }
}

/// How far the elements that were recomputed lie from y_ref, the binary64 sum of VERIFY.md section 4, after rounding to the
/// output dtype. A bit contract fixes an output, and says nothing of how good it is: this does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Accuracy {
    /// Elements looked at.
    pub elements: u64,
    /// Of the case's rule.
    pub rule: Distance,
    /// Of f32-chain on the same elements; `None` where it overflows.
    pub f32_chain: Option<Distance>,
}

/// A distance from y_ref.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Distance {
    /// The largest |y - y_ref|.
    pub error_max: f64,
    /// Euclidean norm of y - y_ref over that of y_ref; `None` where that is 0.
    pub error_share: Option<f32>,
    /// The largest bound on |y - y_ref| of the elements; `None` where there is none.
    pub bound_max: Option<f64>,
    /// The largest share of its own bound that an element used.
    pub used_max: f64,
}

/// How far elements of a contender's timed outputs lie from y_ref, in the dtype that it gave them. Those of two contenders are
/// not the same: each call has a V of its own, and which elements are looked at is drawn after it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ErrorSeen {
    /// Elements looked at: those of the first calls.
    pub elements: u64,
    /// The largest |y - y_ref|.
    pub error_max: f64,
    /// Euclidean norm of y - y_ref over that of y_ref; `None` where that is 0.
    pub error_share: Option<f32>,
}

/// In a line.
impl std::fmt::Display for Accuracy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let share =
            |of: &Distance| of.error_share.map_or("no part".into(), |share| format!("{share:.1e}"));
        let Accuracy { elements, rule, f32_chain } = self;
        write!(
            f,
            "distance from the binary64 sum, {elements} elements: {} of its norm",
            share(rule)
        )?;
        if let Some(chain) = f32_chain {
            write!(f, " (f32-chain {})", share(chain))?;
        }
        write!(f, ", {:.1e} at most", rule.error_max)?;
        match rule.bound_max {
            Some(bound) => write!(f, ", bound {bound:.1e}"),
            None => Ok(()),
        }
    }
}

/// How an output without a bit contract lies in its bound.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BoundReport {
    /// Largest share of the bound that an element inside used.
    pub used_max: f64,
    /// Elements outside.
    pub outside: u64,
    /// The one of lowest row, then column.
    pub first_outside: Option<Element>,
}

impl BoundReport {
    /// Adds what another part of the same output gave.
    pub fn merge(&mut self, other: BoundReport) {
        self.used_max = self.used_max.max(other.used_max);
        self.outside += other.outside;
        self.first_outside = first_of(self.first_outside, other.first_outside);
    }
}

fn first_of(a: Option<Element>, b: Option<Element>) -> Option<Element> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if (a.row, a.column) <= (b.row, b.column) { a } else { b }),
        (a, b) => a.or(b),
    }
}

/// Distance of two values of a dtype along its encodings; 0 and -0 are one step from nothing.
pub fn ulps(dtype: Dtype, x: f32, y: f32) -> u64 {
    let step = 23 - dtype.mantissa_bits();
    let position = |x: f32| match dtype {
        // binary16 has another exponent range: use its own encoding.
        Dtype::F16 => signed(u32::from(half::f16::from_f32(x).to_bits()), 15),
        Dtype::F32 | Dtype::Bf16 => signed(x.to_bits() >> step, 31 - step),
    };
    position(x).abs_diff(position(y))
}

fn signed(bits: u32, sign_bit: u32) -> i64 {
    let magnitude = i64::from(bits & ((1 << sign_bit) - 1));
    if bits >> sign_bit & 1 == 1 { -magnitude } else { magnitude }
}

impl Difference {
    /// Compares rows `first_row..` of two outputs bit for bit and adds what is found.
    pub fn add(
        &mut self,
        dtype: Dtype,
        first_row: usize,
        got: ArrayView2<'_, f32>,
        want: ArrayView2<'_, f32>,
    ) {
        self.elements += got.len() as u64;
        for (i, (got, want)) in got.rows().into_iter().zip(want.rows()).enumerate() {
            let equal = match (got.as_slice(), want.as_slice()) {
                (Some(got), Some(want)) => {
                    bytemuck::cast_slice::<f32, u32>(got) == bytemuck::cast_slice::<f32, u32>(want)
                }
                _ => false,
            };
            if equal {
                continue;
            }
            for (column, (&got, &want)) in got.iter().zip(want).enumerate() {
                if got.to_bits() != want.to_bits() {
                    self.add_element(dtype, first_row + i, column, got, want);
                }
            }
        }
    }

    fn add_element(&mut self, dtype: Dtype, row: usize, column: usize, got: f32, want: f32) {
        let element = Element::new(dtype, row, column, got, want);
        let ulps = element.ulps;
        self.first = first_of(self.first, Some(element));
        let error = (f64::from(got) - f64::from(want)).abs();
        if error.is_nan() {
            self.not_numbers += 1;
        } else {
            self.error_max = Some(self.error_max.unwrap_or(0.0).max(error));
            let bucket = ulps.max(1).ilog2() as usize;
            if self.ulp_histogram.len() <= bucket {
                self.ulp_histogram.resize(bucket + 1, 0);
            }
            self.ulp_histogram[bucket] += 1;
        }
        self.missing += u64::from(got == 0.0 && want != 0.0);
        self.differing += 1;
    }

    /// Adds what another part of the same pair of tensors gave.
    pub fn merge(&mut self, other: Difference) {
        self.elements += other.elements;
        self.differing += other.differing;
        self.not_numbers += other.not_numbers;
        self.missing += other.missing;
        self.first = first_of(self.first, other.first);
        self.error_max = match (self.error_max, other.error_max) {
            (Some(a), Some(b)) => Some(a.max(b)),
            (a, b) => a.or(b),
        };
        if self.ulp_histogram.len() < other.ulp_histogram.len() {
            self.ulp_histogram.resize(other.ulp_histogram.len(), 0);
        }
        for (sum, count) in self.ulp_histogram.iter_mut().zip(other.ulp_histogram) {
            *sum += count;
        }
    }

    /// Whether no element differs.
    pub fn is_none(&self) -> bool {
        self.differing == 0
    }

    /// What usually makes outputs differ in this way.
    pub fn likely_cause(&self) -> &'static str {
        let differing = self.differing as f64;
        let close: u64 = self.ulp_histogram.iter().take(8).sum();
        if self.not_numbers > 0 {
            "elements were left unwritten, or computed from memory that was"
        } else if self.missing as f64 > 0.9 * differing {
            "elements are zero that should not be: rows or weights were skipped, or nothing was \
             computed"
        } else if close as f64 > 0.9 * differing {
            "the sums were accumulated in another order, or without fused multiply-add"
        } else if self.ulp_histogram.iter().take(20).sum::<u64>() as f64 > 0.9 * differing {
            "inputs or partial sums were rounded to a shorter format"
        } else {
            "the elements have nothing in common: other weights, other activations, or a stale \
             buffer"
        }
    }
}

/// Count, first element, ULPs, histogram.
pub fn difference_in_words(difference: &Difference) -> String {
    let mut text = format!("{} of {} elements differ", difference.differing, difference.elements);
    if let Some(at) = difference.first {
        text.push_str(&format!(
            "; first at (row {}, column {}): {:#010x}, want {:#010x} ({} ULP)",
            at.row, at.column, at.got, at.want, at.ulps
        ));
    }
    if let Some(error) = difference.error_max {
        text.push_str(&format!("; max error {error:e}"));
    }
    if difference.not_numbers > 0 {
        text.push_str(&format!("; {} are not numbers", difference.not_numbers));
    }
    let buckets = difference.ulp_histogram.iter().enumerate().filter(|(_, count)| **count > 0);
    let buckets: Vec<String> =
        buckets.map(|(b, count)| format!("{}: {count}", bucket_in_words(b))).collect();
    if !buckets.is_empty() {
        text.push_str(&format!("\n  ULPs away: {}", buckets.join(", ")));
    }
    text
}

fn bucket_in_words(b: usize) -> String {
    match b {
        0 => "1".into(),
        1..=9 => format!("{}-{}", 1u64 << b, (1u64 << (b + 1)) - 1),
        _ => format!("2^{b}"),
    }
}
