//! How the server is: status, warnings, what news servers gave, and how fast it may be.

use super::{
    Sabnzbd,
    answer::{done, error},
    format::rate,
    request::Call,
};
use crate::logs::{self, Line};
use altmount_engine::StoreError;
use altmount_store::now_ms;
use altmount_usenet::ProviderState;
use jiff::{Timestamp, ToSpan, civil::Date};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::PoisonError,
};

/// Where the speed limit is kept, in bytes a second.
pub(super) const SPEED: &str = "sabnzbd.speed_limit";

/// Warnings that are shown, as a SABnzbd has them.
const MAX_WARNINGS: usize = 20;

/// The warnings since somebody cleared them: lines of the log, and what was found wrong when somebody looked. A problem
/// that lasts is one warning, with the time when it was first seen.
#[derive(Debug, Default)]
pub(super) struct Warnings {
    seen: VecDeque<(i64, String)>,
    lasting: BTreeSet<String>,
    cleared_ms: i64,
}

impl Warnings {
    fn look(&mut self, problems: Vec<String>, now: i64) {
        let problems: BTreeSet<String> = problems.into_iter().collect();
        for new in problems.difference(&self.lasting) {
            self.seen.push_back((now, new.clone()));
        }
        while self.seen.len() > MAX_WARNINGS {
            self.seen.pop_front();
        }
        self.lasting = problems;
    }

    fn list(&mut self, problems: Vec<String>, lines: Vec<Line>, now: i64) -> Vec<Value> {
        self.look(problems, now);
        let seen = self.seen.iter().map(|(at, text)| (*at, "WARNING", text.clone()));
        let lines = lines
            .into_iter()
            .filter(|line| line.at_ms > self.cleared_ms)
            .map(|line| {
                let kind = if line.level == "error" { "ERROR" } else { "WARNING" };
                (line.at_ms, kind, line.text)
            });
        let mut all: Vec<_> = seen.chain(lines).collect();
        all.sort_by_key(|(at, ..)| *at);
        let older = all.len().saturating_sub(MAX_WARNINGS);
        let shown = all
            .into_iter()
            .skip(older)
            .map(|(at, kind, text)| json!({"type": kind, "text": text, "time": at / 1000, "origin": ""}));
        shown.collect()
    }

    /// What is known is forgotten; what lasts is no news.
    fn clear(&mut self, problems: Vec<String>, now: i64) {
        self.look(problems, now);
        self.seen.clear();
        self.cleared_ms = now;
    }
}

/// Bytes of all time, this month, the last seven days, today.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) total: u64,
    pub(super) month: u64,
    pub(super) week: u64,
    pub(super) day: u64,
}

impl Totals {
    fn add(&mut self, day: Option<Date>, today: Date, bytes: u64) {
        self.total = self.total.saturating_add(bytes);
        let Some(day) = day else { return };
        if (day.year(), day.month()) == (today.year(), today.month()) {
            self.month = self.month.saturating_add(bytes);
        }
        if today.checked_sub(7.days()).is_ok_and(|week| day > week) {
            self.week = self.week.saturating_add(bytes);
        }
        if day == today {
            self.day = self.day.saturating_add(bytes);
        }
    }

    fn json(self) -> Value {
        json!({"total": self.total, "month": self.month, "week": self.week, "day": self.day})
    }
}

fn today() -> Date {
    jiff::tz::TimeZone::UTC.to_datetime(Timestamp::now()).date()
}

impl Sabnzbd {
    pub(super) async fn totals(&self) -> Result<Totals, StoreError> {
        let mut totals = Totals::default();
        for usage in self.0.parts.meter.usage(self.engine()).await? {
            totals.add(usage.day.parse().ok(), today(), usage.bytes);
        }
        Ok(totals)
    }

