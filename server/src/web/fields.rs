//! Form fields made from the configuration's schema, and values made from what was sent.

mod map;
mod sent;

pub(super) use map::Row;
pub(super) use sent::{changes, list};

use super::form::Fields;
use crate::config::{Change, ConfigError, REDACTED, is_secret};
use serde_json::{Value, json};
use std::ops::RangeInclusive;

/// How a key is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A tick.
    Flag,
    /// A whole number.
    Number,
    /// One line of text.
    Text,
    /// Text that is never shown.
    Secret,
    /// One of a few words.
    Choice,
    /// Texts, one a line.
    Lines,
    /// Texts that are never shown, one a line.
    SecretLines,
    /// Names with a value each.
    Map,
    /// Whatever else there is, as JSON.
    Json,
}

/// Most items of a list, and rows of a map, that a form may have.
const MOST_ROWS: usize = 1000;

/// One key in a form.
#[derive(Clone)]
pub(super) struct Item {
    /// The name of the form's field: the whole key.
    pub(super) key: String,
    /// The last part of the key.
    pub(super) label: String,
    pub(super) doc: String,
    pub(super) kind: Kind,
    pub(super) value: String,
    pub(super) options: Vec<String>,
    /// Whether something is set that is not shown.
    pub(super) is_set: bool,
    pub(super) overridden: bool,
    /// A heading before it, where a deeper section begins.
    pub(super) group: String,
    /// What is wrong with what was sent for it.
    pub(super) fault: String,
    /// Of a map: its names and values, and room for one more.
    pub(super) rows: Vec<Row>,
}

impl Item {
    /// The kind as a word, for templates.
    pub(super) fn input(&self) -> &'static str {
        match self.kind {
            Kind::Flag => "flag",
            Kind::Number => "number",
            Kind::Text => "text",
            Kind::Secret => "secret",
            Kind::Choice => "choice",
            Kind::Lines => "lines",
            Kind::SecretLines => "secret-lines",
            Kind::Map => "map",
            Kind::Json => "json",
        }
    }

    /// Of a map: how many rows the form has fields for.
    pub(super) fn named(&self) -> usize {
        self.rows.iter().filter(|row| !row.field.is_empty()).count()
    }
}

/// What is wrong with a field that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// The name of the form's field.
    field: String,
    /// A sentence that names the key.
    text: String,
}

/// What a form changes, and what is wrong with it.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) changes: Vec<Change>,
    pub(super) faults: Vec<Fault>,
}

impl Read {
    fn fault(&mut self, field: &str, text: String) {
        self.faults.push(Fault {
            field: field.to_owned(),
            text,
        });
    }
}

/// Faults in one sentence.
pub(super) fn sentence(faults: &[Fault]) -> String {
    let texts: Vec<&str> = faults.iter().map(|fault| fault.text.as_str()).collect();
    texts.join("; ")
}

/// The faults of a configuration that was refused, by the fields of the keys that they name: `providers[1].host` is the field
/// `providers.1.host`.
pub(super) fn faults_of(error: &ConfigError) -> Vec<Fault> {
    let faults = error.problems.iter().filter_map(|problem| {
        let (_, named) = problem.split_once('\'')?;
        let (key, _) = named.split_once('\'')?;
        Some(Fault {
            field: key.replace('[', ".").replace(']', ""),
            text: problem.clone(),
        })
    });
    faults.collect()
}

/// Puts into a form what was sent with it, and beside each field what is wrong with it.
pub(super) fn refill(items: &mut [Item], sent: &Fields, faults: &[Fault]) {
    for item in items {
        if item.overridden {
            continue;
        }
        if item.kind == Kind::Map {
            map::refill(item, sent, faults);
        } else if sent.has(&format!("{}.there", item.key)) {
            item.value = match item.kind {
                Kind::Secret | Kind::SecretLines => String::new(),
                Kind::Flag => (!sent.get(&item.key).trim().is_empty()).to_string(),
                _ => sent.get(&item.key).replace("\r\n", "\n"),
            };
        }
        let own = faults.iter().filter(|fault| fault.field == item.key);
        let texts: Vec<&str> = own.map(|fault| fault.text.as_str()).collect();
        item.fault = texts.join("; ");
    }
}

