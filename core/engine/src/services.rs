//! The named services that read archives, PAR2 files and the library for an importer.

use crate::{context::JobContext, error::import_error_of_read, progress::Stage};
use altmount_archive::{
    Extent, Member, MemberKind, Mode, Passwords, Plan, ReadAt, ReadError, plan, sniff::Kind,
};
use altmount_model::Content;
use altmount_par2::{Sets, Want};
use altmount_sdk::{
    ErrorKind, ImportError, Result,
    archive::{ArchiveMap, ArchiveMember, MapCipher, MapExtent, MapRequest, MemberBytes, MemberMap},
    library::{ExistsAnswer, ExistsRequest},
    par2::{Described, Names, NamesRequest},
};
use altmount_store::Store;
use altmount_vfs::Reader;
use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

/// Most volumes, PAR2 files or files of one call.
const MAX_CONTENTS: usize = 10_000;
/// Most members and runs of bytes of one answer: its JSON stays below some tens of MiB.
const MAX_PARTS: usize = 500_000;
/// Most descriptions of one answer.
const MAX_DESCRIBED: usize = 100_000;
/// Most paths of one call.
const MAX_PATHS: usize = 1000;
/// Such contents are looked into at once; each read takes its turn among all of the import's.
const AT_ONCE: usize = 8;
/// What PAR2 takes the MD5 of, in bytes.
const HASHED: u64 = 16 << 10;
/// What a parser is given of one read at most, in bytes.
const LONGEST_READ: u64 = 1 << 20;

/// A content that a service reads, on the account of the import.
struct Volume<'a> {
    cx: &'a JobContext,
    reader: Reader,
}

#[async_trait]
impl ReadAt for Volume<'_> {
    fn len(&self) -> u64 {
        self.reader.len()
    }

    async fn read_at(&self, offset: u64, len: u64) -> Result<Bytes, ReadError> {
        Ok(self.some(offset, len).await?)
    }
}

impl Volume<'_> {
    /// At least one byte where there is one; what the article at `offset` still has.
    async fn some(&self, offset: u64, len: u64) -> Result<Bytes> {
        let len = len
            .min(LONGEST_READ)
            .min(self.reader.len().saturating_sub(offset));
        let _permit = self.cx.permit().await?;
        let read = self.reader.read_at(offset, len).await;
        let bytes = read.map_err(|error| import_error_of_read(&error))?;
        self.cx.charge(bytes.len() as u64)?;
        Ok(bytes)
    }

    async fn exactly(&self, offset: u64, len: u64) -> Result<Bytes> {
        altmount_archive::read_exact(self, offset, len)
            .await
            .map_err(of_archive)
    }
}

fn within(count: usize, most: usize, what: &str) -> Result<()> {
    if count > most {
        let text = format!("{what}: there are {count}, at most {most} are taken at once");
        return Err(ImportError::new(ErrorKind::Limit, text));
    }
    Ok(())
}

/// Opens contents whose graph, tables and sources the importer may name.
async fn opened<'a>(cx: &'a JobContext, contents: Vec<&Content>) -> Result<Vec<Volume<'a>>> {
    let mut volumes = Vec::new();
    for content in contents {
        volumes.push(Volume {
            cx,
            reader: cx.reader_of(content).await?,
        });
    }
    Ok(volumes)
}

