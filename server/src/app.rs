//! The composition root: the components are made and put together here, and taken apart again in order.

use crate::{
    config::{MountSettings, ServerSettings, Settings},
    data::DataDir,
    files::Streams,
    http::{Api, ApiKey, Limits, Public, service},
    net,
    plugins::Reread,
    webdav::{self, WebDav},
};
use altmount_engine::Engine;
use altmount_store::Store;
use altmount_usenet::Pool;
use altmount_vfs::{ArticleSource, Vfs};
#[cfg(not(all(target_os = "linux", feature = "fuse")))]
use anyhow::bail;
use anyhow::{Context, Result};
use axum::{Router, response::Html, routing::get};
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The parts below every adapter: the queue, the library, the reader, the news servers.
#[derive(Debug)]
pub struct Core {
    /// The engine.
    pub engine: Arc<Engine>,
    store: Store,
    pool: Arc<Pool>,
}

impl Core {
    /// Opens the store in `data_dir` and starts the engine on it.
    ///
    /// # Errors
    /// Where the store cannot be opened, a provider cannot be used, or the configuration names an importer that there is
    /// none of, or one refuses what is configured for it.
    pub async fn start(settings: &Settings, data_dir: &Path) -> Result<Self> {
        install_crypto();
        let (wanted, folder) = (settings.clone(), data_dir.to_owned());
        let loading = move || crate::plugins::registry(&wanted, Some(&folder));
        let registry = tokio::task::spawn_blocking(loading).await??;
        let pool = Pool::new(settings.providers.clone())?;
        let articles: Arc<dyn ArticleSource> = pool.clone();
        let mut vfs = settings.vfs.clone();
        vfs.disk.folder = data_dir.join(vfs.disk.folder);
        let vfs = Vfs::new(articles, vfs)?;
        let store = Store::open(data_dir).await?;
        let engine = Engine::start(store.clone(), vfs, registry, settings.engine.clone()).await?;
        Ok(Self { engine, store, pool })
    }

    /// Ends everything: running imports go back into the queue.
    pub async fn shutdown(self, deadline: Duration) {
        let Self { engine, store, pool } = self;
        engine.shutdown(deadline).await;
        pool.shutdown().await;
        store.close().await;
    }
}

/// Chooses the cryptography of every TLS connection of the process. A second call changes nothing.
pub fn install_crypto() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Fails only where another thread was quicker, with the same choice.
        let _installed = rustls::crypto::ring::default_provider().install_default();
    }
}

/// A server that is ready to serve.
#[derive(Debug)]
pub struct App {
    core: Core,
    api: Api,
    mount: Mounted,
    router: Router,
    server: ServerSettings,
    stopping: CancellationToken,
}

/// The mount, where there is one.
#[cfg(all(target_os = "linux", feature = "fuse"))]
type Mounted = Option<crate::fuse::Mount>;
#[cfg(not(all(target_os = "linux", feature = "fuse")))]
type Mounted = Option<std::convert::Infallible>;

#[cfg(all(target_os = "linux", feature = "fuse"))]
async fn mount(engine: &Arc<Engine>, settings: &MountSettings) -> Result<Mounted> {
    match settings.path.clone() {
        Some(path) => Ok(Some(crate::fuse::Mount::start(engine, path, settings).await?)),
        None => Ok(None),
    }
}

#[cfg(not(all(target_os = "linux", feature = "fuse")))]
async fn mount(_engine: &Arc<Engine>, settings: &MountSettings) -> Result<Mounted> {
    match &settings.path {
        Some(path) => bail!(
            "this build cannot mount {}: it was made without the feature 'fuse', or not for Linux",
            path.display()
        ),
        None => Ok(None),
    }
}

async fn unmount(mounted: Mounted) {
    #[cfg(all(target_os = "linux", feature = "fuse"))]
    if let Some(mounted) = mounted {
        mounted.stop().await;
    }
    #[cfg(not(all(target_os = "linux", feature = "fuse")))]
    let _ = mounted;
}

impl App {
    /// Starts everything but the listener. Makes the secrets that the data directory does not have.
    ///
    /// # Errors
    /// Those of [`Core::start`], and where a secret cannot be read or made.
    pub async fn start(settings: Settings, data: &DataDir) -> Result<Self> {
        // Whoever reads no file has the same settings for ever.
        let same = settings.clone();
        Self::start_with(settings, data, Reread::new(move || Ok(same.clone()))).await
    }

