//! Plots: the lines and bars as SVG, and around them, as text of the page's own size, scales, a legend and the same figures as a
//! table for whoever does not see them.

use std::fmt::Write;

/// Width and height of the drawing, in its own unit: it is stretched to the room that it has.
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 120.0;
/// Points that are drawn at most; more are put together, the highest of them is shown.
const POINTS: usize = 240;
/// Rows of the table at most.
const ROWS: usize = 12;

/// One row of figures.
pub(super) struct Line {
    /// What it is.
    pub(super) name: &'static str,
    /// The class of its colour.
    pub(super) class: &'static str,
    /// A value for each step; none where nothing is known.
    pub(super) values: Vec<Option<f64>>,
}

/// A row of the table.
pub(super) struct Row {
    pub(super) when: String,
    pub(super) values: Vec<String>,
}

/// Figures over time, with one scale.
pub(super) struct Plot {
    /// What it shows.
    pub(super) title: String,
    /// The figures at the end, in words.
    pub(super) now: String,
    /// The names of the lines with their classes; none where there is one.
    pub(super) legend: Vec<(&'static str, &'static str)>,
    /// The scale, from the top down.
    pub(super) scale: [String; 3],
    /// The times at the left, in the middle, and at the right.
    pub(super) times: [String; 3],
    /// The drawing.
    pub(super) svg: String,
    /// The names of the table's columns.
    pub(super) names: Vec<&'static str>,
    /// The table: what is drawn, in fewer steps.
    pub(super) rows: Vec<Row>,
}

/// How a plot is drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// Lines, and an area below the first.
    Lines,
    /// Bars that stand on one another.
    Bars,
}

/// A round number that is not below `value`, whose half is round, too.
fn ceiling(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let step = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 4.0, 6.0, 10.0]
        .into_iter()
        .map(|factor| factor * step)
        .find(|round| *round >= value)
        .unwrap_or(value)
}

/// A round number of bytes, by the units that bytes are shown in.
fn ceiling_of_bytes(value: f64) -> f64 {
    let mut unit = 1.0;
    while value / unit >= 1000.0 {
        unit *= 1024.0;
    }
    ceiling(value / unit) * unit
}

fn highest(values: &[Option<f64>]) -> Option<f64> {
    values.iter().copied().flatten().reduce(f64::max)
}

fn thin(values: &[Option<f64>], most: usize) -> Vec<Option<f64>> {
    let group = values.len().div_ceil(most).max(1);
    values.chunks(group).map(highest).collect()
}

fn y(value: f64, top: f64) -> f64 {
    HEIGHT - (value / top).clamp(0.0, 1.0) * HEIGHT
}

/// The lines of one row of figures: it is broken where nothing is known.
fn lines(svg: &mut String, values: &[Option<f64>], class: &str, area: bool, top: f64) {
    let last = values.len().saturating_sub(1).max(1) as f64;
    let known: Vec<(usize, Option<f64>)> = values.iter().copied().enumerate().collect();
    for part in known
        .split(|(_, value)| value.is_none())
        .filter(|part| part.len() > 1)
    {
        let mut points = String::new();
        let x = |at: usize| at as f64 / last * WIDTH;
        for (at, value) in part {
            let _ = write!(points, "{:.1},{:.1} ", x(*at), y(value.unwrap_or(0.0), top));
        }
        if area && let (Some((first, _)), Some((end, _))) = (part.first(), part.last()) {
            let _ = write!(
                svg,
                "<polygon class=\"area {class}\" points=\"{:.1},{HEIGHT} {points}{:.1},{HEIGHT}\"/>",
                x(*first),
                x(*end)
            );
        }
        let _ = write!(svg, "<polyline class=\"line {class}\" points=\"{points}\"/>");
    }
}

fn bars(svg: &mut String, all: &[Line], top: f64) {
    let count = all.iter().map(|line| line.values.len()).max().unwrap_or(0);
    let width = WIDTH / count.max(1) as f64;
    for at in 0..count {
        let mut below = 0.0;
        for line in all {
            let value = line.values.get(at).copied().flatten().unwrap_or(0.0);
            if value <= 0.0 {
                continue;
            }
            let (from, to) = (y(below + value, top), y(below, top));
            let _ = write!(
                svg,
                "<rect class=\"bar {}\" x=\"{:.1}\" width=\"{:.1}\" y=\"{from:.1}\" height=\"{:.1}\"/>",
                line.class,
                at as f64 * width + width * 0.1,
                width * 0.8,
                to - from
            );
            below += value;
        }
    }
}

impl Plot {
    /// A plot of lines; `times` has the time of each step, `unit` says what a value is.
    pub(super) fn of(
        title: impl Into<String>,
        style: Style,
        all: Vec<Line>,
        times: &[String],
        unit: impl Fn(f64) -> String,
    ) -> Self {
        Self::scaled(title.into(), style, all, times, ceiling, unit)
    }

    /// The same of bytes.
    pub(super) fn of_bytes(
        title: impl Into<String>,
        all: Vec<Line>,
        times: &[String],
        unit: impl Fn(f64) -> String,
    ) -> Self {
        Self::scaled(title.into(), Style::Lines, all, times, ceiling_of_bytes, unit)
    }

