//! Files that lack articles: noted when a read or a check meets the first one, confirmed later, and told to whoever listens.
//!
//! A read costs nothing for it but a place in a bounded queue. Whatever is done because of a missing article waits for the
//! second verdict, for which the news servers are asked anew; an outage is no verdict at all.

use crate::{Library, OpenError, events::Event, shared::Shared};
use altmount_model::{ByteRange, FileId};
use altmount_store::{
    Asked, HealthRecord, HealthRecords, HealthState, HealthTimes, MissingArticle, Page, Result, now_ms,
};
use altmount_vfs::{Class, Misses, PostedArticle, Reader, Vfs};
use futures::{StreamExt, stream};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};
use tokio::sync::{Semaphore, mpsc};

/// Told misses that wait to be noted. The next read of the same bytes tells of them again.
pub(crate) const MOST_WAITING: usize = 1024;
/// Message-ids in one look whether articles are there.
const STAT_CHUNK: usize = 1000;
/// Such looks at once.
const STAT_CHUNKS_AT_ONCE: usize = 4;
/// Articles that are asked for at once.
const ASKED_AT_ONCE: usize = 8;
/// Articles of one file that a check looks at.
const MOST_ARTICLES: usize = 4 << 20;
/// Checks of whole files at once.
const CHECKS_AT_ONCE: usize = 2;
/// The wait after the store has failed.
const PAUSE: Duration = Duration::from_secs(5);

/// A file, and an article of it that is missing.
pub(crate) type Missed = (FileId, Arc<str>);

/// How a read tells of what it found missing.
pub(crate) struct Told {
    file: FileId,
    to: mpsc::Sender<Missed>,
}

impl Told {
    pub(crate) fn of(shared: &Shared, file: FileId) -> Arc<dyn Misses> {
        Arc::new(Self {
            file,
            to: shared.misses.clone(),
        })
    }
}

impl Misses for Told {
    fn missing(&self, id: &str) {
        // Where nobody keeps up, who reads on will say it again.
        let _full = self.to.try_send((self.file, id.into()));
    }
}

/// What came of a check of a whole file.
#[derive(Clone, Debug)]
pub struct Checked {
    /// How many articles the file has.
    pub articles: u64,
    /// How many of them every provider group denies to have.
    pub missing: u64,
    /// How many nobody could say anything of.
    pub unknown: u64,
    /// What is noted of the file now.
    pub record: Option<HealthRecord>,
}

/// Which files are damaged. Clones share one engine.
#[derive(Clone)]
pub struct Health {
    shared: Arc<Shared>,
    library: Library,
    records: HealthRecords,
    times: HealthTimes,
    checks: Arc<Semaphore>,
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Health").finish_non_exhaustive()
    }
}

impl Health {
    /// The most places of one file that are told apart.
    pub const MAX_PLACES: usize = HealthRecords::MAX_ARTICLES;

    pub(crate) fn new(shared: Arc<Shared>, library: Library) -> Self {
        let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        Self {
            library,
            records: shared.store.health(),
            times: HealthTimes {
                confirm_after_ms: ms(shared.config.confirm_after),
                again_after_ms: ms(shared.config.check_again),
            },
            shared,
            checks: Arc::new(Semaphore::new(CHECKS_AT_ONCE)),
        }
    }

    /// What is known of a file; `None` where it is not known to be damaged.
    ///
    /// # Errors
    /// Those of the store; for all methods here that name none of their own.
    pub async fn record(&self, file: FileId) -> Result<Option<HealthRecord>> {
        self.records.record(file).await
    }

