//! What is to be done at an *arr, kept in the store until it is: one task for each instance, so that one which does not answer
//! holds up no other.

use super::{ArrError, Arrs, Instance, LOOK, replace::Replacement};
use altmount_engine::StoreError;
use altmount_store::now_ms;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// The wait before the second try; doubled with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(5);
/// The longest wait before a try.
const LONGEST_WAIT: Duration = Duration::from_secs(900);

/// Something to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(super) enum Work {
    /// Tell it to look at its download client now.
    Refresh,
    /// Blocklist a release, and look for another.
    Replace(Replacement),
    /// Look through its queue for what is stuck.
    Clean,
}

impl Arrs {
    /// Asks for something to be done, in `delay` at the earliest; several wishes for one thing are one.
    pub(super) async fn wish(
        &self,
        instance: &str,
        thing: &str,
        work: &Work,
        delay_ms: i64,
    ) -> Result<(), StoreError> {
        let text = serde_json::to_string(work).unwrap_or_default();
        self.rows.wish(instance, thing, &text, delay_ms).await?;
        if let Some(instance) = self.instance(instance) {
            instance.wake.notify_one();
        }
        Ok(())
    }

    /// Does what is to be done at one instance until `stop`.
    pub(super) async fn serve(self: Arc<Self>, at: usize, stop: CancellationToken) {
        let Some(instance) = self.instances.get(at) else {
            return;
        };
        while !stop.is_cancelled() {
            let due = match stop.run_until_cancelled(self.step(instance)).await {
                None => return,
                Some(Ok(due)) => due,
                Some(Err(error)) => {
                    tracing::error!(
                        arr.name = instance.settings.name,
                        "what is to be done cannot be read: {error}"
                    );
                    Some(now_ms().saturating_add(1000))
                }
            };
            let timer = async {
                match due {
                    Some(at) => {
                        let ms = u64::try_from(at.saturating_sub(now_ms())).unwrap_or(0);
                        tokio::time::sleep(Duration::from_millis(ms.saturating_add(1))).await;
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = instance.wake.notified() => {}
                () = timer => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Does the work that is due; answers when the next one is.
    async fn step(&self, instance: &Instance) -> Result<Option<i64>, StoreError> {
        let name = &instance.settings.name;
        loop {
            let Some(row) = self.rows.next(name).await? else {
                return Ok(None);
            };
            if row.after_ms > now_ms() {
                return Ok(Some(row.after_ms));
            }
            let done = match serde_json::from_str(&row.work) {
                Ok(work) => self.work(instance, &work).await,
                Err(error) => Err(ArrError::Refused {
                    status: 422,
                    text: format!("the wish cannot be read: {error}"),
                }),
            };
            instance.note(&done);
            match done {
                Ok(()) => self.rows.done(row, now_ms()).await?,
                Err(error) if error.may_pass() => {
                    let wait = FIRST_WAIT
                        .saturating_mul(1 << row.attempts.min(16))
                        .min(LONGEST_WAIT);
                    let wait_ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
                    tracing::warn!(arr.name = name, retry.wait_ms = wait_ms, "{error}");
                    let after = now_ms().saturating_add(wait_ms);
                    self.rows.failed(row.id, &error.to_string(), after).await?;
                    // It is away, or does not let us in: what else there is for it has to wait as well.
                    return Ok(Some(after));
                }
                Err(ArrError::Refused { status: 404, text }) => {
                    tracing::info!(arr.name = name, "nothing is to be done any more: {text}");
                    self.rows.done(row, now_ms()).await?;
                }
                Err(error) => {
                    tracing::error!(arr.name = name, "something is given up: {error}");
                    self.rows.done(row, now_ms()).await?;
                }
            }
        }
    }

    async fn work(&self, instance: &Instance, work: &Work) -> Result<(), ArrError> {
        match work {
            Work::Refresh => {
                instance
                    .client
                    .command(&json!({"name": "RefreshMonitoredDownloads"}))
                    .await
            }
            Work::Replace(wanted) => self.do_replace(instance, wanted).await,
            Work::Clean => self.clean(instance).await.map(drop),
        }
    }

    /// Looks through the queues from time to time, where there are rules for them.
    pub(super) async fn look_at_queues(self: Arc<Self>, stop: CancellationToken) {
        if self.settings.rules.is_empty() {
            return;
        }
        let mut turn = tokio::time::interval(self.settings.check_queue.max(LOOK));
        turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(turn.tick()).await.is_some() {
            for instance in &self.instances {
                self.look_at_queue(&instance.settings.name);
            }
        }
    }

    /// Asks for a look through an instance's queue.
    pub(super) fn look_at_queue(self: &Arc<Self>, name: &str) {
        if self.settings.rules.is_empty() {
            return;
        }
        let (arrs, name) = (Arc::clone(self), name.to_owned());
        tokio::spawn(async move {
            if let Err(error) = arrs.wish(&name, "clean", &Work::Clean, 0).await {
                tracing::error!(
                    arr.name = name,
                    "a look at its queue cannot be asked for: {error}"
                );
            }
        });
    }
}
