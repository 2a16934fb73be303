//! `altmount speedtest [PROVIDER]`.

use super::{Global, runtime, start_log};
use crate::{app::install_crypto, config::LogFormat, config::Settings};
use altmount_model::Node;
use altmount_plugins::_nzb::{Config as NzbConfig, parse_nzb};
use altmount_store::{ROOT, Store};
use altmount_usenet::{Pool, PoolOptions, ProviderConfig, ProviderStatus};
use altmount_vfs::{ArticleSource, Class, FetchError};
use anyhow::{Context, Result, bail};
use clap::Args;
use futures::StreamExt;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use serde::Serialize;
use std::{
    fmt::Write,
    io::{IsTerminal, Read},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

/// Message-ids that are taken from the library.
const ENOUGH: usize = 20_000;
/// Entries of one folder that are looked at in one step.
const LISTED: u32 = 500;
/// Longest NZB that is read, decompressed.
const MAX_NZB: u64 = 256 << 20;
/// For making the connections of one step.
const DIAL_LIMIT: Duration = Duration::from_secs(15);
/// A setting is as good as the best one from this part of its rate on: less is noise.
const AS_GOOD: f64 = 0.95;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The news server's name; all that are enabled, one after the other, where it is left out.
    provider: Option<String>,
    /// Takes the articles of this NZB (`.nzb` or `.nzb.gz`) in place of the library's.
    #[arg(long, value_name = "FILE")]
    nzb: Option<PathBuf>,
    /// Numbers of connections to try; by themselves a few up to the configured one.
    #[arg(long, value_name = "N,N", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..))]
    connections: Vec<u16>,
    /// Numbers of requests in flight on one connection to try.
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_values_t = [1, 2, 4, 8],
        value_parser = clap::value_parser!(u8).range(1..=64))]
    depth: Vec<u8>,
    /// How long each setting is tried, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// The most that is received in all, in MB: it counts against what a block account holds.
    #[arg(long, value_name = "MB", default_value_t = 4000, value_parser = clap::value_parser!(u64).range(1..))]
    max_mb: u64,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// One setting, and what it came to.
#[derive(Clone, Debug, Serialize)]
struct Step {
    connections: u16,
    depth: u8,
    /// Connections that were open at its end: fewer where the server allows no more.
    open: u32,
    /// Decoded bytes a second.
    bytes_per_second: u64,
    articles: u64,
    bytes: u64,
    missing: u64,
    failed: u64,
    duration_ms: u64,
    /// From a request on an idle connection to the answer.
    delay_ms: Option<u64>,
}

/// One news server.
#[derive(Debug, Serialize)]
struct Measured {
    provider: String,
    steps: Vec<Step>,
    recommended: Option<Recommended>,
    /// Why there are fewer steps than were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped: Option<String>,
}

/// The least that is as good as the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Recommended {
    max_connections: u16,
    pipeline_body: u8,
    bytes_per_second: u64,
}

pub(super) fn run(global: &Global, arguments: &Arguments) -> Result<ExitCode> {
    let data = global.data()?;
    let settings = global.settings(&data)?;
    start_log("error", LogFormat::Text)?;
    install_crypto();
    let providers = chosen(&settings, arguments.provider.as_deref())?;
    let measured = runtime()?.block_on(async {
        let ids = match &arguments.nzb {
            Some(file) => of_nzb(file)?,
            None => of_library(data.path()).await?,
        };
        if ids.is_empty() {
            bail!("there is no article to fetch: import something, or give an NZB with --nzb");
        }
        let mut left = arguments.max_mb.saturating_mul(1_000_000);
        let mut all = Vec::new();
        for provider in providers {
            all.push(sweep(provider, &settings.news, arguments, &ids, &mut left).await?);
        }
        anyhow::Ok(all)
    })?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&measured)?);
    } else {
        measured.iter().for_each(|one| print!("{}", table(one)));
    }
    let any = measured.iter().any(|one| one.recommended.is_some());
    Ok(ExitCode::from(if any { 0 } else { 3 }))
}