    /// Up to `limit` damaged files behind the first `offset`, the last found first, and how many there are: of one state, or all.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn page(
        &self,
        state: Option<HealthState>,
        offset: u64,
        limit: u32,
    ) -> Result<Page<HealthRecord>> {
        self.records.page(state, offset, limit).await
    }

    /// The articles that each of the files lacks, the first found first: at most `limit` of each. A file that lacks none is left out.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn articles(
        &self,
        files: &[FileId],
        limit: u32,
    ) -> Result<HashMap<FileId, Vec<MissingArticle>>> {
        self.records.articles_of(files, limit).await
    }

    /// The bytes of a file that cannot be read because of the articles that are noted as missing, as ranges in order and apart:
    /// at most [`Health::MAX_PLACES`]. Fetches nothing.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn places(&self, file: FileId) -> std::result::Result<Vec<ByteRange>, OpenError> {
        let limit = u32::try_from(HealthRecords::MAX_ARTICLES).unwrap_or(u32::MAX);
        let known = self.records.articles(file, limit).await?;
        if known.is_empty() {
            return Ok(Vec::new());
        }
        let ids = known.into_iter().map(|article| Arc::from(article.message_id));
        let ids: HashSet<Arc<str>> = ids.collect();
        let reader = Arc::clone(&self.library.open(file, Class::Health).await?.reader);
        let places = move || reader.places(&ids, Self::MAX_PLACES);
        // Where the thread died, nothing is said of places.
        Ok(tokio::task::spawn_blocking(places).await.unwrap_or_default())
    }

    /// Files that are certainly damaged and for which nothing was done yet, the first found first.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn idle(&self, limit: u32) -> Result<Vec<FileId>> {
        self.records.idle(limit).await
    }

    /// How many files are suspect, and how many are certainly damaged.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn counts(&self) -> Result<(u64, u64)> {
        self.records.counts().await
    }

    /// Notes what was done because a file is damaged, in a sentence.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn acted(&self, file: FileId, action: &str) -> Result<()> {
        self.records.acted(file, action).await
    }

    /// Asks for all articles of a file whether they are there, and notes what comes of it.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn check(&self, file: FileId) -> std::result::Result<Checked, OpenError> {
        let _turn = self.checks.acquire().await;
        let open = self.library.open(file, Class::Health).await?;
        let articles = articles_of(Arc::clone(&open.reader)).await;
        let vfs = &self.shared.vfs;
        let mut unknown = 0;
        let mut denied: Vec<PostedArticle> = Vec::new();
        let chunks: Vec<Vec<PostedArticle>> = articles.chunks(STAT_CHUNK).map(<[_]>::to_vec).collect();
        let look = |some: Vec<PostedArticle>| async move {
            let asked: Vec<_> = some
                .iter()
                .map(|article| (&*article.id, article.posted))
                .collect();
            let stats = vfs.stat_posted(&asked, Class::Health).await;
            (some, stats)
        };
        let mut looks = stream::iter(chunks)
            .map(look)
            .buffer_unordered(STAT_CHUNKS_AT_ONCE);
        while let Some((some, stats)) = looks.next().await {
            for (article, stat) in some.into_iter().zip(stats) {
                match stat {
                    Ok(true) => {}
                    Ok(false) => denied.push(article),
                    Err(_) => unknown += 1,
                }
            }
        }
        drop(looks);
        let (told, rest) = denied.split_at(denied.len().min(HealthRecords::MAX_ARTICLES));
        let mut answers = ask(vfs, told.to_vec(), Class::Health).await;
        unknown += answers.unknown;
        // Of the others only STAT is known, which is worth something where it was right so far.
        if answers.asked.present.is_empty() && answers.unknown == 0 {
            answers.asked.more_missing = rest.len() as u64;
        }
        answers.asked.all = unknown == 0;
        let missing = answers.asked.missing.len() as u64 + answers.asked.more_missing;
        if unknown == 0 {
            // What was missing, and is not denied any more, is there.
            let limit = u32::try_from(HealthRecords::MAX_ARTICLES).unwrap_or(u32::MAX);
            let denied: BTreeSet<&str> = denied.iter().map(|article| &*article.id).collect();
            let known = self.records.articles(file, limit).await?;
            let there = known.into_iter().map(|article| article.message_id);
            let there = there.filter(|id| !denied.contains(id.as_str()));
            answers.asked.present.extend(there);
        }
        let record = self.note(file, answers.asked).await?;
        Ok(Checked {
            articles: articles.len() as u64,
            missing,
            unknown,
            record,
        })
    }

    /// Notes what came of asking anew, and says it where it is news.
    async fn note(&self, file: FileId, asked: Asked) -> Result<Option<HealthRecord>> {
        let (before, now) = self.records.asked(file, asked, self.times).await?;
        let state = |record: &Option<HealthRecord>| {
            record.as_ref().map_or((HealthState::Healthy, 0), |record| {
                (record.state, record.articles)
            })
        };
        if state(&before) != state(&now) {
            self.say(file, now.as_ref()).await?;
        }
        Ok(now)
    }

    async fn say(&self, file: FileId, record: Option<&HealthRecord>) -> Result<()> {
        let Some(path) = self.library.path_of(file).await? else {
            return Ok(());
        };
        let (state, articles) = record.map_or((HealthState::Healthy, 0), |record| {
            (record.state, record.articles)
        });
        match state {
            HealthState::Healthy => tracing::info!(file.id = file.0, "'{path}' lacks nothing any more"),
            HealthState::Suspect => tracing::warn!(
                file.id = file.0,
                "'{path}' lacks {articles} articles by what all news servers say; they are asked again later"
            ),
            _ => tracing::warn!(
                file.id = file.0,
                "'{path}' lacks {articles} articles: all news servers have said so twice"
            ),
        }
        self.shared.publish(Event::Health {
            file,
            path,
            state,
            articles,
        });
        Ok(())
    }

    /// Notes what reads tell, and asks again for what is due, until the engine stops.
    pub(crate) async fn watch(self, mut missed: mpsc::Receiver<Missed>) {
        let stop = self.shared.shutdown.clone();
        let mut batch = Vec::new();
        while !stop.is_cancelled() {
            let due = match self.records.next().await {
                Ok(due) => due,
                Err(error) => {
                    tracing::error!("the health of files cannot be looked up: {error}");
                    stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
                    continue;
                }
            };
            let timer = async {
                match due {
                    Some((file, at)) => {
                        let ms = u64::try_from(at.saturating_sub(now_ms())).unwrap_or(0);
                        tokio::time::sleep(Duration::from_millis(ms)).await;
                        file
                    }
                    None => std::future::pending().await,
                }
            };
            let done = tokio::select! {
                _ = missed.recv_many(&mut batch, MOST_WAITING) => self.missed(std::mem::take(&mut batch)).await,
                file = timer => tokio::select! {
                    done = self.confirm(file) => done,
                    () = stop.cancelled() => return,
                },
                () = stop.cancelled() => return,
            };
            if let Err(error) = done {
                tracing::error!("the health of a file cannot be noted: {error}");
                stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
            }
        }
    }

    async fn missed(&self, batch: Vec<Missed>) -> Result<()> {
        let mut by_file: BTreeMap<FileId, BTreeSet<Arc<str>>> = BTreeMap::new();
        for (file, id) in batch {
            by_file.entry(file).or_default().insert(id);
        }
        for (file, ids) in by_file {
            let ids = ids.iter().map(|id| id.to_string()).collect();
            if let Some(record) = self.records.missed(file, ids, self.times).await? {
                self.say(file, Some(&record)).await?;
            }
        }
        Ok(())
    }

    /// Asks again for the articles of a file that are missing.
    async fn confirm(&self, file: FileId) -> Result<()> {
        let limit = u32::try_from(HealthRecords::MAX_ARTICLES).unwrap_or(u32::MAX);
        let known = self.records.articles(file, limit).await?;
        // A file that cannot be opened is asked for all the same, of everybody.
        let open = self.library.open(file, Class::Health).await.ok();
        let articles = match open {
            Some(open) => articles_of(Arc::clone(&open.reader)).await,
            None => Vec::new(),
        };
        let posted: HashMap<Arc<str>, Option<i64>> = articles
            .into_iter()
            .map(|article| (article.id, article.posted))
            .collect();
        let dated = known.into_iter().map(|article| {
            let id: Arc<str> = article.message_id.into();
            let posted = posted.get(&id).copied().flatten();
            PostedArticle { id, posted }
        });
        // What comes of it is a repair.
        let answers = ask(&self.shared.vfs, dated.collect(), Class::Repair).await;
        self.note(file, answers.asked).await.map(drop)
    }
}

