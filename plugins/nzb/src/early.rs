//! What is asked for in the end anyway is asked for at the start, beside the first articles: it is ready after two round trips
//! less.
//!
//! Nothing is concluded here. Who needs an answer and does not find it asks for itself, and what was fetched is in the host's cache.

use crate::check::{picked, sample};
use crate::fetch::Source;
use crate::nzb::{NzbFile, Segment};
use crate::sets::{self, Likely};
use crate::{Check, listing};
use altmount_sdk::usenet::{self, IdsRequest, Presence};
use altmount_sdk::{MessageId, Result};
use futures::channel::oneshot;
use futures::future::{BoxFuture, FutureExt, Shared};
use std::collections::HashMap;
use std::sync::Arc;

/// Articles that are asked for early: those of a season in plain files, or of a hundred volumes.
const MOST: usize = 4096;
/// Last articles that are brought early.
const ENDS: usize = 64;

/// What is known of articles before it is asked for.
#[derive(Clone)]
pub(crate) struct Early<'a> {
    source: Source<'a>,
    heard: Shared<BoxFuture<'a, Arc<HashMap<MessageId, Presence>>>>,
}

impl<'a> Early<'a> {
    /// Asks when it is polled, for as many as a check will ask for.
    pub(crate) fn new(source: Source<'a>, files: &'a [Likely<'a>]) -> Self {
        let asked = async move {
            let request = IdsRequest::from_iter(sampled(source, files));
            let ids = request.ids.clone();
            // Where it fails, those who need an answer ask once more and hear why.
            let answers = usenet::stat(source.cx, request).await.unwrap_or_default();
            Arc::new(ids.into_iter().zip(answers).collect())
        };
        Self {
            source,
            heard: asked.boxed().shared(),
        }
    }

    /// What was heard.
    pub(crate) async fn known(&self) -> Arc<HashMap<MessageId, Presence>> {
        self.heard.clone().await
    }

    /// Whether articles exist, each with when it was posted: as was heard, and what nobody knew early is asked for once more.
    pub(crate) async fn presence(&self, articles: Vec<(MessageId, Option<i64>)>) -> Result<Vec<Presence>> {
        let known = self.known().await;
        let heard = |id: &MessageId| known.get(id).copied().filter(|p| *p != Presence::Unknown);
        let early: Vec<Option<Presence>> = articles.iter().map(|(id, _)| heard(id)).collect();
        let open = articles
            .into_iter()
            .zip(&early)
            .filter(|(_, early)| early.is_none());
        let open: IdsRequest = open.map(|(article, _)| article).collect();
        let mut asked = usenet::stat(self.source.cx, open).await?.into_iter();
        let answer = |early: Option<Presence>| early.or_else(|| asked.next()).unwrap_or(Presence::Unknown);
        Ok(early.into_iter().map(answer).collect())
    }
}

/// Files that are likely to be shown, or to have in them what is.
fn main_files<'a, 'b>(source: Source<'_>, files: &'b [Likely<'a>]) -> Vec<&'b Likely<'a>> {
    let unwanted = listing::unwanted(source.config);
    files
        .iter()
        .filter(|likely| !likely.file.guessed && !unwanted(&likely.name))
        .collect()
}

fn sampled(source: Source<'_>, files: &[Likely<'_>]) -> Vec<(MessageId, Option<i64>)> {
    if source.config.check == Check::None {
        return Vec::new();
    }
    let files = main_files(source, files);
    let count = |likely: &Likely<'_>| source.nzb.segments(likely.file).len();
    let total: usize = files.iter().map(|likely| count(likely)).sum();
    let mut ids = Vec::new();
    for likely in files {
        // Of what is too much to ask for early, some of each file says most.
        let picked = match total > MOST {
            true => sample(count(likely)),
            false => picked(source.config, total, count(likely)),
        };
        // The first one is read.
        let looks_even = looks_even(source.nzb.segments(likely.file));
        for at in picked.into_iter().filter(|at| *at > 0 && looks_even) {
            if ids.len() == MOST {
                return ids;
            }
            ids.extend(source.dated(likely.file, at as u32));
        }
    }
    ids
}

/// Whether all parts but the last are of about one size; of others all are read, and whoever reads need not ask.
fn looks_even(segments: &[Segment]) -> bool {
    let sizes = || segments.iter().rev().skip(1).map(|segment| segment.bytes);
    let (least, most) = (sizes().min().unwrap_or(0), sizes().max().unwrap_or(0));
    u64::from(least) * 10 >= u64::from(most) * 9
}

/// Has the last articles of what will be shown brought into the host's cache, once the first ones of all files are `asked` for:
/// whether they can be read is looked at before the import is done.
pub(crate) async fn bring_ends(source: Source<'_>, files: &[Likely<'_>], asked: oneshot::Receiver<()>) {
    if asked.await.is_err() {
        return;
    }
    let files = main_files(source, files);
    let last = |file: &NzbFile| {
        let count = source.nzb.segments(file).len();
        (count > 1)
            .then(|| source.dated(file, count as u32 - 1).ok())
            .flatten()
    };
    let ends = sets::ends(&files, source.nzb.files.len() == 1, ENDS);
    let request: IdsRequest = ends.into_iter().filter_map(last).collect();
    // Its reader hears why one cannot be had.
    let _ = usenet::articles(source.cx, request).await;
}

/// Drives `beside` for as long as `main` takes. What `main` asks for at its start goes first: files are looked at in order, so that a
/// first article behind many existence checks would hold up all others. After that `beside` does: an article that has arrived is in the
/// host's cache only when who asked for it was driven, and the host reads the ends again as soon as `main` has ended. What has not
/// arrived by then is not given up: the host keeps it under way until it has read the ends.
pub(crate) async fn while_running<T>(main: impl Future<Output = T>, beside: impl Future<Output = ()>) -> T {
    let (mut main, mut beside) = (std::pin::pin!(main), std::pin::pin!(beside.fuse()));
    let mut has_begun = false;
    std::future::poll_fn(move |cx| {
        if has_begun {
            let _ = beside.as_mut().poll(cx);
            return main.as_mut().poll(cx);
        }
        has_begun = true;
        let ended = main.as_mut().poll(cx);
        if ended.is_pending() {
            let _ = beside.as_mut().poll(cx);
        }
        ended
    })
    .await
}
