//! What is asked for of a large release in the end anyway is asked for at the start, beside the first articles: it is ready after two
//! round trips less. (A small one is asked for as a whole, which takes its time anyway.)
//!
//! Nothing is concluded here. Who needs an answer and does not find it asks for itself, and what was fetched is in the host's cache.

use crate::check::{SMALL, picked};
use crate::fetch::Source;
use crate::nzb::NzbFile;
use crate::{Check, listing, names, subject};
use altmount_sdk::MessageId;
use altmount_sdk::usenet::{self, Presence};
use futures::future::{BoxFuture, FutureExt, Shared};
use std::collections::HashMap;
use std::sync::Arc;

/// Articles that are asked for early: those of a season in plain files.
const MOST: usize = 4096;
/// Releases of more files than this are sets of volumes, or nothing that anybody waits for.
const FILES: usize = 64;

/// What is known of articles before it is asked for.
#[derive(Clone)]
pub(crate) struct Early<'a>(Shared<BoxFuture<'a, Arc<HashMap<MessageId, Presence>>>>);

impl<'a> Early<'a> {
    /// Asks when it is polled, for as many as a check will ask for.
    pub(crate) fn new(source: Source<'a>) -> Self {
        let asked = async move {
            let ids = sampled(source);
            // Where it fails, those who need an answer ask once more and hear why.
            let answers = usenet::stat(source.cx, &ids).await.unwrap_or_default();
            Arc::new(ids.into_iter().zip(answers).collect())
        };
        Self(asked.boxed().shared())
    }

    /// What was heard.
    pub(crate) async fn known(&self) -> Arc<HashMap<MessageId, Presence>> {
        self.0.clone().await
    }
}

fn name(file: &NzbFile) -> String {
    subject::name(&file.subject)
        .map(|(name, _)| name)
        .unwrap_or_default()
}

/// Files that are likely to be shown, or to have in them what is.
fn main_files<'a>(source: Source<'a>) -> impl Iterator<Item = &'a NzbFile> {
    let files = &source.nzb.files;
    let worth_it = files.len() <= FILES && source.nzb.segment_count() > SMALL;
    files
        .iter()
        .filter(move |file| worth_it && !file.guessed && !listing::is_unwanted(source.config, &name(file)))
}

fn sampled(source: Source<'_>) -> Vec<MessageId> {
    if source.config.check == Check::None {
        return Vec::new();
    }
    let files: Vec<&NzbFile> = main_files(source).collect();
    let counts = files.iter().map(|file| source.nzb.segments(file).len());
    let total = counts.sum();
    let mut ids = Vec::new();
    for file in files {
        // The first one is read.
        for at in picked(source.config, total, source.nzb.segments(file).len()).filter(|at| *at > 0) {
            if ids.len() == MOST {
                return ids;
            }
            ids.extend(source.id(file, at as u32));
        }
    }
    ids
}

/// Has the last articles of files that will be shown brought into the host's cache: whether they can be read is looked at before
/// the import is done.
pub(crate) async fn bring_ends(source: Source<'_>) {
    let bytes = |file: &NzbFile| -> u64 {
        let segments = source.nzb.segments(file).iter();
        segments.map(|segment| u64::from(segment.bytes)).sum()
    };
    let files: Vec<&NzbFile> = main_files(source).collect();
    // Of what has no name, or one that says nothing, more than one are parts of an archive.
    let shown = |file: &NzbFile| {
        let extension = names::extension(&name(file)).unwrap_or_default();
        listing::is_video_extension(&extension) || source.nzb.files.len() == 1
    };
    let largest = files.iter().map(|file| bytes(file)).max().unwrap_or(0);
    let last = |file: &&NzbFile| {
        let count = source.nzb.segments(file).len();
        let wanted = count > 1 && bytes(file) >= largest / 4 && shown(file);
        wanted.then(|| source.id(file, count as u32 - 1).ok()).flatten()
    };
    let ids: Vec<MessageId> = files.iter().filter_map(last).collect();
    // Its reader hears why one cannot be had.
    let _ = usenet::articles(source.cx, &ids).await;
}

/// Drives `beside` for as long as `main` takes.
pub(crate) async fn while_running<T>(main: impl Future<Output = T>, beside: impl Future<Output = ()>) -> T {
    let (mut main, mut beside) = (std::pin::pin!(main), std::pin::pin!(beside.fuse()));
    std::future::poll_fn(move |cx| {
        let _ = beside.as_mut().poll(cx);
        main.as_mut().poll(cx)
    })
    .await
}
