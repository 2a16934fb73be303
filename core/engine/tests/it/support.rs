//! A real store in a temporary folder, articles from memory, and an importer that does what the queued file says.

use altmount_engine::{Engine, EngineConfig, Event, Job, JobState, LibraryChange, Registry, SubmitRequest};
use altmount_sdk::{
    ArticleTable, Attributes, Confidence, Content, ErrorKind, Handle, ImportContext, ImportContextExt,
    ImportError, ImportRequest, Importer, Json, Manifest, MessageId, Node, Registration, Result, Retry,
    Summary, VPath, VirtualFile, archive, async_trait, json,
};
use altmount_store::Store;
use altmount_vfs::{Article, ArticleInfo, ArticleSource, Class, FetchError, Stat, Vfs, VfsConfig};
use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;
use tokio::sync::{Semaphore, broadcast, watch};

/// What a test and the importers of its engine share.
#[derive(Debug)]
pub(crate) struct World {
    id: u64,
    /// Imports that were started.
    pub(crate) started: watch::Sender<usize>,
    /// Imports whose future is gone, finished or dropped.
    pub(crate) ended: watch::Sender<usize>,
    /// A `wait` step takes one permit.
    pub(crate) gate: Semaphore,
    /// A `block` step blocks its thread until this is dropped.
    pub(crate) block: Mutex<Option<std::sync::mpsc::Receiver<()>>>,
    pub(crate) passwords: Mutex<Vec<String>>,
}

fn worlds() -> &'static Mutex<HashMap<u64, Arc<World>>> {
    static WORLDS: OnceLock<Mutex<HashMap<u64, Arc<World>>>> = OnceLock::new();
    WORLDS.get_or_init(Mutex::default)
}

impl World {
    fn new() -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let world = Arc::new(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            started: watch::channel(0).0,
            ended: watch::channel(0).0,
            gate: Semaphore::new(0),
            block: Mutex::new(None),
            passwords: Mutex::default(),
        });
        worlds()
            .lock()
            .expect("lock")
            .insert(world.id, Arc::clone(&world));
        world
    }

    pub(crate) async fn until_started(&self, count: usize) {
        reach(&self.started, count).await;
    }

    pub(crate) async fn until_ended(&self, count: usize) {
        reach(&self.ended, count).await;
    }
}

async fn reach(counter: &watch::Sender<usize>, count: usize) {
    let mut seen = counter.subscribe();
    let reached = seen.wait_for(|n| *n >= count);
    soon(reached).await.expect("the world outlives its test");
}

/// No test waits for ever.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .expect("happens within a minute")
}

/// Does what the queued file says: a JSON list of steps.
struct Script(Arc<World>);

struct Ended<'a>(&'a World);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.ended.send_modify(|n| *n += 1);
    }
}

#[async_trait]
impl Importer for Script {
    fn manifest() -> Manifest {
        Manifest::new("script", "1.2.3")
            .extension("job")
            .extension("job.gz")
            .capability("open:usenet")
            .capability("archive.map")
            .capability("par2.names")
            .capability("library.exists")
    }

    fn create(config: Json) -> Result<Self> {
        let id = config["world"].as_u64().expect("configured");
        Ok(Self(Arc::clone(&worlds().lock().expect("lock")[&id])))
    }

    fn probe(&self, _name: &str, _head: &[u8]) -> Confidence {
        Confidence::LIKELY
    }

    async fn import(&self, request: ImportRequest, cx: &dyn ImportContext) -> Result<Summary> {
        let mut attempt = 0;
        self.0.started.send_modify(|n| {
            *n += 1;
            attempt = *n;
        });
        let _ended = Ended(&self.0);
        *self.0.passwords.lock().expect("lock") = request.passwords.clone();
        let text = cx.read_all(Handle::UPLOAD, 16 << 20).await?;
        let steps: Vec<Json> = serde_json::from_slice(&text)
            .map_err(|error| ImportError::new(ErrorKind::Invalid, error.to_string()))?;
        let mut summary = Summary {
            notes: Vec::new(),
            meta: vec![("release".to_owned(), request.release_name.clone())],
        };
        for step in steps {
            let tried = step["try"] == true;
            match self.step(&step, attempt, cx).await {
                Ok(Some(note)) => summary.notes.push(note),
                Ok(None) => {}
                Err(error) if tried => summary.notes.push(error.kind.to_string()),
                Err(error) => return Err(error),
            }
        }
        Ok(summary)
    }
}

