//! What was measured: plots of speedups, roofline and energy, and what building the operator costs.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};

use super::plot::{Axis, Line, Look, Plot, Point, Series, legend};
use super::table::{Column, Table, number, plain, wide};
use super::{Part, folded, id, nothing, speedup_of, text, visible};
use crate::claims::{Claim, Figure};
use crate::compare::ErrorSeen;
use crate::device::DeviceInfo;
use crate::numbers;
use crate::report::claimed::over_same;
use crate::report::overview::count;
use crate::timings::{CaseTimings, EnergyBasis, Interval, Roofline, Rule, Timed, Timing};
use crate::{CaseRecord, Record};
use contract::arithmetic::tensor_core::Format;
use contract::arithmetic::{Architecture, Arithmetic, Slices, TensorCoreModel};
use contract::dtype::Dtype;

/// Plots of one kind that are open from the start.
const PLOTS_MAX: usize = 6;
/// Plots of one kind at all: a record can hold thousands of groups.
const PLOTS_ALL_MAX: usize = 120;

/// A case with a timing of the operator.
#[derive(Clone, Copy)]
struct Measured<'a> {
    case: &'a CaseRecord,
    timings: &'a CaseTimings,
    timing: &'a Timing,
}

fn measured<'a>(record: &'a Record) -> Vec<Measured<'a>> {
    let of = |case: &'a CaseRecord| {
        let timings = case.measurement.as_ref()?;
        Some(Measured { case, timings, timing: timings.operator.timing.as_ref()? })
    };
    record.cases.iter().filter_map(of).collect()
}

/// What a plot's horizontal axis is.
#[derive(Clone, Copy)]
enum Over {
    Sparsity,
    Batch,
    Size,
}

impl Over {
    const ALL: [Over; 3] = [Over::Sparsity, Over::Batch, Over::Size];

    fn title(self) -> &'static str {
        match self {
            Over::Sparsity => "over sparsity",
            Over::Batch => "over batch",
            Over::Size => "over model size",
        }
    }

    fn axis(self) -> &'static str {
        match self {
            Over::Sparsity => "zeros in A, %",
            Over::Batch => "batch n, columns of V",
            Over::Size => "elements of A, m x k",
        }
    }

    fn x(self, of: &Measured<'_>) -> f64 {
        match self {
            Over::Sparsity => 100.0 * of.timings.sparsity_measured,
            Over::Batch => of.case.n as f64,
            Over::Size => of.case.m as f64 * of.case.k as f64,
        }
    }

    /// All that the points of one plot have in common: everything but the axis, in words.
    fn key(self, case: &CaseRecord) -> String {
        let layer = case.id.split('/').nth(1).unwrap_or("");
        let shape = format!("{} x {}", case.m, case.k);
        let pattern = match case.sparsity_percent.as_str() {
            "0" => case.pattern.clone(),
            percent => format!("{} {percent} %", case.pattern),
        };
        let batch = format!("n = {}", case.n);
        let output = match case.output == case.dtype {
            true => case.dtype.clone(),
            false => format!("{} to {}", case.dtype, case.output),
        };
        let place = match self {
            Over::Size => case.manifest.clone(),
            _ => format!("{}: {}/{layer}", case.manifest, case.section),
        };
        let mut parts = vec![place];
        parts.extend(match self {
            Over::Sparsity => vec![case.pattern.clone(), shape, batch],
            Over::Batch => vec![pattern, shape],
            Over::Size => vec![pattern, batch],
        });
        parts.extend([output, case.arithmetic.clone()]);
        parts.extend(case.device.clone());
        parts.join(", ")
    }

    /// Groups of cases that differ in nothing but this, in the order of the record.
    fn groups<'a>(self, measured: &[Measured<'a>]) -> Vec<(String, Vec<Measured<'a>>)> {
        let mut groups: Vec<(String, Vec<Measured<'a>>)> = Vec::new();
        let mut places = BTreeMap::new();
        for of in measured {
            let key = self.key(of.case);
            let at = *places.entry((of.case.manifest.as_str(), key.clone())).or_insert_with(|| {
                groups.push((key, Vec::new()));
                groups.len() - 1
            });
            groups[at].1.push(*of);
        }
        groups.retain(|(_, all)| all.iter().any(|of| self.x(of) != self.x(&all[0])));
        groups
    }
}

