//! A SABnzbd download client, as Sonarr, Radarr and the rest know it: an adapter over the queue.
//!
//! What clients rely on was taken from their own parsers and from a running SABnzbd, and is followed to the letter: an
//! answer is always a JSON object (or XML) with status 200, failures included, since the *arrs ignore the body of
//! anything else; parameters come in the query, a form or a multipart body, and the first of a name counts; there is never
//! a redirect; a status is one of SABnzbd's sixteen words, since one unknown word loses a client the whole list.
//!
//! A job is `Completed` only when its files can be read where `storage` says, and `Moving` until then.

mod add;
mod answer;
mod config;
mod fetch;
mod format;
mod history;
mod meter;
mod nzb;
mod queue;
mod request;
mod status;

pub use fetch::UrlFetcher;
pub use meter::Meter;

use crate::{
    access::Access,
    categories::Categories,
    config::{CategorySettings, SabnzbdSettings},
    live::Live,
    logins::Logins,
    proxy::Proxies,
    throttle::Limiter,
};
use altmount_engine::{Engine, Job, Scope};
use altmount_model::VPath;
use answer::{done, error, respond};
use async_trait::async_trait;
use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    response::Response,
    routing::any,
};
use request::{Bounds, Call};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    net::IpAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::Semaphore;

/// How long a name and a password that were right are not hashed again.
const LOGIN_LASTS: Duration = Duration::from_secs(60);
/// Logins that are remembered.
const MAX_LOGINS: usize = 64;

/// Where releases are: the folder that a category's own is in, and what clients call a path of this machine.
#[derive(Clone)]
pub struct Roots {
    of_category: Arc<OfCategory>,
    for_clients: Arc<ForClients>,
}

type OfCategory = dyn Fn(Option<&str>) -> String + Send + Sync;
type ForClients = dyn Fn(&str) -> String + Send + Sync;

/// Removes what was made for a job beside the library, when a client deletes its entry with its files.
#[async_trait]
pub trait Discard: std::fmt::Debug + Send + Sync {
    /// Removes what is still there of it. The release itself stays.
    async fn discard(&self, job: &Job);
}

impl Roots {
    /// These rules.
    pub fn new(
        of_category: impl Fn(Option<&str>) -> String + Send + Sync + 'static,
        for_clients: impl Fn(&str) -> String + Send + Sync + 'static,
    ) -> Self {
        Self {
            of_category: Arc::new(of_category),
            for_clients: Arc::new(for_clients),
        }
    }

    /// A category's root as clients call it.
    fn of(&self, category: Option<&str>) -> String {
        self.theirs(&self.ours(category))
    }

    /// A category's root on this machine.
    fn ours(&self, category: Option<&str>) -> String {
        (self.of_category)(category)
    }

    /// What clients call a path of this machine.
    fn theirs(&self, path: &str) -> String {
        (self.for_clients)(path)
    }

    /// A path below one of them, in the way of writing that it has.
    fn below(root: &str, path: &VPath) -> String {
        let separator = if root.contains('\\') { "\\" } else { "/" };
        let mut below = root.trim_end_matches(['/', '\\']).to_owned();
        for name in path.components() {
            below.push_str(separator);
            below.push_str(name);
        }
        if below.is_empty() { "/".to_owned() } else { below }
    }
}

impl std::fmt::Debug for Roots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Roots({})", self.of(None))
    }
}

/// What the composition gives.
#[derive(Debug)]
pub struct Parts {
    /// The engine.
    pub engine: Arc<Engine>,
    /// The keys.
    pub access: Access,
    /// The settings.
    pub settings: SabnzbdSettings,
    /// The categories, `*` left out.
    pub categories: Categories,
    /// Where categories can be changed.
    pub live: Live,
    /// Where releases are.
    pub roots: Roots,
    /// Who removes what was made for a job.
    pub discard: Arc<dyn Discard>,
    /// What the news servers gave.
    pub meter: Arc<Meter>,
    /// How fast imports may be.
    pub limiter: Arc<Limiter>,
    /// Whose word on a client is taken.
    pub proxies: Proxies,
    /// Bytes of the largest file that is queued.
    pub max_file: u64,
    /// For the next piece of a request.
    pub patience: Duration,
    /// Where everything is kept; its disk is the one whose room is told.
    pub data_dir: PathBuf,
}