impl Script {
    async fn step(&self, step: &Json, attempt: usize, cx: &dyn ImportContext) -> Result<Option<String>> {
        let path = || VPath::new(step["path"].as_str().expect("path")).expect("valid path");
        let number = |name: &str| step[name].as_u64().expect("a number");
        match step["do"].as_str().expect("a step") {
            "inline" => {
                let bytes = step["text"].as_str().expect("text").as_bytes().to_vec();
                let len = bytes.len() as u64;
                let mut file = VirtualFile::new(path(), len, Content::single(Node::Inline { bytes }));
                if step["sidecar"] == true {
                    file.attributes =
                        serde_json::from_value::<Attributes>(json!({"role": "sidecar"})).expect("valid");
                }
                cx.emit(file)?;
            }
            "zero" => {
                let len = number("len");
                cx.emit(VirtualFile::new(path(), len, Content::single(Node::Zero { len })))?;
            }
            // One posted file: its articles and their sizes.
            "post" => {
                let mut table = ArticleTable::new();
                for (id, size) in
                    serde_json::from_value::<Vec<(String, u64)>>(step["articles"].clone()).expect("pairs")
                {
                    table
                        .push(&MessageId::new(&id).expect("valid"), size)
                        .expect("fits");
                }
                let (count, len) = (table.count() as u32, table.len());
                let table = cx.define_articles(table)?;
                let node = Node::Articles {
                    table,
                    first: 0,
                    count,
                    len,
                };
                cx.emit(VirtualFile::new(path(), len, Content::single(node)))?;
            }
            "emit" => cx.emit(serde_json::from_value(step["file"].clone()).expect("a virtual file"))?,
            "table" => {
                let table = serde_json::from_value(step["table"].clone()).expect("a table");
                cx.define_articles(table)?;
            }
            "read" => {
                let handle = cx
                    .open(&serde_json::from_value(step["content"].clone()).expect("a content"))
                    .await?;
                let bytes = cx.read(handle, number("offset"), number("len")).await?;
                return Ok(Some(format!(
                    "{} of {}",
                    String::from_utf8_lossy(&bytes),
                    cx.len(handle)?
                )));
            }
            "call" => {
                let method = step["method"].as_str().expect("a method");
                return Ok(Some(cx.call(method, step["params"].clone()).await?.to_string()));
            }
            // An archive by the host's service: its members as files, or why they are none.
            "unpack" => {
                let request: archive::MapRequest =
                    serde_json::from_value(step["request"].clone()).expect("a request");
                let map = archive::map(cx, &request).await?;
                let mut told = format!("{} {:?}", map.format, map.volumes);
                for member in &map.members {
                    match member.content(&request.volumes) {
                        Ok(content) => {
                            let path = VPath::new(&member.path).expect("a safe path");
                            cx.emit(VirtualFile::new(path, member.size, content))?;
                        }
                        Err(error) => {
                            told = format!("{told}, {}: {} {}", member.path, member.method, error.kind)
                        }
                    }
                }
                return Ok(Some(told));
            }
            "progress" => cx.progress(number("done"), number("total")),
            "wait" => self.0.gate.acquire().await.expect("open").forget(),
            "block" => {
                let block = self.0.block.lock().expect("lock").take().expect("a channel");
                let _closed = block.recv();
            }
            "hang" => std::future::pending().await,
            "panic" => panic!("told to panic"),
            // Fails on the first `times` attempts of this world; on all where it is not given.
            "fail" if attempt <= step["times"].as_u64().map_or(usize::MAX, |n| n as usize) => {
                let kind = serde_json::from_value(step["kind"].clone()).expect("a kind");
                let message = step["message"].as_str().unwrap_or("told to fail");
                let mut error = ImportError::new(kind, message).with("said", message);
                if let Some(seconds) = step["after"].as_u64() {
                    error = error.retry(Retry::After(seconds));
                }
                return Err(error);
            }
            "fail" => {}
            other => panic!("there is no step '{other}'"),
        }
        Ok(None)
    }
}

/// What a provider would say of an article.
#[derive(Clone, Debug)]
pub(crate) enum Posted {
    Bytes { offset: u64, data: Vec<u8> },
    Missing,
    Corrupt,
    Unknown,
}

/// Articles from memory.
#[derive(Debug, Default)]
pub(crate) struct Articles {
    pub(crate) posted: Mutex<HashMap<String, Posted>>,
    pub(crate) fetched: AtomicUsize,
}

