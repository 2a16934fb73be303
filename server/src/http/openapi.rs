//! The API's description, collected from the handlers.

use super::{
    Api, arr, backup, envelope::json as answer_json, events, file_health, files, health, import, importers,
    keys, library, log, operations, outputs, plugins, providers, queue, settings, stream, stream_import,
    streams, trash, users,
};
use axum::routing::{MethodRouter, get};
use http::StatusCode;
use serde_json::{Value, json};
use utoipa::{OpenApi, openapi};
use utoipa_axum::{router::OpenApiRouter, routes};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "AltMount",
        description = "Queues files for import and streams what they describe. Every route needs the API key, as the \
                       query parameter `apikey` or the header `X-Api-Key`."
    ),
    tags(
        (name = "import", description = "Files go in"),
        (name = "queue", description = "Jobs"),
        (name = "importers", description = "What takes which files"),
        (name = "library", description = "Files, folders and releases"),
        (name = "arr", description = "Sonarr, Radarr and the like"),
        (name = "outputs", description = "Files that are made for releases outside of the library, and signed links"),
        (name = "providers", description = "News servers"),
        (name = "health", description = "How the server is"),
        (name = "keys", description = "Who may do what"),
        (name = "stream", description = "Files come out"),
        (name = "settings", description = "The configuration, and what helps to find faults"),
        (name = "users", description = "Who may use the page"),
        (name = "description", description = "This description"),
    )
)]
struct Base;

/// The documented routes.
pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(Base::openapi())
        // Its own bounds count, file by file.
        .routes(routes!(import::upload))
        .routes(routes!(stream_import::stream))
        .routes(routes!(import::import_file))
        .route_layer(axum::extract::DefaultBodyLimit::disable())
        .routes(routes!(import::import_url))
        .routes(routes!(queue::list))
        .routes(routes!(queue::ended))
        .routes(routes!(queue::paused, queue::pause))
        .routes(routes!(queue::set_priority))
        .routes(routes!(queue::one, queue::cancel))
        .routes(routes!(queue::retry))
        .routes(routes!(events::events))
        .routes(routes!(importers::list))
        .routes(routes!(plugins::list))
        .routes(routes!(plugins::reload))
        .routes(routes!(plugins::resume))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::revoke))
        .routes(routes!(library::list))
        .routes(routes!(files::file, files::delete))
        .routes(routes!(files::release))
        .routes(routes!(files::source))
        .routes(routes!(arr::list, arr::add))
        .routes(routes!(arr::try_one))
        .routes(routes!(arr::change, arr::remove))
        .routes(routes!(arr::test))
        .routes(routes!(arr::register))
        .routes(routes!(arr::replace))
        .routes(routes!(outputs::link, outputs::revoke_file))
        .routes(routes!(outputs::revoke_release))
        .routes(routes!(outputs::rebuild))
        .routes(routes!(outputs::test))
        .routes(routes!(providers::list))
        .routes(routes!(providers::test))
        .routes(routes!(providers::history))
        .routes(routes!(streams::list))
        .routes(routes!(health::summary))
        .routes(routes!(file_health::files))
        .routes(routes!(file_health::check))
        .routes(routes!(stream::stream))
        .routes(routes!(trash::put))
        .routes(routes!(trash::list))
        .routes(routes!(trash::purge))
        .routes(routes!(trash::restore))
        .routes(routes!(settings::show, settings::change))
        .routes(routes!(settings::reload))
        .routes(routes!(log::show, log::set))
        .routes(routes!(log::support))
        .routes(routes!(backup::make, operations::backups))
        .routes(routes!(operations::check))
        .routes(routes!(operations::check_library))
        .routes(routes!(operations::test_notifications))
        .routes(routes!(users::list, users::create))
        .routes(routes!(users::delete))
        .routes(routes!(users::set_password))
        .routes(routes!(users::sessions))
        .routes(routes!(users::end_session))
}

/// The description with what every operation has in common: the key, and the failures that need no reason of their own.
pub(super) fn complete(document: openapi::OpenApi) -> Value {
    let mut document = serde_json::to_value(document).unwrap_or_default();
    document["openapi"] = json!("3.1.0");
    document["security"] = json!([{"apikey": []}, {"header": []}]);
    document["components"]["securitySchemes"] = json!({
        "apikey": {"type": "apiKey", "in": "query", "name": "apikey"},
        "header": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
    });
    let failure = |description: &str| {
        json!({
            "description": description,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}},
        })
    };
    document["paths"]["/api/openapi.json"] = json!({"get": {
        "tags": ["description"],
        "operationId": "openapi",
        "summary": "This description.",
        "responses": {"200": {"description": "OpenAPI 3.1", "content": {"application/json": {"schema": {"type": "object"}}}}},
    }});
    let paths = document["paths"].as_object_mut();
    for operation in paths.into_iter().flat_map(|paths| paths.values_mut()) {
        for method in operation.as_object_mut().into_iter().flat_map(|o| o.values_mut()) {
            let Some(responses) = method.get_mut("responses").and_then(Value::as_object_mut) else {
                continue;
            };
            for (status, text) in [
                ("401", "The API key is missing or wrong"),
                ("403", "The API key is right and does not open this"),
                (
                    "500",
                    "The server failed; its log has the cause, with the id that the answer has",
                ),
                ("503", "The server is shutting down"),
            ] {
                responses.entry(status).or_insert_with(|| failure(text));
            }
        }
    }
    document
}

/// The whole description.
pub(super) fn document() -> Value {
    complete(routes().into_openapi())
}

/// Serves it.
pub(super) fn handler(document: &Value) -> MethodRouter<Api> {
    let answer = document.clone();
    get(move || async move { answer_json(StatusCode::OK, &answer) })
}
