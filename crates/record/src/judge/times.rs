//! Figures that need a clock: what the open operator reaches, what the vendor's library takes, and the printed time
//! under other rules than the publisher's.

use std::collections::BTreeMap;

use super::Judging;
use crate::CaseRecord;
use crate::baseline::Kind;
use crate::claims::{Axis, Claim, Figure, Printed, Range, kind_of_layer};
use crate::claims::{Row, Word, attained};
use crate::judge::rules::{range, roofline_lacks};
use crate::manifest::names_accelerator;
use crate::numbers::number;
use crate::timings::{CaseTimings, Rule, Timed, published_kind};
use contract::dtype::Dtype;

/// Share by which a published vendor time may differ from one here: cards of one kind differ in clocks, power limits
/// and library versions.
const VENDOR_MARGIN: f64 = 0.25;

/// Figures that only a measurement can say something of.
const TIMED: [Figure; 14] = [
    Figure::VendorMs,
    Figure::OperatorMs,
    Figure::Speedup,
    Figure::SpeedupMax,
    Figure::EnergySavedPercent,
    Figure::TokensPerS,
    Figure::VendorTokensPerS,
    Figure::Gflops,
    Figure::VendorGflops,
    Figure::UsPerToken,
    Figure::VendorUsPerToken,
    Figure::BuildS,
    Figure::BreakEvenCalls,
    Figure::MemoryMb,
];
/// Figures that are defined over several cases.
const OF_SEVERAL: [Figure; 2] = [Figure::Speedup, Figure::SpeedupMax];

/// A time in ms, or what follows from times, with where it lies.
#[derive(Clone, Copy)]
struct Span {
    mid: f64,
    low: f64,
    high: f64,
    /// Whether a contender behind it was so noisy that no word can rest on it.
    noisy: bool,
}

impl Span {
    fn map(self, f: impl Fn(f64) -> f64) -> Span {
        let (a, b) = (f(self.low), f(self.high));
        Span { mid: f(self.mid), low: a.min(b), high: a.max(b), noisy: self.noisy }
    }

    /// A quotient; its interval is that of the ends, which is wider than the quotient's own.
    fn over(self, other: Span) -> Span {
        Span {
            mid: self.mid / other.mid,
            low: self.low / other.high,
            high: self.high / other.low,
            noisy: self.noisy || other.noisy,
        }
    }

    /// `yes` where all of it is on the right side of a limit, `no` where none of it is.
    fn word(self, is_right: impl Fn(f64) -> bool, yes: Word, no: Word) -> Word {
        match (is_right(self.low), is_right(self.high)) {
            _ if self.noisy => Word::Inconclusive,
            (true, true) => yes,
            (false, false) => no,
            _ => Word::Inconclusive,
        }
    }

    /// Whether the open operator reaches a figure of which more is better.
    fn at_least(self, limit: f64) -> Word {
        self.word(|here| here >= limit, Word::Attained, Word::NotAttained)
    }

    /// The same where less is better.
    fn at_most(self, limit: f64) -> Word {
        self.word(|here| here <= limit, Word::Attained, Word::NotAttained)
    }

    /// Whether it is within a margin of a printed figure.
    fn near(self, printed: Range, margin: f64) -> Word {
        let word = self.word(|here| distance(printed, here) <= margin, Word::Agrees, Word::Differs);
        // Both ends are outside, and on different sides.
        let straddles = self.low < printed.low && self.high > printed.high;
        if word == Word::Differs && straddles { Word::Inconclusive } else { word }
    }

    fn row(self, rule: &str, word: Word, printed: &Printed, line: String) -> Row {
        let noisy = if self.noisy { "; a contender is noisy" } else { "" };
        let line = format!("{line} [{} to {}{noisy}]", number(self.low), number(self.high));
        Row::new(rule, word, printed, self.mid, line).within(self.low, self.high)
    }
}

/// Milliseconds of a timing that may be compared.
fn ms(timed: &Timed) -> Option<Span> {
    let timing = timed.timing.as_ref()?;
    let is_sound = !timing.impossible && timing.clock_disagreement.is_none();
    let summary = &timing.summary;
    let ms = Span {
        mid: summary.time_ns_median / 1e6,
        low: summary.time_ns_interval.low / 1e6,
        high: summary.time_ns_interval.high / 1e6,
        noisy: summary.is_noisy,
    };
    (is_sound && ms.low > 0.0).then_some(ms)
}

