//! One import, in order: read the NZB, learn how each file lies, see what it is, name it, check that it is there, emit it.

use crate::check::{self, Listed};
use crate::decode::NzbReader;
use crate::fetch::{self, Damage, Laid, Source};
use crate::names::{self, Name};
use crate::nzb::{Nzb, NzbFile};
use crate::parse::{PIECE, Parser};
use crate::{Config, content};
use altmount_sdk::usenet::ArticleAnswer;
use altmount_sdk::{
    Attributes, Content, ErrorKind, Handle, ImportContext, ImportError, ImportRequest, LogLevel, Node,
    Result, Role, Summary, TableNo, VPath, VirtualFile,
};
use futures::future::try_join_all;

/// How many files are worked on at once: their first articles are asked for in one call, and are still in the host's
/// cache when their heads are looked at.
const BATCH: usize = 64;
/// Of how many damaged files the missing articles are counted.
const COUNTED: usize = 16;
/// How many names an error or a note lists.
const NAMED: usize = 10;

/// A file whose bytes can be found.
struct Found<'a> {
    file: &'a NzbFile,
    laid: Laid,
    table: TableNo,
    size: u64,
    name: Name,
    by_content: Option<&'static str>,
    role: Role,
}

/// A listed file whose bytes cannot be found.
struct Damaged<'a> {
    file: &'a NzbFile,
    name: String,
    damage: Damage,
}

#[derive(Default)]
struct Release<'a> {
    found: Vec<Found<'a>>,
    damaged: Vec<Damaged<'a>>,
    notes: Vec<String>,
}

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
    let steps = 2 * nzb.files.len() as u64;
    let mut release = Release::default();
    note_empty(&nzb, &mut release.notes);

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
        let work = take_in(source, request, files, std::mem::take(&mut answers), &mut release);
        let (worked, following) = futures::join!(work, ahead);
        worked?;
        answers = following?;
        batch = next;
        let done = release.found.len() + release.damaged.len();
        cx.progress((done as u64).min(steps / 2), steps);
    }

    lend_release_name(&mut release.found, &request.release_name);
    check_presence(source, &mut release, steps).await?;
    if !release.damaged.is_empty() {
        return Err(damage_error(source, release.damaged).await?);
    }
    emit(source, release, &nzb, steps)
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
        let piece = cx.read(Handle::UPLOAD, at, PIECE as u64).await?;
        if piece.is_empty() {
            let text = format!("the queued file ended at {at} of {len} bytes");
            return Err(ImportError::new(ErrorKind::Io, text));
        }
        reader.push(&piece)?;
        at += piece.len() as u64;
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

/// Lays out, defines, looks into and names the files of one batch.
async fn take_in<'a>(
    source: Source<'a>,
    request: &ImportRequest,
    files: &'a [NzbFile],
    firsts: Vec<ArticleAnswer>,
    release: &mut Release<'a>,
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
            Err(damage) => take_damage(source, request, file, damage, release),
        }
    }
    let heads = defined
        .iter()
        .map(|(file, laid, table, size)| read_head(source, file, laid, *table, *size));
    let heads = futures::future::join_all(heads).await;
    for ((file, laid, table, size), by_content) in defined.into_iter().zip(heads) {
        let yenc = laid.yenc_name.as_deref();
        let name = names::choose(yenc, &file.subject, &request.release_name, by_content);
        let role = role(source.config, &name.text, by_content);
        if laid.replaced > 0 {
            release.notes.push(format!(
                "'{}': {} missing articles are replaced by others with the same number",
                name.text, laid.replaced
            ));
        }
        release.found.push(Found {
            file,
            laid,
            table,
            size,
            name,
            by_content,
            role,
        });
    }
    Ok(())
}

