//! Plots as static SVG that takes its colours from the page. Left out: what to plot.

use maud::{Markup, html};

use crate::numbers::three_digits;
use crate::timings::Interval;

/// Of a plot, in units of its view box, which are CSS pixels at the narrowest screen.
const WIDTH: f64 = 320.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 40.0;
/// Labels on an axis at most.
const TICKS_MAX: usize = 6;

/// How a series is drawn; the style sheet has a colour for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Filled circles.
    Operator,
    /// Filled squares.
    Best,
    /// Hollow squares.
    Published,
    /// Short lines.
    Limit,
    /// Filled diamonds.
    Printed,
}

impl Look {
    fn class(self) -> &'static str {
        match self {
            Look::Operator => "operator",
            Look::Best => "best",
            Look::Published => "published",
            Look::Limit => "limit",
            Look::Printed => "printed",
        }
    }

    fn marker(self, x: f64, y: f64, title: &str) -> Markup {
        const R: f64 = 4.0;
        // A hollow square shows around a filled one in the same place.
        let side = if self == Look::Published { 2.0 * R } else { 2.0 * R - 2.0 };
        let (left, top) = (px(x - side / 2.0), px(y - side / 2.0));
        html! {
            @match self {
                Look::Operator => circle class="mark operator" cx=(px(x)) cy=(px(y)) r=(R) { title { (title) } },
                Look::Limit => path class="mark limit" d={ "M" (px(x - 6.0)) " " (px(y)) "h12" } { title { (title) } },
                Look::Printed => path class="mark printed"
                    d={ "M" (px(x)) " " (px(y - 6.0)) "l6 6l-6 6l-6 -6z" } { title { (title) } },
                _ => rect class={ "mark " (self.class()) } x=(left) y=(top) width=(side) height=(side) { title { (title) } },
            }
        }
    }
}

#[derive(Clone, Debug)]
pub struct Point {
    pub x: f64,
    /// `None` where nothing was measured: a gap, over which no line goes.
    pub y: Option<f64>,
    /// Where y lies with a probability of 95 %; `None` of what is exact, or not known.
    pub interval: Option<Interval>,
    /// What it is of, for whoever points at it.
    pub title: String,
}

#[derive(Clone, Debug)]
pub struct Series {
    pub look: Look,
    pub points: Vec<Point>,
    /// Whether the points are joined, in the order of x.
    pub is_line: bool,
}

/// A straight line on logarithmic axes, or a level.
#[derive(Clone, Debug)]
pub struct Line {
    pub from: (f64, f64),
    pub to: (f64, f64),
    /// Beside the line; may be empty.
    pub name: &'static str,
    /// For whoever points at it.
    pub label: String,
}

#[derive(Clone, Debug)]
pub struct Axis {
    pub label: &'static str,
    pub is_log: bool,
    pub low: f64,
    pub high: f64,
}

impl Axis {
    /// An axis on which all values have a place. Values that no logarithm can show are left out.
    pub fn of(
        label: &'static str,
        is_log: bool,
        values: impl Iterator<Item = f64>,
    ) -> Option<Axis> {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| is_shown(is_log, *value)) {
            (low, high) = (low.min(value), high.max(value));
        }
        if low > high {
            return None;
        }
        if is_log {
            // Some room, and at least what always holds two of 1, 2, 5 and 10.
            let room = ((high.log10() - low.log10()) * 0.06).max(0.05);
            let (mut from, mut to) = (low.log10() - room, high.log10() + room);
            let missing = (0.71 - (to - from)).max(0.0) / 2.0;
            (from, to) = ((from - missing).max(-300.0), (to + missing).min(300.0));
            (low, high) = (10f64.powf(from), 10f64.powf(to));
        } else if high - low < 1e-9 * high.abs().max(1.0) {
            let room = (1e-3 * high.abs()).max(1.0);
            (low, high) = (low - room, high + room);
        } else {
            let room = (high - low) * 0.05;
            (low, high) = (low - room, high + room);
        }
        (low.is_finite() && high.is_finite() && low < high).then_some(Axis {
            label,
            is_log,
            low,
            high,
        })
    }

    /// From 0 at `low` to 1 at `high`.
    fn place(&self, value: f64) -> f64 {
        let place = match self.is_log {
            true => (value.log10() - self.low.log10()) / (self.high.log10() - self.low.log10()),
            false => (value - self.low) / (self.high - self.low),
        };
        if place.is_finite() { place.clamp(-1.0, 2.0) } else { 0.0 }
    }

    fn shows(&self, value: f64) -> bool {
        is_shown(self.is_log, value) && (-0.001..=1.001).contains(&self.place(value))
    }

    fn ticks(&self) -> Vec<f64> {
        let ticks = match self.is_log {
            true => log_ticks(self.low.log10(), self.high.log10()),
            false => linear_ticks(self.low, self.high),
        };
        ticks.into_iter().filter(|tick| self.shows(*tick)).collect()
    }
}

fn is_shown(is_log: bool, value: f64) -> bool {
    value.is_finite() && (!is_log || value > 0.0)
}

