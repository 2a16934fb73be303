//! The settings: every key of the configuration.

use super::{
    Frame, Web, failed,
    fields::{self, Fault, Item},
    form::{Fields, Posted},
    page, plain, see_other,
    start::{self, Step},
    visitor::Visitor,
};
use crate::{
    config::{ConfigError, Editor, Provider, needs_restart, schema},
    http::{attempt, checked},
};
use askama::Template;
use axum::{
    extract::{Path, State},
    response::Response,
};
use http::StatusCode;
use serde_json::{Value, json};

/// The parts of the settings.
pub(super) const TABS: &[(&str, &str)] = &[
    ("/settings", "Configuration"),
    ("/settings/keys", "Keys"),
    ("/settings/arr", "Applications"),
    ("/settings/plugins", "Importers"),
    ("/settings/log", "Log"),
    ("/account", "Account"),
];
/// What is asked for first of an item of a list.
const MAIN: [&str; 16] = [
    "kind",
    "name",
    "host",
    "port",
    "tls",
    "username",
    "password",
    "max_connections",
    "path",
    "url",
    "api_key",
    "ours",
    "theirs",
    "message",
    "action",
    "after",
];

struct Block {
    title: String,
    main: Vec<Item>,
    more: Vec<Item>,
    /// Whether something is wrong with what is asked for last.
    more_is_wrong: bool,
    /// Whether it is in the file already.
    old: bool,
    /// Whether it is to be taken out.
    removed: bool,
}

/// A list of items.
struct Group {
    key: String,
    doc: String,
    /// What the list in the file was when the form was made from it.
    was: String,
    blocks: Vec<Block>,
}

#[derive(Template)]
#[template(path = "settings.html")]
struct SettingsPage {
    frame: Frame,
    tab: &'static str,
    fault: Option<String>,
    done: String,
    restart: bool,
    sections: Vec<(String, bool)>,
    section: String,
    doc: String,
    items: Vec<Item>,
    /// Its lists of items.
    groups: Vec<Group>,
    /// When its keys are used.
    used: String,
    file: String,
}

/// What happened before the page is shown.
#[derive(Default)]
struct Told {
    fault: Option<String>,
    done: String,
    restart: bool,
    /// What was sent and is not saved, which is shown again, and what is wrong with it.
    sent: Option<(Fields, Vec<Fault>)>,
}

fn no_file() -> Response {
    plain(
        StatusCode::CONFLICT,
        "This server was started without a configuration file, so there is nothing to change.",
    )
}

/// The lists of items of a section, with their keys: the section itself, or keys in it, however deep.
pub(super) fn lists_of<'a>(section: &str, part: &'a Value) -> Vec<(Vec<String>, &'a Value)> {
    fn find<'a>(path: &[String], part: &'a Value, found: &mut Vec<(Vec<String>, &'a Value)>) {
        if part["items"].get("properties").is_some() {
            found.push((path.to_vec(), part));
        }
        for (name, below) in part["properties"].as_object().into_iter().flatten() {
            find(&[path, std::slice::from_ref(name)].concat(), below, found);
        }
    }
    let mut found = Vec::new();
    find(std::slice::from_ref(&section.to_owned()), part, &mut found);
    found
}

/// The keys of a section, the section itself where it is a list.
fn keys_of(key: &str, part: &Value) -> Vec<String> {
    match part["properties"].as_object() {
        Some(below) if !below.is_empty() => below
            .iter()
            .flat_map(|(name, part)| keys_of(&format!("{key}.{name}"), part))
            .collect(),
        _ => vec![key.to_owned()],
    }
}

/// When the keys of a section are used once they are saved.
fn used(section: &str, part: &Value) -> String {
    let (late, at_once): (Vec<String>, Vec<String>) = keys_of(section, part)
        .into_iter()
        .partition(|key| needs_restart(key));
    match (late.as_slice(), at_once.as_slice()) {
        ([], _) => "Used at once.".to_owned(),
        (_, []) => "Used after a restart of the server.".to_owned(),
        (late, at_once) if late.len() < at_once.len() => {
            format!(
                "Used at once, but for {}: after a restart of the server.",
                late.join(", ")
            )
        }
        (_, at_once) => format!(
            "Used after a restart of the server, but for {}: at once.",
            at_once.join(", ")
        ),
    }
}

fn at<'a>(tree: &'a Value, path: &[String]) -> &'a Value {
    path.iter().fold(tree, |tree, part| &tree[part.as_str()])
}

