//! One typed configuration tree, in layers: defaults, `config.yaml`, `ALTMOUNT__SECTION__KEY` variables, flags.
//!
//! A key that is not known stops the start, and the message names the nearest one that is. A key that is known is read:
//! [`resolve`] takes every struct apart by name, so a key that it forgets does not compile.

mod arr;
mod edit;
mod env;
mod import;
mod layers;
mod library;
mod news;
mod operations;
mod outputs;
mod plugins;
mod reading;
mod reference;
mod resolve;
mod restart;
mod sabnzbd;
mod server;
mod types;

pub use arr::{ArrInstanceSettings, ArrSettings, QueueRuleSettings};
pub use edit::{Change, Edited, Editor, schema};
pub use library::{MountSettings, WebdavSettings};
pub use operations::{BackupSettings, NotifySettings, TargetSettings, WatchSettings};
pub use outputs::{CopySettings, OutputSettings};
pub use reference::{reference_markdown, sample_yaml};
pub use resolve::Settings;
pub use restart::{Fixed, needs_restart};
pub use sabnzbd::{CategorySettings, SabnzbdSettings};
pub use server::ServerSettings;
pub use types::*;

use figment::{
    error::Kind,
    providers::{Data, Format},
};
use layers::Layers;
use serde::de::DeserializeOwned;
use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// YAML, as figment wants a format: figment's own is built on an abandoned parser.
struct Yaml;

impl Format for Yaml {
    type Error = yaml_serde::Error;
    const NAME: &'static str = "YAML";

    fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, Self::Error> {
        // An empty file, or one with comments alone, is YAML's null and means: no keys.
        if text
            .lines()
            .all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
        {
            return yaml_serde::from_str("{}");
        }
        yaml_serde::from_str(text)
    }
}

/// Most faults that are told at once.
const MOST_PROBLEMS: usize = 20;

/// What was wrong with a configuration: one line for each fault, none of which shows a secret.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The faults.
    pub problems: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problems.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

/// Whether a key of this name holds what must not be shown. For configuration whose types are not ours.
pub fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["password", "secret", "token", "api_key", "apikey"]
        .iter()
        .any(|word| name.contains(word))
}

/// Where the layers come from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The text of `config.yaml`, and its name for messages.
    pub file: Option<(String, String)>,
    /// The environment; variables without the prefix are not looked at.
    pub env: BTreeMap<String, String>,
    /// `--listen`.
    pub listen: Option<SocketAddr>,
    /// Where `altmount mount` says that the library is to be mounted.
    pub mount: Option<PathBuf>,
}

impl Sources {
    /// The process's environment and no file.
    pub fn from_process() -> Self {
        Self {
            // `vars_os`, because `vars` panics where any variable, ours or not, is not Unicode.
            env: std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
            ..Self::default()
        }
    }

