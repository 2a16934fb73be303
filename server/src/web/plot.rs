//! Plots as SVG, made on the server: no script, no style in them, and a text for whoever cannot see them.

use std::fmt::Write;

/// Width and height of the drawing, in its own unit.
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 120.0;
/// Points that are drawn at most; more are put together, the highest of them is shown.
const POINTS: usize = 240;

/// Lines over the last hour, with one scale.
pub(super) struct Plot {
    /// What it shows.
    pub(super) title: &'static str,
    /// The figure now.
    pub(super) now: String,
    /// The drawing.
    pub(super) svg: String,
}

/// A round number that is not below `value`.
fn ceiling(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let step = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * step)
        .find(|round| *round >= value)
        .unwrap_or(value)
}

fn thin(values: &[f64]) -> Vec<f64> {
    let group = values.len().div_ceil(POINTS).max(1);
    values
        .chunks(group)
        .map(|chunk| chunk.iter().copied().fold(0.0, f64::max))
        .collect()
}

fn points(values: &[f64], top: f64) -> String {
    let mut text = String::new();
    let last = values.len().saturating_sub(1).max(1) as f64;
    for (at, value) in values.iter().enumerate() {
        let x = at as f64 / last * WIDTH;
        let y = HEIGHT - (value / top).clamp(0.0, 1.0) * HEIGHT;
        let _ = write!(text, "{x:.1},{y:.1} ");
    }
    text
}

impl Plot {
    /// A plot of one or two lines; `unit` says what a value is.
    pub(super) fn of(
        title: &'static str,
        lines: &[Vec<f64>],
        minutes: i64,
        unit: impl Fn(f64) -> String,
    ) -> Self {
        let lines: Vec<Vec<f64>> = lines.iter().map(|line| thin(line)).collect();
        let highest = lines.iter().flatten().copied().fold(0.0, f64::max);
        let top = ceiling(highest);
        let now: Vec<String> = lines
            .iter()
            .map(|line| unit(line.last().copied().unwrap_or(0.0)))
            .collect();
        let now = now.join(" / ");
        let mut svg = format!(
            "<svg class=\"plot\" viewBox=\"0 -8 {WIDTH} {}\" role=\"img\" aria-label=\"{title} over {minutes} minutes: now {now}, at most {}\">",
            HEIGHT + 28.0,
            unit(highest)
        );
        for part in [0.0, 0.5, 1.0] {
            let y = HEIGHT * part;
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"0\" x2=\"{WIDTH}\" y1=\"{y}\" y2=\"{y}\"/>"
            );
        }
        for (at, line) in lines.iter().enumerate() {
            if line.len() < 2 {
                continue;
            }
            let points = points(line, top);
            if at == 0 {
                let _ = write!(
                    svg,
                    "<polygon class=\"area\" points=\"0,{HEIGHT} {points}{WIDTH},{HEIGHT}\"/>"
                );
            }
            let second = if at > 0 { " second" } else { "" };
            let _ = write!(svg, "<polyline class=\"line{second}\" points=\"{points}\"/>");
        }
        let _ = write!(
            svg,
            "<text x=\"2\" y=\"4\">{}</text><text x=\"0\" y=\"{below}\">{minutes} min ago</text>\
             <text x=\"{WIDTH}\" y=\"{below}\" text-anchor=\"end\">now</text></svg>",
            unit(top),
            below = HEIGHT + 16.0,
        );
        Self { title, now, svg }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_is_round_and_holds_every_value() {
        for (value, round) in [
            (0.0, 1.0),
            (1.0, 1.0),
            (1.1, 2.0),
            (4.9, 5.0),
            (51.0, 100.0),
            (0.03, 0.05),
        ] {
            assert!(
                (ceiling(value) - round).abs() < 1e-9,
                "{value}: {}",
                ceiling(value)
            );
        }
    }

    #[test]
    fn a_plot_has_a_text_and_a_bounded_number_of_points() {
        let values: Vec<f64> = (0..10_000).map(f64::from).collect();
        let plot = Plot::of("Bytes", &[values], 60, |value| format!("{value} B"));
        assert!(plot.svg.contains("aria-label=\"Bytes over 60 minutes"));
        assert!(plot.svg.len() < 20_000, "{}", plot.svg.len());
        assert_eq!(plot.now, "9999 B");
        let empty = Plot::of("Bytes", &[Vec::new()], 0, |value| format!("{value}"));
        assert!(!empty.svg.contains("polyline"));
    }
}
