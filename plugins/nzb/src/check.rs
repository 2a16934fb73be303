//! Whether the articles of the listed files exist: some of them, or all.

use crate::early::Early;
use crate::fetch::{Laid, STAT_BATCH, Source, UNLISTED};
use crate::nzb::NzbFile;
use crate::{Check, Config, DamagePolicy};
use altmount_sdk::usenet::{self, Presence};
use altmount_sdk::{MessageId, Result};

/// Releases of up to this many articles are checked whole.
pub(crate) const SMALL: usize = 500;
/// How many articles of a larger file are asked for, beside its last one.
const SPREAD: usize = 32;

/// Where so many articles of a file are missing and the policy takes none, the verdict is there: the others are not asked for.
const ENOUGH: usize = 1000;
/// How many are asked for between two looks at that.
const LOOK_AFTER: usize = 4096;

/// One listed file.
pub(crate) struct Listed<'a> {
    pub(crate) file: &'a NzbFile,
    pub(crate) laid: &'a mut Laid,
}

/// What is known of a file's articles after they were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The articles, by their place in the file, that no provider has and nothing stands in for.
    pub(crate) missing: Vec<usize>,
    /// Of how many nothing is known: no provider answered.
    pub(crate) unknown: usize,
}

/// Asks for the articles of the files and says what is missing of each. Missing articles that have an alternate
/// are replaced in the file's `laid`. `progress` is told how many of how many articles were asked for.
pub(crate) async fn check(
    source: Source<'_>,
    early: &Early<'_>,
    files: &mut [Listed<'_>],
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Vec<Asked>> {
    let total: usize = files.iter().map(|f| f.laid.articles.len()).sum();
    let whole = source.config.check == Check::Full || total <= SMALL;
    let mut asked: Vec<(usize, usize)> = Vec::new();
    if source.config.check != Check::None {
        for (no, listed) in files.iter().enumerate() {
            let picked = picked(source.config, total, listed.laid.articles.len());
            asked.extend(picked.filter(|at| listed.laid.asks_for(*at)).map(|at| (no, at)));
        }
    }
    let mut absent: Vec<Vec<usize>> = files.iter().map(|f| f.laid.unlisted()).collect();
    let mut unknown = vec![0usize; files.len()];
    let mut done = 0;
    let known = early.known().await;
    for batch in asked.chunks(STAT_BATCH) {
        let mut ids = Vec::with_capacity(batch.len());
        for (no, at) in batch {
            let listed = &files[*no];
            ids.push(source.id(listed.file, listed.laid.articles[*at].0)?);
        }
        // What nobody knew early is asked for once more.
        let heard = |id: &MessageId| known.get(id).copied().filter(|p| *p != Presence::Unknown);
        let open: Vec<MessageId> = ids.iter().filter(|id| heard(id).is_none()).cloned().collect();
        let mut answers = usenet::stat(source.cx, &open).await?.into_iter();
        for ((no, at), id) in batch.iter().zip(&ids) {
            match heard(id).or_else(|| answers.next()).unwrap_or(Presence::Unknown) {
                Presence::Present => {}
                Presence::Missing => absent[*no].push(*at),
                Presence::Unknown => unknown[*no] += 1,
            }
        }
        done += batch.len();
        progress(done, asked.len());
    }
    let mut all = Vec::with_capacity(files.len());
    for (no, listed) in files.iter_mut().enumerate() {
        let mut missing = std::mem::take(&mut absent[no]);
        if !missing.is_empty() && !whole {
            let asked_before = asked
                .iter()
                .filter(|(n, _)| *n == no)
                .map(|(_, at)| *at)
                .collect::<Vec<_>>();
            let (more, more_unknown) = rest(source, listed, &asked_before).await?;
            missing.extend(more);
            unknown[no] += more_unknown;
        }
        all.push(Asked {
            missing: replaced(source, listed, missing).await?,
            unknown: unknown[no],
        });
    }
    Ok(all)
}

/// Which articles are asked for of a file that has `count`, where the files have `total` together.
pub(crate) fn picked(config: &Config, total: usize, count: usize) -> impl Iterator<Item = usize> + use<> {
    let whole = config.check == Check::Full || total <= SMALL;
    let picked = if whole {
        (0..count).collect()
    } else {
        sample(count)
    };
    picked.into_iter()
}

/// The last article and up to [`SPREAD`] between.
fn sample(count: usize) -> Vec<usize> {
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

/// The articles of a file that were not asked for yet: which are missing, and of how many nothing is known. Ends where enough
/// is known.
async fn rest(source: Source<'_>, listed: &Listed<'_>, asked: &[usize]) -> Result<(Vec<usize>, usize)> {
    let left: Vec<usize> = (0..listed.laid.articles.len())
        .filter(|at| listed.laid.asks_for(*at) && asked.binary_search(at).is_err())
        .collect();
    let candidates: Vec<u32> = left.iter().map(|at| listed.laid.articles[*at].0).collect();
    let (mut absent, mut unknown, mut done) = (Vec::new(), 0, 0);
    for batch in candidates.chunks(LOOK_AFTER) {
        let answers = source.presence(listed.file, batch).await?;
        for (at, presence) in left[done..].iter().zip(&answers) {
            match presence {
                Presence::Present => {}
                Presence::Missing => absent.push(*at),
                Presence::Unknown => unknown += 1,
            }
        }
        done += batch.len();
        if source.config.damage == DamagePolicy::Strict && absent.len() >= ENOUGH {
            // Nothing is known of the others.
            unknown += left.len() - done;
            break;
        }
    }
    Ok((absent, unknown))
}

/// Puts alternates in the place of missing articles and returns those that have none.
async fn replaced(
    source: Source<'_>,
    listed: &mut Listed<'_>,
    mut missing: Vec<usize>,
) -> Result<Vec<usize>> {
    missing.sort_unstable();
    if source.nzb.alternates(listed.file).is_empty() {
        return Ok(missing);
    }
    let mut left = Vec::new();
    let (mut summed, mut offset) = (0, 0u64);
    for at in missing {
        let (candidate, len) = listed.laid.articles[at];
        offset += listed.laid.articles[summed..at]
            .iter()
            .map(|(_, len)| len)
            .sum::<u64>();
        summed = at;
        if candidate == UNLISTED {
            left.push(at);
            continue;
        }
        let fits = move |info: &usenet::ArticleInfo| info.len == len && info.offset == Some(offset);
        match source.alternate(listed.file, candidate, fits).await? {
            Some((alternate, _)) => {
                listed.laid.articles[at].0 = alternate;
                listed.laid.replaced += 1;
            }
            None => left.push(at),
        }
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
