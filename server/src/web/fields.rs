//! Form fields made from the configuration's schema, and values made from what was sent.

use super::form::Fields;
use crate::config::{REDACTED, is_secret};
use serde_json::{Map, Value, json};

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
    /// A map, as JSON.
    Json,
}

/// One key in a form.
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
            Kind::Json => "json",
        }
    }
}

fn is(schema: &Value, kind: &str) -> bool {
    let types = &schema["type"];
    types == kind || types.as_array().is_some_and(|all| all.contains(&json!(kind)))
}

/// Whether a key may be left without a value.
fn is_optional(schema: &Value) -> bool {
    is(schema, "null")
}

fn options(schema: &Value) -> Vec<String> {
    let all = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array());
    let words = |schema: &Value| schema["const"].as_str().map(str::to_owned);
    let mut found: Vec<String> = all.into_iter().flatten().filter_map(words).collect();
    if let Some(list) = schema["enum"].as_array() {
        found.extend(list.iter().filter_map(Value::as_str).map(str::to_owned));
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
    } else {
        Kind::Json
    }
}

fn shown(kind: Kind, value: &Value) -> String {
    match (kind, value) {
        (Kind::Secret | Kind::SecretLines, _) | (_, Value::Null) => String::new(),
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
    let words = options(&schema["items"]);
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

/// What was sent for a key: a value, nothing (the default counts), or no change at all.
#[derive(Debug, PartialEq)]
pub(super) enum Sent {
    Value(Value),
    Default,
    Same,
}

/// Reads one field.
pub(super) fn sent(schema: &Value, name: &str, key: &str, fields: &Fields) -> Result<Sent, String> {
    let text = fields.get(key).replace("\r\n", "\n");
    let trimmed = text.trim();
    Ok(match kind_of(name, schema) {
        Kind::Flag => Sent::Value(json!(!trimmed.is_empty())),
        Kind::Number => {
            if trimmed.is_empty() {
                return Ok(Sent::Default);
            }
            let whole = is(schema, "integer");
            match (trimmed.parse::<i64>(), trimmed.parse::<f64>()) {
                (Ok(number), _) => Sent::Value(json!(number)),
                (_, Ok(number)) if !whole && number.is_finite() => Sent::Value(json!(number)),
                _ if whole => return Err(format!("'{key}' must be a whole number")),
                _ => return Err(format!("'{key}' must be a number")),
            }
        }
        Kind::Choice | Kind::Text if trimmed.is_empty() && is_optional(schema) => Sent::Default,
        Kind::Choice | Kind::Text => Sent::Value(json!(trimmed)),
        Kind::Secret | Kind::SecretLines if !fields.get(&format!("{key}.remove")).is_empty() => Sent::Default,
        Kind::Secret if text.is_empty() => Sent::Same,
        Kind::Secret => Sent::Value(json!(text)),
        Kind::SecretLines if trimmed.is_empty() => Sent::Same,
        Kind::Lines | Kind::SecretLines => {
            let lines = text.lines().filter(|line| !line.trim().is_empty());
            Sent::Value(json!(lines.collect::<Vec<_>>()))
        }
        Kind::Json => {
            if trimmed.is_empty() {
                return Ok(Sent::Default);
            }
            match serde_json::from_str(trimmed) {
                Ok(value) => Sent::Value(value),
                Err(error) => return Err(format!("'{key}' must be JSON: {error}")),
            }
        }
    })
}

/// Every key of a section that was sent and is not what it was.
pub(super) fn changes(
    schema: &Value,
    now: &Value,
    path: &[String],
    fields: &Fields,
    overridden: &dyn Fn(&str) -> bool,
    out: &mut Vec<crate::config::Change>,
) -> Result<(), String> {
    let Some(properties) = schema["properties"].as_object() else {
        return Ok(());
    };
    for (name, part) in properties {
        let mut below = path.to_vec();
        below.push(name.clone());
        let value = &now[name.as_str()];
        if part.get("properties").is_some() {
            changes(part, value, &below, fields, overridden, out)?;
            continue;
        }
        let key = below.join(".");
        if part["items"].get("properties").is_some()
            || overridden(&key)
            || !fields.has(&format!("{key}.there"))
        {
            continue;
        }
        match sent(part, name, &key, fields)? {
            Sent::Value(new) if new != *value => out.push((below, Some(new))),
            Sent::Default if !value.is_null() => out.push((below, None)),
            Sent::Value(_) | Sent::Default | Sent::Same => {}
        }
    }
    Ok(())
}

/// A list of sections as it was sent: the items of the file with what was changed in them, those that are new, and not those
/// that were taken out.
pub(super) fn list(schema: &Value, raw: &[Value], key: &str, fields: &Fields) -> Result<Vec<Value>, String> {
    let count: usize = fields.get(&format!("{key}.count")).parse().unwrap_or(0);
    let properties = schema["items"]["properties"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    let mut items = Vec::new();
    for at in 0..count.min(1000) {
        let old = raw.get(at).and_then(Value::as_object);
        if !fields.get(&format!("{key}.{at}.remove")).is_empty() {
            continue;
        }
        let mut item: Map<String, Value> = old.cloned().unwrap_or_default();
        let mut said = false;
        for (name, part) in &properties {
            let field = format!("{key}.{at}.{name}");
            if !fields.has(&format!("{field}.there")) {
                continue;
            }
            let kind = kind_of(name, part);
            said |= !matches!(kind, Kind::Flag | Kind::Number | Kind::Choice)
                && !fields.get(&field).trim().is_empty();
            let default = &part["default"];
            match sent(part, name, &field, fields)? {
                // What is as it would be anyway stays unsaid.
                Sent::Value(value) if old.is_none_or(|old| !old.contains_key(name)) && value == *default => {}
                Sent::Value(value) => drop(item.insert(name.clone(), value)),
                Sent::Default => drop(item.remove(name)),
                Sent::Same => {}
            }
        }
        // The empty form for a new one, which nobody has filled in.
        if old.is_some() || said {
            items.push(Value::Object(item));
        }
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, schema};

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        Fields::from(
            pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect::<Vec<_>>(),
        )
    }

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
            }
            assert!(!all.is_empty(), "{name}");
            for item in all {
                assert!(!item.doc.is_empty(), "{}", item.key);
                assert!(
                    item.kind != Kind::Choice || item.options.len() > 1,
                    "{}",
                    item.key
                );
            }
        }
    }

    #[test]
    fn a_secret_is_not_shown_and_stays_where_nothing_is_sent() {
        let text = json!({"type": ["string", "null"]});
        assert_eq!(kind_of("password", &text), Kind::Secret);
        assert_eq!(shown(Kind::Secret, &json!("x")), "");
        assert_eq!(
            sent(&text, "password", "p", &fields(&[("p", "")])),
            Ok(Sent::Same)
        );
        let remove = fields(&[("p", ""), ("p.remove", "1")]);
        assert_eq!(sent(&text, "password", "p", &remove), Ok(Sent::Default));
        assert_eq!(
            sent(&text, "user", "p", &fields(&[("p", " ")])),
            Ok(Sent::Default)
        );
    }

    #[test]
    fn providers_are_changed_added_and_taken_out() {
        let schema = &schema()["properties"]["providers"];
        let raw = [json!({"host": "a", "password": "x"}), json!({"host": "b"})];
        let sent = fields(&[
            ("providers.count", "3"),
            ("providers.0.host.there", "1"),
            ("providers.0.host", "c"),
            ("providers.0.password.there", "1"),
            ("providers.0.password", ""),
            ("providers.1.remove", "1"),
            ("providers.2.host.there", "1"),
            ("providers.2.host", "d"),
            ("providers.2.port.there", "1"),
            ("providers.2.port", "119"),
        ]);
        let list = list(schema, &raw, "providers", &sent).expect("valid");
        assert_eq!(
            list,
            [
                json!({"host": "c", "password": "x"}),
                json!({"host": "d", "port": 119})
            ]
        );
    }
}
