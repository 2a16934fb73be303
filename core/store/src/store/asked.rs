//! Jobs that were asked for, as long as nothing is written: scripts and download clients ask for a job again and again while it runs, and
//! of what that costs most is the way to the database's threads and back.

use crate::Job;
use altmount_model::JobId;
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// How many jobs are kept.
const MOST: usize = 64;

/// Jobs as they were in one state of the database, see [`crate::writer::Changes`].
#[derive(Debug, Default)]
pub(crate) struct Asked(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    state: u64,
    jobs: HashMap<JobId, Job>,
}

impl Asked {
    /// The job, where it is known and nothing was written since.
    pub(crate) fn job(&self, state: u64, id: JobId) -> Option<Job> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (kept.state == state)
            .then(|| kept.jobs.get(&id).cloned())
            .flatten()
    }

    /// Keeps a job that was read in this state, or behind it. Of an older one it is of no use.
    pub(crate) fn keep(&self, state: u64, job: &Job) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state < kept.state {
            return;
        }
        if state > kept.state || kept.jobs.len() >= MOST {
            kept.jobs.clear();
            kept.state = state;
        }
        kept.jobs.insert(job.id, job.clone());
    }

    /// Forgets all of them.
    pub(crate) fn clear(&self) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.jobs.clear();
    }
}

#[cfg(test)]
mod tests {
    use crate::{JobState, NewJob, Origin, Passwords, Store, StoreErrorKind, Submitted, now_ms};
    use altmount_model::{JobId, VPath};
    use bytes::Bytes;
    use std::time::Duration;

    async fn submit(store: &Store, key: &str) -> JobId {
        let blob = store
            .put_blob(Bytes::from_static(b"<nzb/>"))
            .await
            .expect("a blob");
        let new = NewJob {
            source_path: format!("/in/{key}"),
            source_key: key.to_owned(),
            file_name: key.to_owned(),
            size: 6,
            blob,
            destination: VPath::new(key).expect("a path"),
            delete_source: false,
            passwords: Passwords::default(),
            priority: 0,
            category: None,
            wanted_importer: None,
            name: key.to_owned(),
            bytes: 0,
            paused: false,
            url: None,
            fetched: true,
            origin: Origin::default(),
        };
        match store.submit(new).await.expect("submits") {
            Submitted::Accepted(job) => job.id,
            Submitted::Duplicate(job) => panic!("{job} is there"),
        }
    }

    async fn state(store: &Store, id: JobId) -> JobState {
        store.job(id).await.expect("reads").expect("is there").state
    }

    #[tokio::test]
    async fn who_asks_again_is_answered_from_memory_until_something_is_written() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::open(dir.path()).await.expect("opens");
        let id = submit(&store, "a").await;
        assert_eq!(state(&store, id).await, JobState::Queued);
        let lease = Duration::from_secs(60);
        let claimed = store.claim("me", lease, now_ms()).await.expect("claims");
        assert_eq!(claimed.map(|job| job.id), Some(id));
        assert_eq!(state(&store, id).await, JobState::Running);
        store.cancel(id).await.expect("asks for it");
        assert!(store.cancelled(id, "me").await.expect("cancels"));
        assert_eq!(state(&store, id).await, JobState::Cancelled);
        // There is nobody left to ask.
        store.0.readers.close().await;
        assert_eq!(state(&store, id).await, JobState::Cancelled);
        store.set_setting("another", "thing").await.expect("writes");
        let error = store.job(id).await.expect_err("asks the database");
        assert_eq!(error.kind(), StoreErrorKind::Closed);
    }

    #[tokio::test]
    async fn what_was_read_before_a_change_or_while_one_is_made_is_not_kept() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::open(dir.path()).await.expect("opens");
        let id = submit(&store, "a").await;
        let job = store.job(id).await.expect("reads").expect("is there");
        let changes = store.0.writer.changes();
        let before = changes.state().expect("nothing changes");
        assert!(store.0.asked.job(before, id).is_some());
        let change = changes.change();
        assert_eq!(changes.state(), None);
        drop(change);
        let after = changes.state().expect("nothing changes");
        assert!(store.0.asked.job(after, id).is_none());
        store.0.asked.keep(after, &job);
        store.0.asked.keep(before, &job);
        assert!(store.0.asked.job(after, id).is_some());
        // No more than so many are kept.
        for n in 0..200 {
            let mut other = job.clone();
            other.id = JobId(1000 + n);
            store.0.asked.keep(after, &other);
        }
        let kept = (0..200)
            .filter(|n| store.0.asked.job(after, JobId(1000 + n)).is_some())
            .count();
        assert!((1..=super::MOST).contains(&kept), "{kept}");
    }
}