/// A rival with its time.
struct Rival<'r> {
    timed: &'r Timed,
    ms: Span,
}

fn fastest<'r>(timings: &'r CaseTimings, is_wanted: impl Fn(&Timed) -> bool) -> Option<Rival<'r>> {
    let rivals = timings.baselines.iter().filter(|timed| is_wanted(timed));
    let timed = rivals.filter_map(|timed| Some(Rival { timed, ms: ms(timed)? }));
    timed.min_by(|a, b| a.ms.mid.total_cmp(&b.ms.mid))
}

/// Whether a rival is what the claim names as its baseline: `cuBLAS-BF16` is cuBLAS on a bf16 case, `CPU CSR` any CSR
/// product. Without a name, what the published rule takes.
fn is_named(claim: &Claim, timings: &CaseTimings, timed: &Timed) -> bool {
    let Some(name) = &claim.baseline else {
        return timed.kind == Some(published_kind(timings.sparsity));
    };
    let is_plain = matches!(timed.kind, Some(Kind::Dense | Kind::Sparse));
    let library = name.strip_suffix("-BF16").unwrap_or(name);
    match library {
        "CPU CSR" => timed.kind == Some(Kind::Sparse),
        library => is_plain && timed.library == library,
    }
}

/// The fastest of a case's rivals that are what the claim names as its baseline: the same rival as published.
pub fn same_rival<'r>(claim: &Claim, timings: &'r CaseTimings) -> Option<&'r Timed> {
    fastest(timings, |timed| is_named(claim, timings, timed)).map(|rival| rival.timed)
}

impl<'r> Judging<'r> {
    /// A case's timings, or why they say nothing about the claim.
    fn timings(&self, case: &'r CaseRecord) -> Result<&'r CaseTimings, String> {
        if !case.verdict.satisfies() {
            return Err(format!("the case is {}", case.verdict.name()));
        }
        let Some(timings) = &case.measurement else {
            let reason = case.measurement_reason.as_deref();
            return Err(reason.unwrap_or("not measured").to_owned());
        };
        match (self.platform, timings.device.as_deref()) {
            (Some(platform), Some(device)) if device != platform => {
                Err(format!("measured on {device}, and the claim is about {platform}"))
            }
            (Some(platform), None) => {
                let cpu = &self.record.environment.cpu_model;
                let names = |word: &str| word == "CPU" || cpu.contains(word);
                if !names_accelerator(platform) && platform.split_whitespace().all(names) {
                    return Ok(timings);
                }
                Err(format!("measured on {cpu}, and the claim is about {platform}"))
            }
            _ => Ok(timings),
        }
    }

    fn baseline(&self, timings: &'r CaseTimings) -> Option<Rival<'r>> {
        fastest(timings, |timed| is_named(self.claim, timings, timed))
    }

    fn baseline_name(&self) -> &'r str {
        self.claim.baseline.as_deref().unwrap_or("the baseline of the published rule")
    }

    /// Figures that need a clock, in the order in which they are printed.
    pub(super) fn times(&self) -> Vec<Row> {
        let printed = self.printed_of(&TIMED);
        if printed.is_empty() {
            return Vec::new();
        }
        let refused = |reason: &str| {
            vec![Row::not_judged("times", format!("{}: {reason}", printed.join(", ")))]
        };
        if self.claim.section.is_none() {
            return match roofline_lacks(self.claim, self.platform) {
                Some(lacking) if self.figure(Figure::OperatorMs).is_some() => {
                    let line = format!("no case stands for it, and not known here: {lacking}");
                    refused(&line)
                }
                _ => Vec::new(),
            };
        }
        match self.cases {
            [] => refused("no case that stands for it was verified"),
            [case] => match self.timings(case) {
                Ok(timings) => self.of_one(case, timings),
                Err(reason) => refused(&reason),
            },
            cases => {
                let timings: Result<Vec<_>, _> =
                    cases.iter().map(|case| self.timings(case)).collect();
                match timings {
                    Ok(timings) => {
                        let mut rows = self.of_several(&timings);
                        let of_one =
                            TIMED.into_iter().filter(|figure| !OF_SEVERAL.contains(figure));
                        let of_one = self.printed_of(&of_one.collect::<Vec<_>>());
                        if !of_one.is_empty() {
                            let count = cases.len();
                            let line = format!("{}: of {count} cases together", of_one.join(", "));
                            rows.push(Row::not_judged("times", line));
                        }
                        rows
                    }
                    Err(reason) => refused(&reason),
                }
            }
        }
    }

    /// Keys of those that are printed.
    fn printed_of(&self, figures: &[Figure]) -> Vec<&'static str> {
        let printed = figures.iter().filter(|figure| self.figure(**figure).is_some());
        printed.map(|figure| figure.key()).collect()
    }