    fn scaled(
        title: String,
        style: Style,
        all: Vec<Line>,
        times: &[String],
        ceiling: impl Fn(f64) -> f64,
        unit: impl Fn(f64) -> String,
    ) -> Self {
        let steps = times.len();
        let most = match style {
            Style::Lines => all
                .iter()
                .filter_map(|line| highest(&line.values))
                .fold(0.0, f64::max),
            Style::Bars => (0..steps)
                .map(|at| all.iter().filter_map(|line| *line.values.get(at)?).sum())
                .fold(0.0, f64::max),
        };
        let top = match style {
            Style::Lines => ceiling(most),
            // Half an import is none.
            Style::Bars => ceiling(most).max(2.0),
        };
        let word = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), &unit);
        let now: Vec<String> = all
            .iter()
            .map(|line| word(line.values.last().copied().flatten()))
            .collect();
        let now = now.join(" / ");
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" aria-hidden=\"true\" focusable=\"false\">"
        );
        for part in [0.0, 0.5, 1.0] {
            let y = HEIGHT * part;
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"0\" x2=\"{WIDTH}\" y1=\"{y}\" y2=\"{y}\"/>"
            );
        }
        match style {
            Style::Lines => {
                for (at, line) in all.iter().enumerate() {
                    lines(&mut svg, &thin(&line.values, POINTS), line.class, at == 0, top);
                }
            }
            Style::Bars => bars(&mut svg, &all, top),
        }
        svg.push_str("</svg>");
        let group = steps.div_ceil(ROWS).max(1);
        let rows = (0..steps).step_by(group).map(|from| {
            let to = (from + group).min(steps);
            Row {
                when: times[to - 1].clone(),
                values: all
                    .iter()
                    .map(|line| {
                        let part = line.values.get(from..to.min(line.values.len()));
                        word(part.and_then(|part| match style {
                            Style::Lines => highest(part),
                            Style::Bars => Some(part.iter().flatten().sum()),
                        }))
                    })
                    .collect(),
            }
        });
        let time = |at: usize| times.get(at).cloned().unwrap_or_default();
        Self {
            title,
            now,
            legend: match all.len() {
                0 | 1 => Vec::new(),
                _ => all.iter().map(|line| (line.class, line.name)).collect(),
            },
            scale: [unit(top), unit(top / 2.0), unit(0.0)],
            times: [time(0), time(steps / 2), time(steps.saturating_sub(1))],
            svg,
            names: all.iter().map(|line| line.name).collect(),
            rows: rows.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &'static str, values: &[f64]) -> Line {
        Line {
            name,
            class: "a",
            values: values.iter().copied().map(Some).collect(),
        }
    }

    fn times(count: usize) -> Vec<String> {
        (0..count).map(|at| format!("t{at}")).collect()
    }

    #[test]
    fn the_scale_is_round_and_holds_every_value() {
        for (value, round) in [
            (0.0, 1.0),
            (1.0, 1.0),
            (1.1, 2.0),
            (4.9, 6.0),
            (51.0, 60.0),
            (0.03, 0.04),
        ] {
            assert!(
                (ceiling(value) - round).abs() < 1e-9,
                "{value}: {}",
                ceiling(value)
            );
        }
        assert_eq!(ceiling_of_bytes(1_500_000.0), 2.0 * 1024.0 * 1024.0);
    }

    #[test]
    fn a_plot_has_a_table_and_a_bounded_number_of_points() {
        let values: Vec<f64> = (0..10_000).map(f64::from).collect();
        let plot = Plot::of(
            "Bytes",
            Style::Lines,
            vec![line("bytes", &values)],
            &times(10_000),
            |value| format!("{value} B"),
        );
        assert!(plot.svg.len() < 20_000, "{}", plot.svg.len());
        assert_eq!((plot.now.as_str(), plot.rows.len()), ("9999 B", 12));
        assert_eq!(plot.rows[11].values, ["9999 B"]);
        assert_eq!(plot.rows[11].when, "t9999");
        assert!(plot.legend.is_empty(), "one line needs none");
        let empty = Plot::of("Bytes", Style::Lines, vec![line("bytes", &[])], &[], |v| {
            format!("{v}")
        });
        assert!(!empty.svg.contains("polyline") && empty.rows.is_empty());
    }

    #[test]
    fn a_line_is_broken_where_nothing_is_known() {
        let mut gap = line("latency", &[1.0, 2.0, 0.0, 3.0, 4.0]);
        gap.values[2] = None;
        let plot = Plot::of("Latency", Style::Lines, vec![gap], &times(5), |v| {
            format!("{v} ms")
        });
        assert_eq!(plot.svg.matches("<polyline").count(), 2, "{}", plot.svg);
        assert_eq!(plot.rows[2].values, ["–"]);
    }

    #[test]
    fn bars_stand_on_one_another() {
        let all = vec![line("good", &[3.0, 0.0]), line("bad", &[1.0, 2.0])];
        let plot = Plot::of("Imports", Style::Bars, all, &times(2), |v| format!("{v}"));
        assert_eq!(plot.svg.matches("<rect").count(), 3, "{}", plot.svg);
        assert_eq!(plot.scale, ["4", "2", "0"], "four at most in one step");
        assert_eq!(plot.legend.len(), 2);
        assert!(plot.svg.contains("y=\"0.0\" height=\"30.0\""), "{}", plot.svg);
    }
}
