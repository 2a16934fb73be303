//! `/metrics` in the text form of Prometheus (0.0.4). Every label has a bounded number of values: states, and what the
//! configuration names. No name of a release is in it.

use crate::{files::Streams, pools::Pools};
use altmount_engine::{Engine, JobFilter, JobState, StoreResult};
use std::{
    collections::BTreeMap,
    fmt::{Display, Write},
    sync::atomic::Ordering,
    time::Instant,
};

/// The media type of the text.
pub const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the figures are taken from. Clones share it.
#[derive(Clone, Debug)]
pub struct Metrics {
    engine: std::sync::Weak<Engine>,
    pool: Pools,
    streams: Streams,
    started: Instant,
}

/// The text as it grows.
struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(
            self.0,
            "# HELP altmount_{name} {help}\n# TYPE altmount_{name} {kind}"
        );
    }

    fn value(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let _ = write!(self.0, "altmount_{name}");
        for (at, (label, text)) in labels.iter().enumerate() {
            let text = text
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            let _ = write!(self.0, "{}{label}=\"{text}\"", if at == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.head(name, kind, help);
        self.value(name, &[], value);
    }
}

impl Metrics {
    /// From these parts.
    pub fn new(engine: &std::sync::Arc<Engine>, pool: Pools, streams: Streams, started: Instant) -> Self {
        Self {
            engine: std::sync::Arc::downgrade(engine),
            pool,
            streams,
            started,
        }
    }

    /// The figures now; nothing while the server ends.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn text(&self) -> StoreResult<Option<String>> {
        let Some(engine) = self.engine.upgrade() else {
            return Ok(None);
        };
        let mut text = Text(String::with_capacity(8 << 10));
        text.head("info", "gauge", "The program.");
        text.value("info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
        let uptime = self.started.elapsed().as_secs();
        text.one("uptime_seconds", "gauge", "Since the start.", uptime);
        jobs(&engine, &mut text).await?;
        importers(&engine, &mut text);
        self.providers(&mut text);
        reader(&engine, &mut text);
        let mut streams = BTreeMap::from([("http", 0u64), ("page", 0), ("webdav", 0)]);
        for stream in self.streams.list() {
            *streams.entry(stream.client.via).or_default() += 1;
        }
        text.head("streams", "gauge", "Answers that are being read.");
        for (via, count) in streams {
            text.value("streams", &[("via", via)], count);
        }
        Ok(Some(text.0))
    }

    fn providers(&self, text: &mut Text) {
        let all = self.pool.status();
        text.head("provider_up", "gauge", "Whether a news server can be asked.");
        for provider in &all {
            let up = matches!(
                provider.state,
                altmount_usenet::ProviderState::Ready | altmount_usenet::ProviderState::Probing
            );
            text.value("provider_up", &[("provider", &provider.name)], u8::from(up));
        }
        text.head("provider_connections", "gauge", "Connections by what they do.");
        for provider in &all {
            for (state, count) in [
                ("idle", provider.open.saturating_sub(provider.busy)),
                ("busy", provider.busy),
                ("connecting", provider.connecting),
            ] {
                let labels = [("provider", provider.name.as_str()), ("state", state)];
                text.value("provider_connections", &labels, count);
            }
        }
        type Figure = fn(&altmount_usenet::ProviderStatus) -> u64;
        let figures: [(&str, &str, &str, Figure); 9] = [
            (
                "provider_connections_limit",
                "gauge",
                "Connections that may be open.",
                |p| p.learned_cap.unwrap_or(p.max_connections).into(),
            ),
            (
                "provider_first_byte_ms",
                "gauge",
                "How long answers took to begin lately; 0 where nothing was asked.",
                |p| p.first_byte_ms.unwrap_or(0),
            ),
            (
                "provider_queued",
                "gauge",
                "Requests that wait for a connection.",
                |p| p.queued,
            ),
            (
                "provider_in_flight",
                "gauge",
                "Requests without an answer yet.",
                |p| p.in_flight,
            ),
            ("provider_bytes_total", "counter", "Bytes received.", |p| p.bytes),
            (
                "provider_articles_total",
                "counter",
                "Articles received whole and right.",
                |p| p.articles,
            ),
            (
                "provider_missing_total",
                "counter",
                "Answers that an article is not there.",
                |p| p.missing,
            ),
            (
                "provider_corrupt_total",
                "counter",
                "Articles received damaged.",
                |p| p.corrupt,
            ),
            (
                "provider_errors_total",
                "counter",
                "Failures of connections and answers.",
                |p| p.errors,
            ),
        ];
        for (name, kind, help, figure) in figures {
            text.head(name, kind, help);
            for provider in &all {
                text.value(name, &[("provider", &provider.name)], figure(provider));
            }
        }
    }
}

async fn jobs(engine: &Engine, text: &mut Text) -> StoreResult<()> {
    text.head("jobs", "gauge", "Jobs by state.");
    for state in JobState::ALL {
        let filter = JobFilter {
            states: vec![state],
            limit: 1,
            ..JobFilter::default()
        };
        let found = engine.imports().jobs(filter).await?;
        text.value("jobs", &[("state", state.as_str())], found.total);
    }
    let paused = u8::from(engine.imports().paused().is_some());
    text.one("queue_paused", "gauge", "Whether the queue is paused.", paused);
    let workers = engine.workers();
    let busy = workers.iter().filter(|worker| worker.job.is_some()).count();
    text.one("workers", "gauge", "Workers of the queue.", workers.len());
    text.one("workers_busy", "gauge", "Those of them with a job.", busy);
    Ok(())
}

fn importers(engine: &Engine, text: &mut Text) {
    let registry = engine.registry();
    let all = registry.importers();
    type Figure = fn(&altmount_engine::Counters) -> f64;
    let figures: [(&str, &str, Figure); 4] = [
        ("importer_imports_total", "Imports that ended.", |c| {
            c.imports.load(Ordering::Relaxed) as f64
        }),
        ("importer_failed_total", "Those of them that failed.", |c| {
            c.failed.load(Ordering::Relaxed) as f64
        }),
        ("importer_panics_total", "Panics.", |c| {
            c.panics.load(Ordering::Relaxed) as f64
        }),
        ("importer_busy_seconds_total", "Time in imports.", |c| {
            c.busy_ms.load(Ordering::Relaxed) as f64 / 1000.0
        }),
    ];
    for (name, help, figure) in figures {
        text.head(name, "counter", help);
        for importer in all {
            let labels = [("importer", importer.manifest.id.as_str())];
            text.value(name, &labels, figure(&importer.counters));
        }
    }
    text.head(
        "importer_quarantined",
        "gauge",
        "Whether an importer is left alone.",
    );
    for importer in all {
        let labels = [("importer", importer.manifest.id.as_str())];
        text.value(
            "importer_quarantined",
            &labels,
            u8::from(importer.quarantined().is_some()),
        );
    }
}

fn reader(engine: &Engine, text: &mut Text) {
    let reads = engine.reads();
    for (name, kind, help, value) in [
        (
            "cache_bytes",
            "gauge",
            "Bytes in the memory cache.",
            reads.cache_bytes,
        ),
        (
            "cache_entries",
            "gauge",
            "Articles and blocks in the memory cache.",
            reads.cache_entries,
        ),
        (
            "cache_hits_total",
            "counter",
            "Look-ups that found theirs.",
            reads.hits,
        ),
        (
            "cache_joins_total",
            "counter",
            "Look-ups that joined a fetch.",
            reads.joins,
        ),
        ("cache_misses_total", "counter", "Fetches.", reads.misses),
        (
            "fetches_in_flight",
            "gauge",
            "Fetches on their way.",
            reads.in_flight,
        ),
        (
            "read_ahead_bytes",
            "gauge",
            "Bytes that readers hold ahead, or have on their way.",
            reads.read_ahead_bytes,
        ),
        (
            "served_bytes_total",
            "counter",
            "Bytes that readers returned.",
            reads.served_bytes,
        ),
    ] {
        text.one(name, kind, help, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_cannot_end_their_line() {
        let mut text = Text(String::new());
        text.value("x", &[("a", "q\"\\\nz"), ("b", "c")], 1);
        assert_eq!(text.0, "altmount_x{a=\"q\\\"\\\\\\nz\",b=\"c\"} 1\n");
    }
}
