use crate::graph::{self, Leaves, invalid};
use altmount_sdk::archive::{ArchiveMap, MapRequest};
use altmount_sdk::http::HttpHead;
use altmount_sdk::library::{ExistsAnswer, ExistsRequest};
use altmount_sdk::par2::{Described, Names, NamesRequest};
use altmount_sdk::usenet::{ArticleAnswer, ArticleInfo, IdsRequest, Presence};
use altmount_sdk::{
    ArticleTable, Bytes, Content, ErrorKind, Handle, ImportContext, ImportError, Json, LogLevel, Manifest,
    MessageId, Node, Result, TableNo, VPath, VirtualFile,
};
use async_trait::async_trait;
use md5::{Digest, Md5};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard};

/// One article of a [`MockContext`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MockArticle {
    /// It is there; `info.len` is set to the length of `data`.
    Present {
        /// What its headers say.
        info: ArticleInfo,
        /// Its decoded bytes.
        data: Bytes,
    },
    /// Every provider says that there is none. The same as an id that the context was never told of.
    Missing,
    /// `STAT` finds it, and its bytes are damaged wherever it is read.
    Corrupt,
    /// Nothing can be learnt of it: the provider does not answer.
    Unknown,
}

/// What a [`MockContext`] was asked and given.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// The staged files, in the order in which they were emitted, under the paths that the host gave them.
    pub files: Vec<VirtualFile>,
    /// The article tables; a [`TableNo`] is an index.
    pub tables: Vec<ArticleTable>,
    /// The calls of `progress`, in order.
    pub progress: Vec<(u64, u64)>,
    /// The log.
    pub logs: Vec<(LogLevel, String)>,
    /// How often each article was fetched from a provider: the host keeps each that was read, so more than once does not happen
    /// for one that is present.
    pub fetched: BTreeMap<String, u32>,
    /// The ids whose existence was asked for, in order.
    pub stated: Vec<String>,
    /// When the articles of those calls, and of `usenet.articles`, were said to be posted, in seconds since 1970, where they were.
    pub posted: BTreeMap<String, i64>,
    /// The methods of `call`, in order.
    pub calls: Vec<String>,
    /// The files that were handed back to the host, in order.
    pub nested: Vec<altmount_sdk::nested::Nested>,
    /// How many contents were opened.
    pub opened: usize,
    /// The capabilities that were needed and are not declared, in order.
    pub denied: Vec<String>,
}

#[derive(Debug, Default)]
struct State {
    recorded: Recorded,
    handles: Vec<Content>,
    cached: BTreeSet<String>,
}

/// A host in memory. Fill it, hand it to an importer, then look at [`Self::recorded`].
#[derive(Debug)]
pub struct MockContext {
    upload: Bytes,
    articles: HashMap<String, MockArticle>,
    http: HashMap<String, Result<(HttpHead, Bytes)>>,
    archives: HashMap<String, Result<ArchiveMap>>,
    names: Names,
    library: BTreeSet<VPath>,
    capabilities: Option<Vec<String>>,
    max_files: usize,
    cancelled: bool,
    state: Mutex<State>,
}

impl MockContext {
    /// A host whose queued file has these bytes, with no article and no HTTP resource.
    pub fn new(upload: impl Into<Bytes>) -> Self {
        Self {
            upload: upload.into(),
            articles: HashMap::new(),
            http: HashMap::new(),
            archives: HashMap::new(),
            names: Names::default(),
            library: BTreeSet::new(),
            capabilities: None,
            max_files: 100_000,
            cancelled: false,
            state: Mutex::default(),
        }
    }

    /// Answers services that `manifest` does not declare with `denied`, as the real host does.
    #[must_use]
    pub fn for_manifest(mut self, manifest: &Manifest) -> Self {
        self.capabilities = Some(manifest.capabilities.clone());
        self
    }

    /// Refuses more than `max` files with `limit`.
    #[must_use]
    pub fn max_files(mut self, max: usize) -> Self {
        self.max_files = max;
        self
    }

    /// Says that the import is cancelled.
    #[must_use]
    pub fn cancelled(mut self) -> Self {
        self.cancelled = true;
        self
    }

    /// With one article; replaces what was there under its id.
    pub fn article(&mut self, id: &str, article: MockArticle) -> &mut Self {
        let article = match article {
            MockArticle::Present { mut info, data } => {
                info.len = data.len() as u64;
                MockArticle::Present { info, data }
            }
            other => other,
        };
        self.articles.insert(id.to_owned(), article);
        self
    }

    /// With an HTTP resource, or with the error that asking for it gives. A `head.len` of `None` stays: the server
    /// does not say.
    pub fn resource(&mut self, url: &str, resource: Result<(HttpHead, Bytes)>) -> &mut Self {
        self.http.insert(url.to_owned(), resource);
        self
    }