/// Points from left to right. They are joined where each has its own x.
fn series(look: Look, mut points: Vec<Point>) -> Series {
    points.sort_by(|a, b| a.x.total_cmp(&b.x));
    let is_line = points.windows(2).all(|pair| pair[0].x < pair[1].x);
    Series { look, points, is_line }
}

/// A case's speedup over a baseline as a point; a gap where there is none.
fn speedup_point(case: &CaseRecord, x: f64, found: Option<(f64, Interval, &str)>) -> Point {
    let said = match found {
        Some((ratio, interval, baseline)) => {
            let (low, high) = (numbers::ratio(interval.low), numbers::ratio(interval.high));
            format!("{} [{low} to {high}] over {baseline}", numbers::ratio(ratio))
        }
        None => "not measured".into(),
    };
    let title = visible(&format!("{}: {said}", case.id));
    Point { x, y: found.map(|f| f.0), interval: found.map(|f| f.1), title }
}

/// The picture of a claimed speedup: what is printed beside what was measured, over sparsity, by both rules. `None`
/// where no two sparsities of the claim's layer were measured. `at` is the claim's place in the record.
pub fn of_claim(part: &Part<'_>, at: usize, claim: &Claim, case: &CaseRecord) -> Option<Markup> {
    let printed = claim.figure(Figure::Speedup)?;
    let key = Over::Sparsity.key(case);
    let is_beside =
        |other: &&CaseRecord| other.manifest == case.manifest && Over::Sparsity.key(other) == key;
    let group: Vec<&CaseRecord> = part.record.cases.iter().filter(is_beside).collect();
    // What was not measured has the sparsity that was asked for.
    let x_of = |case: &CaseRecord| -> Option<f64> {
        match &case.measurement {
            Some(timings) => Some(100.0 * timings.sparsity_measured),
            None => case.sparsity_percent.parse().ok(),
        }
    };
    let same = group.iter().filter_map(|case| {
        let over = over_same(claim, case);
        let found = over.as_ref().map(|over| (over.ratio, over.interval, over.rival));
        Some(speedup_point(case, x_of(case)?, found))
    });
    let best = group.iter().filter_map(|case| {
        let speedup = speedup_of(case.measurement.as_ref(), Rule::Best);
        let found = speedup.map(|s| (s.ratio, s.interval, s.baseline.as_str()));
        Some(speedup_point(case, x_of(case)?, found))
    });
    let (same, best): (Vec<Point>, Vec<Point>) = (same.collect(), best.collect());
    let xs = || same.iter().chain(&best).filter(|point| point.y.is_some()).map(|point| point.x);
    let (low, high) =
        xs().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
    if low >= high {
        return None;
    }
    let claimed = Point {
        x: x_of(case)?,
        y: Some((printed.range.low + printed.range.high) / 2.0),
        interval: None,
        title: visible(&format!("{}: printed {printed}x", claim.id)),
    };
    let ends = |point: &Point| {
        let interval = point.interval.iter().flat_map(|interval| [interval.low, interval.high]);
        point.y.into_iter().chain(interval).collect::<Vec<f64>>()
    };
    let ys = same.iter().chain(&best).chain([&claimed]).flat_map(ends).chain([1.0]);
    let y = Axis::of("speedup, times", true, ys)?;
    let x = Axis::of(Over::Sparsity.axis(), false, xs().chain([claimed.x]))?;
    let parity = Line { from: (x.low, 1.0), to: (x.high, 1.0), name: "", label: "as fast".into() };
    let title = format!("Printed {printed}x beside what was measured here");
    let plot = Plot {
        id: part.id(&format!("claimed-{at}")),
        title: &visible(&title),
        description: "Speedup over sparsity, over the same rival as published and over the best one; the card has the \
                      numbers",
        x,
        y,
        series: vec![
            series(Look::Published, same),
            series(Look::Best, best),
            Series { look: Look::Printed, points: vec![claimed], is_line: false },
        ],
        lines: vec![parity],
    };
    Some(plot.svg())
}

/// Plots beside each other, the first ones open.
fn gallery(plots: Vec<(String, Markup)>) -> Markup {
    let figure = |(title, plot): &(String, Markup)| {
        html! { figure { figcaption { (text(title)) } (plot) } }
    };
    let all = plots.len();
    let plots = &plots[..all.min(PLOTS_ALL_MAX)];
    let (first, rest) = plots.split_at(plots.len().min(PLOTS_MAX));
    html! {
        div.gallery { @for plot in first { (figure(plot)) } }
        @if !rest.is_empty() {
            (folded(false, html! { (rest.len()) " more" }, html! {
                div.gallery { @for plot in rest { (figure(plot)) } }
            }))
        }
        @if all > plots.len() { p.note { (all - plots.len()) " more are not plotted; the tables have all." } }
    }
}