/// What a schema may be instead: that it may also be nothing is said so, and so are the words of a few.
fn alternatives(schema: &Value) -> &[Value] {
    let all = schema["anyOf"].as_array().or_else(|| schema["oneOf"].as_array());
    all.map_or(&[], Vec::as_slice)
}

fn is(schema: &Value, kind: &str) -> bool {
    let has = |schema: &Value| {
        let types = &schema["type"];
        types == kind || types.as_array().is_some_and(|all| all.contains(&json!(kind)))
    };
    let real = |part: &&Value| part.get("const").is_none() && part["type"] != "null";
    let mut parts = alternatives(schema).iter().filter(real);
    // What may be of several kinds is of none.
    let only = parts.next().filter(|_| parts.next().is_none());
    let nothing = || kind == "null" && alternatives(schema).iter().any(|part| part["type"] == "null");
    has(schema) || only.is_some_and(has) || nothing()
}

/// Whether a key may be left without a value.
fn is_optional(schema: &Value) -> bool {
    is(schema, "null")
}

fn options(schema: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for part in std::iter::once(schema).chain(alternatives(schema)) {
        let words = alternatives(part)
            .iter()
            .filter_map(|word| word["const"].as_str());
        let listed = part["enum"].as_array().into_iter().flatten();
        for word in words.chain(listed.filter_map(Value::as_str)) {
            if !found.iter().any(|there| there == word) {
                found.push(word.to_owned());
            }
        }
    }
    found
}

/// What a field offers: where the key may be left out and has no default, nothing is the first choice.
fn choices(schema: &Value) -> Vec<String> {
    let mut found = options(schema);
    if !found.is_empty() && is_optional(schema) && schema["default"].is_null() {
        found.insert(0, String::new());
    }
    found
}

/// How a key of this schema is asked for.
pub(super) fn kind_of(name: &str, schema: &Value) -> Kind {
    if !options(schema).is_empty() {
        Kind::Choice
    } else if is(schema, "boolean") {
        Kind::Flag
    } else if is(schema, "integer") || is(schema, "number") {
        Kind::Number
    } else if is(schema, "array") && (is(&schema["items"], "string") || !options(&schema["items"]).is_empty())
    {
        if is_secret(name) {
            Kind::SecretLines
        } else {
            Kind::Lines
        }
    } else if is(schema, "string") {
        if is_secret(name) { Kind::Secret } else { Kind::Text }
    } else if map::values(schema).is_some() {
        Kind::Map
    } else {
        Kind::Json
    }
}

/// The numbers that a schema takes, as far as it says.
fn range(schema: &Value) -> RangeInclusive<i128> {
    let (low, high) = match schema["format"].as_str() {
        Some("int8") => (i8::MIN.into(), i8::MAX.into()),
        Some("int16") => (i16::MIN.into(), i16::MAX.into()),
        Some("int32") => (i32::MIN.into(), i32::MAX.into()),
        Some("uint8") => (0, u8::MAX.into()),
        Some("uint16") => (0, u16::MAX.into()),
        Some("uint32") => (0, u32::MAX.into()),
        Some("uint64" | "uint") => (0, u64::MAX.into()),
        _ => (i64::MIN.into(), i64::MAX.into()),
    };
    let whole = |key: &str| {
        schema[key]
            .as_i64()
            .map(i128::from)
            .or(schema[key].as_u64().map(i128::from))
    };
    let low = whole("minimum").map_or(low, |minimum| minimum.max(low));
    let high = whole("maximum").map_or(high, |maximum| maximum.min(high));
    low..=high
}

fn shown(kind: Kind, value: &Value) -> String {
    match (kind, value) {
        (Kind::Secret | Kind::SecretLines | Kind::Map, _) | (_, Value::Null) => String::new(),
        (Kind::Lines, Value::Array(items)) => {
            let lines: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            lines.join("\n")
        }
        (Kind::Json, value) => serde_json::to_string_pretty(value).unwrap_or_default(),
        (_, Value::String(text)) => text.clone(),
        (_, value) => value.to_string(),
    }
}

