//! Changes of `config.yaml` that leave its comments where they are.
//!
//! The file is changed line by line in the form in which the sample file has it, and read again before anything is written:
//! where the lines do not come to exactly what was wanted, the whole file is written anew from its values, which costs the
//! comments. Whatever is written was accepted as a configuration before.

mod lines;

use super::{ConfigError, REDACTED, Settings, Sources, env, is_secret};
use serde_json::{Map, Value};
use std::{
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// One key with its new value; `None` takes it out, so that its default counts.
pub type Change = (Vec<String>, Option<Value>);

/// The configuration file of a running server.
#[derive(Clone, Debug)]
pub struct Editor {
    path: PathBuf,
    /// The layers above the file.
    above: Sources,
    turn: Arc<Mutex<()>>,
}

/// What was changed.
#[derive(Debug)]
pub struct Edited {
    /// The settings as the next start would have them.
    pub settings: Settings,
    /// Whether the comments are still there.
    pub comments_kept: bool,
}

fn problem(text: impl Into<String>) -> ConfigError {
    ConfigError {
        problems: vec![text.into()],
    }
}

fn parse(text: &str) -> Result<Value, ConfigError> {
    let value: Value = yaml_serde::from_str(text).map_err(|error| problem(error.to_string()))?;
    Ok(match value {
        Value::Null => Value::Object(Map::new()),
        value => value,
    })
}

impl Editor {
    /// For the file at `path`, below these layers.
    pub fn new(path: PathBuf, above: Sources) -> Self {
        Self {
            path,
            above: Sources { file: None, ..above },
            turn: Arc::default(),
        }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a key's value comes from the environment or a flag, so that the file does not count.
    pub fn is_overridden(&self, key: &str) -> bool {
        let name = format!("ALTMOUNT__{}", key.replace('.', "__").to_ascii_uppercase());
        let by_env = self
            .above
            .env
            .keys()
            .any(|variable| variable == &name || name.starts_with(&format!("{variable}__")));
        let by_flag = match key {
            "server.listen" => self.above.listen.is_some(),
            "mount.path" => self.above.mount.is_some(),
            _ => false,
        };
        by_env || by_flag
    }

    fn text(&self) -> Result<String, ConfigError> {
        match std::fs::read_to_string(&self.path) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(problem(format!("cannot read {}: {error}", self.path.display()))),
        }
    }

    fn sources(&self, text: String) -> Sources {
        Sources {
            file: Some((self.path.display().to_string(), text)),
            ..self.above.clone()
        }
    }

    /// The configuration as it is now, with secrets left out.
    ///
    /// # Errors
    /// Where the file cannot be read or used.
    pub fn effective(&self) -> Result<Value, ConfigError> {
        let config = self.sources(self.text()?).load()?;
        serde_json::to_value(config).map_err(|error| problem(error.to_string()))
    }

    /// The same for whoever must not see what importers keep secret either.
    ///
    /// # Errors
    /// Those of [`Self::effective`].
    pub fn shown(&self) -> Result<Value, ConfigError> {
        let mut tree = self.effective()?;
        hide(&mut tree["plugins"]["config"]);
        Ok(tree)
    }

    /// What stands in the file, secrets included. For whoever changes a part of a list.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn raw(&self) -> Result<Value, ConfigError> {
        parse(&self.text()?)
    }

    /// Makes changes, in order, and writes the file where the whole of it can be used then. Blocks.
    ///
    /// # Errors
    /// What is wrong with the values, or why the file cannot be read or written. Nothing has changed then.
    pub fn apply(&self, changes: &[Change]) -> Result<Edited, ConfigError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.text()?;
        let mut wanted = parse(&before)?;
        let mut after = before.clone();
        for (path, value) in changes {
            put(&mut wanted, path, value.clone());
            after = lines::set(&after, path, value.as_ref());
        }
        let comments_kept = parse(&after).is_ok_and(|tree| pruned(tree) == pruned(wanted.clone()));
        if !comments_kept {
            after = yaml_serde::to_string(&pruned(wanted)).map_err(|error| problem(error.to_string()))?;
        }
        let settings = self.sources(after.clone()).load()?.resolve()?;
        if after != before {
            self.write(&after)
                .map_err(|error| problem(format!("cannot write {}: {error}", self.path.display())))?;
        }
        Ok(Edited {
            settings,
            comments_kept,
        })
    }

    /// Writes the file as it was before.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn put_back(&self, bytes: &[u8]) -> std::io::Result<()> {
        self.write(&String::from_utf8_lossy(bytes))
    }

    /// In one step, readable by its owner alone: passwords stand in it.
    fn write(&self, text: &str) -> std::io::Result<()> {
        // What a link names is written, and the link stays.
        let path = std::fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let folder = path.parent().unwrap_or(Path::new("/"));
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(&path).map_err(|error| error.error)?;
        std::fs::File::open(folder)?.sync_all()
    }
}

