//! Files that certainly lack articles are replaced: the *arr that has one blocklists its release and looks for another.
//!
//! Certain is what all news servers have said twice, some time apart (`altmount_engine::Health`); an outage is never a reason.
//! What is found before a kill is found again after it, for a file counts as dealt with only when the wish is stored.

use super::{Arrs, replace::ReplaceError};
use altmount_engine::{Event, HealthState, StoreError};
use std::{sync::Arc, time::Duration};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio_util::sync::CancellationToken;

/// Files that are looked at in one turn.
const TURN: u32 = 1000;
/// The wait for a limit that holds, and after the store has failed.
const WAIT: Duration = Duration::from_secs(900);

impl Arrs {
    /// Replaces what certainly lacks articles, until `stop`.
    pub(super) async fn replace_missing(
        self: Arc<Self>,
        mut events: Receiver<Event>,
        stop: CancellationToken,
    ) {
        loop {
            let held_back = match self.replace_idle().await {
                Ok(held_back) => held_back,
                Err(error) => {
                    tracing::error!("what is to be replaced cannot be looked up: {error}");
                    true
                }
            };
            let timer = async {
                if held_back {
                    tokio::time::sleep(WAIT).await;
                } else {
                    std::future::pending().await
                }
            };
            let news = async {
                loop {
                    match events.recv().await {
                        Ok(Event::Health {
                            state: HealthState::Missing,
                            ..
                        })
                        | Err(RecvError::Lagged(_)) => return true,
                        Ok(_) => {}
                        Err(RecvError::Closed) => return false,
                    }
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = timer => {}
                more = news => if !more {
                    return;
                },
            }
        }
    }

    /// Asks for all that nothing was done for yet; answers whether a limit holds something back.
    async fn replace_idle(&self) -> Result<bool, StoreError> {
        let idle = self.health.idle(TURN).await?;
        let mut held_back = u32::try_from(idle.len()).is_ok_and(|len| len == TURN);
        for file in idle {
            let action = match self.ask_for_another(file, false, true).await {
                Ok(accepted) => format!("'{}' is asked for another release", accepted.instance),
                Err(ReplaceError::NoFile(_)) => continue,
                Err(ReplaceError::Limited(_)) => {
                    held_back = true;
                    continue;
                }
                Err(ReplaceError::Store(error)) => return Err(error),
                Err(error @ ReplaceError::NoInstance) => error.to_string(),
            };
            tracing::info!(file.id = file.0, "certainly lacks articles: {action}");
            self.health.acted(file, &action).await?;
        }
        Ok(held_back)
    }
}
