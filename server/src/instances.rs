//! The *arr applications of the configuration file: added, changed and taken out, by the API and by the page alike.

use crate::{
    arr::{CurrentArrs, usual_category},
    config::{Arr, ArrInstance, ArrInstanceSettings, Change, Config, ConfigError, Editor},
    live::{Applied, Live},
};
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};
use std::fmt;

/// Why an instance was not added, changed or taken out. Nothing has changed then.
#[derive(Debug)]
pub(crate) enum Unchanged {
    /// The server was started without a configuration file.
    NoFile,
    /// The environment has the instances, which goes before the file.
    Overridden,
    /// There is no instance of this name.
    Unknown(String),
    /// There is one already.
    Taken(String),
    /// The values cannot be used.
    Refused(String),
}

impl fmt::Display for Unchanged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFile => f.write_str("the server was started without a configuration file"),
            Self::Overridden => f.write_str(
                "'arr.instances' is set by the environment, which goes before the file; change it there",
            ),
            Self::Unknown(name) => write!(
                f,
                "no instance of 'arr.instances' has the name '{}'",
                name.escape_default()
            ),
            Self::Taken(name) => write!(f, "there is an instance '{name}' already; give each its own name"),
            Self::Refused(text) => f.write_str(text),
        }
    }
}

/// What an instance of the file is called.
fn name_of(instance: &Value) -> &str {
    let named = |key| instance[key].as_str().filter(|text| !text.is_empty());
    named("name").or(named("kind")).unwrap_or("sonarr")
}

/// Checks what was given as the configuration file is checked.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn checked(instance: ArrInstance) -> Result<ArrInstanceSettings, String> {
    let config = Config {
        arr: Arr {
            instances: vec![instance],
            ..Arr::default()
        },
        ..Config::default()
    };
    let settings = config.resolve().map_err(|error| error.to_string())?;
    let first = settings.arr.instances.into_iter().next();
    first.ok_or_else(|| "no instance was given".to_owned())
}

/// An instance as the file has it, its key included.
fn value_of(instance: &ArrInstance) -> Map<String, Value> {
    let mut map = Map::new();
    if let Some(name) = &instance.name {
        map.insert("name".to_owned(), json!(name));
    }
    map.insert("kind".to_owned(), json!(instance.kind.as_str()));
    map.insert("url".to_owned(), json!(instance.url));
    if let Some(key) = &instance.api_key {
        map.insert("api_key".to_owned(), json!(key.expose_secret()));
    }
    if !instance.categories.is_empty() {
        map.insert("categories".to_owned(), json!(instance.categories));
    }
    map
}

fn file(live: &Live) -> Result<(&Editor, Vec<Value>), Unchanged> {
    let editor = live.editor().ok_or(Unchanged::NoFile)?;
    if editor.is_overridden("arr.instances") {
        return Err(Unchanged::Overridden);
    }
    let raw = editor
        .raw()
        .map_err(|error| Unchanged::Refused(error.to_string()))?;
    let there = raw["arr"]["instances"].as_array().cloned().unwrap_or_default();
    Ok((editor, there))
}

/// The category that an instance sends, where the configuration does not have it: no job of it would be taken without.
fn category_for(editor: &Editor, instance: &ArrInstance) -> Result<Option<Change>, Unchanged> {
    let refused = |error: ConfigError| Unchanged::Refused(error.to_string());
    let named = instance.categories.first().map(String::as_str);
    let name = named.unwrap_or_else(|| usual_category(instance.kind));
    let all = editor.effective().map_err(refused)?["categories"].take();
    let known = |category: &Value| category["name"] == name;
    if all.as_array().is_some_and(|all| all.iter().any(known)) || editor.is_overridden("categories") {
        return Ok(None);
    }
    let mut there = editor.raw().map_err(refused)?["categories"].take();
    let mut there = there.as_array_mut().map(std::mem::take).unwrap_or_default();
    there.push(json!({"name": name}));
    Ok(Some((vec!["categories".to_owned()], Some(Value::Array(there)))))
}

async fn write(
    live: &Live,
    instances: Vec<Value>,
    more: impl IntoIterator<Item = Change>,
) -> Result<Applied, Unchanged> {
    let path = vec!["arr".to_owned(), "instances".to_owned()];
    let value = (!instances.is_empty()).then_some(Value::Array(instances));
    let mut changes = vec![(path, value)];
    changes.extend(more);
    let applied = live.change(changes).await;
    applied.map_err(|error| Unchanged::Refused(format!("{error:#}")))
}

/// Adds an instance, and uses it at once; with it the category that it sends, where there is none of that name, and the address of
/// this server as it reaches it, where that is given. The name that it has.
///
/// # Errors
/// Why it is not added.
pub(crate) async fn add(
    live: &Live,
    instance: &ArrInstance,
    own_url: Option<&str>,
) -> Result<String, Unchanged> {
    let _turn = live.edit_turn().await;
    let (editor, mut there) = file(live)?;
    let new = Value::Object(value_of(instance));
    let name = name_of(&new).to_owned();
    if there.iter().any(|other| name_of(other) == name) {
        return Err(Unchanged::Taken(name));
    }
    there.push(new);
    let own_url = own_url.map(|own_url| {
        let path = vec!["arr".to_owned(), "own_url".to_owned()];
        (path, Some(json!(own_url)))
    });
    let more = own_url.into_iter().chain(category_for(editor, instance)?);
    write(live, there, more).await?;
    Ok(name)
}

/// Puts an instance in the place of another, whose key stays where none is given. One that has another name now is still the same one.
///
/// # Errors
/// Why it is as it was.
pub(crate) async fn change(
    live: &Live,
    arrs: &CurrentArrs,
    name: &str,
    instance: &ArrInstance,
) -> Result<Applied, Unchanged> {
    let _turn = live.edit_turn().await;
    let (editor, mut there) = file(live)?;
    let at = there.iter().position(|other| name_of(other) == name);
    let at = at.ok_or_else(|| Unchanged::Unknown(name.to_owned()))?;
    let mut new = value_of(instance);
    if instance.api_key.is_none() {
        new.insert("api_key".to_owned(), there[at]["api_key"].clone());
    }
    there[at] = Value::Object(new);
    let new_name = name_of(&there[at]).to_owned();
    let category = category_for(editor, instance)?;
    let mut applied = write(live, there, category).await?;
    if new_name != name {
        match arrs.now().renamed(name, &new_name).await {
            Ok(false) => {}
            Ok(true) => applied.notes.push(format!(
                "the webhook that '{new_name}' has is still the one of '{name}': register it again, with 'altmount arr register \
                 {new_name}' for example"
            )),
            Err(error) => tracing::error!(
                arr.name = new_name,
                "what is known of this *arr under its old name '{name}' stays there: {error}"
            ),
        }
    }
    Ok(applied)
}

/// Takes an instance out; the key that it was given opens nothing any more.
///
/// # Errors
/// Why it is still there.
pub(crate) async fn remove(live: &Live, arrs: &CurrentArrs, name: &str) -> Result<Applied, Unchanged> {
    let turn = live.edit_turn().await;
    let (_, mut there) = file(live)?;
    let before = there.len();
    there.retain(|other| name_of(other) != name);
    if there.len() == before {
        return Err(Unchanged::Unknown(name.to_owned()));
    }
    let applied = write(live, there, None).await?;
    drop(turn);
    if let Err(error) = arrs.now().revoke(name).await {
        tracing::error!(
            arr.name = name,
            "the key of an *arr that was taken out is not revoked: {error}"
        );
    }
    Ok(applied)
}
