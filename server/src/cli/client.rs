//! A client of a running server, as scripts are: the public endpoints and nothing else.

use anyhow::{Context, Result, anyhow, bail};
use futures::{Stream, StreamExt};
use reqwest::{Response, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use std::{path::Path, time::Duration};

/// For connecting alone: an import takes as long as it takes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest line of an event stream, in bytes.
const MAX_LINE: usize = 1 << 20;

/// One server and its key.
#[derive(Clone, Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    base: Url,
    key: SecretString,
}

/// How an import ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Its files are in this folder of the library.
    Completed {
        /// The folder.
        destination: String,
    },
    /// It failed.
    Failed {
        /// The failure's kind.
        kind: String,
        /// What happened.
        message: String,
    },
    /// Somebody cancelled it.
    Cancelled,
}

/// What is said of a file beside where it is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wish<'a> {
    /// Path that is cut off the front of the file's path.
    pub(super) relative_path: Option<&'a str>,
    /// Password of the release's archives.
    pub(super) password: Option<&'a str>,
}

/// What is heard of an import while it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It is in the queue, as this job.
    Queued(i64),
    /// It was started.
    Started,
    /// It is tried again later, for this reason.
    Waits(String),
    /// It is this far.
    Progress {
        /// What it is doing, in the API's word.
        stage: String,
        /// How much is done.
        done: u64,
        /// Of how much; 0 where that is not known.
        total: u64,
        /// How many articles are listed, read and asked for.
        articles: [u64; 3],
    },
}

impl Client {
    pub(super) fn new(base: &str, key: SecretString) -> Result<Self> {
        crate::app::install_crypto();
        let base: Url = base
            .parse()
            .with_context(|| format!("'{base}' is no address; it looks like http://127.0.0.1:8080"))?;
        let mut http = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT);
        if base
            .host_str()
            .is_some_and(|host| host == "127.0.0.1" || host == "[::1]")
        {
            // A proxy of the environment is for other machines.
            http = http.no_proxy();
        }
        let http = http.build()?;
        Ok(Self { http, base, key })
    }

    fn url(&self, path: &str) -> Result<Url> {
        Ok(self.base.join(path)?)
    }

    /// Sends a request with the key and refuses what is no success, in the server's own words.
    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Response> {
        let sent = request.header("X-Api-Key", self.key.expose_secret()).send();
        let response = sent.await.map_err(|error| {
            let error = error.without_url();
            anyhow!(error).context(format!("no answer from {}; is the server running?", self.base))
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body: Value = response.json().await.unwrap_or_default();
        let text = |name: &str| body["error"][name].as_str().unwrap_or_default().to_owned();
        bail!("{} ({}): {}", text("message"), status.as_u16(), text("details"));
    }

    /// The `data` of a `GET`.
    pub(super) async fn get(&self, path: &str) -> Result<Value> {
        let mut body: Value = self.send(self.http.get(self.url(path)?)).await?.json().await?;
        Ok(body["data"].take())
    }

    /// The `data` of the answer to a `DELETE`.
    pub(super) async fn delete(&self, path: &str) -> Result<Value> {
        let mut body: Value = self.send(self.http.delete(self.url(path)?)).await?.json().await?;
        Ok(body["data"].take())
    }

    /// Writes the body of an answer to a file.
    pub(super) async fn save(&self, method: &str, path: &str, mut file: &std::fs::File) -> Result<()> {
        use std::io::Write;
        let request = self.http.request(method.parse()?, self.url(path)?);
        let mut body = self.send(request).await?.bytes_stream();
        while let Some(chunk) = body.next().await {
            let chunk =
                chunk.map_err(|error| anyhow!(error.without_url()).context("the answer broke off"))?;
            file.write_all(&chunk)?;
        }
        Ok(())
    }

    /// The `data` of a request with a body.
    pub(super) async fn send_json(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let request = self.http.request(method.parse()?, self.url(path)?).json(body);
        let mut body: Value = self.send(request).await?.json().await?;
        Ok(body["data"].take())
    }

    /// Queues a file and follows it to its end.
    pub(super) async fn import(
        &self,
        file: &Path,
        wish: &Wish<'_>,
        mut hear: impl FnMut(News),
    ) -> Result<Outcome> {
        let file = file
            .to_str()
            .context("the file's path is not UTF-8, which JSON needs")?;
        // First the events, then the file: nothing that happens to it can be missed.
        let events = self.send(self.http.get(self.url("/api/queue/events")?)).await?;
        let mut events = Box::pin(events_of(events.bytes_stream()));
        let body = json!({"file_path": file, "relative_path": wish.relative_path, "password": wish.password});
        let accepted = self.http.post(self.url("/api/import/file")?).json(&body);
        let accepted: Value = self.send(accepted).await?.json().await?;
        let id = accepted["data"]["queue_id"]
            .as_i64()
            .context("the server's answer has no queue_id")?;
        hear(News::Queued(id));
        while let Some(event) = events.next().await {
            let (name, data) = event?;
            if name == "resync" {
                let job = self.get(&format!("/api/queue/{id}")).await?;
                if let Some(outcome) = outcome(&job) {
                    return Ok(outcome);
                }
                continue;
            }
            if data["queue_id"].as_i64() != Some(id) {
                continue;
            }
            match (name.as_str(), data["state"].as_str()) {
                ("progress", _) => {
                    let articles = &data["articles"];
                    let count = |number: &Value| number.as_u64().unwrap_or(0);
                    hear(News::Progress {
                        stage: data["stage"].as_str().unwrap_or_default().to_owned(),
                        done: count(&data["done"]),
                        total: count(&data["total"]),
                        articles: ["listed", "read", "checked"].map(|name| count(&articles[name])),
                    });
                }
                ("job", Some("running")) => hear(News::Started),
                ("job", Some("queued")) => {
                    if let Some(message) = data["failure"]["message"].as_str() {
                        hear(News::Waits(message.to_owned()));
                    }
                }
                ("job", _) => {
                    if let Some(outcome) = outcome(&data) {
                        return Ok(outcome);
                    }
                }
                _ => {}
            }
        }
        bail!("the server ended while job {id} was under way; it goes on with the server's next start")
    }
}

/// How a job ended, where it has.
fn outcome(job: &Value) -> Option<Outcome> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match job["state"].as_str()? {
        "completed" => Some(Outcome::Completed {
            destination: text(&job["destination"]),
        }),
        "failed" => Some(Outcome::Failed {
            kind: text(&job["failure"]["kind"]),
            message: text(&job["failure"]["message"]),
        }),
        "cancelled" => Some(Outcome::Cancelled),
        _ => None,
    }
}

