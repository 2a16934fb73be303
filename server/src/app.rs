//! The composition root: the components are made and put together here, and taken apart again in order.

use crate::{
    access::Access,
    arr::CurrentArrs,
    backup::{self, Scheduled},
    categories::Categories,
    config::{CategorySettings, OutputWay, ServerSettings, Settings},
    data::DataDir,
    files::Streams,
    http::{Api, Limits, Public, service},
    links::LinkKey,
    live::{self, Live},
    metrics::{self, Metrics},
    mounts::Mounts,
    net,
    notify::{self, Notifier},
    outputs::Outputs,
    plugins::Reread,
    pools::Pools,
    sabnzbd::{self, Discard, Meter, Roots, Sabnzbd, UrlFetcher},
    samples::Samples,
    throttle::{Limiter, Throttled},
    upload::Uploads,
    watch::Watches,
    web::{self, Web},
    webdav::{self, WebDav},
};
use altmount_engine::{Engine, Job};
use altmount_store::Store;
use altmount_vfs::{ArticleSource, Vfs};
use anyhow::{Context, Result};
use async_trait::async_trait;
use axum::{Router, extract::Request};
use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::{Layer, util::MapRequestLayer};

/// The parts below every adapter: the queue, the library, the reader, the news servers.
#[derive(Debug)]
pub struct Core {
    /// The engine.
    pub engine: Arc<Engine>,
    limiter: Arc<Limiter>,
    meter: Arc<Meter>,
    metering: (CancellationToken, tokio::task::JoinHandle<()>),
    store: Store,
    pool: Pools,
    categories: Categories,
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
        let memory: Arc<dyn altmount_usenet::Memory> = Arc::new(crate::data::NewsMemory::new(data_dir));
        let (providers, options) = (settings.providers.clone(), settings.news);
        let making = move || Pools::new(providers, options, memory);
        let pool = tokio::task::spawn_blocking(making).await??;
        pool.start();
        let limiter = Arc::new(Limiter::default());
        let sabnzbd = settings.sabnzbd.as_ref();
        limiter.set(sabnzbd.map_or(0, |sabnzbd| sabnzbd.max_bytes_per_second));
        let articles: Arc<dyn ArticleSource> = Throttled::new(
            Arc::new(pool.clone()),
            Arc::clone(&limiter),
            sabnzbd.is_some_and(|sabnzbd| sabnzbd.limit_streams),
        );
        let mut engine = settings.engine.clone();
        let categories = Categories::new(Arc::clone(&settings.categories));
        if let Some(sabnzbd) = sabnzbd {
            engine.fetcher = Some(UrlFetcher::new(
                sabnzbd.clone(),
                categories.clone(),
                engine.max_source_bytes,
            )?);
        }
        let mut vfs = settings.vfs.clone();
        vfs.disk.folder = data_dir.join(vfs.disk.folder);
        let vfs = Vfs::new(articles, vfs)?;
        let store = Store::open(data_dir).await?;
        let engine = Engine::start(store.clone(), vfs, registry, engine).await?;
        let (meter, stop) = (Meter::new(pool.clone()), CancellationToken::new());
        let metering = tokio::spawn(Arc::clone(&meter).run(Arc::clone(&engine), stop.clone()));
        Ok(Self {
            engine,
            limiter,
            meter,
            metering: (stop, metering),
            store,
            pool,
            categories,
        })
    }

    /// Ends everything: running imports go back into the queue.
    pub async fn shutdown(self, deadline: Duration) {
        let Self {
            engine,
            limiter: _,
            meter: _,
            metering: (stop, metering),
            store,
            pool,
            categories: _,
        } = self;
        engine.shutdown(deadline).await;
        stop.cancel();
        // It writes a last time. Where it panicked, there is nothing more to write.
        let _ended = metering.await;
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

/// What a download client's deletion means for the outputs: what is left of them goes, and the release with it, unless a part
/// of it was taken: what was taken may be a link into it.
#[derive(Debug)]
struct Leftovers {
    outputs: Arc<Outputs>,
    arrs: CurrentArrs,
}

#[async_trait]
impl Discard for Leftovers {
    async fn discard(&self, job: &Job) {
        // Where nobody can say, somebody has it.
        let held = self.arrs.now().holds(job).await.unwrap_or(true);
        if let Err(error) = self.outputs.discard(job, held).await {
            tracing::warn!(
                job.id = job.id.0,
                "what was made for a job cannot be removed: {error}"
            );
        }
    }
}

/// Makes the folders that releases of categories are put in, in the library and beside it: an *arr looks for them before there is
/// a job.
async fn make_category_folders(engine: &Engine, outputs: &Outputs, categories: &[CategorySettings]) {
    sabnzbd::make_category_folders(engine, categories).await;
    for category in categories {
        let settings = outputs.settings();
        let way = settings.ways(Some(&category.name)).first().copied();
        let Some(way) = way.filter(|way| *way != OutputWay::Mount) else {
            continue;
        };
        let Some(mut folder) = settings.root(way).map(Path::to_owned) else {
            continue;
        };
        folder.extend(category.dir.components());
        if let Err(error) = outputs.make_folder(folder).await {
            tracing::warn!("a category's folder cannot be made: {error}");
        }
    }
}

/// A server that is ready to serve.
#[derive(Debug)]
pub struct App {
    core: Core,
    api: Api,
    mounts: Mounts,
    /// The listener for the figures alone, where there is one.
    figures: Option<(TcpListener, Router)>,
    router: Router,
    server: ServerSettings,
    stopping: CancellationToken,
    live: Live,
    /// What goes on beside the requests.
    tasks: TaskTracker,
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
        // Every part of the server is in this future for a moment; whoever starts one need not hold that.
        Box::pin(Self::put_together(settings, data, reread)).await
    }

    async fn put_together(settings: Settings, data: &DataDir, reread: Reread) -> Result<Self> {
        let secret = data.make_api_key()?;
        let base = settings.server.base_path.clone();
        let password = match settings.webdav.as_ref().map(|webdav| webdav.password.clone()) {
            None => None,
            Some(Some(password)) => Some(password),
            Some(None) => Some(data.make_webdav_password()?),
        };
        let links = LinkKey::new(data.make_link_key()?);
        // Before anything is started that would have to be ended again.
        let figures = match settings.metrics {
            Some(listen) => Some(bind(listen, "'metrics.listen' in the configuration").await?),
            None => None,
        };
        let core = Core::start(&settings, data.path()).await?;
        let folder = data.path().to_owned();
        tokio::task::spawn_blocking(move || backup::sweep(&folder));
        let streams = Streams::default();
        let mounts = match Mounts::start(&core.engine, settings.mount.clone(), streams.clone()).await {
            Ok(mounts) => mounts,
            Err(error) => {
                core.shutdown(settings.server.shutdown).await;
                return Err(error);
            }
        };
        let outputs = Outputs::new(&core.engine, settings.outputs.clone(), links);
        core.engine.publish_with(Arc::clone(&outputs) as _);
        let stopping = CancellationToken::new();
        let started = Instant::now();
        let samples = Samples::start(core.pool.clone(), stopping.clone());
        let tasks = TaskTracker::new();
        live::keep_trash_short(Arc::downgrade(&core.engine), settings.trash, &tasks, &stopping);
        let arrs = CurrentArrs::start(
            &core.engine,
            settings.arr.clone(),
            settings.outputs.clone(),
            tasks.clone(),
            stopping.clone(),
        );
        let arrs = match arrs {
            Ok(arrs) => arrs,
            Err(error) => {
                mounts.stop().await;
                core.shutdown(settings.server.shutdown).await;
                return Err(error);
            }
        };
        tasks.close();
        let notifier = Notifier::start(settings.notify.clone(), &tasks, &stopping);
        notify::watch_imports(&core.engine, notifier.clone(), &tasks, &stopping);
        notify::watch_providers(core.pool.clone(), notifier.clone(), &tasks, &stopping);
        let watches = Watches::start(
            &core.engine,
            &core.store,
            settings.watch.clone(),
            &tasks,
            &stopping,
        );
        let backups = Arc::default();
        let scheduled = Scheduled::new(settings.backup.clone());
        scheduled.start(
            core.store.clone(),
            data.clone(),
            Arc::clone(&backups),
            notifier.clone(),
            &tasks,
            &stopping,
        );
        let live = Live::new(
            live::Parts {
                engine: Arc::downgrade(&core.engine),
                reread,
                data_dir: data.path().to_owned(),
                pool: core.pool.clone(),
                arrs: arrs.clone(),
                categories: core.categories.clone(),
                notifier: notifier.clone(),
                watches,
                mounts: mounts.clone(),
                outputs: Arc::clone(&outputs),
            },
            &settings,
        );
        let metrics = Metrics::new(metrics::Parts {
            engine: Arc::downgrade(&core.engine),
            pool: core.pool.clone(),
            streams: streams.clone(),
            notifier: notifier.clone(),
            scheduled: scheduled.clone(),
            started,
            cache_bytes: settings.vfs.memory_bytes,
            read_ahead_bytes: settings.vfs.read_ahead_total_bytes,
        });
        let api = Api {
            engine: Arc::clone(&core.engine),
            access: Access::new(secret.clone(), core.engine.keys()),
            pool: core.pool.clone(),
            samples: samples.clone(),
            streams: streams.clone(),
            outputs,
            arrs,
            public: Public::new(&base, settings.webdav.as_ref().map(|_| webdav::PREFIX)),
            trials: Arc::default(),
            once: Arc::default(),
            store: core.store.clone(),
            backups,
            scheduled,
            notifier,
            metrics,
            uploads: Uploads::new(settings.engine.max_source_bytes, settings.server.receive_timeout),
            live: live.clone(),
            started,
            limits: Limits {
                max_body: settings.server.max_body,
                receive_timeout: settings.server.receive_timeout,
            },
            stopping: stopping.clone(),
            others: match settings.sabnzbd {
                Some(_) => sabnzbd::is_call,
                None => |_| false,
            },
        };
        let page = Web::new(web::Parts {
            engine: Arc::clone(&core.engine),
            pool: core.pool.clone(),
            streams: streams.clone(),
            base: base.clone(),
            proxies: settings.server.proxies.clone(),
            session: settings.server.session,
            receive_timeout: settings.server.receive_timeout,
            key: secret,
            started: api.started,
            stopping: stopping.clone(),
            public: api.public.clone(),
            mounts: mounts.clone(),
            trash: settings.trash,
            samples,
            live: live.clone(),
            trials: Arc::clone(&api.trials),
            outputs: Arc::clone(&api.outputs),
            arrs: api.arrs.clone(),
            uploads: api.uploads.clone(),
        });
        let mut others = page.router();
        if let Some(sabnzbd) = settings.sabnzbd.clone() {
            let (outputs, paths) = (Arc::clone(&api.outputs), Arc::clone(&api.outputs));
            let leftovers = Leftovers {
                outputs: Arc::clone(&outputs),
                arrs: api.arrs.clone(),
            };
            let (engine, places) = (Arc::clone(&core.engine), Arc::clone(&api.outputs));
            make_category_folders(&engine, &places, &core.categories.now()).await;
            let mut exchanged = core.categories.subscribe();
            let again = async move {
                while exchanged.changed().await.is_ok() {
                    let now = Arc::clone(&exchanged.borrow_and_update());
                    make_category_folders(&engine, &places, &now).await;
                }
            };
            tasks.spawn(stopping.clone().run_until_cancelled_owned(again));
            let sabnzbd = Sabnzbd::start(sabnzbd::Parts {
                engine: Arc::clone(&core.engine),
                access: api.access.clone(),
                settings: sabnzbd,
                categories: core.categories.clone(),
                live: live.clone(),
                roots: Roots::new(
                    move |category| outputs.root(category).to_string_lossy().into_owned(),
                    move |path| paths.settings().theirs(Path::new(path)),
                ),
                discard: Arc::new(leftovers),
                meter: Arc::clone(&core.meter),
                limiter: Arc::clone(&core.limiter),
                proxies: settings.server.proxies.clone(),
                max_file: settings.engine.max_source_bytes,
                patience: settings.server.receive_timeout,
                data_dir: data.path().to_owned(),
            })
            .await;
            others = others.merge(sabnzbd.router());
        }
        if let (Some(webdav), Some(password)) = (&settings.webdav, password) {
            let engine = Arc::clone(&core.engine);
            let webdav = WebDav::new(
                engine,
                &webdav.user,
                password,
                settings.server.proxies.clone(),
                settings.server.receive_timeout,
                streams,
                &base,
            );
            others = others.merge(webdav.router());
        }
        let figures = figures.map(|listener| (listener, metrics::router(api.metrics.clone())));
        Ok(Self {
            core,
            figures,
            router: below(&base, service(api.clone(), others)),
            api,
            mounts,
            server: settings.server,
            stopping,
            live,
            tasks,
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

    /// The way to use a changed configuration.
    pub fn live(&self) -> &Live {
        &self.live
    }

    /// The engine.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.core.engine
    }

    /// Where the figures have a listener of their own.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        let (listener, _) = self.figures.as_ref()?;
        listener.local_addr().ok()
    }

    /// Serves until `stop`, then ends everything within the settings' time.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let Self {
            core,
            api,
            mounts,
            figures,
            router,
            server,
            stopping,
            live,
            tasks,
        } = self;
        // What they refer to is taken apart below.
        drop((api, live));
        let serving = net::serve(listener, router, &server, &stop);
        let told = async {
            stop.cancelled().await;
            // Event streams have no end of their own, and would hold everything up to the deadline.
            stopping.cancel();
            // Not behind the streams: whoever has the mount open waits for nothing.
            mounts.stop().await;
        };
        let figures = async {
            if let Some((listener, router)) = figures {
                net::serve(listener, router, &server, &stop).await;
            }
        };
        tokio::join!(serving, figures, told);
        wait_for(&tasks, server.shutdown).await;
        core.shutdown(server.shutdown).await;
    }

    /// Ends what was started, where nothing was served.
    pub async fn shutdown(self) {
        self.stopping.cancel();
        self.mounts.stop().await;
        wait_for(&self.tasks, self.server.shutdown).await;
        self.core.shutdown(self.server.shutdown).await;
    }
}

