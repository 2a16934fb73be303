//! Where an import's files wait, seen by nobody, until all of them are committed in one step.

use crate::{ImportLimits, names::Names, registered::Registered};
use altmount_model::{ArticleTable, Content, MAX_PATH_BYTES, Node, TableNo, VPath};
use altmount_sdk::{Attributes, ByteRange, ErrorKind, ImportError, Result, Role, VirtualFile};
use altmount_store::NewFile;
use altmount_vfs::TableSource;
use async_trait::async_trait;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The staging area of one import.
#[derive(Debug)]
pub(crate) struct Staging {
    limits: ImportLimits,
    /// The release's folder: its length counts in what a path may have.
    destination: VPath,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    closed: bool,
    tables: Vec<Arc<ArticleTable>>,
    articles: usize,
    nodes: usize,
    bytes: u64,
    names: Names,
    files: Vec<StagedFile>,
}

/// One checked file.
#[derive(Clone, Debug)]
pub(crate) struct StagedFile {
    pub(crate) path: VPath,
    pub(crate) size: u64,
    pub(crate) content: Arc<Content>,
    pub(crate) mtime: Option<i64>,
    pub(crate) attributes: Attributes,
}

/// Everything that an import staged.
#[derive(Clone, Debug, Default)]
pub(crate) struct Staged {
    pub(crate) tables: Vec<Arc<ArticleTable>>,
    pub(crate) files: Vec<StagedFile>,
}

impl Staging {
    pub(crate) fn new(limits: ImportLimits, destination: VPath) -> Self {
        Self {
            limits,
            destination,
            inner: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change under the lock is complete before anything can panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> Result<MutexGuard<'_, Inner>> {
        let inner = self.lock();
        if inner.closed {
            return Err(ImportError::new(
                ErrorKind::Cancelled,
                "the import is over; nothing can be added to it",
            ));
        }
        Ok(inner)
    }

    /// Ends the import: what is staged is final.
    pub(crate) fn close(&self) -> Staged {
        let mut inner = self.lock();
        inner.closed = true;
        Staged {
            tables: std::mem::take(&mut inner.tables),
            files: std::mem::take(&mut inner.files),
        }
    }

    /// Takes an article table and numbers it.
    pub(crate) fn define(&self, table: ArticleTable) -> Result<TableNo> {
        let mut inner = self.open()?;
        let limits = &self.limits;
        let articles = inner.articles.saturating_add(table.count());
        within(inner.tables.len() + 1, limits.max_tables, "article tables")?;
        within(articles, limits.max_articles, "articles")?;
        let bytes = self.weigh(&inner, table.memory() as u64)?;
        let no = u32::try_from(inner.tables.len())
            .map_err(|_| ImportError::new(ErrorKind::Limit, "the import defines too many article tables"))?;
        inner.articles = articles;
        inner.bytes = bytes;
        inner.tables.push(Arc::new(table));
        Ok(TableNo(no))
    }

    /// Checks a file and takes it, under a name that is free.
    pub(crate) fn emit(&self, importer: &Registered, file: VirtualFile) -> Result<()> {
        let named = |error: ImportError| error.with("path", &file.path);
        let len = self.check_content(importer, &file.content).map_err(named)?;
        if len != file.size {
            return Err(named(ImportError::new(
                ErrorKind::Invalid,
                format!(
                    "the file is said to have {} bytes, its content has {len}",
                    file.size
                ),
            )));
        }
        check_holes(&file.attributes.holes, len).map_err(named)?;
        let mut inner = self.open()?;
        within(inner.files.len() + 1, self.limits.max_files, "files").map_err(named)?;
        let nodes = inner.nodes.saturating_add(file.content.nodes.len());
        within(nodes, self.limits.max_nodes, "nodes of content graphs").map_err(named)?;
        let weight = weight(&file.content) + text_weight(&file);
        let bytes = self.weigh(&inner, weight).map_err(named)?;
        check_tables(&file.content, &inner.tables).map_err(named)?;
        let path = inner
            .names
            .place(&file.path)
            .ok()
            .filter(|path| self.destination.as_str().len() + 1 + path.as_str().len() <= MAX_PATH_BYTES)
            .ok_or_else(|| {
                let text = "the file has no name, or its path with the release's folder is too long";
                named(ImportError::new(ErrorKind::Invalid, text))
            })?;
        inner.nodes = nodes;
        inner.bytes = bytes;
        inner.files.push(StagedFile {
            path,
            size: file.size,
            content: Arc::new(file.content),
            mtime: file.mtime,
            attributes: file.attributes,
        });
        Ok(())
    }

    /// Checks a content's graph and whether the importer may name its sources, and returns its length in bytes.
    pub(crate) fn check_content(&self, importer: &Registered, content: &Content) -> Result<u64> {
        let len = content
            .validate()
            .map_err(|error| ImportError::new(ErrorKind::Invalid, error.to_string()))?;
        for node in &content.nodes {
            let needed = match node {
                Node::Articles { .. } => "open:usenet",
                Node::Http { .. } => "open:http",
                Node::Local { .. } => "open:local",
                _ => continue,
            };
            permit(importer, needed)?;
        }
        Ok(len)
    }

    fn weigh(&self, inner: &Inner, more: u64) -> Result<u64> {
        let bytes = inner.bytes.saturating_add(more);
        if bytes > self.limits.max_staged_bytes {
            return Err(ImportError::new(
                ErrorKind::Limit,
                format!(
                    "the import's files and article tables take over {} bytes of memory",
                    self.limits.max_staged_bytes
                ),
            ));
        }
        Ok(bytes)
    }
}

#[async_trait]
impl TableSource for Staging {
    async fn table(&self, no: TableNo) -> Result<Option<Arc<ArticleTable>>, String> {
        Ok(self.lock().tables.get(no.0 as usize).cloned())
    }
}

/// The tables of a staged release, exactly as they go to the store.
#[async_trait]
impl TableSource for Staged {
    async fn table(&self, no: TableNo) -> Result<Option<Arc<ArticleTable>>, String> {
        Ok(self.tables.get(no.0 as usize).cloned())
    }
}

/// Holes are in order, apart from each other, and inside of the file.
fn check_holes(holes: &[ByteRange], len: u64) -> Result<()> {
    let mut end = 0;
    for hole in holes {
        if hole.is_empty() || hole.start < end || hole.end > len {
            let text = format!(
                "the hole {}..{} is empty, out of order or outside of the file's {len} bytes",
                hole.start, hole.end
            );
            return Err(ImportError::new(ErrorKind::Invalid, text));
        }
        end = hole.end;
    }
    Ok(())
}

impl StagedFile {
    /// Whether people are to see it in the library.
    pub(crate) fn listed(&self, list_sidecars: bool) -> bool {
        list_sidecars || self.attributes.role == Role::Main
    }

