//! A file of the library as an answer.

use super::{Client, Facts, Refusal, Stream, Streams, respond};
use altmount_engine::{Class, Entry, Library, OpenError};
use axum::body::Body;
use http::{HeaderMap, Method, Response, header};
use std::sync::{Arc, OnceLock, Weak};

/// How often an answer starts anew where a re-import replaces the file while it is put together.
const TRIES: usize = 5;

/// How much of a `Range` header is shown, in characters.
const MAX_RANGE_TEXT: usize = 100;

/// Why a file could not be opened for an answer.
#[derive(Debug)]
pub enum OpenFault {
    /// The library says no.
    Library(OpenError),
    /// It is another file by now: its tag and length are not those that the answer's head would have.
    Changed(Box<Entry>),
}

/// Answers a `GET` or `HEAD` of `entry`, with head and bytes of one state of the file. Its article tables are loaded where its
/// bytes are, and by nothing before that. While it is read it is one of the `streams`.
///
/// # Errors
/// What is known of the file, for logs, and why there is no answer.
pub async fn serve(
    library: &Library,
    mut entry: Entry,
    method: &Method,
    headers: &HeaderMap,
    streams: &Streams,
    client: Client,
) -> Result<Response<Body>, (Facts, Refusal<OpenFault>)> {
    let mut tries = 0;
    loop {
        let facts = Facts::from(&entry);
        let opened = OnceLock::new();
        let answer = respond(method, headers, &facts, || async {
            let file = library
                .open(entry.id, Class::Playback)
                .await
                .map_err(OpenFault::Library)?;
            if file.entry.etag != entry.etag || file.entry.size != entry.size {
                return Err(OpenFault::Changed(Box::new(file.entry.clone())));
            }
            opened.get_or_init(|| Arc::downgrade(&file.reader));
            Ok(Arc::clone(&file.reader))
        });
        tries += 1;
        match answer.await {
            Err(Refusal::Open(OpenFault::Changed(now))) if tries < TRIES => entry = *now,
            Ok(response) if *method == Method::GET && response.status().is_success() => {
                let range = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
                let stream = Stream {
                    id: 0,
                    file: entry.id.0,
                    name: entry.name,
                    size: entry.size,
                    client,
                    range: range.map(|range| range.chars().take(MAX_RANGE_TEXT).collect()),
                    since_ms: altmount_store::now_ms(),
                    sent: 0,
                    rate: 0,
                    buffered: 0,
                };
                let reader = opened.get().map_or_else(Weak::new, Weak::clone);
                return Ok(streams.watch(stream, reader, response));
            }
            answer => return answer.map_err(|refusal| (facts, refusal)),
        }
    }
}
