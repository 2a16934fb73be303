//! The host, as one import sees it.

use crate::{
    ImportLimits,
    error::{import_error_of_fetch, import_error_of_read},
    expand::{Nesting, expand},
    kept::{Kept, Waits},
    progress::{ArticleCounts, Progress, Stage},
    registered::Registered,
    services,
    staging::{Staging, permit},
    upload::Upload,
};
use altmount_model::{ArticleTable, Content, JobId, MessageId, TableNo};
use altmount_sdk::{
    ErrorKind, Handle, ImportContext, ImportError, Json, LogLevel, Result, VirtualFile,
    http::HttpHead,
    usenet::{ArticleAnswer, ArticleInfo, IdsRequest, Presence},
};
use altmount_store::Store;
use altmount_vfs::{Class, FetchError, Reader, TableSource, Vfs};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt, stream};
use serde::{Serialize, de::DeserializeOwned};
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

/// Message-ids that one `STAT` request to the article source has.
const STAT_CHUNK: usize = 1000;
/// Such requests at once.
const STAT_CHUNKS_AT_ONCE: usize = 16;
/// Longest line of an importer in the log, in bytes.
const LOG_LINE: usize = 4096;

/// An article, and when it was posted, in seconds since 1970, where that is known.
type Dated = (MessageId, Option<i64>);

/// The services that one import has, and what it has used of them.
pub(crate) struct JobContext {
    /// `None` where nothing is stored of the import.
    pub(crate) job: Option<JobId>,
    pub(crate) importer: Arc<Registered>,
    pub(crate) upload: Upload,
    pub(crate) staging: Arc<Staging>,
    pub(crate) vfs: Arc<Vfs>,
    pub(crate) store: Store,
    pub(crate) limits: ImportLimits,
    pub(crate) progress: Arc<Progress>,
    pub(crate) stop: CancellationToken,
    /// Where the queued file, or the one inside of it, lies.
    pub(crate) nesting: Nesting,
    /// Articles that were asked for and that nobody waits for any more.
    kept: Arc<Kept>,
    /// The reader of handle 1, 2, ...
    readers: Mutex<Vec<Arc<Reader>>>,
    use_of: Arc<Usage>,
}

/// What the queued file and all files inside of it use together.
struct Usage {
    in_flight: Semaphore,
    /// Services that open many contents run one after the other.
    services: Semaphore,
    bytes: AtomicU64,
}

