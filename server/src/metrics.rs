//! `/metrics` in the text form of Prometheus (0.0.4). Every label has a bounded number of values: states, and what the
//! configuration names. No name of a release is in it.

use crate::{backup::Scheduled, files::Streams, jobs, notify::Notifier, pools::Pools};
use altmount_engine::{Engine, StoreResult, Timings};
use altmount_usenet::ProviderState;
use axum::{Router, response::IntoResponse, routing::get};
use http::{StatusCode, header};
use std::{
    collections::BTreeMap,
    fmt::{Display, Write},
    sync::{Weak, atomic::Ordering},
    time::Instant,
};

/// The media type of the text.
pub const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the figures are taken from.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The engine.
    pub engine: Weak<Engine>,
    /// The news servers.
    pub pool: Pools,
    /// What is being read.
    pub streams: Streams,
    /// Who is told what happened.
    pub notifier: Notifier,
    /// Backups that are made by themselves.
    pub scheduled: Scheduled,
    /// When the server was started.
    pub started: Instant,
    /// Bytes that the memory cache may take.
    pub cache_bytes: u64,
    /// Bytes that all readers together may hold ahead.
    pub read_ahead_bytes: u64,
}

/// The figures. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    parts: Parts,
}

/// The ways in which is read.
const WAYS: [&str; 4] = ["http", "mount", "page", "webdav"];

/// The states of a news server.
const STATES: [(ProviderState, &str); 7] = [
    (ProviderState::Disabled, "disabled"),
    (ProviderState::Ready, "ready"),
    (ProviderState::Unavailable, "unavailable"),
    (ProviderState::Probing, "probing"),
    (ProviderState::LoginRefused, "login_refused"),
    (ProviderState::QuotaUsed, "quota_used"),
    (ProviderState::Closed, "closed"),
];

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

    /// A histogram's lines: buckets that hold all below them, the sum and the count.
    fn histogram(&mut self, name: &str, labels: &[(&str, &str)], timings: &Timings) {
        let bucket = format!("{name}_bucket");
        let mut below = 0;
        for (at, count) in timings.counts.iter().enumerate() {
            below += count;
            let bound = timings
                .bounds_ms
                .get(at)
                .map_or_else(|| "+Inf".to_owned(), |ms| (*ms as f64 / 1000.0).to_string());
            let mut all = labels.to_vec();
            all.push(("le", &bound));
            self.value(&bucket, &all, below);
        }
        self.value(&format!("{name}_sum"), labels, timings.sum_us as f64 / 1e6);
        self.value(&format!("{name}_count"), labels, below);
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.head(name, kind, help);
        self.value(name, &[], value);
    }
}

impl Metrics {
    /// From these parts.
    pub fn new(parts: Parts) -> Self {
        Self { parts }
    }

    /// The figures now; nothing while the server ends.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn text(&self) -> StoreResult<Option<String>> {
        let Some(engine) = self.parts.engine.upgrade() else {
            return Ok(None);
        };
        let mut text = Text(String::with_capacity(8 << 10));
        text.head("info", "gauge", "The program.");
        text.value("info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
        let uptime = self.parts.started.elapsed().as_secs();
        text.one("uptime_seconds", "gauge", "Since the start.", uptime);
        jobs(&engine, &mut text).await?;
        importers(&engine, &mut text);
        self.providers(&mut text);
        reader(&engine, &mut text);
        store(&engine, &mut text);
        for (name, help, bytes) in [
            (
                "cache_limit_bytes",
                "Bytes that the memory cache may take.",
                self.parts.cache_bytes,
            ),
            (
                "read_ahead_limit_bytes",
                "Bytes that all readers together may hold ahead.",
                self.parts.read_ahead_bytes,
            ),
        ] {
            text.one(name, "gauge", help, bytes);
        }
        let (suspect, missing) = engine.health().counts().await?;
        text.head(
            "files_damaged",
            "gauge",
            "Files that lack articles, by how sure that is.",
        );
        for (state, count) in [("suspect", suspect), ("missing", missing)] {
            text.value("files_damaged", &[("state", state)], count);
        }
        self.operations(&mut text);
        let mut streams = WAYS
            .map(|via| (via, 0u64))
            .into_iter()
            .collect::<BTreeMap<_, _>>();
        for stream in self.parts.streams.list() {
            *streams.entry(stream.client.via).or_default() += 1;
        }
        text.head(
            "streams",
            "gauge",
            "Answers, and files of the mount, that are being read.",
        );
        for (via, count) in streams {
            text.value("streams", &[("via", via)], count);
        }
        text.head(
            "read_gap_seconds",
            "histogram",
            "How long readers waited for bytes: answers for their next piece while the client had room for it, and reads of \
             the mount from when they were asked for.",
        );
        let mut gaps = self.parts.streams.gaps();
        for via in WAYS {
            let gaps = gaps.remove(via).unwrap_or_default();
            text.histogram("read_gap_seconds", &[("via", via)], &gaps);
        }
        Ok(Some(text.0))
    }

