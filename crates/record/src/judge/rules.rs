//! Rules that look at one claim.

use std::sync::LazyLock;

use crate::claims::{
    Claim, EnergyMethod, Figure, Printed, Range, Subject, Tensor, ToleranceOf, VRecipe,
};
use crate::numbers::number;
use contract::digest::Digest;
use contract::dtype::Dtype;
use contract::published::{NumpyUniform, PREFIX_BYTES, Scope};

/// A rule's name and what it found, in one line with its arithmetic.
pub type Found = (&'static str, String);

/// A rule that was applied, and whether what is printed agrees with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    pub rule: &'static str,
    pub holds: bool,
    /// One line, with the arithmetic.
    pub line: String,
}

impl Checked {
    fn new(rule: &'static str, holds: bool, line: String) -> Checked {
        Checked { rule, holds, line }
    }
}

/// What the rules need beyond the claim.
pub struct Context<'a> {
    /// The hardware that the claim's times are about.
    pub platform: Option<&'a str>,
    /// The dtype that the model's checkpoint ships in.
    pub ships: Option<Dtype>,
}

/// Every rule that a claim has the figures for.
pub fn of_claim(claim: &Claim, context: &Context<'_>) -> Vec<Checked> {
    let mut found = Vec::new();
    found.extend(speedup(claim));
    found.extend(tokens(claim));
    found.extend(gflops(claim));
    found.extend(energy(claim));
    found.extend(roofline(claim, context.platform));
    found.extend(live_rows(claim));
    found.extend(faster_baseline(claim));
    found.extend(memory(claim, context.ships));
    found.extend(tolerance(claim));
    found.extend(vacuous(claim));
    found.extend(true_element(claim));
    found.extend(coverage(claim));
    found.extend(factors(claim));
    found.extend(gain(claim));
    found.extend(margin(claim));
    found.extend(perturbations(claim));
    found.extend(amortisation(claim));
    found.extend(power(claim, context.platform));
    found.extend(index(claim));
    found
}

/// The ends of a range, or the one number that both print as.
pub fn range(range: Range) -> String {
    let (low, high) = (number(range.low), number(range.high));
    if low == high { low } else { format!("{low} to {high}") }
}

/// Vendor's time over the operator's, by each pair of figures that gives it.
fn speedup(claim: &Claim) -> Vec<Checked> {
    let Some(speedup) = claim.figure(Figure::Speedup) else { return Vec::new() };
    let pairs = [
        (Figure::VendorMs, Figure::OperatorMs, "ms"),
        (Figure::VendorUsPerToken, Figure::UsPerToken, "us a token"),
        (Figure::TokensPerS, Figure::VendorTokensPerS, "tokens/s"),
    ];
    let check = |(above, below, unit)| {
        let (above, below): (&Printed, &Printed) = (claim.figure(above)?, claim.figure(below)?);
        let ratio = above.range.over(below.range);
        let line = format!("{above} / {below} {unit} = {}, printed {speedup}", range(ratio));
        Some(Checked::new("speedup", ratio.meets(speedup.range), line))
    };
    pairs.into_iter().filter_map(check).collect()
}

/// Time of one layer; a ratio is of any number of them.
pub fn per_layer(claim: &Claim, figure: Figure) -> Option<Range> {
    let printed = claim.figure(figure)?.range;
    let layers = claim.figure(Figure::Layers).filter(|_| figure != Figure::Speedup);
    Some(printed.over(layers.map_or(Range::exact(1.0), |layers| layers.range)))
}

/// `71 ms`, or `71 ms / 32 layers`.
fn latency(claim: &Claim, ms: &Printed) -> String {
    match claim.figure(Figure::Layers) {
        Some(layers) => format!("{ms} ms / {layers} layers"),
        None => format!("{ms} ms"),
    }
}

/// Tokens a second times latency is the batch.
fn tokens(claim: &Claim) -> Vec<Checked> {
    let Some(batch) = claim.subject.batch else { return Vec::new() };
    let pairs =
        [(Figure::TokensPerS, Figure::OperatorMs), (Figure::VendorTokensPerS, Figure::VendorMs)];
    let check = |(tokens, ms)| {
        let (tokens, each) = (claim.figure(tokens)?, per_layer(claim, ms)?);
        let product = tokens.range.times(each).times(Range::exact(1e-3));
        let (shown, ms) = (range(product), latency(claim, claim.figure(ms)?));
        let line = format!("{tokens} tokens/s x {ms} = {shown} tokens, batch {batch}");
        Some(Checked::new("tokens", product.contains(batch as f64), line))
    };
    pairs.into_iter().filter_map(check).collect()
}

