//! Making outputs anew: what is to be there by the configuration of today, against what is there.

use super::{
    Outputs,
    disk::Seen,
    make::{self, Wanted},
    store,
};
use crate::config::OutputSettings;
use altmount_engine::{Job, Output};
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
        let mut gone = Vec::new();
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
                gone.push(output.path.clone());
            }
            report.add("remove", &output, removed.err());
        }
        if !gone.is_empty() {
            self.rows.forget(gone).await.map_err(store)?;
        }
        for some in planned.chunks(make::AT_ONCE) {
            let wanted = some.iter().map(|(planned, at)| Wanted {
                planned,
                file: &files[*at],
            });
            self.rebuild_files(settings, wanted.collect(), apply, report)
                .await?;
        }
        Ok(())
    }

    async fn rebuild_files(
        &self,
        settings: &OutputSettings,
        wanted: Vec<Wanted<'_>>,
        apply: bool,
        report: &mut Rebuilt,
    ) -> Result<(), String> {
        let mut places = self.look(wanted).await?;
        let before = places.len();
        places.retain(|place| !matches!(place.seen, Ok(Seen::Wanted)));
        report.kept += (before - places.len()) as u64;
        let done = if apply {
            self.make(settings, &places)
                .await?
                .into_iter()
                .map(Some)
                .collect()
        } else {
            Vec::new()
        };
        let done = done.into_iter().chain(std::iter::repeat_with(|| None));
        for (place, done) in places.iter().zip(done) {
            let output = &place.wanted.planned.output;
            match (&place.seen, done) {
                (Ok(Seen::Foreign), _) => {
                    let error = "something that is not of this server is there".to_owned();
                    report.add("make", output, Some(error));
                }
                (Err(error), _) => report.add("make", output, Some(error.clone())),
                (Ok(seen), done) => {
                    let action = if *seen == Seen::Ours { "replace" } else { "make" };
                    let fault = done.and_then(Result::err);
                    report.add(action, output, fault.map(|fault| fault.to_string()));
                }
            }
        }
        Ok(())
    }
}