    /// The same, with a way to read the configuration again.
    ///
    /// # Errors
    /// Those of [`Self::start`].
    pub async fn start_with(settings: Settings, data: &DataDir, reread: Reread) -> Result<Self> {
        let key = ApiKey::new(data.make_api_key()?);
        let password = match settings.webdav.as_ref().map(|webdav| webdav.password.clone()) {
            None => None,
            Some(Some(password)) => Some(password),
            Some(None) => Some(data.make_webdav_password()?),
        };
        let core = Core::start(&settings, data.path()).await?;
        let mount = match mount(&core.engine, &settings.mount).await {
            Ok(mount) => mount,
            Err(error) => {
                core.shutdown(settings.server.shutdown).await;
                return Err(error);
            }
        };
        let stopping = CancellationToken::new();
        let streams = Streams::default();
        let api = Api {
            engine: Arc::clone(&core.engine),
            key,
            pool: Arc::clone(&core.pool),
            streams: streams.clone(),
            public: Public::new(settings.webdav.as_ref().map(|_| webdav::PREFIX)),
            trials: Arc::default(),
            reloads: Arc::default(),
            reread,
            data_dir: data.path().to_owned(),
            started: Instant::now(),
            limits: Limits {
                max_body: settings.server.max_body,
                receive_timeout: settings.server.receive_timeout,
            },
            stopping: stopping.clone(),
        };
        let mut others = Router::new().route("/", get(|| async { Html(PAGE) }));
        if let (Some(webdav), Some(password)) = (&settings.webdav, password) {
            let engine = Arc::clone(&core.engine);
            let webdav = WebDav::new(
                engine,
                &webdav.user,
                password,
                settings.server.receive_timeout,
                streams,
            );
            others = others.merge(webdav.router());
        }
        Ok(Self {
            core,
            router: service(api.clone(), others),
            api,
            mount,
            server: settings.server,
            stopping,
        })
    }

    /// The whole service, for tests that need no socket.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// What the API's handlers work with, for tests that put other routes beside them.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// The engine.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.core.engine
    }

    /// Listens where the settings say.
    ///
    /// # Errors
    /// Where the address cannot be had.
    pub async fn listen(&self) -> Result<TcpListener> {
        let listen = self.server.listen;
        let listener = TcpListener::bind(listen).await;
        listener.with_context(|| format!("cannot listen on {listen}; choose another address with --listen"))
    }

    /// Serves until `stop`, then ends everything within the settings' time.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let Self {
            core,
            api,
            mount,
            router,
            server,
            stopping,
        } = self;
        // What it refers to is taken apart below.
        drop(api);
        let serving = net::serve(listener, router, &server, &stop);
        let told = async {
            stop.cancelled().await;
            // Event streams have no end of their own, and would hold everything up to the deadline.
            stopping.cancel();
            // Not behind the streams: whoever has the mount open waits for nothing.
            unmount(mount).await;
        };
        tokio::join!(serving, told);
        core.shutdown(server.shutdown).await;
    }

    /// Ends what was started, where nothing was served.
    pub async fn shutdown(self) {
        self.stopping.cancel();
        unmount(self.mount).await;
        self.core.shutdown(self.server.shutdown).await;
    }
}

/// Where things are. It says nothing that needs a key.
const PAGE: &str = concat!(
    "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>AltMount</title>",
    "<style>body{font:16px/1.5 system-ui;max-width:40rem;margin:3rem auto;padding:0 1rem}code{background:#8882}</style>",
    "<h1>AltMount</h1><p>Version ",
    env!("CARGO_PKG_VERSION"),
    ".</p><ul>",
    "<li>The library is the WebDAV folder <a href=\"/webdav/\"><code>/webdav</code></a>.</li>",
    "<li>Files go in through <code>POST /api/import/file</code>; the queue is <code>/api/queue</code>. ",
    "<code>/api/openapi.json</code> describes the API. It needs the API key: <code>altmount key show</code>.</li>",
    "<li><a href=\"/healthz\"><code>/healthz</code></a> and <a href=\"/readyz\"><code>/readyz</code></a> say how it is.</li>",
    "</ul></html>\n"
);

/// The path of the library below the server's address.
pub const WEBDAV_PATH: &str = webdav::PREFIX;
