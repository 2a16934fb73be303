//! Rows: what was measured, against what, and whether that is what it should be.

use serde_json::{Value, json};
use std::fmt::Write as _;

/// Which side of the goal is the good one.
#[derive(Clone, Copy, Debug)]
enum Goal {
    AtMost(f64),
    AtLeast(f64),
    /// Reported, with nothing to be reached.
    None,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    scenario: &'static str,
    what: String,
    value: f64,
    unit: &'static str,
    reference: Option<(String, f64)>,
    goal: Goal,
    /// The goal in words where a number does not say it.
    words: Option<String>,
    note: String,
    samples: Vec<f64>,
}

impl Row {
    pub(crate) fn new(
        scenario: &'static str,
        what: impl Into<String>,
        value: f64,
        unit: &'static str,
    ) -> Self {
        Self {
            scenario,
            what: what.into(),
            value,
            unit,
            reference: None,
            goal: Goal::None,
            words: None,
            note: String::new(),
            samples: Vec::new(),
        }
    }

    /// What it is compared with: a limit, or the reference of the same run, in the same unit.
    pub(crate) fn against(mut self, name: impl Into<String>, value: f64) -> Self {
        self.reference = Some((name.into(), value));
        self
    }

    pub(crate) fn at_most(mut self, limit: f64) -> Self {
        self.goal = Goal::AtMost(limit);
        self
    }

    pub(crate) fn at_least(mut self, limit: f64) -> Self {
        self.goal = Goal::AtLeast(limit);
        self
    }

    pub(crate) fn goal(mut self, words: impl Into<String>) -> Self {
        self.words = Some(words.into());
        self
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    pub(crate) fn samples(mut self, samples: &[f64]) -> Self {
        self.samples = samples.to_vec();
        self
    }

    pub(crate) fn passed(&self) -> Option<bool> {
        match self.goal {
            Goal::AtMost(limit) => Some(self.value <= limit),
            Goal::AtLeast(limit) => Some(self.value >= limit),
            Goal::None => None,
        }
    }

    fn ratio(&self) -> Option<f64> {
        let (_, reference) = self.reference.as_ref()?;
        (*reference != 0.0).then(|| self.value / reference)
    }

    fn goal_text(&self) -> String {
        let number = match self.goal {
            Goal::AtMost(limit) => format!("<= {} {}", number(limit), self.unit),
            Goal::AtLeast(limit) => format!(">= {} {}", number(limit), self.unit),
            Goal::None => "-".into(),
        };
        match &self.words {
            Some(words) => format!("{words} ({})", number.trim_end()),
            None => number.trim_end().to_owned(),
        }
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "scenario": self.scenario,
            "what": self.what,
            "value": self.value,
            "unit": self.unit,
            "reference": self.reference.as_ref().map(|(name, value)| json!({"name": name, "value": value})),
            "ratio": self.ratio(),
            "goal": self.goal_text(),
            "passed": self.passed(),
            "note": self.note,
            "samples": self.samples,
        })
    }

    /// One line for whoever waits.
    pub(crate) fn line(&self) -> String {
        let verdict = match self.passed() {
            Some(true) => "ok  ",
            Some(false) => "MISS",
            None => "    ",
        };
        let mut line = format!(
            "{verdict} {:<14} {}: {} {}",
            self.scenario,
            self.what,
            number(self.value),
            self.unit
        );
        if let Some((name, value)) = &self.reference {
            let _ = write!(line, "; {name} {}", number(*value));
        }
        if let Some(ratio) = self.ratio() {
            let _ = write!(line, " (x {ratio:.3})");
        }
        if !matches!(self.goal, Goal::None) {
            let _ = write!(line, "; goal {}", self.goal_text());
        }
        if !self.note.is_empty() {
            let _ = write!(line, "; {}", self.note);
        }
        line
    }

    fn markdown(&self) -> String {
        let reference = self.reference.as_ref().map_or_else(
            || "-".into(),
            |(name, value)| format!("{} ({name})", number(*value)),
        );
        let ratio = self
            .ratio()
            .map_or_else(|| "-".into(), |ratio| format!("{ratio:.2}"));
        let verdict = match self.passed() {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "-",
        };
        let what = if self.note.is_empty() {
            self.what.clone()
        } else {
            format!("{} ({})", self.what, self.note)
        };
        format!(
            "| {} | {} | {} {} | {} | {} | {} | {} |",
            self.scenario,
            what,
            number(self.value),
            self.unit,
            reference,
            ratio,
            self.goal_text(),
            verdict
        )
    }
}

/// The text with the table between its two marks, or the table alone where the text has none.
pub(crate) fn placed(text: &str, table: &str) -> String {
    const MARKS: [&str; 2] = ["<!-- table -->\n", "<!-- end of the table -->\n"];
    let between = text.find(MARKS[0]).zip(text.find(MARKS[1]));
    match between.filter(|(begin, end)| begin < end) {
        Some((begin, end)) => format!("{}{}{table}{}", &text[..begin], MARKS[0], &text[end..]),
        None => table.to_owned(),
    }
}

/// Three figures that count, without an exponent.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 100.0 || v == 0.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}

/// The table, with the machine above it.
pub(crate) fn markdown(machine: &Value, rows: &[Row]) -> String {
    let mut text = String::new();
    let busy = if machine["busy_with_others"] == true {
        "**The machine was busy with other work: what is measured by the clock is no more than a hint.**"
    } else {
        "The machine had nothing else to do."
    };
    let share = machine["others_share"].as_f64().unwrap_or(f64::NAN) * 100.0;
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{} ({} cores), {} GiB, Linux {}; {} s; commit {}; load {} at the start, {} at the end; other processes had {share:.0} % \
         of the processors. {busy}\n",
        machine["processor"].as_str().unwrap_or_default(),
        machine["cores"],
        machine["memory_gib"],
        machine["kernel"].as_str().unwrap_or_default(),
        machine["seconds"],
        machine["commit"].as_str().unwrap_or_default(),
        machine["load_at_start"][0],
        machine["load_at_end"][0],
    );
    text.push_str("| scenario | what | measured | limit or reference | ratio | goal | reached |\n");
    text.push_str("|---|---|---:|---:|---:|---|---|\n");
    for row in rows {
        text.push_str(&row.markdown());
        text.push('\n');
    }
    let judged: Vec<bool> = rows.iter().filter_map(Row::passed).collect();
    let reached = judged.iter().filter(|passed| **passed).count();
    let _ = writeln!(text, "\n{reached} of {} goals reached.", judged.len());
    text
}

/// The middle one, and the mean of the middle two.
pub(crate) fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

pub(crate) fn mean(samples: &[f64]) -> f64 {
    samples.iter().sum::<f64>() / samples.len() as f64
}

/// The largest value that `share` of the samples do not exceed.
pub(crate) fn quantile(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = (sorted.len() as f64 * share).ceil() as usize;
    sorted
        .get(index.saturating_sub(1).min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or(f64::NAN)
}