impl Articles {
    /// Posts `data` in articles of at most `size` bytes and returns their ids and sizes.
    pub(crate) fn post(&self, name: &str, data: &[u8], size: usize) -> Vec<(String, u64)> {
        let mut posted = self.posted.lock().expect("lock");
        let mut ids = Vec::new();
        for (at, chunk) in data.chunks(size).enumerate() {
            let id = format!("{name}-{at}@test");
            let offset = (at * size) as u64;
            ids.push((id.clone(), chunk.len() as u64));
            posted.insert(
                id,
                Posted::Bytes {
                    offset,
                    data: chunk.to_vec(),
                },
            );
        }
        ids
    }

    pub(crate) fn set(&self, id: &str, what: Posted) {
        self.posted.lock().expect("lock").insert(id.to_owned(), what);
    }

    fn get(&self, id: &str) -> Posted {
        let posted = self.posted.lock().expect("lock");
        posted.get(id).cloned().unwrap_or(Posted::Missing)
    }
}

fn unknown(id: &str) -> FetchError {
    FetchError::Unknown {
        id: id.to_owned(),
        reason: "timed out".to_owned(),
    }
}

#[async_trait]
impl ArticleSource for Articles {
    async fn fetch(&self, id: &str, _class: Class) -> Result<Article, FetchError> {
        self.fetched.fetch_add(1, Ordering::Relaxed);
        match self.get(id) {
            Posted::Bytes { offset, data } => Ok(Article {
                info: ArticleInfo {
                    name: Some(b"na\xefve.bin".to_vec()),
                    file_size: None,
                    part: 1,
                    total: None,
                    offset: Some(offset),
                },
                data: data.into(),
            }),
            Posted::Missing => Err(FetchError::Missing { id: id.to_owned() }),
            Posted::Corrupt => Err(FetchError::Corrupt {
                id: id.to_owned(),
                reason: "crc".to_owned(),
            }),
            Posted::Unknown => Err(unknown(id)),
        }
    }

    async fn stat(&self, ids: &[&str], _class: Class) -> Vec<Stat> {
        ids.iter()
            .map(|id| match self.get(id) {
                Posted::Missing => Ok(false),
                Posted::Unknown => Err(unknown(id)),
                Posted::Bytes { .. } | Posted::Corrupt => Ok(true),
            })
            .collect()
    }
}

/// An engine with everything around it.
pub(crate) struct Bench {
    pub(crate) engine: Arc<Engine>,
    pub(crate) store: Store,
    pub(crate) world: Arc<World>,
    pub(crate) articles: Arc<Articles>,
    pub(crate) config: EngineConfig,
    pub(crate) dir: Arc<TempDir>,
}

pub(crate) fn quick() -> EngineConfig {
    EngineConfig {
        retry_base: Duration::from_millis(1),
        retry_cap: Duration::from_millis(5),
        progress_interval: Duration::ZERO,
        ..EngineConfig::default()
    }
}

