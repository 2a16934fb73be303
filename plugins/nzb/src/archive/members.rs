//! From an archive's members to streams, or to why they cannot be.

use super::graph::Graph;
use super::reader::{Reader, failed};
use super::stream::{Stream, safe_path};
use altmount_archive::{Check, Map, Member, MemberKind, Plan, plan};
use altmount_sdk::model::NodeId;
use altmount_sdk::{Bytes, ErrorKind, ImportContext, ImportError, Node, Result};

/// A member, or a whole container, that cannot be mapped.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// Kind, and a sentence that names archive, member and reason.
    pub(crate) error: ImportError,
    /// The length of what is lost, in bytes.
    pub(crate) size: u64,
    /// Which container, by its number in [`super::Opened::containers`].
    pub(crate) container: usize,
}

/// The most bytes of a member that are read to prove a password which nothing else proves.
const MAX_PROOF: u64 = 32 << 20;

/// An opened container.
pub(crate) struct Container<'a> {
    pub(crate) number: usize,
    /// Name for people: that of its first volume.
    pub(crate) name: &'a str,
    /// Folder under which its members lie, with a `/` at the end where there is one.
    pub(crate) folder: String,
    pub(crate) trail: Vec<String>,
    /// What the volumes of the members' extents are.
    pub(crate) volumes: &'a [NodeId],
}

/// Adds what can be mapped of `members` to `streams` and the rest to `failures`.
pub(crate) async fn take(
    cx: &dyn ImportContext,
    graph: &mut Graph,
    container: &Container<'_>,
    members: &[Member],
    streams: &mut Vec<Stream>,
    failures: &mut Vec<Failure>,
) -> Result<()> {
    for member in members.iter().filter(|m| m.kind == MemberKind::File) {
        let fail = |error: ImportError| Failure {
            error,
            size: member.size,
            container: container.number,
        };
        match planned(container, member) {
            Ok(map) => {
                let node = match &map {
                    Some(map) => graph.map(map, container.volumes).map_err(failed)?,
                    None => graph.push(Node::Inline { bytes: Vec::new() }),
                };
                if let Some(map) = &map
                    && !proven(cx, graph, node, map, member).await?
                {
                    let text = format!(
                        "archive '{}': no password fits '{}': its checksum is another",
                        container.name, member.path
                    );
                    failures.push(fail(ImportError::new(ErrorKind::WrongPassword, text)));
                    continue;
                }
                let encrypted = map.as_ref().and_then(|m| m.cipher.as_ref());
                streams.push(Stream {
                    path: format!("{}{}", container.folder, safe_path(&member.path)),
                    node,
                    len: member.size,
                    kind: None,
                    head: Bytes::new(),
                    posted: Vec::new(),
                    trail: container.trail.clone(),
                    member: safe_path(&member.path),
                    method: Some(match encrypted {
                        None => "stored".to_owned(),
                        Some(cipher) => format!("stored, AES-{}", cipher.key.bytes().len() * 8),
                    }),
                    modified: member.modified,
                    name_source: format!("path in '{}'", container.name),
                });
            }
            Err(error) => failures.push(fail(error)),
        }
    }
    Ok(())
}

/// Where a member's bytes lie; `None` where it has none.
fn planned(container: &Container<'_>, member: &Member) -> Result<Option<Map>, ImportError> {
    let archive = container.name;
    match plan(member) {
        Ok(Plan::Map(map)) => Ok(Some(map)),
        // An empty file has nothing to unpack, whatever its archive's method.
        Ok(Plan::Unpack { .. }) if member.size == 0 => Ok(None),
        Ok(Plan::Unpack { method }) => {
            let text = format!(
                "archive '{archive}': '{}' is compressed ({method}), and only stored files can be read in place",
                member.path
            );
            let error = ImportError::new(ErrorKind::Compressed, text);
            Err(error.with("member", &member.path).with("method", method))
        }
        Err(error) => {
            let mut error = failed(error);
            error.message = format!("archive '{archive}': {}", error.message);
            Err(error.with("member", &member.path))
        }
    }
}

/// Whether a password that nothing in the archive proves is right by the member's checksum. Members that are too long to be read
/// for it are believed.
async fn proven(
    cx: &dyn ImportContext,
    graph: &Graph,
    node: NodeId,
    map: &Map,
    member: &Member,
) -> Result<bool> {
    let unproven = map.cipher.as_ref().is_some_and(|cipher| !cipher.confirmed);
    let (true, Check::Crc32(expected), true) = (unproven, member.check, member.size <= MAX_PROOF) else {
        return Ok(true);
    };
    let reader = Reader::new(cx, graph, node);
    let bytes = reader.up_to(0, member.size).await?;
    Ok(crc32fast::hash(&bytes) == expected)
}