pub fn speedups(part: &Part<'_>) -> Markup {
    let measured: Vec<Measured<'_>> = measured(part.record);
    let of = |rule| measured.iter().filter_map(move |of| speedup_of(Some(of.timings), rule));
    let ratios = of(Rule::Best).chain(of(Rule::Published)).map(|speedup| speedup.ratio);
    if !ratios.into_iter().any(|ratio| ratio > 0.0) {
        return nothing("No speedup was measured.");
    }
    html! {
        (legend(&[(Look::Best, "over the fastest of all baselines"), (Look::Published, "over the published rule's baseline")]))
        p.note { "Below the dashed line the operator is slower than the baseline. Plots beside each other have the same vertical axis." }
        @for over in Over::ALL {
            @let plots = speedups_over(part, over, &measured);
            (super::heading(part.level + 1, None, html! { "Speedup " (over.title()) }))
            @if plots.is_empty() { (nothing("No two measured cases differ in this alone.")) }
            @else { (gallery(plots)) }
        }
    }
}

fn speedups_over(part: &Part<'_>, over: Over, measured: &[Measured<'_>]) -> Vec<(String, Markup)> {
    let groups = over.groups(measured);
    let shown = groups.iter().flat_map(|(_, group)| group).flat_map(|of| &of.timings.speedups);
    // One axis for all, so that plots can be compared; parity is on it.
    let ratios = shown
        .flat_map(|speedup| [speedup.ratio, speedup.interval.low, speedup.interval.high])
        .chain([1.0]);
    let Some(y) = Axis::of("speedup, times", true, ratios) else { return Vec::new() };
    groups
        .into_iter()
        .enumerate()
        .filter_map(|(at, (title, group))| {
            let points = |rule| {
                let of = |of: &Measured<'_>| {
                    let speedup = speedup_of(Some(of.timings), rule);
                    speedup_point(
                        of.case,
                        over.x(of),
                        speedup.map(|s| (s.ratio, s.interval, s.baseline.as_str())),
                    )
                };
                group.iter().map(of).collect::<Vec<_>>()
            };
            let (best, published) = (points(Rule::Best), points(Rule::Published));
            let measured = best.iter().chain(&published).filter(|point| point.y.is_some());
            let xs = measured.map(|point| point.x);
            let x = Axis::of(over.axis(), !matches!(over, Over::Sparsity), xs)?;
            let (from, to) = ((x.low, 1.0), (x.high, 1.0));
            let parity = Line { from, to, name: "", label: "as fast".into() };
            let name = format!("{}-{}", over.title().replace(' ', "-"), at);
            let description = format!(
                "Speedup {} of {}; the table of cases has the numbers",
                over.title(),
                count(group.len(), "case")
            );
            let plot = Plot {
                id: part.id(&name),
                title: &visible(&title),
                description: &description,
                x,
                y: y.clone(),
                series: vec![series(Look::Published, published), series(Look::Best, best)],
                lines: vec![parity],
            };
            Some((title, plot.svg()))
        })
        .collect()
}

/// The arithmetic that a record names, as far as a device's peak depends on it.
fn arithmetic(case: &CaseRecord) -> Option<Arithmetic> {
    let dtypes = [("f32", Dtype::F32), ("bf16", Dtype::Bf16), ("f16", Dtype::F16)];
    let Some(name) = case.arithmetic.strip_prefix("tensor-core-") else {
        return Some(Arithmetic::F32Chain(Slices::One));
    };
    let architecture = Architecture::ALL.into_iter().find(|known| known.name() == name)?;
    let (_, dtype) = dtypes.into_iter().find(|(name, _)| *name == case.dtype)?;
    Some(Arithmetic::TensorCore(TensorCoreModel::of(architecture, Format::of(dtype))?))
}

/// The roofs of the device that a case ran on, which its description in the record gives.
fn roofs(record: &Record, case: &CaseRecord) -> Option<Roofline> {
    let name = case.measurement.as_ref()?.device.as_ref()?;
    let is_it = |device: &&DeviceInfo| device.name == *name;
    let device = record.devices.iter().map(|used| &used.device).find(is_it)?;
    Some(Roofline::of_device(device, arithmetic(case)?))
}

