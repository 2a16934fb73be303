//! `mode=queue`, and what changes the queue.

use super::{
    Sabnzbd,
    answer::{done, error},
    category_of,
    format::{age, mb, size, time_left, units},
    nzb,
    request::Call,
};
use altmount_engine::{Job, JobState, StoreError};
use altmount_model::JobId;
use serde_json::{Value, json};
use std::collections::HashSet;

type Result<T> = std::result::Result<T, StoreError>;

/// SABnzbd's priorities.
pub(super) const DEFAULT: i32 = -100;
pub(super) const PAUSED: i32 = -2;

/// A priority's name.
fn priority_name(priority: i32) -> &'static str {
    match priority {
        3.. => "Repair",
        2 => "Force",
        1 => "High",
        0 => "Normal",
        _ => "Low",
    }
}

/// A priority by its number or name.
pub(super) fn priority_of(text: &str) -> Option<i32> {
    let named = [
        ("default", DEFAULT),
        ("paused", PAUSED),
        ("low", -1),
        ("normal", 0),
        ("high", 1),
        ("force", 2),
        ("repair", 3),
    ];
    let by_name = named
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(text))
        .map(|(_, number)| *number);
    by_name.or_else(|| {
        text.parse()
            .ok()
            .filter(|n| *n == DEFAULT || (-2..=3).contains(n))
    })
}

/// How many bytes a job has: what its file says, or the file itself where it says nothing.
pub(super) fn bytes_of(job: &Job) -> u64 {
    if job.bytes > 0 { job.bytes } else { job.size }
}

/// How many of them are still to come, by how far the import is.
fn left_of(job: &Job) -> u64 {
    let bytes = bytes_of(job);
    match (job.state, job.progress_total) {
        (JobState::Running, total) if total > 0 => {
            let done = u128::from(bytes) * u128::from(job.progress_done.min(total)) / u128::from(total);
            bytes.saturating_sub(u64::try_from(done).unwrap_or(bytes))
        }
        _ => bytes,
    }
}

fn percentage(bytes: u64, left: u64) -> u64 {
    match bytes {
        0 => 0,
        bytes => (bytes - left.min(bytes)) * 100 / bytes,
    }
}

/// One of SABnzbd's words.
fn status_of(job: &Job) -> &'static str {
    match job.state {
        _ if !job.fetched => "Grabbing",
        JobState::Running => "Downloading",
        _ if job.paused => "Paused",
        _ => "Queued",
    }
}

/// The name that a list shows.
fn shown_name(job: &Job) -> String {
    match (&job.url, job.fetched) {
        // Without what may be secret in it.
        (Some(_), false) => format!("Trying to fetch NZB from {}", job.source_path),
        _ => job.name.clone(),
    }
}

impl Sabnzbd {
    pub(super) async fn queue(&self, call: &Call) -> Result<Value> {
        let imports = self.engine().imports();
        Ok(match call.text("name").unwrap_or_default() {
            "delete" => self.delete(call).await?,
            "delete_nzf" => json!({"status": false, "nzf_ids": []}),
            "purge" => self.purge(call).await?,
            "pause" | "resume" => {
                let paused = call.text("name") == Some("pause");
                let names = call.list("value");
                if names.is_empty() {
                    return Ok(error("expects one parameter"));
                }
                let mut changed = Vec::new();
                for job in imports.by_nzo(&names).await? {
                    if imports.set_paused(job.id, paused).await? {
                        changed.push(job.nzo_id);
                    }
                }
                json!({"status": !changed.is_empty(), "nzo_ids": changed})
            }
            "priority" => self.change_priority(call).await?,
            "rename" => self.rename(call).await?,
            "sort" => self.sort(call).await?,
            // What a server does when it has nothing to do is its operator's own.
            "change_complete_action" => done(),
            _ => self.list(call).await?,
        })
    }