/// What a mask drawn at random may have more or fewer non-zeros than the nominal count.
const NNZ_SLACK: f64 = 0.005;

/// Nominal non-zeros of A, and how they are written.
pub fn nnz(subject: &Subject) -> Option<(Range, f64)> {
    let ((m, k), sparsity) = (subject.shape?, subject.sparsity?);
    let nnz = m as f64 * k as f64 * (1.0 - sparsity.as_f64());
    Some((Range { low: nnz * (1.0 - NNZ_SLACK), high: nnz * (1.0 + NNZ_SLACK) }, nnz))
}

/// GFLOP/s on non-zeros is 2 nnz batch / latency.
fn gflops(claim: &Claim) -> Vec<Checked> {
    let Subject { shape: Some((m, k)), batch: Some(batch), .. } = claim.subject else {
        return Vec::new();
    };
    let Some((nnz, nominal)) = nnz(&claim.subject) else { return Vec::new() };
    let pairs = [(Figure::Gflops, Figure::OperatorMs), (Figure::VendorGflops, Figure::VendorMs)];
    let check = |(gflops, ms)| {
        let (gflops, each) = (claim.figure(gflops)?, per_layer(claim, ms)?);
        // 1e9 operations a second are 1e6 a millisecond.
        let rate = |nnz: Range| nnz.times(Range::exact(2.0 * batch as f64 / 1e6)).over(each);
        let at = rate(nnz);
        let holds = at.meets(gflops.range);
        let dense = Range::exact(m as f64 * k as f64);
        let hint = match !holds && rate(dense).meets(gflops.range) && nominal < dense.low {
            true => format!(" (with all {} elements: {})", number(dense.low), range(rate(dense))),
            false => String::new(),
        };
        let (at, nominal, ms) = (range(at), number(nominal), latency(claim, claim.figure(ms)?));
        let line = format!(
            "2 x {nominal} non-zeros x {batch} / {ms} = {at} GFLOP/s, printed {gflops}{hint}"
        );
        Some(Checked::new("gflops", holds, line))
    };
    pairs.into_iter().filter_map(check).collect()
}

/// Energy that is said to be measured and is the time ratio to the printed digit; or said to be the
/// time ratio, and is not.
fn energy(claim: &Claim) -> Option<Checked> {
    let (energy, speedup) =
        (claim.figure(Figure::EnergySavedPercent)?, claim.figure(Figure::Speedup)?);
    if !energy.is_one() || !speedup.is_one() {
        return None;
    }
    let ratio = Range::exact(1.0).over(speedup.range).complement().times(Range::exact(100.0));
    let meets = ratio.meets(energy.range);
    // A whole percent is met by chance.
    let is_fine = energy.range.high - energy.range.low < 0.5;
    let line =
        |what: &str| format!("1 - 1 / {speedup} = {} %, printed {energy} %{what}", range(ratio));
    let (holds, what) = match claim.energy_method {
        Some(EnergyMethod::TimeRatio) => (meets, " as the ratio of times"),
        Some(EnergyMethod::Counter) if meets && is_fine => {
            (false, " as measured: the figure of times alone")
        }
        None if meets && is_fine => (false, ": the figure of times alone"),
        _ => return None,
    };
    Some(Checked::new("energy", holds, line(what)))
}

/// Peak GFLOP/s of dense f32 and bf16 products, and GB/s of memory. Sources: the makers' data sheets of
/// H200 SXM, B200 SXM, T4 and MI300X; f32 without tensor cores (MI300X: its matrix units).
const PEAKS: [(&str, f64, f64, f64); 4] = [
    ("NVIDIA H200", 66_900.0, 989_500.0, 4_800.0),
    ("NVIDIA B200", 80_000.0, 2_250_000.0, 8_000.0),
    ("NVIDIA Tesla T4", 8_100.0, 65_000.0, 320.0),
    ("AMD Instinct MI300X", 163_400.0, 1_307_400.0, 5_300.0),
];

