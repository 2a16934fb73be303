//! From the keys of `providers` and `news` to what the pool of connections takes.
#![deny(unused_variables)]

use super::{
    resolve::{Faults, seconds},
    types::{News, Provider, QuotaPeriod},
};
use altmount_usenet::{Period, PoolOptions, ProviderConfig, Quota};
use std::time::Duration;

pub(super) fn providers(providers: Vec<Provider>, faults: &mut Faults) -> Vec<ProviderConfig> {
    let mut resolved: Vec<ProviderConfig> = Vec::with_capacity(providers.len());
    for (at, provider) in providers.into_iter().enumerate() {
        let Provider {
            name,
            host,
            port,
            tls,
            tls_insecure,
            username,
            password,
            max_connections,
            priority,
            group,
            backup,
            enabled,
            min_connections,
            pipeline_body,
            pipeline_body_max,
            pipeline_stat,
            quota_bytes,
            quota_period,
            retention_days,
            connect_timeout_seconds,
            first_byte_timeout_seconds,
            stall_timeout_seconds,
            article_timeout_seconds,
            idle_timeout_seconds,
        } = provider;
        if host.is_empty() {
            faults.add(format!(
                "'providers[{at}].host' is missing; give the news server's name or address"
            ));
            continue;
        }
        let config = ProviderConfig {
            name: name.unwrap_or_else(|| host.clone()),
            host,
            port: port.unwrap_or(if tls { 563 } else { 119 }),
            tls,
            tls_insecure,
            username,
            password,
            max_connections,
            priority,
            group,
            backup,
            enabled,
            min_connections,
            pipeline_body: pipeline_body.unwrap_or(0),
            pipeline_body_max,
            pipeline_stat,
            quota: quota_bytes.map(|bytes| Quota {
                bytes,
                period: match quota_period {
                    QuotaPeriod::Day => Period::Day,
                    QuotaPeriod::Week => Period::Week,
                    QuotaPeriod::Month => Period::Month,
                },
            }),
            retention_days,
            connect_timeout: seconds(connect_timeout_seconds),
            first_byte_timeout: seconds(first_byte_timeout_seconds),
            stall_timeout: seconds(stall_timeout_seconds),
            article_timeout: seconds(article_timeout_seconds),
            idle_timeout: seconds(idle_timeout_seconds),
        };
        if pipeline_body == Some(0) {
            faults.add(format!(
                "'providers[{at}].pipeline_body' must be 1 to 64; leave it out to have it measured"
            ));
        }
        if let Err(e) = config.check() {
            faults.add(format!("'providers[{at}]': {e}"));
        }
        if resolved.iter().any(|other| other.name == config.name) {
            faults.add(format!(
                "'providers[{at}].name': there is another provider '{}'; give each its own name",
                config.name
            ));
        }
        resolved.push(config);
    }
    resolved
}

pub(super) fn pool(news: News, faults: &mut Faults) -> PoolOptions {
    let News {
        request_timeout_seconds,
        demand_timeout_seconds,
        import_percent,
        health_percent,
        repair_percent,
        hedge_after_ms,
        hedge_percent,
        missing_ttl_seconds,
        missing_entries,
        probe_after_missing_seconds,
        warm_connections,
        queue_limit,
        max_article_bytes,
        spare_bytes,
    } = news;
    let request_timeout = faults.at_least_one("news.request_timeout_seconds", request_timeout_seconds);
    let demand_timeout = faults.at_least_one("news.demand_timeout_seconds", demand_timeout_seconds);
    for (key, percent) in [
        ("import", import_percent),
        ("health", health_percent),
        ("repair", repair_percent),
        ("hedge", hedge_percent),
    ] {
        if percent > 50 {
            faults.add(format!("'news.{key}_percent' must be 0 to 50"));
        }
    }
    PoolOptions {
        request_timeout: seconds(request_timeout),
        demand_timeout: seconds(demand_timeout),
        queue_limit: faults.at_least_one("news.queue_limit", queue_limit) as usize,
        import_percent,
        health_percent,
        repair_percent,
        hedge_after: Duration::from_millis(hedge_after_ms.into()),
        hedge_percent,
        miss_ttl: seconds(missing_ttl_seconds),
        miss_entries: missing_entries as usize,
        probe_after_miss: seconds(probe_after_missing_seconds),
        warm_connections,
        max_article_bytes: faults.at_least_one("news.max_article_bytes", max_article_bytes) as usize,
        spare_bytes: spare_bytes as usize,
    }
}