    /// With the file at `path`; nothing is changed where it does not exist and is not `required`.
    ///
    /// # Errors
    /// Where it cannot be read, or is required and does not exist.
    pub fn with_file(mut self, path: &Path, required: bool) -> Result<Self, ConfigError> {
        match std::fs::read_to_string(path) {
            Ok(text) => self.file = Some((path.display().to_string(), text)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && !required => {}
            Err(e) => {
                return Err(ConfigError {
                    problems: vec![format!("cannot read the configuration {}: {e}", path.display())],
                });
            }
        }
        Ok(self)
    }

    /// Merges the layers and reads the tree from them.
    ///
    /// # Errors
    /// Unknown keys, values of the wrong type, YAML that cannot be parsed.
    pub fn load(&self) -> Result<Config, ConfigError> {
        let file_name = self
            .file
            .as_ref()
            .map_or("the configuration file", |(name, _)| name);
        let mut layers = Layers::default();
        if let Some((_, text)) = &self.file {
            layers.push(Data::<Yaml>::string(text));
        }
        layers.push(env::Variables::new(&self.env));
        if let Some(listen) = self.listen {
            layers.push(("server.listen", listen.to_string()));
        }
        if let Some(path) = &self.mount {
            layers.push(("mount.path", path));
        }
        let mut problems = Vec::new();
        while problems.len() < MOST_PROBLEMS {
            let error = match layers.merged().extract() {
                Ok(config) if problems.is_empty() => return Ok(config),
                Ok(_) => break,
                Err(error) => error,
            };
            // It may be missed because it was taken out.
            if matches!(error.kind, Kind::MissingField(_)) && !problems.is_empty() {
                break;
            }
            problems.push(describe(&error, file_name));
            if !layers.take_out(&error) {
                break;
            }
        }
        Err(ConfigError { problems })
    }
}

/// Says where a fault is and what to do, without the value: it could be a password that was put under a wrong key.
fn describe(error: &figment::Error, file_name: &str) -> String {
    let layer = match error.metadata.as_ref().map(|m| m.name.as_ref()) {
        Some(env::LAYER) => "the environment",
        Some(name) if name.starts_with("YAML") => file_name,
        Some(_) => "the flags",
        None => file_name,
    };
    let key = key_of(&error.path);
    match &error.kind {
        Kind::UnknownField(field, expected) => {
            let parent = match error.path.split_last() {
                Some((last, parent)) if last == field => key_of(parent),
                _ => key.clone(),
            };
            let full = |name: &str| match parent.is_empty() {
                true => name.to_owned(),
                false => format!("{parent}.{name}"),
            };
            let hint = match nearest(field, expected) {
                Some(near) => format!("did you mean '{}'?", full(near)),
                None => format!("known here: {}", expected.join(", ")),
            };
            format!("{layer}: unknown key '{}'; {hint}", full(field))
        }
        Kind::UnknownVariant(_, expected) => {
            format!("{layer}: '{key}' must be one of: {}", expected.join(", "))
        }
        Kind::InvalidType(_, expected) | Kind::InvalidLength(_, expected) => {
            format!("{layer}: '{key}' must be {}", in_words(&expected.to_string()))
        }
        Kind::InvalidValue(_, expected) => {
            format!("{layer}: '{key}' has a value that cannot be used: {expected}")
        }
        Kind::ISizeOutOfRange(_) | Kind::USizeOutOfRange(_) => format!("{layer}: '{key}' is out of range"),
        Kind::DuplicateField(field) => format!("{layer}: key '{field}' is there twice"),
        Kind::Message(message) if key.is_empty() => format!("{layer}: {message}"),
        Kind::Message(message) => format!("{layer}: '{key}': {message}"),
        other => format!("{layer}: '{key}': {other}"),
    }
}

/// What a value must be, where that is the name of a type.
fn in_words(expected: &str) -> String {
    let number = |least: i128, most: i128| format!("a whole number from {least} to {most}");
    match expected {
        "u8" => number(0, u8::MAX.into()),
        "u16" => number(0, u16::MAX.into()),
        "u32" => number(0, u32::MAX.into()),
        "u64" | "usize" => number(0, u64::MAX.into()),
        "i8" => number(i8::MIN.into(), i8::MAX.into()),
        "i16" => number(i16::MIN.into(), i16::MAX.into()),
        "i32" => number(i32::MIN.into(), i32::MAX.into()),
        "i64" | "isize" => number(i64::MIN.into(), i64::MAX.into()),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a string" => "text; where it looks like something else, put it in quotes".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a section with keys in it".to_owned(),
        text if text.starts_with("struct ") => "a section with keys in it".to_owned(),
        text => text.to_owned(),
    }
}

/// `["providers", "0", "host"]` as `providers[0].host`.
fn key_of(path: &[String]) -> String {
    let mut key = String::new();
    for part in path {
        if part.bytes().all(|b| b.is_ascii_digit()) {
            key.push_str(&format!("[{part}]"));
        } else {
            if !key.is_empty() {
                key.push('.');
            }
            key.push_str(part);
        }
    }
    key
}

/// The known name that is most like the wrong one, where one is like it at all.
fn nearest<'a>(wrong: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|name| (strsim::jaro_winkler(wrong, name), *name))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    fn load(yaml: &str, env: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Sources {
            file: Some(("config.yaml".to_owned(), yaml.to_owned())),
            env: env
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            ..Sources::default()
        }
        .load()
    }

    fn problem(yaml: &str, env: &[(&str, &str)]) -> String {
        load(yaml, env).expect_err("refused").to_string()
    }

    #[test]
    fn an_empty_file_is_the_defaults() {
        for text in ["", "# only a comment\n\n", "{}"] {
            let config = load(text, &[]).expect(text);
            assert_eq!(config.server.listen.to_string(), "0.0.0.0:8080");
            assert_eq!(config.import.workers, 2);
        }
    }

    #[test]
    fn later_layers_go_before_earlier_ones() {
        let yaml = "server: {listen: '127.0.0.1:1'}\nimport: {workers: 3}\nlog: {level: debug}";
        let env = [
            ("ALTMOUNT__SERVER__LISTEN", "127.0.0.1:2"),
            ("ALTMOUNT__IMPORT__WORKERS", "4"),
        ];
        let config = load(yaml, &env).expect("loads");
        assert_eq!(config.server.listen.port(), 2);
        assert_eq!(config.import.workers, 4);
        assert_eq!(config.log.level, "debug");
        let sources = Sources {
            file: Some(("c".to_owned(), yaml.to_owned())),
            listen: Some(([127, 0, 0, 1], 9).into()),
            ..Sources::default()
        };
        assert_eq!(sources.load().expect("loads").server.listen.port(), 9);
    }

    #[test]
    fn an_unknown_key_is_named_with_the_nearest_known_one() {
        assert_eq!(
            problem("server: {lisen: '1.2.3.4:5'}", &[]),
            "config.yaml: unknown key 'server.lisen'; did you mean 'server.listen'?"
        );
        assert_eq!(
            problem("sever: {}", &[]),
            "config.yaml: unknown key 'sever'; did you mean 'server'?"
        );
        assert_eq!(
            problem("providers: [{host: a}, {host: b, usrname: x}]", &[]),
            "config.yaml: unknown key 'providers[1].usrname'; did you mean 'providers[1].username'?"
        );
        assert_eq!(
            problem("", &[("ALTMOUNT__IMPORT__WORKER", "2")]),
            "the environment: unknown key 'import.worker'; did you mean 'import.workers'?"
        );
        assert!(problem("log: {zzz: 1}", &[]).ends_with("known here: level, format"));
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let yaml = "sever: {}\nserver: {lisen: x, base_path: [1]}\nproviders: [{host: a, prot: 1}, {host: b, port: high}]\nlog: 1";
        let env = [
            ("ALTMOUNT__IMPORT__WORKER", "2"),
            ("ALTMOUNT__IMPORT__WORKERS", "x"),
        ];
        let mut told = load(yaml, &env).expect_err("refused").problems;
        told.sort();
        let words = [
            "'import.workers'",
            "'log'",
            "'providers[1].port'",
            "'server.base_path'",
            "unknown key 'providers[0].prot'",
            "unknown key 'server.lisen'",
            "unknown key 'sever'",
            "unknown key 'import.worker'",
        ];
        assert_eq!(told.len(), words.len(), "{told:#?}");
        for word in words {
            assert!(told.iter().any(|line| line.contains(word)), "{word}: {told:#?}");
        }
        // What was taken out is not missed.
        let told = load("providers: [{host: [1], usrname: x}]", &[]).expect_err("refused");
        assert_eq!(told.problems.len(), 2, "{told}");
    }

    #[test]
    fn wrong_values_are_named_without_being_shown() {
        let text = problem("webdav: {password: 918273}", &[]);
        assert!(text.contains("'webdav.password'"), "{text}");
        assert!(!text.contains("918273"), "{text}");
        assert!(problem("import: {source_file: burn}", &[]).ends_with("must be one of: keep, delete"));
        assert_eq!(
            problem("import: {workers: many}", &[]),
            "config.yaml: 'import.workers' must be a whole number from 0 to 65535"
        );
        assert_eq!(
            problem("server: {trusted_proxies: 10.0.0.1}", &[]),
            "config.yaml: 'server.trusted_proxies' must be a list"
        );
        assert_eq!(
            problem("webdav: {enabled: perhaps}", &[]),
            "config.yaml: 'webdav.enabled' must be true or false"
        );
        assert_eq!(
            problem("server: here", &[]),
            "config.yaml: 'server' must be a section with keys in it"
        );
        assert!(problem("server: [", &[]).starts_with("config.yaml: "));
    }

    #[test]
    fn text_keys_take_the_environment_as_it_is() {
        let env = [
            ("ALTMOUNT__WEBDAV__PASSWORD", "0123"),
            ("ALTMOUNT__WEBDAV__USER", "true"),
            (
                "ALTMOUNT__PROVIDERS",
                "[{\"host\": \"news.example\", \"password\": \"007\"}]",
            ),
            ("ALTMOUNT__PLUGINS__CONFIG__NZB__CHECK", "full"),
            ("ALTMOUNT__PLUGINS__CONFIG__NZB__MAX_FILES", "7"),
            ("ALTMOUNT_DATA_DIR", "not a key"),
        ];
        let config = load("", &env).expect("loads");
        assert_eq!(config.webdav.password.expect("set").expose_secret(), "0123");
        assert_eq!(config.webdav.user, "true");
        assert_eq!(config.providers[0].host, "news.example");
        assert_eq!(
            config.providers[0]
                .password
                .as_ref()
                .expect("set")
                .expose_secret(),
            "007"
        );
        assert_eq!(
            config.plugins.config["nzb"],
            serde_json::json!({"check": "full", "max_files": 7})
        );
    }

    #[test]
    fn secrets_are_not_shown() {
        let config = load(
            "webdav: {password: hunter2}\nproviders: [{host: a, password: hunter3}]",
            &[],
        )
        .expect("loads");
        let shown = yaml_serde::to_string(&config).expect("serialises");
        assert!(
            !shown.contains("hunter") && shown.matches(REDACTED).count() == 2,
            "{shown}"
        );
        assert!(!format!("{config:?}").contains("hunter"));
    }
}
