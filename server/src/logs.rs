//! The log: to standard error, and the last lines of it in memory for whoever looks at the page.

use crate::{config::LogFormat, telemetry::Traces};
use serde::Serialize;
use std::{
    collections::VecDeque,
    fmt::{self, Write},
    io::IsTerminal,
    sync::{Mutex, OnceLock, PoisonError},
};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    layer::{Context, Layered, SubscriberExt},
    reload,
    util::SubscriberInitExt,
};

/// Lines that are kept.
const KEPT: usize = 2000;
/// Longest kept line, in bytes.
const MAX_LINE: usize = 2000;

/// One line of the log.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: &'static str,
    /// The part of the program.
    pub target: String,
    /// What happened, with its facts.
    pub text: String,
}

/// What the log is above of.
type Below = Layered<Traces, Registry>;

struct Control {
    filter: reload::Handle<EnvFilter, Below>,
    lines: Mutex<VecDeque<Line>>,
    level: Mutex<String>,
}

/// The log is the process's, as standard error is.
static CONTROL: OnceLock<Control> = OnceLock::new();

/// Keeps the last lines.
struct Keeper;

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if self.0.len() > MAX_LINE {
            return;
        }
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

fn word(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

impl<S: Subscriber> Layer<S> for Keeper {
    fn on_event(&self, event: &Event<'_>, _cx: Context<'_, S>) {
        let Some(control) = CONTROL.get() else { return };
        let mut text = Text(String::new());
        event.record(&mut text);
        let mut text = text.0;
        while text.len() > MAX_LINE || !text.is_char_boundary(text.len()) {
            text.pop();
        }
        let line = Line {
            at_ms: altmount_store::now_ms(),
            level: word(*event.metadata().level()),
            target: event.metadata().target().to_owned(),
            text: text.trim_start().to_owned(),
        };
        let mut lines = control.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == KEPT {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

/// Starts to log, and to trace where somebody wants that.
///
/// # Errors
/// Where the level is none, or the process logs already.
pub fn start(level: &str, format: LogFormat, traces: Traces) -> Result<(), String> {
    let level = NewLevel::new(level)?;
    let (filter, handle) = reload::Layer::new(level.filter);
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let layer = match format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    // The filter is the log's own: traces have theirs.
    let started = tracing_subscriber::registry()
        .with(traces)
        .with(layer.and_then(Keeper).with_filter(filter))
        .try_init();
    started.map_err(|error| error.to_string())?;
    let control = Control {
        filter: handle,
        lines: Mutex::default(),
        level: Mutex::new(level.text),
    };
    // Whoever was first has the subscriber too.
    let _first = CONTROL.set(control);
    Ok(())
}

/// The level now; nothing where the process does not log.
pub fn level() -> Option<String> {
    let control = CONTROL.get()?;
    Some(
        control
            .level
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone(),
    )
}

/// A level that can be used.
#[derive(Debug)]
pub struct NewLevel {
    filter: EnvFilter,
    text: String,
}

impl NewLevel {
    /// As it is written in the configuration.
    ///
    /// # Errors
    /// Where it is none.
    pub fn new(text: &str) -> Result<Self, String> {
        let filter = EnvFilter::try_new(text)
            .map_err(|error| format!("the level '{text}' cannot be used: {error}"))?;
        Ok(Self {
            filter,
            text: text.to_owned(),
        })
    }

    /// Logs with it from now on.
    pub fn set(self) {
        let Some(control) = CONTROL.get() else { return };
        // Fails only where there is no subscriber any more, and it is there for as long as the process is.
        if control.filter.reload(self.filter).is_ok() {
            *control.level.lock().unwrap_or_else(PoisonError::into_inner) = self.text;
        }
    }
}

/// Logs with another level from now on.
///
/// # Errors
/// Where it is none.
pub fn set_level(level: &str) -> Result<(), String> {
    NewLevel::new(level).map(NewLevel::set)
}

/// The last lines, the oldest first, that are at least this important and hold `text` in either case.
pub fn lines(least: &str, text: &str, limit: usize) -> Vec<Line> {
    const ORDER: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
    let rank = |level: &str| ORDER.iter().position(|known| *known == level).unwrap_or(4);
    let Some(control) = CONTROL.get() else {
        return Vec::new();
    };
    let text = text.to_lowercase();
    let all = control.lines.lock().unwrap_or_else(PoisonError::into_inner);
    let mut found: Vec<Line> = all
        .iter()
        .rev()
        .filter(|line| rank(line.level) <= rank(least))
        .filter(|line| {
            text.is_empty()
                || line.text.to_lowercase().contains(&text)
                || line.target.to_lowercase().contains(&text)
        })
        .take(limit)
        .cloned()
        .collect();
    found.reverse();
    found
}
