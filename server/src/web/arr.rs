//! Sonarr, Radarr and the like: adding one, whether it answers, and making this server known to it.

use super::{
    Frame, Web, failed,
    form::{Fields, Posted},
    page,
    start::{self, Step, Told},
    visitor::Visitor,
    when,
};
use crate::{
    arr::{RegisterError, probe},
    config::{ArrInstance, ArrKind},
    instances, quoted,
};
use askama::Template;
use axum::{
    extract::{Path, State},
    response::Response,
};
use http::StatusCode;

/// What there is to choose from.
pub(super) const KINDS: [ArrKind; 6] = [
    ArrKind::Sonarr,
    ArrKind::Radarr,
    ArrKind::Lidarr,
    ArrKind::Readarr,
    ArrKind::Whisparr,
    ArrKind::WhisparrV3,
];

/// The form for a new one.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) url: String,
    pub(super) own_url: String,
}

impl Draft {
    /// As it was sent, or as it is where nothing was.
    pub(super) fn of(web: &Web, visitor: &Visitor, fields: &Fields) -> Self {
        let own_url = fields.get("own_url");
        Self {
            kind: match fields.get("kind") {
                "" => ArrKind::Sonarr.as_str().to_owned(),
                kind => kind.to_owned(),
            },
            name: fields.get("arr_name").to_owned(),
            url: fields.get("arr_url").to_owned(),
            own_url: match fields.has("own_url") {
                true => own_url.to_owned(),
                false => own_url_of(web).unwrap_or_else(|| visitor.address.clone()),
            },
        }
    }
}

/// The address of this server that the configuration has for them.
fn own_url_of(web: &Web) -> Option<String> {
    let now = web.live.editor()?.effective().ok()?;
    now["arr"]["own_url"].as_str().map(str::to_owned)
}

struct Line {
    name: String,
    /// The name in an address.
    quoted: String,
    kind: &'static str,
    url: String,
    category: String,
    answered: String,
    error: String,
    registered: bool,
    waiting: u64,
}