/// Takes the secrets out of what importers are configured with: only their names say what they are.
fn hide(config: &mut Value) {
    match config {
        Value::Object(map) => {
            for (name, value) in map {
                match is_secret(name) && !value.is_null() {
                    true => *value = Value::from(REDACTED),
                    false => hide(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hide),
        _ => {}
    }
}

/// The configuration's JSON Schema.
pub fn schema() -> Value {
    env::schema()
}

/// Without sections in which nothing is set: they say the same.
fn pruned(tree: Value) -> Value {
    match tree {
        Value::Object(map) => Value::Object(
            map.into_iter()
                .map(|(key, value)| (key, pruned(value)))
                .filter(|(_, value)| !value.is_null() && value.as_object().is_none_or(|map| !map.is_empty()))
                .collect(),
        ),
        other => other,
    }
}

fn put(tree: &mut Value, path: &[String], value: Option<Value>) {
    let Some((last, above)) = path.split_last() else {
        return;
    };
    let mut at = tree;
    for part in above {
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        let Value::Object(map) = at else { return };
        at = map.entry(part.clone()).or_insert(Value::Null);
    }
    if !at.is_object() {
        *at = Value::Object(Map::new());
    }
    if let Value::Object(map) = at {
        match value {
            Some(value) => drop(map.insert(last.clone(), value)),
            None => drop(map.remove(last)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sample_yaml;
    use serde_json::json;

    fn path(key: &str) -> Vec<String> {
        key.split('.').map(str::to_owned).collect()
    }

    fn editor(text: &str) -> (tempfile::TempDir, Editor) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("config.yaml");
        std::fs::write(&file, text).expect("written");
        (folder, Editor::new(file, Sources::default()))
    }

    #[test]
    fn every_plain_key_of_the_sample_is_set_and_taken_out_again_with_all_comments_kept() {
        let sample = sample_yaml();
        let comments = |text: &str| {
            text.lines()
                .filter(|line| line.trim_start().starts_with("# "))
                .count()
        };
        for (key, value) in [
            ("log.level", json!("debug,altmount_usenet=trace")),
            ("server.max_connections", json!(7)),
            ("import.limits.max_files", json!(3)),
            ("import.passwords", json!(["a: b", "#c"])),
            ("webdav.enabled", json!(false)),
            ("plugins.priority", json!({"nzb": 3})),
            ("mount.path", json!("/mnt/a b")),
            (
                "providers",
                json!([{"host": "news.example", "username": "u", "password": "p#: '"}]),
            ),
        ] {
            let (_folder, editor) = editor(&sample);
            let edited = editor.apply(&[(path(key), Some(value.clone()))]).expect(key);
            assert!(edited.comments_kept, "{key}");
            let text = editor.text().expect("read");
            assert_eq!(comments(&text), comments(&sample), "{key}");
            let pointer = format!("/{}", key.replace('.', "/"));
            assert_eq!(
                parse(&text).expect("YAML").pointer(&pointer),
                Some(&value),
                "{key}"
            );
            editor.apply(&[(path(key), None)]).expect(key);
            let text = editor.text().expect("read");
            assert!(pruned(parse(&text).expect("YAML")) == json!({}), "{key}: {text}");
        }
    }

    #[test]
    fn what_a_person_wrote_stays_as_it_is() {
        let text = "# mine\nlog:\n  # why\n  level: warn # loud\n  format: json\nproviders:\n  - host: a # first\n    username: u\n    password: x\n\
                    server: {max_connections: 5}\n";
        let (_folder, editor) = editor(text);
        editor
            .apply(&[(path("log.level"), Some(json!("info")))])
            .expect("set");
        let now = editor.text().expect("read");
        assert!(
            now.contains("# mine\nlog:\n  # why\n  level: \"info\"\n  format: json\n"),
            "{now}"
        );
        assert!(now.contains("host: a # first"), "{now}");
        // A section in braces is written out, so that a key of it can be changed.
        let edited = editor
            .apply(&[(path("server.max_body_bytes"), Some(json!(9)))])
            .expect("set");
        assert!(edited.comments_kept, "{}", editor.text().expect("read"));
        let now = editor.text().expect("read");
        assert!(now.contains("host: a # first"), "{now}");
        let tree = parse(&now).expect("YAML");
        assert_eq!(tree["server"], json!({"max_connections": 5, "max_body_bytes": 9}));
        assert_eq!(tree["providers"][0]["password"], "x");
    }

    /// A key of a map, whatever it is called.
    fn in_map(map: &str, name: &str) -> Vec<String> {
        let mut path = path(map);
        path.push(name.to_owned());
        path
    }

    #[test]
    fn keys_of_maps_are_set_renamed_and_taken_out_with_all_comments_kept() {
        let written = "# mine\nplugins:\n    # who goes first\n    priority:\n        links: 3 # sure\n        'a b': 1\n\
                       outputs: {categories: {tv: [mount]}} # ways\n";
        let (_folder, editor) = editor(written);
        let change = |changes: &[(Vec<String>, Option<Value>)]| {
            let edited = editor.apply(changes).expect("can be used");
            let text = editor.text().expect("read");
            assert!(edited.comments_kept, "{text}");
            for comment in ["# mine\n", "    # who goes first\n", " # ways\n"] {
                assert!(text.contains(comment), "{comment} in {text}");
            }
            text
        };
        let text = change(&[(in_map("plugins.priority", "nzb"), Some(json!(-2)))]);
        assert!(text.contains("links: 3 # sure\n"), "{text}");
        change(&[
            (in_map("plugins.priority", "a b"), None),
            (in_map("plugins.priority", "c: \"d\" 'e' #f"), Some(json!(7))),
        ]);
        change(&[(in_map("outputs.categories", "TV 4K"), Some(json!(["mount"])))]);
        let text = change(&[(in_map("outputs.categories", "no"), Some(json!(["mount"])))]);
        let tree = parse(&text).expect("YAML");
        let priority = json!({"links": 3, "nzb": -2, "c: \"d\" 'e' #f": 7});
        assert_eq!(tree["plugins"]["priority"], priority, "{text}");
        let categories = json!({"tv": ["mount"], "TV 4K": ["mount"], "no": ["mount"]});
        assert_eq!(tree["outputs"]["categories"], categories, "{text}");
        // To the last of them.
        let text = change(&[
            (in_map("plugins.priority", "links"), None),
            (in_map("plugins.priority", "nzb"), None),
            (in_map("plugins.priority", "c: \"d\" 'e' #f"), None),
        ]);
        assert_eq!(
            pruned(parse(&text).expect("YAML"))["plugins"],
            Value::Null,
            "{text}"
        );
    }

    #[test]
    fn nothing_is_written_that_cannot_be_used() {
        let (_folder, editor) = editor("log: {level: info}\n");
        for (key, value) in [
            ("server.max_connections", json!(0)),
            ("log.level", json!("a=b=c")),
            ("log.lvel", json!("info")),
            ("webdav.enabled", json!("maybe")),
        ] {
            editor.apply(&[(path(key), Some(value))]).expect_err(key);
        }
        assert_eq!(editor.text().expect("read"), "log: {level: info}\n");
    }

    #[cfg(unix)]
    #[test]
    fn only_its_owner_reads_what_is_written() {
        use std::os::unix::fs::PermissionsExt;
        let (_folder, editor) = editor("");
        editor
            .apply(&[(path("log.level"), Some(json!("warn")))])
            .expect("set");
        let mode = std::fs::metadata(editor.path())
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