/// Server-sent events as (name, data).
fn events_of<E>(
    bytes: impl Stream<Item = Result<bytes::Bytes, E>> + Send,
) -> impl Stream<Item = Result<(String, Value)>> + Send
where
    E: std::error::Error + Send + Sync + 'static,
{
    let state = (Box::pin(bytes), Lines::default());
    futures::stream::unfold(state, |(mut bytes, mut lines)| async move {
        loop {
            match lines.next_event() {
                Ok(Some(event)) => return Some((Ok(event), (bytes, lines))),
                Ok(None) => {}
                Err(error) => return Some((Err(error), (bytes, lines))),
            }
            match bytes.next().await {
                Some(Ok(more)) => lines.buffer.extend_from_slice(&more),
                Some(Err(error)) => {
                    let error = anyhow!(error).context("the event stream broke off");
                    return Some((Err(error), (bytes, lines)));
                }
                None => return None,
            }
        }
    })
}

#[derive(Default)]
struct Lines {
    buffer: Vec<u8>,
    name: String,
    data: String,
}

impl Lines {
    /// The next event that is whole; the rest of the buffer stays.
    fn next_event(&mut self) -> Result<Option<(String, Value)>> {
        while let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\r', '\n']);
            if let Some(name) = line.strip_prefix("event:") {
                self.name = name.trim_start().to_owned();
            } else if let Some(data) = line.strip_prefix("data:") {
                self.data.push_str(data.trim_start());
            } else if line.is_empty() && !self.data.is_empty() {
                let data = std::mem::take(&mut self.data);
                let name = std::mem::take(&mut self.name);
                return Ok(Some((name, serde_json::from_str(&data)?)));
            }
        }
        if self.buffer.len() + self.data.len() > MAX_LINE {
            bail!("the event stream has a line of over {MAX_LINE} bytes");
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    #[tokio::test]
    async fn events_are_put_together_from_any_pieces() {
        let text = ": keep-alive\n\nevent: job\ndata: {\"queue_id\":1,\ndata: \"state\":\"failed\"}\n\n\
                    event: progress\r\ndata: {\"done\":2}\r\n\r\n";
        for size in [1, 3, 7, text.len()] {
            let pieces = text
                .as_bytes()
                .chunks(size)
                .map(|c| Ok::<_, Infallible>(bytes::Bytes::copy_from_slice(c)));
            let pieces: Vec<_> = pieces.collect();
            let events: Vec<_> = events_of(futures::stream::iter(pieces))
                .map(|e| e.expect("an event"))
                .collect()
                .await;
            assert_eq!(
                events,
                [
                    ("job".to_owned(), json!({"queue_id": 1, "state": "failed"})),
                    ("progress".to_owned(), json!({"done": 2})),
                ]
            );
        }
    }

    #[tokio::test]
    async fn an_endless_line_is_an_error() {
        let piece = bytes::Bytes::from(vec![b'x'; MAX_LINE / 2 + 1]);
        let pieces = futures::stream::repeat(Ok::<_, Infallible>(piece));
        let first = Box::pin(events_of(pieces)).next().await.expect("an item");
        assert!(first.is_err());
    }

    #[test]
    fn outcomes_are_the_final_states() {
        let failed = json!({"state": "failed", "failure": {"kind": "missing", "message": "gone"}});
        assert!(matches!(outcome(&failed), Some(Outcome::Failed { kind, .. }) if kind == "missing"));
        assert_eq!(outcome(&json!({"state": "cancelled"})), Some(Outcome::Cancelled));
        assert_eq!(outcome(&json!({"state": "running"})), None);
        assert_eq!(outcome(&json!({})), None);
    }
}