fn chosen(settings: &Settings, name: Option<&str>) -> Result<Vec<ProviderConfig>> {
    let all = &settings.providers;
    let found: Vec<ProviderConfig> = match name {
        Some(name) => all.iter().filter(|p| p.name == name).cloned().collect(),
        None => all.iter().filter(|p| p.enabled).cloned().collect(),
    };
    if found.is_empty() {
        let known: Vec<&str> = all.iter().map(|p| p.name.as_str()).collect();
        match name {
            Some(name) => bail!(
                "there is no news server '{name}' in the configuration; there are: {}",
                if known.is_empty() {
                    "none".to_owned()
                } else {
                    known.join(", ")
                }
            ),
            None => bail!("no news server is configured and enabled; add one to 'providers'"),
        }
    }
    Ok(found)
}

/// The message-ids of an NZB, each once and in its order.
fn of_nzb(file: &Path) -> Result<Vec<String>> {
    let shown = file.display();
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {shown}"))?;
    let bytes = if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut plain = Vec::new();
        let mut unpacked = flate2::read::MultiGzDecoder::new(&bytes[..]).take(MAX_NZB);
        unpacked
            .read_to_end(&mut plain)
            .with_context(|| format!("cannot decompress {shown}"))?;
        plain
    } else {
        bytes
    };
    let nzb = parse_nzb(&bytes, &NzbConfig::default())
        .map_err(|error| anyhow::anyhow!("{shown}: {}", error.message))?;
    let ids = nzb.files.iter().flat_map(|file| nzb.segments(file));
    Ok(ids.map(|segment| nzb.id(segment).to_owned()).collect())
}

/// Message-ids of the library's files.
async fn of_library(data: &Path) -> Result<Vec<String>> {
    let opened = Store::open(data).await;
    let store = opened.context(
        "the library cannot be opened (is the server running? stop it, or give an NZB with --nzb)",
    )?;
    let ids = ids_of(&store).await;
    store.close().await;
    ids
}

async fn ids_of(store: &Store) -> Result<Vec<String>> {
    let mut ids = Vec::new();
    let mut folders = vec![ROOT];
    let mut seen = std::collections::HashSet::new();
    while let Some(folder) = folders.pop() {
        let mut after: Option<String> = None;
        loop {
            let entries = store.list(folder, after.as_deref(), LISTED).await?;
            let Some(last) = entries.last() else { break };
            after = Some(last.name.clone());
            for entry in &entries {
                if entry.is_dir {
                    folders.push(entry.id);
                    continue;
                }
                let Some((release, content)) = store.content(entry.id).await? else {
                    continue;
                };
                for node in &content.nodes {
                    let Node::Articles { table, .. } = node else {
                        continue;
                    };
                    if !seen.insert((release, *table)) {
                        continue;
                    }
                    if let Some(table) = store.table(release, *table).await? {
                        ids.extend((0..table.count()).filter_map(|at| table.id(at).map(str::to_owned)));
                    }
                }
                if ids.len() >= ENOUGH {
                    ids.truncate(ENOUGH);
                    return Ok(ids);
                }
            }
        }
    }
    Ok(ids)
}

/// A few numbers of connections up to the configured one.
fn numbers(max: u16) -> Vec<u16> {
    let mut numbers = vec![1, max / 4, max / 2, max];
    numbers.retain(|n| *n > 0);
    numbers.dedup();
    numbers
}