/// The fields for every key below a schema; `at` is the key of the schema itself.
pub(super) fn items(
    schema: &Value,
    value: &Value,
    at: &str,
    group: &str,
    overridden: &dyn Fn(&str) -> bool,
    out: &mut Vec<Item>,
) {
    let Some(properties) = schema["properties"].as_object() else {
        return;
    };
    let (deep, plain): (Vec<_>, Vec<_>) = properties
        .iter()
        .partition(|(_, part)| part.get("properties").is_some());
    for (name, part) in plain {
        // A list of sections has a form of its own.
        if part["items"].get("properties").is_some() {
            continue;
        }
        let kind = kind_of(name, part);
        let now = &value[name.as_str()];
        let key = format!("{at}.{name}");
        out.push(Item {
            label: name.replace('_', " "),
            doc: about(part),
            kind,
            value: shown(kind, now),
            options: choices(part),
            is_set: now == REDACTED || now.as_array().is_some_and(|list| !list.is_empty()),
            overridden: overridden(&key),
            group: group.to_owned(),
            fault: String::new(),
            rows: match map::values(part) {
                Some(values) if kind == Kind::Map => map::rows(values, name, now, &key, overridden),
                _ => Vec::new(),
            },
            key,
        });
    }
    for (name, part) in deep {
        let group = name.replace('_', " ");
        items(
            part,
            &value[name.as_str()],
            &format!("{at}.{name}"),
            &group,
            overridden,
            out,
        );
    }
}

/// The same items with each heading once, before the first of its keys.
pub(super) fn headed(mut items: Vec<Item>) -> Vec<Item> {
    let mut last = String::new();
    for item in &mut items {
        match item.group == last {
            true => item.group.clear(),
            false => last.clone_from(&item.group),
        }
    }
    items
}

/// What a key is, with the words that its lines may be.
fn about(schema: &Value) -> String {
    let lines = map::values(schema).unwrap_or(schema);
    let words = options(&lines["items"]);
    match words.is_empty() {
        true => doc(schema),
        false => format!("{} One a line, of: {}.", doc(schema), words.join(", ")),
    }
}

/// A schema's description, with the line breaks of the source taken out.
pub(super) fn doc(schema: &Value) -> String {
    let text = schema["description"].as_str().unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, schema};

    #[test]
    fn every_key_of_the_configuration_has_a_field() {
        let schema = schema();
        let now = serde_json::to_value(Config::default()).expect("JSON");
        for (name, part) in schema["properties"].as_object().expect("sections") {
            let mut all = Vec::new();
            let part = if part["items"].is_object() {
                &part["items"]
            } else {
                part
            };
            items(part, &now[name.as_str()], name, "", &|_| false, &mut all);
            // A section that is lists alone has a form for each of their items.
            for (_, list) in super::super::settings::lists_of(name, part) {
                let before = all.len();
                items(&list["items"], &Value::Null, name, "", &|_| false, &mut all);
                assert!(all.len() > before, "{name}");
                let deep = |part: &Value| part.get("properties").is_some();
                let keys = list["items"]["properties"].as_object().expect("keys");
                assert!(
                    !keys.values().any(deep),
                    "{name}: an item's sections have no form"
                );
                let is_map = |(key, part): (&String, &Value)| kind_of(key, part) == Kind::Map;
                assert!(!keys.iter().any(is_map), "{name}: an item's maps have no form");
            }
            assert!(!all.is_empty(), "{name}");
            for item in all {
                assert!(!item.doc.is_empty(), "{}", item.key);
                // What importers are configured with has forms of their own.
                assert!(
                    item.kind != Kind::Json || item.key == "plugins.config",
                    "{}: not typed",
                    item.key
                );
                assert_eq!(item.rows.is_empty(), item.kind != Kind::Map, "{}", item.key);
                assert!(
                    item.kind != Kind::Choice || item.options.len() > 1,
                    "{}",
                    item.key
                );
            }
        }
    }
}