/// The API.
#[derive(Clone, Debug)]
pub struct Sabnzbd(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    parts: Parts,
    bounds: Bounds,
    started: Instant,
    /// What a person should know of.
    warnings: Mutex<status::Warnings>,
    /// Counts changes of the history, for clients that ask whether there was one.
    changes: AtomicU64,
    /// SHA-256 of name and password -> when it was right.
    logins: Mutex<HashMap<[u8; 32], Instant>>,
    /// Names and passwords that were tried.
    tries: Logins,
}

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    Nobody,
    Wrong,
    /// Tried names and passwords too often, and has to wait so long.
    Waits(Duration),
    /// May add.
    Adds,
    /// May do everything.
    All,
}

impl Sabnzbd {
    /// The API over these parts.
    pub async fn start(parts: Parts) -> Self {
        let bounds = Bounds {
            max_file: parts.max_file,
            patience: parts.patience,
            memory: Arc::new(Semaphore::new(
                usize::try_from(parts.max_file / 1024 + 2048)
                    .unwrap_or(Semaphore::MAX_PERMITS)
                    .min(Semaphore::MAX_PERMITS),
            )),
        };
        if let Ok(Some(rate)) = parts.engine.imports().setting(status::SPEED).await {
            parts.limiter.set(rate.parse().unwrap_or(0));
        }
        Self(Arc::new(Inner {
            parts,
            bounds,
            started: Instant::now(),
            warnings: Mutex::default(),
            changes: AtomicU64::new(1),
            logins: Mutex::default(),
            tries: Logins::default(),
        }))
    }

    /// The routes: `/api` and the one below the configured base, each with and without a slash at its end.
    pub fn router(&self) -> Router {
        let base = &self.0.parts.settings.url_base;
        let mut router = Router::new().route("/api", any(serve)).route("/api/", any(serve));
        if !base.is_empty() {
            router = router
                .route(&format!("{base}/api"), any(serve))
                .route(&format!("{base}/api/"), any(serve));
        }
        // The body has bounds of its own.
        router.layer(DefaultBodyLimit::disable()).with_state(self.clone())
    }

    fn engine(&self) -> &Engine {
        &self.0.parts.engine
    }

    fn settings(&self) -> &SabnzbdSettings {
        &self.0.parts.settings
    }

    /// The category of this name, by the bytes of its name.
    fn category(&self, name: &str) -> Option<CategorySettings> {
        self.0.parts.categories.get(name)
    }

    /// Who calls.
    async fn caller(&self, call: &Call) -> Caller {
        let key = call.text("apikey").or(call.header_key.as_deref());
        if let Some(key) = key {
            return match self.0.parts.access.scope_of(key.as_bytes()) {
                Some(Scope::Admin | Scope::Sabnzbd) => Caller::All,
                Some(Scope::Nzb) => Caller::Adds,
                _ => Caller::Wrong,
            };
        }
        let (Some(name), Some(password)) = (call.text("ma_username"), call.text("ma_password")) else {
            return Caller::Nobody;
        };
        self.login(name, password, call.address).await
    }

