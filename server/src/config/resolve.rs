//! From keys to what the components take. Every struct of the configuration is taken apart by name here: a new key that
//! nothing reads does not compile (and [`tests`] checks that changing any key changes something).
#![deny(unused_variables)]

use super::ConfigError;
use super::restart::Fixed;
use super::types::*;
use super::{
    ArrSettings, BackupSettings, NotifySettings, OutputSettings, WatchSettings, arr, operations, outputs,
};
use crate::proxy::Proxies;
use altmount_engine::{EngineConfig, ImportLimits, Passwords};
use altmount_model::{VPath, sanitize_component};
use altmount_usenet::{Period, PoolOptions, ProviderConfig, Quota};
use altmount_vfs::{DiskConfig, Early, VfsConfig};
use http::HeaderName;
use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// The configuration, as the components take it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The HTTP server.
    pub server: ServerSettings,
    /// News providers, the disabled ones included.
    pub providers: Vec<ProviderConfig>,
    /// How they are asked.
    pub news: PoolOptions,
    /// The engine.
    pub engine: EngineConfig,
    /// The reader.
    pub vfs: VfsConfig,
    /// WebDAV; `None` where it is off.
    pub webdav: Option<WebdavSettings>,
    /// The FUSE mount.
    pub mount: MountSettings,
    /// How long what was deleted can be had back.
    pub trash: Duration,
    /// Folders from which files are queued by themselves.
    pub watch: Vec<WatchSettings>,
    /// Backups that are made by themselves; `None` where none are.
    pub backup: Option<BackupSettings>,
    /// Who is told what happened.
    pub notify: NotifySettings,
    /// Where the figures have a listener of their own.
    pub metrics: Option<SocketAddr>,
    /// Where traces go.
    pub telemetry: Option<String>,
    /// The download client; `None` where it is off.
    pub sabnzbd: Option<SabnzbdSettings>,
    /// Its categories, `*` left out.
    pub categories: Arc<[CategorySettings]>,
    /// How releases reach others beside it.
    pub outputs: OutputSettings,
    /// The *arr applications.
    pub arr: ArrSettings,
    /// Importers' configuration, by id.
    pub plugin_config: BTreeMap<String, Value>,
    /// Importers' priorities, by id.
    pub plugin_priority: BTreeMap<String, i32>,
    /// Libraries to load.
    pub plugin_files: Vec<PluginFile>,
    /// Whether they are loaded without a stated hash, whoever may write them.
    pub plugins_unverified: bool,
    /// Which log lines are written.
    pub log_level: String,
    /// How they look.
    pub log_format: LogFormat,
    /// What a running server cannot change, to be compared with what another configuration has there.
    pub fixed: Fixed,
}

/// The HTTP server's settings.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Connections at once.
    pub max_connections: usize,
    /// Bytes of an API request's body.
    pub max_body: usize,
    /// For a request's head, and for its body.
    pub receive_timeout: Duration,
    /// For a connection on which nothing moves.
    pub idle_timeout: Duration,
    /// For ending.
    pub shutdown: Duration,
    /// What everything is below: nothing, or a path with a `/` in front and none behind.
    pub base_path: String,
    /// Who may say for whom it asks.
    pub proxies: Proxies,
    /// For a session that is not used.
    pub session: Duration,
}

/// WebDAV's settings.
#[derive(Clone, Debug)]
pub struct WebdavSettings {
    /// The user's name.
    pub user: String,
    /// The password, where the configuration has one.
    pub password: Option<SecretString>,
}

/// The FUSE mount's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountSettings {
    /// The folder, absolute; `None` where nothing is mounted.
    pub path: Option<PathBuf>,
    /// Whether others than the process's user may use it.
    pub allow_other: bool,
    /// Whose everything is; the process's user where there is none.
    pub uid: Option<u32>,
    /// The group; the process's where there is none.
    pub gid: Option<u32>,
    /// How long the kernel keeps names and attributes.
    pub cache: Duration,
    /// For one read.
    pub read_timeout: Duration,
}

/// The download client's settings.
#[derive(Clone, Debug)]
pub struct SabnzbdSettings {
    /// In front of `/api`: empty, or from its slash on.
    pub url_base: String,
    /// What clients are told.
    pub version: String,
    /// Jobs of the history where a client does not say how many.
    pub history_limit: u32,
    /// The most that imports may take, in bytes a second; 0 for no limit.
    pub max_bytes_per_second: u64,
    /// Whether the speed limit is for readers too.
    pub limit_streams: bool,
    /// Hosts of private networks that may be fetched from.
    pub fetch_allow: Vec<String>,
    /// For fetching an NZB.
    pub fetch_timeout: Duration,
    /// Redirects that are followed then.
    pub fetch_redirects: u8,
    /// Whether the indexer's other NZB is fetched where one failed.
    pub new_nzb_on_failure: bool,
}

/// A category of the download client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CategorySettings {
    /// Its name.
    pub name: String,
    /// Where its releases are put in the library.
    pub dir: VPath,
    /// The priority of its jobs.
    pub priority: i32,
}

pub(super) fn seconds(n: u32) -> Duration {
    Duration::from_secs(n.into())
}

