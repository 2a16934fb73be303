//! The REST side of the double: what an *arr answers to whoever has its API key, and what it does then.
//!
//! It keeps download clients, webhooks, a queue, a history and files, and behaves as the applications do where that matters:
//! secrets are masked in answers and kept where the mask comes back, names are unique, a webhook that is saved is tried at
//! once, marking a grab as failed blocklists it and searches, and a removed queue row takes the others of its download with
//! it. HTTP/1.1, one request for each connection, which is all that its users need.

mod wire;

pub use wire::tell;

use serde_json::{Value, json};
use std::{
    io::{self, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};
use wire::{Request, read};

/// What stands for a secret in an answer.
pub const MASK: &str = "********";

/// What differs between the applications.
#[derive(Clone, Copy, Debug)]
pub struct App {
    /// `appName`.
    pub name: &'static str,
    /// `version`.
    pub version: &'static str,
    /// `v3` or `v1`.
    pub api: &'static str,
    /// The field with the category.
    pub category: &'static str,
    /// The route of its files.
    pub files: &'static str,
    /// The route of what files are parts of, and the member that names one.
    pub parents: (&'static str, &'static str),
    /// The member that names the thing which a download is for.
    pub thing: &'static str,
    /// The search command and its parameter.
    pub search: (&'static str, &'static str),
    /// What its history calls the import of a file.
    pub imported: &'static str,
}

/// Sonarr.
pub const SONARR: App = App {
    name: "Sonarr",
    version: "4.0.9.2244",
    api: "v3",
    category: "tvCategory",
    files: "episodefile",
    parents: ("series", "seriesId"),
    thing: "episodeId",
    search: ("EpisodeSearch", "episodeIds"),
    imported: "downloadFolderImported",
};
/// Radarr.
pub const RADARR: App = App {
    name: "Radarr",
    version: "5.11.0.9244",
    category: "movieCategory",
    files: "moviefile",
    parents: ("movie", "movieId"),
    thing: "movieId",
    search: ("MoviesSearch", "movieIds"),
    ..SONARR
};
/// Lidarr.
pub const LIDARR: App = App {
    name: "Lidarr",
    version: "2.5.3.4341",
    api: "v1",
    category: "musicCategory",
    files: "trackfile",
    parents: ("artist", "artistId"),
    thing: "albumId",
    search: ("AlbumSearch", "albumIds"),
    imported: "trackFileImported",
};
/// Readarr.
pub const READARR: App = App {
    name: "Readarr",
    version: "0.4.1.2648",
    files: "bookfile",
    parents: ("author", "authorId"),
    thing: "bookId",
    search: ("BookSearch", "bookIds"),
    imported: "bookFileImported",
    ..LIDARR
};
/// Whisparr 2, a fork of Sonarr.
pub const WHISPARR: App = App {
    name: "Whisparr",
    version: "2.0.0.548",
    ..SONARR
};
/// Whisparr 3, a fork of Radarr.
pub const WHISPARR_V3: App = App {
    name: "Whisparr",
    version: "3.0.0.694",
    ..RADARR
};

/// What it has.
#[derive(Debug, Default)]
pub struct State {
    /// Requests as `METHOD path?query`, those without the right key included.
    pub requests: Vec<String>,
    /// Download clients, with their secrets.
    pub clients: Vec<Value>,
    /// Webhooks, with their secrets.
    pub hooks: Vec<Value>,
    /// Rows of the queue.
    pub queue: Vec<Value>,
    /// Records of the history.
    pub history: Vec<Value>,
    /// Files.
    pub files: Vec<Value>,
    /// Series, films, artists or authors.
    pub parents: Vec<Value>,
    /// Episodes, with the file of each.
    pub episodes: Vec<Value>,
    /// Download ids that are blocklisted.
    pub blocklist: Vec<String>,
    /// Commands that were given to it, and those that it gave itself.
    pub commands: Vec<Value>,
    /// Whether it searches itself when a download failed.
    pub searches_itself: bool,
    /// Answers 503 to everything.
    pub down: bool,
    /// Refuses the API key with this status.
    pub refuses: Option<u16>,
    /// Refuses to save a webhook, as where it cannot reach its address.
    pub refuses_hooks: bool,
}

impl State {
    /// The entries of a route that has settings.
    fn entries(&mut self, route: &str) -> &mut Vec<Value> {
        match route {
            "downloadclient" => &mut self.clients,
            _ => &mut self.hooks,
        }
    }
}

struct Inner {
    app: App,
    key: String,
    state: Mutex<State>,
    changed: Condvar,
    stop: AtomicBool,
}

/// A running double.
pub struct Rest {
    address: SocketAddr,
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Rest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rest")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        self.inner.stop.store(true, Ordering::SeqCst);
        // So that it looks.
        let _gone = TcpStream::connect(self.address);
    }
}

