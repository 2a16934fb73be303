//! From the keys that operators need to what their components take.

use super::{
    CategorySettings,
    resolve::{Faults, seconds},
    types::{AfterImport, Backup, Notify, NotifyEvent, NotifyTarget, Telemetry, Watch, WatchFolder},
};
use crate::notify::{Address, Template};
use secrecy::ExposeSecret;
use std::{collections::HashSet, path::PathBuf, time::Duration};

/// A watch folder's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchSettings {
    /// The folder, absolute.
    pub path: PathBuf,
    /// What becomes of a file.
    pub after: AfterImport,
    /// The category of its jobs.
    pub category: Option<CategorySettings>,
    /// How long a file must not have changed.
    pub settle: Duration,
    /// Between two looks that nobody asked for.
    pub poll: Duration,
}

/// How backups are made by themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupSettings {
    /// The folder, absolute.
    pub folder: PathBuf,
    /// Between two of them.
    pub every: Duration,
    /// How many are kept.
    pub keep: usize,
}

/// Who is told what happened.
#[derive(Clone, Debug, Default)]
pub struct NotifySettings {
    /// Where messages go.
    pub targets: Vec<TargetSettings>,
    /// For how long events are gathered.
    pub gather: Duration,
    /// For how long the same is not told again.
    pub repeat: Duration,
    /// How often a message is tried.
    pub attempts: u32,
    /// For one try.
    pub timeout: Duration,
}

/// Where messages go.
#[derive(Clone, Debug)]
pub struct TargetSettings {
    /// Its name.
    pub name: String,
    /// The address.
    pub address: Address,
    /// What it is told.
    pub events: Vec<NotifyEvent>,
    /// What a webhook is sent, where that is not as usual.
    pub template: Option<Template>,
}

pub(super) fn watch(
    watch: Watch,
    categories: &[CategorySettings],
    roots: &[PathBuf],
    faults: &mut Faults,
) -> Vec<WatchSettings> {
    let Watch { folders } = watch;
    let mut resolved: Vec<WatchSettings> = Vec::with_capacity(folders.len());
    for (at, folder) in folders.into_iter().enumerate() {
        let WatchFolder {
            path,
            after,
            category,
            settle_seconds,
            poll_seconds,
        } = folder;
        let key = |name: &str| format!("watch.folders[{at}].{name}");
        if !path.is_absolute() {
            faults.add(format!(
                "'{}' must be where the folder lies, from '/' on",
                key("path")
            ));
        }
        let twice = |other: &WatchSettings| path.starts_with(&other.path) || other.path.starts_with(&path);
        if resolved.iter().any(twice) {
            faults.add(format!(
                "'{}' lies in another watch folder, or holds one",
                key("path")
            ));
        }
        if !roots.is_empty() && !roots.iter().any(|root| path.starts_with(root)) {
            faults.add(format!(
                "'{}' lies in none of 'import.allowed_roots', so nothing in it may be queued; add it there",
                key("path")
            ));
        }
        let category = category.and_then(|name| {
            let found = categories.iter().find(|known| known.name == name).cloned();
            if found.is_none() {
                faults.add(format!(
                    "'{}': there is no category '{name}'; add it to 'categories'",
                    key("category")
                ));
            }
            found
        });
        resolved.push(WatchSettings {
            path,
            after,
            category,
            settle: seconds(settle_seconds),
            poll: seconds(faults.at_least_one(&key("poll_seconds"), poll_seconds)),
        });
    }
    resolved
}

pub(super) fn backup(backup: Backup, faults: &mut Faults) -> Option<BackupSettings> {
    let Backup {
        folder,
        every_hours,
        keep,
    } = backup;
    let every = seconds(
        faults
            .at_least_one("backup.every_hours", every_hours)
            .saturating_mul(3600),
    );
    let keep = faults.at_least_one("backup.keep", keep) as usize;
    let folder = folder?;
    if !folder.is_absolute() {
        faults.add("'backup.folder' must be where the folder lies, from '/' on".to_owned());
    }
    Some(BackupSettings { folder, every, keep })
}