pub fn rooflines(part: &Part<'_>) -> Markup {
    let measured = measured(part.record);
    let mut groups: Vec<(String, Vec<Measured<'_>>)> = Vec::new();
    for of in &measured {
        let roofs = roofs(part.record, of.case);
        // Cases under the same roofs share a plot.
        let place = of.timings.device.clone().unwrap_or_else(|| "CPU".into());
        let title = match &roofs {
            Some(roofs) => format!("{place}: {}", roofs.basis),
            None => format!("{place}, {} {}", of.case.dtype, of.case.arithmetic),
        };
        match groups.iter_mut().find(|(known, _)| *known == title) {
            Some((_, group)) => group.push(*of),
            None => groups.push((title, vec![*of])),
        }
    }
    let plots: Vec<(String, Markup)> = groups
        .into_iter()
        .enumerate()
        .filter_map(|(at, (title, group))| {
            let plot = roofline(part, at, &title, &group)?;
            Some((title, plot))
        })
        .collect();
    if plots.is_empty() {
        return nothing("Nothing was measured.");
    }
    html! {
        (legend(&[(Look::Operator, "the operator"), (Look::Limit, "what this case can reach at most")]))
        p.note {
            "Operations are those on non-zeros; bytes are the non-zeros of A, the rows of V that meet one, and Y, each "
            "moved once. Dashed lines are the peak and the bandwidths of caches and memory, where the device's "
            "description gives them. A case that fits in the caches can be above the line of the memory; none can be "
            "above its own limit."
        }
        (gallery(plots))
    }
}

fn roofline(part: &Part<'_>, at: usize, title: &str, group: &[Measured<'_>]) -> Option<Markup> {
    let point = |of: &Measured<'_>, flops_per_ns: f64, what: &str| Point {
        x: of.timings.work.flops / of.timings.work.bytes,
        y: Some(flops_per_ns),
        interval: None,
        title: visible(&format!(
            "{}: {what} {} GFLOP/s at {} flops a byte",
            of.case.id,
            numbers::three_digits(flops_per_ns),
            numbers::three_digits(of.timings.work.flops / of.timings.work.bytes)
        )),
    };
    let operator: Vec<Point> =
        group.iter().map(|of| point(of, of.timing.gflops, "reaches")).collect();
    let limit: Vec<Point> = group
        .iter()
        .map(|of| point(of, of.timings.work.flops / of.timings.minimum_time_ns, "limit"))
        .collect();
    let all = || {
        operator.iter().chain(&limit).filter(|p| p.x.is_finite() && p.x > 0.0 && p.y > Some(0.0))
    };
    let x = Axis::of("flops a byte", true, all().map(|point| point.x))?;
    let y = Axis::of("GFLOP/s on non-zeros", true, all().filter_map(|point| point.y))?;
    let mut lines = Vec::new();
    if let Some(roofs) = roofs(part.record, group[0].case) {
        let peak = roofs.peak_flops_per_s / 1e9;
        let slopes =
            [("caches", roofs.cache_bytes_per_s / 1e9), ("memory", roofs.memory_bytes_per_s / 1e9)];
        for (what, slope) in slopes {
            // Up to the ridge, where the peak takes over.
            let end = (peak / slope).min(x.high);
            if end > x.low && slope > 0.0 {
                let label = format!("{what}: {} GB/s", numbers::three_digits(slope));
                let (from, to) = ((x.low, slope * x.low), (end, slope * end));
                lines.push(Line { from, to, name: what, label });
            }
        }
        let start = slopes.iter().map(|(_, slope)| peak / slope).fold(x.high, f64::min).max(x.low);
        let label = format!("peak: {} GFLOP/s", numbers::three_digits(peak));
        lines.push(Line { from: (start, peak), to: (x.high, peak), name: "peak", label });
    }
    let points = |look, points| Series { look, points, is_line: false };
    let description = format!(
        "Operations on non-zeros per second over operations a byte, of {}",
        count(group.len(), "case")
    );
    let plot = Plot {
        id: part.id(&format!("roofline-{at}")),
        title: &visible(title),
        description: &description,
        x,
        y,
        series: vec![points(Look::Limit, limit), points(Look::Operator, operator)],
        lines,
    };
    Some(plot.svg())
}