/// Collects faults, so that a person sees all of them at once.
#[derive(Default)]
pub(super) struct Faults(Vec<String>);

impl Faults {
    pub(super) fn add(&mut self, fault: String) {
        self.0.push(fault);
    }

    pub(super) fn at_least_one<T: Default + PartialEq>(&mut self, key: &str, value: T) -> T {
        if value == T::default() {
            self.0.push(format!("'{key}' must be at least 1"));
        }
        value
    }
}

impl Config {
    /// Checks the values and hands them to whom they are for.
    ///
    /// # Errors
    /// Every value that cannot be used.
    pub fn resolve(self) -> Result<Settings, ConfigError> {
        let fixed = Fixed::of(&self);
        let Self {
            server,
            providers,
            news,
            import,
            cache,
            webdav,
            mount,
            watch,
            library,
            health,
            outputs,
            arr,
            plugins,
            http_sources,
            log,
            sabnzbd,
            categories,
            backup,
            notify,
            metrics,
            telemetry,
        } = self;
        let mut faults = Faults::default();
        let server = resolve_server(server, &mut faults);
        let providers = resolve_providers(providers, &mut faults);
        let news = resolve_news(news, &mut faults);
        let import_of_nzb = [
            ("check", json!(import.check)),
            ("ignore", json!(import.ignore)),
            ("damage", json!(import.damage)),
            ("category_checks", category_checks(&categories)),
        ];
        let mut engine = resolve_import(import, &mut faults);
        let Cache {
            memory_bytes,
            disk_bytes,
            disk_folder,
            disk_queue_bytes,
            disk_timeout_ms,
            read_ahead_bytes,
            read_ahead_total_bytes,
            read_ahead_after_bytes,
            read_ahead_seconds,
            read_ahead_idle_seconds,
            early_delivery,
            tables_bytes,
        } = cache;
        engine.table_cache_bytes = tables_bytes;
        let Health {
            confirm_after_seconds,
            check_again_seconds,
        } = health;
        engine.confirm_after = seconds(confirm_after_seconds);
        engine.check_again = seconds(faults.at_least_one("health.check_again_seconds", check_again_seconds));
        let HttpSources {
            allow_private,
            max_redirects,
            timeout_seconds,
        } = http_sources;
        let vfs = VfsConfig {
            memory_bytes,
            read_ahead_bytes,
            read_ahead_total_bytes,
            read_ahead_after_bytes,
            read_ahead_lasts: seconds(faults.at_least_one("cache.read_ahead_seconds", read_ahead_seconds)),
            read_ahead_idle: seconds(
                faults.at_least_one("cache.read_ahead_idle_seconds", read_ahead_idle_seconds),
            ),
            early: match early_delivery {
                EarlyDelivery::Off => Early::Off,
                EarlyDelivery::Held => Early::Held,
                EarlyDelivery::Free => Early::Free,
            },
            disk: DiskConfig {
                // In the data directory, where it is not absolute.
                folder: disk_folder.unwrap_or_else(|| "cache".into()),
                bytes: disk_bytes,
                queue_bytes: disk_queue_bytes,
                read_timeout: Duration::from_millis(
                    faults
                        .at_least_one("cache.disk_timeout_ms", disk_timeout_ms)
                        .into(),
                ),
            },
            http_timeout: seconds(faults.at_least_one("http_sources.timeout_seconds", timeout_seconds)),
            allow_private_addresses: allow_private,
            max_redirects,
            ..VfsConfig::default()
        };
        let Webdav {
            enabled,
            user,
            password,
        } = webdav;
        if enabled && (user.is_empty() || user.contains(':') || user.chars().any(char::is_control)) {
            faults
                .0
                .push("'webdav.user' must be a name without ':' and control characters".to_owned());
        }
        let mount = resolve_mount(mount, &mut faults);
        let Library {
            trash_days,
            trash_all,
        } = library;
        engine.trash = trash_all && trash_days > 0;
        let categories = resolve_categories(categories, &mut faults);
        let watch = operations::watch(watch, &categories, &engine.allowed_roots, &mut faults);
        let backup = operations::backup(backup, &mut faults);
        let notify = operations::notify(notify, &mut faults);
        let Metrics { listen: metrics } = metrics;
        let telemetry = operations::telemetry(telemetry, &mut faults);
        let sabnzbd = resolve_sabnzbd(sabnzbd, &mut faults);
        let outputs = outputs::resolve(outputs, &mount, &mut faults);
        let arr = arr::resolve(arr, &mut faults);
        let Plugins {
            config,
            priority,
            load,
            allow_unverified,
        } = plugins;
        let plugin_files = resolve_plugin_files(load, &mut faults);
        let mut plugin_config = config;
        if let Some(fault) = nzb_defaults(&mut plugin_config, import_of_nzb) {
            faults.0.push(fault);
        }
        let Log { level, format } = log;
        if let Err(e) = level.parse::<tracing_subscriber::filter::EnvFilter>() {
            faults.0.push(format!("'log.level' cannot be used: {e}"));
        }
        if !faults.0.is_empty() {
            return Err(ConfigError { problems: faults.0 });
        }
        Ok(Settings {
            server,
            providers,
            news,
            engine,
            vfs,
            webdav: enabled.then_some(WebdavSettings { user, password }),
            mount,
            trash: seconds(trash_days.saturating_mul(86_400)),
            watch,
            backup,
            notify,
            metrics,
            telemetry,
            sabnzbd,
            categories: categories.into(),
            outputs,
            arr,
            plugin_config,
            plugin_priority: priority,
            plugin_files,
            plugins_unverified: allow_unverified,
            log_level: level,
            log_format: format,
            fixed,
        })
    }
}

