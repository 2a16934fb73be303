//! Whether the articles of the listed files exist: some of them, or all.

use crate::early::Early;
use crate::fetch::{Laid, Source};
use crate::nzb::NzbFile;
use crate::runs::UNLISTED;
use crate::{Check, Config};
use altmount_sdk::usenet::{self, Presence};
use altmount_sdk::{MessageId, Result, TableNo};
use futures::stream::{FuturesOrdered, StreamExt};

/// Releases of up to this many articles are checked whole.
pub(crate) const SMALL: usize = 500;
/// How many articles of a larger file are asked for, beside its last one.
const SPREAD: usize = 32;

/// Where so many articles of a file are missing, the others need not be counted.
pub(crate) const ENOUGH: usize = 1000;
/// How many are asked for between two looks at that.
const LOOK_AFTER: usize = 4096;
/// How many times so many are under way while nothing is missing: what each waits for at its end weighs little then. As soon as
/// something is, the end may be near, and they go one after the other.
const AT_ONCE: usize = 8;

/// One listed file.
pub(crate) struct Listed<'a> {
    pub(crate) file: &'a NzbFile,
    pub(crate) table: TableNo,
    pub(crate) laid: &'a mut Laid,
}

/// What is known of a file's articles after they were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The articles, by their place in the file, that no provider has and nothing stands in for.
    pub(crate) missing: Vec<usize>,
    /// Of how many nothing is known: no provider answered.
    pub(crate) unknown: usize,
    /// How many were not asked for, because the verdict was there.
    pub(crate) unasked: usize,
}

/// Says of the files, and of what was heard of each so far, whether the release fails whatever else is heard.
pub(crate) type Settled<'a> = &'a (dyn Fn(&[Listed<'_>], &[Asked]) -> bool + Sync);

/// Asks for the articles of the files and says what is missing of each, up to where the verdict is `settled`. Missing articles that
/// have an alternate are replaced in the file's `laid`. `progress` is told how many of how many articles were asked for.
pub(crate) async fn check(
    source: Source<'_>,
    early: &Early<'_>,
    files: &mut [Listed<'_>],
    settled: Settled<'_>,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Vec<Asked>> {
    let total: usize = files.iter().map(|f| f.laid.articles.count()).sum();
    let whole = source.config.check == Check::Full || total <= SMALL;
    let mut places: Vec<Place> = Vec::new();
    if source.config.check != Check::None {
        for (no, listed) in files.iter().enumerate() {
            let picked = picked(source.config, total, listed.laid.articles.count()).into_iter();
            places.extend(picked.filter(|at| listed.laid.asks_for(*at)).map(|at| (no, at)));
        }
    }
    let unheard = |listed: &Listed<'_>| Asked {
        missing: listed.laid.unlisted(),
        ..Asked::default()
    };
    let mut heard: Vec<Asked> = files.iter().map(unheard).collect();
    let mut is_settled = ask(source, early, files, &places, &mut heard, settled, progress).await?;
    if !whole && !is_settled {
        // What the sample met is counted.
        let rest = (0..files.len()).filter(|no| !heard[*no].missing.is_empty());
        let rest: Vec<Place> = rest
            .flat_map(|no| (0..files[no].laid.articles.count()).map(move |at| (no, at)))
            .filter(|(no, at)| files[*no].laid.asks_for(*at) && places.binary_search(&(*no, *at)).is_err())
            .collect();
        is_settled = ask(source, early, files, &rest, &mut heard, settled, &|_, _| {}).await?;
    }
    for (listed, heard) in files.iter_mut().zip(&mut heard) {
        heard.missing.sort_unstable();
        if !is_settled {
            heard.missing = replaced(source, listed, std::mem::take(&mut heard.missing)).await?;
        }
    }
    Ok(heard)
}

/// An article by its file and its place there.
type Place = (usize, usize);

/// Asks for these articles, and returns whether the verdict is settled.
async fn ask(
    source: Source<'_>,
    early: &Early<'_>,
    files: &[Listed<'_>],
    places: &[Place],
    heard: &mut [Asked],
    settled: Settled<'_>,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<bool> {
    let mut batches = places.chunks(LOOK_AFTER);
    let mut under_way = FuturesOrdered::new();
    let (mut done, mut at_once) = (0, AT_ONCE);
    loop {
        while under_way.len() < at_once
            && let Some(batch) = batches.next()
        {
            let dated = batch.iter().map(|(no, at)| {
                let listed = &files[*no];
                let article = listed.laid.articles.get(*at);
                source.dated(listed.file, article.map_or(UNLISTED, |(candidate, _)| candidate))
            });
            let dated = dated.collect::<Result<Vec<(MessageId, Option<i64>)>>>()?;
            under_way.push_back(async move { (batch, early.presence(dated).await) });
        }
        let Some((batch, answers)) = under_way.next().await else {
            return Ok(false);
        };
        for ((no, at), presence) in batch.iter().zip(answers?) {
            match presence {
                Presence::Present => {}
                Presence::Missing => {
                    heard[*no].missing.push(*at);
                    at_once = 1;
                }
                Presence::Unknown => heard[*no].unknown += 1,
            }
        }
        done += batch.len();
        progress(done, places.len());
        if settled(files, heard) {
            places[done..].iter().for_each(|(no, _)| heard[*no].unasked += 1);
            return Ok(true);
        }
    }
}

/// Which articles are asked for of a file that has `count`, where the files have `total` together.
pub(crate) fn picked(config: &Config, total: usize, count: usize) -> Vec<usize> {
    let whole = config.check == Check::Full || total <= SMALL;
    if whole {
        (0..count).collect()
    } else {
        sample(count)
    }
}

/// The last article and up to [`SPREAD`] between.
pub(crate) fn sample(count: usize) -> Vec<usize> {
    let Some(last) = count.checked_sub(1) else {
        return Vec::new();
    };
    if last <= SPREAD {
        return (0..count).collect();
    }
    let mut picked: Vec<usize> = (0..SPREAD).map(|n| (2 * n + 1) * last / (2 * SPREAD)).collect();
    picked.push(last);
    picked
}

/// Puts alternates in the place of missing articles, which are sorted, and returns those that have none.
async fn replaced(source: Source<'_>, listed: &mut Listed<'_>, missing: Vec<usize>) -> Result<Vec<usize>> {
    if source.nzb.alternates(listed.file).is_empty() {
        return Ok(missing);
    }
    let mut left = Vec::new();
    let mut others = Vec::new();
    for at in missing {
        let articles = &listed.laid.articles;
        let (Some((candidate, _)), Some((offset, len))) = (articles.get(at), articles.extent(at)) else {
            continue;
        };
        if candidate == UNLISTED {
            left.push(at);
            continue;
        }
        let fits = move |info: &usenet::ArticleInfo| info.len == len && info.offset == Some(offset);
        match source.alternate(listed.file, candidate, fits).await? {
            Some((alternate, _)) => {
                others.push((at, alternate));
                listed.laid.replaced += 1;
            }
            None => left.push(at),
        }
    }
    if !others.is_empty() {
        listed.laid.articles = listed.laid.articles.with(&others);
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_spread_and_end_with_the_last() {
        assert_eq!(sample(0), [0usize; 0]);
        assert_eq!(sample(1), [0]);
        assert_eq!(sample(33), (0..33).collect::<Vec<_>>());
        let picked = sample(10_000);
        assert_eq!(picked.len(), SPREAD + 1);
        assert_eq!(picked.last(), Some(&9_999));
        assert!(picked.is_sorted_by(|a, b| a < b));
        assert!(picked.windows(2).all(|pair| pair[1] - pair[0] < 400));
    }
}
