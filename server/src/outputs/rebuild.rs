//! Making outputs anew: what is to be there by the configuration of today, against what is there.

use super::{
    Outputs, blocking,
    disk::{self, Seen},
    plan::Planned,
    store,
};
use crate::config::OutputSettings;
use altmount_engine::{Job, Output, ReleaseFile};
use altmount_model::JobId;
use std::collections::HashSet;

/// Jobs that are looked at in one step.
const BATCH: u32 = 200;
/// Changes that are told one by one.
const TOLD: usize = 1000;

/// What is to be done with one file, or was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// `make`, `replace`, `remove`, or `blocked` where something else is in the way.
    pub action: &'static str,
    /// `symlink`, `strm` or `copy`.
    pub kind: &'static str,
    /// Where, as this machine sees it.
    pub path: String,
    /// Why it was not done.
    pub error: Option<String>,
}

/// What a rebuild would do, or did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// Outputs that are as they are to be.
    pub kept: u64,
    /// Outputs that are to be made.
    pub made: u64,
    /// Outputs that are to be replaced.
    pub replaced: u64,
    /// Outputs that are to be removed.
    pub removed: u64,
    /// Outputs that cannot be made or removed.
    pub blocked: u64,
    /// The first of the changes.
    pub changes: Vec<Change>,
}

impl Rebuilt {
    fn add(&mut self, action: &'static str, output: &Output, error: Option<String>) {
        let (count, action) = match (&error, action) {
            (Some(_), _) => (&mut self.blocked, "blocked"),
            (None, "make") => (&mut self.made, action),
            (None, "replace") => (&mut self.replaced, action),
            (None, _) => (&mut self.removed, action),
        };
        *count += 1;
        if self.changes.len() < TOLD {
            self.changes.push(Change {
                action,
                kind: output.kind.as_str(),
                path: output.path.clone(),
                error,
            });
        }
    }
}

impl Outputs {
    /// Compares the outputs of completed jobs with what is to be there, and with `apply` makes and removes what differs. Jobs that
    /// a download client has taken out of its history are left alone, unless `all` are to be looked at: what was made
    /// for them has been moved to its place.
    ///
    /// # Errors
    /// A text for people, where the store fails. What fails for one file is told with it.
    pub async fn rebuild(&self, apply: bool, all: bool) -> Result<Rebuilt, String> {
        let _alone = self.sweeping.lock().await;
        let settings = self.settings();
        let mut report = Rebuilt::default();
        let mut after = JobId(0);
        loop {
            let jobs = self.rows.completed(after, BATCH).await.map_err(store)?;
            let Some(last) = jobs.last() else {
                return Ok(report);
            };
            after = last.id;
            for job in &jobs {
                // What is not published yet is going to be.
                if job.storage.is_some() && (all || !job.archived) {
                    self.rebuild_one(&settings, job, apply, &mut report).await?;
                }
            }
        }
    }

    async fn rebuild_one(
        &self,
        settings: &OutputSettings,
        job: &Job,
        apply: bool,
        report: &mut Rebuilt,
    ) -> Result<(), String> {
        let Some(release) = job.release else { return Ok(()) };
        let files = self.rows.release_files(release).await.map_err(store)?;
        let planned = self.plan(settings, job, &files).await?;
        let wanted: HashSet<&str> = planned
            .iter()
            .map(|(planned, _)| planned.output.path.as_str())
            .collect();
        for output in self.rows.of_job(job.id).await.map_err(store)? {
            if wanted.contains(output.path.as_str()) {
                continue;
            }
            let removed = if apply {
                self.remove(&output).await.map(drop)
            } else {
                Ok(())
            };
            if apply && removed.is_ok() {
                self.rows.forget(vec![output.path.clone()]).await.map_err(store)?;
            }
            report.add("remove", &output, removed.err());
        }
        for (planned, at) in &planned {
            self.rebuild_file(settings, planned, &files[*at], apply, report)
                .await?;
        }
        Ok(())
    }

    async fn rebuild_file(
        &self,
        settings: &OutputSettings,
        planned: &Planned,
        file: &ReleaseFile,
        apply: bool,
        report: &mut Rebuilt,
    ) -> Result<(), String> {
        let known = self.rows.at(&planned.output.path).await.map_err(store)?;
        let wanted = planned.clone();
        let action = match blocking(move || disk::look(&wanted, known.as_ref())).await {
            Ok(Seen::Wanted) => {
                report.kept += 1;
                return Ok(());
            }
            Ok(Seen::Nothing) => "make",
            Ok(Seen::Ours) => "replace",
            Ok(Seen::Foreign) => {
                let error = "something that is not of this server is there".to_owned();
                report.add("make", &planned.output, Some(error));
                return Ok(());
            }
            Err(error) => {
                report.add("make", &planned.output, Some(error));
                return Ok(());
            }
        };
        let made = if apply {
            self.make(settings, planned, file).await
        } else {
            Ok(())
        };
        report.add(action, &planned.output, made.err());
        Ok(())
    }
}