    async fn list(&self, call: &Call) -> Result<Value> {
        let imports = self.engine().imports();
        let active = imports.active().await?;
        let pause = imports.paused();
        let paused = pause.is_some();
        let speed = self.0.parts.meter.speed();
        let search = call.text("search").map(str::to_lowercase);
        let categories = [call.list("cat"), call.list("category")].concat();
        let categories: Vec<&str> = categories
            .iter()
            .map(|name| if name == "Default" { "*" } else { name })
            .collect();
        let statuses: HashSet<String> = call
            .list("status")
            .into_iter()
            .map(|s| s.to_lowercase())
            .collect();
        let priorities: Vec<i32> = call
            .list("priority")
            .iter()
            .filter_map(|text| priority_of(text))
            .collect();
        let wanted: HashSet<String> = call.list("nzo_ids").into_iter().collect();
        let start: usize = call.number("start").unwrap_or(0);
        let limit = call
            .number::<usize>("limit")
            .filter(|limit| *limit > 0)
            .unwrap_or(usize::MAX);
        let filtered = search.is_some()
            || !wanted.is_empty()
            || !categories.is_empty()
            || !statuses.is_empty()
            || !priorities.is_empty();
        let now = altmount_store::now_ms();
        let (mut slots, mut matches) = (Vec::new(), 0usize);
        let (mut all, mut all_left, mut ahead) = (0u64, 0u64, 0u64);
        let seconds = |bytes: u64| {
            if paused {
                0
            } else {
                bytes.checked_div(speed).unwrap_or(0)
            }
        };
        for (index, job) in active.items.iter().enumerate() {
            let (bytes, left) = (bytes_of(job), left_of(job));
            all = all.saturating_add(bytes);
            all_left = all_left.saturating_add(left);
            let status = status_of(job);
            let held = status == "Paused";
            if !held {
                ahead = ahead.saturating_add(left);
            }
            let name = shown_name(job);
            let fits = search
                .as_ref()
                .is_none_or(|text| name.to_lowercase().contains(text))
                && (categories.is_empty() || categories.contains(&category_of(job)))
                && (statuses.is_empty() || statuses.contains(&status.to_lowercase()))
                && (priorities.is_empty() || priorities.contains(&job.priority))
                && (wanted.is_empty() || wanted.contains(&job.nzo_id));
            if !fits {
                continue;
            }
            matches += 1;
            if matches <= start || slots.len() >= limit {
                continue;
            }
            slots.push(json!({
                "index": index,
                "nzo_id": job.nzo_id,
                "unpackopts": "3",
                "priority": priority_name(job.priority),
                "script": "None",
                "filename": name,
                "labels": [],
                "password": "",
                "cat": category_of(job),
                "mbleft": mb(left),
                "mb": mb(bytes),
                "size": size(bytes),
                "sizeleft": size(left),
                "percentage": percentage(bytes, left).to_string(),
                "mbmissing": mb(job.missing_bytes),
                "direct_unpack": null,
                "status": status,
                "timeleft": time_left(if held { 0 } else { seconds(ahead) }),
                "avg_age": age(job.origin.posted_ms, now),
                "time_added": job.created_ms / 1000,
            }));
        }
        let total = usize::try_from(active.total).unwrap_or(usize::MAX);
        let mut queue = self.head();
        let more = json!({
            "kbpersec": format!("{:.2}", speed as f64 / 1024.0),
            "speed": units(speed),
            "paused": paused,
            "pause_int": pause.and_then(|pause| pause.until_ms).map_or("0".to_owned(), |until| {
                let left = u64::try_from(until - jiff::Timestamp::now().as_millisecond()).unwrap_or(0) / 1000;
                format!("{}:{:02}", left / 60, left % 60)
            }),
            "paused_all": paused,
            "finishaction": null,
            "quota": "0 B",
            "have_quota": false,
            "left_quota": "0 B",
            "cache_art": "0",
            "cache_size": "0 B",
            "mbleft": mb(all_left),
            "mb": mb(all),
            "sizeleft": size(all_left),
            "size": size(all),
            "noofslots_total": total,
            "noofslots": if filtered { matches } else { total },
            "start": start,
            "limit": call.number::<u64>("limit").unwrap_or(0),
            "finish": start.saturating_add(call.number::<usize>("limit").unwrap_or(0)),
            "status": match (paused, active.items.is_empty()) {
                (true, _) => "Paused",
                (false, true) => "Idle",
                (false, false) => "Downloading",
            },
            "timeleft": time_left(seconds(all_left)),
            "slots": slots,
        });
        if let (Some(queue), Value::Object(more)) = (queue.as_object_mut(), more) {
            queue.extend(more);
        }
        Ok(json!({"queue": queue}))
    }

    /// What queue and status have in common.
    pub(super) fn head(&self) -> Value {
        let (free, all) = self.disk();
        let (percent, absolute) = self.speed_limit();
        json!({
            "version": self.settings().version,
            "diskspace1": super::format::gb(free),
            "diskspace2": super::format::gb(free),
            "diskspace1_norm": units(free),
            "diskspace2_norm": units(free),
            "diskspacetotal1": super::format::gb(all),
            "diskspacetotal2": super::format::gb(all),
            "speedlimit": percent.to_string(),
            "speedlimit_abs": absolute.to_string(),
            "have_warnings": self.warning_list().len().to_string(),
        })
    }