/// `archive.map`.
pub(crate) async fn map(cx: &JobContext, request: MapRequest) -> Result<ArchiveMap> {
    within(request.volumes.len(), MAX_CONTENTS, "volumes of archive.map")?;
    let _turn = cx.service_turn().await?;
    let _doing = cx.progress.doing(Stage::Reading);
    let contents = request.volumes.iter().map(|volume| &volume.content).collect();
    let readers = opened(cx, contents).await?;
    let names = request.volumes.iter().map(|volume| volume.name.as_str());
    let volumes: Vec<(&str, Volume<'_>)> = names.zip(readers).collect();
    let passwords = Passwords::new(request.passwords);
    let archive = altmount_archive::open(&volumes, &passwords)
        .await
        .map_err(of_archive)?;
    let mut parts = 0;
    let mut members = Vec::new();
    for member in archive.members.iter().filter(|m| m.kind == MemberKind::File) {
        parts += 1 + member.extents.len();
        if parts > MAX_PARTS {
            let text = format!("the archive has more than {MAX_PARTS} files and parts of files");
            return Err(ImportError::new(ErrorKind::Limit, text));
        }
        members.push(described(member));
    }
    Ok(ArchiveMap {
        format: match archive.format {
            Kind::Rar4 => "rar4",
            Kind::Rar5 => "rar5",
            Kind::SevenZ => "7z",
            Kind::Zip => "zip",
            _ => "image",
        }
        .to_owned(),
        volumes: archive.volumes.iter().map(|at| number(*at)).collect(),
        members,
        notes: archive.notes,
    })
}

/// An index that came in as one of at most [`MAX_CONTENTS`].
fn number(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

fn described(member: &Member) -> ArchiveMember {
    let method = match &member.method {
        altmount_archive::Method::Stored => "stored".to_owned(),
        altmount_archive::Method::Packed(name) => name.to_string(),
    };
    let bytes = match plan(member) {
        Ok(Plan::Map(map)) => MemberBytes::Map(MemberMap {
            extents: map.extents.iter().map(extent).collect(),
            cipher: map.cipher.map(|cipher| match cipher.mode {
                Mode::Cbc { iv } => MapCipher::Cbc {
                    key: cipher.key,
                    iv,
                    len: cipher.len,
                },
                Mode::Counter => MapCipher::Counter { key: cipher.key },
            }),
            offset: map.offset,
            len: map.len,
        }),
        // An empty file has nothing to unpack.
        Ok(Plan::Unpack { .. }) if member.size == 0 => MemberBytes::Map(MemberMap {
            extents: Vec::new(),
            cipher: None,
            offset: 0,
            len: 0,
        }),
        Ok(Plan::Unpack { method }) => {
            let text = format!(
                "'{}' is compressed ({method}), and only stored files can be read in place",
                member.path
            );
            MemberBytes::Error(ImportError::new(ErrorKind::Compressed, text))
        }
        Err(error) => MemberBytes::Error(of_archive(error)),
    };
    ArchiveMember {
        path: member.path.clone(),
        size: member.size,
        method,
        modified: member.modified,
        bytes,
    }
}

fn extent(extent: &Extent) -> MapExtent {
    match *extent {
        Extent::Data { volume, offset, len } => MapExtent {
            volume: Some(number(volume)),
            offset,
            len,
        },
        Extent::Zero { len } => MapExtent {
            volume: None,
            offset: 0,
            len,
        },
    }
}

/// What an archive could not be read for, as an import's error.
fn of_archive(error: altmount_archive::Error) -> ImportError {
    use altmount_archive::ErrorKind as Archive;
    let kind = match error.kind() {
        Archive::PasswordRequired => ErrorKind::PasswordRequired,
        Archive::WrongPassword => ErrorKind::WrongPassword,
        Archive::UnsupportedEncryption | Archive::Unsupported | Archive::Format => ErrorKind::Unsupported,
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

/// What a PAR2 file describes.
async fn described_by(volume: Volume<'_>) -> Result<Sets> {
    let len = volume.reader.len();
    altmount_par2::scan(len, Want::Names, |offset, len| volume.exactly(offset, len)).await
}

/// By what PAR2 knows a file: the MD5 of its first bytes, and its length.
async fn known_by(volume: Volume<'_>) -> Result<([u8; 16], u64)> {
    let len = volume.reader.len();
    let head = volume.exactly(0, len.min(HASHED)).await?;
    Ok((altmount_par2::hash16k(&head), len))
}

/// `par2.names`.
pub(crate) async fn names(cx: &JobContext, request: NamesRequest) -> Result<Names> {
    within(request.par2.len(), MAX_CONTENTS, "PAR2 files of par2.names")?;
    within(request.files.len(), MAX_CONTENTS, "files of par2.names")?;
    let _turn = cx.service_turn().await?;
    let _doing = cx.progress.doing(Stage::Reading);
    let par2 = opened(cx, request.par2.iter().collect()).await?;
    let found: Vec<Sets> = stream::iter(par2)
        .map(described_by)
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    let mut sets = Sets::default();
    found.into_iter().for_each(|found| sets.merge(found));
    let described: Vec<Described> = sets
        .sets
        .values()
        .flat_map(|set| set.files.values())
        .map(|file| Described {
            name: file.name.clone(),
            len: file.len,
            md5: hex::encode(file.md5),
            md5_16k: hex::encode(file.hash16k),
        })
        .collect();
    within(described.len(), MAX_DESCRIBED, "files that are described")?;
    let lookup = sets.lookup();
    let files = if lookup.is_empty() {
        Vec::new()
    } else {
        opened(cx, request.files.iter().collect()).await?
    };
    let known: Vec<([u8; 16], u64)> = stream::iter(files)
        .map(known_by)
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    let mut names: Vec<Option<String>> = known
        .into_iter()
        .map(|(hash, len)| lookup.name(hash, len).map(str::to_owned))
        .collect();
    names.resize(request.files.len(), None);
    Ok(Names { described, names })
}

/// `library.exists`.
pub(crate) async fn exists(store: &Store, request: ExistsRequest) -> Result<ExistsAnswer> {
    within(request.paths.len(), MAX_PATHS, "paths of library.exists")?;
    let exists = store.exist(&request.paths).await;
    let exists =
        exists.map_err(|error| crate::error::import_error_of_store("the library cannot be asked", &error))?;
    Ok(ExistsAnswer { exists })
}