fn category_checks(categories: &[Category]) -> Value {
    let checks = categories
        .iter()
        .filter_map(|category| Some((category.name.clone(), category.check?)));
    json!(checks.collect::<BTreeMap<_, _>>())
}

fn resolve_categories(categories: Vec<Category>, faults: &mut Faults) -> Vec<CategorySettings> {
    let mut resolved: Vec<CategorySettings> = Vec::with_capacity(categories.len());
    for (at, category) in categories.into_iter().enumerate() {
        let Category {
            name,
            dir,
            priority,
            // `category_checks` has it
            check: _,
        } = category;
        let usable = !name.is_empty()
            && name.trim() == name
            && !name.chars().any(|c| c.is_control() || "*,/\\".contains(c));
        if !usable || ["default", "none", "all"].contains(&name.to_lowercase().as_str()) {
            faults.0.push(format!(
                "'categories[{at}].name' must be a name without '*', commas and slashes, and none of 'default', 'none', 'all'"
            ));
        } else if resolved
            .iter()
            .any(|other| other.name.eq_ignore_ascii_case(&name))
        {
            faults.0.push(format!(
                "'categories[{at}].name': there is another category '{name}'"
            ));
        }
        let parts = dir.as_deref().unwrap_or(&name).trim_matches('/').split('/');
        let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
        let path = parts.join("/");
        let plain = parts.iter().all(|part| sanitize_component(part) == **part);
        let dir = match VPath::new(&path) {
            Ok(dir) if plain && !dir.is_root() && !path.ends_with('*') => dir,
            _ => {
                faults.0.push(format!(
                    "'categories[{at}].dir': '{path}' is no folder of the library; give a path below it, such as tv"
                ));
                VPath::root()
            }
        };
        if !(-1..=2).contains(&priority) {
            faults
                .0
                .push(format!("'categories[{at}].priority' must be from -1 to 2"));
        }
        resolved.push(CategorySettings {
            name,
            dir,
            priority: priority.into(),
        });
    }
    resolved
}

fn resolve_sabnzbd(sabnzbd: Sabnzbd, faults: &mut Faults) -> Option<SabnzbdSettings> {
    let Sabnzbd {
        enabled,
        url_base,
        version,
        history_limit,
        max_bytes_per_second,
        limit_streams,
        fetch_allow,
        fetch_timeout_seconds,
        fetch_max_redirects,
        new_nzb_on_failure,
    } = sabnzbd;
    let base = url_base.trim_matches('/');
    let unreserved = |c: char| c.is_ascii_alphanumeric() || "-._~/".contains(c);
    if !base.chars().all(unreserved) || base == "api" || base.starts_with("api/") || base == "webdav" {
        faults.0.push(
            "'sabnzbd.url_base' must be a path of letters, digits and '-._~', such as /sabnzbd".to_owned(),
        );
    }
    let numbers: Vec<&str> = version.splitn(3, '.').collect();
    if numbers.len() != 3
        || !numbers
            .iter()
            .all(|part| part.starts_with(|c: char| c.is_ascii_digit()))
    {
        faults
            .0
            .push("'sabnzbd.version' must be three numbers with dots between them, such as 4.5.1".to_owned());
    }
    let settings = SabnzbdSettings {
        url_base: if base.is_empty() {
            String::new()
        } else {
            format!("/{base}")
        },
        version,
        history_limit: faults.at_least_one("sabnzbd.history_limit", history_limit),
        max_bytes_per_second,
        limit_streams,
        fetch_allow,
        fetch_timeout: seconds(faults.at_least_one("sabnzbd.fetch_timeout_seconds", fetch_timeout_seconds)),
        fetch_redirects: fetch_max_redirects,
        new_nzb_on_failure,
    };
    enabled.then_some(settings)
}

fn resolve_plugin_files(load: Vec<PluginFile>, faults: &mut Faults) -> Vec<PluginFile> {
    for (at, file) in load.iter().enumerate() {
        if !Path::new(&file.path).is_absolute() {
            faults.0.push(format!(
                "'plugins.load[{at}].path' must be where the library lies, from '/' on"
            ));
        }
        let hash_ok = |hash: &String| hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
        if !file.sha256.as_ref().is_none_or(hash_ok) {
            faults.0.push(format!(
                "'plugins.load[{at}].sha256' must be 64 hexadecimal digits; altmount plugin hash prints them"
            ));
        }
    }
    load
}

