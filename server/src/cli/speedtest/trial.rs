//! Settings that are tried, one after the other.

use super::Arguments;
use altmount_usenet::{Memory, Pool, PoolOptions, ProviderConfig, ProviderState, ProviderStatus};
use altmount_vfs::{ArticleSource, Class, FetchError};
use anyhow::{Result, bail};
use futures::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::{
    io::IsTerminal,
    sync::Arc,
    time::{Duration, Instant},
};

/// For making the connections of one step.
const DIAL_LIMIT: Duration = Duration::from_secs(15);
/// A setting is as good as the best one from this part of its rate on: less is noise.
const AS_GOOD: f64 = 0.95;

/// One setting, and what it came to.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Step {
    pub(super) connections: u16,
    pub(super) depth: u8,
    /// Connections that were open at its end: fewer where the server allows no more.
    pub(super) open: u32,
    /// Decoded bytes a second.
    pub(super) bytes_per_second: u64,
    pub(super) articles: u64,
    pub(super) bytes: u64,
    pub(super) missing: u64,
    pub(super) failed: u64,
    pub(super) duration_ms: u64,
    /// From a request on an idle connection to the answer.
    pub(super) delay_ms: Option<u64>,
}

/// One news server.
#[derive(Debug, Serialize)]
pub(super) struct Measured {
    pub(super) provider: String,
    pub(super) steps: Vec<Step>,
    pub(super) recommended: Option<Recommended>,
    /// Why there are fewer steps than were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stopped: Option<String>,
}

/// The least that is as good as the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Recommended {
    pub(super) max_connections: u16,
    pub(super) pipeline_body: u8,
    pub(super) bytes_per_second: u64,
}

/// A few numbers of connections up to the configured one.
pub(super) fn numbers(max: u16) -> Vec<u16> {
    let mut numbers = vec![1, max / 4, max / 2, max];
    numbers.retain(|n| *n > 0);
    numbers.dedup();
    numbers
}

/// What is the same for every news server.
pub(super) struct Trial<'a> {
    pub(super) arguments: &'a Arguments,
    pub(super) news: PoolOptions,
    /// Where quotas are counted, if they are.
    pub(super) memory: Option<Arc<dyn Memory>>,
    /// Message-ids that are fetched, again and again.
    pub(super) ids: Vec<String>,
}

