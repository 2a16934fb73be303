//! The real server in this process: its router as it is served, a news server double behind it, a data directory that goes
//! with the test.

use altmount::app::App;
use altmount::config::{Config, Editor, Provider, Settings, Sources};
use altmount::data::DataDir;
use altmount::plugins::Reread;
use altmount_engine::{Job, JobState};
use altmount_model::JobId;
use altmount_newsd::{Newsd, Release};
use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use std::path::{Path, PathBuf};
use tower::ServiceExt;

pub(crate) const KEY: &str = "0123456789abcdef0123456789abcdef";
pub(crate) const USER: &str = "altmount";
pub(crate) const PASSWORD: &str = "webdav-pass:word";

pub(crate) struct Server {
    pub(crate) app: App,
    pub(crate) newsd: Newsd,
    pub(crate) folder: tempfile::TempDir,
    settings: Settings,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().expect("text"))
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), "application/json", "{self:?}");
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// The message of a failure, which has both members, are texts, and nothing else.
    #[track_caller]
    pub(crate) fn failure(&self, status: u16) -> (String, String) {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        let body = self.json();
        let text = |name: &str| body["error"][name].as_str().expect("a text").to_owned();
        let (message, details) = (text("message"), text("details"));
        assert!(!message.is_empty() && !details.is_empty(), "{body}");
        assert_eq!(
            body,
            serde_json::json!({"error": {"message": message, "details": details}})
        );
        (message, details)
    }
}

