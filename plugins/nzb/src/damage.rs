//! What is missing of a release, and what follows from it.

use crate::archive::{Graph, joined};
use crate::check::{Asked, ENOUGH, Listed};
use crate::early::Early;
use crate::fetch::{Damage, Laid, Source};
use crate::heads::{Posted, Unlaid};
use crate::listing::Leaf;
use crate::{DamagePolicy, names, some_of};
use altmount_sdk::{ByteRange, ErrorKind, ImportError, Result, Role, TableNo};
use std::collections::BTreeMap;

/// Of how many damaged files the missing articles are counted.
const COUNTED: usize = 16;
/// How many ranges an error lists.
const RANGES: usize = 8;

/// The error of posted files that could not even be laid out: that of the worst kind for which a retry is pointless, with every
/// counted file.
pub(crate) async fn unlaid(
    source: Source<'_>,
    early: &Early<'_>,
    release: &str,
    damaged: Vec<Unlaid<'_>>,
) -> Result<ImportError> {
    let total = damaged.len();
    let mut missing: Vec<(String, String, u64, u64)> = Vec::new();
    let mut other: Option<ImportError> = None;
    for (no, damaged) in damaged.into_iter().enumerate() {
        let name = names::choose(None, None, &damaged.file.subject, release, None).text;
        let damage = if no < COUNTED {
            source.count(early, damaged.file, damaged.damage).await?
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
    let text = format!("{text}: {}{}", REASON, more(total - 1));
    let mut error = ImportError::new(ErrorKind::Missing, text);
    for (name, _, count, of) in missing {
        error = error.with("file", name).with("missing", count).with("of", of);
    }
    Ok(error)
}

const REASON: &str = "no provider has them, or the NZB does not list them";

fn more(files: usize) -> String {
    match files {
        0 => String::new(),
        1 => "; 1 more file is damaged".to_owned(),
        n => format!("; {n} more files are damaged"),
    }
}

/// A listed file with holes.
struct Holed {
    leaf: usize,
    holes: Vec<ByteRange>,
    /// Articles that are missing of those of the posted files that it lies in.
    missing: usize,
    of: usize,
    unknown: usize,
    unasked: usize,
}

/// Whether the release fails whatever else is heard of its articles: so many are missing that they need not be counted, and by those
/// alone the damage policy does not take it.
pub(crate) fn is_settled(
    source: Source<'_>,
    graph: &Graph,
    leaves: &[Leaf],
    files: &[Listed<'_>],
    heard: &[Asked],
) -> bool {
    // For what has an alternate that may stand in.
    let lost = files
        .iter()
        .zip(heard)
        .filter(|(listed, heard)| !heard.missing.is_empty() && source.nzb.alternates(listed.file).is_empty());
    if !lost.clone().any(|(_, heard)| heard.missing.len() >= ENOUGH) {
        return false;
    }
    let holes: BTreeMap<TableNo, Vec<ByteRange>> = lost
        .map(|(listed, heard)| (listed.table, ranges(listed.laid, &heard.missing)))
        .collect();
    let mut listed = leaves.iter().filter(|leaf| leaf.role == Role::Main);
    listed.any(|leaf| {
        let holes = graph.holes(leaf.stream.node, &holes);
        match source.config.damage {
            DamagePolicy::Strict => !holes.is_empty(),
            DamagePolicy::Tolerant => too_much(source, &holes, leaf).is_some(),
        }
    })
}

/// How many bytes of a file are lost, where that is more than the tolerant policy takes.
fn too_much(source: Source<'_>, holes: &[ByteRange], leaf: &Leaf) -> Option<u64> {
    let lost: u64 = holes.iter().map(ByteRange::len).sum();
    let permille =
        u128::from(lost) * 1000 > u128::from(leaf.stream.len) * u128::from(source.config.max_hole_permille);
    (lost > source.config.max_hole_bytes || permille).then_some(lost)
}

/// Judges the release by what was asked for: `asked[i]` is what is known of `posted[which[i]]`. Returns the holes of each listed
/// file, which the damage policy takes.
pub(crate) fn judge(
    source: Source<'_>,
    graph: &Graph,
    posted: &[Posted<'_>],
    which: &[usize],
    asked: &[Asked],
    leaves: &[Leaf],
    notes: &mut Vec<String>,
) -> Result<BTreeMap<usize, Vec<ByteRange>>> {
    let mut holes: BTreeMap<TableNo, Vec<ByteRange>> = BTreeMap::new();
    let mut known: BTreeMap<TableNo, (&Asked, usize)> = BTreeMap::new();
    for (i, asked) in which.iter().zip(asked) {
        let posted = &posted[*i];
        known.insert(posted.table, (asked, posted.laid.articles.count()));
        if !asked.missing.is_empty() {
            holes.insert(posted.table, ranges(&posted.laid, &asked.missing));
        }
    }
    if known
        .values()
        .all(|(asked, _)| asked.missing.is_empty() && asked.unknown == 0)
    {
        return Ok(BTreeMap::new());
    }
    let mut damaged = Vec::new();
    for (leaf, file) in leaves.iter().enumerate().filter(|(_, l)| l.role == Role::Main) {
        let found = graph.holes(file.stream.node, &holes);
        let content = graph.content(file.stream.node);
        let tables: std::collections::BTreeSet<TableNo> = Graph::tables(&content).collect();
        let of_it = tables.iter().filter_map(|table| known.get(table));
        let (mut missing, mut of, mut unknown, mut unasked) = (0, 0, 0, 0);
        for (asked, count) in of_it {
            missing += asked.missing.len();
            of += count;
            unknown += asked.unknown;
            unasked += asked.unasked;
        }
        if !found.is_empty() || unknown > 0 {
            damaged.push(Holed {
                leaf,
                holes: found,
                missing,
                of,
                unknown,
                unasked,
            });
        }
    }
    // Unknown is not missing: nothing is decided before somebody answers.
    if let Some(file) = damaged.iter().find(|d| d.holes.is_empty() && d.unknown > 0) {
        let name = leaves[file.leaf].stream.name();
        let text = format!(
            "file \"{name}\": {} of {} articles could not be asked for: no provider answered",
            file.unknown, file.of
        );
        return Err(ImportError::new(ErrorKind::Io, text).with("file", name));
    }
    if damaged.is_empty() {
        let names = holes.len();
        notes.push(format!(
            "articles of {names} posted files are missing that no listed file needs"
        ));
        return Ok(BTreeMap::new());
    }
    if source.config.damage == DamagePolicy::Strict {
        return Err(holed(leaves, &damaged, None));
    }
    for file in &damaged {
        if let Some(lost) = too_much(source, &file.holes, &leaves[file.leaf]) {
            return Err(holed(leaves, &damaged, Some(lost)));
        }
    }
    Ok(damaged.into_iter().map(|file| (file.leaf, file.holes)).collect())
}

/// The error of listed files with holes; `over` where the tolerant policy's limits are passed, by so many bytes.
fn holed(leaves: &[Leaf], damaged: &[Holed], over: Option<u64>) -> ImportError {
    let first = &damaged[0];
    let name = leaves[first.leaf].stream.name();
    let verb = if first.missing == 1 { "is" } else { "are" };
    let about = if first.unknown + first.unasked > 0 {
        "at least "
    } else {
        ""
    };
    let texts: Vec<String> = first.holes.iter().take(RANGES).map(text).collect();
    let ranges = some_of(texts.iter().map(String::as_str), first.holes.len());
    let limit = match over {
        Some(lost) => format!("; {lost} bytes are more than the tolerant damage policy takes"),
        None => String::new(),
    };
    let message = format!(
        "file \"{name}\": {about}{} of {} articles {verb} missing: {REASON}; bytes {ranges}{limit}{}",
        first.missing,
        first.of,
        more(damaged.len() - 1)
    );
    let mut error = ImportError::new(ErrorKind::Missing, message);
    for file in damaged.iter().take(COUNTED) {
        error = error
            .with("file", leaves[file.leaf].stream.name())
            .with("missing", file.missing)
            .with("of", file.of);
        for hole in file.holes.iter().take(RANGES) {
            error = error.with("bytes", text(hole));
        }
    }
    error
}

fn text(range: &ByteRange) -> String {
    format!("{}-{}", range.start, range.end.saturating_sub(1))
}

/// Where articles of a posted file lie in it.
fn ranges(laid: &Laid, articles: &[usize]) -> Vec<ByteRange> {
    let range = |at: &usize| {
        let (start, len) = laid.articles.extent(*at).unwrap_or_default();
        ByteRange {
            start,
            end: start + len,
        }
    };
    joined(articles.iter().map(range).filter(|r| !r.is_empty()).collect())
}
