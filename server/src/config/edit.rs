//! Changes of `config.yaml` that leave its comments where they are.
//!
//! The file is changed line by line in the form in which the sample file has it, and read again before anything is written:
//! where the lines do not come to exactly what was wanted, the whole file is written anew from its values, which costs the
//! comments. Whatever is written was accepted as a configuration before.

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
            after = set(&after, path, value.as_ref());
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

fn indent_of(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

fn is_blank(line: &str) -> bool {
    let text = line.trim_start();
    text.is_empty() || text.starts_with('#')
}

/// What stands behind a key and its colon, where a line without its indent is that key, however it is quoted.
fn behind<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let spelled = [
        name.to_owned(),
        Value::from(name).to_string(),
        format!("'{}'", name.replace('\'', "''")),
    ];
    let rest = spelled
        .iter()
        .find_map(|key| text.strip_prefix(key.as_str())?.strip_prefix(':'))?;
    (rest.is_empty() || rest.starts_with(' ')).then_some(rest)
}

/// Whether a line is the key `name` at `indent`; `true` in it where it is commented out as the sample has it.
fn is_key(line: &str, indent: usize, name: &str) -> Option<bool> {
    if indent_of(line) != indent {
        return None;
    }
    let text = &line[indent..];
    let (text, commented) = match text.strip_prefix('#') {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    behind(text, name).map(|_| commented)
}

/// A key as it is written: names as ours without quotes, all others (those of categories, say) in them.
fn spelled(name: &str) -> String {
    let plain = name.len() > 1
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    // What YAML takes for something else than text.
    let word = ["null", "true", "false", "yes", "no", "on", "off"].contains(&name);
    match plain && !word {
        true => name.to_owned(),
        false => Value::from(name).to_string(),
    }
}

/// A map in braces, one key a line, so that one of them can be changed: the line at `at`, where that is what it holds.
fn unfold(lines: &mut Vec<String>, at: usize, indent: usize, name: &str) {
    let Some(rest) = lines[at].get(indent..).and_then(|text| behind(text, name)) else {
        return;
    };
    let (map, comment) = match rest.find(" #") {
        Some(hash) => (&rest[..hash], &rest[hash..]),
        None => (rest, ""),
    };
    let Ok(Value::Object(map)) = yaml_serde::from_str::<Value>(map) else {
        return;
    };
    let below = map
        .iter()
        .map(|(key, value)| format!("{:1$}{2}: {3}", "", indent + 2, spelled(key), flow(value)));
    let mut new = vec![format!("{:indent$}{}:{comment}", "", spelled(name))];
    new.extend(below);
    lines.splice(at..=at, new);
}

/// How deep the keys below the one at `at` stand.
fn depth_below(lines: &[String], at: usize, indent: usize) -> usize {
    let first = lines[at + 1..].iter().find(|line| !is_blank(line));
    match first.map(|line| indent_of(line)) {
        Some(deeper) if deeper > indent => deeper,
        _ => indent + 2,
    }
}

/// The lines below the one at `at`: up to the next that is not deeper. Comments before that one belong to it.
fn block_end(lines: &[String], at: usize, indent: usize) -> usize {
    let mut end = at + 1;
    for (index, line) in lines.iter().enumerate().skip(at + 1) {
        let item = line.trim_start().starts_with("- ") || line.trim() == "-";
        if is_blank(line) {
            continue;
        }
        // A list may stand at its key's own depth.
        if indent_of(line) > indent || (item && indent_of(line) == indent) {
            end = index + 1;
        } else {
            break;
        }
    }
    end
}

/// Where a commented section ends: at the next section, commented or not.
fn search_end(lines: &[String], at: usize, indent: usize) -> usize {
    for (index, line) in lines.iter().enumerate().skip(at + 1) {
        let text = line.trim_start();
        if text.is_empty() || indent_of(line) > indent {
            continue;
        }
        let key = text.strip_prefix('#').unwrap_or(text);
        let is_key = key.split_once(':').is_some_and(|(name, rest)| {
            !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
                && (rest.is_empty() || !text.starts_with('#'))
        });
        if is_key || !text.starts_with('#') {
            return index;
        }
    }
    lines.len()
}

/// A value in one line; JSON is YAML.
fn flow(value: &Value) -> String {
    value.to_string()
}

fn set(text: &str, path: &[String], value: Option<&Value>) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let (mut from, mut to) = (0, lines.len());
    let mut above: Vec<(usize, usize, &str)> = Vec::new();
    let mut indent = 0;
    for (depth, name) in path.iter().enumerate() {
        let found =
            |commented: bool| (from..to).find(|at| is_key(&lines[*at], indent, name) == Some(commented));
        let (open, closed) = (found(false), found(true));
        if depth + 1 < path.len() {
            let at = match (open, closed) {
                (Some(at), _) => {
                    unfold(&mut lines, at, indent, name);
                    at
                }
                (None, _) if value.is_none() => return text.to_owned(),
                (None, Some(at)) => {
                    lines[at] = format!("{:indent$}{}:", "", spelled(name));
                    at
                }
                (None, None) => {
                    lines.insert(to, format!("{:indent$}{}:", "", spelled(name)));
                    to
                }
            };
            above.push((at, indent, name));
            from = at + 1;
            to = search_end(&lines, at, indent).max(block_end(&lines, at, indent));
            indent = depth_below(&lines, at, indent);
            continue;
        }
        let new = value.map(|value| match (depth, value) {
            // A list of sections is written as people write it.
            (0, Value::Array(items)) if !items.is_empty() => {
                format!(
                    "{name}:\n{}",
                    yaml_serde::to_string(value).unwrap_or_default().trim_end()
                )
            }
            _ => format!("{:indent$}{}: {}", "", spelled(name), flow(value)),
        });
        let new: Vec<String> = new
            .iter()
            .flat_map(|text| text.lines())
            .map(str::to_owned)
            .collect();
        match (open, closed) {
            (Some(at), _) => {
                let end = block_end(&lines, at, indent);
                lines.splice(at..end, new);
            }
            (None, Some(at)) if depth > 0 => {
                lines.splice(at..=at, new);
            }
            // The sample's own section stays as the example that it is; what is set stands before it.
            (None, Some(at)) => {
                lines.splice(at..at, new);
            }
            (None, None) => {
                // Behind what is there already, where it is a section: the comment at a file's top is about the file.
                let at = if depth == 0 { lines.len() } else { from };
                lines.splice(at..at, new);
            }
        }
    }
    // A section in which nothing is left is a comment again: alone it would be no section but nothing.
    for (at, indent, name) in above.into_iter().rev() {
        if value.is_none() && block_end(&lines, at, indent) == at + 1 {
            lines[at] = format!("{:indent$}#{name}:", "");
        }
    }
    let mut text = lines.join("\n");
    text.push('\n');
    text
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
