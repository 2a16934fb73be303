//! One archive from its volumes, whatever the format.

use crate::{
    Error, ErrorKind, Joined, Member, Passwords, ReadAt, Result, image, map_to_volumes, rar, read_exact,
    sevenz,
    sniff::{self, Kind},
    split, volume_name, zip,
};
use futures::future::try_join_all;

/// An archive, or an image of a file system.
#[derive(Debug)]
pub struct Archive {
    /// Its format.
    pub format: Kind,
    /// The volumes in order: indexes of what [`open`] was given.
    pub volumes: Vec<usize>,
    /// The members; the volumes of their extents are indexes of what [`open`] was given.
    pub members: Vec<Member>,
    /// What there is to tell of damaged headers and of volumes that were left out.
    pub notes: Vec<String>,
}

/// Opens the one archive that these volumes (a name and the bytes of each, in any order) make up. The order is told by headers;
/// names count where nothing else decides.
///
/// # Errors
/// [`ErrorKind::Format`] for what is no archive, [`ErrorKind::Unsupported`] for the volumes of several archives,
/// [`ErrorKind::Invalid`] where nothing tells the order, and those of the formats.
pub async fn open<R: ReadAt>(volumes: &[(&str, R)], passwords: &Passwords) -> Result<Archive> {
    if volumes.is_empty() {
        return Err(Error::new(ErrorKind::Format, "there is no volume"));
    }
    let heads = try_join_all(
        volumes
            .iter()
            .map(|(_, reader)| read_exact(reader, 0, sniff::HEAD.min(reader.len()))),
    )
    .await?;
    let kinds: Vec<Option<Kind>> = heads.iter().map(|head| sniff::detect(head)).collect();
    if kinds
        .iter()
        .any(|kind| matches!(kind, Some(Kind::Rar4 | Kind::Rar5)))
    {
        return rars(volumes, passwords).await;
    }
    // A ZIP is cut into pieces like any file, or written to disks that know of each other.
    let order = match joined(volumes, &heads) {
        Err(_) if kinds.contains(&Some(Kind::Zip)) => return zips(volumes, passwords).await,
        order => order?,
    };
    let parts: Vec<&R> = order.iter().map(|at| &volumes[*at].1).collect();
    let lens: Vec<u64> = parts.iter().map(|part| part.len()).collect();
    let whole = Joined::new(parts)?;
    let kind = match kinds[order[0]] {
        kind @ Some(Kind::Image | Kind::SevenZ | Kind::Zip) => kind,
        // Behind a self-extractor's program, or whatever else somebody put in front.
        _ => sniff::find_archive(&whole).await?.map(|(kind, _)| kind),
    };
    let (format, mut members) = match kind {
        Some(Kind::Image) => (Kind::Image, image::open(&whole).await?.1),
        Some(Kind::SevenZ) => (Kind::SevenZ, sevenz::open(&whole, passwords).await?.members),
        Some(Kind::Zip) => (Kind::Zip, zip::open(&[&whole], passwords).await?.members),
        Some(Kind::Rar4 | Kind::Rar5) => return rars(volumes, passwords).await,
        _ => return Err(no_archive(volumes)),
    };
    for member in &mut members {
        member.extents = map_to_volumes(&member.extents, &lens)?
            .into_iter()
            .map(|extent| given(extent, &order))
            .collect();
    }
    Ok(Archive {
        format,
        volumes: order,
        members,
        notes: Vec::new(),
    })
}

/// An extent over volumes in order as one over the volumes as they were given.
fn given(extent: crate::Extent, order: &[usize]) -> crate::Extent {
    match extent {
        crate::Extent::Data { volume, offset, len } => crate::Extent::Data {
            volume: order[volume],
            offset,
            len,
        },
        zero @ crate::Extent::Zero { .. } => zero,
    }
}

fn no_archive<R>(volumes: &[(&str, R)]) -> Error {
    let text = format!("'{}' is no archive that can be read", volumes[0].0);
    Error::new(ErrorKind::Format, text)
}

