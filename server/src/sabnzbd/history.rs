//! `mode=history`, and what changes it.

use super::{
    Roots, Sabnzbd,
    answer::{done, error},
    category_of,
    format::{size, units},
    queue::bytes_of,
    request::Call,
};
use altmount_engine::{HistoryFilter, Job, JobFilter, JobState, RetryOutcome, StoreError};
use altmount_model::JobId;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

type Result<T> = std::result::Result<T, StoreError>;

/// Jobs that are taken at once where a call means all of them.
const BATCH: u32 = 1000;

/// Why a job failed, for the client: it shows this to people, and branches on nothing but that there is one.
fn fail_message(job: &Job) -> String {
    let Some(failure) = &job.failure else {
        return String::new();
    };
    match failure.kind.as_str() {
        "missing" => format!("Aborted, cannot be completed - {}", failure.message),
        "password" | "encrypted" => format!("Aborted, encryption detected - {}", failure.message),
        _ => failure.message.clone(),
    }
}

fn slot(job: &Job, roots: &Roots) -> Value {
    let bytes = bytes_of(job);
    let moving = job.state == JobState::Completed && job.storage.is_none();
    let took =
        |from: Option<i64>, to: Option<i64>| from.zip(to).map_or(0, |(from, to)| (to - from).max(0) / 1000);
    let status = match (job.state, moving) {
        (_, true) => "Moving",
        (JobState::Failed, _) => "Failed",
        _ => "Completed",
    };
    let fail = fail_message(job);
    let mut stages = vec![json!({"name": "Source", "actions": [job.file_name]})];
    if !fail.is_empty() {
        stages.push(json!({"name": "Unpack", "actions": [fail]}));
    }
    json!({
        "completed": job.finished_ms.unwrap_or(job.created_ms) / 1000,
        "name": job.name,
        "nzb_name": format!("{}.nzb", job.name),
        "category": category_of(job),
        "pp": "D",
        "script": "None",
        "report": "",
        "url": job.url.as_ref().map(|_| &job.source_path),
        "status": status,
        "nzo_id": job.nzo_id,
        "storage": job.storage.as_deref().map_or(String::new(), |path| roots.theirs(path)),
        "path": "",
        "script_line": "",
        "download_time": took(job.started_ms, job.finished_ms),
        "postproc_time": 0,
        "stage_log": stages,
        "downloaded": bytes,
        "completeness": null,
        "fail_message": fail,
        "url_info": "",
        "bytes": bytes,
        "meta": null,
        "series": null,
        "md5sum": job.blob.as_str().get(..32).unwrap_or_default(),
        "password": null,
        "duplicate_key": "",
        "archive": job.archived,
        "time_added": job.created_ms / 1000,
        "size": size(bytes),
        "action_line": if moving { "Moving..." } else { "" },
        "loaded": moving,
        "retry": job.state == JobState::Failed,
    })
}

impl Sabnzbd {
    pub(super) async fn history(&self, call: &Call) -> Result<Value> {
        match call.text("name").unwrap_or_default() {
            "delete" => self.delete_history(call).await,
            "mark_as_completed" => self.mark_as_completed(call).await,
            "archive" => {
                let jobs = self.engine().imports().by_nzo(&call.list("value")).await?;
                let put_away = self
                    .engine()
                    .imports()
                    .archive(jobs.iter().map(|job| job.id).collect())
                    .await?;
                self.changed();
                Ok(json!({"status": !put_away.is_empty()}))
            }
            "retry" => self.retry(call).await,
            _ => self.list_history(call).await,
        }
    }

    async fn list_history(&self, call: &Call) -> Result<Value> {
        let changes = self.changes().await?;
        if call.number::<u64>("last_history_update") == Some(changes) {
            return Ok(json!({"history": false}));
        }
        let categories = [call.list("cat"), call.list("category")].concat();
        let category = |name: String| match name.as_str() {
            "*" | "Default" => None,
            _ => Some(name),
        };
        let statuses: Vec<String> = call
            .list("status")
            .iter()
            .map(|word| word.to_lowercase())
            .collect();
        let wants = |word: &str| statuses.is_empty() || statuses.iter().any(|status| status == word);
        let failed_only = call.flag("failed_only");
        let limit = call.number::<u32>("limit").filter(|limit| *limit > 0);
        let filter = HistoryFilter {
            archived: call.flag("archive"),
            no_failed: !wants("failed") && !failed_only,
            no_completed: failed_only || !(wants("completed") || wants("moving")),
            categories: categories.into_iter().map(category).collect(),
            search: call.text("search").map(str::to_owned),
            nzo_ids: call.list("nzo_ids"),
            limit: limit.unwrap_or(self.settings().history_limit),
            offset: call.number("start").unwrap_or(0),
        };
        let page = self.engine().imports().history(&filter).await?;
        let moving = page
            .items
            .iter()
            .filter(|job| job.state == JobState::Completed && job.storage.is_none());
        let totals = self.totals().await?;
        Ok(json!({"history": {
            "total_size": units(totals.total),
            "month_size": units(totals.month),
            "week_size": units(totals.week),
            "day_size": units(totals.day),
            "ppslots": moving.count(),
            "noofslots": page.total,
            "last_history_update": changes,
            "version": self.settings().version,
            "slots": page.items.iter().map(|job| slot(job, &self.0.parts.roots)).collect::<Vec<_>>(),
        }}))
    }