pub(crate) fn registry(world: &World) -> Registry {
    let world = json!({ "world": world.id });
    let config = BTreeMap::from([("script".to_owned(), world.clone()), ("bare".to_owned(), world)]);
    // The same without any service of the host, one file at a time.
    let bare = Registration {
        manifest: || Manifest::new("bare", "1").extension("bare").max_concurrency(1),
        ..Registration::of::<Script>()
    };
    let registrations = [Registration::of::<Script>(), bare];
    let (registry, refused) = Registry::from_registrations(registrations, &config, &BTreeMap::new());
    assert_eq!(refused, []);
    registry
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::with(quick()).await
    }

    pub(crate) async fn with(config: EngineConfig) -> Self {
        let dir = Arc::new(tempfile::tempdir().expect("temporary folder"));
        Self::in_dir(dir, config, World::new(), Arc::default()).await
    }

    async fn in_dir(
        dir: Arc<TempDir>,
        config: EngineConfig,
        world: Arc<World>,
        articles: Arc<Articles>,
    ) -> Self {
        std::fs::create_dir_all(dir.path().join("in")).expect("made");
        let store = Store::open(&dir.path().join("data")).await.expect("opens");
        Self::over(store, dir, config, world, articles).await
    }

    async fn over(
        store: Store,
        dir: Arc<TempDir>,
        config: EngineConfig,
        world: Arc<World>,
        articles: Arc<Articles>,
    ) -> Self {
        // Nothing is cached, so that what the articles say now is what is read.
        let vfs = VfsConfig {
            memory_bytes: 0,
            ..VfsConfig::default()
        };
        let vfs = Vfs::new(Arc::clone(&articles) as _, vfs).expect("valid");
        let engine = Engine::start(store.clone(), vfs, registry(&world), config.clone())
            .await
            .expect("starts");
        Self {
            engine,
            store,
            world,
            articles,
            config,
            dir,
        }
    }

    /// Stops the engine in order and starts another one on the same data.
    pub(crate) async fn restart(self) -> Self {
        assert!(
            self.engine.shutdown(Duration::from_secs(30)).await,
            "stops in time"
        );
        self.start_again().await
    }

    /// Another engine on the same data.
    pub(crate) async fn start_again(self) -> Self {
        let Self {
            engine,
            store,
            world,
            articles,
            config,
            dir,
        } = self;
        drop(engine);
        Self::over(store, dir, config, world, articles).await
    }

    /// Writes a queued file with these steps.
    pub(crate) fn write(&self, name: &str, steps: &Json) -> PathBuf {
        let path = self.dir.path().join("in").join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(&path, steps.to_string()).expect("written");
        path
    }

    pub(crate) async fn submit(&self, path: &Path) -> Job {
        let request = SubmitRequest::path(path.to_str().expect("UTF-8"), None);
        self.engine.imports().submit(request).await.expect("accepted")
    }

    pub(crate) async fn wait(&self, job: &Job) -> Job {
        soon(self.engine.imports().wait(job.id))
            .await
            .expect("store")
            .expect("there")
    }

    /// Queues a file with these steps and waits for the end of its job.
    pub(crate) async fn import(&self, name: &str, steps: Json) -> Job {
        let job = self.submit(&self.write(name, &steps)).await;
        self.wait(&job).await
    }

    /// All paths in the library below `dir`, folders with a slash behind them.
    pub(crate) async fn tree(&self) -> Vec<String> {
        let (library, mut found) = (self.engine.library(), Vec::new());
        let mut open = vec![(altmount_engine::ROOT, String::new())];
        while let Some((dir, prefix)) = open.pop() {
            for entry in library.list(dir, None, 1000).await.expect("lists") {
                let path = format!("{prefix}{}", entry.name);
                if entry.is_dir {
                    open.push((entry.id, format!("{path}/")));
                    found.push(format!("{path}/"));
                } else {
                    found.push(path);
                }
            }
        }
        found.sort();
        found
    }

    pub(crate) async fn read(&self, path: &str) -> Vec<u8> {
        let library = self.engine.library();
        let entry = library
            .lookup(&VPath::new(path).expect("valid"))
            .await
            .expect("store")
            .expect("is there");
        let file = library.open(entry.id, Class::Playback).await.expect("opens");
        let bytes = file
            .reader
            .read_exact_at(0, file.reader.len())
            .await
            .expect("reads");
        assert_eq!(bytes.len() as u64, entry.size);
        bytes.to_vec()
    }

    pub(crate) async fn notes(&self, job: &Job) -> Vec<String> {
        let release = job.release.unwrap_or_else(|| panic!("completed: {job:?}"));
        self.store
            .release(release)
            .await
            .expect("store")
            .expect("there")
            .notes
    }
}

pub(crate) fn kind(job: &Job) -> &str {
    assert_eq!(job.state, JobState::Failed, "{job:?}");
    &job.failure.as_ref().expect("a failed job says why").kind
}

/// The next events as short texts, up to and with the one that `last` names.
pub(crate) async fn until(events: &mut broadcast::Receiver<Event>, last: &str) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let text = match soon(events.recv()).await.expect("none is missed") {
            Event::Job { id, state, .. } => format!("{id} {state}"),
            // What an import is doing is told without a step of its own.
            Event::Progress { progress, .. } if progress.total == 0 => continue,
            Event::Progress { id, progress } => {
                let text = format!("{id} {}/{}", progress.done, progress.total);
                if all.last() == Some(&text) {
                    continue;
                }
                text
            }
            Event::Library { change, path, from } => match (change, from) {
                (LibraryChange::Added, _) => format!("added {path}"),
                (LibraryChange::Removed, _) => format!("removed {path}"),
                (LibraryChange::Moved, from) => {
                    format!("moved {path} from {}", from.expect("a move has one"))
                }
                (change, _) => format!("{change:?} {path}"),
            },
            other => format!("{other:?}"),
        };
        all.push(text.clone());
        if text == last {
            return all;
        }
    }
}

/// Whether the file is still on the disk.
pub(crate) fn there(path: &Path) -> bool {
    path.try_exists().expect("its folder can be read")
}
