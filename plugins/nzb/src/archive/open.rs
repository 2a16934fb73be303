//! The containers among the streams of one depth.

use super::graph::Graph;
use super::members::{self, Container, Failure};
use super::reader::{Reader, failed};
use super::stream::Stream;
use super::{Found, Opened};
use altmount_archive::sniff::Kind;
use altmount_archive::{Member, Passwords, ReadAt, bluray, image, rar, sevenz, split, volume_name, zip};
use altmount_sdk::model::NodeId;
use altmount_sdk::{ErrorKind, ImportContext, ImportError, Node, Result};
use std::collections::BTreeMap;

/// What all steps of a level share.
struct Level<'a> {
    cx: &'a dyn ImportContext,
    passwords: &'a Passwords,
    opened: &'a mut Opened,
    /// What was found inside: the next level.
    members: Vec<Stream>,
}

/// Opens the containers among `streams`; what is none goes to the files, the members come back.
pub(super) async fn level(
    cx: &dyn ImportContext,
    graph: &mut Graph,
    streams: Vec<Stream>,
    passwords: &Passwords,
    opened: &mut Opened,
) -> Result<Vec<Stream>> {
    let mut level = Level {
        cx,
        passwords,
        opened,
        members: Vec::new(),
    };
    let rest = level.rars(graph, streams).await?;
    let rest = level.pieces(graph, rest);
    let rest = level.zips(graph, rest).await?;
    for stream in rest {
        match stream.kind {
            Some(Kind::SevenZ) if !stream.is_document() => level.sevenz(graph, stream).await?,
            Some(Kind::Image) => level.image(graph, stream).await?,
            _ => level.opened.files.push(stream),
        }
    }
    Ok(level.members)
}