/// A damaged sidecar is left out with a note, any other damaged file fails the release later.
fn take_damage<'a>(
    source: Source<'_>,
    request: &ImportRequest,
    file: &'a NzbFile,
    damage: Damage,
    release: &mut Release<'a>,
) {
    let name = names::choose(None, &file.subject, &request.release_name, None).text;
    if role(source.config, &name, None) == Role::Sidecar {
        let why = match &damage {
            Damage::Uncounted { .. } | Damage::Missing { .. } => "articles are missing".to_owned(),
            Damage::Other(e) => e.message.clone(),
        };
        release.notes.push(format!("'{name}' is left out: {why}"));
        return;
    }
    release.damaged.push(Damaged { file, name, damage });
}

/// What the first bytes say of a file. They come from its first article, which the host has just read; a head that cannot be read
/// says nothing, and whether the file can be is checked later.
async fn read_head(
    source: Source<'_>,
    file: &NzbFile,
    laid: &Laid,
    table: TableNo,
    size: u64,
) -> Option<&'static str> {
    let (_, first_len) = *laid.articles.first()?;
    let named = laid
        .yenc_name
        .as_deref()
        .and_then(names::extension)
        .is_some_and(|e| names::is_known(&e));
    let wanted = if named { content::SHORT_HEAD } else { content::HEAD };
    let len = wanted.min(first_len).min(size);
    if len == 0 {
        return None;
    }
    let whole = Content::single(articles(table, laid, size));
    let head = async {
        let handle = source.cx.open(&whole).await?;
        source.cx.read(handle, 0, len).await
    };
    match head.await {
        Ok(head) => content::extension(&head),
        Err(e) => {
            let subject = crate::parse::clipped(&file.subject, 120);
            let text = format!("the head of '{subject}' cannot be read: {e}");
            source.cx.log(LogLevel::Warn, &text);
            None
        }
    }
}

fn articles(table: TableNo, laid: &Laid, size: u64) -> Node {
    Node::Articles {
        table,
        first: 0,
        count: laid.articles.len() as u32,
        len: size,
    }
}

fn role(config: &Config, name: &str, by_content: Option<&str>) -> Role {
    let listed = |extension: &str| config.sidecar_extensions.iter().any(|e| e == extension);
    let by_name = names::extension(name).is_some_and(|e| listed(&e));
    let by_content = by_content == Some("par2") && listed("par2");
    if by_name || by_content {
        Role::Sidecar
    } else {
        Role::Main
    }
}

/// The only big listed file takes the release's name where its own says nothing. Big: at least half of the largest.
fn lend_release_name(found: &mut [Found<'_>], release_name: &str) {
    let largest = found
        .iter()
        .filter(|f| f.role == Role::Main)
        .map(|f| f.size)
        .max()
        .unwrap_or(0);
    let mut big = found
        .iter_mut()
        .filter(|f| f.role == Role::Main && f.size >= largest.div_ceil(2));
    if let (Some(only), None) = (big.next(), big.next())
        && names::is_junk(&only.name.text)
        && release_name.chars().any(char::is_alphanumeric)
    {
        only.name = names::of_release(release_name, &only.name, only.by_content);
    }
}

async fn check_presence<'a>(source: Source<'a>, release: &mut Release<'a>, steps: u64) -> Result<()> {
    let (mut nos, mut listed) = (Vec::new(), Vec::new());
    for (no, found) in release.found.iter_mut().enumerate() {
        if found.role == Role::Main {
            nos.push(no);
            listed.push(Listed {
                file: found.file,
                laid: &mut found.laid,
            });
        }
    }
    let before: Vec<u32> = listed.iter().map(|l| l.laid.replaced).collect();
    let progress = |done: usize, of: usize| {
        let part = (steps / 2) * done as u64 / of.max(1) as u64;
        source.cx.progress(steps / 2 + part, steps);
    };
    let damages = check::check(source, &mut listed, &progress).await?;
    drop(listed);
    for ((no, damage), before) in nos.into_iter().zip(damages).zip(before) {
        let found = &mut release.found[no];
        if let Some(damage) = damage {
            release.damaged.push(Damaged {
                file: found.file,
                name: found.name.text.clone(),
                damage,
            });
        } else if found.laid.replaced > before {
            found.table = source
                .cx
                .define_articles(source.table(found.file, &found.laid)?)?;
            release.notes.push(format!(
                "'{}': {} missing articles are replaced by others with the same number",
                found.name.text,
                found.laid.replaced - before
            ));
        }
    }
    Ok(())
}