/// `import.check`, `ignore` and `damage` are the `nzb` importer's own where those are not given.
fn nzb_defaults(plugins: &mut BTreeMap<String, Value>, own: [(&str, Value); 4]) -> Option<String> {
    let nzb = plugins.entry("nzb".to_owned()).or_insert_with(|| json!({}));
    let Value::Object(map) = nzb else {
        return Some("'plugins.config.nzb' must be a map of keys and values".to_owned());
    };
    for (key, value) in own {
        map.entry(key).or_insert(value);
    }
    None
}

fn resolve_server(server: Server, faults: &mut Faults) -> ServerSettings {
    let Server {
        listen,
        max_connections,
        max_body_bytes,
        receive_timeout_seconds,
        idle_timeout_seconds,
        shutdown_seconds,
        base_path,
        trusted_proxies,
        forward_auth_header,
        session_days,
    } = server;
    let proxies = resolve_proxies(trusted_proxies, forward_auth_header, faults);
    let base_path = base_path.trim_matches('/').to_owned();
    let unreserved = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    if !base_path.bytes().all(unreserved) || base_path.split('/').any(|part| matches!(part, "." | "..")) {
        let what = "'server.base_path' must be a path of letters, digits and '-._~', such as /altmount";
        faults.0.push(what.to_owned());
    }
    ServerSettings {
        listen,
        max_connections: faults.at_least_one("server.max_connections", max_connections) as usize,
        max_body: faults.at_least_one("server.max_body_bytes", max_body_bytes) as usize,
        receive_timeout: seconds(
            faults.at_least_one("server.receive_timeout_seconds", receive_timeout_seconds),
        ),
        idle_timeout: seconds(faults.at_least_one("server.idle_timeout_seconds", idle_timeout_seconds)),
        shutdown: seconds(shutdown_seconds),
        base_path: match base_path.is_empty() {
            true => base_path,
            false => format!("/{base_path}"),
        },
        proxies,
        session: seconds(
            faults
                .at_least_one("server.session_days", session_days)
                .saturating_mul(86_400),
        ),
    }
}

fn resolve_proxies(trusted: Vec<String>, header: Option<String>, faults: &mut Faults) -> Proxies {
    let mut networks = Vec::new();
    for text in trusted {
        let network = text.parse::<IpNet>();
        match network.or_else(|_| text.parse::<IpAddr>().map(IpNet::from)) {
            Ok(network) => networks.push(network),
            Err(_) => faults.0.push(format!(
                "'server.trusted_proxies': '{text}' is no address and no network; they look like 10.0.0.1 and 10.0.0.0/8"
            )),
        }
    }
    let auth_header = header.and_then(|name| {
        if networks.is_empty() {
            faults.0.push(
                "'server.forward_auth_header' needs 'server.trusted_proxies': nobody else's word can be taken"
                    .to_owned(),
            );
        }
        let parsed = name.parse::<HeaderName>();
        if parsed.is_err() {
            faults.0.push(
                "'server.forward_auth_header' must be the name of a header, such as Remote-User".to_owned(),
            );
        }
        parsed.ok()
    });
    Proxies {
        networks,
        auth_header,
    }
}

fn resolve_providers(providers: Vec<Provider>, faults: &mut Faults) -> Vec<ProviderConfig> {
    let mut resolved: Vec<ProviderConfig> = Vec::with_capacity(providers.len());
    for (at, provider) in providers.into_iter().enumerate() {
        let Provider {
            name,
            host,
            port,
            tls,
            tls_insecure,
            username,
            password,
            max_connections,
            priority,
            group,
            backup,
            enabled,
            min_connections,
            pipeline_body,
            pipeline_body_max,
            pipeline_stat,
            quota_bytes,
            quota_period,
            retention_days,
            connect_timeout_seconds,
            first_byte_timeout_seconds,
            stall_timeout_seconds,
            article_timeout_seconds,
            idle_timeout_seconds,
        } = provider;
        if host.is_empty() {
            faults.0.push(format!(
                "'providers[{at}].host' is missing; give the news server's name or address"
            ));
            continue;
        }
        let config = ProviderConfig {
            name: name.unwrap_or_else(|| host.clone()),
            host,
            port: port.unwrap_or(if tls { 563 } else { 119 }),
            tls,
            tls_insecure,
            username,
            password,
            max_connections,
            priority,
            group,
            backup,
            enabled,
            min_connections,
            pipeline_body: pipeline_body.unwrap_or(0),
            pipeline_body_max,
            pipeline_stat,
            quota: quota_bytes.map(|bytes| Quota {
                bytes,
                period: match quota_period {
                    QuotaPeriod::Day => Period::Day,
                    QuotaPeriod::Week => Period::Week,
                    QuotaPeriod::Month => Period::Month,
                },
            }),
            retention_days,
            connect_timeout: seconds(connect_timeout_seconds),
            first_byte_timeout: seconds(first_byte_timeout_seconds),
            stall_timeout: seconds(stall_timeout_seconds),
            article_timeout: seconds(article_timeout_seconds),
            idle_timeout: seconds(idle_timeout_seconds),
        };
        if pipeline_body == Some(0) {
            faults.0.push(format!(
                "'providers[{at}].pipeline_body' must be 1 to 64; leave it out to have it measured"
            ));
        }
        if let Err(e) = config.check() {
            faults.0.push(format!("'providers[{at}]': {e}"));
        }
        if resolved.iter().any(|other| other.name == config.name) {
            faults.0.push(format!(
                "'providers[{at}].name': there is another provider '{}'; give each its own name",
                config.name
            ));
        }
        resolved.push(config);
    }
    resolved
}