    /// The least speedup over all of them, and the largest.
    fn of_several(&self, all: &[&'r CaseTimings]) -> Vec<Row> {
        let mut ratios: Vec<Span> = all
            .iter()
            .filter_map(|timings| Some(self.baseline(timings)?.ms.over(ms(&timings.operator)?)))
            .collect();
        ratios.sort_by(|a, b| a.mid.total_cmp(&b.mid));
        let baseline = self.baseline_name();
        let mut rows = Vec::new();
        for (figure, rule) in
            [(Figure::Speedup, "speedup here"), (Figure::SpeedupMax, "largest speedup here")]
        {
            let Some(printed) = self.figure(figure) else { continue };
            if ratios.len() < all.len() {
                let line = format!(
                    "no time of {baseline} in {} of {} cases",
                    all.len() - ratios.len(),
                    all.len()
                );
                rows.push(Row::not_judged(rule, line));
                continue;
            }
            let (Some(least), Some(most)) = (ratios.first(), ratios.last()) else { continue };
            let here = if figure == Figure::Speedup { least } else { most };
            let line = format!(
                "{} cases: {} to {} times as fast as {baseline}, printed {printed}x",
                all.len(),
                number(least.mid),
                number(most.mid)
            );
            rows.push(here.row(rule, here.at_least(printed.range.low), printed, line));
        }
        rows
    }

    fn of_one(&self, case: &CaseRecord, timings: &'r CaseTimings) -> Vec<Row> {
        let Some(ours) = ms(&timings.operator) else {
            return vec![Row::not_judged("times", format!("no sound time of the {}", self.who))];
        };
        let mut rows = Vec::new();
        let baseline = self.baseline(timings);
        self.operator_rows(timings, ours, &mut rows);
        match &baseline {
            Some(baseline) => self.vendor_rows(timings, baseline, ours, &mut rows),
            None => {
                let name = self.baseline_name();
                rows.push(Row::not_judged("vendor", format!("no time of {name} here")));
            }
        }
        self.ratios(case, timings, &baseline, &mut rows);
        if self.figure(Figure::SpeedupMax).is_some() {
            rows.extend(self.of_several(&[timings]).pop());
        }
        rows
    }

    /// Number of layers that the printed times are for.
    fn layers(&self) -> Range {
        self.figure(Figure::Layers).map_or(Range::exact(1.0), |layers| layers.range)
    }

    /// What the open operator reaches.
    fn operator_rows(&self, timings: &CaseTimings, ours: Span, rows: &mut Vec<Row>) {
        let n = timings.n as f64;
        if let Some(printed) = self.figure(Figure::OperatorMs) {
            let per_layer = printed.range.over(self.layers());
            let each = match self.figure(Figure::Layers) {
                Some(layers) => format!(" / {layers} layers = {} ms", range(per_layer)),
                None => String::new(),
            };
            let line = format!("{} {} ms, printed {printed} ms{each}", self.who, number(ours.mid));
            rows.push(ours.row("operator time", ours.at_most(per_layer.high), printed, line));
        }
        let rates = [
            (Figure::TokensPerS, "tokens/s here", tokens_per_s(timings, ours)),
            (Figure::Gflops, "GFLOP/s here", gflops(timings, ours)),
        ];
        for (figure, rule, (here, arithmetic)) in rates {
            let Some(printed) = self.figure(figure) else { continue };
            let line = format!("{arithmetic} = {}, printed {printed}", number(here.mid));
            rows.push(here.row(rule, here.at_least(printed.range.low), printed, line));
        }
        if let Some(printed) = self.figure(Figure::UsPerToken) {
            let here = ours.map(|ms| ms / n * 1e3);
            let line = format!(
                "{} ms / {n} tokens = {} us, printed {printed}",
                number(ours.mid),
                number(here.mid)
            );
            let word = here.at_most(printed.range.high);
            rows.push(here.row("us per token here", word, printed, line));
        }
        let build = build_ms(&timings.operator);
        if let (Some(printed), Some(build)) = (self.figure(Figure::BuildS), build) {
            let here = build.map(|ms| ms / 1e3);
            let line =
                format!("the {} is built in {} s, printed {printed} s", self.who, number(here.mid));
            rows.push(here.row("build here", here.at_most(printed.range.high), printed, line));
        }
        let held = timings.operator.bytes_held as f64;
        if let Some(printed) = self.figure(Figure::MemoryMb).filter(|_| held > 0.0) {
            let here = held / 1e6;
            let line = format!("the {} holds {} MB, printed {printed} MB", self.who, number(here));
            rows.push(Row::new(
                "memory here",
                attained(here <= printed.range.high),
                printed,
                here,
                line,
            ));
        }
        if let Some(printed) = self.figure(Figure::MemoryReduction).filter(|_| held > 0.0) {
            for dtype in [Some(Dtype::F32), self.ships.filter(|ships| *ships != Dtype::F32)]
                .into_iter()
                .flatten()
            {
                let dense = (timings.m as f64) * (timings.k as f64) * dtype.size() as f64;
                let here = dense / held;
                let line = format!(
                    "dense {dtype} {} MB / {} MB held by the {} = {}, printed {printed}",
                    number(dense / 1e6),
                    number(held / 1e6),
                    self.who,
                    number(here)
                );
                let word = attained(here >= printed.range.low);
                rows.push(Row::new("memory reduction here", word, printed, here, line));
            }
        }
    }

    /// What is published of the vendor's library, and of the open operator over it.
    fn vendor_rows(
        &self,
        timings: &CaseTimings,
        baseline: &Rival<'_>,
        ours: Span,
        rows: &mut Vec<Row>,
    ) {
        let (n, theirs) = (timings.n as f64, baseline.ms);
        let name = &baseline.timed.name;
        if let Some(printed) = self.figure(Figure::Speedup) {
            let here = theirs.over(ours);
            let line = format!(
                "{name} {} ms / {} ms = {}x, printed {printed}x over {}",
                number(theirs.mid),
                number(ours.mid),
                number(here.mid),
                self.baseline_name()
            );
            rows.push(here.row("speedup here", here.at_least(printed.range.low), printed, line));
        }
        if let Some(printed) = self.figure(Figure::VendorMs) {
            let per_layer = printed.range.over(self.layers());
            // Which of its algorithms was timed is not published: any of them will do.
            let variants =
                timings.baselines.iter().filter(|timed| is_named(self.claim, timings, timed));
            let nearest = variants
                .filter_map(|timed| Some(Rival { timed, ms: ms(timed)? }))
                .min_by(|a, b| {
                    let far = |rival: &Rival<'_>| distance(per_layer, rival.ms.mid);
                    far(a).total_cmp(&far(b))
                });
            if let Some(nearest) = nearest {
                let each = match self.figure(Figure::Layers) {
                    Some(layers) => format!(" / {layers} layers = {} ms", range(per_layer)),
                    None => String::new(),
                };
                let line = format!(
                    "{name} {} ms (fastest), {} {} ms (nearest), printed {printed} ms{each}: {} times the nearest, of \
                     at most {}",
                    number(theirs.mid),
                    nearest.timed.name,
                    number(nearest.ms.mid),
                    range(per_layer.over(Range::exact(nearest.ms.mid))),
                    1.0 + VENDOR_MARGIN
                );
                let word = nearest.ms.near(per_layer, VENDOR_MARGIN);
                rows.push(theirs.row("vendor time", word, printed, line));
            }
        }
        if self.claim.baseline.is_some() && self.figure(Figure::Speedup).is_some() {
            let plain = |timed: &Timed| matches!(timed.kind, Some(Kind::Dense | Kind::Sparse));
            if let Some(best) = fastest(timings, plain) {
                let word = match theirs.mid <= best.ms.mid {
                    true => Word::Agrees,
                    false if theirs.noisy || best.ms.noisy || theirs.low <= best.ms.high => {
                        Word::Inconclusive
                    }
                    false => Word::Differs,
                };
                let line = format!(
                    "fastest dense or sparse library here: {} {} ms; {} takes {} ms",
                    best.timed.name,
                    number(best.ms.mid),
                    self.baseline_name(),
                    number(theirs.mid)
                );
                let row = Row {
                    printed: self.claim.baseline.clone(),
                    ..Row::not_judged("choice of baseline", line)
                };
                rows.push(Row { word, here: Some(best.ms.mid), measured: true, ..row });
            }
        }
        let rates = [
            (Figure::VendorTokensPerS, "vendor tokens/s", tokens_per_s(timings, theirs)),
            (Figure::VendorGflops, "vendor GFLOP/s", gflops(timings, theirs)),
            (
                Figure::VendorUsPerToken,
                "vendor us per token",
                (theirs.map(|ms| ms / n * 1e3), format!("{} ms / {n} tokens", number(theirs.mid))),
            ),
        ];
        for (figure, rule, (here, arithmetic)) in rates {
            let Some(printed) = self.figure(figure) else { continue };
            let line = format!("{name}: {arithmetic} = {}, printed {printed}", number(here.mid));
            let word = here.near(printed.range, VENDOR_MARGIN);
            rows.push(here.row(rule, word, printed, line));
        }
        if let Some(printed) = self.figure(Figure::EnergySavedPercent) {
            rows.push(self.energy(timings, baseline, printed));
        }
        if let Some(printed) = self.figure(Figure::BreakEvenCalls) {
            rows.push(self.break_even(timings, baseline, ours, printed));
        }
    }

    /// Calls after which the build has paid against the baseline that the claim names.
    fn break_even(
        &self,
        timings: &CaseTimings,
        baseline: &Rival<'_>,
        ours: Span,
        printed: &Printed,
    ) -> Row {
        const RULE: &str = "break-even here";
        let Some(build) = build_ms(&timings.operator) else {
            return Row::not_judged(RULE, format!("no time of a build of the {}", self.who));
        };
        let theirs = baseline.ms;
        let saved = Span {
            mid: theirs.mid - ours.mid,
            low: theirs.low - ours.high,
            high: theirs.high - ours.low,
            noisy: theirs.noisy || ours.noisy || build.noisy,
        };
        let arithmetic = format!(
            "build {} ms / ({} {} - {} ms)",
            number(build.mid),
            baseline.timed.name,
            number(theirs.mid),
            number(ours.mid)
        );
        let dense = match timings.break_even_calls {
            Some(calls) => format!("{} over the fastest dense product", number(calls)),
            None => "never over a dense product".into(),
        };
        if saved.low <= 0.0 {
            // Some of the interval saves nothing.
            let word = match saved.high <= 0.0 && !saved.noisy {
                true => Word::NotAttained,
                false => Word::Inconclusive,
            };
            let line = format!("{arithmetic}: no gain, printed {printed} calls; {dense}");
            return Row {
                word,
                printed: Some(printed.to_string()),
                measured: true,
                ..Row::not_judged(RULE, line)
            };
        }
        let calls = build.over(saved).map(f64::ceil);
        let line =
            format!("{arithmetic} = {} calls, printed {printed}; {dense}", number(calls.mid));
        calls.row(RULE, calls.at_most(printed.range.high), printed, line)
    }

    /// Whether the measured speedup rises with what it is said to rise with.
    pub(super) fn trend(&self) -> Option<Row> {
        const RULE: &str = "trend here";
        let axis = self.claim.speedup_rises_with?;
        let is_about = |case: &&CaseRecord| {
            !self.claim.about.is_empty() && self.claim.is_about(&case.manifest, &case.section)
        };
        let cases: Vec<&'r CaseRecord> = match self.claim.section {
            Some(_) => self.cases.to_vec(),
            None => self.record.cases.iter().filter(is_about).collect(),
        };
        let mut rows: BTreeMap<String, Vec<(f64, Span)>> = BTreeMap::new();
        let mut reason = None;
        for case in cases {
            let ratio = self.timings(case).and_then(|timings| {
                let ours = ms(&timings.operator).ok_or("no sound time of the operator")?;
                let theirs = self.baseline(timings);
                let theirs =
                    theirs.ok_or_else(|| format!("no time of {} here", self.baseline_name()))?;
                Ok((theirs.ms.over(ours), timings.sparsity))
            });
            match ratio {
                Ok((ratio, sparsity)) => {
                    let (at, alike) = place(axis, case, sparsity);
                    rows.entry(alike).or_default().push((at, ratio));
                }
                Err(why) => reason = Some(why),
            }
        }
        rows.retain(|_, row| row.iter().any(|(at, _)| *at != row[0].0));
        if rows.is_empty() {
            let why = reason.unwrap_or_else(|| "no case that stands for it was verified".into());
            let line =
                format!("no two cases that differ in {} alone were timed: {why}", axis.name());
            return Some(Row::not_judged(RULE, line));
        }
        let mut word = Word::Attained;
        let mut shown = Vec::new();
        for row in rows.values_mut() {
            row.sort_by(|a, b| a.0.total_cmp(&b.0));
            for (i, (at, earlier)) in row.iter().enumerate() {
                for (_, later) in row[i + 1..].iter().filter(|(after, _)| after > at) {
                    let noisy = earlier.noisy || later.noisy;
                    if later.high < earlier.low && !noisy {
                        word = Word::NotAttained;
                    } else if (noisy || later.mid < earlier.mid) && word == Word::Attained {
                        word = Word::Inconclusive;
                    }
                }
            }
            let each = row.iter().map(|(at, ratio)| {
                let (low, high) = (number(ratio.low), number(ratio.high));
                format!("{}x [{low} to {high}] at {}", number(ratio.mid), number(*at))
            });
            shown.push(each.collect::<Vec<_>>().join(", "));
        }
        let missing = reason.map(|why| format!("; not all: {why}")).unwrap_or_default();
        let line = format!(
            "over {}, by {}: {}{missing}",
            self.baseline_name(),
            axis.name(),
            shown.join("; ")
        );
        Some(Row { word, measured: true, ..Row::not_judged(RULE, line) })
    }

