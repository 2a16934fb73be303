//! From the keys of `sabnzbd` and `categories` to what the download client takes.
#![deny(unused_variables)]

use super::{
    resolve::{Faults, seconds},
    types::{Category, Sabnzbd},
};
use altmount_model::{VPath, sanitize_component};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};

/// The download client's settings.
#[derive(Clone, Debug)]
pub struct SabnzbdSettings {
    /// In front of `/api`: empty, or from its slash on.
    pub url_base: String,
    /// What clients are told.
    pub version: String,
    /// Jobs of the history where a client does not say how many.
    pub history_limit: u32,
    /// The most that imports may take, in bytes a second; 0 for no limit.
    pub max_bytes_per_second: u64,
    /// Whether the speed limit is for readers too.
    pub limit_streams: bool,
    /// Hosts of private networks that may be fetched from.
    pub fetch_allow: Vec<String>,
    /// For fetching an NZB.
    pub fetch_timeout: Duration,
    /// Redirects that are followed then.
    pub fetch_redirects: u8,
    /// Whether the indexer's other NZB is fetched where one failed.
    pub new_nzb_on_failure: bool,
}

/// A category of the download client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CategorySettings {
    /// Its name.
    pub name: String,
    /// Where its releases are put in the library.
    pub dir: VPath,
    /// The priority of its jobs.
    pub priority: i32,
}

pub(super) fn client(sabnzbd: Sabnzbd, faults: &mut Faults) -> Option<SabnzbdSettings> {
    let Sabnzbd {
        enabled,
        url_base,
        version,
        history_limit,
        max_bytes_per_second,
        limit_streams,
        fetch_allow,
        fetch_timeout_seconds,
        fetch_max_redirects,
        new_nzb_on_failure,
    } = sabnzbd;
    let base = url_base.trim_matches('/');
    let unreserved = |c: char| c.is_ascii_alphanumeric() || "-._~/".contains(c);
    if !base.chars().all(unreserved) || base == "api" || base.starts_with("api/") || base == "webdav" {
        faults.add(
            "'sabnzbd.url_base' must be a path of letters, digits and '-._~', such as /sabnzbd".to_owned(),
        );
    }
    let numbers: Vec<&str> = version.splitn(3, '.').collect();
    if numbers.len() != 3
        || !numbers
            .iter()
            .all(|part| part.starts_with(|c: char| c.is_ascii_digit()))
    {
        faults
            .add("'sabnzbd.version' must be three numbers with dots between them, such as 4.5.1".to_owned());
    }
    let settings = SabnzbdSettings {
        url_base: if base.is_empty() {
            String::new()
        } else {
            format!("/{base}")
        },
        version,
        history_limit: faults.at_least_one("sabnzbd.history_limit", history_limit),
        max_bytes_per_second,
        limit_streams,
        fetch_allow,
        fetch_timeout: seconds(faults.at_least_one("sabnzbd.fetch_timeout_seconds", fetch_timeout_seconds)),
        fetch_redirects: fetch_max_redirects,
        new_nzb_on_failure,
    };
    enabled.then_some(settings)
}

pub(super) fn categories(categories: Vec<Category>, faults: &mut Faults) -> Vec<CategorySettings> {
    let mut resolved: Vec<CategorySettings> = Vec::with_capacity(categories.len());
    for (at, category) in categories.into_iter().enumerate() {
        let Category {
            name,
            dir,
            priority,
            // `category_checks` has it
            check: _,
        } = category;
        let usable = !name.is_empty()
            && name.trim() == name
            && !name.chars().any(|c| c.is_control() || "*,/\\".contains(c));
        if !usable || ["default", "none", "all"].contains(&name.to_lowercase().as_str()) {
            faults.add(format!(
                "'categories[{at}].name' must be a name without '*', commas and slashes, and none of 'default', 'none', 'all'"
            ));
        } else if resolved
            .iter()
            .any(|other| other.name.eq_ignore_ascii_case(&name))
        {
            faults.add(format!(
                "'categories[{at}].name': there is another category '{name}'"
            ));
        }
        let parts = dir.as_deref().unwrap_or(&name).trim_matches('/').split('/');
        let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
        let path = parts.join("/");
        let plain = parts.iter().all(|part| sanitize_component(part) == **part);
        let dir = match VPath::new(&path) {
            Ok(dir) if plain && !dir.is_root() && !path.ends_with('*') => dir,
            _ => {
                faults.add(format!(
                    "'categories[{at}].dir': '{path}' is no folder of the library; give a path below it, such as tv"
                ));
                VPath::root()
            }
        };
        if !(-1..=2).contains(&priority) {
            faults.add(format!("'categories[{at}].priority' must be from -1 to 2"));
        }
        resolved.push(CategorySettings {
            name,
            dir,
            priority: priority.into(),
        });
    }
    resolved
}

pub(super) fn category_checks(categories: &[Category]) -> Value {
    let checks = categories
        .iter()
        .filter_map(|category| Some((category.name.clone(), category.check?)));
    json!(checks.collect::<BTreeMap<_, _>>())
}
