//! The reference page and the sample file, made from the types, so that they cannot say anything else than the program does.

use super::{
    ArrInstance, Category, Config, NotifyTarget, PathMapping, PluginFile, Provider, QueueRule, WatchFolder,
    env, needs_restart,
};
use serde_json::Value as Json;
use std::fmt::Write;
use yaml_serde::Value as Yaml;

/// A key of the configuration, with what the types say of it.
struct Key {
    name: String,
    doc: String,
    kind: String,
    default: Yaml,
    /// Keys below, for a section.
    keys: Vec<Key>,
    /// Whether it is a list of sections.
    list: bool,
}

fn keys() -> Vec<Key> {
    let defaults = yaml_serde::to_value(Config::default()).unwrap_or(Yaml::Null);
    below(&env::schema(), &defaults)
}

/// The keys of a section in the order of the types: a schema has them by the alphabet, the default value does not.
fn below(schema: &Json, defaults: &Yaml) -> Vec<Key> {
    let Some(map) = defaults.as_mapping() else {
        return Vec::new();
    };
    map.iter()
        .filter_map(|(name, default)| {
            let name = name.as_str()?;
            let part = schema.get("properties")?.get(name)?;
            let items = part
                .get("items")
                .filter(|items| items.get("properties").is_some());
            let keys = match items {
                Some(items) => {
                    let item = match name {
                        "load" => yaml_serde::to_value(PluginFile::default()),
                        "instances" => yaml_serde::to_value(ArrInstance::default()),
                        "rules" => yaml_serde::to_value(QueueRule::default()),
                        "categories" => yaml_serde::to_value(Category::default()),
                        "targets" => yaml_serde::to_value(NotifyTarget::default()),
                        "folders" => yaml_serde::to_value(WatchFolder::default()),
                        "mappings" => yaml_serde::to_value(PathMapping::default()),
                        _ => yaml_serde::to_value(Provider::default()),
                    };
                    below(items, &item.unwrap_or(Yaml::Null))
                }
                None => below(part, default),
            };
            Some(Key {
                name: name.to_owned(),
                doc: doc_of(part),
                kind: kind_of(part),
                default: default.clone(),
                keys,
                list: items.is_some(),
            })
        })
        .collect()
}