    /// Energy by counters, where both were read.
    fn energy(&self, timings: &CaseTimings, baseline: &Rival<'_>, printed: &Printed) -> Row {
        const RULE: &str = "energy here";
        let joules = |timed: &Timed| {
            let energy = timed.energy.as_ref().filter(|energy| energy.is_valid)?;
            (energy.joules_per_call > 0.0).then_some(energy.joules_per_call)
        };
        // The window is that of the variant which the published rule chose.
        let measured = timings
            .baselines
            .iter()
            .filter(|timed| is_named(self.claim, timings, timed))
            .find_map(|timed| Some((&timed.name, joules(timed)?)));
        let (Some((name, theirs)), Some(ours)) = (measured, joules(&timings.operator)) else {
            let reason = timings.operator.energy_reason.as_deref();
            let reason = reason.unwrap_or("no energy was read for both");
            return Row::not_judged(RULE, format!("{reason} ({})", baseline.timed.name));
        };
        let here = 100.0 * (1.0 - ours / theirs);
        let line = format!(
            "1 - {} J / {} J ({name}) = {} %, printed {printed} %",
            number(ours),
            number(theirs),
            number(here)
        );
        Row::new(RULE, attained(here >= printed.range.low), printed, here, line)
    }

    /// The printed operator time under other rules than the publisher's: against what was measured here.
    fn ratios(
        &self,
        case: &CaseRecord,
        timings: &CaseTimings,
        baseline: &Option<Rival<'_>>,
        rows: &mut Vec<Row>,
    ) {
        let (Some(printed), Some(speedup)) =
            (self.figure(Figure::OperatorMs), self.figure(Figure::Speedup))
        else {
            return;
        };
        let operator = printed.range.over(self.layers());
        let by_rule = |rule: Rule| {
            let timed = &timings.baselines[timings.chosen(rule)?];
            Some(Rival { timed, ms: ms(timed)? })
        };
        let compacted = || fastest(timings, |timed| timed.kind == Some(Kind::Compacted));
        let rivals = [
            (
                "ratio, published rule",
                by_rule(Rule::Published).or_else(|| {
                    baseline.as_ref().map(|rival| Rival { timed: rival.timed, ms: rival.ms })
                }),
                "no verified baseline of that rule",
            ),
            ("ratio, best rule", by_rule(Rule::Best), "no verified baseline"),
            ("ratio, compacted dense", compacted(), "no dense product of the live rows was timed"),
        ];
        let mut push = |rule: &str, name: &str, theirs: Span| {
            let over = |theirs: f64| Range::exact(theirs).over(operator);
            let here = over(theirs.mid);
            let line = format!(
                "{name} {} ms / printed operator time {} ms = {}x, printed {speedup}x",
                number(theirs.mid),
                range(operator),
                range(here)
            );
            let holds = |theirs: f64| over(theirs).high >= speedup.range.low;
            let word = theirs.word(holds, Word::Holds, Word::Lower);
            let here = theirs.map(|ms| ms / (operator.low + operator.high) * 2.0);
            rows.push(here.row(rule, word, speedup, line));
        };
        let mut missing = Vec::new();
        for (rule, rival, reason) in rivals {
            match rival {
                Some(rival) => push(rule, &rival.timed.name, rival.ms),
                None => missing.push(Row::not_judged(rule, reason.into())),
            }
        }
        if let Some(ships) = self.ships.filter(|ships| ships.name() != case.dtype) {
            let rule = format!("ratio, dense {ships} as shipped");
            match self.shipped(case, ships) {
                Some((name, theirs)) => push(&rule, &name, theirs),
                None => {
                    let line = format!("no dense {ships} product of this shape was timed");
                    missing.push(Row::not_judged(&rule, line));
                }
            }
        }
        rows.extend(missing);
    }

