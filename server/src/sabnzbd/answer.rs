//! Answers as SABnzbd writes them: JSON objects or XML, always with status 200.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// `{"status": false, "error": ...}`
pub(super) fn error(text: impl Into<String>) -> Value {
    json!({"status": false, "error": text.into()})
}

/// `{"status": true}`
pub(super) fn done() -> Value {
    json!({"status": true})
}

/// An answer in the form that the call asks for.
pub(super) fn respond(output: Option<&str>, value: &Value) -> Response {
    let (kind, body) = match output {
        Some("xml") => ("text/xml", xml(value)),
        _ => ("application/json;charset=UTF-8", value.to_string()),
    };
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

/// An object of one member is that element, any other is a `result`.
fn xml(value: &Value) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\" ?>\n");
    match value.as_object() {
        Some(object) if object.len() == 1 => members(&mut text, object),
        _ => element(&mut text, "result", value),
    }
    text
}

fn members(text: &mut String, object: &Map<String, Value>) {
    for (name, value) in object {
        element(text, name, value);
    }
}

/// The name of one of several: `slots` has `slot`s.
fn singular(name: &str) -> &str {
    match name {
        "categories" => "category",
        name => name
            .strip_suffix('s')
            .filter(|one| !one.is_empty())
            .unwrap_or("item"),
    }
}

fn element(text: &mut String, name: &str, value: &Value) {
    // Names are ours but for days and hosts.
    let safe: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "_-.".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    let first = safe
        .chars()
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    let safe = if first { safe } else { format!("_{safe}") };
    let _ = write!(text, "<{safe}>");
    match value {
        Value::Object(object) => {
            text.push('\n');
            members(text, object);
        }
        Value::Array(values) => {
            text.push('\n');
            for value in values {
                element(text, singular(name), value);
            }
        }
        Value::Null => text.push_str("None"),
        Value::Bool(true) => text.push_str("True"),
        Value::Bool(false) => text.push_str("False"),
        Value::Number(number) => {
            let _ = write!(text, "{number}");
        }
        Value::String(string) => escape(text, string),
    }
    let _ = writeln!(text, "</{safe}>");
}

fn escape(text: &mut String, string: &str) {
    for c in string.chars() {
        match c {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            // XML 1.0 has no form for these.
            c if c.is_control() && !matches!(c, '\t' | '\n' | '\r') => text.push(' '),
            c => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xml_is_as_sabnzbd_writes_it() {
        let head = "<?xml version=\"1.0\" encoding=\"UTF-8\" ?>\n";
        for (value, expected) in [
            (json!({"version": "4.5.1"}), "<version>4.5.1</version>\n"),
            (
                error("API Key <Required>"),
                "<result>\n<error>API Key &lt;Required&gt;</error>\n<status>False</status>\n</result>\n",
            ),
            (
                json!({"queue": {"paused": true, "slots": [{"nzo_id": "a"}, {"nzo_id": "b"}]}}),
                "<queue>\n<paused>True</paused>\n<slots>\n<slot>\n<nzo_id>a</nzo_id>\n</slot>\n<slot>\n<nzo_id>b</nzo_id>\n\
                 </slot>\n</slots>\n</queue>\n",
            ),
            (
                json!({"categories": ["*", "tv"]}),
                "<categories>\n<category>*</category>\n<category>tv</category>\n</categories>\n",
            ),
            (
                json!({"daily": {"2026-01-31": 5, "a b": null}}),
                "<daily>\n<_2026-01-31>5</_2026-01-31>\n<a_b>None</a_b>\n</daily>\n",
            ),
        ] {
            // Members stand in the order that the JSON has them in.
            let got = xml(&value);
            let sorted = |text: &str| {
                let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
                lines.sort();
                lines
            };
            assert_eq!(sorted(&got), sorted(&format!("{head}{expected}")));
        }
    }
}