/// Waits for what goes on beside the requests; for no longer than `deadline`, since a folder on a share that is gone never answers.
async fn wait_for(tasks: &TaskTracker, deadline: Duration) {
    // Who is told to end needs a moment for it, even where nobody is to be waited for.
    let deadline = deadline.max(Duration::from_secs(1));
    if tokio::time::timeout(deadline, tasks.wait()).await.is_err() {
        tracing::warn!(
            tasks = tasks.len(),
            "work beside the requests is left in the middle: it did not end in {} s",
            deadline.as_secs()
        );
    }
}

/// Listens where the settings say; before anything is started that would have to be ended again.
///
/// # Errors
/// Where the address cannot be had.
pub async fn listen(server: &ServerSettings) -> Result<TcpListener> {
    bind(server.listen, "--listen").await
}

async fn bind(listen: SocketAddr, key: &str) -> Result<TcpListener> {
    let listener = TcpListener::bind(listen).await;
    listener.with_context(|| format!("cannot listen on {listen}; choose another address with {key}"))
}

/// Takes the base path off what is asked for, where a proxy has not. What comes without it is the proxy's doing, or asks on
/// the server itself.
fn below(base: &str, router: Router) -> Router {
    if base.is_empty() {
        return router;
    }
    let base = base.to_owned();
    let cut = move |mut request: Request| {
        let rest = request
            .uri()
            .path_and_query()
            .and_then(|path| path.as_str().strip_prefix(base.as_str()))
            .map(|rest| match rest.as_bytes().first() {
                None => "/".to_owned(),
                Some(b'?') => format!("/{rest}"),
                _ => rest.to_owned(),
            });
        // A longer name that begins the same is not below it.
        if let Some(rest) = rest.filter(|rest| rest.starts_with('/')) {
            let mut parts = request.uri().clone().into_parts();
            parts.path_and_query = rest.parse().ok();
            if let Ok(uri) = http::Uri::from_parts(parts) {
                *request.uri_mut() = uri;
            }
        }
        request
    };
    Router::new().fallback_service(MapRequestLayer::new(cut).layer(router))
}

/// The path of the library below the server's address.
pub const WEBDAV_PATH: &str = webdav::PREFIX;
