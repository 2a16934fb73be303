//! Maps in forms: a row for each name, with a field of the value's own kind.

use super::{
    Fault, Item, Kind, Read, choices, is_secret, kind_of,
    sent::{Sent, count, read},
    shown,
};
use crate::web::form::Fields;
use serde_json::{Map, Value};

/// Most characters of a name.
const LONGEST: usize = 200;

/// A name with its value.
#[derive(Clone)]
pub(in crate::web) struct Row {
    /// The name of the row's fields in the form; empty where the environment or a flag says what it is.
    pub(in crate::web) field: String,
    /// The name, as it is written now.
    pub(in crate::web) name: String,
    /// The name in the file; empty for one that is new.
    pub(in crate::web) was: String,
    /// The field of the value.
    pub(in crate::web) value: Item,
    /// What is wrong with the name.
    pub(in crate::web) fault: String,
    /// Whether it is to be taken out.
    pub(in crate::web) removed: bool,
    /// Whether it was asked for a moment ago, and so is what somebody is about to fill in.
    pub(in crate::web) wanted: bool,
}

impl Row {
    /// The field of the value, as a list: a template writes the fields of a list.
    pub(in crate::web) fn fields(&self) -> [&Item; 1] {
        [&self.value]
    }
}

/// The schema of a map's values, where a schema is one of a map.
pub(super) fn values(schema: &Value) -> Option<&Value> {
    let values = schema.get("additionalProperties")?;
    (schema.get("properties").is_none() && (values.is_object() || values == &Value::Bool(true)))
        .then_some(values)
}

/// How a value is asked for. Its name, or that of the map, says whether it is a secret.
fn kind(values: &Value, map: &str, name: &str) -> Kind {
    match kind_of(if is_secret(map) { map } else { name }, values) {
        // A map in a map.
        Kind::Map => Kind::Json,
        kind => kind,
    }
}

/// The field of a value; `map` is what the map is called, and `row` the row's name in the form.
fn field(values: &Value, map: &str, name: &str, value: &Value, row: &str) -> Item {
    let kind = kind(values, map, name);
    Item {
        key: format!("{row}.value"),
        label: "Value".to_owned(),
        doc: String::new(),
        kind,
        value: shown(kind, value),
        options: choices(values),
        is_set: !value.is_null(),
        overridden: row.is_empty(),
        group: String::new(),
        fault: String::new(),
        rows: Vec::new(),
    }
}

fn row(values: &Value, map: &str, key: &str, at: Option<usize>, name: &str, value: &Value) -> Row {
    let row = at.map_or_else(String::new, |at| format!("{key}.{at}"));
    Row {
        value: field(values, map, name, value, &row),
        field: row,
        name: name.to_owned(),
        was: name.to_owned(),
        fault: String::new(),
        removed: false,
        wanted: false,
    }
}

/// The rows of a map as it is, and an empty one where one can be added.
pub(super) fn rows(
    values: &Value,
    map: &str,
    now: &Value,
    key: &str,
    overridden: &dyn Fn(&str) -> bool,
) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut at = 0;
    for (name, value) in now.as_object().into_iter().flatten() {
        if overridden(&format!("{key}.{name}")) {
            rows.push(row(values, map, key, None, name, value));
        } else {
            rows.push(row(values, map, key, Some(at), name, value));
            at += 1;
        }
    }
    if !overridden(key) {
        rows.push(row(values, map, key, Some(at), "", &Value::Null));
    }
    rows
}

/// Puts into the rows of a map what was sent for them, adds one where that was asked for, and says what is wrong.
pub(super) fn refill(item: &mut Item, sent: &Fields, faults: &[Fault]) {
    let key = item.key.clone();
    let texts = |field: &str| {
        let own = faults.iter().filter(|fault| fault.field == field);
        own.map(|fault| fault.text.as_str())
            .collect::<Vec<_>>()
            .join("; ")
    };
    let Some(mut blank) = item.rows.pop() else { return };
    let (there, fixed): (Vec<Row>, Vec<Row>) = std::mem::take(&mut item.rows)
        .into_iter()
        .partition(|row| !row.field.is_empty());
    item.rows = fixed;
    let count = count(sent, &key);
    for at in 0..count {
        let field = format!("{key}.{at}");
        let was = sent.get(&format!("{field}.was")).to_owned();
        let name = sent.get(&format!("{field}.name")).to_owned();
        let value = format!("{field}.value");
        let old = there.iter().find(|row| row.was == was);
        // A secret that is new here is not sent back either.
        let kind = match old.map_or(blank.value.kind, |row| row.value.kind) {
            Kind::Text if is_secret(&name) => Kind::Secret,
            kind => kind,
        };
        let text = sent.get(&value).replace("\r\n", "\n");
        // What is wrong with the configuration names its keys, not the form's fields.
        let by_key = texts(&format!("{key}.{}", name.trim()));
        let own = texts(&value);
        item.rows.push(Row {
            value: Item {
                key: value,
                kind,
                value: match kind {
                    Kind::Secret | Kind::SecretLines => String::new(),
                    Kind::Flag => (!text.trim().is_empty()).to_string(),
                    _ => text,
                },
                is_set: old.is_some(),
                fault: if own.is_empty() { by_key } else { own },
                ..blank.value.clone()
            },
            fault: texts(&format!("{field}.name")),
            removed: !sent.get(&format!("{field}.remove")).is_empty(),
            wanted: false,
            field,
            name,
            was,
        });
    }
    if sent.get("more") == key || count == 0 {
        let field = format!("{key}.{count}");
        blank.value.key = format!("{field}.value");
        blank.field = field;
        blank.wanted = sent.get("more") == key;
        item.rows.push(blank);
    }
}