    /// Cancels jobs that are queued or running.
    async fn cancel_all(&self, jobs: impl IntoIterator<Item = Job>) -> Result<Value> {
        let mut gone = Vec::new();
        for job in jobs {
            use altmount_engine::CancelOutcome::{Cancelled, Requested};
            if matches!(
                self.engine().imports().cancel(job.id).await?,
                Cancelled | Requested
            ) {
                gone.push(job.nzo_id);
            }
        }
        Ok(json!({"status": !gone.is_empty(), "nzo_ids": gone}))
    }

    async fn delete(&self, call: &Call) -> Result<Value> {
        let names = call.list("value");
        match names.as_slice() {
            [] => Ok(error("expects one parameter")),
            [all] if all == "all" => self.purge(call).await,
            names => {
                self.cancel_all(self.engine().imports().by_nzo(names).await?)
                    .await
            }
        }
    }

    async fn purge(&self, call: &Call) -> Result<Value> {
        let search = call.text("search").map(str::to_lowercase);
        let jobs = self.engine().imports().active().await?.items;
        let fits = |job: &Job| {
            search
                .as_ref()
                .is_none_or(|text| job.name.to_lowercase().contains(text))
        };
        let mut answer = self.cancel_all(jobs.into_iter().filter(fits)).await?;
        answer["status"] = json!(true);
        Ok(answer)
    }

    async fn change_priority(&self, call: &Call) -> Result<Value> {
        let imports = self.engine().imports();
        let names = call.list("value");
        let Some(priority) = call.text("value2").and_then(priority_of) else {
            return Ok(error("expects two parameters"));
        };
        let mut position = -1;
        for job in imports.by_nzo(&names).await? {
            if priority == PAUSED {
                imports.set_paused(job.id, true).await?;
            } else {
                imports
                    .set_priority(job.id, self.priority(priority, job.category.as_deref()))
                    .await?;
            }
            position = self.position(job.id).await?;
        }
        Ok(json!({"position": position}))
    }

