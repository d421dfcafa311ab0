//! Our operator with something wrong about it, and what must become of that.

// Each test file uses its own part of this.
#![allow(dead_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use contract::arithmetic::Arithmetic;
use contract::case::Case;
use contract::dtype::Dtype;
use contract::strategy::Strategy;
use ndarray::{Array2, ArrayView2, ArrayViewMut2};
use record::expected::Expected;
use record::verdict::Verdict;
use record::{BitsRecord, CaseRecord};
use sparse_verify::audit::Outcome;
use sparse_verify::backend::cpu::Isa;
use sparse_verify::cli::explain::explain;
use sparse_verify::operator::{Built, Error, Operator, SkipOperator, Staged};

use crate::common::{How, Section, audit, pin};

/// What a matrix is known by that is identified by where it lies.
pub type Place = (usize, (usize, usize));

type ChangeInput = dyn Fn(Place, &mut Array2<f32>) + Send + Sync;
type ChangeOutput = dyn Fn(Call<'_>, ArrayViewMut2<'_, f32>) + Send + Sync;

/// One call of `apply`, for a fault to look at.
pub struct Call<'a> {
    /// Counted from 0 over the life of the operator.
    pub number: usize,
    pub a: Place,
    pub v: Place,
    /// The output buffer as it was handed over.
    pub before: &'a Array2<f32>,
}

/// The skip operator with something wrong about it.
#[derive(Clone)]
pub struct Faulty {
    arithmetic: Arithmetic,
    output: Dtype,
    isa: Isa,
    calls: Arc<AtomicUsize>,
    weights: Arc<ChangeInput>,
    activations: Arc<ChangeInput>,
    result: Arc<ChangeOutput>,
}

impl Faulty {
    /// Nothing is wrong yet.
    pub fn new(case: &Case, isa: Isa) -> Faulty {
        Faulty {
            arithmetic: case.arithmetic,
            output: case.output,
            isa,
            calls: Arc::default(),
            weights: Arc::new(|_, _| {}),
            activations: Arc::new(|_, _| {}),
            result: Arc::new(|_, _| {}),
        }
    }

    /// Follows another arithmetic than it was asked for.
    pub fn computing(self, arithmetic: Arithmetic) -> Faulty {
        Faulty { arithmetic, ..self }
    }

    /// Works on other weights than it was given.
    pub fn weights(
        mut self,
        f: impl Fn(Place, &mut Array2<f32>) + Send + Sync + 'static,
    ) -> Faulty {
        self.weights = Arc::new(f);
        self
    }

    /// Works on other activations than it was given.
    pub fn activations(
        mut self,
        f: impl Fn(Place, &mut Array2<f32>) + Send + Sync + 'static,
    ) -> Faulty {
        self.activations = Arc::new(f);
        self
    }

    /// Gives another result than it computed.
    pub fn result(
        mut self,
        f: impl Fn(Call<'_>, ArrayViewMut2<'_, f32>) + Send + Sync + 'static,
    ) -> Faulty {
        self.result = Arc::new(f);
        self
    }

    fn inner(&self) -> SkipOperator {
        SkipOperator {
            arithmetic: self.arithmetic,
            output: self.output,
            strategy: Strategy::Auto,
            isa: self.isa,
        }
    }
}

pub fn place(x: ArrayView2<'_, f32>) -> Place {
    (x.as_ptr() as usize, x.dim())
}

struct BuiltFaulty<'a> {
    operator: Faulty,
    a: ArrayView2<'a, f32>,
}

impl Operator for Faulty {
    fn name(&self) -> String {
        "faulty".into()
    }

    fn build<'a>(&self, a: ArrayView2<'a, f32>) -> Result<Box<dyn Built + 'a>, Error> {
        Ok(Box::new(BuiltFaulty { operator: self.clone(), a }))
    }
}

impl Built for BuiltFaulty<'_> {
    fn apply(
        &self,
        v: ArrayView2<'_, f32>,
        _staged: &Staged,
        mut y: ArrayViewMut2<'_, f32>,
        threads: usize,
    ) -> Result<(), Error> {
        let operator = &self.operator;
        let (mut own_a, mut own_v) = (self.a.to_owned(), v.to_owned());
        (operator.weights)(place(self.a), &mut own_a);
        (operator.activations)(place(v), &mut own_v);
        let inner = operator.inner();
        let mut staged = Staged::default();
        inner.stage(own_v.view(), &mut staged, threads)?;
        let before = y.to_owned();
        inner.build(own_a.view())?.apply(own_v.view(), &staged, y.view_mut(), threads)?;
        let number = operator.calls.fetch_add(1, Ordering::Relaxed);
        let call = Call { number, a: place(self.a), v: place(v), before: &before };
        (operator.result)(call, y);
        Ok(())
    }

    fn bytes_held(&self) -> usize {
        0
    }
}

/// Audits a section's only case with a faulty operator.
pub fn with(section: Section<'_>, expected: &Expected, fault: fn(Faulty) -> Faulty) -> Outcome {
    let operator = move |case: &Case, isa: Isa| -> Box<dyn Operator> {
        Box::new(fault(Faulty::new(case, isa)))
    };
    audit(section, expected, &How { operator: &operator, ..How::default() })
}

/// The fault must be refuted with and without committed digests, in these words, and must not be
/// pinned. Gives the record of the audit without committed digests.
pub fn refuted(section: Section<'_>, fault: fn(Faulty) -> Faulty, words: &[&str]) -> CaseRecord {
    let pinned = with(section.clone(), &pin(section.clone()), fault).record;
    let Outcome { record, entry } = with(section, &Expected::default(), fault);
    for record in [&pinned, &record] {
        assert_eq!(record.verdict, Verdict::Mismatch, "{}", record.reasons.join("\n"));
        assert_eq!(record.exit_code, 1);
        assert!(!bits(record).implementations_agree);
        let reasons = record.reasons.join("\n");
        let explanation = explain(record);
        for words in words {
            assert!(reasons.contains(words), "`{words}` is not among the reasons\n{reasons}");
            assert!(explanation.contains(words), "`{words}` is not explained\n{explanation}");
        }
        assert!(!reasons.contains("agree with each other"), "{reasons}");
        assert!(explanation.contains("scalar rule): DISAGREE"), "{explanation}");
    }
    assert!(entry.is_err(), "a refuted case must not be pinned");
    record
}

pub fn bits(record: &CaseRecord) -> &BitsRecord {
    record.bits.as_ref().unwrap_or_else(|| panic!("no bits: {:?}", record.reasons))
}

/// `explain` must name the first differing element with its ULPs, and the panels.
pub fn explains_first_element(record: &CaseRecord, row: usize, column: usize) {
    let difference = &bits(record).difference;
    let first = difference.first.expect("an element differs");
    assert_eq!((first.row, first.column), (row, column));
    let text = explain(record);
    for part in [
        format!("{} of {} elements differ", difference.differing, record.m * record.n),
        format!("first at (row {row}, column {column}): {:#010x}", first.got),
        format!("want {:#010x} ({} ULP)", first.want, first.ulps),
        "row panels that differ: ".to_owned(),
    ] {
        assert!(text.contains(&part), "`{part}` is not in\n{text}");
    }
}
