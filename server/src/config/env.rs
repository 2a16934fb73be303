//! `ALTMOUNT__SECTION__KEY=value`.
//!
//! figment's own provider guesses a value's type from how it looks, so that the password `0123` becomes a number and
//! loses its zero. Here the configuration's schema says what the key is: text is taken as it is, everything else is YAML.

use super::{Config, Yaml};
use figment::{
    Error, Metadata, Profile, Provider,
    providers::Format,
    value::{Dict, Map, Value},
};
use schemars::generate::SchemaSettings;
use std::collections::BTreeMap;

/// The layer's name, as errors know it.
pub(super) const LAYER: &str = "environment";
const PREFIX: &str = "ALTMOUNT__";

/// The variables that start with [`PREFIX`].
pub(super) struct Variables<'a>(&'a BTreeMap<String, String>);

impl<'a> Variables<'a> {
    pub(super) fn new(env: &'a BTreeMap<String, String>) -> Self {
        Self(env)
    }
}

impl Provider for Variables<'_> {
    fn metadata(&self) -> Metadata {
        Metadata::named(LAYER)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        let schema = schema();
        let mut tree = Dict::new();
        for (name, text) in self.0 {
            let Some(key) = name.strip_prefix(PREFIX) else {
                continue;
            };
            let path: Vec<String> = key.split("__").map(str::to_ascii_lowercase).collect();
            if path.iter().any(String::is_empty) {
                return Err(Error::from(format!(
                    "the variable {name} has an empty part between underscores"
                )));
            }
            let value = if is_text(&schema, &path) {
                Value::from(text.as_str())
            } else {
                // What is no YAML is text: the type check that follows says what it should have been.
                Yaml::from_str::<Value>(text).unwrap_or_else(|_| Value::from(text.as_str()))
            };
            put(&mut tree, &path, value);
        }
        Ok(Map::from([(Profile::Default, tree)]))
    }
}

fn put(tree: &mut Dict, path: &[String], value: Value) {
    let Some((first, rest)) = path.split_first() else {
        return;
    };
    if rest.is_empty() {
        tree.insert(first.clone(), value);
        return;
    }
    let slot = tree
        .entry(first.clone())
        .or_insert_with(|| Value::from(Dict::new()));
    if !matches!(slot, Value::Dict(..)) {
        *slot = Value::from(Dict::new());
    }
    if let Value::Dict(_, below) = slot {
        put(below, rest, value);
    }
}

/// The configuration's JSON Schema, without references.
pub(super) fn schema() -> serde_json::Value {
    let settings = SchemaSettings::default().with(|s| s.inline_subschemas = true);
    settings
        .into_generator()
        .into_root_schema_for::<Config>()
        .to_value()
}

fn is_text(schema: &serde_json::Value, path: &[String]) -> bool {
    let mut at = schema;
    for part in path {
        let Some(below) = at.get("properties").and_then(|p| p.get(part)) else {
            return false;
        };
        at = below;
    }
    match at.get("type") {
        Some(serde_json::Value::String(kind)) => kind == "string",
        Some(serde_json::Value::Array(kinds)) => kinds.iter().any(|kind| kind == "string"),
        // An enum with a documented variant each is a `oneOf` of constants.
        _ => at.get("oneOf").is_some(),
    }
}