    /// A job's place in the queue; -1 where it has none.
    async fn position(&self, id: JobId) -> Result<i64> {
        let jobs = self.engine().imports().active().await?.items;
        let at = jobs.iter().position(|job| job.id == id);
        Ok(at.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1))
    }

    async fn rename(&self, call: &Call) -> Result<Value> {
        let (Some(value), Some(name)) = (call.text("value"), call.text("value2")) else {
            return Ok(error("expects two parameters"));
        };
        let imports = self.engine().imports();
        let jobs = imports.by_nzo(&[value.to_owned()]).await?;
        let Some(job) = jobs.into_iter().next().filter(|job| !job.state.is_final()) else {
            return Ok(json!({"status": false}));
        };
        let (name, password) = nzb::job_name(name, None);
        let passwords: Vec<String> = call
            .text("value3")
            .map(str::to_owned)
            .into_iter()
            .chain(password)
            .collect();
        if !passwords.is_empty() {
            imports.add_passwords(job.id, passwords).await?;
        }
        if name == job.name {
            return Ok(done());
        }
        let folder = job
            .category
            .as_deref()
            .and_then(|name| self.category(name))
            .map(|category| category.dir);
        let renamed = imports
            .relabel(
                job.id,
                &name,
                job.category.as_deref(),
                &folder.unwrap_or_else(altmount_model::VPath::root),
            )
            .await?;
        Ok(json!({"status": renamed.is_some()}))
    }

    pub(super) async fn change_category(&self, call: &Call) -> Result<Value> {
        let wanted = call.text("value2").unwrap_or("*");
        let (category, folder) = match wanted {
            "*" | "Default" | "None" => (None, altmount_model::VPath::root()),
            name => match self.category(name) {
                Some(category) => (Some(name), category.dir),
                None => {
                    return Ok(error(format!(
                        "there is no category '{}'",
                        super::request::shown(name)
                    )));
                }
            },
        };
        let imports = self.engine().imports();
        let mut changed = false;
        for job in imports.by_nzo(&call.list("value")).await? {
            let relabelled = imports.relabel(job.id, &job.name, category, &folder).await?;
            changed |= relabelled.is_some();
        }
        Ok(json!({"status": changed}))
    }

    /// Scripts and unpacking are not ours to choose; a client that sets them for a job is told that it could.
    pub(super) async fn change_nothing(&self, call: &Call) -> Result<Value> {
        let jobs = self.engine().imports().by_nzo(&call.list("value")).await?;
        Ok(json!({"status": jobs.iter().any(|job| !job.state.is_final())}))
    }

    /// Puts a job before another one, or at a place.
    pub(super) async fn switch(&self, call: &Call) -> Result<Value> {
        let unknown = json!({"result": {"position": -1, "priority": 0}});
        let (Some(value), Some(target)) = (call.text("value"), call.text("value2")) else {
            return Ok(error("expects two parameters"));
        };
        let imports = self.engine().imports();
        let mut jobs = imports.active().await?.items;
        let Some(from) = jobs.iter().position(|job| job.nzo_id == value) else {
            return Ok(unknown);
        };
        let to = match target.parse::<usize>() {
            Ok(at) => at.min(jobs.len() - 1),
            Err(_) => match jobs.iter().position(|job| job.nzo_id == target) {
                Some(at) => at,
                None => return Ok(unknown),
            },
        };
        if jobs[from].state != JobState::Queued {
            return Ok(json!({"result": {"position": from, "priority": jobs[from].priority}}));
        }
        let moved = jobs.remove(from);
        jobs.insert(to, moved);
        // It takes the priority of what it was put beside, or it could not stay there.
        let beside = if to < from {
            jobs.get(to + 1)
        } else {
            to.checked_sub(1).and_then(|at| jobs.get(at))
        };
        let priority = beside
            .filter(|job| job.state == JobState::Queued)
            .map_or(jobs[to].priority, |job| job.priority);
        let id = jobs[to].id;
        if priority != jobs[to].priority {
            imports.set_priority(id, priority).await?;
        }
        let order = jobs
            .iter()
            .filter(|job| job.state == JobState::Queued)
            .map(|job| job.id);
        imports.reorder(order.collect()).await?;
        Ok(json!({"result": {"position": self.position(id).await?, "priority": priority}}))
    }

    async fn sort(&self, call: &Call) -> Result<Value> {
        let imports = self.engine().imports();
        let mut jobs = imports.active().await?.items;
        jobs.retain(|job| job.state == JobState::Queued);
        match call.text("sort").unwrap_or_default() {
            "name" => jobs.sort_by_key(|job| job.name.to_lowercase()),
            "size" | "remaining" => jobs.sort_by_key(bytes_of),
            // The youngest first, and those that nobody knows the age of behind them.
            "avg_age" => jobs.sort_by_key(|job| std::cmp::Reverse(job.origin.posted_ms)),
            _ => return Ok(error("expects one of name, size, remaining, avg_age")),
        }
        if call
            .text("dir")
            .is_some_and(|dir| dir.eq_ignore_ascii_case("desc"))
        {
            jobs.reverse();
        }
        imports.reorder(jobs.iter().map(|job| job.id).collect()).await?;
        Ok(done())
    }

    /// The posted files of a job that is queued or running.
    pub(super) async fn files(&self, call: &Call) -> Result<Value> {
        let imports = self.engine().imports();
        let jobs = imports.by_nzo(&call.list("value")).await?;
        let Some(job) = jobs
            .into_iter()
            .next()
            .filter(|job| !job.state.is_final() && job.fetched)
        else {
            return Ok(json!({"files": []}));
        };
        let bytes = imports.queued_file(&job).await?;
        let parsed = tokio::task::spawn_blocking(move || nzb::parse(&bytes)).await;
        let Ok(Ok(nzb)) = parsed else {
            return Ok(json!({"files": []}));
        };
        let now = altmount_store::now_ms();
        let share = (bytes_of(&job), left_of(&job));
        let files = nzb.files.iter().take(10_000).enumerate().map(|(at, file)| {
            let bytes: u64 = nzb
                .segments(file)
                .iter()
                .map(|segment| u64::from(segment.encoded_bytes()))
                .sum();
            let left = u128::from(bytes) * u128::from(share.1) / u128::from(share.0.max(1));
            let posted = file.date.and_then(|date| date.checked_mul(1000));
            let quoted = file.subject.split('"').nth(1).filter(|name| !name.is_empty());
            json!({
                "filename": quoted.unwrap_or(&file.subject),
                "mbleft": mb(u64::try_from(left).unwrap_or(bytes)),
                "mb": mb(bytes),
                "bytes": format!("{:.2}", bytes as f64),
                "age": age(posted, now),
                "nzf_id": format!("SABnzbd_nzf_{}_{at}", job.id.0),
                "status": if job.state == JobState::Running { "active" } else { "queued" },
            })
        });
        Ok(json!({"files": files.collect::<Vec<_>>()}))
    }

    /// Pauses the queue, for so many minutes where they are given.
    pub(super) async fn pause(&self, minutes: Option<u32>) -> Result<Value> {
        let until =
            minutes.map(|minutes| jiff::Timestamp::now().as_millisecond() + i64::from(minutes) * 60_000);
        self.engine().imports().pause(until).await?;
        Ok(done())
    }

    /// A priority for a job of a category: the category's own where none is asked for.
    pub(super) fn priority(&self, wanted: i32, category: Option<&str>) -> i32 {
        match wanted {
            DEFAULT => category
                .and_then(|name| self.category(name))
                .map_or(0, |category| category.priority),
            PAUSED => 0,
            other => other,
        }
    }
}