impl Trial<'_> {
    /// Tries one news server until all settings were tried, one fails, or `left` bytes were received.
    pub(super) async fn sweep(&self, provider: ProviderConfig, left: &mut u64) -> Measured {
        let arguments = self.arguments;
        let share = *left / 1_000_000;
        let connections = if arguments.connections.is_empty() {
            numbers(provider.max_connections)
        } else {
            arguments.connections.clone()
        };
        let settings: Vec<(u16, u8)> = connections
            .iter()
            .flat_map(|c| arguments.depth.iter().map(move |d| (*c, *d)))
            .collect();
        let bar = bar(settings.len() as u64, &provider.name);
        let (mut steps, mut stopped) = (Vec::new(), None);
        let mut next = 0;
        for (connections, depth) in settings {
            bar.set_message(format!("{connections} x {depth}"));
            if *left == 0 {
                stopped = Some(format!("{share} MB were received; see --max-mb"));
                break;
            }
            match self.step(&provider, (connections, depth), &mut next, left).await {
                Ok(step) => steps.push(step),
                Err(error) => {
                    stopped = Some(format!("{error:#}"));
                    break;
                }
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        Measured {
            recommended: recommend(&steps),
            provider: provider.name,
            steps,
            stopped,
        }
    }

    /// Fetches with so many connections and requests in flight, as long as is wanted. Making the connections is not counted.
    async fn step(
        &self,
        provider: &ProviderConfig,
        (connections, depth): (u16, u8),
        next: &mut usize,
        left: &mut u64,
    ) -> Result<Step> {
        let ids = &self.ids;
        let config = ProviderConfig {
            enabled: true,
            backup: false,
            max_connections: connections,
            min_connections: 0,
            pipeline_body: depth,
            quota: provider.quota.filter(|_| self.memory.is_some()),
            retention_days: None,
            ..provider.clone()
        };
        let options = PoolOptions {
            hedge_percent: 0,
            miss_entries: 0,
            warm_connections: connections,
            ..self.news
        };
        // A few bytes are read, and nobody else waits for this thread.
        let pool = match &self.memory {
            Some(memory) => Pool::remembering(vec![config], options, Arc::clone(memory))?,
            None => Pool::with_options(vec![config], options)?,
        };
        pool.warm();
        let status = connected(&pool, connections).await;
        if status.open == 0 {
            pool.shutdown().await;
            if status.state == ProviderState::QuotaUsed {
                bail!("its quota is used up");
            }
            bail!(
                "no connection: {}",
                status
                    .last_error
                    .unwrap_or_else(|| "the server did not answer".to_owned())
            );
        }
        let started = Instant::now();
        let until = started + Duration::from_secs(self.arguments.seconds.into());
        let mut step = Step {
            connections,
            depth,
            open: status.open,
            bytes_per_second: 0,
            articles: 0,
            bytes: 0,
            missing: 0,
            failed: 0,
            duration_ms: 0,
            delay_ms: None,
        };
        // Twice what can be in flight, so that no connection waits for the next request.
        let window = usize::from(connections) * usize::from(depth) * 2;
        let first = *next;
        let wanted = (first..).map(|at| ids[at % ids.len()].clone());
        let fetches = futures::stream::iter(wanted)
            .map(|id| {
                let pool = Arc::clone(&pool);
                async move { pool.fetch(&id, Class::Import).await }
            })
            .buffer_unordered(window);
        let mut fetches = std::pin::pin!(fetches);
        while *left > 0 {
            let Ok(Some(fetched)) = tokio::time::timeout_at(until.into(), fetches.next()).await else {
                break;
            };
            *next += 1;
            match fetched {
                Ok(article) => {
                    step.articles += 1;
                    step.bytes += article.data.len() as u64;
                    *left = left.saturating_sub(article.data.len() as u64);
                }
                Err(FetchError::Missing { .. }) => step.missing += 1,
                Err(_) if is_spent(&pool) => break,
                Err(_) => step.failed += 1,
            }
            // A release that is gone says nothing of the server's speed.
            if step.articles == 0 && step.missing + step.failed >= 200 {
                break;
            }
        }
        let took = started.elapsed();
        let status = pool.status().into_iter().next();
        if let Some(status) = &status {
            step.open = status.open;
            step.delay_ms = status.delay_ms;
        }
        pool.shutdown().await;
        if step.articles == 0 {
            bail!(
                "no article came ({} missing, {} failed){}",
                step.missing,
                step.failed,
                status
                    .and_then(|s| s.last_error)
                    .map_or_else(String::new, |error| format!(": {error}"))
            );
        }
        step.duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        step.bytes_per_second = (step.bytes as f64 / took.as_secs_f64()) as u64;
        Ok(step)
    }
}

/// Whether the quota was used up meanwhile.
fn is_spent(pool: &Pool) -> bool {
    let status = pool.status();
    status.iter().any(|one| one.state == ProviderState::QuotaUsed)
}

/// Waits until as many connections are open as come.
async fn connected(pool: &Pool, wanted: u16) -> ProviderStatus {
    let until = Instant::now() + DIAL_LIMIT;
    loop {
        let mut all = pool.status();
        let status = all.swap_remove(0);
        let settled = status.open >= u32::from(wanted) || status.connecting == 0;
        if settled || Instant::now() >= until {
            return status;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Of the settings that are as good as the best, the one with the fewest connections, and of these the least deep.
pub(super) fn recommend(steps: &[Step]) -> Option<Recommended> {
    let best = steps.iter().map(|s| s.bytes_per_second).max()?;
    let good = steps
        .iter()
        .filter(|s| s.bytes_per_second as f64 >= best as f64 * AS_GOOD);
    let least = good.min_by_key(|s| (s.open.max(1), s.depth))?;
    Some(Recommended {
        max_connections: u16::try_from(least.open.max(1)).unwrap_or(least.connections),
        pipeline_body: least.depth,
        bytes_per_second: least.bytes_per_second,
    })
}

fn bar(steps: u64, provider: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{prefix} [{bar:30}] {pos}/{len} {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(steps)
        .with_style(style)
        .with_prefix(provider.to_owned())
}