    fn operations(&self, text: &mut Text) {
        let (sent, failed, lost) = self.parts.notifier.counts();
        text.head(
            "notifications_total",
            "counter",
            "Messages by what became of them.",
        );
        for (outcome, count) in [("sent", sent), ("failed", failed), ("left_out", lost)] {
            text.value("notifications_total", &[("outcome", outcome)], count);
        }
        if self.parts.scheduled.settings.is_none() {
            return;
        }
        let status = self.parts.scheduled.status();
        text.one(
            "backup_last_success_timestamp_seconds",
            "gauge",
            "When the last good backup was made; 0 where there is none.",
            status.last.map_or(0, |time| time.as_second()),
        );
        text.one(
            "backup_failing",
            "gauge",
            "Whether the last try of a backup failed.",
            u8::from(status.error.is_some()),
        );
    }

    fn providers(&self, text: &mut Text) {
        let all = self.parts.pool.status();
        text.head(
            "provider_state",
            "gauge",
            "1 for the state that a news server is in; 'unavailable' and 'probing' are the breaker's.",
        );
        for provider in &all {
            for (state, name) in STATES {
                let labels = [("provider", provider.name.as_str()), ("state", name)];
                text.value("provider_state", &labels, u8::from(provider.state == state));
            }
        }
        text.head(
            "provider_first_byte_seconds",
            "histogram",
            "How long bodies took to begin, from when they were next in line on their connection.",
        );
        for provider in &all {
            let labels = [("provider", provider.name.as_str())];
            text.histogram("provider_first_byte_seconds", &labels, &provider.first_bytes);
        }
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
    for (state, count) in jobs::by_state(engine).await? {
        text.value("jobs", &[("state", state.as_str())], count);
    }
    text.head(
        "jobs_failed",
        "gauge",
        "Failed jobs by the kind of their failure.",
    );
    for (kind, count) in engine.imports().failures_by_kind().await? {
        text.value("jobs_failed", &[("kind", &kind)], count);
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
    text.head("importer_seconds", "histogram", "How long imports took.");
    for importer in all {
        let labels = [("importer", importer.manifest.id.as_str())];
        text.histogram("importer_seconds", &labels, &importer.counters.times.get());
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

fn store(engine: &Engine, text: &mut Text) {
    let asked = engine.statements();
    text.head(
        "store_statements_total",
        "counter",
        "Statements that the database was asked, by what kind of connection.",
    );
    for (kind, count) in [("read", asked.read), ("write", asked.written)] {
        text.value("store_statements_total", &[("kind", kind)], count);
    }
    text.one(
        "store_commits_total",
        "counter",
        "Transactions that were written, each with one flush to the disk.",
        asked.commits,
    );
}

/// `/metrics` for a listener of its own, which asks for no key.
pub fn router(metrics: Metrics) -> Router {
    let answer = move || async move {
        match metrics.text().await {
            Ok(Some(text)) => ([(header::CONTENT_TYPE, TEXT)], text).into_response(),
            Ok(None) => (StatusCode::SERVICE_UNAVAILABLE, "the server is shutting down\n").into_response(),
            Err(error) => {
                tracing::error!("the figures cannot be told: {error}");
                (StatusCode::INTERNAL_SERVER_ERROR, "the store does not answer\n").into_response()
            }
        }
    };
    Router::new().route("/metrics", get(answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_has_all_below_each_bound() {
        let mut timings = Timings::new(&[10, 2500]);
        for ms in [1, 20, 9999] {
            timings.add(std::time::Duration::from_millis(ms));
        }
        let mut text = Text(String::new());
        text.histogram("x", &[("a", "b")], &timings);
        assert_eq!(
            text.0,
            "altmount_x_bucket{a=\"b\",le=\"0.01\"} 1\naltmount_x_bucket{a=\"b\",le=\"2.5\"} 2\n\
             altmount_x_bucket{a=\"b\",le=\"+Inf\"} 3\naltmount_x_sum{a=\"b\"} 10.02\naltmount_x_count{a=\"b\"} 3\n"
        );
    }

    #[test]
    fn labels_cannot_end_their_line() {
        let mut text = Text(String::new());
        text.value("x", &[("a", "q\"\\\nz"), ("b", "c")], 1);
        assert_eq!(text.0, "altmount_x{a=\"q\\\"\\\\\\nz\",b=\"c\"} 1\n");
    }
}