pub(super) fn notify(notify: Notify, faults: &mut Faults) -> NotifySettings {
    let Notify {
        targets,
        gather_seconds,
        repeat_seconds,
        attempts,
        timeout_seconds,
    } = notify;
    let mut names = HashSet::new();
    let mut resolved = Vec::with_capacity(targets.len());
    for (at, target) in targets.into_iter().enumerate() {
        let NotifyTarget {
            secret_url,
            name,
            events,
            template,
        } = target;
        let key = |name: &str| format!("notify.targets[{at}].{name}");
        let Some(url) = secret_url.filter(|url| !url.expose_secret().is_empty()) else {
            faults.add(format!(
                "'{}' is missing; it looks like https://example.com/hook",
                key("secret_url")
            ));
            continue;
        };
        let address = match Address::parse(url.expose_secret()) {
            // Who gives JSON of his own knows what the service wants.
            Ok(address) if template.is_none() => address.native(),
            Ok(address) => address,
            Err(why) => {
                faults.add(format!("'{}' cannot be used: {why}", key("secret_url")));
                continue;
            }
        };
        let name = name.unwrap_or_else(|| address.kind().to_owned());
        if name.is_empty() || name.chars().any(char::is_control) {
            faults.add(format!("'{}' must be a name", key("name")));
        }
        if !names.insert(name.clone()) {
            faults.add(format!(
                "'{}': there is another target '{name}'; give each its own name",
                key("name")
            ));
        }
        if events.is_empty() {
            faults.add(format!(
                "'{}' is empty, so it is never told anything",
                key("events")
            ));
        }
        if template.is_some() && !address.takes_template() {
            faults.add(format!(
                "'{}' is for webhooks (http:// and https://); {} has a form of its own",
                key("template"),
                address.kind()
            ));
        }
        let template = template.and_then(|text| {
            Template::parse(&text)
                .map_err(|why| faults.add(format!("'{}' cannot be used: {why}", key("template"))))
                .ok()
        });
        resolved.push(TargetSettings {
            name,
            address,
            events,
            template,
        });
    }
    NotifySettings {
        targets: resolved,
        gather: seconds(gather_seconds),
        repeat: seconds(repeat_seconds),
        attempts: faults.at_least_one("notify.attempts", attempts),
        timeout: seconds(faults.at_least_one("notify.timeout_seconds", timeout_seconds)),
    }
}

pub(super) fn telemetry(telemetry: Telemetry, faults: &mut Faults) -> Option<String> {
    let Telemetry { otlp_endpoint } = telemetry;
    let endpoint = otlp_endpoint?;
    let usable = endpoint
        .parse::<url::Url>()
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some());
    if !usable {
        faults.add(
            "'telemetry.otlp_endpoint' must be an address such as http://localhost:4318/v1/traces".to_owned(),
        );
    }
    if cfg!(not(feature = "otel")) {
        faults.add(
            "'telemetry.otlp_endpoint' needs a program that was built with '--features otel', and this one was not; \
             leave the key out, or build it so"
                .to_owned(),
        );
    }
    Some(endpoint)
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Sources};
    use serde_json::{Value, json};

    fn problems(yaml: &Value) -> String {
        let file = Some(("test".to_owned(), yaml.to_string()));
        let sources = Sources {
            file,
            ..Sources::default()
        };
        match sources.load().and_then(Config::resolve) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_watch_folder_has_a_place_and_a_category_of_its_own() {
        let two = |a: &str, b: &str| json!({"watch": {"folders": [{"path": a}, {"path": b}]}});
        assert_eq!(problems(&two("/a", "/b")), "");
        for (yaml, said) in [
            (two("/a", "/a/b"), "folders[1].path' lies in another"),
            (two("a", "/b"), "folders[0].path' must be"),
            (
                json!({"watch": {"folders": [{"path": "/a", "category": "tv"}]}}),
                "there is no category 'tv'",
            ),
            (
                json!({"import": {"allowed_roots": ["/in"]}, "watch": {"folders": [{"path": "/a"}]}}),
                "import.allowed_roots",
            ),
        ] {
            assert!(problems(&yaml).contains(said), "{said} in {}", problems(&yaml));
        }
    }

    #[test]
    fn a_target_is_refused_without_showing_its_address() {
        let one = |target: Value| json!({"notify": {"targets": [target]}});
        assert_eq!(problems(&one(json!({"secret_url": "discord://1/canary"}))), "");
        for (target, said) in [
            (json!({}), "secret_url' is missing"),
            (
                json!({"secret_url": "mailto://canary@example.com"}),
                "cannot be used",
            ),
            (json!({"secret_url": "discord://canary"}), "cannot be used"),
            (
                json!({"secret_url": "discord://1/canary", "template": "{}"}),
                "is for webhooks",
            ),
            (
                json!({"secret_url": "https://h/canary", "template": "{"}),
                "template' cannot be used",
            ),
            (
                json!({"secret_url": "https://h/canary", "events": []}),
                "events' is empty",
            ),
        ] {
            let text = problems(&one(target));
            assert!(
                text.contains(said) && !text.contains("canary"),
                "{said} in {text}"
            );
        }
    }

    #[cfg(not(feature = "otel"))]
    #[test]
    fn traces_are_refused_where_they_are_not_built_in() {
        let text = problems(&json!({"telemetry": {"otlp_endpoint": "http://localhost:4318/v1/traces"}}));
        assert!(text.contains("--features otel"), "{text}");
    }
}
