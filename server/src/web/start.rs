//! The first steps: from nothing to a file that plays.

use super::{
    Frame, Web,
    arr::Draft,
    failed,
    form::{Fields, Posted},
    page, plain,
    visitor::Visitor,
};
use crate::{
    config::{Change, OutputWay},
    outputs,
};
use altmount_engine::ROOT;
use askama::Template;
use axum::{
    extract::{Query, State},
    response::Response,
};
use http::StatusCode;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// A kind of notice, and its text.
pub(super) type Told = (&'static str, String);

/// The steps that have forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A news server.
    Provider,
    /// How other programs reach the files.
    Output,
    /// An *arr.
    Arr,
}

/// The form for the way out.
struct Out {
    way: String,
    mount: String,
    /// Whether other users of the machine may use the mount.
    others: bool,
    symlinks: String,
    strm: String,
    strm_url: String,
    copy: String,
    has_fuse: bool,
    /// What is configured, where anything is.
    chosen: Option<String>,
}

#[derive(Template)]
#[template(path = "start.html")]
struct StartPage {
    frame: Frame,
    has_provider: bool,
    providers: String,
    tried: Option<Told>,
    host: String,
    port: String,
    connections: String,
    username: String,
    tls: bool,
    out_told: Option<Told>,
    out: Out,
    arr_told: Option<Told>,
    arr: Draft,
    arrs: Vec<String>,
    key: String,
    webdav: String,
    has_release: bool,
}

/// `?saved=1`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    saved: String,
}

/// `GET /start`.
pub(super) async fn start(State(web): State<Web>, visitor: Visitor, Query(asked): Query<Asked>) -> Response {
    let told = ("good", "It works, is saved, and is in use.".to_owned());
    let told = (!asked.saved.is_empty()).then_some((Step::Provider, told));
    show(&web, &visitor, told, &Fields::default()).await
}

/// The page, with what came of one of its forms.
pub(super) async fn show(
    web: &Web,
    visitor: &Visitor,
    told: Option<(Step, Told)>,
    fields: &Fields,
) -> Response {
    let names: Vec<String> = web
        .pool
        .status()
        .into_iter()
        .map(|provider| provider.name)
        .collect();
    let there = match web.engine.library().page(ROOT, 0, 1).await {
        Ok(page) => page.total > 0,
        Err(error) => return failed(error),
    };
    let arrs = match web.arrs.now().status().await {
        Ok(all) => all.into_iter().map(|status| status.settings.name).collect(),
        Err(error) => return failed(error),
    };
    let of = |step: Step| {
        told.as_ref()
            .filter(|told| told.0 == step)
            .map(|told| told.1.clone())
    };
    let webdav = web.public.webdav(&altmount_model::VPath::root());
    // Encrypted, unless somebody who sent the form took the tick away.
    let tls = !fields.has("host") || !fields.get("tls").is_empty();
    let template = StartPage {
        frame: Frame::new(web, visitor, "Overview", "First steps"),
        has_provider: !names.is_empty(),
        providers: format!("Articles are read from {}.", names.join(", ")),
        tried: of(Step::Provider),
        host: fields.get("host").to_owned(),
        port: fields.get("port").to_owned(),
        connections: fields.get("connections").to_owned(),
        username: fields.get("username").to_owned(),
        tls,
        out_told: of(Step::Output),
        out: out(web, visitor, fields).await,
        arr_told: of(Step::Arr),
        arr: Draft::of(web, visitor, fields),
        arrs,
        key: web.key.expose_secret().to_owned(),
        webdav: match webdav {
            Some(link) => format!(
                "Over WebDAV the library is at {}{}/; its name and password are those of the section webdav, or the file \
                 webdav.password in {}.",
                visitor.address.trim_end_matches(&web.base),
                link,
                web.live.data_dir().display()
            ),
            None => "WebDAV is off.".to_owned(),
        },
        has_release: there,
    };
    page(StatusCode::OK, &template)
}

/// The form for the way out: as it was sent, or as the configuration is.
async fn out(web: &Web, visitor: &Visitor, fields: &Fields) -> Out {
    let now = web.live.editor().and_then(|editor| editor.effective().ok());
    let now = now.unwrap_or(Value::Null);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let sent = |name: &str, value: String| match fields.has(name) {
        true => fields.get(name).to_owned(),
        false => value,
    };
    let (outputs, mount) = (&now["outputs"], text(&now["mount"]["path"]));
    let way = text(&outputs["default"][0]);
    let chosen = match way.as_str() {
        "symlinks" => Some(format!(
            "links in {} to the library, which is mounted at {mount}",
            text(&outputs["symlinks"]["path"])
        )),
        "strm" => Some(format!(
            "text files with addresses in {}",
            text(&outputs["strm"]["path"])
        )),
        "copy" => Some(format!("copies in {}", text(&outputs["copy"]["path"]))),
        _ if !mount.is_empty() => Some(format!("the library as the folder {mount}")),
        _ => None,
    };
    let way = if way == "mount" && mount.is_empty() {
        "web".to_owned()
    } else {
        way
    };
    let url = Some(text(&outputs["strm"]["base_url"])).filter(|url| !url.is_empty());
    Out {
        way: sent("way", way),
        others: match fields.has("mount") {
            true => !fields.get("others").is_empty(),
            false => now["mount"]["allow_other"] == true,
        },
        mount: sent("mount", mount),
        symlinks: sent("symlinks", text(&outputs["symlinks"]["path"])),
        strm: sent("strm", text(&outputs["strm"]["path"])),
        strm_url: sent("strm_url", url.unwrap_or_else(|| visitor.address.clone())),
        copy: sent("copy", text(&outputs["copy"]["path"])),
        has_fuse: tokio::task::spawn_blocking(outputs::has_fuse)
            .await
            .unwrap_or(false),
        chosen,
    }
}

