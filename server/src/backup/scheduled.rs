//! Backups that are made by themselves, into a folder of which only they are thrown out again.

use super::{make, read};
use crate::{
    config::{BackupSettings, NotifyEvent},
    data::DataDir,
    notify::{Happening, Level, Notifier},
};
use altmount_store::Store;
use anyhow::{Context, Result};
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What the files' names begin and end with; the time stands between them.
const PREFIX: &str = "altmount-";
const SUFFIX: &str = ".tar";
/// The time, UTC: names in order are times in order.
const FORM: &str = "%Y%m%dT%H%M%SZ";
/// The wait after one that failed, where the next is not due earlier.
const AGAIN: Duration = Duration::from_secs(900);

/// How scheduled backups are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// When the last good one was made, that of an earlier run included.
    pub last: Option<Timestamp>,
    /// Why the last try failed, where it did.
    pub error: Option<String>,
    /// How many are kept now.
    pub kept: usize,
}

/// Makes backups by themselves. Clones share one state.
#[derive(Clone, Debug)]
pub struct Scheduled {
    /// How; `None` where none are made.
    pub settings: Option<BackupSettings>,
    status: Arc<Mutex<Status>>,
}

/// The times of the backups in a folder, the oldest first.
fn there(folder: &Path) -> Result<Vec<(Timestamp, PathBuf)>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut found: Vec<(Timestamp, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let time = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
            let time = DateTime::strptime(FORM, time).ok()?;
            let time = TimeZone::UTC.to_timestamp(time).ok()?;
            entry.file_type().ok()?.is_file().then(|| (time, entry.path()))
        })
        .collect();
    found.sort();
    Ok(found)
}

/// Removes all but the newest.
fn thin_out(folder: &Path, keep: usize) -> Result<usize> {
    let found = there(folder)?;
    let surplus = found.len().saturating_sub(keep);
    for (_, path) in &found[..surplus] {
        fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(found.len() - surplus)
}

impl Scheduled {
    /// With these settings.
    pub fn new(settings: Option<BackupSettings>) -> Self {
        Self {
            settings,
            status: Arc::default(),
        }
    }

    /// When the newest backup in a folder was made. Blocks.
    pub fn newest(folder: &Path) -> Option<Timestamp> {
        there(folder).ok()?.last().map(|(time, _)| *time)
    }

    /// How they are.
    pub fn status(&self) -> Status {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Begins; `turn` is held while one is made.
    pub fn start(
        &self,
        store: Store,
        data: DataDir,
        turn: Arc<tokio::sync::Mutex<()>>,
        notifier: Notifier,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) {
        let Some(settings) = self.settings.clone() else {
            return;
        };
        let (this, stop) = (self.clone(), stop.clone());
        tasks.spawn(async move {
            let folder = settings.folder.clone();
            // One that cannot be read now may be mounted later; the first try says so.
            let found = tokio::task::spawn_blocking(move || there(&folder).unwrap_or_default()).await;
            let found = found.unwrap_or_default();
            this.note(|status| {
                status.last = found.last().map(|(time, _)| *time);
                status.kept = found.len();
            });
            let mut failed = false;
            loop {
                let wait = match (failed, this.status().last) {
                    (true, _) => AGAIN.min(settings.every),
                    (false, None) => Duration::ZERO,
                    (false, Some(last)) => {
                        let since = Timestamp::now().duration_since(last);
                        settings
                            .every
                            .saturating_sub(Duration::try_from(since).unwrap_or_default())
                    }
                };
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(wait) => {}
                }
                let _turn = turn.lock().await;
                let made = tokio::select! {
                    // What it has begun goes with its folder.
                    () = stop.cancelled() => break,
                    made = one(&store, &data, &settings) => made,
                };
                failed = made.is_err();
                match made {
                    Ok((time, kept)) => this.note(|status| {
                        *status = Status {
                            last: Some(time),
                            error: None,
                            kept,
                        };
                    }),
                    Err(error) => {
                        let text = format!("{error:#}");
                        tracing::error!("a backup could not be made: {text}");
                        notifier.tell(Happening {
                            event: NotifyEvent::BackupFailed,
                            subject: "backup".to_owned(),
                            text: text.clone(),
                            level: Level::Failure,
                        });
                        this.note(|status| status.error = Some(text));
                    }
                }
            }
        });
    }
}

/// Makes one, reads it back, and throws out what is too old. Only a good one makes others go.
async fn one(store: &Store, data: &DataDir, settings: &BackupSettings) -> Result<(Timestamp, usize)> {
    let folder = settings.folder.clone();
    let making = folder.clone();
    let prepare = move || super::make_private(&making).map(|()| super::sweep(&making));
    tokio::task::spawn_blocking(prepare).await??;
    let time = Timestamp::now();
    let file = folder.join(format!("{PREFIX}{}{SUFFIX}", time.strftime(FORM)));
    make(store, data, &file).await?;
    let (path, keep) = (file.clone(), settings.keep);
    let kept = tokio::task::spawn_blocking(move || -> Result<usize> {
        let checked = read(&path, None);
        if let Err(error) = checked {
            // It would count as the newest.
            let _already_told = fs::remove_file(&path);
            return Err(error.context("it was made, and is not as it should be"));
        }
        thin_out(&folder, keep)
    })
    .await??;
    tracing::info!("made the backup {} and read it back", file.display());
    Ok((time, kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_oldest_of_its_own_go() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in [
            "altmount-20260101T000000Z.tar",
            "altmount-20260103T000000Z.tar",
            "altmount-20260102T000000Z.tar",
            "altmount-mine.tar",
            "altmount.tar",
            "film.mkv",
        ] {
            fs::write(folder.path().join(name), "x").expect("written");
        }
        assert_eq!(thin_out(folder.path(), 2).expect("done"), 2);
        let mut left: Vec<String> = fs::read_dir(folder.path())
            .expect("read")
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        left.sort();
        assert_eq!(
            left,
            [
                "altmount-20260102T000000Z.tar",
                "altmount-20260103T000000Z.tar",
                "altmount-mine.tar",
                "altmount.tar",
                "film.mkv"
            ]
        );
    }
}