/// What breaks it cannot be.
pub const ROOFLINE: &str = "roofline";

/// Names what a time cannot be held against the roofline without, where anything is missing.
pub fn roofline_lacks(claim: &Claim, platform: Option<&str>) -> Option<String> {
    let mut lacking = Vec::new();
    if claim.subject.sparsity.is_none() {
        lacking.push("the number of non-zeros");
    }
    if claim.subject.batch.is_none() {
        lacking.push("the batch");
    }
    if !PEAKS.iter().any(|(name, ..)| Some(*name) == platform) {
        lacking.push("the device's peak");
    }
    (!lacking.is_empty()).then(|| lacking.join(", "))
}

/// No time is shorter than the operations at the device's peak, or than its non-zeros, V and the rows of
/// Y that live, moved once.
fn roofline(claim: &Claim, platform: Option<&str>) -> Option<Checked> {
    let ms = claim.figure(Figure::OperatorMs)?;
    let (_, f32_peak, bf16_peak, memory) =
        PEAKS.into_iter().find(|(name, ..)| Some(*name) == platform)?;
    let (_, k) = claim.subject.shape?;
    let (batch, (nnz, _)) = (claim.subject.batch? as f64, nnz(&claim.subject)?);
    let (peak, size) = match claim.subject.dtype? {
        Dtype::F32 => (f32_peak, 4.0),
        Dtype::Bf16 | Dtype::F16 => (bf16_peak, 2.0),
    };
    let layers = claim.figure(Figure::Layers).map_or(1.0, |layers| layers.range.low);
    let flops = 2.0 * nnz.low * batch;
    let bytes = size * (nnz.low + k as f64 * batch);
    let (by_flops, by_bytes) = (layers * flops / peak / 1e6, layers * bytes / memory / 1e6);
    let least = by_flops.max(by_bytes);
    let work = match by_flops >= by_bytes {
        true => format!("{} flops / {} GFLOP/s", number(flops), number(peak)),
        false => format!("{} bytes / {} GB/s", number(bytes), number(memory)),
    };
    let line = format!("{work} = {} ms at least, printed {ms} ms", number(least));
    Some(Checked::new(ROOFLINE, ms.range.high >= least, line))
}

/// Rows that live are those that were not pruned.
fn live_rows(claim: &Claim) -> Option<Checked> {
    let printed = claim.figure(Figure::LiveRows)?;
    let ((m, _), sparsity) = (claim.subject.shape?, claim.subject.sparsity?);
    let live = m as f64 * (1.0 - sparsity.as_f64());
    let around = Range { low: live - 1.0, high: live + 1.0 };
    let line =
        format!("{m} rows x (1 - {}) = {}, printed {printed}", sparsity.as_f64(), number(live));
    Some(Checked::new("live rows", around.meets(printed.range), line))
}

/// A speedup over one baseline that is larger than that over another: the other is faster.
fn faster_baseline(claim: &Claim) -> Vec<Checked> {
    let (Some(speedup), Some(baseline)) = (claim.figure(Figure::Speedup), &claim.baseline) else {
        return Vec::new();
    };
    let compare = |(other, over): &(String, Printed)| {
        let ratio = range(speedup.range.over(over.range));
        let line = format!(
            "{speedup}x over {baseline} and {over}x over {other} on the same case: {other} is {ratio} \
             times as fast as {baseline}"
        );
        Checked::new("baseline", !over.range.is_below(speedup.range), line)
    };
    claim.over.iter().map(compare).collect()
}