    pub(super) async fn server_stats(&self) -> Result<Value, StoreError> {
        #[derive(Default)]
        struct One {
            totals: Totals,
            daily: Map<String, Value>,
            tried: Map<String, Value>,
            found: Map<String, Value>,
        }
        let (today, mut all) = (today(), Totals::default());
        let mut servers: BTreeMap<String, One> = BTreeMap::new();
        for status in self.0.parts.meter.status() {
            servers.insert(status.name, One::default());
        }
        for usage in self.0.parts.meter.usage(self.engine()).await? {
            let day = usage.day.parse().ok();
            all.add(day, today, usage.bytes);
            let one = servers.entry(usage.provider).or_default();
            one.totals.add(day, today, usage.bytes);
            one.daily.insert(usage.day.clone(), json!(usage.bytes));
            one.tried.insert(usage.day.clone(), json!(usage.tried));
            one.found.insert(usage.day, json!(usage.found));
        }
        let servers: Map<String, Value> = servers
            .into_iter()
            .map(|(name, one)| {
                let mut value = one.totals.json();
                value["daily"] = one.daily.into();
                value["articles_tried"] = one.tried.into();
                value["articles_success"] = one.found.into();
                (name, value)
            })
            .collect();
        let mut stats = all.json();
        stats["servers"] = servers.into();
        Ok(stats)
    }