/// A contender's error and its time of a call in ns, where both were measured.
fn error_and_time(timed: &Timed) -> Option<(&ErrorSeen, f64)> {
    Some((timed.error.as_ref()?, timed.timing.as_ref()?.summary.time_ns_median))
}

fn contenders(timings: &CaseTimings) -> impl Iterator<Item = &Timed> {
    std::iter::once(&timings.operator).chain(&timings.baselines)
}

/// Whether the errors of two contenders of a case were measured.
fn has_two_errors(case: &CaseRecord) -> bool {
    let timings = case.measurement.iter();
    timings.flat_map(contenders).filter_map(error_and_time).count() > 1
}

pub fn has_errors(record: &Record) -> bool {
    record.cases.iter().any(has_two_errors)
}

pub fn errors(part: &Part<'_>) -> Markup {
    const COLUMNS: [Column<'_>; 6] = [
        wide("case"),
        plain("contender"),
        number("error, part of the norm"),
        number("largest error"),
        number("elements"),
        number("a call"),
    ];
    let plots: Vec<(String, Markup)> = measured(part.record)
        .into_iter()
        .filter(|of| has_two_errors(of.case))
        .enumerate()
        .filter_map(|(at, of)| Some((of.case.id.clone(), error_plot(part, at, &of)?)))
        .collect();
    html! {
        p.note {
            "The error is the distance of timed outputs from the sum in binary64, over the norm of that sum, on elements "
            "that were drawn after the calls. The dashed line is f32-chain on the elements of the case that were "
            "recomputed, where the record has it. An error of 0 has no place on the axis; the table has it."
        }
        @if !plots.is_empty() {
            (legend(&[(Look::Operator, "the operator"), (Look::Best, "baselines")]))
            (gallery(plots))
        }
        (part.by_section(|_| part.is_short(), |cases, section| {
            let of_case = |case: &CaseRecord| -> Vec<Vec<Markup>> {
                let Some(timings) = case.measurement.as_ref().filter(|_| has_two_errors(case)) else {
                    return Vec::new();
                };
                let row = |timed: &Timed| -> Option<Vec<Markup>> {
                    let (error, time_ns) = error_and_time(timed)?;
                    Some(vec![
                        id(&case.id),
                        text(&timed.name),
                        html! { (error.error_share.map_or("-".into(), |share| format!("{share:.1e}"))) },
                        html! { (format!("{:.1e}", error.error_max)) },
                        html! { (error.elements) },
                        html! { (numbers::time(time_ns)) },
                    ])
                };
                contenders(timings).filter_map(row).collect()
            };
            let rows: Vec<Vec<Markup>> = cases.iter().flat_map(of_case).collect();
            let caption = format!("Error against time of {section}");
            (!rows.is_empty()).then(|| Table { caption: &caption, columns: &COLUMNS, rows }.render())
        }))
    }
}

/// `None` where no contender has an error that a logarithm can show.
fn error_plot(part: &Part<'_>, at: usize, of: &Measured<'_>) -> Option<Markup> {
    let point = |timed: &Timed| {
        let (error, time_ns) = error_and_time(timed)?;
        let share = error.error_share.map(f64::from).filter(|share| *share > 0.0)?;
        let said = format!("{}: {share:.1e} in {}", timed.name, numbers::time(time_ns));
        Some(Point { x: time_ns / 1e6, y: Some(share), interval: None, title: visible(&said) })
    };
    let operator: Vec<Point> = point(&of.timings.operator).into_iter().collect();
    let baselines: Vec<Point> = of.timings.baselines.iter().filter_map(point).collect();
    let chain = of.case.bits.as_ref().and_then(|bits| bits.accuracy.as_ref()?.f32_chain.as_ref());
    let chain = chain.and_then(|chain| chain.error_share).map(f64::from).filter(|x| *x > 0.0);
    let all = || operator.iter().chain(&baselines);
    let x = Axis::of("time of a call, ms", true, all().map(|point| point.x))?;
    let y = Axis::of("error, part of the norm", true, all().filter_map(|p| p.y).chain(chain))?;
    let level = chain.map(|chain| Line {
        from: (x.low, chain),
        to: (x.high, chain),
        name: "f32-chain",
        label: format!("f32-chain: {chain:.1e}"),
    });
    let points = |look, points| Series { look, points, is_line: false };
    let description = format!(
        "Error over time of a call, of {}; the table below has the numbers",
        count(operator.len() + baselines.len(), "contender")
    );
    let plot = Plot {
        id: part.id(&format!("errors-{at}")),
        title: &visible(&of.case.id),
        description: &description,
        x,
        y,
        lines: level.into_iter().collect(),
        series: vec![points(Look::Best, baselines), points(Look::Operator, operator)],
    };
    Some(plot.svg())
}