/// The error of a release with damaged files: that of the worst kind for which a retry is pointless, with every counted file.
async fn damage_error(source: Source<'_>, damaged: Vec<Damaged<'_>>) -> Result<ImportError> {
    let total = damaged.len();
    let mut missing: Vec<(String, String, u64, u64)> = Vec::new();
    let mut other: Option<ImportError> = None;
    for (no, damaged) in damaged.into_iter().enumerate() {
        let name = damaged.name;
        let damage = if no < COUNTED {
            source.count(damaged.file, damaged.damage).await?
        } else {
            damaged.damage
        };
        match damage {
            Damage::Missing {
                missing: count,
                of,
                at_least,
            } => {
                let about = if at_least { "at least " } else { "" };
                let verb = if count == 1 { "is" } else { "are" };
                let text = format!("file \"{name}\": {about}{count} of {of} articles {verb} missing");
                missing.push((name, text, count, of));
            }
            Damage::Uncounted { .. } => {}
            Damage::Other(e) => {
                // Unknown goes before corrupt and invalid: it may be that nothing is wrong.
                let better = other
                    .as_ref()
                    .is_none_or(|seen| seen.kind != ErrorKind::Io && e.kind == ErrorKind::Io);
                if better {
                    let mut named = e.clone();
                    named.message = format!("file \"{name}\": {}", e.message);
                    other = Some(named.with("file", name));
                }
            }
        }
    }
    let Some((_, text, ..)) = missing.first() else {
        return Ok(other.unwrap_or_else(|| ImportError::new(ErrorKind::Missing, "articles are missing")));
    };
    let more = match total - 1 {
        0 => String::new(),
        1 => "; 1 more file is damaged".to_owned(),
        n => format!("; {n} more files are damaged"),
    };
    let text = format!("{text}: no provider has them, or the NZB does not list them{more}");
    let mut error = ImportError::new(ErrorKind::Missing, text);
    for (name, _, count, of) in missing {
        error = error.with("file", name).with("missing", count).with("of", of);
    }
    Ok(error)
}

/// Emits every file, or fails where none is worth listing.
fn emit(source: Source<'_>, release: Release<'_>, nzb: &Nzb, steps: u64) -> Result<Summary> {
    if release.found.iter().all(|f| f.role == Role::Sidecar) {
        let seen: Vec<&str> = release.found.iter().map(|f| f.name.text.as_str()).collect();
        let mut text = format!(
            "nothing in the release is worth listing; it has: {}",
            some_of(seen.iter().copied(), seen.len())
        );
        if seen.is_empty() {
            text = "nothing in the release can be read, its sidecars included".to_owned();
        }
        return Err(seen
            .iter()
            .take(NAMED)
            .fold(ImportError::new(ErrorKind::NothingUsable, text), |e, name| {
                e.with("seen", name)
            }));
    }
    for found in release.found {
        let path = VPath::new(&found.name.text).map_err(|e| {
            ImportError::new(ErrorKind::Internal, format!("a sanitised name is no path: {e}"))
        })?;
        let node = articles(found.table, &found.laid, found.size);
        let mut file = VirtualFile::new(path, found.size, Content::single(node));
        file.mtime = found.file.date;
        file.attributes = Attributes {
            role: found.role,
            name_source: Some(found.name.source),
            ..Attributes::default()
        };
        source.cx.emit(file)?;
    }
    source.cx.progress(steps, steps);
    Ok(Summary {
        notes: release.notes,
        meta: nzb.meta.clone(),
    })
}

fn some_of<'a>(names: impl Iterator<Item = &'a str>, total: usize) -> String {
    let named: Vec<&str> = names.take(NAMED).collect();
    let more = total.saturating_sub(named.len());
    let mut text = named.join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}