    /// With what `archive.map` answers for an archive of which a volume has this name. The real host reads the volumes; this one
    /// checks their contents and reads nothing.
    pub fn archive(&mut self, volume: &str, answer: Result<ArchiveMap>) -> &mut Self {
        self.archives.insert(volume.to_owned(), answer);
        self
    }

    /// With what PAR2 files describe: `par2.names` finds names by the first bytes and the lengths of the files that it is asked for.
    pub fn described(&mut self, described: Vec<Described>) -> &mut Self {
        self.names.described = described;
        self
    }

    /// With a file or folder of the library, for `library.exists`.
    pub fn in_library(&mut self, path: VPath) -> &mut Self {
        self.library.insert(path);
        self
    }

    /// What was asked and given so far.
    pub fn recorded(&self) -> Recorded {
        self.state().recorded.clone()
    }

    /// How many articles were fetched from a provider, each time counted.
    pub fn articles_read(&self) -> usize {
        self.state().recorded.fetched.values().map(|n| *n as usize).sum()
    }

    /// The bytes of a file, read through its graph.
    ///
    /// # Errors
    /// As a read of the file would fail.
    pub fn materialise(&self, file: &VirtualFile) -> Result<Vec<u8>> {
        self.evaluate(&file.content)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn evaluate(&self, content: &Content) -> Result<Vec<u8>> {
        let len = content.validate().map_err(|e| invalid(e.to_string()))?;
        graph::bytes(content, 0, len, &mut &*self)
    }

    fn allow(&self, capability: &str) -> Result<()> {
        let declared = self
            .capabilities
            .as_ref()
            .is_none_or(|all| all.iter().any(|c| c == capability));
        if declared {
            return Ok(());
        }
        self.state().recorded.denied.push(capability.to_owned());
        Err(ImportError::new(
            ErrorKind::Denied,
            format!("the manifest does not declare '{capability}'"),
        ))
    }

    fn fetch(&self, id: &str) -> Result<(ArticleInfo, Bytes)> {
        let mut state = self.state();
        if !state.cached.contains(id) {
            *state.recorded.fetched.entry(id.to_owned()).or_default() += 1;
        }
        let failure = |kind, what: &str| Err(ImportError::new(kind, format!("article <{id}> {what}")));
        match self.articles.get(id) {
            Some(MockArticle::Present { info, data }) => {
                state.cached.insert(id.to_owned());
                Ok((info.clone(), data.clone()))
            }
            Some(MockArticle::Corrupt) => failure(ErrorKind::Corrupt, "is corrupt on every provider"),
            Some(MockArticle::Unknown) => failure(ErrorKind::Io, "could not be asked for"),
            Some(MockArticle::Missing) | None => failure(ErrorKind::Missing, "is missing"),
        }
    }

    fn presence(&self, id: &str) -> Presence {
        match self.articles.get(id) {
            Some(MockArticle::Present { .. } | MockArticle::Corrupt) => Presence::Present,
            Some(MockArticle::Unknown) => Presence::Unknown,
            Some(MockArticle::Missing) | None => Presence::Missing,
        }
    }

    /// Whether the importer may open a content.
    fn check_content(&self, content: &Content) -> Result<()> {
        for node in &content.nodes {
            match node {
                Node::Articles { .. } => self.allow("open:usenet")?,
                Node::Http { .. } => self.allow("open:http")?,
                _ => {}
            }
        }
        content.validate().map_err(|e| invalid(e.to_string()))?;
        self.check_tables(content)
    }

    /// The nodes that refer to a table must lie in it, article by article.
    fn check_tables(&self, content: &Content) -> Result<()> {
        let state = self.state();
        for node in &content.nodes {
            let Node::Articles {
                table,
                first,
                count,
                len,
            } = node
            else {
                continue;
            };
            let found = state
                .recorded
                .tables
                .get(table.0 as usize)
                .ok_or_else(|| invalid(format!("there is no article table {table}")))?;
            let mut sum = 0;
            for index in *first..first.saturating_add(*count) {
                let (_, size) = found
                    .extent(index as usize)
                    .ok_or_else(|| invalid(format!("table {table} has no article {index}")))?;
                sum += size;
            }
            if sum != *len {
                return Err(invalid(format!(
                    "the articles of table {table} have {sum} bytes, the content says {len}"
                )));
            }
        }
        Ok(())
    }
}

impl Leaves for &MockContext {
    fn articles(&mut self, table: u32, first: u32, count: u32, start: u64, end: u64) -> Result<Vec<u8>> {
        let found = self
            .state()
            .recorded
            .tables
            .get(table as usize)
            .cloned()
            .ok_or_else(|| invalid(format!("there is no article table {table}")))?;
        let mut all = Vec::new();
        let mut at = 0;
        for index in first..first + count {
            let index = index as usize;
            let (id, (offset, size)) = found
                .id(index)
                .zip(found.extent(index))
                .ok_or_else(|| invalid(format!("table {table} has no article {index}")))?;
            let (from, to) = (start.max(at), end.min(at + size));
            if from < to {
                let (info, data) = self.fetch(id)?;
                if data.len() as u64 != size || info.offset.is_some_and(|own| own != offset) {
                    let text = format!(
                        "article <{id}> has {} bytes at {:?}, the table says {size} at {offset}",
                        data.len(),
                        info.offset
                    );
                    return Err(ImportError::new(ErrorKind::Corrupt, text));
                }
                all.extend_from_slice(&data[(from - at) as usize..(to - at) as usize]);
            }
            at += size;
        }
        Ok(all)
    }

