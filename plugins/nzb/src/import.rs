//! One import, in order: read the NZB, learn how each file lies and what it is, name it, open the containers, choose what is
//! listed, check that it is there, emit it.

use crate::archive::{self, Graph, Stream};
use crate::check::{self, Asked, Listed};
use crate::decode::NzbReader;
use crate::early::{self, Early};
use crate::fetch::Source;
use crate::heads::{self, Posted, Unlaid};
use crate::listing::{self, Leaf};
use crate::names::{self, Name};
use crate::nzb::Nzb;
use crate::parse::{PIECE, Parser};
use crate::sets::{self, Likely};
use crate::{Config, damage, described};
use altmount_archive::Passwords;
use altmount_sdk::model::NodeId;
use altmount_sdk::{
    Attributes, ByteRange, Content, ErrorKind, Handle, ImportContext, ImportError, ImportRequest, Node,
    Result, Role, Summary, VPath, VirtualFile,
};
use futures::channel::oneshot;
use std::collections::{BTreeMap, BTreeSet};

/// How many names an error or a note lists.
const NAMED: usize = 10;

pub(crate) async fn run(config: &Config, request: &ImportRequest, cx: &dyn ImportContext) -> Result<Summary> {
    let nzb = read_nzb(config, cx).await?;
    if nzb.files.is_empty() {
        let text = match nzb.empty.len() {
            0 => "the NZB lists no files".to_owned(),
            n => format!("the NZB lists {n} files and not one article with a usable message-id"),
        };
        return Err(ImportError::new(ErrorKind::NothingUsable, text));
    }
    let source = Source {
        cx,
        nzb: &nzb,
        config,
    };
    let files = sets::likely(&nzb);
    let early = Early::new(source, &files);
    let (asked, told) = oneshot::channel();
    let beside = async {
        futures::join!(early.known(), early::bring_ends(source, &files, told));
    };
    early::while_running(import(source, &files, &early, asked, request), beside).await
}