/// The baseline that a rule chose.
fn chosen(timings: &CaseTimings, rule: Rule) -> Option<&Timed> {
    speedup_of(Some(timings), rule)?;
    timings.baselines.get(timings.chosen(rule)?)
}

/// Joules of a call, if the window was valid.
fn joules(timed: Option<&Timed>) -> Option<f64> {
    let energy = timed?.energy.as_ref()?;
    energy.is_valid.then_some(energy.joules_per_call).filter(|joules| *joules > 0.0)
}

pub fn energy(part: &Part<'_>) -> Markup {
    let measured = measured(part.record);
    if measured.is_empty() {
        return nothing("Nothing was measured.");
    }
    let (counted, others): (Vec<&Measured<'_>>, Vec<&Measured<'_>>) =
        measured.iter().partition(|of| joules(Some(&of.timings.operator)).is_some());
    let reasons: BTreeSet<&str> =
        others.iter().filter_map(|of| of.timings.operator.energy_reason.as_deref()).collect();
    let plots = energy_over_sparsity(part, &counted);
    html! {
        p {
            "Of " (count(measured.len(), "measured case")) ", " (counted.len()) " have joules from a counter."
            @if !others.is_empty() {
                " Of the others the ratio is a proxy: the ratio of times, as if power were equal."
                @if !reasons.is_empty() { " Why there are no joules: " }
                @for (at, reason) in reasons.iter().enumerate() { @if at > 0 { "; " } (text(reason)) }
                @if !reasons.is_empty() { "." }
            }
        }
        @if !plots.is_empty() {
            (legend(&[
                (Look::Operator, "operator"),
                (Look::Best, "fastest of all baselines"),
                (Look::Published, "published rule's baseline"),
            ]))
            (gallery(plots))
        }
        @if measured.iter().any(|of| !of.timings.speedups.is_empty()) { (energy_table(part)) }
    }
}

fn energy_over_sparsity(part: &Part<'_>, counted: &[&Measured<'_>]) -> Vec<(String, Markup)> {
    let counted: Vec<Measured<'_>> = counted.iter().map(|of| **of).collect();
    let who = |of: &Measured<'_>, look| match look {
        Look::Best => joules(chosen(of.timings, Rule::Best)),
        Look::Published => joules(chosen(of.timings, Rule::Published)),
        _ => joules(Some(&of.timings.operator)),
    };
    const LOOKS: [Look; 3] = [Look::Published, Look::Best, Look::Operator];
    let all =
        || counted.iter().flat_map(|of| LOOKS.map(|look| who(of, look)).into_iter().flatten());
    let Some(y) = Axis::of("joules a call", true, all()) else { return Vec::new() };
    let groups = Over::Sparsity.groups(&counted).into_iter().enumerate();
    groups
        .filter_map(|(at, (title, group))| {
            let points = |look| {
                let of = |of: &Measured<'_>| {
                    let joules = who(of, look);
                    let said = joules.map_or("not read".into(), numbers::energy);
                    let title = visible(&format!("{}: {said}", of.case.id));
                    Point { x: Over::Sparsity.x(of), y: joules, interval: None, title }
                };
                series(look, group.iter().map(of).collect())
            };
            let description =
                format!("Joules a call over sparsity, of {}", count(group.len(), "case"));
            let plot = Plot {
                id: part.id(&format!("energy-{at}")),
                title: &visible(&title),
                description: &description,
                x: Axis::of(
                    Over::Sparsity.axis(),
                    false,
                    group.iter().map(|of| Over::Sparsity.x(of)),
                )?,
                y: y.clone(),
                series: LOOKS.into_iter().map(points).collect(),
                lines: Vec::new(),
            };
            Some((title, plot.svg()))
        })
        .collect()
}