/// Bytes of live rows and of the dense matrix; and what the reduction is against the dtype that ships.
fn memory(claim: &Claim, ships: Option<Dtype>) -> Vec<Checked> {
    let mut found = Vec::new();
    let (Some((m, k)), Some(sparsity)) = (claim.subject.shape, claim.subject.sparsity) else {
        return found;
    };
    let mb = |rows: u64, size: usize| Range::exact(rows as f64 * k as f64 * size as f64 / 1e6);
    let live = sparsity.live_of(m);
    let f32_size = Dtype::F32.size();
    for (figure, rows) in [(Figure::MemoryMb, live), (Figure::DenseMemoryMb, m)] {
        let Some(printed) = claim.figure(figure) else { continue };
        let held = mb(rows, f32_size);
        let line =
            format!("{rows} x {k} x {f32_size} bytes = {} MB, printed {printed}", range(held));
        found.push(Checked::new("memory", held.meets(printed.range), line));
    }
    if let (Some(reduction), Some(ships)) = (claim.figure(Figure::MemoryReduction), ships)
        && ships != Dtype::F32
    {
        let (held, shipped) = (mb(live, f32_size), mb(m, ships.size()));
        let against = shipped.over(held);
        let line = format!(
            "{m} x {k} {ships} weights as shipped, {} MB / {} MB held in f32 = {}, printed {reduction}",
            range(shipped),
            range(held),
            range(against)
        );
        found.push(Checked::new("memory", !against.is_below(reduction.range), line));
    }
    found
}

/// A column of L live elements that was divided by its norm has an element of at least 1 / sqrt(L), its root mean square, and
/// none above 1. So an output of zeros is outside of a smaller tolerance and within one of 1, whatever the data; in between the
/// data decide, and the rule says nothing.
fn tolerance(claim: &Claim) -> Option<Checked> {
    if claim.tolerance_of != Some(ToleranceOf::NormalisedColumns) {
        return None;
    }
    let tolerance = claim.figure(Figure::Tolerance)?;
    let ((m, _), sparsity) = (claim.subject.shape?, claim.subject.sparsity?);
    let live = sparsity.live_of(m).max(1);
    let least = 1.0 / (live as f64).sqrt();
    let (holds, line) = if tolerance.range.low < least {
        let line = format!(
            "a normalised column of {live} live rows has an element of 1 / sqrt({live}) = {} or more, tolerance {tolerance}: an output of \
             zeros lies outside of it",
            number(least)
        );
        (true, line)
    } else if tolerance.range.low >= 1.0 {
        let line = format!(
            "a normalised column has no element above 1, tolerance {tolerance}: an output of zeros lies within it"
        );
        (false, line)
    } else {
        return None;
    };
    Some(Checked::new("tolerance", holds, line))
}

/// The digest of a prefix of zeros.
fn of_zeros() -> Digest {
    static OF_ZEROS: LazyLock<Digest> = LazyLock::new(|| Digest::of(&vec![0; PREFIX_BYTES]));
    *OF_ZEROS
}

/// Digests of nothing: no bytes, or zeros.
fn vacuous(claim: &Claim) -> Vec<Checked> {
    if claim.digests.is_empty() {
        return Vec::new();
    }
    let empty = Digest::of(b"");
    let prefix = of_zeros();
    let mut found = Vec::new();
    for published in &claim.digests {
        let name = published.tensor.name();
        let what = if published.matches(&empty) {
            "no bytes".to_owned()
        } else if published.matches(&prefix) {
            format!("{PREFIX_BYTES} zero bytes")
        } else {
            continue;
        };
        let digits = published.digits.short();
        let line = format!("{digits}... of {name} is the SHA-256 of {what}");
        found.push(Checked::new("vacuous digest", false, line));
    }
    found
}

/// Rows of A that are searched for a non-zero, and the most columns and elements that it may have: beyond them nothing is
/// said.
const SEARCHED_ROWS: u64 = 64;
const SEARCHED_COLUMNS: u64 = 1 << 20;
const SEARCHED_ELEMENTS: u64 = 1 << 40;