pub(crate) async fn read(response: Response<Body>) -> Answer {
    let (head, body) = response.into_parts();
    Answer {
        status: head.status,
        headers: head.headers,
        body: body.collect().await.expect("a whole body").to_bytes().to_vec(),
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::in_folder(|config, _| change(config)).await
    }

    /// With a configuration that names folders of the test's own.
    pub(crate) async fn in_folder(change: impl FnOnce(&mut Config, &Path)) -> Self {
        let newsd = Newsd::builder().start().await.expect("newsd starts");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("in")).expect("made");
        let provider = Provider {
            host: newsd.host(),
            port: Some(newsd.port()),
            tls: false,
            max_connections: 4,
            ..Provider::default()
        };
        let mut config = Config {
            providers: vec![provider],
            ..Config::default()
        };
        config.webdav.password = Some(PASSWORD.into());
        config.import.max_attempts = 1;
        change(&mut config, folder.path());
        let settings: Settings = config.resolve().expect("a valid configuration");
        let data = data(folder.path());
        let app = App::start(settings.clone(), &data)
            .await
            .expect("the server starts");
        Self {
            app,
            newsd,
            folder,
            settings,
        }
    }

    /// With a configuration file, which the server may change: these lines, and a way to the news server.
    pub(crate) async fn with_file(yaml: &str) -> Self {
        altmount::app::install_crypto();
        let newsd = Newsd::builder().start().await.expect("newsd starts");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("in")).expect("made");
        let data = data(folder.path());
        let path = data.config_file();
        let (host, port) = (newsd.host(), newsd.port());
        let provider = format!(
            "providers:\n  - host: {host}\n    port: {port}\n    tls: false\n    max_connections: 4\n"
        );
        std::fs::write(&path, format!("{yaml}{provider}")).expect("written");
        let at = path.clone();
        let read = move || -> Result<Settings, altmount::config::ConfigError> {
            Sources::default().with_file(&at, true)?.load()?.resolve()
        };
        let settings = read().expect("a valid configuration");
        let reread = Reread::new(move || Ok(read()?)).with_file(Editor::new(path, Sources::default()));
        let app = App::start_with(settings.clone(), &data, reread).await;
        Self {
            app: app.expect("the server starts"),
            newsd,
            folder,
            settings,
        }
    }

    /// The configuration file.
    pub(crate) fn config(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("data/config.yaml")).expect("read")
    }

    /// The same server after an orderly end and a new start.
    pub(crate) async fn restarted(self) -> Self {
        let Self {
            app,
            newsd,
            folder,
            settings,
        } = self;
        app.shutdown().await;
        let app = App::start(settings.clone(), &data(folder.path())).await;
        Self {
            app: app.expect("the server starts again"),
            newsd,
            folder,
            settings,
        }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn router(&self) -> Router {
        self.app.router()
    }

    /// A file below the folder that files are imported from.
    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.folder.path().join("in").join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(&path, bytes).expect("written");
        text(&path)
    }

    /// Posts a release and writes its NZB.
    pub(crate) fn post(&self, release: &Release) -> String {
        self.newsd.add(release);
        self.write(&format!("{}.nzb", release.name()), release.nzb())
    }

    pub(crate) async fn raw(&self, request: Request<Body>) -> Response<Body> {
        self.router().oneshot(request).await.expect("infallible")
    }

    /// A request to the API with the key in the header.
    pub(crate) async fn api(&self, method: &str, uri: &str, body: Option<Value>) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .header("X-Api-Key", KEY);
        let body = match body {
            Some(body) => {
                request = request.header("Content-Type", "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        read(self.raw(request.body(body).expect("a request")).await).await
    }

    pub(crate) async fn get(&self, uri: &str) -> Answer {
        self.api("GET", uri, None).await
    }

    pub(crate) async fn get_with(&self, uri: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::builder().uri(uri).header("X-Api-Key", KEY);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        read(self.raw(request.body(Body::empty()).expect("a request")).await).await
    }

    /// A WebDAV request with the right user and password.
    pub(crate) async fn dav(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/webdav{path}"))
            .header("Authorization", basic(USER, PASSWORD));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).expect("a request");
        read(self.raw(request).await).await
    }

    /// Queues a file through the endpoint.
    pub(crate) async fn submit(&self, path: &str) -> JobId {
        let answer = self
            .api(
                "POST",
                "/api/import/file",
                Some(serde_json::json!({"file_path": path})),
            )
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        JobId(answer.json()["data"]["queue_id"].as_i64().expect("an id"))
    }

    /// The job as it is now.
    pub(crate) async fn job(&self, id: JobId) -> Job {
        let job = self.app.engine().imports().job(id).await;
        job.expect("reads").expect("is there")
    }

    pub(crate) async fn wait(&self, id: JobId) -> Job {
        let job = self
            .app
            .engine()
            .imports()
            .wait(id)
            .await
            .expect("the store answers");
        job.expect("the job is there")
    }

    /// Queues a file and waits for its import.
    pub(crate) async fn import(&self, path: &str) -> Job {
        let job = self.wait(self.submit(path).await).await;
        assert_eq!(job.state, JobState::Completed, "{:?}", job.failure);
        job
    }

    /// The id of a file of the library.
    pub(crate) async fn file_id(&self, path: &str) -> i64 {
        let path = altmount_model::VPath::new(path).expect("a path");
        let entry = self
            .app
            .engine()
            .library()
            .lookup(&path)
            .await
            .expect("the store answers");
        entry.unwrap_or_else(|| panic!("there is no {path}")).id.0
    }

    /// A text in which what differs from run to run is named: this server's folder, and times.
    pub(crate) fn plain(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = text.replace(&self::text(self.folder.path()), "[folder]"),
            Value::Array(values) => values.iter_mut().for_each(|value| self.plain(value)),
            Value::Object(map) => {
                for (name, value) in map {
                    match value {
                        Value::String(time) if name.ends_with("_at") => {
                            time.parse::<jiff::Timestamp>().expect("RFC 3339");
                            *time = "[time]".to_owned();
                        }
                        value => self.plain(value),
                    }
                }
            }
            _ => {}
        }
    }
}

pub(crate) fn data(folder: &Path) -> DataDir {
    let path: PathBuf = folder.join("data");
    let data = DataDir::locate(Some(&path)).expect("located");
    data.create().expect("made");
    std::fs::write(data.key_file(), KEY).expect("written");
    data
}

pub(crate) fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
}

pub(crate) fn basic(user: &str, password: &str) -> String {
    use base64::Engine as _;
    let pair = base64::prelude::BASE64_STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {pair}")
}