fn untold(count: usize) -> Error {
    Error::invalid(format!(
        "neither headers nor checksums nor names tell the order of the {count} volumes"
    ))
}

async fn rars<R: ReadAt>(volumes: &[(&str, R)], passwords: &Passwords) -> Result<Archive> {
    let rar::Opened { mut sets, failed } = rar::open(volumes, passwords).await?;
    if sets.len() > 1 {
        let text = format!("the volumes belong to {} archives; give those of one", sets.len());
        return Err(Error::unsupported(text));
    }
    let Some(set) = sets.pop() else {
        let first = failed.into_iter().next().map(|(_, error)| error);
        return Err(first.unwrap_or_else(|| no_archive(volumes)));
    };
    if set.proof == rar::Proof::Given && set.volumes.len() > 1 {
        return Err(untold(set.volumes.len()));
    }
    if set.members.is_empty() && set.missing_volumes {
        return Err(Error::new(
            ErrorKind::MissingVolume,
            "volumes of the archive are missing",
        ));
    }
    let mut notes = set.damage;
    let left_out = failed.iter().map(|(at, error)| (at, error.to_string()));
    notes.extend(left_out.map(|(at, why)| format!("'{}' is left out: {why}", volumes[*at].0)));
    let twice = set.duplicates.iter().map(|at| volumes[*at].0);
    notes.extend(twice.map(|name| format!("'{name}' is left out: another volume has its place")));
    Ok(Archive {
        format: match set.format {
            rar::Format::Rar4 => Kind::Rar4,
            rar::Format::Rar5 => Kind::Rar5,
        },
        volumes: set.volumes,
        members: set.members,
        notes,
    })
}

async fn zips<R: ReadAt>(volumes: &[(&str, R)], passwords: &Passwords) -> Result<Archive> {
    let mut named: Vec<usize> = (0..volumes.len()).collect();
    named.sort_by_key(|at| volume_name(volumes[*at].0).1.unwrap_or(u64::MAX));
    let readers: Vec<&dyn ReadAt> = named.iter().map(|at| &volumes[*at].1 as &dyn ReadAt).collect();
    let order = zip::order(&readers).await?;
    let ordered: Vec<&dyn ReadAt> = order.iter().map(|at| readers[*at]).collect();
    let archive = zip::open(&ordered, passwords).await?;
    let order: Vec<usize> = order.into_iter().map(|at| named[at]).collect();
    let mut members = archive.members;
    for member in &mut members {
        for extent in &mut member.extents {
            *extent = given(*extent, &order);
        }
    }
    Ok(Archive {
        format: Kind::Zip,
        volumes: order,
        members,
        notes: Vec::new(),
    })
}

/// The order of the pieces of one split file.
fn joined<R: ReadAt>(volumes: &[(&str, R)], heads: &[bytes::Bytes]) -> Result<Vec<usize>> {
    if volumes.len() == 1 {
        return Ok(vec![0]);
    }
    let pieces: Vec<split::Piece<'_>> = volumes
        .iter()
        .zip(heads)
        .map(|((name, reader), head)| split::Piece {
            name,
            len: reader.len(),
            head,
        })
        .collect();
    let mut sets = split::join(&pieces);
    match (sets.pop(), sets.is_empty()) {
        (Some(set), true) if set.pieces.len() == volumes.len() => {
            if let Some(promised) = set.promised {
                return Err(Error::new(
                    ErrorKind::MissingVolume,
                    format!(
                        "the pieces have {} bytes and should have {promised}: pieces are missing",
                        set.len
                    ),
                ));
            }
            if set.proof == split::Proof::Given {
                return Err(untold(volumes.len()));
            }
            Ok(set.pieces)
        }
        _ => Err(Error::unsupported(format!(
            "the {} files are not the pieces of one archive",
            volumes.len()
        ))),
    }
}