    /// The fastest dense product of the shape in the dtype that the checkpoint ships in, on the same device.
    fn shipped(&self, case: &CaseRecord, ships: Dtype) -> Option<(String, Span)> {
        let same = |other: &&CaseRecord| {
            (other.m, other.k, other.n) == (case.m, case.k, case.n)
                && other.dtype == ships.name()
                && other.sparsity_percent == "0"
                && other.device == case.device
        };
        let timings =
            self.record.cases.iter().filter(same).filter_map(|case| self.timings(case).ok());
        let rivals =
            timings.filter_map(|timings| fastest(timings, |timed| timed.kind == Some(Kind::Dense)));
        let best = rivals.min_by(|a, b| a.ms.mid.total_cmp(&b.ms.mid))?;
        Some((format!("{} ({ships})", best.timed.name), best.ms))
    }
}

/// Where a case stands in what a trend is over, and what must be alike of two of them, in words.
fn place(axis: Axis, case: &CaseRecord, sparsity: f64) -> (f64, String) {
    let size = case.m as f64 * case.k as f64;
    let at = match axis {
        Axis::Batch => case.n as f64,
        Axis::Size => size,
        Axis::Sparsity => sparsity,
    };
    // SECTION/LAYER/PATTERN-LEVEL/...
    let layer = kind_of_layer(case.id.split('/').nth(1).unwrap_or_default());
    let unless = |over, text: String| if axis == over { String::new() } else { text };
    let alike = [
        layer.to_owned(),
        case.pattern.clone(),
        case.dtype.clone(),
        case.arithmetic.clone(),
        unless(Axis::Batch, case.n.to_string()),
        unless(Axis::Size, format!("{} x {}", case.m, case.k)),
        unless(Axis::Sparsity, case.sparsity_percent.clone()),
    ];
    (at, alike.join("/"))
}