/// A digest of zeros beside an output whose first elements are not: one of them, where A and V can be drawn again. No
/// number of A or V is negative, so that the sum is at least its largest product in any order and with any rounding,
/// and a column with it has a norm that leaves it other than zero.
fn true_element(claim: &Claim) -> Option<Checked> {
    let (a, Some(VRecipe::Numpy(v))) = (claim.a_recipe?, claim.v_recipe) else { return None };
    let ((m, k), n, sparsity) =
        (claim.subject.shape?, claim.subject.batch?, claim.subject.sparsity?);
    let digests = claim.digests.iter();
    let mut of_zeros = digests.filter(|published| {
        matches!(published.tensor, Tensor::Dense | Tensor::Operator)
            && published.matches(&of_zeros())
    });
    let published = of_zeros.next()?;
    let elements = claim.elements(Tensor::A)?;
    let most = elements.max(claim.elements(Tensor::V)?);
    if k > SEARCHED_COLUMNS || most > SEARCHED_ELEMENTS {
        return None;
    }
    let column: Vec<f32> = (0..k).map(|i| drawn(v, i * n)).collect();
    let mut row = vec![0.0; k as usize];
    let covered = PREFIX_BYTES as u64 / claim.hashed_size(published.tensor);
    let covered = covered.div_ceil(n.max(1));
    for i in 0..m.min(covered).min(SEARCHED_ROWS) {
        a.fill_a(elements, sparsity, i * k, &mut row);
        let products = row.iter().zip(&column).map(|(a, v)| f64::from(*a) * f64::from(*v));
        let positive: Vec<f64> = products.filter(|product| *product > 0.0).collect();
        if !positive.is_empty() {
            let line = format!(
                "{}... of {} is that of zeros; element ({i}, 0) of A V is {}, of {} products, none of them negative",
                published.digits.short(),
                published.tensor.name(),
                number(positive.iter().sum()),
                positive.len()
            );
            return Some(Checked::new("true element", false, line));
        }
    }
    None
}

/// One number of a generator.
fn drawn(generator: NumpyUniform, index: u64) -> f32 {
    let mut one = [0.0];
    generator.fill(index, &mut one);
    one[0]
}

pub const COVERAGE: &str = "prefix coverage";

/// How much of each tensor its prefix covers.
fn coverage(claim: &Claim) -> Option<Checked> {
    let partial = claim.digests.iter().filter(|published| published.scope == Scope::Prefix);
    let shares: Vec<String> = partial
        .filter_map(|published| {
            let size = claim.hashed_size(published.tensor);
            let bytes = claim.elements(published.tensor)?.saturating_mul(size);
            (bytes > PREFIX_BYTES as u64).then(|| {
                let percent = number(100.0 * PREFIX_BYTES as f64 / bytes as f64);
                format!("{} ({percent} % of {bytes})", published.tensor.name())
            })
        })
        .collect();
    let line = format!("{PREFIX_BYTES} bytes are hashed of {}", shares.join(", "));
    (!shares.is_empty()).then(|| Checked::new(COVERAGE, false, line))
}

/// Models times layers times levels are the cases.
fn factors(claim: &Claim) -> Option<Checked> {
    let cases = claim.figure(Figure::Cases)?;
    let product =
        claim.factors.iter().fold(1u64, |product, &factor| product.saturating_mul(factor));
    if claim.factors.is_empty() {
        return None;
    }
    let factors: Vec<String> = claim.factors.iter().map(u64::to_string).collect();
    let line = format!("{} = {product}, printed {cases} cases", factors.join(" x "));
    Some(Checked::new("totals", cases.range.contains(product as f64), line))
}

/// A gain is the speedup less one. Of a range of speedups it may be any.
fn gain(claim: &Claim) -> Option<Checked> {
    let (gain, speedup) = (claim.figure(Figure::GainPercent)?, claim.figure(Figure::Speedup)?);
    let ratio = gain.range.times(Range::exact(0.01));
    let ratio = Range { low: ratio.low + 1.0, high: ratio.high + 1.0 };
    let line = format!("1 + {gain} % = {}, printed {speedup}", range(ratio));
    Some(Checked::new("gain", ratio.meets(speedup.range), line))
}

/// A tolerance is a number of somebody's choice and exact; its ratio to the error is rounded to as many digits as are
/// no zeros at its end, or to more.
fn margin(claim: &Claim) -> Option<Checked> {
    let printed = claim.figure(Figure::ToleranceOverError)?;
    let (tolerance, error) = (claim.figure(Figure::Tolerance)?, claim.figure(Figure::MaxAbsError)?);
    let exact = (tolerance.range.low + tolerance.range.high) / 2.0;
    let ratio = Range::exact(exact).over(error.range);
    let line = format!("{tolerance} / {error} = {}, printed {printed}", range(ratio));
    Some(Checked::new("margin", ratio.meets(printed.to_its_last_digit()), line))
}

/// Who counts the cases that passed after one of them failed a test of its own.
fn perturbations(claim: &Claim) -> Option<Checked> {
    let (changed, passed) =
        (claim.figure(Figure::PerturbationsPassed)?, claim.figure(Figure::CasesPassed)?);
    let line = format!("{passed} cases passed, and the perturbation test of {changed}");
    Some(Checked::new("totals", !changed.range.is_below(passed.range), line))
}

