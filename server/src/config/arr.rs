//! From the keys of `arr` to what the way back takes.

use super::{
    resolve::Faults,
    types::{Arr, ArrInstance, ArrKind, DeletedFiles, Queue, QueueAction, QueueRule, Replace},
};
use altmount_engine::ReplaceLimits;
use globset::{GlobBuilder, GlobMatcher};
use secrecy::{ExposeSecret, SecretString};
use std::{collections::HashSet, time::Duration};
use url::Url;

const DAY_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;

/// The *arr applications around, and what is done with them.
#[derive(Clone, Debug)]
pub struct ArrSettings {
    /// Where they reach this server.
    pub own_url: Option<Url>,
    /// They.
    pub instances: Vec<ArrInstanceSettings>,
    /// Whether a file that one of them deleted goes from the library.
    pub delete_files: bool,
    /// Whether what certainly lacks articles is replaced without being asked.
    pub replace_missing: bool,
    /// How often anything is replaced.
    pub limits: ReplaceLimits,
    /// How often their queues are looked at.
    pub check_queue: Duration,
    /// What is cleared away there; the first that fits counts.
    pub rules: Vec<QueueRuleSettings>,
}

impl Default for ArrSettings {
    /// Those of a configuration that says nothing of them.
    fn default() -> Self {
        resolve(Arr::default(), &mut Faults::default())
    }
}

/// One *arr.
#[derive(Clone, Debug)]
pub struct ArrInstanceSettings {
    /// Its name in the configuration.
    pub name: String,
    /// What it is.
    pub kind: ArrKind,
    /// Where it is.
    pub url: Url,
    /// Its API key.
    pub api_key: SecretString,
    /// The categories of its downloads; the usual one where there are none.
    pub categories: Vec<String>,
}

/// What is done with a download that is stuck.
#[derive(Clone, Debug)]
pub struct QueueRuleSettings {
    /// The pattern as it was written, which is what the rule is known by.
    pub text: String,
    /// The pattern, for lower-case texts.
    pub message: GlobMatcher,
    /// How long it is stuck before.
    pub grace: Duration,
    /// What is done.
    pub action: QueueAction,
}

pub(super) fn resolve(arr: Arr, faults: &mut Faults) -> ArrSettings {
    let Arr {
        own_url,
        instances,
        deleted_files,
        replace,
        queue,
    } = arr;
    let Replace {
        automatic,
        per_item_per_day,
        per_release_per_day,
        brake_per_hour,
    } = replace;
    let Queue { check_seconds, rules } = queue;
    let own_url = own_url.and_then(|text| address("arr.own_url", &text, faults));
    ArrSettings {
        own_url,
        instances: resolve_instances(instances, faults),
        delete_files: deleted_files == DeletedFiles::Remove,
        replace_missing: automatic,
        limits: ReplaceLimits {
            per_item: per_item_per_day,
            per_set: per_release_per_day,
            window_ms: DAY_MS,
            brake: brake_per_hour,
            brake_window_ms: HOUR_MS,
        },
        check_queue: Duration::from_secs(
            faults
                .at_least_one("arr.queue.check_seconds", check_seconds)
                .into(),
        ),
        rules: resolve_rules(rules, faults),
    }
}

fn address(key: &str, text: &str, faults: &mut Faults) -> Option<Url> {
    let url = text.parse::<Url>().ok().filter(|url| {
        matches!(url.scheme(), "http" | "https") && url.host().is_some() && url.query().is_none()
    });
    if url.is_none() {
        faults.add(format!("'{key}' must be an address such as http://sonarr:8989"));
    }
    // It is shown, logged and told to others.
    if url
        .as_ref()
        .is_some_and(|url| !url.username().is_empty() || url.password().is_some())
    {
        faults.add(format!(
            "'{key}' must have no name and password in it: it is shown as it is; the applications are known by their API keys"
        ));
    }
    url
}

fn resolve_instances(instances: Vec<ArrInstance>, faults: &mut Faults) -> Vec<ArrInstanceSettings> {
    let mut names = HashSet::new();
    let mut resolved = Vec::with_capacity(instances.len());
    for (at, instance) in instances.into_iter().enumerate() {
        let ArrInstance {
            name,
            kind,
            url,
            api_key,
            categories,
        } = instance;
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let name = name.unwrap_or_else(|| kind.as_str().to_owned());
        if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
            faults.add(format!(
                "'arr.instances[{at}].name' must be of letters, digits, '-', '_' and '.'"
            ));
        }
        if !names.insert(name.clone()) {
            faults.add(format!(
                "'arr.instances[{at}].name': there is another instance '{name}'; give each its own name"
            ));
        }
        let api_key = api_key.filter(|key| !key.expose_secret().is_empty());
        if api_key.is_none() {
            faults.add(format!(
                "'arr.instances[{at}].api_key' is missing; Settings, General of the application shows it"
            ));
        }
        let url = address(&format!("arr.instances[{at}].url"), &url, faults);
        if let (Some(url), Some(api_key)) = (url, api_key) {
            resolved.push(ArrInstanceSettings {
                name,
                kind,
                url,
                api_key,
                categories,
            });
        }
    }
    resolved
}

fn resolve_rules(rules: Vec<QueueRule>, faults: &mut Faults) -> Vec<QueueRuleSettings> {
    let mut resolved = Vec::with_capacity(rules.len());
    for (at, rule) in rules.into_iter().enumerate() {
        let QueueRule {
            message,
            grace_seconds,
            action,
        } = rule;
        // Messages name files and folders, whose slashes mean nothing here.
        let glob = GlobBuilder::new(&message.to_lowercase())
            .literal_separator(false)
            .build();
        match glob {
            Ok(glob) if !message.trim_matches('*').is_empty() => resolved.push(QueueRuleSettings {
                text: message,
                message: glob.compile_matcher(),
                grace: Duration::from_secs(grace_seconds.into()),
                action,
            }),
            Ok(_) => faults.add(format!(
                "'arr.queue.rules[{at}].message' fits everything; say what it is for"
            )),
            Err(error) => faults.add(format!("'arr.queue.rules[{at}].message' cannot be used: {error}")),
        }
    }
    resolved
}
