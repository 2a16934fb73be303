//! A node of the graph as what the archive parsers read.

use super::graph::Graph;
use altmount_archive::{ReadAt, ReadError};
use altmount_sdk::model::NodeId;
use altmount_sdk::{Bytes, ImportContext, ImportError, Result, async_trait};

/// Reads a node through the host; it is opened with the first read. Answers end with the article that they begin in, so that a
/// header near an article's end does not fetch the next one.
pub(crate) struct Reader<'a> {
    cx: &'a dyn ImportContext,
    graph: &'a Graph,
    node: NodeId,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(cx: &'a dyn ImportContext, graph: &'a Graph, node: NodeId) -> Self {
        Self { cx, graph, node }
    }

    /// Up to `len` bytes at `offset`, as many as there are.
    pub(crate) async fn up_to(&self, offset: u64, len: u64) -> Result<Vec<u8>> {
        let len = len.min(self.len().saturating_sub(offset));
        let mut all = Vec::new();
        while (all.len() as u64) < len {
            let at = all.len() as u64;
            let more = self.some(offset + at, len - at).await?;
            if more.is_empty() {
                break;
            }
            all.extend_from_slice(&more);
        }
        Ok(all)
    }

    async fn some(&self, offset: u64, len: u64) -> Result<Bytes> {
        let mut known = self.graph.known(self.node, offset);
        if !known.is_empty() {
            known.truncate(usize::try_from(len).unwrap_or(usize::MAX));
            return Ok(known);
        }
        let handle = match self.graph.handle(self.node) {
            Some(handle) => handle,
            None => {
                let handle = self.cx.open(&self.graph.content(self.node)).await?;
                self.graph.opened(self.node, handle);
                handle
            }
        };
        let len = len.min(self.graph.run(self.node, offset));
        if len == 0 {
            return Ok(Bytes::new());
        }
        self.cx.read(handle, offset, len).await
    }
}

#[async_trait]
impl ReadAt for Reader<'_> {
    fn len(&self) -> u64 {
        self.graph.len(self.node)
    }

    async fn read_at(&self, offset: u64, len: u64) -> Result<Bytes, ReadError> {
        Ok(self.some(offset, len).await?)
    }
}

/// What an archive could not be read for, as an import's error.
pub(crate) fn failed(error: altmount_archive::Error) -> ImportError {
    use altmount_archive::ErrorKind as Archive;
    use altmount_sdk::ErrorKind;
    let kind = match error.kind() {
        Archive::PasswordRequired => ErrorKind::PasswordRequired,
        Archive::WrongPassword => ErrorKind::WrongPassword,
        Archive::UnsupportedEncryption | Archive::Unsupported => ErrorKind::Unsupported,
        Archive::MissingVolume => ErrorKind::Missing,
        Archive::Limit => ErrorKind::Limit,
        _ => ErrorKind::Invalid,
    };
    let text = error.message().to_owned();
    let source = error
        .into_read_error()
        .map(|source| source.downcast::<ImportError>());
    match source {
        Some(Ok(error)) => *error,
        Some(Err(other)) => ImportError::new(ErrorKind::Io, other.to_string()),
        None => ImportError::new(kind, text),
    }
}
