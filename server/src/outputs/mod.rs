//! Outputs: how a finished release reaches a library beside the library itself.
//!
//! [`plan`] says which files are to be there and what each is; [`disk`] makes and removes them, and looks first whether what
//! is there is ours; [`copy`] writes the bytes of those that are copied. This module puts them together as the
//! engine's [`Publisher`]: the rows that name the files are stored before the files are made, so that none is ever
//! forgotten, and a release counts as completed when what download clients are told of can be read.
//!
//! What somebody has moved away is his: it is neither made again nor removed.

mod again;
mod check;
mod copy;
mod disk;
mod make;
mod plan;
mod rebuild;
pub mod stray;

pub use check::{check, has_fuse};
pub use rebuild::{Change, Rebuilt};

use crate::{
    config::{OutputSettings, OutputWay},
    links::LinkKey,
};
use altmount_engine::{
    DeleteOutcome, Engine, Job, Library, Output, OutputKind, Outputs as Rows, Publication, Publisher,
    ReleaseFile, StoreError,
};
use altmount_model::{FileId, JobId, ReleaseId, VPath};
use async_trait::async_trait;
use copy::Copier;
use disk::Owner;
use plan::Planned;
use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};
use tokio::sync::Mutex;

/// Rows that are removed in one step.
const BATCH: u32 = 500;
/// Rows that are made again in one step.
const BACK: u32 = 10_000;

/// Makes and removes the outputs of releases.
#[derive(Debug)]
pub struct Outputs {
    /// Exchanged as a whole; what is under way goes on with those that it began with.
    settings: RwLock<Arc<OutputSettings>>,
    library: Library,
    rows: Rows,
    key: LinkKey,
    copier: Copier,
    /// Held while files are removed or made anew for all releases: two of these at once would undo each other.
    sweeping: Mutex<()>,
}

/// What became of a release whose job a download client has deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discarded {
    /// The release is gone from the library, and everything that was made for it.
    All,
    /// What was left of the outputs is gone. The release stays: somebody has moved a part of it to a place of his own.
    Leftovers,
}

/// A failure of the store as an output's.
fn store(error: StoreError) -> String {
    error.to_string()
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(format!("a thread for disk work failed: {error}")))
}

impl Outputs {
    /// The outputs of an engine's releases.
    pub fn new(engine: &Engine, settings: OutputSettings, key: LinkKey) -> Arc<Self> {
        let library = engine.library().clone();
        Arc::new(Self {
            copier: Copier::new(library.clone(), settings.copy.as_ref()),
            library,
            rows: engine.outputs(),
            key,
            settings: RwLock::new(Arc::new(settings)),
            sweeping: Mutex::default(),
        })
    }

    /// The settings now.
    pub fn settings(&self) -> Arc<OutputSettings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes other outputs from now on. What was made stays where it is; a rebuild brings it up to date.
    pub fn replace(&self, settings: OutputSettings) {
        self.copier.set(settings.copy.as_ref());
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    /// Whether anything that was published could have other outputs now.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn has_published(&self) -> Result<bool, StoreError> {
        let first = self.rows.completed(JobId(0), 1).await?;
        Ok(!first.is_empty())
    }

    /// The folder, as this machine sees it, that releases of a category are told to download clients in; the library itself
    /// where that is no folder of this machine.
    pub fn root(&self, category: Option<&str>) -> PathBuf {
        root(&self.settings(), category)
    }

    /// Makes a folder of the outputs that is to be there before there is anything in it.
    ///
    /// # Errors
    /// A text for people.
    pub async fn make_folder(&self, folder: PathBuf) -> Result<(), String> {
        let owner = Owner::of(&self.settings());
        blocking(move || disk::make_folder(&folder, owner)).await
    }