fn energy_table(part: &Part<'_>) -> Markup {
    const COLUMNS: [Column<'_>; 6] = [
        wide("case"),
        number("operator, a call"),
        number("best baseline"),
        number("published rule's"),
        number("best over operator"),
        number("published over operator"),
    ];
    let ratio = |timings: &CaseTimings, rule| {
        html! {
            @match speedup_of(Some(timings), rule) {
                Some(speedup) => {
                    (numbers::ratio(speedup.energy.ratio))
                    span.why {
                        @match speedup.energy.basis { EnergyBasis::Measured => "measured", EnergyBasis::Proxy => "proxy" }
                    }
                }
                None => "-",
            }
        }
    };
    let baseline = |timings: &CaseTimings, rule| {
        let timed = chosen(timings, rule);
        html! {
            (joules(timed).map_or("-".into(), numbers::energy))
            @if let Some(timed) = timed { span.why { (text(&timed.name)) } }
        }
    };
    part.by_section(
        |_| part.is_short(),
        |cases, section| {
            let rows: Vec<Vec<Markup>> = cases
            .iter()
            .filter_map(|case| Some((case, case.measurement.as_ref()?)))
            .filter(|(_, timings)| !timings.speedups.is_empty())
            .map(|(case, timings)| {
                vec![
                    id(&case.id),
                    html! { (joules(Some(&timings.operator)).map_or("-".into(), numbers::energy)) },
                    baseline(timings, Rule::Best),
                    baseline(timings, Rule::Published),
                    ratio(timings, Rule::Best),
                    ratio(timings, Rule::Published),
                ]
            })
            .collect();
            let caption = format!("Energy of {section}");
            (!rows.is_empty())
                .then(|| Table { caption: &caption, columns: &COLUMNS, rows }.render())
        },
    )
}

/// The dtype that the checkpoint behind a case ships in: of its section, or of the one that it is the twin of.
fn ships(record: &Record, case: &CaseRecord) -> Option<Dtype> {
    let manifest = record.manifests.iter().find(|known| known.name == case.manifest)?;
    let section = |name: &str| manifest.sections.iter().find(|section| section.name == name);
    let own = section(&case.section)?;
    let config = own.config.as_ref().or_else(|| section(own.twin_of.first()?)?.config.as_ref());
    config.map(|config| config.dtype)
}

pub fn build(part: &Part<'_>) -> Markup {
    if measured(part.record).is_empty() {
        return nothing("Nothing was measured.");
    }
    const COLUMNS: [Column<'_>; 7] = [
        wide("case"),
        number("build"),
        number("pays after"),
        number("operator holds"),
        number("A dense, f32"),
        number("A dense, as it ships"),
        plain("held as"),
    ];
    let row = |of: &Measured<'_>| {
        let elements = of.case.m as f64 * of.case.k as f64;
        let held = of.timings.operator.bytes_held as f64;
        let dense = |bytes: f64| {
            html! {
                (numbers::bytes(bytes))
                @if held > 0.0 { span.why { (numbers::ratio(bytes / held)) } }
            }
        };
        let plan = of.timings.operator.plan.as_deref().unwrap_or("-");
        // The choice; its reason would fill the table.
        let plan = plan.split([':', '(']).next().unwrap_or("-").trim();
        vec![
            id(&of.case.id),
            html! { (numbers::time(of.timing.build_time_ns_median)) },
            html! {
                @match of.timings.break_even_calls {
                    Some(1.0) => "1 call",
                    Some(calls) => { (numbers::number(calls)) " calls" }
                    None => "-",
                }
            },
            html! { (numbers::bytes(held)) },
            dense(4.0 * elements),
            html! {
                @match ships(part.record, of.case) {
                    Some(dtype) => {
                        (dense(dtype.size() as f64 * elements)) span.why { (dtype.name()) }
                    }
                    None => "-",
                }
            },
            text(plan),
        ]
    };
    html! {
        p.note {
            "Building happens once for each A. It pays after as many calls as the time saved on each, over the fastest "
            "dense baseline, makes up for it; \"-\" where the operator is not faster than that. Below the bytes of the "
            "dense matrix is how many times the operator's they are; \"-\" where the dtype that the weights ship in is "
            "not known."
        }
        (part.by_section(|_| part.is_tiny(), |cases, section| {
            let of = |case: &CaseRecord| -> Option<Vec<Markup>> {
                let timings = case.measurement.as_ref()?;
                let timing = timings.operator.timing.as_ref()?;
                Some(row(&Measured { case, timings, timing }))
            };
            let rows: Vec<Vec<Markup>> = cases.iter().filter_map(of).collect();
            let caption = format!("Build of {section}");
            (!rows.is_empty()).then(|| Table { caption: &caption, columns: &COLUMNS, rows }.render())
        }))
    }
}