#[derive(Template)]
#[template(path = "arr.html")]
struct ArrPage {
    frame: Frame,
    tab: &'static str,
    notice: Option<(&'static str, String)>,
    instances: Vec<Line>,
    arr: Draft,
}

async fn show(
    web: &Web,
    visitor: &Visitor,
    status: StatusCode,
    notice: Option<(&'static str, String)>,
    fields: &Fields,
) -> Response {
    let all = match web.arrs.now().status().await {
        Ok(all) => all,
        Err(error) => return failed(error),
    };
    let instances = all.into_iter().map(|status| Line {
        quoted: quoted::name(&status.settings.name).to_string(),
        kind: status.settings.kind.as_str(),
        url: status.settings.url.to_string(),
        name: status.settings.name,
        category: status.category,
        answered: status.last.answered_ms.map_or_else(|| "not yet".to_owned(), when),
        error: status.last.error.unwrap_or_default(),
        registered: status.key.is_some(),
        waiting: status.waiting,
    });
    let template = ArrPage {
        frame: Frame::new(web, visitor, "Settings", "Applications"),
        tab: "Applications",
        notice,
        instances: instances.collect(),
        arr: Draft::of(web, visitor, fields),
    };
    page(status, &template)
}

/// `GET /settings/arr`.
pub(super) async fn arr(State(web): State<Web>, visitor: Visitor) -> Response {
    show(&web, &visitor, StatusCode::OK, None, &Fields::default()).await
}

/// The instance that a form describes.
fn instance_of(fields: &Fields) -> Result<ArrInstance, String> {
    let kind = KINDS.into_iter().find(|kind| kind.as_str() == fields.get("kind"));
    let named = fields.get("arr_name").trim();
    Ok(ArrInstance {
        name: (!named.is_empty()).then(|| named.to_owned()),
        kind: kind.ok_or_else(|| "choose which application it is".to_owned())?,
        url: fields.get("arr_url").trim().to_owned(),
        api_key: Some(fields.get("arr_key").trim().to_owned().into()),
        categories: Vec::new(),
    })
}

/// What registering came to, in a sentence.
async fn registered(web: &Web, name: &str) -> Result<Told, Response> {
    Ok(match web.arrs.now().register(name).await {
        None => ("warn", "There is no such application any more.".to_owned()),
        Some(Ok(done)) => (
            "good",
            format!(
                "“{name}” has this server as its download client, with the category “{}”, and tells it what it imports.",
                done.category
            ),
        ),
        Some(Err(RegisterError::NoAddress)) => (
            "bad",
            "Not registered: say below how it reaches this server, or set own_url under Settings, arr."
                .to_owned(),
        ),
        Some(Err(error @ RegisterError::Arr { .. })) => (
            "bad",
            format!(
                "“{name}” is saved and not registered: {error}. Mend that there, then register it under Settings, Applications."
            ),
        ),
        Some(Err(error)) => return Err(failed(error)),
    })
}

/// Tries what a form describes; saves it and registers there where the form says so.
async fn tried(web: &Web, fields: &Fields) -> Result<Told, Response> {
    let checked = instance_of(fields).and_then(|instance| {
        let own_url = fields.get("own_url").trim().to_owned();
        Ok((instances::checked(instance.clone())?, instance, own_url))
    });
    let (settings, instance, own_url) = match checked {
        Ok(checked) => checked,
        Err(fault) => return Ok(("bad", format!("It cannot be used: {fault}."))),
    };
    let version = {
        // One at a time: each is a connection to wherever the form says.
        let _turn = web.trials.lock().await;
        match probe(&settings).await {
            Ok(version) => version,
            Err(error) => return Ok(("bad", format!("It does not answer as it should: {error}."))),
        }
    };
    if fields.get("then") != "save" {
        return Ok((
            "good",
            format!("It answers: version {version}. It is not saved yet."),
        ));
    }
    let own_url = (!own_url.is_empty()).then_some(own_url.as_str());
    match instances::add(&web.live, &instance, own_url).await {
        Ok(name) => registered(web, &name).await,
        Err(error) => Ok(("bad", format!("It answers, and is not saved: {error}."))),
    }
}

/// `POST /settings/arr/add`: tries a new one; saves it and makes this server known to it where the form says so.
pub(super) async fn add(State(web): State<Web>, posted: Posted) -> Response {
    let Posted { visitor, fields } = posted;
    let told = match tried(&web, &fields).await {
        Ok(told) => told,
        Err(response) => return response,
    };
    // What is saved needs no form with it any more.
    let saved = told.0 == "good" && fields.get("then") == "save";
    let shown = if saved { Fields::default() } else { fields.clone() };
    if !fields.get("start").is_empty() {
        return start::show(&web, &visitor, Some((Step::Arr, told)), &shown).await;
    }
    show(&web, &visitor, StatusCode::OK, Some(told), &shown).await
}

/// The page with what came of an order.
async fn told(web: &Web, posted: &Posted, notice: (&'static str, String)) -> Response {
    show(
        web,
        &posted.visitor,
        StatusCode::OK,
        Some(notice),
        &Fields::default(),
    )
    .await
}

/// `POST /settings/arr/{name}/test`.
pub(super) async fn test(State(web): State<Web>, Path(name): Path<String>, posted: Posted) -> Response {
    let notice = match web.arrs.now().test(&name).await {
        None => ("warn", "There is no such application any more.".to_owned()),
        Some(Ok(version)) => ("good", format!("“{name}” answers: version {version}.")),
        Some(Err(error)) => ("bad", format!("“{name}” does not answer as it should: {error}.")),
    };
    told(&web, &posted, notice).await
}

/// `POST /settings/arr/{name}/register`.
pub(super) async fn register(State(web): State<Web>, Path(name): Path<String>, posted: Posted) -> Response {
    match registered(&web, &name).await {
        Ok(notice) => told(&web, &posted, notice).await,
        Err(response) => response,
    }
}

/// `POST /settings/arr/{name}/remove`.
pub(super) async fn remove(State(web): State<Web>, Path(name): Path<String>, posted: Posted) -> Response {
    let notice = match instances::remove(&web.live, &web.arrs, &name).await {
        Ok(_) => (
            "good",
            format!(
                "“{name}” is taken out, and its key opens nothing any more. Delete the download client there, too."
            ),
        ),
        Err(error) => ("bad", format!("Nothing has changed: {error}.")),
    };
    told(&web, &posted, notice).await
}