async fn sweep(
    provider: ProviderConfig,
    news: &PoolOptions,
    arguments: &Arguments,
    ids: &[String],
    left: &mut u64,
) -> Result<Measured> {
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
            stopped = Some(format!("{} MB were received; see --max-mb", arguments.max_mb));
            break;
        }
        let step = step(
            &provider,
            news,
            (connections, depth),
            arguments.seconds,
            ids,
            &mut next,
            left,
        )
        .await;
        match step {
            Ok(step) => steps.push(step),
            Err(error) => {
                stopped = Some(format!("{error:#}"));
                break;
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(Measured {
        recommended: recommend(&steps),
        provider: provider.name,
        steps,
        stopped,
    })
}

/// Fetches with so many connections and requests in flight, as long as is wanted. Making the connections is not counted.
async fn step(
    provider: &ProviderConfig,
    news: &PoolOptions,
    (connections, depth): (u16, u8),
    seconds: u32,
    ids: &[String],
    next: &mut usize,
    left: &mut u64,
) -> Result<Step> {
    let config = ProviderConfig {
        enabled: true,
        backup: false,
        max_connections: connections,
        min_connections: 0,
        pipeline_body: depth,
        quota: None,
        retention_days: None,
        ..provider.clone()
    };
    let options = PoolOptions {
        hedge_percent: 0,
        miss_entries: 0,
        warm_connections: connections,
        ..*news
    };
    let pool = Pool::with_options(vec![config], options)?;
    pool.warm();
    let status = connected(&pool, connections).await;
    if status.open == 0 {
        pool.shutdown().await;
        bail!(
            "no connection: {}",
            status
                .last_error
                .unwrap_or_else(|| "the server did not answer".to_owned())
        );
    }
    let started = Instant::now();
    let until = started + Duration::from_secs(seconds.into());
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
fn recommend(steps: &[Step]) -> Option<Recommended> {
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

fn table(measured: &Measured) -> String {
    let mut out = format!("{}\n", measured.provider);
    if !measured.steps.is_empty() {
        let _ = writeln!(
            out,
            "  {:>11} {:>6} {:>6} {:>14} {:>9} {:>8} {:>8}",
            "connections", "depth", "open", "rate", "articles", "missing", "delay"
        );
    }
    for step in &measured.steps {
        let rate = format!("{}/s", HumanBytes(step.bytes_per_second));
        let delay = step.delay_ms.map_or_else(String::new, |ms| format!("{ms} ms"));
        let _ = writeln!(
            out,
            "  {:>11} {:>6} {:>6} {rate:>14} {:>9} {:>8} {delay:>8}",
            step.connections, step.depth, step.open, step.articles, step.missing
        );
    }
    if let Some(why) = &measured.stopped {
        let _ = writeln!(out, "  stopped: {why}");
    }
    if let Some(best) = measured.recommended {
        let _ = writeln!(
            out,
            "  recommended: max_connections: {}, pipeline_body: {} ({}/s)",
            best.max_connections,
            best.pipeline_body,
            HumanBytes(best.bytes_per_second)
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(connections: u16, depth: u8, rate: u64) -> Step {
        Step {
            connections,
            depth,
            open: connections.into(),
            bytes_per_second: rate,
            articles: 1,
            bytes: rate,
            missing: 0,
            failed: 0,
            duration_ms: 1000,
            delay_ms: Some(40),
        }
    }

    #[test]
    fn the_least_that_is_as_good_as_the_best_is_recommended() {
        let steps = [
            step(1, 1, 10),
            step(10, 1, 700),
            step(10, 2, 970),
            step(20, 1, 990),
            step(20, 2, 1000),
        ];
        let best = recommend(&steps).expect("there are steps");
        assert_eq!((best.max_connections, best.pipeline_body), (10, 2));
        assert_eq!(recommend(&[]), None);
    }

    #[test]
    fn a_few_numbers_of_connections_are_tried() {
        assert_eq!(numbers(50), [1, 12, 25, 50]);
        assert_eq!(numbers(8), [1, 2, 4, 8]);
        assert_eq!(numbers(3), [1, 3]);
        assert_eq!(numbers(1), [1]);
    }

    #[test]
    fn the_table_says_what_to_set() {
        let steps = vec![step(10, 2, 5 << 20)];
        let shown = table(&Measured {
            provider: "a".into(),
            recommended: recommend(&steps),
            steps,
            stopped: Some("enough".into()),
        });
        for part in [
            "5.00 MiB/s",
            "stopped: enough",
            "max_connections: 10, pipeline_body: 2",
        ] {
            assert!(shown.contains(part), "{shown}");
        }
    }
}