    pub(crate) fn into_new(self, list_sidecars: bool) -> NewFile {
        let listed = self.listed(list_sidecars);
        NewFile {
            path: self.path,
            size: self.size,
            mtime_ms: self.mtime.map(|seconds| seconds.saturating_mul(1000)),
            content: Arc::unwrap_or_clone(self.content),
            // A struct of texts always has a JSON form; an empty object is what "nothing is known" looks like.
            attributes: serde_json::to_value(self.attributes).unwrap_or_else(|_| altmount_sdk::json!({})),
            listed,
        }
    }
}

/// Whether the importer's manifest declares a host service.
pub(crate) fn permit(importer: &Registered, capability: &str) -> Result<()> {
    // What the host materialised for one release is no business of another's importer.
    if capability != "open:local" && importer.declares_capability(capability) {
        return Ok(());
    }
    Err(ImportError::new(
        ErrorKind::Denied,
        format!(
            "the importer '{}' may not use '{capability}': its manifest does not declare it, or no importer may",
            importer.manifest.id
        ),
    ))
}

fn within(count: usize, limit: usize, what: &str) -> Result<()> {
    if count > limit {
        let text = format!("the import has over {limit} {what}");
        return Err(ImportError::new(ErrorKind::Limit, text));
    }
    Ok(())
}

/// Every run of articles lies in its table, and has the length that the table says.
fn check_tables(content: &Content, tables: &[Arc<ArticleTable>]) -> Result<()> {
    for (at, node) in content.nodes.iter().enumerate() {
        let Node::Articles {
            table,
            first,
            count,
            len,
        } = node
        else {
            continue;
        };
        let invalid = |text: String| Err(ImportError::new(ErrorKind::Invalid, format!("node {at} {text}")));
        let Some(found) = tables.get(table.0 as usize) else {
            return invalid(format!(
                "refers to article table {table}, there are {}",
                tables.len()
            ));
        };
        let (first, end) = (u64::from(*first), u64::from(*first) + u64::from(*count));
        if end > found.count() as u64 {
            return invalid(format!(
                "refers to articles {first} to {end} of table {table}, which has {}",
                found.count()
            ));
        }
        let start_of = |index: u64| match usize::try_from(index).ok().and_then(|i| found.extent(i)) {
            Some((offset, _)) => offset,
            None => found.len(),
        };
        let sum = start_of(end) - start_of(first);
        if sum != *len {
            return invalid(format!("is said to have {len} bytes, its articles have {sum}"));
        }
    }
    Ok(())
}

/// Bytes of memory that a content takes, about.
fn weight(content: &Content) -> u64 {
    let of = |node: &Node| match node {
        Node::Http {
            url,
            secret_ref,
            validator,
            ..
        } => {
            let texts = [
                secret_ref.as_ref(),
                validator.etag.as_ref(),
                validator.last_modified.as_ref(),
            ];
            url.len() + texts.into_iter().flatten().map(String::len).sum::<usize>()
        }
        Node::Local { path, .. } => path.as_str().len(),
        Node::Inline { bytes } => bytes.len(),
        Node::Concat { parts } => parts.len() * size_of::<u32>(),
        _ => 0,
    };
    content
        .nodes
        .iter()
        .map(|n| (size_of::<Node>() + of(n)) as u64)
        .sum()
}

fn text_weight(file: &VirtualFile) -> u64 {
    let attributes = &file.attributes;
    let texts = [attributes.name_source.as_ref(), attributes.archive_path.as_ref()];
    // The path is kept as it is and as a key of each look-up.
    let path = file.path.as_str().len() * 4;
    (size_of::<StagedFile>() + path + texts.into_iter().flatten().map(String::len).sum::<usize>()) as u64
}
