//! The task of one connection: dial, serve requests, end.

use super::breaker::Trouble;
use super::provider::{Next, Provider};
use crate::nntp::dial::{self, DialError};
use crate::nntp::session::{Answer, Ended, Feed, Request, Session};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::Notify;

/// The provider's queue, for one connection.
struct Place<'a> {
    provider: &'a Provider,
    id: u64,
}

impl Feed for Place<'_> {
    fn next(&self, body: bool, stat: bool) -> Option<Request> {
        self.provider.next(self.id, body, stat)
    }

    fn answered(&self, request: Request, answer: Answer) {
        self.provider.answered(self.id, request, answer);
    }

    fn received(&self, bytes: u64) {
        self.provider.counts.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

pub(super) async fn run(provider: Arc<Provider>, id: u64, wake: Arc<Notify>) {
    let config = &provider.config;
    let stop = &provider.stop;
    loop {
        // A dial is boxed: it is large, and over while the session lasts.
        let dialed = tokio::select! {
            biased;
            () = stop.cancelled() => return provider.session_ended(id, Ended::Stopped, Vec::new()),
            dialed = Box::pin(dial::dial(config, provider.tls.clone())) => dialed,
        };
        let next = match dialed {
            Ok(wire) => {
                provider.ready(id);
                let mut session = Session::new(
                    config,
                    wire,
                    provider.options.max_article_bytes,
                    Arc::clone(&provider.buffers),
                );
                let ended = session
                    .run(
                        &Place {
                            provider: &provider,
                            id,
                        },
                        &wake,
                        stop,
                    )
                    .await;
                let polite = matches!(ended, Ended::Idle | Ended::Stopped);
                provider.session_ended(id, ended, session.take_unanswered());
                if polite {
                    session.quit().await;
                }
                Next::Leave
            }
            Err(DialError::Failed(why)) => provider.dial_failed(id, Trouble::Dial, false, &why),
            Err(DialError::Late(why)) => provider.dial_failed(id, Trouble::Silence, false, &why),
            Err(DialError::TooMany(why)) => provider.dial_failed(id, Trouble::Dial, true, &why),
            Err(DialError::Refused(why)) => provider.dial_failed(id, Trouble::Login, false, &why),
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
