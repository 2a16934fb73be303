//! From keys to what the components take. Every struct of the configuration is taken apart by name here: a new key that
//! nothing reads does not compile (and [`tests`] checks that changing any key changes something).
#![deny(unused_variables)]

use super::{
    ArrSettings, BackupSettings, CategorySettings, ConfigError, MountSettings, NotifySettings,
    OutputSettings, SabnzbdSettings, ServerSettings, WatchSettings, WebdavSettings, arr, import, library,
    news, operations, outputs, plugins, reading,
    restart::Fixed,
    sabnzbd, server,
    types::{Config, Health, Library, Log, LogFormat, Metrics, PluginFile, Plugins},
};
use altmount_engine::EngineConfig;
use altmount_usenet::{PoolOptions, ProviderConfig};
use altmount_vfs::VfsConfig;
use serde_json::{Value, json};
use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

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
        let server = server::server(server, &mut faults);
        let providers = news::providers(providers, &mut faults);
        let news = news::pool(news, &mut faults);
        let import_of_nzb = [
            ("check", json!(import.check)),
            ("ignore", json!(import.ignore)),
            ("damage", json!(import.damage)),
            ("category_checks", sabnzbd::category_checks(&categories)),
        ];
        let mut engine = import::engine(import, &mut faults);
        let Health {
            confirm_after_seconds,
            check_again_seconds,
        } = health;
        engine.confirm_after = seconds(confirm_after_seconds);
        engine.check_again = seconds(faults.at_least_one("health.check_again_seconds", check_again_seconds));
        let (vfs, tables_bytes) = reading::resolve(cache, http_sources, &mut faults);
        engine.table_cache_bytes = tables_bytes;
        let webdav = library::webdav(webdav, &mut faults);
        let mount = library::mount(mount, &mut faults);
        let Library {
            trash_days,
            trash_all,
        } = library;
        engine.trash = trash_all && trash_days > 0;
        let categories = sabnzbd::categories(categories, &mut faults);
        let watch = operations::watch(watch, &categories, &engine.allowed_roots, &mut faults);
        let backup = operations::backup(backup, &mut faults);
        let notify = operations::notify(notify, &mut faults);
        let Metrics { listen: metrics } = metrics;
        let telemetry = operations::telemetry(telemetry, &mut faults);
        let sabnzbd = sabnzbd::client(sabnzbd, &mut faults);
        let outputs = outputs::resolve(outputs, &mount, &mut faults);
        let arr = arr::resolve(arr, &mut faults);
        let Plugins {
            config,
            priority,
            load,
            allow_unverified,
        } = plugins;
        let plugin_files = plugins::files(load, &mut faults);
        let mut plugin_config = config;
        if let Some(fault) = plugins::nzb_defaults(&mut plugin_config, import_of_nzb) {
            faults.add(fault);
        }
        let Log { level, format } = log;
        if let Err(e) = level.parse::<tracing_subscriber::filter::EnvFilter>() {
            faults.add(format!("'log.level' cannot be used: {e}"));
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
            webdav,
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

#[cfg(test)]
mod tests;