/// Round numbers between two powers of ten, as many as there is room for.
fn log_ticks(low: f64, high: f64) -> Vec<f64> {
    let (first, last) = (low.floor() as i32, high.ceil() as i32);
    let decades = || (first..=last).map(|exponent| 10f64.powi(exponent));
    for steps in [&[1.0, 2.0, 5.0][..], &[1.0, 3.0], &[1.0]] {
        let ticks = decades().flat_map(|decade| steps.iter().map(move |step| step * decade));
        let is_in = |tick: &f64| (low..=high).contains(&tick.log10());
        let ticks: Vec<f64> = ticks.filter(is_in).collect();
        if (2..=TICKS_MAX).contains(&ticks.len()) {
            return ticks;
        }
    }
    let every = ((last - first) as usize / TICKS_MAX + 1).max(1);
    match last - first {
        0..=1 => vec![10f64.powf(low + 0.2 * (high - low)), 10f64.powf(low + 0.8 * (high - low))],
        _ => decades().step_by(every).collect(),
    }
}

fn linear_ticks(low: f64, high: f64) -> Vec<f64> {
    let raw = (high - low) / TICKS_MAX as f64;
    let decade = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].iter().map(|s| s * decade).find(|s| *s >= raw);
    let step = step.unwrap_or(10.0 * decade);
    let first = (low / step).ceil();
    (0..=TICKS_MAX).map(|at| (first + at as f64) * step).collect()
}

fn tick_text(value: f64) -> String {
    let size = value.abs();
    if size < 1e-9 {
        "0".into()
    } else if (1e-3..1e4).contains(&size) {
        let text = three_digits(value);
        match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
            false => text,
        }
    } else {
        // `1e6`, `2.5e-7`.
        let text = format!("{value:.1e}");
        text.replace(".0e", "e")
    }
}

/// A coordinate: a tenth of a pixel is finer than any screen, and the same on every machine.
fn px(value: f64) -> String {
    format!("{value:.1}")
}

pub struct Plot<'a> {
    /// Unique in the page.
    pub id: String,
    pub title: &'a str,
    /// What it shows, for whoever cannot see it.
    pub description: &'a str,
    pub x: Axis,
    pub y: Axis,
    pub series: Vec<Series>,
    pub lines: Vec<Line>,
}

impl Plot<'_> {
    fn at(&self, x: f64, y: f64) -> (f64, f64) {
        (
            LEFT + self.x.place(x) * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - self.y.place(y) * (HEIGHT - TOP - BOTTOM),
        )
    }

    pub fn svg(&self) -> Markup {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        html! {
            svg class="plot" viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img"
                aria-labelledby={ (self.id) "-t " (self.id) "-d" }
            {
                title id={ (self.id) "-t" } { (self.title) }
                desc id={ (self.id) "-d" } { (self.description) }
                clipPath id={ (self.id) "-c" } {
                    rect x=(LEFT) y=(TOP) width=(right - LEFT) height=(bottom - TOP) {}
                }
                @for tick in self.x.ticks() {
                    @let (x, _) = self.at(tick, self.y.low);
                    path class="grid" d={ "M" (px(x)) " " (px(TOP)) "V" (px(bottom)) } {}
                    text x=(px(x)) y=(px(bottom + 15.0)) text-anchor="middle" { (tick_text(tick)) }
                }
                @for tick in self.y.ticks() {
                    @let (_, y) = self.at(self.x.low, tick);
                    path class="grid" d={ "M" (px(LEFT)) " " (px(y)) "H" (px(right)) } {}
                    text x=(px(LEFT - 5.0)) y=(px(y + 4.0)) text-anchor="end" { (tick_text(tick)) }
                }
                path class="axis" d={ "M" (px(LEFT)) " " (px(TOP)) "V" (px(bottom)) "H" (px(right)) } {}
                text class="label" x=(px((LEFT + right) / 2.0)) y=(px(HEIGHT - 6.0)) text-anchor="middle" {
                    (self.x.label)
                }
                text class="label" text-anchor="middle"
                    transform={ "translate(12 " (px((TOP + bottom) / 2.0)) ") rotate(-90)" } { (self.y.label) }
                g clip-path={ "url(#" (self.id) "-c)" } {
                    @for line in &self.lines { (self.line(line)) }
                    @for series in &self.series { @if series.is_line { (self.joined(series)) } }
                }
                @for series in &self.series {
                    @for point in &series.points {
                        @if let Some((x, y)) = self.place(point) {
                            @if let Some(interval) = point.interval { (self.interval(series.look, x, interval)) }
                            (series.look.marker(x, y, &point.title))
                        }
                    }
                }
            }
        }
    }

    fn line(&self, line: &Line) -> Markup {
        let ((x0, y0), (x1, y1)) =
            (self.at(line.from.0, line.from.1), self.at(line.to.0, line.to.1));
        // Where the line enters the plot, with room for the name under it.
        let along = (1..20).map(|step| f64::from(step) / 20.0);
        let mut places = along.map(|t| (x0 + t * (x1 - x0), y0 + t * (y1 - y0)));
        let has_room = |(x, y): &(f64, f64)| {
            (LEFT..WIDTH - RIGHT - 50.0).contains(x) && (TOP..HEIGHT - BOTTOM - 16.0).contains(y)
        };
        let is_long = x1 - x0 > 70.0 && !line.name.is_empty();
        let place = places.find(has_room).filter(|_| is_long);
        html! {
            path class="roof" d={ "M" (px(x0)) " " (px(y0)) "L" (px(x1)) " " (px(y1)) } {
                title { (line.label) }
            }
            @if let Some((x, y)) = place {
                text x=(px(x + 4.0)) y=(px(y + 13.0)) { (line.name) }
            }
        }
    }

    /// Where a point is, if there is one and the axes show it.
    fn place(&self, point: &Point) -> Option<(f64, f64)> {
        let y = point.y?;
        (self.x.shows(point.x) && self.y.shows(y)).then(|| self.at(point.x, y))
    }

    /// A line from the lower end to the upper one, with ends that show beyond a marker.
    fn interval(&self, look: Look, x: f64, interval: Interval) -> Markup {
        let is_shown = self.y.shows(interval.low) && self.y.shows(interval.high);
        let [low, high] = [interval.low, interval.high].map(|end| self.at(self.x.low, end).1);
        html! {
            @if is_shown {
                path class={ "interval " (look.class()) }
                    d={ "M" (px(x - 6.0)) " " (px(low)) "h12M" (px(x)) " " (px(low)) "V" (px(high)) "m-6 0h12" } {}
            }
        }
    }

    fn joined(&self, series: &Series) -> Markup {
        let mut path = String::new();
        let mut is_joined = false;
        for point in &series.points {
            let place = self.place(point);
            if let Some((x, y)) = place {
                path.push_str(if is_joined { "L" } else { "M" });
                path.push_str(&format!("{} {}", px(x), px(y)));
            }
            is_joined = place.is_some();
        }
        html! { @if !path.is_empty() { path class={ "line " (series.look.class()) } d=(path) {} } }
    }
}