    /// Who has this name and password. Hashing a password is slow on purpose, and clients call each minute.
    async fn login(&self, name: &str, password: &str, address: Option<IpAddr>) -> Caller {
        let mut hasher = Sha256::new();
        hasher.update((name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
        hasher.update(password.as_bytes());
        let hash: [u8; 32] = hasher.finalize().into();
        let logins = || self.0.logins.lock().unwrap_or_else(PoisonError::into_inner);
        let remembered = logins().get(&hash).is_some_and(|at| at.elapsed() < LOGIN_LASTS);
        if remembered {
            return Caller::All;
        }
        let tries = &self.0.tries;
        if let Err(wait) = tries.begin(address, name, Instant::now()) {
            return Caller::Waits(wait);
        }
        if !matches!(self.engine().users().verify(name, password).await, Ok(Some(_))) {
            let client = address.map_or_else(|| "unknown".to_owned(), |address| address.to_string());
            tracing::warn!(client.address = client, "a login at the SABnzbd API failed");
            return Caller::Wrong;
        }
        tries.succeeded(address, name);
        let mut logins = logins();
        logins.retain(|_, at| at.elapsed() < LOGIN_LASTS);
        if logins.len() < MAX_LOGINS {
            logins.insert(hash, Instant::now());
        }
        Caller::All
    }

    async fn answer(&self, call: &Call) -> Value {
        let mode = call.text("mode").unwrap_or_default();
        match mode {
            "version" => return json!({"version": self.settings().version}),
            "auth" => return self.auth(call).await,
            _ => {}
        }
        match (self.caller(call).await, mode) {
            (Caller::Nobody, _) => return error("API Key Required"),
            (Caller::Waits(wait), _) => {
                let minutes = wait.as_secs().div_ceil(60).max(1);
                return error(format!(
                    "too many wrong names and passwords; wait {minutes} min, and mend the one in this client"
                ));
            }
            (Caller::All, _) | (Caller::Adds, "addfile" | "addurl" | "addlocalfile") => {}
            // The words that a client looks for, and only these.
            _ => return error("API Key Incorrect"),
        }
        let answered = self.dispatch(mode, call).await;
        answered.unwrap_or_else(|failed| {
            tracing::error!(
                "the SABnzbd API cannot answer '{}': {failed}",
                request::shown(mode)
            );
            error("the server failed; its log has the cause")
        })
    }

    async fn auth(&self, call: &Call) -> Value {
        let key = call.text("apikey").or(call.header_key.as_deref());
        let word = match (key, self.caller(call).await) {
            (Some(_), Caller::Wrong) => "badkey",
            (Some(_), Caller::Adds) => "nzbkey",
            _ => "apikey",
        };
        json!({"auth": word})
    }

    async fn dispatch(&self, mode: &str, call: &Call) -> Result<Value, altmount_engine::StoreError> {
        Ok(match mode {
            "addfile" => self.add_file(call).await,
            "addurl" => self.add_url(call).await,
            "addlocalfile" => self.add_local_file(call).await,
            "queue" => self.queue(call).await?,
            "history" => self.history(call).await?,
            "switch" => self.switch(call).await?,
            "change_cat" => self.change_category(call).await?,
            "change_script" | "change_opts" => self.change_nothing(call).await?,
            "get_files" => self.files(call).await?,
            "pause" => self.pause(None).await?,
            "resume" => {
                self.engine().imports().resume().await?;
                done()
            }
            // What comes after an import has no queue of its own.
            "pause_pp" | "resume_pp" | "rss_now" | "watched_now" | "reset_quota" | "move_nzf_bulk" => done(),
            "retry" => self.retry(call).await?,
            "retry_all" => self.retry_all().await?,
            "get_config" => self.get_config(call),
            "set_config" => self.set_config(call).await?,
            "get_cats" => self.get_cats(),
            "get_scripts" => json!({"scripts": ["None"]}),
            "config" => self.change_config(call).await?,
            "speedlimit" => self.change_speed(call.text("value").unwrap_or_default()).await?,
            "status" if call.text("name").is_some() => done(),
            "status" | "fullstatus" => self.full_status(call).await?,
            "server_stats" => self.server_stats().await?,
            "warnings" => self.warnings(call),
            _ => error("not implemented"),
        })
    }

    fn changed(&self) {
        self.0.changes.fetch_add(1, Ordering::Relaxed);
    }
}

async fn serve(State(sab): State<Sabnzbd>, request: Request) -> Response {
    let origin = sab
        .0
        .parts
        .proxies
        .origin(request.extensions(), request.headers());
    match Call::read(request, &sab.0.bounds, origin.address).await {
        Ok(call) => {
            let value = sab.answer(&call).await;
            respond(call.get("output"), &value)
        }
        Err(why) => respond(None, &error(why)),
    }
}

/// Makes the folders of categories, which clients look for before there is a job.
pub async fn make_category_folders(engine: &Engine, categories: &[CategorySettings]) {
    for category in categories.iter().filter(|category| !category.dir.is_root()) {
        make_folders(engine, &category.dir).await;
    }
}

/// Makes a folder of the library and those above it, where they are not there.
async fn make_folders(engine: &Engine, folder: &VPath) {
    let mut path = VPath::root();
    for name in folder.components() {
        let Ok(next) = VPath::new(name).and_then(|name| path.join(&name)) else {
            return;
        };
        path = next;
        if let Err(error) = engine.library().make_dir(&path).await {
            tracing::warn!("the category's folder '{path}' cannot be made: {error}");
        }
    }
}

/// A job's category for clients.
fn category_of(job: &Job) -> &str {
    job.category.as_deref().unwrap_or("*")
}

/// Whether a call is one for this API: `/api` is the REST API's as well, whose routes are all below it.
pub fn is_call(request: &Request) -> bool {
    let has_mode = || {
        let query = request.uri().query().unwrap_or_default();
        url::form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "mode")
    };
    matches!(request.uri().path(), "/api" | "/api/")
        && (*request.method() == http::Method::POST || has_mode())
}