impl JobContext {
    #[expect(
        clippy::too_many_arguments,
        reason = "one import's parts, put together in one place"
    )]
    pub(crate) fn new(
        job: Option<JobId>,
        importer: Arc<Registered>,
        upload: Upload,
        staging: Arc<Staging>,
        vfs: Arc<Vfs>,
        store: Store,
        limits: ImportLimits,
        progress: Arc<Progress>,
        stop: CancellationToken,
        nesting: Nesting,
        kept: Arc<Kept>,
    ) -> Self {
        let in_flight = Semaphore::new(limits.max_in_flight.clamp(1, Semaphore::MAX_PERMITS));
        Self {
            job,
            importer,
            upload,
            staging,
            vfs,
            store,
            limits,
            progress,
            stop,
            nesting,
            kept,
            readers: Mutex::default(),
            use_of: Arc::new(Usage {
                in_flight,
                services: Semaphore::new(1),
                bytes: AtomicU64::new(0),
            }),
        }
    }

    /// The services of an importer that is given a file inside of this one: the same limits and the same staging area.
    pub(crate) fn inner(
        &self,
        importer: Arc<Registered>,
        upload: Upload,
        nesting: Nesting,
        progress: Arc<Progress>,
    ) -> Self {
        Self {
            job: self.job,
            importer,
            upload,
            staging: Arc::clone(&self.staging),
            vfs: Arc::clone(&self.vfs),
            store: self.store.clone(),
            limits: self.limits.clone(),
            progress,
            stop: self.stop.child_token(),
            nesting,
            kept: Arc::clone(&self.kept),
            readers: Mutex::default(),
            use_of: Arc::clone(&self.use_of),
        }
    }

    fn reader(&self, handle: Handle) -> Result<Arc<Reader>> {
        let readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        handle
            .0
            .checked_sub(1)
            .and_then(|at| usize::try_from(at).ok())
            .and_then(|at| readers.get(at).cloned())
            .ok_or_else(|| ImportError::new(ErrorKind::Invalid, format!("there is no handle {}", handle.0)))
    }

    /// Counts bytes before they are asked for, or as soon as their number is known.
    pub(crate) fn charge(&self, bytes: u64) -> Result<()> {
        let limit = self.limits.max_bytes_read;
        let charged = self
            .use_of
            .bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|sum| *sum <= limit)
            });
        match charged {
            Ok(_) => {
                let read = &self.importer.counters.bytes_read;
                read.fetch_add(bytes, Ordering::Relaxed);
                Ok(())
            }
            Err(_) => Err(ImportError::new(
                ErrorKind::Limit,
                format!("the import reads more than {limit} bytes"),
            )),
        }
    }

    pub(crate) async fn permit(&self) -> Result<SemaphorePermit<'_>> {
        let permit = self.use_of.in_flight.acquire().await;
        permit.map_err(|_| ImportError::new(ErrorKind::Internal, "the import's operations are closed"))
    }

    /// Waits for the end of another such service of the same import.
    pub(crate) async fn service_turn(&self) -> Result<SemaphorePermit<'_>> {
        let permit = self.use_of.services.acquire().await;
        permit.map_err(|_| ImportError::new(ErrorKind::Internal, "the import's services are closed"))
    }

    /// A reader of a content whose graph and sources are checked.
    pub(crate) async fn reader_of(&self, content: &Content) -> Result<Reader> {
        self.staging.check_content(&self.importer, content)?;
        let tables: Arc<dyn TableSource> = Arc::clone(&self.staging) as _;
        let opened = self.vfs.open(Arc::new(content.clone()), tables, Class::Import);
        opened.await.map_err(|error| import_error_of_read(&error))
    }

    async fn articles(&self, articles: Vec<Dated>) -> Result<Vec<ArticleAnswer>> {
        let _doing = self.progress.doing(Stage::Reading);
        let one = async |(id, posted): Dated| -> Result<ArticleAnswer> {
            let permit = self.permit().await?;
            let waits = Waits::new(&self.kept, self.vfs.fetching(id.as_str(), Class::Import, posted));
            let fetched = waits.fetching().head().await;
            drop(waits);
            drop(permit);
            self.progress.count(ArticleCounts {
                read: 1,
                ..ArticleCounts::default()
            });
            Ok(match fetched {
                Ok((info, len)) => {
                    self.charge(len)?;
                    ArticleAnswer::Ok(ArticleInfo {
                        name: info.name.map(text_of_name),
                        file_size: info.file_size,
                        part: info.part,
                        total: info.total,
                        offset: info.offset,
                        len,
                    })
                }
                Err(error) => ArticleAnswer::Err(import_error_of_fetch(&error)),
            })
        };
        stream::iter(articles)
            .map(one)
            .buffered(self.limits.max_in_flight.max(1))
            .try_collect()
            .await
    }

    async fn stat(&self, articles: Vec<Dated>) -> Result<Vec<Presence>> {
        if articles.is_empty() {
            return Ok(Vec::new());
        }
        let _doing = self.progress.doing(Stage::Checking);
        let chunks: Vec<Vec<Dated>> = articles.chunks(STAT_CHUNK).map(<[_]>::to_vec).collect();
        let one = async |chunk: Vec<Dated>| -> Result<Vec<Presence>> {
            let _permit = self.permit().await?;
            let asked: Vec<(&str, Option<i64>)> =
                chunk.iter().map(|(id, posted)| (id.as_str(), *posted)).collect();
            let answers = self.vfs.stat_posted(&asked, Class::Import).await;
            if answers.len() != asked.len() {
                return Err(ImportError::new(
                    ErrorKind::Internal,
                    format!("{} of {} articles were answered for", answers.len(), asked.len()),
                ));
            }
            self.progress.count(ArticleCounts {
                checked: answers.len() as u64,
                ..ArticleCounts::default()
            });
            Ok(answers.into_iter().map(presence).collect())
        };
        let all: Vec<Vec<Presence>> = stream::iter(chunks)
            .map(one)
            .buffered(STAT_CHUNKS_AT_ONCE)
            .try_collect()
            .await?;
        Ok(all.concat())
    }

    async fn http_head(&self, url: String) -> Result<HttpHead> {
        let _doing = self.progress.doing(Stage::Reading);
        let _permit = self.permit().await?;
        let probe = self
            .vfs
            .http_probe(&url)
            .await
            .map_err(|error| import_error_of_read(&error))?;
        Ok(HttpHead {
            len: probe.len,
            etag: probe.etag,
            last_modified: probe.last_modified,
            accept_ranges: probe.accept_ranges,
            file_name: probe.file_name,
            // Not where redirects end: that is often a signed link that does not last.
            url,
        })
    }

    fn dated(&self, method: &str, params: Json) -> Result<Vec<Dated>> {
        let request: IdsRequest = parse(method, params)?;
        if request.ids.len() > self.limits.max_ids_per_call {
            return Err(ImportError::new(
                ErrorKind::Limit,
                format!(
                    "{method} is asked for {} articles at once, at most {} are answered",
                    request.ids.len(),
                    self.limits.max_ids_per_call
                ),
            ));
        }
        request.into_articles()
    }
}

