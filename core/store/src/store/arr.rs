//! The *arr applications around.

use super::Store;
use crate::{
    ArrFile, ArrWork, ReplaceLimits, ReplaceVerdict, Result,
    arr::{self},
    now_ms,
};
use altmount_model::{FileId, JobId, ReleaseId, TableNo};

/// The store's part that is about *arr applications. Clones share the store.
#[derive(Clone, Debug)]
pub struct Arrs(Store);

impl Store {
    /// What is known of the *arr applications around.
    pub fn arrs(&self) -> Arrs {
        Arrs(self.clone())
    }
}

/// Runs on the writer, with what it needs moved into it.
macro_rules! write {
    ($self:ident, |$conn:ident| $body:expr) => {
        $self
            .0
            .0
            .writer
            .write(move |$conn| Box::pin(async move { $body.await }))
            .await
    };
}

impl Arrs {
    /// Asks for something to be done at `instance`, in `delay_ms` at the earliest; where it is wished for already, once. `thing` says
    /// what it is, `work` how, as JSON.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::Io`]; for all methods here.
    pub async fn wish(&self, instance: &str, thing: &str, work: &str, delay_ms: i64) -> Result<()> {
        let (instance, thing, work) = (instance.to_owned(), thing.to_owned(), work.to_owned());
        let now = now_ms();
        write!(self, |conn| arr::wish(
            conn,
            &instance,
            &thing,
            &work,
            now.saturating_add(delay_ms),
            now
        ))
    }

    /// An *arr has a new name: what is to be done there, what it has and what was replaced for it is known under that one.
    ///
    /// # Errors
    /// As for all.
    pub async fn rename(&self, from: &str, to: &str) -> Result<()> {
        let (from, to) = (from.to_owned(), to.to_owned());
        write!(self, |conn| arr::rename(conn, &from, &to))
    }

    /// What is to be done first at `instance`, now or later.
    ///
    /// # Errors
    /// As for all.
    pub async fn next(&self, instance: &str) -> Result<Option<ArrWork>> {
        let mut conn = self.0.0.readers.acquire().await?;
        arr::next(&mut conn, instance).await
    }

    /// How many things are to be done at `instance`.
    ///
    /// # Errors
    /// As for all.
    pub async fn waiting(&self, instance: &str) -> Result<u64> {
        let mut conn = self.0.0.readers.acquire().await?;
        arr::waiting(&mut conn, instance).await
    }

    /// A work is done. Where it was wished for again meanwhile, it is due anew at `again` (ms since 1970).
    ///
    /// # Errors
    /// As for all.
    pub async fn done(&self, work: ArrWork, again: i64) -> Result<()> {
        write!(self, |conn| arr::done(conn, &work, again))
    }

    /// A work could not be done; it is due again at `after` (ms since 1970).
    ///
    /// # Errors
    /// As for all.
    pub async fn failed(&self, id: i64, error: &str, after: i64) -> Result<()> {
        let error = error.to_owned();
        write!(self, |conn| arr::failed(conn, id, &error, after))
    }

    /// Notes what an *arr wants with a download of ours; one that is not ours is not noted.
    ///
    /// # Errors
    /// As for all.
    pub async fn grabbed(&self, instance: &str, nzo_id: &str, item: &str) -> Result<()> {
        let (instance, nzo_id, item) = (instance.to_owned(), nzo_id.to_owned(), item.to_owned());
        write!(self, |conn| arr::grabbed(
            conn,
            &instance,
            &nzo_id,
            &item,
            now_ms()
        ))
    }

    /// Which instance grabbed a download, and for what (JSON).
    ///
    /// # Errors
    /// As for all.
    pub async fn grab(&self, nzo_id: &str) -> Result<Option<(String, String)>> {
        let mut conn = self.0.0.readers.acquire().await?;
        arr::grab(&mut conn, nzo_id).await
    }