    /// A signed link to a file, where addresses are configured; `None` where they are not, or there is no such file.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn link(&self, file: FileId) -> Result<Option<String>, StoreError> {
        let settings = self.settings();
        let Some((_, base)) = &settings.strm else {
            return Ok(None);
        };
        let Some(path) = self.library.path_of(file).await? else {
            return Ok(None);
        };
        let version = self.rows.link_version(file).await?;
        Ok(Some(plan::address(base, &self.key.link(file.0, version, &path))))
    }

    /// A signed link to a file, from the server's own address on; `None` where there is no such file.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn signed_path(&self, file: FileId) -> Result<Option<String>, StoreError> {
        let Some(path) = self.library.path_of(file).await? else {
            return Ok(None);
        };
        let version = self.rows.link_version(file).await?;
        Ok(Some(self.key.link(file.0, version, &path)))
    }

    /// The listed files of a release.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn files(&self, release: ReleaseId) -> Result<Vec<ReleaseFile>, StoreError> {
        self.rows.release_files(release).await
    }

    /// Makes every signed link of these files that there is by now worthless. New ones are made by a rebuild.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn revoke(&self, files: Vec<FileId>) -> Result<u64, StoreError> {
        self.rows.revoke_links(files).await
    }

    /// Whether this is the signature of the file's links that are worth something now.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn admits(&self, file: FileId, signature: &str) -> Result<bool, StoreError> {
        let version = self.rows.link_version(file).await?;
        Ok(self.key.admits(file.0, version, signature))
    }

    /// A job's entry was deleted by a download client, with its files. Removes what is left of them where it was made, and the
    /// release where nobody has taken any of it. With `keep` somebody is known to have it.
    ///
    /// # Errors
    /// A text for people.
    pub async fn discard(&self, job: &Job, keep: bool) -> Result<Discarded, String> {
        let _alone = self.sweeping.lock().await;
        let mut outputs = Vec::new();
        for output in self.rows.of_job(job.id).await.map_err(store)? {
            let was_there = self.remove(&output).await?;
            outputs.push((output, was_there));
        }
        // A copy needs no library: who takes it takes nothing of ours.
        let taken = outputs
            .iter()
            .any(|(output, was_there)| output.kind != OutputKind::Copy && !was_there);
        if taken || keep {
            let paths = outputs.into_iter().map(|(output, _)| output.path).collect();
            self.rows.forget(paths).await.map_err(store)?;
            return Ok(Discarded::Leftovers);
        }
        let done = self.delete_release(job).await?;
        if done == Discarded::All {
            // It may be in the trash, from which they come back with it.
            self.rows.removed(outputs).await.map_err(store)?;
        } else {
            let paths = outputs.into_iter().map(|(output, _)| output.path).collect();
            self.rows.forget(paths).await.map_err(store)?;
        }
        Ok(done)
    }

    async fn delete_release(&self, job: &Job) -> Result<Discarded, String> {
        let Some(release) = job.release else {
            return Ok(Discarded::All);
        };
        let release = self.library.release(release).await.map_err(store)?;
        let Some(folder) = release.and_then(|facts| facts.release.folder) else {
            return Ok(Discarded::All);
        };
        // One that a person has put elsewhere is his.
        if self.library.path_of(folder).await.map_err(store)?.as_ref() != Some(&job.destination) {
            return Ok(Discarded::Leftovers);
        }
        match self.library.delete_id(folder).await.map_err(store)? {
            DeleteOutcome::Deleted { .. } | DeleteOutcome::NotFound => Ok(Discarded::All),
            DeleteOutcome::Root => Ok(Discarded::Leftovers),
        }
    }

    /// Removes an output where it is ours and there, with the folders that it leaves empty; `false` where nothing of ours is
    /// there any more.
    async fn remove(&self, output: &Output) -> Result<bool, String> {
        let output = output.clone();
        blocking(move || disk::remove(&output)).await
    }

    /// Removes what a try with other settings has made for a release of these files.
    async fn remove_others(&self, job: &Job, planned: &[(Planned, usize)]) -> Result<(), String> {
        let wanted: HashSet<&str> = planned
            .iter()
            .map(|(planned, _)| planned.output.path.as_str())
            .collect();
        let (mut gone, mut failed) = (Vec::new(), None);
        for output in self.rows.of_job(job.id).await.map_err(store)? {
            if wanted.contains(output.path.as_str()) {
                continue;
            }
            match self.remove(&output).await {
                Ok(_) => gone.push(output.path),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        if !gone.is_empty() {
            self.rows.forget(gone).await.map_err(store)?;
        }
        failed.map_or(Ok(()), Err)
    }

    async fn plan(
        &self,
        settings: &OutputSettings,
        job: &Job,
        files: &[ReleaseFile],
    ) -> Result<Vec<(Planned, usize)>, String> {
        let mut versions = Vec::new();
        if settings.ways(job.category.as_deref()).contains(&OutputWay::Strm) {
            let ids: Vec<FileId> = files.iter().map(|file| file.entry.id).collect();
            versions = self.rows.link_versions(&ids).await.map_err(store)?;
        }
        plan::plan(settings, &self.key, job, files, &versions)
    }

    /// Checks that what is told to download clients is there and can be read.
    async fn check(
        settings: &OutputSettings,
        job: &Job,
        storage: &Path,
        planned: &[(Planned, usize)],
        files: &[ReleaseFile],
    ) -> Result<(), String> {
        let way = settings.ways(job.category.as_deref()).first().copied();
        if way.and_then(|way| settings.root(way)).is_none() {
            // The library is no folder of this machine.
            return Ok(());
        }
        let Some(first) = files.iter().max_by_key(|file| file.entry.size) else {
            return Ok(());
        };
        let told = planned
            .iter()
            .find(|(planned, at)| {
                files[*at].entry.id == first.entry.id && Path::new(&planned.output.path).starts_with(storage)
            })
            .map_or_else(
                || below(storage, &first.path),
                |(planned, _)| PathBuf::from(&planned.output.path),
            );
        let roots: Vec<PathBuf> = [
            settings.library.clone(),
            settings.symlinks.as_ref().map(|(_, target)| target.clone()),
        ]
        .into_iter()
        .flatten()
        .collect();
        let (folder, empty) = (storage.to_owned(), first.entry.size == 0);
        blocking(move || disk::readable(&folder, &told, &roots, empty)).await
    }
}

fn root(settings: &OutputSettings, category: Option<&str>) -> PathBuf {
    let way = settings.ways(category).first().copied();
    let root = way.and_then(|way| settings.root(way));
    root.unwrap_or(Path::new("/")).to_owned()
}

/// A path below a folder.
fn below(folder: &Path, path: &VPath) -> PathBuf {
    let mut full = folder.to_owned();
    full.extend(path.components());
    full
}

#[async_trait]
impl Publisher for Outputs {
    async fn publish(&self, publication: &Publication) -> Result<PathBuf, String> {
        let Publication { job, files } = publication;
        let settings = self.settings();
        let storage = below(&root(&settings, job.category.as_deref()), &job.destination);
        if files.is_empty() {
            // It was deleted before it was published: there is nothing to wait for.
            return Ok(storage);
        }
        let planned = self.plan(&settings, job, files).await?;
        self.remove_others(job, &planned).await?;
        self.make_all(&settings, &planned, files).await?;
        Self::check(&settings, job, &storage, &planned, files).await?;
        Ok(storage)
    }

    async fn bring_back(&self) -> Result<bool, String> {
        let settings = self.settings();
        let mut back = self.rows.back(BACK).await.map_err(store)?;
        // What is made in a moment does not wait for what takes hours.
        back.sort_by_key(|output| output.kind == OutputKind::Copy);
        let mut failed = Vec::new();
        for some in back.chunk_by(|a, b| (a.kind == OutputKind::Copy) == (b.kind == OutputKind::Copy)) {
            let step = match some.first() {
                // Each is there as soon as it is whole.
                Some(output) if output.kind == OutputKind::Copy => 1,
                _ => make::AT_ONCE,
            };
            for some in some.chunks(step) {
                failed.append(&mut self.make_again(&settings, some).await?);
            }
        }
        match failed.first() {
            Some(error) => Err(format!("{error} ({} in all)", failed.len())),
            None => Ok(!back.is_empty()),
        }
    }

    async fn tidy(&self) -> Result<bool, String> {
        let _alone = self.sweeping.lock().await;
        let mut any = false;
        loop {
            let orphans = self.rows.orphans(BATCH).await.map_err(store)?;
            if orphans.is_empty() {
                return Ok(any);
            }
            let mut done = Vec::with_capacity(orphans.len());
            let mut failed = Vec::new();
            for orphan in orphans {
                match self.remove(&orphan).await {
                    Ok(was_there) => done.push((orphan, was_there)),
                    Err(error) => failed.push(error),
                }
            }
            let some = !done.is_empty();
            any |= some;
            self.rows.removed(done).await.map_err(store)?;
            if let Some(error) = failed.first()
                && (!some || failed.len() >= BATCH as usize)
            {
                return Err(format!("{error} ({} in all)", failed.len()));
            }
        }
    }
}