    fn http(&mut self, url: &str, len: u64) -> Result<Vec<u8>> {
        let (_, body) = self
            .http
            .get(url)
            .cloned()
            .unwrap_or_else(|| Err(ImportError::new(ErrorKind::Missing, "there is no such resource")))?;
        if body.len() as u64 != len {
            return Err(ImportError::new(
                ErrorKind::Changed,
                "the resource has another length",
            ));
        }
        Ok(body.to_vec())
    }
}

fn parse<T: serde::de::DeserializeOwned>(method: &str, params: Json) -> Result<T> {
    serde_json::from_value(params).map_err(|e| invalid(format!("{method} cannot be asked so: {e}")))
}

/// The first of `path`, `path (2)`, ... (before the extension) that is not taken.
fn free_path(path: &VPath, taken: &[VirtualFile]) -> Result<VPath> {
    let (stem, extension) = match path.as_str().rfind('.') {
        Some(dot) if !path.as_str()[dot..].contains('/') && dot > 0 => path.as_str().split_at(dot),
        _ => (path.as_str(), ""),
    };
    let mut candidate = path.clone();
    let mut number = 2;
    while taken.iter().any(|f| f.path == candidate) {
        candidate =
            VPath::new(&format!("{stem} ({number}){extension}")).map_err(|e| invalid(e.to_string()))?;
        number += 1;
    }
    Ok(candidate)
}

#[async_trait]
impl ImportContext for MockContext {
    fn log(&self, level: LogLevel, message: &str) {
        self.state().recorded.logs.push((level, message.to_owned()));
    }

    fn progress(&self, done: u64, total: u64) {
        self.state().recorded.progress.push((done, total));
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled
    }

    fn emit(&self, mut file: VirtualFile) -> Result<()> {
        if file.path.is_root() {
            return Err(invalid("a file needs a name"));
        }
        let len = file.content.validate().map_err(|e| invalid(e.to_string()))?;
        if len != file.size {
            let text = format!("'{}' has {len} bytes, its size says {}", file.path, file.size);
            return Err(invalid(text));
        }
        self.check_tables(&file.content)?;
        let mut state = self.state();
        if state.recorded.files.len() >= self.max_files {
            let text = format!("the import has more than {} files", self.max_files);
            return Err(ImportError::new(ErrorKind::Limit, text));
        }
        file.path = free_path(&file.path, &state.recorded.files)?;
        state.recorded.files.push(file);
        Ok(())
    }

    fn define_articles(&self, table: ArticleTable) -> Result<TableNo> {
        let tables = &mut self.state().recorded.tables;
        tables.push(table);
        Ok(TableNo(tables.len() as u32 - 1))
    }

    async fn open(&self, content: &Content) -> Result<Handle> {
        self.check_content(content)?;
        let mut state = self.state();
        state.recorded.opened += 1;
        state.handles.push(content.clone());
        Ok(Handle(state.handles.len() as u64))
    }

    async fn read(&self, handle: Handle, offset: u64, len: u64) -> Result<Bytes> {
        if handle == Handle::UPLOAD {
            let end = offset.saturating_add(len).min(self.upload.len() as u64);
            let start = offset.min(end);
            return Ok(self.upload.slice(start as usize..end as usize));
        }
        let content = self.opened(handle)?;
        let total = content.validate().map_err(|e| invalid(e.to_string()))?;
        let end = offset.saturating_add(len).min(total);
        let start = offset.min(end);
        if start == end {
            return Ok(Bytes::new());
        }
        graph::bytes(&content, start, end, &mut &*self).map(Bytes::from)
    }