    /// Notes that an *arr has a file.
    ///
    /// # Errors
    /// As for all.
    pub async fn put_file(&self, file: ArrFile) -> Result<()> {
        write!(self, |conn| arr::put_file(conn, &file))
    }

    /// An *arr has moved a file; `false` where none was known there.
    ///
    /// # Errors
    /// As for all.
    pub async fn move_file(&self, instance: &str, from: &str, to: &str) -> Result<bool> {
        let (instance, from, to) = (instance.to_owned(), from.to_owned(), to.to_owned());
        write!(self, |conn| arr::move_file(conn, &instance, &from, &to))
    }

    /// An *arr has a file no more; answers what was known of it.
    ///
    /// # Errors
    /// As for all.
    pub async fn drop_file(&self, instance: &str, path: &str) -> Result<Option<ArrFile>> {
        let (instance, path) = (instance.to_owned(), path.to_owned());
        write!(self, |conn| arr::drop_file(conn, &instance, &path))
    }

    /// The files that an *arr has in a folder.
    ///
    /// # Errors
    /// As for all.
    pub async fn files_below(&self, instance: &str, folder: &str) -> Result<Vec<ArrFile>> {
        let mut conn = self.0.0.readers.acquire().await?;
        arr::files_below(&mut conn, instance, folder).await
    }

    /// Who has a file of the library.
    ///
    /// # Errors
    /// As for all.
    pub async fn files_of(&self, file: FileId) -> Result<Vec<ArrFile>> {
        let mut conn = self.0.0.readers.acquire().await?;
        arr::files_of(&mut conn, file).await
    }

    /// Whether any *arr has a file of a download.
    ///
    /// # Errors
    /// As for all.
    pub async fn holds(&self, nzo_id: &str) -> Result<bool> {
        let mut conn = self.0.0.readers.acquire().await?;
        arr::holds(&mut conn, nzo_id).await
    }

    /// Those of the download ids that are ours, with their jobs.
    ///
    /// # Errors
    /// As for all.
    pub async fn ours(&self, ids: &[String]) -> Result<Vec<(String, JobId)>> {
        let mut conn = self.0.0.readers.acquire().await?;
        arr::ours(&mut conn, ids).await
    }

    /// Whether a release may be replaced, which is counted where it may. With `force` it may in any case.
    ///
    /// # Errors
    /// As for all.
    pub async fn may_replace(
        &self,
        instance: &str,
        item: &str,
        fingerprint: &str,
        limits: ReplaceLimits,
        force: bool,
    ) -> Result<ReplaceVerdict> {
        let (instance, item, fingerprint) = (instance.to_owned(), item.to_owned(), fingerprint.to_owned());
        write!(self, |conn| arr::may_replace(
            conn,
            &instance,
            &item,
            &fingerprint,
            &limits,
            force,
            now_ms()
        ))
    }

    /// How many replacements there were in the last `window_ms`.
    ///
    /// # Errors
    /// As for all.
    pub async fn recent_replacements(&self, window_ms: i64) -> Result<u64> {
        let mut conn = self.0.0.readers.acquire().await?;
        arr::recent(&mut conn, now_ms().saturating_sub(window_ms)).await
    }

    /// Notes which downloads (download id, rule) are stuck at an instance, and forgets those that are not any more; answers since
    /// when each is, in ms since 1970.
    ///
    /// # Errors
    /// As for all.
    pub async fn stuck(&self, instance: &str, seen: Vec<(String, String)>) -> Result<Vec<i64>> {
        let instance = instance.to_owned();
        write!(self, |conn| arr::stuck(conn, &instance, &seen, now_ms()))
    }

    /// The numbers of a release's article tables.
    ///
    /// # Errors
    /// As for all.
    pub async fn tables(&self, release: ReleaseId) -> Result<Vec<TableNo>> {
        let mut conn = self.0.0.readers.acquire().await?;
        let numbers = arr::tables(&mut conn, release).await?;
        Ok(numbers.into_iter().map(TableNo).collect())
    }
}