fn resolve_news(news: News, faults: &mut Faults) -> PoolOptions {
    let News {
        request_timeout_seconds,
        demand_timeout_seconds,
        import_percent,
        health_percent,
        repair_percent,
        hedge_after_ms,
        hedge_percent,
        missing_ttl_seconds,
        missing_entries,
        probe_after_missing_seconds,
        warm_connections,
        queue_limit,
        max_article_bytes,
        spare_bytes,
    } = news;
    let request_timeout = faults.at_least_one("news.request_timeout_seconds", request_timeout_seconds);
    let demand_timeout = faults.at_least_one("news.demand_timeout_seconds", demand_timeout_seconds);
    for (key, percent) in [
        ("import", import_percent),
        ("health", health_percent),
        ("repair", repair_percent),
        ("hedge", hedge_percent),
    ] {
        if percent > 50 {
            faults.0.push(format!("'news.{key}_percent' must be 0 to 50"));
        }
    }
    PoolOptions {
        request_timeout: seconds(request_timeout),
        demand_timeout: seconds(demand_timeout),
        queue_limit: faults.at_least_one("news.queue_limit", queue_limit) as usize,
        import_percent,
        health_percent,
        repair_percent,
        hedge_after: Duration::from_millis(hedge_after_ms.into()),
        hedge_percent,
        miss_ttl: seconds(missing_ttl_seconds),
        miss_entries: missing_entries as usize,
        probe_after_miss: seconds(probe_after_missing_seconds),
        warm_connections,
        max_article_bytes: faults.at_least_one("news.max_article_bytes", max_article_bytes) as usize,
        spare_bytes: spare_bytes as usize,
    }
}

fn resolve_mount(mount: Mount, faults: &mut Faults) -> MountSettings {
    let Mount {
        path,
        allow_other,
        uid,
        gid,
        cache_seconds,
        read_timeout_seconds,
    } = mount;
    let read_timeout = seconds(faults.at_least_one("mount.read_timeout_seconds", read_timeout_seconds));
    if let Some(path) = path.as_deref().filter(|path| !path.is_absolute()) {
        let path = path.display();
        faults.0.push(format!(
            "'mount.path': '{path}' is not absolute; give the full path"
        ));
    }
    MountSettings {
        path,
        allow_other,
        uid,
        gid,
        cache: seconds(cache_seconds),
        read_timeout,
    }
}

/// As many as are tried for an archive, with a few left for those that come with a release.
const MAX_PASSWORDS: usize = 48;

fn resolve_import(import: Import, faults: &mut Faults) -> EngineConfig {
    let Import {
        workers,
        allowed_roots,
        source_file,
        // `nzb_defaults` has them
        check: _,
        ignore: _,
        damage: _,
        list_sidecars,
        passwords,
        max_source_bytes,
        submit_memory_bytes,
        max_attempts,
        retry_base_seconds,
        retry_cap_seconds,
        lease_seconds,
        limits,
    } = import;
    let Limits {
        max_files,
        max_nodes,
        max_articles,
        max_bytes_read,
        max_in_flight,
        wall_time_seconds,
    } = limits;
    for root in &allowed_roots {
        if !root.is_absolute() {
            let root = root.display();
            faults.0.push(format!(
                "'import.allowed_roots': '{root}' is not absolute; give full paths"
            ));
        }
    }
    if lease_seconds < 3 {
        faults
            .0
            .push("'import.lease_seconds' must be at least 3".to_owned());
    }
    let defaults = EngineConfig::default();
    let workers = NonZeroUsize::new(faults.at_least_one("import.workers", workers).into());
    EngineConfig {
        workers: workers.unwrap_or(defaults.workers),
        lease: seconds(lease_seconds),
        max_attempts: faults.at_least_one("import.max_attempts", max_attempts),
        retry_base: seconds(retry_base_seconds),
        retry_cap: seconds(retry_cap_seconds),
        allowed_roots,
        delete_source: source_file == SourceFile::Delete,
        max_source_bytes: faults.at_least_one("import.max_source_bytes", max_source_bytes),
        submit_memory_bytes: faults.at_least_one("import.submit_memory_bytes", submit_memory_bytes),
        list_sidecars,
        passwords: resolve_passwords(&passwords, faults),
        limits: ImportLimits {
            max_files: faults.at_least_one("import.limits.max_files", max_files) as usize,
            max_nodes: faults.at_least_one("import.limits.max_nodes", max_nodes) as usize,
            max_articles: faults.at_least_one("import.limits.max_articles", max_articles) as usize,
            max_bytes_read: faults.at_least_one("import.limits.max_bytes_read", max_bytes_read),
            max_in_flight: faults.at_least_one("import.limits.max_in_flight", max_in_flight) as usize,
            wall_time: seconds(faults.at_least_one("import.limits.wall_time_seconds", wall_time_seconds)),
            ..defaults.limits
        },
        ..defaults
    }
}

