//! The posted files of a release: how each lies, and what its first bytes say.

use crate::archive::KEPT_HEAD;
use crate::fetch::{Damage, Laid, Source};
use crate::nzb::NzbFile;
use crate::sets::{self, Likely};
use crate::{content, parse};
use altmount_archive::sniff::{self, Kind};
use altmount_sdk::{Bytes, Content, Handle, LogLevel, Node, Result, TableNo};
use futures::channel::oneshot;
use futures::future::{self, Either};
use futures::stream::{FuturesOrdered, FuturesUnordered, StreamExt};

/// How many files are worked on at once: enough for the connections of a large provider, and no more than that the first articles of
/// all of them are still in the host's cache when the slowest is there and their heads are looked at in order.
const AT_ONCE: usize = 64;
/// How many first bytes PAR2 knows a file by.
const HASHED: u64 = 16 << 10;

/// A posted file whose bytes can be found.
pub(crate) struct Posted<'a> {
    pub(crate) file: &'a NzbFile,
    pub(crate) laid: Laid,
    pub(crate) table: TableNo,
    pub(crate) size: u64,
    pub(crate) head: Head,
    /// As which the host has it open, where it does.
    pub(crate) handle: Option<Handle>,
}

/// What the first bytes of a file say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    /// The extension that fits them.
    pub(crate) extension: Option<&'static str>,
    pub(crate) kind: Option<Kind>,
    /// The first of them, at most [`KEPT_HEAD`].
    pub(crate) bytes: Bytes,
    /// The MD5 that PAR2 knows the file by, where the first article has as many bytes.
    pub(crate) hash16k: Option<[u8; 16]>,
}

/// A posted file whose bytes cannot be found.
pub(crate) struct Unlaid<'a> {
    pub(crate) file: &'a NzbFile,
    pub(crate) damage: Damage,
}

/// Reads the first articles of all files, lays the files out and looks at their heads. `asked` is told once all articles are asked
/// for, `progress` how many files are done.
pub(crate) async fn read<'a>(
    source: Source<'a>,
    files: &'a [Likely<'a>],
    asked: oneshot::Sender<()>,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<(Vec<Posted<'a>>, Vec<Unlaid<'a>>)> {
    let (mut posted, mut unlaid) = (Vec::new(), Vec::new());
    let mut asked = Some(asked);
    let mut left = sets::order(files).into_iter();
    let (mut laid, mut heads) = (FuturesOrdered::new(), FuturesUnordered::new());
    loop {
        while laid.len() + heads.len() < AT_ONCE
            && let Some(at) = left.next()
        {
            let asked = asked.take_if(|_| left.len() == 0);
            laid.push_back(lay_out(source, at, files[at].file, asked));
        }
        // Heads first: what they are read from must not be pushed out of the host's cache by what arrives.
        let next = match (heads.is_empty(), laid.is_empty()) {
            (true, true) => break,
            (true, false) => Either::Right(laid.next().await),
            (false, _) => match future::select(heads.next(), laid.next()).await {
                Either::Left((head, _)) => Either::Left(head),
                Either::Right((Some(laid), _)) => Either::Right(Some(laid)),
                Either::Right((None, head)) => Either::Left(head.await),
            },
        };
        match next {
            Either::Left(file) => posted.extend(file),
            // Tables are numbered in the order in which they are asked for, whatever arrived first.
            Either::Right(Some(laid)) => match laid? {
                (at, file, Ok(laid)) => {
                    let table = source.table(file, &laid)?;
                    let size = table.len();
                    let table = source.cx.define_articles(table)?;
                    heads.push(look_into(source, at, file, laid, table, size));
                }
                (at, file, Err(damage)) => unlaid.push((at, Unlaid { file, damage })),
            },
            Either::Right(None) => {}
        }
        progress(posted.len() + unlaid.len());
    }
    // Nobody after this has to know in which order they were asked for, and arrived.
    posted.sort_by_key(|(at, _)| *at);
    unlaid.sort_by_key(|(at, _)| *at);
    let posted = posted.into_iter().map(|(_, posted)| posted).collect();
    Ok((posted, unlaid.into_iter().map(|(_, unlaid)| unlaid).collect()))
}

type LaidOut<'a> = (usize, &'a NzbFile, std::result::Result<Laid, Damage>);

/// Reads the first article of a file and lays the file out. `asked` is told as soon as the article is asked for.
async fn lay_out<'a>(
    source: Source<'a>,
    at: usize,
    file: &'a NzbFile,
    asked: Option<oneshot::Sender<()>>,
) -> Result<LaidOut<'a>> {
    let first = source.first(file);
    if let Some(asked) = asked {
        // Who is told looks when this was polled. One that has gone wanted nothing of it.
        let _ = asked.send(());
    }
    let laid = source.lay_out(file, first.await?).await?;
    Ok((at, file, laid))
}

/// Reads the head of a file.
async fn look_into<'a>(
    source: Source<'a>,
    at: usize,
    file: &'a NzbFile,
    laid: Laid,
    table: TableNo,
    size: u64,
) -> (usize, Posted<'a>) {
    let (head, handle) = read_head(source, file, &laid, table, size).await;
    let posted = Posted {
        file,
        laid,
        table,
        size,
        head,
        handle,
    };
    (at, posted)
}

/// What the first bytes say of a file. They come from its first article, which the host has just read; a head that cannot be read
/// says nothing, and whether the file can be is checked later.
async fn read_head(
    source: Source<'_>,
    file: &NzbFile,
    laid: &Laid,
    table: TableNo,
    size: u64,
) -> (Head, Option<Handle>) {
    let nothing = (Head::default(), None);
    let Some((_, first_len)) = laid.articles.get(0) else {
        return nothing;
    };
    let len = sniff::HEAD.min(first_len).min(size);
    if len == 0 {
        return nothing;
    }
    let whole = Content::single(Node::Articles {
        table,
        first: 0,
        count: laid.articles.count() as u32,
        len: size,
    });
    let head: Result<(Bytes, Handle)> = async {
        let handle = source.cx.open(&whole).await?;
        Ok((source.cx.read(handle, 0, len).await?, handle))
    }
    .await;
    match head {
        Ok((bytes, handle)) => {
            let head = Head {
                extension: content::extension(&bytes),
                kind: sniff::detect(&bytes),
                hash16k: (bytes.len() as u64 >= HASHED.min(size)).then(|| altmount_par2::hash16k(&bytes)),
                bytes: Bytes::copy_from_slice(&bytes[..bytes.len().min(KEPT_HEAD)]),
            };
            (head, Some(handle))
        }
        Err(e) => {
            let subject = parse::clipped(&file.subject, 120);
            let text = format!("the head of '{subject}' cannot be read: {e}");
            source.cx.log(LogLevel::Warn, &text);
            nothing
        }
    }
}
