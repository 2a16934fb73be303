//! Importers: their states, and a form for the configuration of each, made from the schema in its manifest.

mod schema;

use super::{
    Frame, Web, failed,
    fields::{self, Fault, Item},
    form::{Fields, Posted},
    missing, page, plain,
    visitor::Visitor,
};
use crate::{
    config::{ConfigError, Editor},
    http::{PluginState, PluginView},
};
use askama::Template;
use axum::{
    extract::{Path, State},
    response::Response,
};
use http::StatusCode;
use schema::{filled, flat};
use serde_json::{Value, json};

struct PluginLine {
    id: String,
    name: String,
    version: String,
    state: String,
    reason: String,
    at: String,
    takes: String,
    count: u64,
    can_resume: bool,
}

#[derive(Template)]
#[template(path = "plugins.html")]
struct PluginsPage {
    frame: Frame,
    tab: &'static str,
    notice: Option<(&'static str, String)>,
    plugins: Vec<PluginLine>,
}

#[derive(Template)]
#[template(path = "plugin.html")]
struct PluginPage {
    frame: Frame,
    tab: &'static str,
    notice: Option<(&'static str, String)>,
    plugin: PluginLine,
    facts: Vec<(&'static str, String)>,
    items: Vec<Item>,
    /// Whether its manifest says what it reads.
    has_schema: bool,
    file: Option<String>,
}

fn line(view: &PluginView) -> PluginLine {
    let id = view.id.clone().unwrap_or_default();
    PluginLine {
        name: view
            .name
            .clone()
            .unwrap_or_else(|| if id.is_empty() { "?".to_owned() } else { id.clone() }),
        version: view.version.clone().unwrap_or_default(),
        state: super::word(&view.state),
        reason: view.reason.clone().unwrap_or_default(),
        at: view
            .path
            .clone()
            .unwrap_or_else(|| "part of the program".to_owned()),
        takes: view
            .extensions
            .iter()
            .map(|e| format!(".{e}"))
            .collect::<Vec<_>>()
            .join(" "),
        count: view.counters.imports,
        can_resume: view.state == PluginState::Quarantined,
        id,
    }
}

fn show_all(
    web: &Web,
    visitor: &Visitor,
    status: StatusCode,
    notice: Option<(&'static str, String)>,
) -> Response {
    let template = PluginsPage {
        frame: Frame::new(web, visitor, "Settings", "Importers"),
        tab: "Importers",
        notice,
        plugins: PluginView::all(&web.engine.registry()).iter().map(line).collect(),
    };
    page(status, &template)
}

/// `GET /settings/plugins`.
pub(super) async fn plugins(State(web): State<Web>, visitor: Visitor) -> Response {
    show_all(&web, &visitor, StatusCode::OK, None)
}

/// `POST /settings/plugins/reload`.
pub(super) async fn reload(State(web): State<Web>, posted: Posted) -> Response {
    let (status, notice) = match web.live.reload_importers().await {
        Ok(()) => (
            StatusCode::OK,
            ("good", "Every importer was loaded anew.".to_owned()),
        ),
        Err(error) => (
            StatusCode::CONFLICT,
            ("bad", format!("Nothing has changed: {error:#}.")),
        ),
    };
    show_all(&web, &posted.visitor, status, Some(notice))
}

/// `POST /settings/plugins/{id}/resume`.
pub(super) async fn resume(State(web): State<Web>, Path(id): Path<String>, posted: Posted) -> Response {
    let used = web.engine.registry().get(&id).is_some_and(|entry| entry.resume());
    let notice = match used {
        true => ("good", format!("“{id}” is used again.")),
        false => ("warn", format!("“{id}” was not in quarantine.")),
    };
    show_all(&web, &posted.visitor, StatusCode::OK, Some(notice))
}

/// The key of an importer's configuration.
fn key(id: &str) -> String {
    format!("plugins.config.{id}")
}

fn config_of(editor: Option<&Editor>, id: &str) -> Result<Value, String> {
    let Some(editor) = editor else {
        return Ok(Value::Null);
    };
    let now = editor.effective().map_err(|error| error.to_string())?;
    Ok(now["plugins"]["config"][id].clone())
}

/// The schema of an importer's form; nothing where one field of JSON is all that can be offered.
fn schema_of(view: &PluginView) -> Option<Value> {
    let schema = view.config_schema.as_ref()?;
    let flat = flat(schema, schema, true, 0);
    flat["properties"]
        .as_object()
        .is_some_and(|properties| !properties.is_empty())
        .then_some(flat)
}

fn items(view: &PluginView, id: &str, editor: Option<&Editor>) -> Result<Vec<Item>, String> {
    let now = config_of(editor, id)?;
    let overridden = |key: &str| editor.is_none_or(|editor| editor.is_overridden(key));
    let mut all = Vec::new();
    match schema_of(view) {
        Some(schema) => {
            fields::items(
                &schema,
                &filled(&schema, &now),
                &key(id),
                "",
                &overridden,
                &mut all,
            );
        }
        None => {
            let schema = json!({"properties": {id: {"description": "As JSON; what it may be, the importer's own documentation says."}}});
            fields::items(
                &schema,
                &json!({id: now}),
                "plugins.config",
                "",
                &overridden,
                &mut all,
            );
        }
    }
    Ok(fields::headed(all))
}

fn show(
    web: &Web,
    visitor: &Visitor,
    view: &PluginView,
    status: StatusCode,
    notice: Option<(&'static str, String)>,
    sent: Option<(&Fields, &[Fault])>,
) -> Response {
    let plugin = line(view);
    let editor = web.live.editor();
    let mut items = match items(view, &plugin.id, editor) {
        Ok(items) => items,
        Err(error) => return failed(error),
    };
    if let Some((sent, faults)) = sent {
        fields::refill(&mut items, sent, faults);
    }
    let mut facts = vec![
        ("Id", plugin.id.clone()),
        ("Is", plugin.at.clone()),
        ("Takes", plugin.takes.clone()),
        ("Uses of the server", view.capabilities.join(", ")),
        ("Licence", view.licence.clone().unwrap_or_default()),
        ("More on it", view.homepage.clone().unwrap_or_default()),
    ];
    facts.retain(|(_, text)| !text.is_empty());
    let template = PluginPage {
        frame: Frame::new(web, visitor, "Settings", "Importer"),
        tab: "Importers",
        notice,
        facts,
        items,
        has_schema: view.config_schema.is_some(),
        file: editor.map(|editor| editor.path().display().to_string()),
        plugin,
    };
    page(status, &template)
}

/// The importer of an id: the one in use, before one that is not.
fn find(web: &Web, id: &str) -> Option<PluginView> {
    let mut all = PluginView::all(&web.engine.registry());
    all.retain(|view| view.id.as_deref() == Some(id));
    let at = all.iter().position(|view| view.state == PluginState::Loaded);
    (!all.is_empty()).then(|| all.swap_remove(at.unwrap_or(0)))
}

/// `GET /settings/plugins/{id}`.
pub(super) async fn plugin(State(web): State<Web>, visitor: Visitor, Path(id): Path<String>) -> Response {
    match find(&web, &id) {
        Some(view) => show(&web, &visitor, &view, StatusCode::OK, None, None),
        None => missing(&web, &visitor, "There is no such importer."),
    }
}

/// What a form changes of an importer's configuration.
fn read(view: &PluginView, id: &str, editor: &Editor, form: &Fields) -> Result<fields::Read, String> {
    let now = config_of(Some(editor), id)?;
    let overridden = |key: &str| editor.is_overridden(key);
    let above = ["plugins".to_owned(), "config".to_owned()];
    let mut read = fields::Read::default();
    match schema_of(view) {
        Some(schema) => {
            let path = [&above[..], &[id.to_owned()]].concat();
            let now = filled(&schema, &now);
            fields::changes(&schema, &now, &path, form, &overridden, &mut read);
        }
        None => {
            let schema = json!({"properties": {id: {}}});
            let now = json!({id: now});
            fields::changes(&schema, &now, &above, form, &overridden, &mut read);
        }
    }
    Ok(read)
}

/// `POST /settings/plugins/{id}`: the importer's own configuration, which it accepts before it is saved.
pub(super) async fn save(State(web): State<Web>, Path(id): Path<String>, posted: Posted) -> Response {
    let Posted { visitor, fields } = posted;
    let Some(view) = find(&web, &id) else {
        return missing(&web, &visitor, "There is no such importer.");
    };
    let Some(editor) = web.live.editor() else {
        return plain(
            StatusCode::CONFLICT,
            "This server was started without a configuration file, so there is nothing to change.",
        );
    };
    let none: [Fault; 0] = [];
    if !fields.get("more").is_empty() {
        return show(
            &web,
            &visitor,
            &view,
            StatusCode::OK,
            None,
            Some((&fields, &none[..])),
        );
    }
    let read = match read(&view, &id, editor, &fields) {
        Ok(read) => read,
        Err(error) => return failed(error),
    };
    let mut faults = read.faults;
    let saved = if !faults.is_empty() {
        Err(fields::sentence(&faults))
    } else if read.changes.is_empty() {
        Ok("Nothing was changed.")
    } else {
        match web.live.change(read.changes).await {
            Ok(_) => {
                tracing::info!(
                    user.name = visitor.user,
                    plugin.id = id,
                    "an importer's configuration was changed"
                );
                Ok("Saved, and in use.")
            }
            Err(error) => {
                let refused = error.downcast_ref::<ConfigError>().map(fields::faults_of);
                faults.extend(refused.unwrap_or_default());
                Err(format!("{error:#}"))
            }
        }
    };
    // It may be another one by now: loaded anew, with another state.
    let view = find(&web, &id).unwrap_or(view);
    match saved {
        Ok(text) => show(
            &web,
            &visitor,
            &view,
            StatusCode::OK,
            Some(("good", text.to_owned())),
            None,
        ),
        Err(fault) => show(
            &web,
            &visitor,
            &view,
            StatusCode::BAD_REQUEST,
            Some(("bad", format!("Nothing is saved: {fault}."))),
            Some((&fields, &faults[..])),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Value {
        json!({
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": {"type": "string"},
                "check": {"$ref": "#/$defs/Check", "default": "sample", "description": "How."},
                "factor": {"type": "number", "default": 0.5},
                "deep": {"type": "object", "properties": {"on": {"type": "boolean", "default": true}}},
                "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
                "rules": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}}},
                "words": {"type": "array", "items": {"type": "string"}},
                "api_token": {"type": "string"},
                "checks": {"type": "object", "additionalProperties": {"$ref": "#/$defs/Check"}},
            },
            "$defs": {"Check": {"enum": ["none", "sample", "full"], "type": "string"}},
        })
    }

    fn form(pairs: &[(&str, &str)]) -> Fields {
        let pairs = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Fields::from(pairs.collect::<Vec<_>>())
    }

    #[test]
    fn a_form_has_a_field_of_the_right_kind_for_each_key() {
        let flat = flat(&schema(), &schema(), true, 0);
        let mut all = Vec::new();
        let now = filled(&flat, &json!({"words": ["a", "b"]}));
        fields::items(&flat, &now, "plugins.config.x", "", &|_| false, &mut all);
        let found: Vec<(&str, &str, &str)> = all
            .iter()
            .map(|item| (item.label.as_str(), item.input(), item.value.as_str()))
            .collect();
        for wanted in [
            ("name", "text", ""),
            ("check", "choice", "sample"),
            ("factor", "number", "0.5"),
            ("on", "flag", "true"),
            ("maybe", "number", ""),
            ("rules", "json", ""),
            ("words", "lines", "a\nb"),
            ("api token", "secret", ""),
            ("checks", "map", ""),
        ] {
            assert!(found.contains(&wanted), "{wanted:?} in {found:?}");
        }
        let checks = all.iter().find(|item| item.label == "checks").expect("there");
        assert_eq!(checks.rows.len(), 1);
        assert_eq!(checks.rows[0].value.input(), "choice");
        assert_eq!(checks.rows[0].value.options, ["none", "sample", "full"]);
    }

    #[test]
    fn only_what_is_changed_is_written() {
        let flat = flat(&schema(), &schema(), true, 0);
        let now = filled(&flat, &json!({"name": "n"}));
        let at = |name: &str| format!("plugins.config.x.{name}");
        let there = |names: &[&str]| -> Vec<(String, String)> {
            names
                .iter()
                .map(|name| (format!("{}.there", at(name)), "1".to_owned()))
                .collect()
        };
        let mut sent = there(&["name", "check", "factor", "deep.on", "maybe", "words"]);
        for (name, value) in [
            ("name", "n"),
            ("check", "full"),
            ("factor", "0.25"),
            ("maybe", ""),
            ("words", "a\r\nb"),
        ] {
            sent.push((at(name), value.to_owned()));
        }
        let path = ["plugins", "config", "x"].map(str::to_owned);
        let mut read = fields::Read::default();
        let fields = Fields::from(sent);
        fields::changes(&flat, &now, &path, &fields, &|_| false, &mut read);
        assert_eq!(read.faults, []);
        let mut changed: Vec<(String, Value)> = read
            .changes
            .into_iter()
            .map(|(path, value)| (path[3..].join("."), value.expect("a value")))
            .collect();
        changed.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(
            changed,
            [
                ("check".to_owned(), json!("full")),
                // The tick was taken away.
                ("deep.on".to_owned(), json!(false)),
                ("factor".to_owned(), json!(0.25)),
                ("words".to_owned(), json!(["a", "b"])),
            ]
        );
        let wrong = form(&[
            ("plugins.config.x.factor.there", "1"),
            ("plugins.config.x.factor", "much"),
        ]);
        let mut read = fields::Read::default();
        fields::changes(&flat, &now, &path, &wrong, &|_| false, &mut read);
        assert!(fields::sentence(&read.faults).contains("must be a number"));
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let schema = json!({
            "properties": {"a": {"$ref": "#/$defs/A"}},
            "$defs": {"A": {"properties": {"a": {"$ref": "#/$defs/A"}}}, "B": {"$ref": "#/$defs/B"}},
        });
        assert!(flat(&schema, &schema, true, 0)["properties"]["a"]["properties"].is_object());
    }
}