/// What one call saves, in ms, by the times that are printed, and how it is written.
fn saved_by_a_call(claim: &Claim) -> Option<(Range, String)> {
    // Ends that are the same number must leave nothing.
    let rest = |theirs: f64, ours: f64| match (theirs - ours).abs() <= 1e-9 * theirs.abs() {
        true => 0.0,
        false => theirs - ours,
    };
    let less = |theirs: Range, ours: Range| Range {
        low: rest(theirs.low, ours.high),
        high: rest(theirs.high, ours.low),
    };
    let pair = |above, below| Some((claim.figure(above)?, claim.figure(below)?));
    if let Some((theirs, ours)) = pair(Figure::VendorMs, Figure::OperatorMs) {
        let each = |figure| per_layer(claim, figure);
        let saved = less(each(Figure::VendorMs)?, each(Figure::OperatorMs)?);
        return Some((saved, format!("({} - {})", latency(claim, theirs), latency(claim, ours))));
    }
    let (theirs, ours) = pair(Figure::VendorUsPerToken, Figure::UsPerToken)?;
    let batch = claim.subject.batch?;
    let ms = Range::exact(batch as f64 * 1e-3);
    let saved = less(theirs.range.times(ms), ours.range.times(ms));
    Some((saved, format!("({theirs} - {ours} us a token x {batch})")))
}

/// The calls that it takes until what they save is the time of the build; those that are said to be enough are no fewer.
fn amortisation(claim: &Claim) -> Option<Checked> {
    let (build, calls) = (claim.figure(Figure::BuildS)?, claim.figure(Figure::BreakEvenCalls)?);
    let (saved, arithmetic) = saved_by_a_call(claim)?;
    if saved.high <= 0.0 {
        let line = format!("{arithmetic} is no gain: a build never pays, printed {calls} calls");
        return Some(Checked::new("amortisation", false, line));
    }
    let build_ms = build.range.times(Range::exact(1e3));
    let needed = Range {
        low: build_ms.low / saved.high,
        high: if saved.low > 0.0 { build_ms.high / saved.low } else { f64::INFINITY },
    };
    let line = format!("{build} s / {arithmetic} = {} calls, printed {calls}", range(needed));
    Some(Checked::new("amortisation", !calls.range.is_below(needed), line))
}

/// W that a board may draw at most, by its data sheet, and W below which it is assumed not to fall while something runs on
/// it: three quarters or less of what public listings show of idle ones (136 to 144 W of a B200).
const POWERS: [(&str, f64, f64); 1] = [("NVIDIA B200", 1000.0, 100.0)];

/// Power of the operator over that of the vendor's library, which is at most what the board may draw.
fn power(claim: &Claim, platform: Option<&str>) -> Option<Checked> {
    let (energy, speedup) =
        (claim.figure(Figure::EnergySavedPercent)?, claim.figure(Figure::Speedup)?);
    let (_, most, least) = POWERS.into_iter().find(|(name, ..)| Some(*name) == platform)?;
    if claim.energy_method == Some(EnergyMethod::TimeRatio) || !energy.is_one() || !speedup.is_one()
    {
        return None;
    }
    let share = energy.range.times(Range::exact(0.01)).complement().times(speedup.range);
    let watts = share.high * most;
    let line = format!(
        "(1 - {energy} %) x {speedup} = {} of the vendor's power, of at most {most} W: {} W at most, and an idle board \
         takes over {least} W",
        range(share),
        number(watts)
    );
    Some(Checked::new("power", watts >= least, line))
}

/// An integer that is said to be too small for a sparse matrix, and the largest number that a CSR of it holds: its
/// non-zeros, rows or columns.
fn index(claim: &Claim) -> Option<Checked> {
    let printed = claim.figure(Figure::IndexMax)?;
    let (m, k) = claim.subject.shape?;
    let (nnz, nominal) = nnz(&claim.subject)?;
    let largest = nnz.high.max(m as f64).max(k as f64);
    let line = format!(
        "{} non-zeros of {m} x {k}: a CSR holds no number above {}, printed {printed}",
        number(nominal),
        number(largest)
    );
    Some(Checked::new("index", largest > printed.range.high, line))
}
