//! `altmount serve`.

use super::{Global, reachable, runtime};
use crate::{
    app::{self, App, WEBDAV_PATH},
    config::{Editor, Settings, Sources, sample_yaml},
    data::DataDir,
    live::Live,
    logs,
    plugins::Reread,
    telemetry::Telemetry,
};
use anyhow::{Result, anyhow};
use std::{io::Write, net::SocketAddr, process::ExitCode, time::Duration};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// For calls of the system that are under way at the very end: one of a share that is gone never comes back.
const LAST_CALLS: Duration = Duration::from_secs(2);

pub(super) fn run(global: &Global) -> Result<ExitCode> {
    let data = global.data()?;
    data.create()?;
    if global.config.is_none() {
        data.create_config(&sample_yaml())?;
    }
    let settings = global.settings(&data)?;
    let runtime = runtime()?;
    let (telemetry, traces) = Telemetry::start(settings.telemetry.as_deref(), runtime.handle())?;
    logs::start(&settings.log_level, settings.log_format, traces)
        .map_err(|error| anyhow!("the log cannot be started: {error}"))?;
    let ended = runtime.block_on(serve(global, settings, &data));
    telemetry.end();
    runtime.shutdown_timeout(LAST_CALLS);
    ended
}

async fn serve(global: &Global, settings: Settings, data: &DataDir) -> Result<ExitCode> {
    // Before anything is started, so that a signal in the middle of it is not lost.
    let stop = CancellationToken::new();
    watch_signals(&stop)?;
    let hangup = signal(SignalKind::hangup())?;
    let webdav_user = settings.webdav.as_ref().map(|webdav| webdav.user.clone());
    let password_configured = settings.webdav.as_ref().is_some_and(|w| w.password.is_some());
    let mount_path = settings.mount.path.clone();
    let providers = settings.providers.iter().filter(|p| p.enabled).count();
    let (flags, folder) = (global.clone(), data.clone());
    let config_file = global.config.clone().unwrap_or_else(|| data.config_file());
    let mut above = Sources::from_process();
    above.listen = global.listen;
    above.mount.clone_from(&global.mount);
    let editor = Editor::new(config_file.clone(), above);
    let reread = Reread::new(move || flags.settings(&folder)).with_file(editor);
    let listener = app::listen(&settings.server).await?;
    let app = App::start_with(settings, data, reread).await?;
    let address = listener.local_addr()?;
    watch_hangup(hangup, app.live().clone());
    let mut lines = vec![
        format!("AltMount {} listens on {address}", env!("CARGO_PKG_VERSION")),
        format!("  page           http://{}/", reachable(address)),
    ];
    if let Some(user) = webdav_user {
        let password = match password_configured {
            true => "as configured".to_owned(),
            false => format!("in {}", data.password_file().display()),
        };
        lines.push(format!("  mount (WebDAV) {}", mount(address)));
        lines.push(format!("                 user {user}, password {password}"));
    }
    if let Some(path) = mount_path {
        lines.push(format!("  mount (FUSE)   {}", path.display()));
    }
    lines.push(format!("  API key        {}", data.key_file().display()));
    lines.push(format!("  configuration  {}", config_file.display()));
    if let Some(at) = app.metrics_address() {
        lines.push(format!("  metrics        http://{at}/metrics"));
    }
    if providers == 0 {
        lines.push(
            "  no news server is configured yet: add one under 'providers' to import NZB files".to_owned(),
        );
    }
    // Whoever reads this may have gone (`altmount | head`); the server does not go with them.
    if let Err(error) = writeln!(std::io::stdout(), "{}", lines.join("\n")) {
        tracing::debug!("nobody reads what the start says: {error}");
    }
    app.serve(listener, stop).await;
    Ok(ExitCode::SUCCESS)
}

fn mount(address: SocketAddr) -> String {
    format!("http://{}{WEBDAV_PATH}", reachable(address))
}

/// SIGHUP reads the configuration again and uses what can be used without a restart.
fn watch_hangup(mut hangup: Signal, live: Live) {
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            match live.apply().await {
                Ok(applied) => tracing::info!("{applied}"),
                Err(error) => tracing::error!("the configuration is not used: {error:#}"),
            }
        }
    });
}

/// SIGTERM and SIGINT end the server in order; a second one ends it at once, which loses nothing.
pub(super) fn watch_signals(stop: &CancellationToken) -> Result<()> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = stop.clone();
    tokio::spawn(async move {
        for _ in 0..2 {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            if stop.is_cancelled() {
                tracing::warn!("ended in the middle by a second signal");
                std::process::exit(130);
            }
            tracing::info!("shutting down");
            stop.cancel();
        }
    });
    Ok(())
}
