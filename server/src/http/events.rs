//! `GET /api/queue/events`: what happens, as it happens.

use super::{Api, envelope::ErrorBody, queue::FailureView};
use altmount_engine::Event as Happening;
use axum::{
    extract::State,
    response::sse::{Event, KeepAlive, Sse},
};
use futures::{Stream, StreamExt};
use serde_json::json;
use std::{convert::Infallible, time::Duration};
use tokio_stream::wrappers::{BroadcastStream, errors::BroadcastStreamRecvError};

/// A comment is sent after this time without an event, so that nobody between takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Server-sent events: `job` for each state that a job reaches, `progress` while one runs, `published` when its release is where
/// other programs look for it, `library` for each change of the library, and `resync` where the listener was too slow and has missed some: it should read `/api/queue` again.
///
/// Whoever is connected misses nothing that happens after the answer's head, so connect first and queue the file then.
#[utoipa::path(
    get,
    path = "/api/queue/events",
    tag = "queue",
    responses(
        (status = 200, description = "The events, until the server ends", body = String, content_type = "text/event-stream"),
        (status = 503, description = "The server is shutting down", body = ErrorBody),
    )
)]
pub(super) async fn events(State(api): State<Api>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let events = BroadcastStream::new(api.engine.events())
        .filter_map(|next| async move { event(next) })
        .map(Ok)
        .take_until(api.stopping.clone().cancelled_owned());
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

fn event(next: Result<Happening, BroadcastStreamRecvError>) -> Option<Event> {
    let (name, data) = match next {
        Ok(Happening::Job {
            id,
            state,
            file_name,
            destination,
            attempts,
            failure,
        }) => (
            "job",
            json!({
                "queue_id": id,
                "state": state,
                "file_name": file_name,
                "destination": destination.to_string(),
                "attempts": attempts,
                "failure": failure.map(FailureView::from),
            }),
        ),
        Ok(Happening::Progress { id, progress }) => (
            "progress",
            json!({
                "queue_id": id,
                "stage": progress.stage,
                "done": progress.done,
                "total": progress.total,
                "articles": progress.articles,
            }),
        ),
        Ok(Happening::Library { change, path, from }) => (
            "library",
            json!({"change": change, "path": path.to_string(), "from": from.map(|path| path.to_string())}),
        ),
        Ok(Happening::Published { id, storage }) => {
            ("published", json!({"queue_id": id, "storage": storage}))
        }
        Ok(_) => return None,
        Err(BroadcastStreamRecvError::Lagged(missed)) => ("resync", json!({"missed": missed})),
    };
    Some(Event::default().event(name).data(data.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use altmount_model::JobId;

    #[test]
    fn a_slow_listener_is_told_to_read_again() {
        assert!(event(Err(BroadcastStreamRecvError::Lagged(7))).is_some());
        let progress = Happening::Progress {
            id: JobId(3),
            progress: altmount_engine::ImportProgress::default(),
        };
        let shown = format!("{:?}", event(Ok(progress)).expect("an event"));
        assert!(
            shown.contains("progress") && shown.contains("queue_id"),
            "{shown}"
        );
    }
}