/// A folder that must be there, and for what.
type Needed = (OutputWay, PathBuf);

/// What a form for the way out changes, and the folders that must be there for it.
fn wanted(fields: &Fields) -> Result<(Vec<Change>, Vec<Needed>), String> {
    let field = |name: &str| match fields.get(name).trim() {
        "" => Err("write the folder that it is to be in".to_owned()),
        text => Ok(text.to_owned()),
    };
    let set = |key: &str, value: Option<Value>| (key.split('.').map(str::to_owned).collect(), value);
    let mut changes = vec![set("outputs.default", Some(json!([fields.get("way")])))];
    let mut folders = Vec::new();
    match fields.get("way") {
        "web" => {
            changes = vec![set("outputs.default", None), set("mount.path", None)];
        }
        way @ ("mount" | "symlinks") => {
            let mount = field("mount")?;
            folders.push((OutputWay::Mount, PathBuf::from(&mount)));
            changes.push(set("mount.path", Some(json!(mount))));
            let others = !fields.get("others").is_empty();
            changes.push(set("mount.allow_other", others.then_some(json!(true))));
            if way == "symlinks" {
                let links = field("symlinks")?;
                folders.push((OutputWay::Symlinks, PathBuf::from(&links)));
                changes.push(set("outputs.symlinks.path", Some(json!(links))));
            }
        }
        "strm" => {
            let folder = field("strm")?;
            folders.push((OutputWay::Strm, PathBuf::from(&folder)));
            changes.push(set("outputs.strm.path", Some(json!(folder))));
            changes.push(set(
                "outputs.strm.base_url",
                Some(json!(fields.get("strm_url").trim())),
            ));
        }
        "copy" => {
            let folder = field("copy")?;
            folders.push((OutputWay::Copy, PathBuf::from(&folder)));
            changes.push(set("outputs.copy.path", Some(json!(folder))));
        }
        _ => return Err("choose one of the ways".to_owned()),
    }
    Ok((changes, folders))
}

async fn choose(web: &Web, fields: &Fields) -> Result<Told, String> {
    let (changes, folders) = wanted(fields)?;
    let editor = web
        .live
        .editor()
        .ok_or("there is no configuration file to change")?;
    if let Some((path, _)) = changes
        .iter()
        .find(|(path, _)| editor.is_overridden(&path.join(".")))
    {
        return Err(format!(
            "'{}' is set by the environment, which goes before the file; change it there",
            path.join(".")
        ));
    }
    // What is mounted already is not empty, and is right.
    let mounted = web.mounts.path();
    let look = move || {
        let new = |(_, path): &&Needed| mounted.as_deref() != Some(Path::new(path));
        folders
            .iter()
            .filter(new)
            .try_for_each(|(way, path)| outputs::check(*way, path))
    };
    let looked = tokio::task::spawn_blocking(look).await;
    looked.map_err(|error| error.to_string())??;
    let applied = web.live.change(changes).await;
    let applied = applied.map_err(|error| format!("{error:#}"))?;
    Ok(match applied.change_waits {
        true => (
            "warn",
            "Saved. It is used after a restart of the server: docker restart altmount, systemctl restart altmount, or \
             stop it and start it again."
                .to_owned(),
        ),
        false => ("good", format!("Saved, and in use.{}", super::sentences(&applied.notes))),
    })
}

/// `POST /start/output`: chooses how other programs reach the files.
pub(super) async fn output(State(web): State<Web>, posted: Posted) -> Response {
    let Posted { visitor, fields } = posted;
    if web.live.editor().is_none() {
        return plain(
            StatusCode::CONFLICT,
            "This server was started without a configuration file, so there is nothing to change.",
        );
    }
    let told = match choose(&web, &fields).await {
        Ok(told) => told,
        Err(fault) => ("bad", format!("Nothing is saved: {fault}.")),
    };
    let shown = if told.0 == "bad" {
        fields
    } else {
        Fields::default()
    };
    show(&web, &visitor, Some((Step::Output, told)), &shown).await
}
