//! What outlives the process: confirmed misses, and how much of each quota is used.

use super::misses::Misses;
use super::provider::Provider;
use super::quota;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// A text that is longer is not read.
const MAX_BYTES: usize = 64 << 20;

/// Where a pool keeps what it learned, as named texts. Blocking: it is called off the runtime's threads.
///
/// What is kept here can be lost without harm but for this: a quota is counted anew, and missing articles are asked for
/// again.
pub trait Memory: Send + Sync + Debug + 'static {
    /// The text that was kept under this name, if any.
    ///
    /// # Errors
    /// Where it cannot be read.
    fn load(&self, name: &str) -> io::Result<Option<Vec<u8>>>;

    /// Keeps a text in place of the one before: all of it or nothing.
    ///
    /// # Errors
    /// Where it cannot be written.
    fn save(&self, name: &str, text: &[u8]) -> io::Result<()>;
}

const USAGE: &str = "usage";
const MISSES: &str = "misses";

#[derive(Serialize, Deserialize)]
struct Kept<T> {
    version: u32,
    data: T,
}

/// The longest period of a quota, in seconds: a month.
const LONGEST_PERIOD: u64 = 31 * 86_400;

/// By provider: start of the period and bytes.
type UsageData = BTreeMap<String, (u64, u64)>;
/// By group: message-ids and when each is forgotten.
type MissData = BTreeMap<String, Vec<(String, u64)>>;

#[derive(Debug)]
pub(super) struct Keeper {
    memory: Arc<dyn Memory>,
    groups: Vec<String>,
    /// What was kept of providers that the pool has not: they may be those of another program's run, or come back.
    others: Mutex<UsageData>,
}

impl Keeper {
    pub(super) fn new(memory: Arc<dyn Memory>, groups: Vec<String>) -> Self {
        Self {
            memory,
            groups,
            others: Mutex::default(),
        }
    }

    /// Takes up what was kept. What cannot be read is left out, with a warning.
    pub(super) fn restore(&self, providers: &[Provider], misses: &Misses) {
        let now = quota::now();
        if let Some(mut usage) = self.read::<UsageData>(USAGE) {
            for provider in providers {
                if let Some((since, bytes)) = usage.remove(&provider.config.name) {
                    provider.usage.restore(since, bytes);
                }
            }
            // Of a period that is over nothing is of use.
            usage.retain(|_, (since, _)| since.saturating_add(LONGEST_PERIOD) > now);
            *self.others.lock().unwrap_or_else(PoisonError::into_inner) = usage;
        }
        for (name, known) in self.read::<MissData>(MISSES).unwrap_or_default() {
            let group = self.groups.iter().position(|g| *g == name);
            let Some(group) = group.and_then(|g| u16::try_from(g).ok()) else {
                continue;
            };
            for (id, until) in known {
                misses.restore(group, &id, until, now);
            }
        }
    }

    fn read<T: for<'a> Deserialize<'a>>(&self, name: &str) -> Option<T> {
        let text = match self.memory.load(name) {
            Ok(Some(text)) if text.len() <= MAX_BYTES => text,
            Ok(None) => return None,
            Ok(Some(_)) => {
                tracing::warn!(
                    name,
                    "what was kept of the news servers is too long; it is left out"
                );
                return None;
            }
            Err(error) => {
                tracing::warn!(name, error = %error, "what was kept of the news servers cannot be read");
                return None;
            }
        };
        match serde_json::from_slice::<Kept<T>>(&text) {
            Ok(Kept { version: 1, data }) => Some(data),
            Ok(Kept { version, .. }) => {
                tracing::warn!(
                    name,
                    version,
                    "what was kept of the news servers is of another version"
                );
                None
            }
            Err(error) => {
                tracing::warn!(name, error = %error, "what was kept of the news servers makes no sense");
                None
            }
        }
    }

    /// What is to be kept now: names and texts.
    pub(super) fn changed(
        &self,
        providers: &[Provider],
        misses: &Misses,
        last: &mut Option<Vec<u8>>,
    ) -> Vec<(&'static str, Vec<u8>)> {
        let now = quota::now();
        let mut texts = Vec::new();
        let mut usage = self.others.lock().unwrap_or_else(PoisonError::into_inner).clone();
        usage.extend(
            providers
                .iter()
                .filter_map(|p| Some((p.config.name.clone(), p.usage.used(now)?))),
        );
        if !usage.is_empty()
            && let Some(text) = text(usage)
            && last.as_ref() != Some(&text)
        {
            *last = Some(text.clone());
            texts.push((USAGE, text));
        }
        if let Some(known) = misses.take_changed(now) {
            let mut data = MissData::new();
            for (group, id, until) in known {
                if let Some(name) = self.groups.get(usize::from(group)) {
                    data.entry(name.clone()).or_default().push((id, until));
                }
            }
            texts.extend(text(data).map(|text| (MISSES, text)));
        }
        texts
    }

    /// Where it is kept.
    pub(super) fn memory(&self) -> Arc<dyn Memory> {
        Arc::clone(&self.memory)
    }

    /// Writes texts, off the runtime's threads.
    pub(super) async fn write(&self, texts: Vec<(&'static str, Vec<u8>)>) {
        if texts.is_empty() {
            return;
        }
        let memory = self.memory();
        let written = tokio::task::spawn_blocking(move || save(&*memory, texts));
        // A panic in there loses what may be lost.
        let _ = written.await;
    }
}

/// Writes texts. Blocks.
pub(super) fn save(memory: &dyn Memory, texts: Vec<(&'static str, Vec<u8>)>) {
    for (name, text) in texts {
        if let Err(error) = memory.save(name, &text) {
            tracing::warn!(name, error = %error, "what is known of the news servers cannot be kept");
        }
    }
}

fn text<T: Serialize>(data: T) -> Option<Vec<u8>> {
    // Texts and numbers: this does not fail.
    serde_json::to_vec(&Kept { version: 1, data }).ok()
}