/// Time of a build of the operator in ms, between its fastest and its slowest.
fn build_ms(timed: &Timed) -> Option<Span> {
    let mid = timed.timing.as_ref()?.build_time_ns_median / 1e6;
    let all = timed.build_ns.iter().map(|&ns| ns as f64 / 1e6);
    let (low, high) = all.fold((mid, mid), |(low, high), ms| (ms.min(low), ms.max(high)));
    Some(Span { mid, low, high, noisy: false })
}

/// Columns of V per second, and the arithmetic.
fn tokens_per_s(timings: &CaseTimings, ms: Span) -> (Span, String) {
    let n = timings.n as f64;
    (ms.map(|ms| n / ms * 1e3), format!("{n} tokens / {} ms", number(ms.mid)))
}

/// 10^9 operations on non-zeros per second, and the arithmetic.
fn gflops(timings: &CaseTimings, ms: Span) -> (Span, String) {
    let CaseTimings { nnz, n, .. } = timings;
    let line = format!("2 x {nnz} non-zeros x {n} / {} ms", number(ms.mid));
    (ms.map(|ms| timings.work.flops / ms / 1e6), line)
}

/// How far a value is from a range, as a share of the nearer end.
fn distance(range: Range, value: f64) -> f64 {
    if range.contains(value) {
        return 0.0;
    }
    let ratio = if value < range.low { range.low / value } else { value / range.high };
    ratio - 1.0
}
