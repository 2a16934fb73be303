//! The task of one connection: dial, serve requests, end.

use super::breaker::Trouble;
use super::scheduler::{Next, Scheduler};
use crate::nntp::Kind;
use crate::nntp::dial::{self, DialError};
use crate::nntp::session::{Answer, Costs, Ended, Feed, Request, Session};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// The scheduler, for one connection.
struct Place<'a> {
    scheduler: &'a Arc<Scheduler>,
    provider: usize,
    id: u64,
}

impl Feed for Place<'_> {
    fn depth(&self) -> (usize, usize) {
        self.scheduler.depth(self.provider)
    }

    fn next(&self, body: bool, stat: bool) -> Option<Request> {
        self.scheduler.next(self.provider, self.id, body, stat)
    }

    fn began(&self, kind: Kind, after: Duration, alone: bool) {
        self.scheduler.began(self.provider, kind, after, alone);
    }

    fn came(&self, bytes: u64, took: Duration) {
        self.scheduler.came(self.provider, bytes, took);
    }

    fn answered(&self, request: Request, answer: Answer) {
        self.scheduler.answered(self.provider, self.id, request, answer);
    }

    fn received(&self, bytes: u64, unwanted: u64) {
        self.scheduler.received(self.provider, bytes, unwanted);
    }

    fn keep(&self) -> bool {
        self.scheduler.keeps(self.provider)
    }

    fn costs(&self) -> Costs {
        self.scheduler.costs(self.provider)
    }
}

pub(super) async fn run(scheduler: Arc<Scheduler>, at: usize, id: u64, wake: Arc<Notify>) {
    let provider = &scheduler.providers[at];
    let config = &provider.config;
    let stop = &scheduler.stop;
    loop {
        // A dial is boxed: it is large, and over while the session lasts.
        let dialed = tokio::select! {
            biased;
            () = stop.cancelled() => return scheduler.session_ended(at, id, Ended::Stopped, Vec::new()),
            dialed = Box::pin(dial::dial(config, provider.tls.clone())) => dialed,
        };
        let next = match dialed {
            Ok(wire) => {
                scheduler.ready(at, id);
                let buffers = Arc::clone(&scheduler.buffers);
                let max_article = scheduler.options.max_article_bytes;
                let mut session = Session::new(config, id, wire, max_article, buffers);
                let place = Place {
                    scheduler: &scheduler,
                    provider: at,
                    id,
                };
                let ended = session.run(&place, &wake, stop).await;
                let polite = matches!(ended, Ended::Idle | Ended::Stopped);
                scheduler.session_ended(at, id, ended, session.take_unanswered());
                if polite {
                    session.quit().await;
                }
                Next::Leave
            }
            Err(DialError::Failed(why)) => scheduler.dial_failed(at, id, Trouble::Dial, false, &why),
            Err(DialError::Late(why)) => scheduler.dial_failed(at, id, Trouble::Silence, false, &why),
            Err(DialError::TooMany(why)) => scheduler.dial_failed(at, id, Trouble::Dial, true, &why),
            Err(DialError::Refused(why)) => scheduler.dial_failed(at, id, Trouble::Login, false, &why),
        };
        match next {
            Next::Leave => return,
            Next::DialAfter(wait) => tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(wait) => {}
            },
        }
    }
}