/// The articles of a whole file, each once.
async fn articles_of(reader: Arc<Reader>) -> Vec<PostedArticle> {
    let listing = move || {
        let all = ByteRange {
            start: 0,
            end: reader.len(),
        };
        let mut seen = HashSet::new();
        let mut articles = reader.articles(all, MOST_ARTICLES);
        articles.retain(|article| seen.insert(Arc::clone(&article.id)));
        articles
    };
    // Where the thread died, the file is taken to have none: nothing is concluded from that.
    tokio::task::spawn_blocking(listing).await.unwrap_or_default()
}

/// What the news servers say of some articles.
#[derive(Default)]
struct Answers {
    asked: Asked,
    /// How many of them nobody could say anything of.
    unknown: u64,
}

/// Asks for the bytes of articles: only that makes a verdict.
async fn ask(vfs: &Vfs, articles: Vec<PostedArticle>, class: Class) -> Answers {
    let mut answers = Answers::default();
    let mut asking = stream::iter(articles.into_iter().map(|article| async move {
        let there = vfs.ask(&article, class).await;
        (article.id, there)
    }))
    .buffer_unordered(ASKED_AT_ONCE);
    while let Some((id, there)) = asking.next().await {
        match there {
            Ok(true) => answers.asked.present.push(id.to_string()),
            Ok(false) => answers.asked.missing.push(id.to_string()),
            Err(_) => answers.unknown += 1,
        }
    }
    answers
}