async fn import(
    source: Source<'_>,
    files: &[Likely<'_>],
    early: &Early<'_>,
    asked: oneshot::Sender<()>,
    request: &ImportRequest,
) -> Result<Summary> {
    let Source { cx, nzb, config } = source;
    let mut notes = Vec::new();
    note_empty(nzb, &mut notes);

    // Half of the way is reading heads, the other half asking whether all is there.
    let steps = 2 * nzb.files.len() as u64;
    let progress = |done: usize| cx.progress((done as u64).min(steps / 2), steps);
    let (mut posted, unlaid) = heads::read(source, files, asked, &progress).await?;
    damaged(source, early, request, unlaid, &mut notes).await?;

    let mut graph = Graph::default();
    let nodes: Vec<NodeId> = posted
        .iter()
        .map(|p| {
            graph.posted(
                p.table,
                p.laid.articles.runs().map(|(_, count, len)| (count, len)),
            )
        })
        .collect();
    for (posted, node) in posted.iter().zip(&nodes) {
        if let Some(handle) = posted.handle {
            graph.opened(*node, handle);
        }
        graph.keep_head(*node, posted.head.bytes.clone());
    }
    let names = named(source, request, &graph, &posted, &nodes).await?;
    for (posted, name) in posted.iter().zip(&names) {
        note_replaced(&name.text, posted.laid.replaced, &mut notes);
    }
    let is_sidecar =
        |i: usize| listing::role(config, &names[i].text, posted[i].head.extension) == Role::Sidecar;
    let sidecars: Vec<usize> = (0..posted.len()).filter(|i| is_sidecar(*i)).collect();
    let streams = (0..posted.len())
        .filter(|i| !is_sidecar(*i))
        .map(|i| stream(i, &posted[i], &names[i], nodes[i]))
        .collect();
    let passwords = passwords(nzb, request);
    let opened = archive::expand(cx, &mut graph, streams, &passwords, config.max_depth).await?;
    let volumes = opened.volumes();
    let mut leaves = listing::leaves(config, opened, &mut notes)?;
    listing::lend_release_name(&mut leaves, &request.release_name);
    if leaves.iter().all(|leaf| leaf.role == Role::Sidecar) {
        let kept = sidecars.iter().map(|i| names[*i].text.clone());
        let seen: Vec<String> = leaves.iter().map(|l| l.stream.path.clone()).chain(kept).collect();
        return Err(listing::nothing_usable(&seen));
    }

    let holes = check_presence(
        source,
        early,
        &mut graph,
        &mut posted,
        &names,
        &leaves,
        steps,
        &mut notes,
    )
    .await?;
    let shown: BTreeSet<usize> = leaves.iter().filter_map(|leaf| plain(&leaf.stream)).collect();
    // What people are not shown is kept: for repair, for export, for another way of looking at it.
    let kept = sidecars
        .into_iter()
        .chain(volumes.into_iter().filter(|i| !shown.contains(i)));
    for (at, leaf) in leaves.into_iter().enumerate() {
        let date = leaf.stream.posted.first().and_then(|i| posted[*i].file.date);
        emit(
            cx,
            &mut graph,
            leaf,
            date.or(posted.first().and_then(|p| p.file.date)),
            holes.get(&at),
        )?;
    }
    for i in kept {
        let leaf = Leaf {
            stream: stream(i, &posted[i], &names[i], nodes[i]),
            role: Role::Sidecar,
        };
        emit(cx, &mut graph, leaf, posted[i].file.date, None)?;
    }
    cx.progress(steps, steps);
    Ok(Summary {
        notes,
        meta: nzb.meta.clone(),
    })
}

/// Reads and parses the queued file piece by piece.
async fn read_nzb(config: &Config, cx: &dyn ImportContext) -> Result<Nzb> {
    let len = cx.len(Handle::UPLOAD)?;
    if len == 0 {
        return Err(ImportError::new(ErrorKind::Invalid, "the file is empty"));
    }
    let mut reader = NzbReader::new(Parser::new(config), config.max_xml_bytes);
    let mut at = 0;
    while at < len {
        let mut pushed = Ok(0);
        let mut push = |piece: &[u8]| pushed = reader.push(piece).map(|()| piece.len() as u64);
        cx.read_with(Handle::UPLOAD, at, PIECE as u64, &mut push).await?;
        let pushed = pushed?;
        if pushed == 0 {
            let text = format!("the queued file ended at {at} of {len} bytes");
            return Err(ImportError::new(ErrorKind::Io, text));
        }
        at += pushed;
    }
    reader.finish()
}

fn note_empty(nzb: &Nzb, notes: &mut Vec<String>) {
    if !nzb.empty.is_empty() {
        let subjects = nzb.empty.iter().map(|s| crate::parse::clipped(s, 120));
        notes.push(format!(
            "without a usable article, and left out: {}",
            some_of(subjects, nzb.empty.len())
        ));
    }
}

fn note_replaced(name: &str, replaced: u32, notes: &mut Vec<String>) {
    if replaced > 0 {
        notes.push(format!(
            "'{name}': {replaced} missing articles are replaced by others with the same number"
        ));
    }
}

/// A damaged file that would not be listed anyway is left out with a note, any other one fails the release.
async fn damaged(
    source: Source<'_>,
    early: &Early<'_>,
    request: &ImportRequest,
    unlaid: Vec<Unlaid<'_>>,
    notes: &mut Vec<String>,
) -> Result<()> {
    let mut wanted = Vec::new();
    let unwanted = listing::unwanted(source.config);
    for file in unlaid {
        let name = names::choose(None, None, &file.file.subject, &request.release_name, None).text;
        if unwanted(&name) {
            notes.push(format!("'{name}' is left out: {}", file.damage.reason()));
        } else {
            wanted.push(file);
        }
    }
    if wanted.is_empty() {
        return Ok(());
    }
    Err(damage::unlaid(source, early, &request.release_name, wanted).await?)
}

/// The name of each posted file.
async fn named(
    source: Source<'_>,
    request: &ImportRequest,
    graph: &Graph,
    posted: &[Posted<'_>],
    nodes: &[NodeId],
) -> Result<Vec<Name>> {
    let sets = described::read(source.cx, graph, posted, nodes).await?;
    let lookup = sets.lookup();
    let name = |posted: &Posted<'_>| {
        let par2 = posted
            .head
            .hash16k
            .and_then(|hash| lookup.name(hash, posted.size));
        let yenc = posted.laid.yenc_name.as_deref();
        let subject = &posted.file.subject;
        names::choose(par2, yenc, subject, &request.release_name, posted.head.extension)
    };
    Ok(posted.iter().map(name).collect())
}

/// What is tried, in order: what the NZB itself says, then what came with the request.
fn passwords(nzb: &Nzb, request: &ImportRequest) -> Passwords {
    let own = nzb
        .meta
        .iter()
        .filter(|(key, _)| key == "password")
        .map(|(_, value)| value.as_str());
    Passwords::new(own.chain(request.passwords.iter().map(String::as_str)))
}

/// A posted file as it is.
fn stream(i: usize, posted: &Posted<'_>, name: &Name, node: NodeId) -> Stream {
    Stream {
        path: name.text.clone(),
        node,
        len: posted.size,
        kind: posted.head.kind,
        head: posted.head.bytes.clone(),
        posted: vec![i],
        trail: Vec::new(),
        member: String::new(),
        method: None,
        modified: posted.file.date,
        name_source: name.source.clone(),
    }
}

/// The posted file that a stream is, where it is one as it is.
fn plain(stream: &Stream) -> Option<usize> {
    match stream.posted[..] {
        [one] if stream.trail.is_empty() => Some(one),
        _ => None,
    }
}

/// Asks for the articles that listed files need; returns the holes that the damage policy takes, by the place of the file.
#[expect(
    clippy::too_many_arguments,
    reason = "one step of the import, with what the steps before it made"
)]
async fn check_presence(
    source: Source<'_>,
    early: &Early<'_>,
    graph: &mut Graph,
    posted: &mut [Posted<'_>],
    names: &[Name],
    leaves: &[Leaf],
    steps: u64,
    notes: &mut Vec<String>,
) -> Result<BTreeMap<usize, Vec<ByteRange>>> {
    let listed = leaves.iter().filter(|leaf| leaf.role == Role::Main);
    let needed: BTreeSet<_> = listed
        .flat_map(|leaf| Graph::tables(&graph.content(leaf.stream.node)).collect::<Vec<_>>())
        .collect();
    let (mut which, mut files) = (Vec::new(), Vec::new());
    for (i, posted) in posted.iter_mut().enumerate() {
        if needed.contains(&posted.table) {
            which.push(i);
            files.push(Listed {
                file: posted.file,
                table: posted.table,
                laid: &mut posted.laid,
            });
        }
    }
    let before: Vec<u32> = files.iter().map(|l| l.laid.replaced).collect();
    let progress = |done: usize, of: usize| {
        let part = (steps / 2) * done as u64 / of.max(1) as u64;
        source.cx.progress(steps / 2 + part, steps);
    };
    let settled =
        |files: &[Listed<'_>], heard: &[Asked]| damage::is_settled(source, graph, leaves, files, heard);
    let asked = check::check(source, early, &mut files, &settled, &progress).await?;
    drop(files);
    for (i, before) in which.iter().zip(before) {
        let posted = &mut posted[*i];
        if posted.laid.replaced > before {
            let table = source
                .cx
                .define_articles(source.table(posted.file, &posted.laid)?)?;
            graph.replace(posted.table, table);
            posted.table = table;
            note_replaced(&names[*i].text, posted.laid.replaced - before, notes);
        }
    }
    damage::judge(source, graph, posted, &which, &asked, leaves, notes)
}

fn emit(
    cx: &dyn ImportContext,
    graph: &mut Graph,
    leaf: Leaf,
    date: Option<i64>,
    holes: Option<&Vec<ByteRange>>,
) -> Result<()> {
    let stream = leaf.stream;
    let path = VPath::new(&stream.path).map_err(|e| {
        ImportError::new(
            ErrorKind::Internal,
            format!("the sanitised name '{}' is no path: {e}", stream.path),
        )
    })?;
    let (content, holes): (Content, Vec<ByteRange>) = match holes {
        None => (graph.content(stream.node), Vec::new()),
        Some(holes) => (filled(graph, &stream, holes), holes.clone()),
    };
    let mut file = VirtualFile::new(path, stream.len, content);
    file.mtime = stream.modified.or(date);
    let inside = !stream.trail.is_empty();
    file.attributes = Attributes {
        role: leaf.role,
        name_source: Some(stream.name_source),
        archive_path: inside.then(|| format!("{}/{}", stream.trail.join("/"), stream.member)),
        method: stream.method,
        holes,
    };
    cx.emit(file)
}

/// The content of a file with zero bytes where its holes are.
fn filled(graph: &mut Graph, stream: &Stream, holes: &[ByteRange]) -> Content {
    let mut parts = Vec::with_capacity(2 * holes.len() + 1);
    let mut at = 0;
    for hole in holes {
        if at < hole.start {
            parts.push(graph.push(Node::Slice {
                of: stream.node,
                offset: at,
                len: hole.start - at,
            }));
        }
        parts.push(graph.push(Node::Zero { len: hole.len() }));
        at = hole.end;
    }
    if at < stream.len {
        parts.push(graph.push(Node::Slice {
            of: stream.node,
            offset: at,
            len: stream.len - at,
        }));
    }
    let root = graph.push(Node::Concat { parts });
    graph.content(root)
}

/// The first of some names, and how many more there are.
pub(crate) fn some_of<'a>(names: impl Iterator<Item = &'a str>, total: usize) -> String {
    let named: Vec<&str> = names.take(NAMED).collect();
    let more = total.saturating_sub(named.len());
    let mut text = named.join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}