impl Rest {
    /// Starts one that takes this key, on a port of its own.
    ///
    /// # Errors
    /// Where no port can be had.
    pub fn start(app: App, key: &str) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let inner = Arc::new(Inner {
            app,
            key: key.to_owned(),
            state: Mutex::default(),
            changed: Condvar::new(),
            stop: AtomicBool::new(false),
        });
        let shared = Arc::clone(&inner);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.stop.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(stream), inner) = (stream, Arc::clone(&shared)) else {
                    continue;
                };
                thread::spawn(move || inner.serve(stream));
            }
        });
        Ok(Self { address, inner })
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it has, to look at and to change.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state()
    }

    /// Waits until `wanted` holds, for at most half a minute; answers whether it does.
    pub fn wait(&self, wanted: impl Fn(&State) -> bool) -> bool {
        let state = self.state();
        let limit = Duration::from_secs(30);
        let waited = self
            .inner
            .changed
            .wait_timeout_while(state, limit, |state| !wanted(state));
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

fn fault(property: &str, message: &str) -> (u16, Value) {
    (
        400,
        json!([{"propertyName": property, "errorMessage": message, "severity": "error"}]),
    )
}

fn field<'a>(entry: &'a Value, name: &str) -> &'a Value {
    let fields = entry["fields"].as_array().map(Vec::as_slice).unwrap_or_default();
    fields
        .iter()
        .find(|field| field["name"] == name)
        .map_or(&Value::Null, |field| &field["value"])
}

/// An entry as it is shown.
fn masked(entry: &Value) -> Value {
    let mut shown = entry.clone();
    for field in shown["fields"].as_array_mut().into_iter().flatten() {
        let secret = field["name"]
            .as_str()
            .is_some_and(|name| matches!(name, "apiKey" | "password"));
        if secret && field["value"].as_str().is_some_and(|value| !value.is_empty()) {
            field["value"] = json!(MASK);
        }
    }
    shown
}

