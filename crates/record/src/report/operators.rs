//! Operators side by side on the same cases, by a record each: verdict, time, memory.

use crate::numbers;
use crate::timings::Timed;
use crate::verdict::Verdict;
use crate::{CaseRecord, Record};

/// What one operator did on one case.
pub struct Line<'a> {
    /// Name of the manifest.
    pub manifest: &'a str,
    /// Id of the case.
    pub id: &'a str,
    /// The operator, in words.
    pub operator: String,
    /// What became of it; `None` where its record lacks the case.
    pub verdict: Option<Verdict>,
    /// Median time of a call in ns, and where it lies with a probability of 95 %; `None` where it was not measured soundly.
    pub time_ns: Option<(f64, f64, f64)>,
    /// The first operator's time over this one's; above 1 this one is faster.
    pub over_first: Option<f64>,
    /// Bytes held between calls.
    pub bytes_held: Option<usize>,
    /// Median time of a build in ns.
    pub build_ns: Option<f64>,
}

/// The operator of a record, in words.
pub fn name(record: &Record) -> String {
    let own = || format!("open {}", crate::tool::VERSION);
    record.operator.as_ref().map_or_else(own, |operator| operator.in_words())
}

/// A line for each case of the first record and each record, in their order.
pub fn lines<'a>(records: &'a [(String, Record)]) -> Vec<Line<'a>> {
    let Some((_, first)) = records.first() else { return Vec::new() };
    let of = |case: &'a CaseRecord, record: &Record, reference: Option<f64>| {
        let here = record.case(&case.manifest, &case.id);
        let timed = here.and_then(timed);
        let time_ns = timed.and_then(time);
        let over_first = reference.zip(time_ns).map(|(first, (here, ..))| first / here);
        Line {
            manifest: &case.manifest,
            id: &case.id,
            operator: name(record),
            verdict: here.map(|case| case.verdict),
            time_ns,
            over_first,
            bytes_held: timed.filter(|timed| timed.timing.is_some()).map(|timed| timed.bytes_held),
            build_ns: timed.and_then(|timed| Some(timed.timing.as_ref()?.build_time_ns_median)),
        }
    };
    let of_case = |case: &'a CaseRecord| {
        let reference = timed(case).and_then(time).map(|(mid, ..)| mid);
        records.iter().map(move |(_, record)| of(case, record, reference))
    };
    first.cases.iter().flat_map(of_case).collect()
}

fn timed(case: &CaseRecord) -> Option<&Timed> {
    case.measurement.as_ref().map(|timings| &timings.operator)
}

fn time(timed: &Timed) -> Option<(f64, f64, f64)> {
    let timing = timed.timing.as_ref()?;
    let is_sound = !timing.impossible && timing.clock_disagreement.is_none();
    let interval = timing.summary.time_ns_interval;
    is_sound.then_some((timing.summary.time_ns_median, interval.low, interval.high))
}

/// Heads of the columns.
pub const HEADS: [&str; 7] =
    ["case", "operator", "verdict", "time", "over the first", "memory held", "build"];

impl Line<'_> {
    /// A cell for each of [`HEADS`].
    pub fn cells(&self) -> [String; 7] {
        let none = || "-".to_owned();
        let time = self.time_ns.map(|(mid, low, high)| {
            format!("{} [{} to {}]", numbers::time(mid), numbers::time(low), numbers::time(high))
        });
        [
            format!("{} {}", self.manifest, self.id),
            self.operator.clone(),
            self.verdict.map_or_else(none, |verdict| verdict.name().to_owned()),
            time.unwrap_or_else(none),
            self.over_first.map_or_else(none, |ratio| format!("{ratio:.2}x")),
            self.bytes_held.map_or_else(none, |held| numbers::bytes(held as f64)),
            self.build_ns.map_or_else(none, numbers::time),
        ]
    }
}

/// The lines as CSV (RFC 4180), with times in ns and sizes in bytes.
pub fn csv(lines: &[Line<'_>]) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let number = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
    let mut text = String::from(
        "manifest,case,operator,verdict,time_ns,time_ns_low,time_ns_high,over_first,bytes_held,build_ns\r\n",
    );
    for line in lines {
        let (mid, low, high) = line
            .time_ns
            .map_or((None, None, None), |(mid, low, high)| (Some(mid), Some(low), Some(high)));
        let cells = [
            quoted(line.manifest),
            quoted(line.id),
            quoted(&line.operator),
            quoted(line.verdict.map_or("", Verdict::name)),
            number(mid),
            number(low),
            number(high),
            number(line.over_first),
            line.bytes_held.map_or(String::new(), |held| held.to_string()),
            number(line.build_ns),
        ];
        text.push_str(&cells.join(","));
        text.push_str("\r\n");
    }
    text
}

/// Why times of records must not be set beside each other, in words; `None` where they may.
pub fn apart(records: &[(String, Record)]) -> Option<String> {
    let machine = |record: &Record| {
        let devices: Vec<&str> = record.devices.iter().map(|on| on.device.name.as_str()).collect();
        let environment = &record.environment;
        format!(
            "{}, {} threads{}",
            environment.cpu_model,
            record.options.threads,
            devices.iter().map(|name| format!(", {name}")).collect::<String>()
        )
    };
    let (_, first) = records.first()?;
    let other = records.iter().find(|(_, record)| machine(record) != machine(first))?;
    Some(format!(
        "the records are of other machines: {} and {}; their times say nothing of each other",
        machine(first),
        machine(&other.1)
    ))
}