fn blocks(editor: &Editor, key: &str, list: &Value, items: &[Value]) -> Vec<Block> {
    let mut blocks = Vec::new();
    let plain = Value::Object(
        list["items"]["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, part)| (name.clone(), part["default"].clone()))
            .collect(),
    );
    for index in 0..=items.len() {
        let item = items.get(index);
        let mut all = Vec::new();
        fields::items(
            &list["items"],
            item.unwrap_or(&plain),
            &format!("{key}.{index}"),
            "",
            &|_| editor.is_overridden(key),
            &mut all,
        );
        let (mut main, more): (Vec<Item>, Vec<Item>) = all.into_iter().partition(|field| {
            field
                .key
                .rsplit('.')
                .next()
                .is_some_and(|name| MAIN.contains(&name))
        });
        main.sort_by_key(|field| {
            MAIN.iter()
                .position(|name| field.key.ends_with(&format!(".{name}")))
        });
        let named = |name: &str| {
            item.and_then(|item| item[name].as_str())
                .filter(|text| !text.is_empty())
        };
        blocks.push(Block {
            title: match item {
                Some(_) => named("name")
                    .or(named("host"))
                    .or(named("path"))
                    .unwrap_or("one more")
                    .to_owned(),
                None => "A new one".to_owned(),
            },
            main,
            more,
            more_is_wrong: false,
            old: item.is_some(),
            removed: false,
        });
    }
    blocks
}

/// Puts into a list's items what was sent for them.
fn refill(group: &mut Group, sent: &Fields, faults: &[Fault]) {
    let removed = |at: usize| !sent.get(&format!("{}.{at}.remove", group.key)).is_empty();
    for (at, block) in group.blocks.iter_mut().enumerate() {
        fields::refill(&mut block.main, sent, faults);
        fields::refill(&mut block.more, sent, faults);
        block.more_is_wrong = block.more.iter().any(|item| !item.fault.is_empty());
        block.removed = removed(at);
    }
}

fn show(web: &Web, visitor: &Visitor, section: &str, status: StatusCode, told: Told) -> Response {
    let Some(editor) = web.live.editor() else {
        return no_file();
    };
    let (now, raw) = match editor.effective().and_then(|now| Ok((now, editor.raw()?))) {
        Ok(read) => read,
        Err(error) => return failed(error),
    };
    let schema = schema();
    let Some(all) = schema["properties"].as_object() else {
        return failed("the schema has no sections");
    };
    let part = &schema["properties"][section];
    if !section.is_empty() && part.is_null() {
        return super::missing(web, visitor, "There is no such section of the configuration.");
    }
    let overridden = |key: &str| editor.is_overridden(key);
    let mut items = Vec::new();
    fields::items(part, &now[section], section, "", &overridden, &mut items);
    // Each importer has a page with a form of its own.
    items.retain(|item| item.key != "plugins.config");
    let mut items = fields::headed(items);
    let groups = lists_of(section, part).into_iter().map(|(path, list)| {
        let key = path.join(".");
        let there = at(&now, &path).as_array().cloned().unwrap_or_default();
        Group {
            blocks: blocks(editor, &key, list, &there),
            doc: if path.len() > 1 {
                fields::doc(list)
            } else {
                String::new()
            },
            was: stamp(web, &raw, &path),
            key,
        }
    });
    let mut groups: Vec<Group> = groups.collect();
    if let Some((sent, faults)) = &told.sent {
        fields::refill(&mut items, sent, faults);
        for group in &mut groups {
            refill(group, sent, faults);
        }
    }
    let template = SettingsPage {
        frame: Frame::new(web, visitor, "Settings", "Settings"),
        tab: "Configuration",
        fault: told.fault,
        done: told.done,
        restart: told.restart,
        sections: all.keys().map(|name| (name.clone(), name == section)).collect(),
        section: section.to_owned(),
        doc: fields::doc(part),
        items,
        groups,
        used: used(section, part),
        file: editor.path().display().to_string(),
    };
    page(status, &template)
}

/// `GET /settings`.
pub(super) async fn index(State(web): State<Web>, visitor: Visitor) -> Response {
    show(&web, &visitor, "", StatusCode::OK, Told::default())
}

/// `GET /settings/config/{section}`.
pub(super) async fn section(State(web): State<Web>, visitor: Visitor, Path(name): Path<String>) -> Response {
    show(&web, &visitor, &name, StatusCode::OK, Told::default())
}

/// What a list of the file is known by in a form. Its items are known by their places, so another list is no list for that form: a
/// password would go to whoever has the place now. It tells nothing of what is in it.
fn stamp(web: &Web, raw: &Value, path: &[String]) -> String {
    web.token(&format!("list {}", at(raw, path)))
}

/// Whether a form was made from lists that are not those of the file any more.
fn is_outdated(web: &Web, editor: &Editor, section: &str, form: &Fields) -> Result<bool, ConfigError> {
    let raw = editor.raw()?;
    let schema = schema();
    let lists = lists_of(section, &schema["properties"][section]);
    Ok(lists.iter().any(|(path, _)| {
        let field = format!("{}.was", path.join("."));
        form.has(&field) && form.get(&field) != stamp(web, &raw, path)
    }))
}

fn read(editor: &Editor, section: &str, form: &Fields) -> Result<fields::Read, ConfigError> {
    let schema = schema();
    let part = &schema["properties"][section];
    let now = editor.effective()?;
    let overridden = |key: &str| editor.is_overridden(key);
    let path = [section.to_owned()];
    let mut read = fields::Read::default();
    fields::changes(part, &now[section], &path, form, &overridden, &mut read);
    for (path, list) in lists_of(section, part) {
        let key = path.join(".");
        if !overridden(&key) && form.has(&format!("{key}.count")) {
            let raw = editor.raw()?;
            let there = at(&raw, &path).as_array().cloned().unwrap_or_default();
            match fields::list(list, &there, &key, form) {
                Ok(list) if list != there => {
                    let value = (!list.is_empty()).then_some(Value::Array(list));
                    read.changes.push((path, value));
                }
                Ok(_) => {}
                Err(faults) => read.faults.extend(faults),
            }
        }
    }
    Ok(read)
}

/// The answer to a form whose list somebody else has changed.
fn outdated(web: &Web, visitor: &Visitor, section: &str) -> Response {
    let fault = "Nothing is saved: the list was changed elsewhere since this page was loaded. This is how it is now; change it \
                 once more.";
    let told = Told {
        fault: Some(fault.to_owned()),
        ..Told::default()
    };
    show(web, visitor, section, StatusCode::CONFLICT, told)
}

/// `POST /settings/config/{section}`.
pub(super) async fn save(State(web): State<Web>, Path(name): Path<String>, posted: Posted) -> Response {
    let Posted { visitor, fields } = posted;
    let Some(editor) = web.live.editor() else {
        return no_file();
    };
    if !fields.get("more").is_empty() {
        let told = Told {
            sent: Some((fields, Vec::new())),
            ..Told::default()
        };
        return show(&web, &visitor, &name, StatusCode::OK, told);
    }
    let _turn = web.live.edit_turn().await;
    match is_outdated(&web, editor, &name, &fields) {
        Ok(false) => {}
        Ok(true) => return outdated(&web, &visitor, &name),
        Err(error) => return failed(error),
    }
    let read = match read(editor, &name, &fields) {
        Ok(read) => read,
        Err(error) => return failed(error),
    };
    let refuse = |fault: String, faults: Vec<Fault>, fields: Fields| {
        let told = Told {
            fault: Some(format!("Nothing is saved: {fault}.")),
            sent: Some((fields, faults)),
            ..Told::default()
        };
        show(&web, &visitor, &name, StatusCode::BAD_REQUEST, told)
    };
    if !read.faults.is_empty() {
        return refuse(fields::sentence(&read.faults), read.faults, fields);
    }
    if read.changes.is_empty() {
        let told = Told {
            done: "Nothing was changed.".to_owned(),
            ..Told::default()
        };
        return show(&web, &visitor, &name, StatusCode::OK, told);
    }
    match web.live.change(read.changes).await {
        Ok(applied) => {
            tracing::info!(
                user.name = visitor.user,
                "the section '{name}' of the configuration was changed"
            );
            let mut done = match (applied.change_waits, applied.restart_needed) {
                (true, _) => format!(
                    "Saved. It is used after a restart of the server, which {} for.",
                    match applied.waiting.as_slice() {
                        [one] => format!("{one} waits"),
                        more => format!("{} wait", more.join(", ")),
                    }
                ),
                (false, true) => {
                    "Saved, and in use. An earlier change waits for a restart of the server.".to_owned()
                }
                (false, false) => "Saved, and in use.".to_owned(),
            };
            done.push_str(&super::sentences(&applied.notes));
            if !applied.comments_kept {
                done.push_str(" The file's comments could not be kept.");
            }
            let told = Told {
                done,
                restart: applied.change_waits,
                ..Told::default()
            };
            show(&web, &visitor, &name, StatusCode::OK, told)
        }
        Err(error) => {
            let faults = error.downcast_ref::<ConfigError>().map(fields::faults_of);
            refuse(format!("{error:#}"), faults.unwrap_or_default(), fields)
        }
    }
}

/// The provider that a form is about: one of the file's, or the fields of the first steps.
fn provider_of(web: &Web, fields: &Fields) -> Result<Value, String> {
    if fields.get("start").is_empty() {
        let index: usize = fields
            .get("test")
            .parse()
            .map_err(|_| "no news server was named".to_owned())?;
        let editor = web.live.editor().ok_or("there is no configuration file")?;
        let raw = editor.raw().map_err(|error| error.to_string())?;
        let there = raw["providers"].as_array().cloned().unwrap_or_default();
        let schema = schema();
        // As the form has it now, whether or not it was saved.
        let list = fields::list(&schema["properties"]["providers"], &there, "providers", fields)
            .map_err(|faults| fields::sentence(&faults))?;
        // Those that are to be taken out are not in it any more.
        let removed = |at: &usize| !fields.get(&format!("providers.{at}.remove")).is_empty();
        let before = (0..index.min(list.len())).filter(removed).count();
        return list
            .get(index.saturating_sub(before))
            .filter(|_| !removed(&index))
            .cloned()
            .ok_or_else(|| "there is no such news server, or it is to be taken out".to_owned());
    }
    let mut provider = json!({"host": fields.get("host").trim(), "tls": !fields.get("tls").is_empty()});
    for (field, key) in [("port", "port"), ("connections", "max_connections")] {
        let text = fields.get(field).trim();
        if !text.is_empty() {
            let number: u16 = text
                .parse()
                .map_err(|_| format!("{field} must be a whole number"))?;
            provider[key] = json!(number);
        }
    }
    for key in ["username", "password"] {
        if !fields.get(key).is_empty() {
            provider[key] = json!(fields.get(key));
        }
    }
    Ok(provider)
}

/// `POST /settings/providers/test`: tries a news server, and saves it where the first steps say so.
pub(super) async fn try_provider(State(web): State<Web>, posted: Posted) -> Response {
    let Posted { visitor, fields } = posted;
    let first = !fields.get("start").is_empty();
    if let (false, Some(editor)) = (first, web.live.editor()) {
        match is_outdated(&web, editor, "providers", &fields) {
            Ok(false) => {}
            Ok(true) => return outdated(&web, &visitor, "providers"),
            Err(error) => return failed(error),
        }
    }
    let provider = match provider_of(&web, &fields) {
        Ok(provider) => provider,
        Err(fault) => return plain(StatusCode::BAD_REQUEST, &fault),
    };
    let config = serde_json::from_value::<Provider>(provider.clone())
        .map_err(|error| error.to_string())
        .and_then(checked);
    let (kind, mut text, ok) = match config {
        Err(fault) => ("bad", fault, false),
        Ok(config) => {
            // One at a time: each is a connection to wherever the form says.
            let _turn = web.trials.lock().await;
            let tried = attempt(config).await;
            let kind = if tried.ok { "good" } else { "bad" };
            (
                kind,
                format!("{} ({} ms)", tried.message, tried.duration_ms),
                tried.ok,
            )
        }
    };
    if !first {
        let sent = Some((fields, Vec::new()));
        let told = match ok {
            true => Told {
                done: format!("It works: {text}. What was changed in the form is not saved yet."),
                sent,
                ..Told::default()
            },
            false => Told {
                fault: Some(format!("It does not work: {text}.")),
                sent,
                ..Told::default()
            },
        };
        return show(&web, &visitor, "providers", StatusCode::OK, told);
    }
    if ok && fields.get("then") == "save" {
        let Some(editor) = web.live.editor() else {
            return no_file();
        };
        let _turn = web.live.edit_turn().await;
        let there = editor
            .raw()
            .map(|raw| raw["providers"].as_array().cloned().unwrap_or_default());
        let mut there = match there {
            Ok(there) => there,
            Err(error) => return failed(error),
        };
        there.push(provider);
        let change = (vec!["providers".to_owned()], Some(Value::Array(there)));
        match web.live.change(vec![change]).await {
            Ok(_) => return see_other(&web.at("/start?saved=1")),
            Err(error) => text = format!("{text}, but it cannot be saved: {error:#}"),
        }
    }
    start::show(&web, &visitor, Some((Step::Provider, (kind, text))), &fields).await
}