#[async_trait]
impl ImportContext for JobContext {
    fn log(&self, level: LogLevel, message: &str) {
        let (mut end, id) = (message.len().min(LOG_LINE), &self.importer.manifest.id);
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        let (message, job) = (&message[..end], self.job.map(|job| job.0));
        match level {
            LogLevel::Error => tracing::error!(job.id = job, plugin.id = id, "{message}"),
            LogLevel::Warn => tracing::warn!(job.id = job, plugin.id = id, "{message}"),
            LogLevel::Info => tracing::info!(job.id = job, plugin.id = id, "{message}"),
            _ => tracing::debug!(job.id = job, plugin.id = id, "{message}"),
        }
    }

    fn progress(&self, done: u64, total: u64) {
        self.progress.set(done, total);
    }

    fn is_cancelled(&self) -> bool {
        self.stop.is_cancelled()
    }

    fn emit(&self, mut file: VirtualFile) -> Result<()> {
        file.path = self.nesting.place(&file.path)?;
        self.staging.emit(&self.importer, file)?;
        self.importer.counters.files.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn define_articles(&self, table: ArticleTable) -> Result<TableNo> {
        let listed = table.count() as u64;
        let number = self.staging.define(table)?;
        self.progress.count(ArticleCounts {
            listed,
            ..ArticleCounts::default()
        });
        Ok(number)
    }

    async fn open(&self, content: &Content) -> Result<Handle> {
        let too_many = || {
            let text = format!("the import opens more than {} contents", self.limits.max_open);
            ImportError::new(ErrorKind::Limit, text)
        };
        let held = |readers: &Mutex<Vec<_>>| readers.lock().unwrap_or_else(PoisonError::into_inner).len();
        if held(&self.readers) >= self.limits.max_open {
            return Err(too_many());
        }
        let reader = self.reader_of(content).await?;
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() >= self.limits.max_open {
            return Err(too_many());
        }
        readers.push(Arc::new(reader));
        Ok(Handle(readers.len() as u64))
    }

    async fn read(&self, handle: Handle, offset: u64, len: u64) -> Result<Bytes> {
        if handle == Handle::UPLOAD {
            return self.upload.read(offset, len).await;
        }
        let _doing = self.progress.doing(Stage::Reading);
        let reader = self.reader(handle)?;
        let len = len.min(reader.len().saturating_sub(offset));
        if len == 0 {
            return Ok(Bytes::new());
        }
        if len > self.limits.max_read {
            return Err(ImportError::new(
                ErrorKind::Limit,
                format!(
                    "a read of {len} bytes is too long; read at most {} at once",
                    self.limits.max_read
                ),
            ));
        }
        self.charge(len)?;
        let _permit = self.permit().await?;
        let read_at = async |offset, len| {
            let read = reader.read_at(offset, len).await;
            read.map_err(|error| import_error_of_read(&error))
        };
        let first = read_at(offset, len).await?;
        if first.len() as u64 == len {
            return Ok(first);
        }
        let mut all = BytesMut::with_capacity(len as usize);
        all.extend_from_slice(&first);
        while (all.len() as u64) < len {
            let done = all.len() as u64;
            let more = read_at(offset + done, len - done).await?;
            if more.is_empty() {
                let text = format!("the content ended {} bytes early", len - done);
                return Err(ImportError::new(ErrorKind::Io, text));
            }
            all.extend_from_slice(&more);
        }
        Ok(all.freeze())
    }

    fn len(&self, handle: Handle) -> Result<u64> {
        if handle == Handle::UPLOAD {
            return Ok(self.upload.len());
        }
        Ok(self.reader(handle)?.len())
    }

    async fn call(&self, method: &str, params: Json) -> Result<Json> {
        self.importer.counters.calls.fetch_add(1, Ordering::Relaxed);
        match method {
            "usenet.articles" => {
                permit(&self.importer, "open:usenet")?;
                json_of(method, &self.articles(self.dated(method, params)?).await?)
            }
            "usenet.stat" => {
                permit(&self.importer, "open:usenet")?;
                json_of(method, &self.stat(self.dated(method, params)?).await?)
            }
            "http.head" => {
                #[derive(serde::Deserialize)]
                struct Params {
                    url: String,
                }
                permit(&self.importer, "open:http")?;
                let Params { url } = parse(method, params)?;
                json_of(method, &self.http_head(url).await?)
            }
            "archive.map" => {
                permit(&self.importer, method)?;
                json_of(method, &services::map(self, parse(method, params)?).await?)
            }
            "par2.names" => {
                permit(&self.importer, method)?;
                json_of(method, &services::names(self, parse(method, params)?).await?)
            }
            "library.exists" => {
                permit(&self.importer, method)?;
                let request = parse(method, params)?;
                json_of(method, &services::exists(&self.store, request).await?)
            }
            "expand" => {
                permit(&self.importer, "expand")?;
                let nested = parse(method, params)?;
                json_of(method, &expand(self, nested).await?)
            }
            _ => {
                let name: String = method.chars().take(80).collect();
                Err(ImportError::new(
                    ErrorKind::Unsupported,
                    format!(
                        "the host has no service '{}', there are: archive.map, expand, http.head, library.exists, par2.names, usenet.articles, usenet.stat",
                        name.escape_default()
                    ),
                ))
            }
        }
    }
}

fn parse<T: DeserializeOwned>(method: &str, params: Json) -> Result<T> {
    serde_json::from_value(params).map_err(|error| {
        ImportError::new(
            ErrorKind::Invalid,
            format!("{method} cannot be asked so: {error}"),
        )
    })
}

fn json_of<T: Serialize>(method: &str, answer: &T) -> Result<Json> {
    serde_json::to_value(answer).map_err(|error| {
        let text = format!("the answer to {method} has no JSON form: {error}");
        ImportError::new(ErrorKind::Internal, text)
    })
}

/// Three-valued: whatever is not a clear answer is unknown.
fn presence(answer: Result<bool, FetchError>) -> Presence {
    match answer {
        Ok(true) => Presence::Present,
        Ok(false) | Err(FetchError::Missing { .. }) => Presence::Missing,
        // Damaged everywhere, but there.
        Err(FetchError::Corrupt { .. }) => Presence::Present,
        Err(_) => Presence::Unknown,
    }
}

/// yEnc 1.3 says nothing of the name's encoding: UTF-8 where it is valid, else Latin-1, which always is.
fn text_of_name(name: Vec<u8>) -> String {
    String::from_utf8(name).unwrap_or_else(|error| error.into_bytes().into_iter().map(char::from).collect())
}