/// A line of the legend: the marker and what it stands for.
pub fn legend(entries: &[(Look, &str)]) -> Markup {
    html! {
        ul.legend {
            @for (look, text) in entries {
                li {
                    svg viewBox="0 0 14 14" width="14" height="14" aria-hidden="true" {
                        (look.marker(7.0, 7.0, text))
                    }
                    " " (text)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_axis_has_some_ticks_in_order_and_not_too_many() {
        let values = [1e-300, 1e-9, 0.03, 0.9, 1.0, 1.001, 7.0, 52.9, 1024.0, 58e6, 1e300];
        for is_log in [false, true] {
            for low in values {
                for high in values.into_iter().filter(|high| *high >= low) {
                    let Some(axis) = Axis::of("x", is_log, [low, high].into_iter()) else {
                        panic!("{low} to {high}")
                    };
                    let ticks = axis.ticks();
                    assert!((2..=7).contains(&ticks.len()), "{low} to {high}: {ticks:?}");
                    assert!(ticks.windows(2).all(|pair| pair[0] < pair[1]), "{ticks:?}");
                    assert!(axis.shows(low) && axis.shows(high), "{axis:?}");
                }
            }
        }
        assert!(Axis::of("x", true, [0.0, -1.0, f64::INFINITY].into_iter()).is_none());
        assert!(Axis::of("x", false, [f64::NAN].into_iter()).is_none());
    }

    #[test]
    fn no_line_goes_over_a_gap_and_intervals_are_drawn() {
        let point = |x: f64, y: Option<f64>| Point {
            x,
            y,
            interval: y.map(|y| Interval { low: 0.9 * y, high: 1.1 * y }),
            title: String::new(),
        };
        let points = vec![
            point(1.0, Some(1.0)),
            point(2.0, None),
            point(3.0, Some(2.0)),
            point(4.0, Some(3.0)),
        ];
        let plot = Plot {
            id: "p".into(),
            title: "title",
            description: "description",
            x: Axis::of("x", false, [1.0, 4.0].into_iter()).expect("an axis"),
            y: Axis::of("y", true, [0.5, 4.0].into_iter()).expect("an axis"),
            series: vec![Series { look: Look::Best, points, is_line: true }],
            lines: Vec::new(),
        };
        let svg = plot.svg().into_string();
        let line = svg.split("class=\"line best\" d=\"").nth(1).expect("a line");
        let line = line.split('"').next().expect("its path");
        assert_eq!((line.matches('M').count(), line.matches('L').count()), (2, 1), "{line}");
        assert_eq!(svg.matches("class=\"interval best\"").count(), 3, "{svg}");
    }

    #[test]
    fn ticks_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (80.0, "80"),
            (0.5, "0.5"),
            (1024.0, "1024"),
            (1e6, "1e6"),
            (2.5e-7, "2.5e-7"),
        ] {
            assert_eq!(tick_text(value), text);
        }
    }
}