fn doc_of(part: &Json) -> String {
    let text = part.get("description").and_then(Json::as_str).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn kind_of(part: &Json) -> String {
    if let Some(options) = part.get("oneOf").and_then(Json::as_array) {
        let words = options
            .iter()
            .filter_map(|o| o.get("const").and_then(Json::as_str))
            .map(|word| format!("`{word}`"));
        return words.collect::<Vec<_>>().join(" or ");
    }
    if let Some(options) = part.get("anyOf").and_then(Json::as_array) {
        let value = options.iter().find(|option| option["type"] != "null");
        return value.map_or_else(
            || "map".to_owned(),
            |value| format!("{}, optional", kind_of(value)),
        );
    }
    let kinds: Vec<&str> = match part.get("type") {
        Some(Json::String(kind)) => vec![kind],
        Some(Json::Array(kinds)) => kinds.iter().filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    };
    let optional = if kinds.contains(&"null") { ", optional" } else { "" };
    let kind = match kinds.iter().find(|kind| **kind != "null") {
        Some(&"string") => "text",
        Some(&"integer") => "number",
        Some(&"boolean") => "`true` or `false`",
        Some(&"array") => "list",
        _ => "map",
    };
    format!("{kind}{optional}")
}

fn inline(value: &Yaml) -> String {
    match value {
        Yaml::Null => "null".to_owned(),
        Yaml::String(text) if text.is_empty() => "''".to_owned(),
        Yaml::Sequence(list) if list.is_empty() => "[]".to_owned(),
        // On one line, as it stands behind its key.
        Yaml::Sequence(list) => format!("[{}]", list.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Yaml::Mapping(map) if map.is_empty() => "{}".to_owned(),
        other => yaml_serde::to_string(other)
            .unwrap_or_default()
            .trim_end()
            .to_owned(),
    }
}

/// The sample file: every key with its default, all of them commented out. It is what the first start writes.
pub fn sample_yaml() -> String {
    let mut out = String::from(
        "# AltMount's configuration. Every key may be left out; what stands here is the default.\n\
         # Take away the '#' in front of a key (and of the section that it is in) to set it.\n\
         # A variable ALTMOUNT__SECTION__KEY goes before this file, a flag before both.\n\
         # Check it with: altmount config check\n",
    );
    for section in keys() {
        out.push('\n');
        prose(&mut out, "", &section.doc);
        let _ = writeln!(out, "#{}:", section.name);
        sample_keys(&mut out, "  ", &section);
    }
    out
}

fn sample_keys(out: &mut String, indent: &str, section: &Key) {
    for (at, key) in section.keys.iter().enumerate() {
        // The keys of a list's first item stand behind its dash.
        let (inner, dash) = match (section.list, at) {
            (true, 0) => (format!("{indent}  "), Some(format!("{indent}#- "))),
            (true, _) => (format!("{indent}  "), None),
            (false, _) => (indent.to_owned(), None),
        };
        prose(out, &inner, &key.doc);
        let lead = dash.unwrap_or_else(|| format!("{inner}#"));
        if key.keys.is_empty() {
            let value = match (section.list, key.name.as_str()) {
                (true, "name") if section.name == "categories" => "tv".to_owned(),
                (true, "host") => "news.example.com".to_owned(),
                (true, "secret_url") => "ntfys://ntfy.sh/my-topic".to_owned(),
                (true, "url") => "http://sonarr:8989".to_owned(),
                (true, "message") => "'*no files found are eligible*'".to_owned(),
                (true, "ours") => "/mnt/altmount".to_owned(),
                (true, "theirs") => "/data/altmount".to_owned(),
                (true, "path") if section.name == "folders" => "/srv/watch".to_owned(),
                (true, "path") => "/usr/lib/altmount/libexample.so".to_owned(),
                _ => inline(&key.default),
            };
            let _ = writeln!(out, "{lead}{}: {value}", key.name);
        } else {
            let _ = writeln!(out, "{lead}{}:", key.name);
            sample_keys(out, &format!("{inner}  "), key);
        }
    }
}

/// A comment of at most 110 columns.
fn prose(out: &mut String, indent: &str, text: &str) {
    let mut line = format!("{indent}#");
    for word in text.split(' ') {
        if line.len() + 1 + word.len() > 110 {
            let _ = writeln!(out, "{line}");
            line = format!("{indent}#");
        }
        let _ = write!(line, " {word}");
    }
    let _ = writeln!(out, "{line}");
}

/// The reference page.
pub fn reference_markdown() -> String {
    let mut out = String::from(
        "# Configuration\n\n\
         <!-- Made from server/src/config/types.rs by `altmount config reference markdown`; a test fails where it is not. -->\n\n\
         Layers, each before the one above it: the defaults, `config.yaml` in the data directory (or `--config FILE`),\n\
         environment variables, flags. A key that is not known stops the start. `altmount config check` says whether a\n\
         configuration can be used, `altmount config show` what it comes to, without its secrets.\n\n\
         *Used* says when a changed value counts while the server runs: as soon as the page or `PUT /api/settings` has saved it, or\n\
         `SIGHUP` or `POST /api/settings/reload` has read the file again; or after a restart.\n\n\
         A key's variable is `ALTMOUNT__` and the key with `__` between its parts, so `ALTMOUNT__IMPORT__WORKERS=4`. Lists\n\
         and maps are YAML or JSON there: `ALTMOUNT__PROVIDERS='[{\"host\": \"news.example.com\"}]'`.\n\n\
         The data directory holds `altmount.db`, `blobs/`, `news/`, `config.yaml`, `api.key` and `webdav.password`. It is, in this\n\
         order: `--data-dir`, `ALTMOUNT_DATA_DIR`, `/var/lib/altmount` for root, `$XDG_DATA_HOME/altmount`,\n\
         `~/.local/share/altmount`.\n",
    );
    for section in keys() {
        let _ = write!(out, "\n## {}\n\n{}\n", section.name, section.doc);
        out.push_str("\n| Key | Type | Default | Used | Meaning |\n|---|---|---|---|---|\n");
        let prefix = format!("{}{}", section.name, if section.list { "[]" } else { "" });
        rows(&mut out, &prefix, &section.keys);
    }
    out
}

fn rows(out: &mut String, prefix: &str, keys: &[Key]) {
    for key in keys {
        let name = format!("{prefix}.{}", key.name);
        if key.keys.is_empty() {
            let default = match &key.default {
                Yaml::Null => "none".to_owned(),
                value => format!("`{}`", inline(value)),
            };
            let used = if needs_restart(&name) {
                "restart"
            } else {
                "at once"
            };
            let doc = key.doc.replace('|', "\\|");
            let _ = writeln!(out, "| `{name}` | {} | {default} | {used} | {doc} |", key.kind);
        } else {
            rows(out, &name, &key.keys);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    fn load(yaml: &str) -> Config {
        let file = Some(("sample".to_owned(), yaml.to_owned()));
        let sources = Sources {
            file,
            ..Sources::default()
        };
        sources.load().expect("the sample loads")
    }

    #[test]
    fn the_sample_is_the_defaults_with_and_without_its_comment_signs() {
        let sample = sample_yaml();
        let defaults = format!("{:?}", Config::default());
        assert_eq!(format!("{:?}", load(&sample)), defaults);
        let open: String = sample
            .lines()
            .map(|line| {
                let (indent, rest) = line.split_at(line.len() - line.trim_start().len());
                let key = rest
                    .strip_prefix('#')
                    .filter(|rest| !rest.is_empty() && !rest.starts_with(' '));
                format!("{indent}{}\n", key.unwrap_or(rest))
            })
            .collect();
        let mut config = load(&open);
        assert_eq!(config.providers.len(), 1);
        assert_eq!(config.providers[0].host, "news.example.com");
        config.providers.clear();
        assert_eq!((config.arr.instances.len(), config.arr.queue.rules.len()), (1, 1));
        config.arr.instances.clear();
        config.arr.queue.rules.clear();
        assert_eq!(config.watch.folders.len(), 1);
        config.watch.folders.clear();
        assert_eq!(config.notify.targets.len(), 1);
        config.notify.targets.clear();
        assert_eq!(config.outputs.mappings.len(), 1);
        config.outputs.mappings.clear();
        assert_eq!(config.plugins.load.len(), 1);
        config.plugins.load.clear();
        assert_eq!(config.categories.len(), 1);
        config.categories.clear();
        assert_eq!(format!("{config:?}"), defaults);
    }

    #[test]
    fn every_key_is_documented() {
        fn walk(keys: &[Key]) {
            for key in keys {
                assert!(!key.doc.is_empty(), "'{}' has no doc comment", key.name);
                walk(&key.keys);
            }
        }
        let all = keys();
        assert!(all.iter().map(|section| section.keys.len()).sum::<usize>() > 40);
        walk(&all);
    }
}