    /// What a person should see to now.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for status in self.0.parts.meter.status() {
            let what = match status.state {
                ProviderState::Unavailable => "cannot be reached",
                ProviderState::LoginRefused => "refuses the login",
                _ => continue,
            };
            let why = status
                .last_error
                .map_or(String::new(), |error| format!(": {error}"));
            problems.push(format!("the news server '{}' {what}{why}", status.name));
        }
        for importer in self.engine().registry().importers() {
            if importer.quarantined().is_some() {
                problems.push(format!(
                    "the importer '{}' is not used any more",
                    importer.manifest.id
                ));
            }
        }
        problems
    }

    /// What a person should know of, the oldest first.
    pub(super) fn warning_list(&self) -> Vec<Value> {
        let mut log = self.0.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        log.list(self.problems(), logs::lines("warn", "", MAX_WARNINGS), now_ms())
    }

    pub(super) fn warnings(&self, call: &Call) -> Value {
        match call.text("name") {
            Some("clear") => {
                let mut log = self.0.warnings.lock().unwrap_or_else(PoisonError::into_inner);
                log.clear(self.problems(), now_ms());
                done()
            }
            None | Some("show") => json!({"warnings": self.warning_list()}),
            Some(_) => error("not implemented"),
        }
    }

    pub(super) async fn full_status(&self, call: &Call) -> Result<Value, StoreError> {
        let imports = self.engine().imports();
        let mut status = self.head();
        let uptime = self.0.started.elapsed().as_secs();
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load: Vec<&str> = load.split(' ').take(3).collect();
        let paused = imports.paused().is_some();
        let servers = self.0.parts.meter.status().into_iter().map(|status| {
            json!({
                "servername": status.name,
                "serveractive": matches!(status.state, ProviderState::Ready | ProviderState::Probing),
                "serveractiveconn": status.busy,
                "servertotalconn": status.max_connections,
                "serverconnections": [],
                "serverssl": u8::from(status.tls),
                "serversslinfo": "",
                "serveripaddress": null,
                "servercanonname": null,
                "serverwarning": "",
                "servererror": status.last_error.unwrap_or_default(),
                "serverpriority": 0,
                "serveroptional": status.backup,
                "serverbps": "0",
            })
        });
        let more = json!({
            "uptime": match uptime {
                0..3600 => format!("{}m", uptime / 60),
                3600..86_400 => format!("{}h", uptime / 3600),
                _ => format!("{}d", uptime / 86_400),
            },
            "color_scheme": "Auto",
            "confighelpuri": "",
            "pid": std::process::id(),
            "active_lang": "en",
            "rtl": false,
            "my_lcldata": self.complete_dir(),
            "my_home": self.complete_dir(),
            "completedir": self.complete_dir(),
            "downloaddir": self.complete_dir(),
            "weblogfile": null,
            "webdir": "",
            "url_base": self.settings().url_base,
            "configfn": "",
            "windows": cfg!(windows),
            "macos": cfg!(target_os = "macos"),
            "power_options": false,
            "pp_pause_event": false,
            // Who has it knows it.
            "apikey": "",
            "new_release": "",
            "new_rel_url": "",
            "finishaction": null,
            "paused": paused,
            "paused_all": paused,
            "pause_int": "0",
            "have_quota": false,
            "quota": "0 B",
            "left_quota": "0 B",
            "cache_art": "0",
            "cache_size": "0 B",
            "loadavg": load.join(" | "),
            "logfile": "",
            "loglevel": "1",
            "folders": [],
            "warnings": self.warning_list(),
            "delayed_assembler": 0,
            "pystone": 0,
            "downloaddirspeed": 0,
            "completedirspeed": 0,
            "internetbandwidth": 0,
            "servers": servers.collect::<Vec<_>>(),
        });
        if let (Some(status), Value::Object(more)) = (status.as_object_mut(), more) {
            status.extend(more);
            if !call.flag("skip_dashboard") {
                // It asks nobody for its own addresses.
                for name in [
                    "active_socks5_proxy",
                    "localipv4",
                    "publicipv4",
                    "ipv6",
                    "dnslookup",
                ] {
                    status.insert(name.to_owned(), Value::Null);
                }
            }
        }
        Ok(json!({"status": status}))
    }

    /// Free and all bytes of the disk that everything is kept on.
    #[cfg(unix)]
    pub(super) fn disk(&self) -> (u64, u64) {
        let disk = rustix::fs::statvfs(&self.0.parts.data_dir);
        disk.map_or((0, 0), |disk| {
            let block = disk.f_frsize.max(1);
            (
                disk.f_bavail.saturating_mul(block),
                disk.f_blocks.saturating_mul(block),
            )
        })
    }

    #[cfg(not(unix))]
    pub(super) fn disk(&self) -> (u64, u64) {
        (0, 0)
    }

    /// The limit in per cent of the configured most, and in bytes a second; 0 for none.
    pub(super) fn speed_limit(&self) -> (u64, u64) {
        let (now, most) = (self.0.parts.limiter.get(), self.settings().max_bytes_per_second);
        let percent = match (now, most) {
            (0, 0) => 0,
            (_, 0) => 100,
            (now, most) => (u128::from(now) * 100).div_ceil(u128::from(most)).min(100) as u64,
        };
        (percent, now)
    }

    /// Sets the limit: a rate such as `400K`, or per cent of the configured most. Nothing, or 0, is back to that most.
    pub(super) async fn change_speed(&self, value: &str) -> Result<Value, StoreError> {
        let most = self.settings().max_bytes_per_second;
        let percent = value
            .strip_suffix('%')
            .unwrap_or(value)
            .trim()
            .parse::<u64>()
            .ok();
        let percent = percent.filter(|percent| value.ends_with('%') || *percent <= 100);
        let bytes = match (percent, rate(value)) {
            _ if value.is_empty() => most,
            (Some(0), _) => most,
            (Some(percent), _) => (u128::from(most) * u128::from(percent.min(100)) / 100) as u64,
            (None, Some(bytes)) => bytes,
            (None, None) => return Ok(super::answer::error("expects a rate such as 400K, or per cent")),
        };
        self.engine()
            .imports()
            .set_setting(SPEED, &bytes.to_string())
            .await?;
        self.0.parts.limiter.set(bytes);
        Ok(done())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &[Value]) -> Vec<(&str, i64)> {
        let of = |entry: &'_ Value| entry["time"].as_i64().unwrap_or(-1);
        list.iter()
            .map(|entry| (entry["text"].as_str().unwrap_or(""), of(entry)))
            .collect()
    }

    #[test]
    fn a_warning_has_its_time_and_goes_when_it_is_cleared() {
        let mut log = Warnings::default();
        let line = |at_ms: i64, text: &str| Line {
            at_ms,
            level: "error",
            target: "x".to_owned(),
            text: text.to_owned(),
        };
        let away = || vec!["away".to_owned()];
        assert_eq!(texts(&log.list(away(), Vec::new(), 5_000)), [("away", 5)]);
        // It lasts, and is one warning with its first time.
        let list = log.list(away(), vec![line(4_000, "line")], 9_000);
        assert_eq!(texts(&list), [("line", 4), ("away", 5)]);
        assert_eq!(
            (&list[0]["type"], &list[1]["type"]),
            (&json!("ERROR"), &json!("WARNING"))
        );
        log.clear(away(), 10_000);
        assert!(log.list(away(), vec![line(4_000, "line")], 11_000).is_empty());
        // It was over and is back, and something new is logged.
        assert!(log.list(Vec::new(), Vec::new(), 12_000).is_empty());
        let list = log.list(away(), vec![line(4_000, "line"), line(13_000, "new")], 14_000);
        assert_eq!(texts(&list), [("new", 13), ("away", 14)]);
        let many = (0..50).map(|at| line(20_000 + at, "many")).collect();
        assert_eq!(log.list(away(), many, 30_000).len(), MAX_WARNINGS);
    }
}
