//! The posted files of a release: how each lies, and what its first bytes say.

use crate::archive::KEPT_HEAD;
use crate::fetch::{self, Damage, Laid, Source};
use crate::nzb::{Nzb, NzbFile};
use crate::{content, parse};
use altmount_archive::sniff::{self, Kind};
use altmount_sdk::usenet::ArticleAnswer;
use altmount_sdk::{Bytes, Content, Handle, LogLevel, Node, Result, TableNo};
use futures::future::{join_all, try_join_all};

/// How many files are worked on at once: their first articles are asked for in one call, and are still in the host's
/// cache when their heads are looked at.
const BATCH: usize = 64;
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

/// Reads the first articles of all files, lays the files out and looks at their heads. `progress` is told how many files are done.
pub(crate) async fn read<'a>(
    source: Source<'a>,
    nzb: &'a Nzb,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<(Vec<Posted<'a>>, Vec<Unlaid<'a>>)> {
    let (mut posted, mut unlaid) = (Vec::new(), Vec::new());
    let mut batches = nzb.files.chunks(BATCH);
    let mut batch = batches.next();
    let mut answers = match batch {
        Some(files) => fetch::firsts(source, files).await?,
        None => Vec::new(),
    };
    while let Some(files) = batch {
        let next = batches.next();
        // The next files' first articles arrive while these files are worked on.
        let ahead = async {
            match next {
                Some(files) => fetch::firsts(source, files).await,
                None => Ok(Vec::new()),
            }
        };
        let work = take_in(
            source,
            files,
            std::mem::take(&mut answers),
            &mut posted,
            &mut unlaid,
        );
        let (worked, following) = futures::join!(work, ahead);
        worked?;
        answers = following?;
        batch = next;
        progress(posted.len() + unlaid.len());
    }
    Ok((posted, unlaid))
}

/// Lays out, defines and looks into the files of one batch.
async fn take_in<'a>(
    source: Source<'a>,
    files: &'a [NzbFile],
    firsts: Vec<ArticleAnswer>,
    posted: &mut Vec<Posted<'a>>,
    unlaid: &mut Vec<Unlaid<'a>>,
) -> Result<()> {
    let laid = files
        .iter()
        .zip(firsts)
        .map(|(file, first)| source.lay_out(file, first));
    let laid = try_join_all(laid).await?;

    // Tables are numbered in the order of the files, whatever arrived first.
    let mut defined = Vec::new();
    for (file, outcome) in files.iter().zip(laid) {
        match outcome {
            Ok(laid) => {
                let table = source.table(file, &laid)?;
                let size = table.len();
                let table = source.cx.define_articles(table)?;
                defined.push((file, laid, table, size));
            }
            Err(damage) => unlaid.push(Unlaid { file, damage }),
        }
    }
    let heads = defined
        .iter()
        .map(|(file, laid, table, size)| read_head(source, file, laid, *table, *size));
    let heads = join_all(heads).await;
    for ((file, laid, table, size), (head, handle)) in defined.into_iter().zip(heads) {
        posted.push(Posted {
            file,
            laid,
            table,
            size,
            head,
            handle,
        });
    }
    Ok(())
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
    let Some((_, first_len)) = laid.articles.first() else {
        return nothing;
    };
    let len = sniff::HEAD.min(*first_len).min(size);
    if len == 0 {
        return nothing;
    }
    let whole = Content::single(Node::Articles {
        table,
        first: 0,
        count: laid.articles.len() as u32,
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
