//! What was sent of a form: values of the kinds that the schema has, and what of the configuration they change.

use super::{Fault, Kind, MOST_ROWS, Read, is, is_optional, kind_of, map, options, range};
use crate::web::form::Fields;
use serde_json::{Map, Value, json};

/// What was sent for a key: a value, nothing (the default counts), or no change at all.
#[derive(Debug, PartialEq)]
pub(super) enum Sent {
    Value(Value),
    Default,
    Same,
}

/// Reads one field.
///
/// # Errors
/// What it must be; the caller knows what the key is called.
pub(super) fn sent(schema: &Value, name: &str, field: &str, fields: &Fields) -> Result<Sent, String> {
    read(kind_of(name, schema), schema, field, fields)
}

pub(super) fn read(kind: Kind, schema: &Value, field: &str, fields: &Fields) -> Result<Sent, String> {
    let text = fields.get(field).replace("\r\n", "\n");
    let trimmed = text.trim();
    Ok(match kind {
        Kind::Flag => Sent::Value(json!(!trimmed.is_empty())),
        Kind::Number if trimmed.is_empty() => Sent::Default,
        Kind::Number if is(schema, "integer") => {
            let number: i128 = trimmed.parse().map_err(|_| "must be a whole number".to_owned())?;
            let range = range(schema);
            if !range.contains(&number) {
                return Err(format!("must be from {} to {}", range.start(), range.end()));
            }
            Sent::Value(match u64::try_from(number) {
                Ok(number) => json!(number),
                Err(_) => json!(i64::try_from(number).map_err(|e| e.to_string())?),
            })
        }
        Kind::Number => match (trimmed.parse::<i64>(), trimmed.parse::<f64>()) {
            (Ok(number), _) => Sent::Value(json!(number)),
            (_, Ok(number)) if number.is_finite() => Sent::Value(json!(number)),
            _ => return Err("must be a number".to_owned()),
        },
        Kind::Choice | Kind::Text if trimmed.is_empty() && is_optional(schema) => Sent::Default,
        Kind::Choice | Kind::Text => Sent::Value(json!(trimmed)),
        Kind::Secret | Kind::SecretLines if !fields.get(&format!("{field}.remove")).is_empty() => {
            Sent::Default
        }
        Kind::Secret if text.is_empty() => Sent::Same,
        Kind::Secret => Sent::Value(json!(text)),
        Kind::SecretLines if trimmed.is_empty() => Sent::Same,
        Kind::Lines | Kind::SecretLines => {
            let words = options(&schema["items"]);
            let lines = text.lines().filter(|line| !line.trim().is_empty());
            // A word of a few stands without what is around it; other texts are as they are written.
            if words.is_empty() {
                return Ok(Sent::Value(json!(lines.collect::<Vec<_>>())));
            }
            if let Some(wrong) = lines
                .clone()
                .find(|line| !words.iter().any(|word| word == line.trim()))
            {
                return Err(format!(
                    "has '{}', which is none of: {}",
                    wrong.trim(),
                    words.join(", ")
                ));
            }
            Sent::Value(json!(lines.map(str::trim).collect::<Vec<_>>()))
        }
        // Its rows are read by themselves.
        Kind::Map => Sent::Same,
        Kind::Json if trimmed.is_empty() => Sent::Default,
        Kind::Json => match serde_json::from_str(trimmed) {
            Ok(value) => Sent::Value(value),
            Err(error) => return Err(format!("must be JSON: {error}")),
        },
    })
}

/// Every key of a section that was sent and is not what it was.
pub(in crate::web) fn changes(
    schema: &Value,
    now: &Value,
    path: &[String],
    fields: &Fields,
    overridden: &dyn Fn(&str) -> bool,
    out: &mut Read,
) {
    let Some(properties) = schema["properties"].as_object() else {
        return;
    };
    for (name, part) in properties {
        let mut below = path.to_vec();
        below.push(name.clone());
        let value = &now[name.as_str()];
        if part.get("properties").is_some() {
            changes(part, value, &below, fields, overridden, out);
            continue;
        }
        let key = below.join(".");
        if part["items"].get("properties").is_some()
            || overridden(&key)
            || !fields.has(&format!("{key}.there"))
        {
            continue;
        }
        if kind_of(name, part) == Kind::Map {
            map::changes(part, value, &below, fields, overridden, out);
            continue;
        }
        match sent(part, name, &key, fields) {
            Ok(Sent::Value(new)) if new != *value => out.changes.push((below, Some(new))),
            Ok(Sent::Default) if !value.is_null() => out.changes.push((below, None)),
            Ok(Sent::Value(_) | Sent::Default | Sent::Same) => {}
            Err(fault) => out.fault(&key, format!("'{key}' {fault}")),
        }
    }
}

/// How many rows or items were sent of a map or a list, as far as they are taken.
pub(super) fn count(fields: &Fields, key: &str) -> usize {
    let count: usize = fields.get(&format!("{key}.count")).parse().unwrap_or(0);
    count.min(MOST_ROWS)
}

/// A list of sections as it was sent: the items of the file with what was changed in them, those that are new, and not those
/// that were taken out.
pub(in crate::web) fn list(
    schema: &Value,
    raw: &[Value],
    key: &str,
    fields: &Fields,
) -> Result<Vec<Value>, Vec<Fault>> {
    let mut read = Read::default();
    let properties = schema["items"]["properties"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    let mut items = Vec::new();
    for at in 0..count(fields, key) {
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
            match sent(part, name, &field, fields) {
                // What is as it would be anyway stays unsaid.
                Ok(Sent::Value(value))
                    if old.is_none_or(|old| !old.contains_key(name)) && value == *default => {}
                Ok(Sent::Value(value)) => drop(item.insert(name.clone(), value)),
                Ok(Sent::Default) => drop(item.remove(name)),
                Ok(Sent::Same) => {}
                Err(fault) => read.fault(&field, format!("'{field}' {fault}")),
            }
        }
        // The empty form for a new one, which nobody has filled in.
        if old.is_some() || said {
            items.push(Value::Object(item));
        }
    }
    match read.faults.is_empty() {
        true => Ok(items),
        false => Err(read.faults),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::schema, web::fields::shown};

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        Fields::from(
            pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect::<Vec<_>>(),
        )
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