    fn len(&self, handle: Handle) -> Result<u64> {
        if handle == Handle::UPLOAD {
            return Ok(self.upload.len() as u64);
        }
        self.opened(handle)?
            .validate()
            .map_err(|e| invalid(e.to_string()))
    }

    async fn call(&self, method: &str, params: Json) -> Result<Json> {
        self.state().recorded.calls.push(method.to_owned());
        let ids = || -> Result<Vec<String>> {
            let request: IdsRequest = parse(method, params.clone())?;
            let articles = request.into_articles()?.into_iter();
            let mut state = self.state();
            let id = |(id, posted): (MessageId, Option<i64>)| {
                let id = String::from(id.as_str());
                state.recorded.posted.extend(posted.map(|at| (id.clone(), at)));
                id
            };
            Ok(articles.map(id).collect())
        };
        let internal = |e: serde_json::Error| ImportError::new(ErrorKind::Internal, e.to_string());
        match method {
            "usenet.articles" => {
                self.allow("open:usenet")?;
                let answers: Vec<ArticleAnswer> = ids()?
                    .iter()
                    .map(|id| match self.fetch(id) {
                        Ok((info, _)) => ArticleAnswer::Ok(info),
                        Err(e) => ArticleAnswer::Err(e),
                    })
                    .collect();
                serde_json::to_value(answers).map_err(internal)
            }
            "usenet.stat" => {
                self.allow("open:usenet")?;
                let ids = ids()?;
                let answers: Vec<Presence> = ids.iter().map(|id| self.presence(id)).collect();
                self.state().recorded.stated.extend(ids);
                serde_json::to_value(answers).map_err(internal)
            }
            "http.head" => {
                self.allow("open:http")?;
                let url = params["url"]
                    .as_str()
                    .ok_or_else(|| invalid("http.head needs 'url'"))?;
                match self.http.get(url) {
                    Some(Ok((head, _))) => serde_json::to_value(head).map_err(internal),
                    Some(Err(e)) => Err(e.clone()),
                    None => {
                        Err(ImportError::new(ErrorKind::Missing, "there is no such resource")
                            .with("status", 404))
                    }
                }
            }
            "expand" => {
                self.allow("expand")?;
                let nested: altmount_sdk::nested::Nested = serde_json::from_value(params)
                    .map_err(|e| invalid(format!("expand cannot be asked so: {e}")))?;
                self.state().recorded.nested.push(nested);
                serde_json::to_value(altmount_sdk::nested::Expanded {
                    importer: "mock".to_owned(),
                    summary: altmount_sdk::Summary::default(),
                })
                .map_err(internal)
            }
            "archive.map" => {
                self.allow(method)?;
                let request: MapRequest = parse(method, params)?;
                for volume in &request.volumes {
                    self.check_content(&volume.content)?;
                }
                let known = request.volumes.iter().find_map(|v| self.archives.get(&v.name));
                let answer = known.cloned().unwrap_or_else(|| {
                    Err(ImportError::new(
                        ErrorKind::Unsupported,
                        "the volumes are no archive that this host was told of",
                    ))
                })?;
                serde_json::to_value(answer).map_err(internal)
            }
            "par2.names" => {
                self.allow(method)?;
                let request: NamesRequest = parse(method, params)?;
                for content in request.par2.iter().chain(&request.files) {
                    self.check_content(content)?;
                }
                let mut answer = self.names.clone();
                for content in &request.files {
                    let len = content.validate().map_err(|e| invalid(e.to_string()))?;
                    let head = graph::bytes(content, 0, len.min(16 << 10), &mut &*self)?;
                    let hash: String = Md5::digest(&head).iter().map(|b| format!("{b:02x}")).collect();
                    let mut fits = answer
                        .described
                        .iter()
                        .filter(|d| d.len == len && d.md5_16k == hash);
                    let name = fits.next().map(|d| d.name.clone());
                    answer.names.push(name.filter(|_| fits.next().is_none()));
                }
                serde_json::to_value(answer).map_err(internal)
            }
            "library.exists" => {
                self.allow(method)?;
                let request: ExistsRequest = parse(method, params)?;
                let exists = request
                    .paths
                    .iter()
                    .map(|path| self.library.contains(path))
                    .collect();
                serde_json::to_value(ExistsAnswer { exists }).map_err(internal)
            }
            _ => Err(ImportError::new(
                ErrorKind::Unsupported,
                format!("the host has no service '{method}'"),
            )),
        }
    }
}

impl MockContext {
    fn opened(&self, handle: Handle) -> Result<Content> {
        let state = self.state();
        usize::try_from(handle.0)
            .ok()
            .and_then(|at| state.handles.get(at.checked_sub(1)?))
            .cloned()
            .ok_or_else(|| invalid(format!("there is no handle {}", handle.0)))
    }
}