    /// A number that is another one whenever the history is.
    async fn changes(&self) -> Result<u64> {
        let filter = HistoryFilter {
            limit: 1,
            ..HistoryFilter::default()
        };
        let newest = self.engine().imports().history(&filter).await?;
        let job = newest.items.first();
        let ours = self.0.changes.load(Ordering::Relaxed);
        let stamp = job.map_or(0, |job| {
            job.finished_ms.unwrap_or(0).unsigned_abs() + u64::from(job.storage.is_some())
        });
        // Small enough for a client that reads it as a float.
        Ok((newest
            .total
            .wrapping_mul(1_000_003)
            .wrapping_add(stamp)
            .wrapping_add(ours.wrapping_mul(7919)))
            % (1 << 50))
    }

    async fn delete_history(&self, call: &Call) -> Result<Value> {
        let imports = self.engine().imports();
        let names = call.list("value");
        let Some(first) = names.first() else {
            return Ok(error("expects one parameter"));
        };
        // As SABnzbd since 4.3: put away unless the client says otherwise.
        let archive = call.get("archive").is_none_or(|value| value.trim() != "0");
        let take = async |ids: Vec<JobId>| -> Result<usize> {
            let gone = match archive {
                true => imports.archive(ids).await?,
                false => imports.forget(ids).await?,
            };
            Ok(gone.len())
        };
        let (failed, completed) = match first.to_lowercase().as_str() {
            "all" => (true, true),
            "failed" => (true, false),
            "completed" => (false, true),
            _ => {
                let jobs = imports.by_nzo(&names).await?;
                let finished = jobs
                    .iter()
                    .filter(|job| matches!(job.state, JobState::Completed | JobState::Failed));
                let finished: Vec<&Job> = finished.collect();
                if call.flag("del_files") {
                    for job in &finished {
                        self.0.parts.discard.discard(job).await;
                    }
                }
                take(finished.iter().map(|job| job.id).collect()).await?;
                self.changed();
                return Ok(done());
            }
        };
        loop {
            let filter = HistoryFilter {
                archived: false,
                no_failed: !failed,
                no_completed: !completed,
                search: call.text("search").map(str::to_owned),
                limit: BATCH,
                ..HistoryFilter::default()
            };
            let page = imports.history(&filter).await?;
            if call.flag("del_files") {
                for job in &page.items {
                    self.0.parts.discard.discard(job).await;
                }
            }
            if page.items.is_empty() || take(page.items.iter().map(|job| job.id).collect()).await? == 0 {
                break;
            }
        }
        self.changed();
        Ok(done())
    }

    async fn mark_as_completed(&self, call: &Call) -> Result<Value> {
        let imports = self.engine().imports();
        let mut marked = false;
        for job in imports.by_nzo(&call.list("value")).await? {
            let folder = Roots::below(
                &self.0.parts.roots.ours(job.category.as_deref()),
                &job.destination,
            );
            marked |= imports.mark_completed(job.id, &folder).await?;
        }
        self.changed();
        Ok(json!({"status": marked}))
    }

    pub(super) async fn retry(&self, call: &Call) -> Result<Value> {
        let imports = self.engine().imports();
        let jobs = imports.by_nzo(&call.list("value")).await?;
        let Some(job) = jobs.into_iter().next() else {
            return Ok(error("item does not exist"));
        };
        if let Some(password) = call.text("password") {
            imports.add_passwords(job.id, vec![password.to_owned()]).await?;
        }
        let outcome = imports.retry(job.id).await?;
        self.changed();
        Ok(match outcome {
            RetryOutcome::Requeued(job) => json!({"status": true, "nzo_id": job.nzo_id}),
            RetryOutcome::NotFound => error("item does not exist"),
            RetryOutcome::NotRetryable(state) => {
                error(format!("the job is {state}; only a failed one can be retried"))
            }
            RetryOutcome::Duplicate(_) => error("its file is in the queue as another job"),
        })
    }

    pub(super) async fn retry_all(&self) -> Result<Value> {
        let imports = self.engine().imports();
        let filter = JobFilter {
            states: vec![JobState::Failed],
            limit: BATCH,
            offset: 0,
        };
        let mut again = Vec::new();
        for job in imports
            .jobs(filter)
            .await?
            .items
            .into_iter()
            .filter(|job| !job.archived)
        {
            if let RetryOutcome::Requeued(job) = imports.retry(job.id).await? {
                again.push(job.nzo_id);
            }
        }
        self.changed();
        Ok(json!({"status": again}))
    }
}