fn resolve_passwords(passwords: &[SecretString], faults: &mut Faults) -> Passwords {
    if passwords
        .iter()
        .any(|password| password.expose_secret().is_empty())
    {
        faults
            .0
            .push("'import.passwords': an empty password fits nothing; leave it out".to_owned());
    }
    if passwords.len() > MAX_PASSWORDS {
        faults.0.push(format!(
            "'import.passwords': {} are given, and at most {MAX_PASSWORDS} are tried; each costs time with every encrypted release",
            passwords.len()
        ));
    }
    let texts = passwords
        .iter()
        .map(|password| password.expose_secret().to_owned());
    texts.collect::<Vec<_>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Sources, env, needs_restart};

    fn settings(yaml: &Value) -> Result<String, ConfigError> {
        let file = Some(("test".to_owned(), yaml.to_string()));
        let sources = Sources {
            file,
            ..Sources::default()
        };
        sources.load()?.resolve().map(|settings| format!("{settings:?}"))
    }

    /// Every leaf of the schema as (path, schema); the keys of `providers` are below index 0.
    fn leaves(schema: &Value, path: &[String], out: &mut Vec<(Vec<String>, Value)>) {
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            for (name, part) in properties {
                leaves(part, &[path, std::slice::from_ref(name)].concat(), out);
            }
        } else if let Some(items) = schema.get("items").filter(|i| i.get("properties").is_some()) {
            leaves(items, &[path, &["0".to_owned()]].concat(), out);
        } else {
            out.push((path.to_vec(), schema.clone()));
        }
    }

    /// Values for a key, one of which is not what it has without them.
    fn candidates(key: &str, schema: &Value) -> Vec<Value> {
        if let Some(options) = schema.get("oneOf").and_then(Value::as_array) {
            return options.iter().map(|o| o["const"].clone()).collect();
        }
        match key {
            "server.listen" => return vec![json!("127.0.0.1:99")],
            "import.allowed_roots" => return vec![json!(["/srv"])],
            "import.ignore" => return vec![json!(["*.exe"])],
            "mount.path" | "outputs.library_path" => return vec![json!("/mnt/altmount")],
            "arr.own_url" | "arr.instances.0.url" => return vec![json!("http://elsewhere")],
            "arr.instances.0.categories" => return vec![json!(["other"])],
            "outputs.default" => return vec![json!(["copy"])],
            "outputs.categories" => return vec![json!({"tv": ["copy"]})],
            "outputs.symlinks.path"
            | "outputs.strm.path"
            | "outputs.copy.path"
            | "outputs.symlinks.target"
            | "outputs.mappings.0.ours" => return vec![json!("/srv/elsewhere")],
            "outputs.strm.base_url" => return vec![json!("http://elsewhere")],
            "import.passwords" => return vec![json!(["secret"])],
            "server.trusted_proxies" => return vec![json!(["10.0.0.0/8"])],
            "server.forward_auth_header" => return vec![json!("Remote-User")],
            "plugins.config" => return vec![json!({"links": {"a": 1}})],
            "watch.folders.0.path" => return vec![json!("/srv/other")],
            "watch.folders.0.category" => return vec![json!("tv")],
            "backup.folder" => return vec![json!("/srv/elsewhere")],
            "notify.targets.0.secret_url" => return vec![json!("https://elsewhere/hook")],
            "notify.targets.0.events" => return vec![json!(["failed"])],
            "notify.targets.0.template" => return vec![json!("{\"text\": \"{{title}}\"}")],
            "metrics.listen" => return vec![json!("127.0.0.1:99")],
            "telemetry.otlp_endpoint" => return vec![json!("http://127.0.0.1:4318/v1/traces")],
            "plugins.load.0.path" => return vec![json!("/other.so")],
            "plugins.load.0.sha256" => return vec![json!("ab".repeat(32))],
            "plugins.priority" => return vec![json!({"links": 3})],
            "log.level" => return vec![json!("debug")],
            "sabnzbd.url_base" => return vec![json!("/other")],
            "sabnzbd.version" => return vec![json!("4.5.2")],
            "sabnzbd.fetch_allow" => return vec![json!(["indexer.lan"])],
            "categories.0.priority" => return vec![json!(1)],
            "categories.0.check" => return vec![json!("full")],
            _ => {}
        }
        let kind = &schema["type"];
        let is = |name: &str| kind == name || kind.as_array().is_some_and(|k| k.contains(&json!(name)));
        if is("boolean") {
            vec![json!(true), json!(false)]
        } else if is("integer") {
            vec![json!(17)]
        } else {
            vec![json!("other")]
        }
    }

    fn tree(path: &[String], value: Value) -> Value {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let mut tree = path.iter().rev().fold(value, |below, part| {
            if *part == "0" {
                json!([below])
            } else {
                json!({ *part: below })
            }
        });
        if path[..2] == ["plugins", "load"] {
            let file = tree["plugins"]["load"][0].as_object_mut().expect("a map");
            file.entry("path").or_insert_with(|| json!("/lib.so"));
        }
        if path[..2] == ["arr", "instances"] {
            let instance = tree["arr"]["instances"][0].as_object_mut().expect("a map");
            for (key, value) in [("url", "http://here"), ("api_key", "key")] {
                instance.entry(key).or_insert_with(|| json!(value));
            }
        }
        if path[0] == "arr" && path.len() > 4 {
            let rule = tree["arr"]["queue"]["rules"][0].as_object_mut().expect("a map");
            rule.entry("message").or_insert_with(|| json!("*sample*"));
        }
        if path[0] == "backup" {
            let backup = tree["backup"].as_object_mut().expect("a map");
            backup.entry("folder").or_insert_with(|| json!("/srv/backup"));
        }
        if path[..2] == ["notify", "targets"] {
            let target = tree["notify"]["targets"][0].as_object_mut().expect("a map");
            target
                .entry("secret_url")
                .or_insert_with(|| json!("https://here/hook"));
        }
        if path[0] == "watch" {
            // A folder's category is one of these.
            tree["categories"] = json!([{"name": "tv"}]);
            let folder = tree["watch"]["folders"][0].as_object_mut().expect("a map");
            folder.entry("path").or_insert_with(|| json!("/srv/watch"));
        }
        if path[0] == "outputs" {
            // What the other keys need to be valid.
            let outputs = tree["outputs"].as_object_mut().expect("a map");
            for (name, whole) in [
                ("symlinks", json!({"path": "/srv/links"})),
                ("strm", json!({"path": "/srv/strm", "base_url": "http://here"})),
                ("copy", json!({"path": "/srv/copy"})),
            ] {
                let part = outputs.entry(name).or_insert_with(|| json!({}));
                for (key, value) in whole.as_object().expect("a map") {
                    let part = part.as_object_mut().expect("a map");
                    part.entry(key).or_insert_with(|| value.clone());
                }
            }
            outputs
                .entry("library_path")
                .or_insert_with(|| json!("/mnt/library"));
            if let Some(mapping) = outputs.get_mut("mappings") {
                let mapping = mapping[0].as_object_mut().expect("a map");
                mapping.entry("ours").or_insert_with(|| json!("/srv"));
                mapping.entry("theirs").or_insert_with(|| json!("/data"));
            }
        }
        if path == ["server", "forward_auth_header"] {
            tree["server"]["trusted_proxies"] = json!(["10.0.0.0/8"]);
        }
        if path[0] == "categories" {
            let category = tree["categories"][0].as_object_mut().expect("a map");
            category.entry("name").or_insert_with(|| json!("tv"));
        }
        if path[0] == "providers" {
            // What the other keys of a provider need to be valid.
            for (key, value) in [
                ("host", json!("news")),
                ("username", json!("user")),
                ("quota_bytes", json!(1000)),
            ] {
                let provider = tree["providers"][0].as_object_mut().expect("a map");
                provider.entry(key).or_insert(value);
            }
        }
        tree
    }

    #[test]
    fn every_key_changes_something() {
        let mut all = Vec::new();
        leaves(&env::schema(), &[], &mut all);
        assert!(all.len() > 50, "{}", all.len());
        let plain = settings(&json!({})).expect("the defaults are valid");
        let provider = settings(&tree(
            &["providers".to_owned(), "0".to_owned(), "host".to_owned()],
            json!("news"),
        ))
        .expect("a provider is valid");
        let watch = settings(
            &json!({"categories": [{"name": "tv"}], "watch": {"folders": [{"path": "/srv/watch"}]}}),
        )
        .expect("valid");
        let backup = settings(&json!({"backup": {"folder": "/srv/backup"}})).expect("valid");
        let target =
            settings(&json!({"notify": {"targets": [{"secret_url": "https://here/hook"}]}})).expect("valid");
        let category = settings(&json!({"categories": [{"name": "tv"}]})).expect("a category is valid");
        for (path, schema) in all {
            let key = path.join(".");
            if key == "arr.instances.0.api_key" {
                // A secret looks the same whatever it is, and this one must be there: it is read where it is missed.
                assert!(
                    settings(&tree(&path, json!(""))).is_err(),
                    "nothing reads '{key}'"
                );
                continue;
            }
            let before = match path[0].as_str() {
                "providers" => &provider,
                "watch" => &watch,
                "backup" => &backup,
                "notify" if path.len() > 2 => &target,
                // Read by builds that can send traces, and refused by others.
                "telemetry" if cfg!(not(feature = "otel")) => continue,
                "categories" => &category,
                // The same tree without a value of this key's own.
                "outputs" => &outputs_without(&path),
                "arr" if path.len() > 3 => &arr_without(&path),
                _ => &plain,
            };
            let changed = candidates(&key, &schema).into_iter().any(|value| {
                let after = settings(&tree(&path, value)).unwrap_or_else(|e| panic!("{key}: {e}"));
                after != *before
            });
            assert!(changed, "nothing reads '{key}'");
        }
    }

    /// What a running server does not exchange when its configuration changes: see `live`.
    fn kept(yaml: &Value) -> String {
        let sources = Sources {
            file: Some(("test".to_owned(), yaml.to_string())),
            ..Sources::default()
        };
        let mut settings = sources
            .load()
            .and_then(Config::resolve)
            .unwrap_or_else(|error| panic!("{yaml}: {error}"));
        settings.providers.clear();
        settings.arr = ArrSettings::default();
        settings.categories = Arc::default();
        settings.plugin_config.clear();
        settings.plugin_priority.clear();
        settings.plugin_files.clear();
        settings.plugins_unverified = false;
        settings.log_level.clear();
        settings.watch.clear();
        settings.notify = NotifySettings::default();
        settings.outputs = OutputSettings::default();
        settings.mount = resolve_mount(Mount::default(), &mut Faults::default());
        format!("{settings:?}")
    }

    #[test]
    fn what_is_said_to_be_used_at_once_is_what_the_server_exchanges() {
        let mut all = Vec::new();
        leaves(&env::schema(), &[], &mut all);
        let plain = kept(&json!({}));
        let backup = kept(&json!({"backup": {"folder": "/srv/backup"}}));
        for (path, schema) in all {
            let key = path.join(".");
            // Read by builds that can send traces, and refused by others.
            if path[0] == "telemetry" && cfg!(not(feature = "otel")) {
                continue;
            }
            let before = if path[0] == "backup" { &backup } else { &plain };
            let changed = candidates(&key, &schema)
                .into_iter()
                .any(|value| kept(&tree(&path, value)) != *before);
            assert_eq!(changed, needs_restart(&key), "{key}");
        }
    }

    /// What [`tree`] makes around a key of a list of the *arrs', without the key.
    fn arr_without(path: &[String]) -> String {
        let names: Vec<&str> = path.iter().map(String::as_str).collect();
        let (anchor, value): (Vec<&str>, _) = match names[1] {
            "instances" => (vec!["arr", "instances", "0", "url"], json!("http://here")),
            _ => (vec!["arr", "queue", "rules", "0", "message"], json!("*sample*")),
        };
        let anchor: Vec<String> = anchor.into_iter().map(str::to_owned).collect();
        settings(&tree(&anchor, value)).expect("valid")
    }

    /// What [`tree`] makes around a key of the outputs, without the key.
    fn outputs_without(path: &[String]) -> String {
        let names: Vec<&str> = path.iter().map(String::as_str).collect();
        let anchor: Vec<String> = match names[1] {
            "mappings" => ["outputs", "mappings", "0", "ours"].map(str::to_owned).to_vec(),
            _ => ["outputs", "copy", "max_bytes_per_second"]
                .map(str::to_owned)
                .to_vec(),
        };
        let value = if names[1] == "mappings" {
            json!("/srv")
        } else {
            json!(0)
        };
        settings(&tree(&anchor, value)).expect("valid")
    }

    #[test]
    fn categories_stay_below_the_library_and_have_names_of_their_own() {
        let faults =
            |yaml: Value| settings(&json!({"categories": yaml})).map_or_else(|e| e.problems.len(), |_| 0);
        for good in [
            json!([{"name": "tv"}, {"name": "movies", "dir": "films/hd"}]),
            json!([{"name": "TV 4K", "dir": "/tv/", "priority": 2}]),
        ] {
            assert_eq!(faults(good.clone()), 0, "{good}");
        }
        for bad in [
            json!([{"name": ""}]),
            json!([{"name": "*"}]),
            json!([{"name": "a,b"}]),
            json!([{"name": "Default"}]),
            json!([{"name": "tv"}, {"name": "TV", "dir": "x"}]),
            json!([{"name": "tv", "dir": "../x"}]),
            json!([{"name": "tv", "dir": "/"}]),
            json!([{"name": "tv", "dir": "tv*"}]),
            json!([{"name": "tv", "priority": 3}]),
        ] {
            assert_ne!(faults(bad.clone()), 0, "{bad}");
        }
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let error = settings(&json!({
            "server": {"max_connections": 0},
            "import": {"allowed_roots": ["down/loads"], "lease_seconds": 1},
            "providers": [{"name": "a"}, {"name": "b", "host": "x"}, {"name": "b", "host": "y", "password": "p"}],
            "log": {"level": "a=b=c"},
        }))
        .expect_err("refused");
        for key in [
            "server.max_connections",
            "import.allowed_roots",
            "import.lease_seconds",
            "providers[0].host",
            "providers[2].name",
            "providers[2]'",
            "log.level",
        ] {
            assert!(error.problems.iter().any(|p| p.contains(key)), "{key} in {error}");
        }
    }

    #[test]
    fn the_importers_own_check_goes_before_the_queues() {
        let check = |yaml: Value| {
            let file = Some(("test".to_owned(), yaml.to_string()));
            let sources = Sources {
                file,
                ..Sources::default()
            };
            let settings = sources.load().expect("loads").resolve().expect("valid");
            settings.plugin_config["nzb"]["check"].clone()
        };
        assert_eq!(check(json!({})), "sample");
        assert_eq!(check(json!({"import": {"check": "full"}})), "full");
        let both = json!({"import": {"check": "full"}, "plugins": {"config": {"nzb": {"check": "none"}}}});
        assert_eq!(check(both), "none");
    }
}