/// What the rows that were sent change. Those that are not sent stay as they are.
pub(super) fn changes(
    schema: &Value,
    now: &Value,
    path: &[String],
    fields: &Fields,
    overridden: &dyn Fn(&str) -> bool,
    out: &mut Read,
) {
    let (Some(values), Some(map)) = (values(schema), path.last()) else {
        return;
    };
    let key = path.join(".");
    let none = Map::new();
    let before = now.as_object().unwrap_or(&none);
    let mut names: Vec<String> = Vec::new();
    let (mut gone, mut new) = (Vec::new(), Vec::new());
    for at in 0..count(fields, &key) {
        let field = format!("{key}.{at}");
        let was = fields.get(&format!("{field}.was"));
        let old = before.get(was).filter(|_| !was.is_empty());
        if !fields.get(&format!("{field}.remove")).is_empty() {
            gone.push(was);
            continue;
        }
        let (name_field, value_field) = (format!("{field}.name"), format!("{field}.value"));
        let name = fields.get(&name_field).trim();
        let kind = kind(values, map, if was.is_empty() { name } else { was });
        if name.is_empty() {
            let written =
                !matches!(kind, Kind::Flag | Kind::Choice) && !fields.get(&value_field).trim().is_empty();
            if old.is_some() {
                let text = format!("'{key}': “{was}” has no name any more; to take it out, tick that");
                out.fault(&name_field, text);
            } else if written {
                out.fault(&name_field, format!("'{key}': a value has no name"));
            }
            continue;
        }
        let long = name.chars().count() > LONGEST;
        let fault = if long || name.chars().any(char::is_control) {
            Some(format!("a name is one line of at most {LONGEST} characters"))
        } else if names.iter().any(|other| other == name) {
            Some(format!("“{name}” is there twice"))
        } else if overridden(&format!("{key}.{name}")) {
            Some(format!("“{name}” is set by the environment or a flag"))
        } else {
            None
        };
        names.push(name.to_owned());
        if let Some(fault) = fault {
            out.fault(&name_field, format!("'{key}': {fault}"));
            continue;
        }
        let value = match read(kind, values, &value_field, fields) {
            Ok(Sent::Value(Value::Array(lines))) if lines.is_empty() => None,
            Ok(Sent::Value(Value::String(text))) if text.is_empty() && kind == Kind::Choice => None,
            Ok(Sent::Value(value)) => Some(value),
            Ok(Sent::Same) => old.cloned(),
            Ok(Sent::Default) => None,
            Err(fault) => {
                out.fault(&value_field, format!("'{key}.{name}' {fault}"));
                continue;
            }
        };
        let Some(value) = value else {
            out.fault(&value_field, format!("'{key}.{name}' needs a value"));
            continue;
        };
        gone.push(was);
        new.push((name.to_owned(), value));
    }
    // First out, then in: two may have changed their names with one another.
    let mut after = before.clone();
    after.retain(|name, _| !gone.contains(&name.as_str()));
    after.extend(new);
    // A map that is written takes the place of what it is without: one that is not empty then is written whole.
    if schema["default"]
        .as_object()
        .is_some_and(|default| !default.is_empty())
    {
        if after != *before {
            out.changes.push((path.to_vec(), Some(Value::Object(after))));
        }
        return;
    }
    // One by one, so that what stands beside them in the file stays.
    let below = |name: &String| [path, std::slice::from_ref(name)].concat();
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    out.changes.extend(gone.map(|name| (below(name), None)));
    let new = after
        .iter()
        .filter(|(name, value)| before.get(*name) != Some(value));
    out.changes
        .extend(new.map(|(name, value)| (below(name), Some(value.clone()))));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn numbers() -> Value {
        json!({"type": "object", "additionalProperties": {"type": "integer", "format": "int32"}, "default": {}})
    }

    fn form(pairs: &[(&str, &str)]) -> Fields {
        let pairs = pairs
            .iter()
            .map(|(key, value)| (format!("p.{key}"), (*value).to_owned()));
        Fields::from(pairs.collect::<Vec<_>>())
    }

    fn read_form(schema: &Value, now: &Value, pairs: &[(&str, &str)]) -> Read {
        let mut out = Read::default();
        let path = ["p".to_owned()];
        changes(
            schema,
            now,
            &path,
            &form(pairs),
            &|key| key == "p.fixed",
            &mut out,
        );
        out
    }

    fn changed(read: &Read) -> Vec<(String, Option<Value>)> {
        assert_eq!(read.faults, []);
        let changes = read.changes.iter();
        changes
            .map(|(path, value)| (path.join("/"), value.clone()))
            .collect()
    }

    #[test]
    fn rows_are_added_changed_renamed_and_taken_out_one_by_one() {
        let now = json!({"a": 1, "b": 2, "c": 3, "fixed": 4, "unseen": 5});
        let read = read_form(
            &numbers(),
            &now,
            &[
                ("count", "5"),
                // Two that change their names with one another, one of them its value too.
                ("0.was", "a"),
                ("0.name", "b"),
                ("0.value", "1"),
                ("1.was", "b"),
                ("1.name", " a "),
                ("1.value", "-7"),
                ("2.was", "c"),
                ("2.name", "c"),
                ("2.value", "3"),
                ("2.remove", "1"),
                ("3.name", "x: y"),
                ("3.value", "9"),
                ("4.name", ""),
                ("4.value", ""),
            ],
        );
        assert_eq!(
            changed(&read),
            [
                ("p/c".to_owned(), None),
                ("p/a".to_owned(), Some(json!(-7))),
                ("p/b".to_owned(), Some(json!(1))),
                ("p/x: y".to_owned(), Some(json!(9))),
            ]
        );
    }

    #[test]
    fn what_is_wrong_is_said_of_its_row() {
        let now = json!({"a": 1, "fixed": 4});
        let long = "n".repeat(LONGEST + 1);
        for (pairs, field) in [
            (vec![("0.was", "a"), ("0.name", ""), ("0.value", "1")], "p.0.name"),
            (
                vec![("0.was", "a"), ("0.name", "a"), ("0.value", "much")],
                "p.0.value",
            ),
            (
                vec![("0.was", "a"), ("0.name", "a"), ("0.value", "")],
                "p.0.value",
            ),
            (vec![("0.name", "z"), ("0.value", "2147483648")], "p.0.value"),
            (vec![("0.name", ""), ("0.value", "2")], "p.0.name"),
            (vec![("0.name", "a\tb"), ("0.value", "2")], "p.0.name"),
            (vec![("0.name", &long), ("0.value", "2")], "p.0.name"),
            (vec![("0.name", "fixed"), ("0.value", "2")], "p.0.name"),
            (
                vec![
                    ("0.was", "a"),
                    ("0.name", "a"),
                    ("0.value", "1"),
                    ("1.name", "a"),
                    ("1.value", "2"),
                ],
                "p.1.name",
            ),
        ] {
            let sent = [vec![("count", "2")], pairs].concat();
            let read = read_form(&numbers(), &now, &sent);
            assert_eq!(read.faults.len(), 1, "{sent:?}: {:?}", read.faults);
            assert_eq!(read.faults[0].field, field, "{}", read.faults[0].text);
            assert!(read.faults[0].text.contains("'p"), "{}", read.faults[0].text);
        }
    }

    #[test]
    fn a_map_that_is_not_empty_by_itself_is_written_whole() {
        let mut schema = numbers();
        schema["default"] = json!({"a": 1, "b": 2});
        let sent = [
            ("count", "2"),
            ("0.was", "a"),
            ("0.remove", "1"),
            ("1.was", "b"),
            ("1.name", "b"),
            ("1.value", "2"),
        ];
        let read = read_form(&schema, &json!({"a": 1, "b": 2}), &sent);
        assert_eq!(changed(&read), [("p".to_owned(), Some(json!({"b": 2})))]);
    }

    #[test]
    fn secrets_in_a_map_stay_where_nothing_is_sent_and_are_never_shown() {
        let schema = json!({"type": "object", "additionalProperties": {"type": "string"}});
        let values = values(&schema).expect("a map");
        let now = json!({"token": "s3cret", "plain": "text"});
        let rows = rows(values, "p", &now, "p", &|_| false);
        let shown: Vec<(&str, &str)> = rows
            .iter()
            .map(|row| (row.name.as_str(), row.value.value.as_str()))
            .collect();
        assert!(
            shown.contains(&("plain", "text")) && shown.contains(&("token", "")),
            "{shown:?}"
        );
        let sent = [
            ("count", "2"),
            ("0.was", "plain"),
            ("0.name", "plain"),
            ("0.value", "text"),
            ("1.was", "token"),
            ("1.name", "token_2"),
            ("1.value", ""),
        ];
        let read = read_form(&schema, &now, &sent);
        let wanted = [
            ("p/token".to_owned(), None),
            ("p/token_2".to_owned(), Some(json!("s3cret"))),
        ];
        assert_eq!(changed(&read), wanted);
    }
}
