//! `altmount speedtest [PROVIDER]`.

mod articles;
mod trial;

use super::{Global, runtime, start_log};
use crate::{app::install_crypto, config::LogFormat, config::Settings, data::NewsMemory};
use altmount_usenet::{Memory, ProviderConfig};
use anyhow::{Result, bail};
use articles::Library;
use clap::Args;
use indicatif::HumanBytes;
use std::{fmt::Write, path::PathBuf, process::ExitCode, sync::Arc};
use trial::{Measured, Trial};

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
    /// The most that is received in all, in MB: it counts against what a block account holds. Each news server has an equal share.
    #[arg(long, value_name = "MB", default_value_t = 4000, value_parser = clap::value_parser!(u64).range(1..))]
    max_mb: u64,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(global: &Global, arguments: &Arguments) -> Result<ExitCode> {
    let data = global.data()?;
    let settings = global.settings(&data)?;
    start_log("error", LogFormat::Text)?;
    install_crypto();
    let providers = chosen(&settings, arguments.provider.as_deref())?;
    let measured = runtime()?.block_on(async {
        let library = Library::open(&data, arguments.nzb.is_none()).await?;
        let ids = match (&arguments.nzb, &library) {
            (Some(file), _) => articles::of_nzb(file)?,
            (None, Library::Here(store)) => articles::of_library(store).await?,
            (None, _) => Vec::new(),
        };
        if ids.is_empty() {
            bail!("there is no article to fetch: import something, or give an NZB with --nzb");
        }
        let news_memory = || Arc::new(NewsMemory::new(data.path())) as Arc<dyn Memory>;
        let uncounted = match &library {
            Library::Here(_) => None,
            Library::AtServer => Some("the server runs and counts for itself"),
            Library::Nowhere => Some("there is no library here to count in"),
        };
        let trial = Trial {
            arguments,
            news: settings.news,
            memory: uncounted.is_none().then(news_memory),
            ids,
        };
        let limited = providers.iter().filter(|provider| provider.quota.is_some());
        for (provider, why) in limited.zip(uncounted.into_iter().cycle()) {
            eprintln!(
                "altmount: {why}: what is received here is not counted against the quota of '{}'",
                provider.name
            );
        }
        let mut left = arguments.max_mb.saturating_mul(1_000_000);
        let (mut all, mut others) = (Vec::new(), providers.len() as u64);
        for provider in providers {
            let mut share = left / others;
            left -= share;
            all.push(trial.sweep(provider, &mut share).await);
            // What it did not take is for those after it.
            left += share;
            others -= 1;
        }
        if let Library::Here(store) = library {
            store.close().await;
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
    use trial::{Step, numbers, recommend};

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