impl Level<'_> {
    /// Registers a container and takes its members.
    async fn take(
        &mut self,
        graph: &mut Graph,
        volumes: Vec<Stream>,
        nodes: &[NodeId],
        members: &[Member],
        folder: String,
    ) -> Result<()> {
        let first = &volumes[0];
        let container = Container {
            number: self.opened.containers.len(),
            name: first.name(),
            folder,
            trail: first.trail_below(),
            volumes: nodes,
        };
        let before = self.members.len();
        members::take(
            self.cx,
            graph,
            &container,
            members,
            &mut self.members,
            &mut self.opened.failures,
        )
        .await?;
        let found = Found {
            name: container.name.to_owned(),
            mapped: self.members.len() - before,
            volumes,
        };
        self.opened.containers.push(found);
        Ok(())
    }

    /// Registers a container that cannot be opened at all.
    fn refuse(&mut self, volumes: Vec<Stream>, error: ImportError) {
        self.opened.failures.push(Failure {
            error,
            size: volumes.iter().map(|v| v.len).sum(),
            container: self.opened.containers.len(),
        });
        self.opened.containers.push(Found {
            name: volumes.first().map_or_else(String::new, |v| v.name().to_owned()),
            mapped: 0,
            volumes,
        });
    }

    async fn rars(&mut self, graph: &mut Graph, streams: Vec<Stream>) -> Result<Vec<Stream>> {
        let is_rar = |s: &Stream| matches!(s.kind, Some(Kind::Rar4 | Kind::Rar5)) && !s.is_document();
        // A program among volumes is the first of a self-extracting set.
        let with_program = streams.iter().any(is_rar);
        let which: Vec<usize> = (0..streams.len())
            .filter(|i| is_rar(&streams[*i]) || (with_program && streams[*i].kind == Some(Kind::Executable)))
            .collect();
        if which.is_empty() {
            return Ok(streams);
        }
        let volumes: Vec<(&str, Reader<'_>)> = which
            .iter()
            .map(|i| (streams[*i].name(), Reader::new(self.cx, graph, streams[*i].node)))
            .collect();
        let found = rar::open(&volumes, self.passwords).await.map_err(failed)?;
        let nodes: Vec<NodeId> = which.iter().map(|i| streams[*i].node).collect();
        let mut taken = vec![false; streams.len()];
        // A program without an archive behind it is a program.
        let unread: Vec<(usize, ImportError)> = found
            .failed
            .into_iter()
            .map(|(volume, error)| (which[volume], failed(error)))
            .filter(|(i, _)| is_rar(&streams[*i]))
            .map(|(i, mut error)| {
                error.message = format!("archive '{}': {}", streams[i].name(), error.message);
                (i, error)
            })
            .collect();
        for set in &found.sets {
            let volumes = set.volumes.iter().chain(&set.duplicates).map(|v| which[*v]);
            let volumes: Vec<usize> = volumes.collect();
            volumes.iter().for_each(|i| taken[*i] = true);
            let volumes: Vec<Stream> = volumes.into_iter().map(|i| streams[i].clone()).collect();
            self.opened.notes.extend(set.damage.iter().cloned());
            let folder = volumes[0].folder().to_owned();
            // A guess could be other bytes than were posted.
            if set.proof == rar::Proof::Given && set.volumes.len() > 1 {
                let text = format!(
                    "archive '{}': neither headers nor checksums nor names tell the order of its {} volumes",
                    volumes[0].name(),
                    volumes.len()
                );
                self.refuse(volumes, ImportError::new(ErrorKind::Invalid, text));
                continue;
            }
            if set.members.is_empty() && set.missing_volumes {
                let text = format!("archive '{}': volumes of it are missing", volumes[0].name());
                self.refuse(volumes, ImportError::new(ErrorKind::Missing, text));
                continue;
            }
            self.take(graph, volumes, &nodes, &set.members, folder).await?;
        }
        // Volumes that fail alike are one archive to people.
        let mut alike: BTreeMap<(String, &str), (Vec<Stream>, ImportError)> = BTreeMap::new();
        for (i, error) in unread {
            taken[i] = true;
            let key = (volume_name(streams[i].name()).0, error.kind.as_str());
            alike
                .entry(key)
                .or_insert_with(|| (Vec::new(), error))
                .0
                .push(streams[i].clone());
        }
        for (volumes, error) in alike.into_values() {
            self.refuse(volumes, error);
        }
        Ok(streams
            .into_iter()
            .zip(taken)
            .filter(|(_, taken)| !taken)
            .map(|(s, _)| s)
            .collect())
    }

    /// Joins split files; a joined one takes the place of its pieces.
    fn pieces(&mut self, graph: &mut Graph, streams: Vec<Stream>) -> Vec<Stream> {
        let pieces: Vec<split::Piece<'_>> = streams
            .iter()
            .map(|s| split::Piece {
                name: s.name(),
                len: s.len,
                head: &s.head,
            })
            .collect();
        let sets = split::join(&pieces);
        let mut taken = vec![false; streams.len()];
        let mut whole = Vec::new();
        for set in sets {
            set.pieces.iter().for_each(|i| taken[*i] = true);
            let first = &streams[set.pieces[0]];
            let parts: Vec<Stream> = set.pieces.iter().map(|i| streams[*i].clone()).collect();
            if let Some(promised) = set.promised {
                let text = format!(
                    "split file '{}': its {} pieces have {} bytes and should have {promised}: pieces of it are missing",
                    set.name.as_deref().unwrap_or(first.name()),
                    parts.len(),
                    set.len
                );
                self.refuse(parts, ImportError::new(ErrorKind::Missing, text));
                continue;
            }
            if set.proof == split::Proof::Given {
                let text = format!(
                    "split file '{}': neither names nor lengths tell the order of its {} pieces",
                    first.name(),
                    parts.len()
                );
                self.refuse(parts, ImportError::new(ErrorKind::Invalid, text));
                continue;
            }
            let node = graph.push(Node::Concat {
                parts: parts.iter().map(|p| p.node).collect(),
            });
            let mut joined = first.clone();
            if let Some(name) = &set.name {
                joined.path = format!("{}{name}", first.folder());
                joined.name_source = format!("'{}' without its number", first.name());
            }
            joined.node = node;
            joined.len = set.len;
            joined.posted = parts.iter().flat_map(|p| p.posted.iter().copied()).collect();
            joined.method = Some(format!("split into {} pieces", parts.len()));
            // Posted pieces are kept as volumes are.
            self.opened.containers.push(Found {
                name: first.name().to_owned(),
                mapped: 1,
                volumes: parts,
            });
            whole.push(joined);
        }
        let rest = streams
            .into_iter()
            .zip(taken)
            .filter(|(_, taken)| !taken)
            .map(|(s, _)| s);
        rest.chain(whole).collect()
    }

    async fn zips(&mut self, graph: &mut Graph, streams: Vec<Stream>) -> Result<Vec<Stream>> {
        let (mut rest, mut spanned) = (Vec::new(), Vec::new());
        for stream in streams {
            let numbered = stream.extension().is_some_and(|e| {
                e.strip_prefix('z')
                    .is_some_and(|n| n.len() >= 2 && n.bytes().all(|b| b.is_ascii_digit()))
            });
            // The last disk begins in the middle of a member, and has the directory.
            let last = stream.kind != Some(Kind::Zip) && stream.extension().as_deref() == Some("zip");
            if numbered || last {
                spanned.push(stream);
            } else if stream.kind == Some(Kind::Zip) && !stream.is_document() {
                let reader = Reader::new(self.cx, graph, stream.node);
                match zip::open(&[&reader], self.passwords).await {
                    Ok(archive) => {
                        let (folder, node) = (stream.folder().to_owned(), stream.node);
                        self.take(graph, vec![stream], &[node], &archive.members, folder)
                            .await?;
                    }
                    Err(error) => match error.kind() {
                        altmount_archive::ErrorKind::MissingVolume | altmount_archive::ErrorKind::Format => {
                            spanned.push(stream);
                        }
                        _ => {
                            let mut error = failed(error);
                            if matches!(error.kind, ErrorKind::Io | ErrorKind::Cancelled) {
                                return Err(error);
                            }
                            error.message = format!("archive '{}': {}", stream.name(), error.message);
                            self.refuse(vec![stream], error);
                        }
                    },
                }
            } else {
                rest.push(stream);
            }
        }
        let mut groups: BTreeMap<String, Vec<Stream>> = BTreeMap::new();
        for stream in spanned {
            let lower = stream.path.to_lowercase();
            let stem = lower
                .rsplit_once('.')
                .map_or(lower.clone(), |(stem, _)| stem.to_owned());
            groups.entry(stem).or_default().push(stream);
        }
        for mut group in groups.into_values() {
            if group.len() == 1 && group[0].kind != Some(Kind::Zip) {
                rest.append(&mut group);
                continue;
            }
            group.sort_by_key(|s| volume_name(s.name()).1.unwrap_or(u64::MAX));
            self.spanned(graph, group).await?;
        }
        Ok(rest)
    }

    async fn spanned(&mut self, graph: &mut Graph, group: Vec<Stream>) -> Result<()> {
        let opened = {
            let readers: Vec<Reader<'_>> = group
                .iter()
                .map(|s| Reader::new(self.cx, graph, s.node))
                .collect();
            let readers: Vec<&dyn ReadAt> = readers.iter().map(|r| r as &dyn ReadAt).collect();
            match zip::order(&readers).await {
                Ok(order) => {
                    let ordered: Vec<&dyn ReadAt> = order.iter().map(|i| readers[*i]).collect();
                    zip::open(&ordered, self.passwords)
                        .await
                        .map(|archive| (order, archive))
                }
                Err(error) => Err(error),
            }
        };
        match opened {
            Ok((order, archive)) => {
                let nodes: Vec<NodeId> = order.iter().map(|i| group[*i].node).collect();
                let folder = group[0].folder().to_owned();
                self.take(graph, group, &nodes, &archive.members, folder).await
            }
            Err(error) => {
                let mut error = failed(error);
                if matches!(error.kind, ErrorKind::Io | ErrorKind::Cancelled) {
                    return Err(error);
                }
                error.message = format!("archive '{}': {}", group[0].name(), error.message);
                self.refuse(group, error);
                Ok(())
            }
        }
    }

    async fn sevenz(&mut self, graph: &mut Graph, stream: Stream) -> Result<()> {
        let reader = Reader::new(self.cx, graph, stream.node);
        match sevenz::open(&reader, self.passwords).await {
            Ok(archive) => {
                let (folder, node) = (stream.folder().to_owned(), stream.node);
                self.take(graph, vec![stream], &[node], &archive.members, folder)
                    .await
            }
            Err(error) => {
                let short = error.kind() == altmount_archive::ErrorKind::Truncated;
                let mut error = failed(error);
                if matches!(error.kind, ErrorKind::Io | ErrorKind::Cancelled) {
                    return Err(error);
                }
                if short {
                    // Its end is in volumes that are not there.
                    error.kind = ErrorKind::Missing;
                }
                error.message = format!("archive '{}': {}", stream.name(), error.message);
                self.refuse(vec![stream], error);
                Ok(())
            }
        }
    }

    /// An image stays a file, and its members are files beside it.
    async fn image(&mut self, graph: &mut Graph, stream: Stream) -> Result<()> {
        let reader = Reader::new(self.cx, graph, stream.node);
        let members = match image::open(&reader).await {
            Ok((_, members)) => members,
            Err(error) => {
                let error = failed(error);
                if matches!(error.kind, ErrorKind::Io | ErrorKind::Cancelled) {
                    return Err(error);
                }
                self.opened.notes.push(format!(
                    "image '{}' is listed as it is: {}",
                    stream.name(),
                    error.message
                ));
                self.opened.files.push(stream);
                return Ok(());
            }
        };
        let name = stream.name();
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        let folder = format!("{}{stem}/", stream.folder());
        if let Some(main) = self.main_title(graph, &stream, &members).await? {
            self.members.push(main);
        }
        let node = stream.node;
        let whole = stream.clone();
        // The image is listed itself, so it is no volume that is kept aside.
        let mut container = stream;
        container.posted.clear();
        self.take(graph, vec![container], &[node], &members, folder)
            .await?;
        self.opened.files.push(whole);
        Ok(())
    }

    /// The main playlist of a Blu-ray as one stream.
    async fn main_title(
        &self,
        graph: &mut Graph,
        disc: &Stream,
        members: &[Member],
    ) -> Result<Option<Stream>> {
        const LONGEST: u64 = 1 << 20;
        let mut read = Vec::new();
        for at in bluray::playlists(members) {
            let Ok(altmount_archive::Plan::Map(map)) = altmount_archive::plan(&members[at]) else {
                continue;
            };
            let node = graph.map(&map, &[disc.node]).map_err(failed)?;
            let bytes = Reader::new(self.cx, graph, node).up_to(0, LONGEST).await?;
            read.push((at, bytes));
        }
        let Some(main) = bluray::main(members, &read) else {
            return Ok(None);
        };
        let Ok(map) = bluray::stream(members, &main) else {
            return Ok(None);
        };
        let node = graph.map(&map, &[disc.node]).map_err(failed)?;
        let name = disc.name();
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        Ok(Some(Stream {
            path: format!("{}{stem}.m2ts", disc.folder()),
            node,
            len: map.len,
            kind: Some(Kind::M2ts),
            head: altmount_sdk::Bytes::new(),
            posted: Vec::new(),
            trail: disc.trail_below(),
            member: members[main.playlist].path.clone(),
            method: Some("main playlist".to_owned()),
            modified: members[main.playlist].modified,
            name_source: format!("main playlist of '{name}', {} minutes", main.duration_ms / 60_000),
        }))
    }
}
