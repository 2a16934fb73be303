//! The schema of an importer's configuration, as its form is made from it.

use crate::web::fields;
use serde_json::{Map, Value, json};

/// Objects and references in one another that are followed.
const DEEPEST: usize = 6;

/// A schema as forms need it: references put in, what may be left out marked so, and lists of objects left as JSON.
pub(super) fn flat(schema: &Value, root: &Value, required: bool, depth: usize) -> Value {
    if depth > DEEPEST {
        return json!({"description": schema["description"]});
    }
    if let Some(target) = schema["$ref"].as_str().and_then(|to| to.strip_prefix('#')) {
        let mut found = flat(
            root.pointer(target).unwrap_or(&Value::Null),
            root,
            required,
            depth + 1,
        );
        if let Some(map) = found.as_object_mut() {
            for key in ["description", "default"] {
                if let Some(own) = schema.get(key) {
                    map.insert(key.to_owned(), own.clone());
                }
            }
        }
        return found;
    }
    let either = schema["anyOf"].as_array().or_else(|| schema["oneOf"].as_array());
    if let Some(either) = either {
        let real: Vec<&Value> = either.iter().filter(|part| part["type"] != "null").collect();
        if let [only] = real[..]
            && only.get("const").is_none()
        {
            let mut found = flat(only, root, required && real.len() == either.len(), depth + 1);
            if let (Some(map), Some(about)) = (found.as_object_mut(), schema.get("description")) {
                map.insert("description".to_owned(), about.clone());
            }
            return found;
        }
    }
    let mut out = schema.as_object().cloned().unwrap_or_default();
    if let Some(properties) = schema["properties"].as_object() {
        let needed = schema["required"].as_array();
        let flattened = properties.iter().map(|(name, part)| {
            let is_needed = needed.is_some_and(|all| all.contains(&json!(name)));
            (name.clone(), flat(part, root, is_needed, depth + 1))
        });
        out.insert("properties".to_owned(), Value::Object(flattened.collect()));
        return Value::Object(out);
    }
    if let Some(items) = schema.get("items") {
        let items = flat(items, root, true, depth + 1);
        if items.get("properties").is_some() {
            out.remove("items");
        } else {
            out.insert("items".to_owned(), items);
        }
    }
    if let Some(values) = schema
        .get("additionalProperties")
        .filter(|values| values.is_object())
    {
        out.insert(
            "additionalProperties".to_owned(),
            flat(values, root, true, depth + 1),
        );
    }
    if !required && let Some(kind) = out.get("type").and_then(Value::as_str) {
        out.insert("type".to_owned(), json!([kind, "null"]));
    }
    Value::Object(out)
}

/// A configuration with the defaults of its schema where it says nothing.
pub(super) fn filled(schema: &Value, now: &Value) -> Value {
    let Some(properties) = schema["properties"].as_object() else {
        return now.clone();
    };
    let mut out: Map<String, Value> = now.as_object().cloned().unwrap_or_default();
    for (name, part) in properties {
        let own = out.get(name).cloned().unwrap_or(Value::Null);
        let value = match own {
            _ if part.get("properties").is_some() => filled(part, &own),
            Value::Null => part["default"].clone(),
            own => own,
        };
        // A tick that is not set says no.
        let value = match value {
            Value::Null if fields::kind_of(name, part) == fields::Kind::Flag => json!(false),
            value => value,
        };
        out.insert(name.clone(), value);
    }
    Value::Object(out)
}