/// An entry that was sent, with the secrets that were kept where the mask came back.
fn unmasked(sent: &Value, kept: &Value) -> Value {
    let mut entry = sent.clone();
    for at in entry["fields"].as_array_mut().into_iter().flatten() {
        if at["value"] == MASK {
            let name = at["name"].as_str().unwrap_or_default().to_owned();
            at["value"] = field(kept, &name).clone();
        }
    }
    entry
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, mut stream: TcpStream) {
        let Ok(request) = read(&stream) else { return };
        let right = request.key.as_deref() == Some(&self.key);
        let (down, refuses) = {
            let mut state = self.state();
            state.requests.push(request.line.clone());
            (state.down, state.refuses)
        };
        let (status, body) = match (down, refuses, right) {
            (true, ..) => (503, json!({"message": "starting"})),
            (_, Some(status), _) => (status, json!({"error": "Unauthorized"})),
            (_, _, false) => (401, json!({"error": "Unauthorized"})),
            _ => self.answer(&request),
        };
        self.changed.notify_all();
        let text = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            text.len()
        );
        let _gone = stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(text.as_bytes()));
    }

    fn answer(&self, request: &Request) -> (u16, Value) {
        let Some(path) = request.path.strip_prefix(&format!("/api/{}/", self.app.api)) else {
            return (404, json!({"message": "NotFound"}));
        };
        let (route, id) = match path.rsplit_once('/') {
            Some((route, id)) if id.parse::<i64>().is_ok() => (route, id.parse().ok()),
            _ => (path, None),
        };
        match (request.method.as_str(), route, id) {
            ("GET", "system/status", None) => (
                200,
                json!({"appName": self.app.name, "version": self.app.version}),
            ),
            ("GET", "config/downloadclient", None) => {
                (200, json!({"autoRedownloadFailed": self.state().searches_itself}))
            }
            ("GET", "downloadclient", None) => (200, self.state().clients.iter().map(masked).collect()),
            ("GET", "notification", None) => (200, self.state().hooks.iter().map(masked).collect()),
            ("POST" | "PUT", "notification", _) if self.state().refuses_hooks => {
                fault("Url", "Unable to send the test message")
            }
            ("POST", "downloadclient" | "notification", None) => self.save(route, None, &request.body),
            ("PUT", "downloadclient" | "notification", Some(id)) => self.save(route, Some(id), &request.body),
            ("POST", "command", None) => {
                let mut state = self.state();
                state.commands.push(request.body.clone());
                (
                    201,
                    json!({"id": state.commands.len(), "name": request.body["name"], "status": "queued"}),
                )
            }
            ("GET", "queue", None) => self.page(request, &self.state().queue),
            ("DELETE", "queue", Some(id)) => self.remove(request, id),
            ("GET", "history", None) => self.page(request, &self.state().history),
            ("POST", "history/failed", Some(id)) => self.failed(id),
            ("GET", "episode", None) => {
                let file = request
                    .query
                    .get("episodeFileId")
                    .and_then(|id| id.parse::<i64>().ok());
                let state = self.state();
                let of = state
                    .episodes
                    .iter()
                    .filter(|episode| episode["episodeFileId"].as_i64() == file);
                (200, of.cloned().collect())
            }
            ("GET", route, None) if route == self.app.parents.0 => (200, json!(self.state().parents)),
            (method, route, id) if route == self.app.files => self.file(method, id, request),
            _ => (404, json!({"message": "NotFound"})),
        }
    }

    fn file(&self, method: &str, id: Option<i64>, request: &Request) -> (u16, Value) {
        let mut state = self.state();
        let found = state.files.iter().position(|file| file["id"].as_i64() == id);
        match (method, id, found) {
            ("GET", None, _) => {
                let member = self.app.parents.1;
                let wanted = request.query.get(member).and_then(|id| id.parse::<i64>().ok());
                let of = state.files.iter().filter(|file| file[member].as_i64() == wanted);
                (200, of.cloned().collect())
            }
            ("GET", Some(_), Some(at)) => (200, state.files[at].clone()),
            ("DELETE", Some(_), Some(at)) => {
                state.files.remove(at);
                (200, json!({}))
            }
            _ => (404, json!({"message": "NotFound"})),
        }
    }

    /// One page of rows, filtered as it is asked.
    fn page(&self, request: &Request, rows: &[Value]) -> (u16, Value) {
        let number = |name: &str, usual: usize| {
            request
                .query
                .get(name)
                .and_then(|text| text.parse().ok())
                .unwrap_or(usual)
        };
        let (page, size) = (number("page", 1).max(1), number("pageSize", 10));
        let events = ["", "grabbed", "", self.app.imported, "downloadFailed"];
        let event = request
            .query
            .get("eventType")
            .and_then(|text| text.parse::<usize>().ok());
        let of = rows.iter().filter(|row| {
            request
                .query
                .get("downloadId")
                .is_none_or(|id| row["downloadId"] == id.as_str())
                && event.is_none_or(|event| events.get(event).is_some_and(|name| row["eventType"] == *name))
        });
        let of: Vec<&Value> = of.collect();
        let records: Vec<&Value> = of.iter().copied().skip((page - 1) * size).take(size).collect();
        (
            200,
            json!({"page": page, "pageSize": size, "totalRecords": of.len(), "records": records}),
        )
    }

    fn search(&self, state: &mut State, download: &Value) {
        let rows = state
            .history
            .iter()
            .chain(&state.queue)
            .filter(|row| row["downloadId"] == *download);
        let mut things: Vec<i64> = rows.filter_map(|row| row[self.app.thing].as_i64()).collect();
        things.sort_unstable();
        things.dedup();
        let (name, parameter) = self.app.search;
        state
            .commands
            .push(json!({"name": name, parameter: things, "trigger": "automatic"}));
    }

    fn remove(&self, request: &Request, id: i64) -> (u16, Value) {
        let mut state = self.state();
        let Some(row) = state.queue.iter().find(|row| row["id"] == id) else {
            return (404, json!({"message": "NotFound"}));
        };
        let download = row["downloadId"].clone();
        let is = |name: &str| request.query.get(name).is_some_and(|word| word == "true");
        if is("blocklist") {
            state
                .blocklist
                .push(download.as_str().unwrap_or_default().to_owned());
            if !is("skipRedownload") {
                self.search(&mut state, &download);
            }
        }
        state.queue.retain(|row| row["downloadId"] != download);
        (200, json!({}))
    }

    fn failed(&self, id: i64) -> (u16, Value) {
        let mut state = self.state();
        let Some(grabbed) = state.history.iter().find(|row| row["id"] == id).cloned() else {
            return (404, json!({"message": "NotFound"}));
        };
        let mut failed = grabbed.clone();
        failed["id"] = json!(state.history.len() + 1000);
        failed["eventType"] = json!("downloadFailed");
        let download = grabbed["downloadId"].clone();
        state.history.push(failed);
        state
            .blocklist
            .push(download.as_str().unwrap_or_default().to_owned());
        if state.searches_itself {
            self.search(&mut state, &download);
        }
        (200, json!({}))
    }

    fn save(&self, route: &str, id: Option<i64>, sent: &Value) -> (u16, Value) {
        let mut state = self.state();
        let entries = state.entries(route);
        let kept = entries
            .iter()
            .position(|entry| Some(entry["id"].as_i64()) == Some(id) && id.is_some());
        if id.is_some() && kept.is_none() {
            return (404, json!({"message": "NotFound"}));
        }
        if entries
            .iter()
            .any(|other| other["name"] == sent["name"] && other["id"].as_i64() != id)
        {
            return fault("Name", "Should be unique");
        }
        let mut entry = match kept {
            Some(at) => unmasked(sent, &entries[at]),
            None => sent.clone(),
        };
        entry["id"] = json!(id.unwrap_or(entries.len() as i64 + 1));
        drop(state);
        let wrong = match route {
            "downloadclient" => self.wrong_client(&entry),
            _ => wrong_hook(&entry),
        };
        if let Some(wrong) = wrong {
            return wrong;
        }
        let mut state = self.state();
        let entries = state.entries(route);
        match kept {
            Some(at) => entries[at] = entry.clone(),
            None => entries.push(entry.clone()),
        }
        (if id.is_some() { 202 } else { 201 }, masked(&entry))
    }

    fn wrong_client(&self, entry: &Value) -> Option<(u16, Value)> {
        if entry["implementation"] != "Sabnzbd" || entry["configContract"] != "SabnzbdSettings" {
            return Some(fault("Implementation", "is not known"));
        }
        let text = |name: &str| field(entry, name).as_str().is_some_and(|text| !text.is_empty());
        if !text("host") || !text("apiKey") || !text(self.app.category) {
            return Some(fault("Host", "host, API key and category must be there"));
        }
        if field(entry, "port")
            .as_u64()
            .is_none_or(|port| !(1..65536).contains(&port))
        {
            return Some(fault("Port", "must be a port"));
        }
        if !field(entry, "useSsl").is_boolean() {
            return Some(fault("UseSsl", "must be true or false"));
        }
        None
    }
}

/// Saving a webhook tries it, as the applications do.
fn wrong_hook(entry: &Value) -> Option<(u16, Value)> {
    if entry["implementation"] != "Webhook" || entry["configContract"] != "WebhookSettings" {
        return Some(fault("Implementation", "is not known"));
    }
    let message =
        json!({"eventType": "Test", "instanceName": "double", "series": {"id": 1, "title": "Test Title"}});
    match tell(entry, &message) {
        Ok(status) if status < 400 => None,
        Ok(status) => Some(fault(
            "Url",
            &format!("Unable to send test message: HTTP {status}"),
        )),
        Err(error) => Some(fault("Url", &format!("Unable to send test message: {error}"))),
    }
}
