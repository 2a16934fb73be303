//! The command line.

mod arr;
mod backup;
mod client;
mod config;
mod demo;
mod doctor;
mod import;
mod inspect;
mod key;
mod library;
mod mount;
mod notify;
mod outputs;
mod place;
mod plugin;
mod serve;
mod speedtest;
mod user;

pub use demo::{Demo, Step, Verdict};

use crate::{
    config::{Config, LogFormat, Settings, Sources},
    data::DataDir,
    logs,
};
use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use std::{ffi::OsString, net::SocketAddr, path::PathBuf, process::ExitCode};

/// Turns a queued file into a library that can be played at once.
#[derive(Debug, Parser)]
#[command(name = "altmount", version, about)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What every command takes.
#[derive(Clone, Debug, Args)]
struct Global {
    /// The configuration file; `config.yaml` in the data directory where it is left out.
    #[arg(long, global = true, value_name = "FILE", env = "ALTMOUNT_CONFIG")]
    config: Option<PathBuf>,
    /// Where everything is kept; see `altmount config show` for where that is now.
    #[arg(long, global = true, value_name = "DIR", env = "ALTMOUNT_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Where the server listens; 0.0.0.0:8080 where neither this nor the configuration says so.
    #[arg(long, global = true, value_name = "ADDR:PORT", env = "ALTMOUNT_LISTEN")]
    listen: Option<SocketAddr>,
    /// What the command `mount` says.
    #[arg(skip)]
    mount: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the server. What `altmount` alone does too.
    Serve,
    /// Runs the server with the library mounted as a folder of this machine (FUSE), whatever `mount.path` says.
    Mount(mount::Arguments),
    /// Shows the main job: a news server and a sample release in this process, imported and streamed back.
    Demo(demo::Arguments),
    /// Queues a file at a running server and follows its import.
    ///
    /// Exits with 0 where the import completed, 3 where it failed, 4 where it was cancelled, 1 for anything else.
    Import(import::Arguments),
    /// Shows what an importer sees in a file; nothing is stored.
    Inspect(inspect::Arguments),
    /// Measures how fast news servers are, by number of connections and of requests in flight on each.
    ///
    /// Fetches articles of the library or of an NZB, and recommends what to configure. Exits with 3 where nothing came.
    Speedtest(speedtest::Arguments),
    /// The configuration.
    #[command(subcommand)]
    Config(config::Command),
    /// The API key.
    #[command(subcommand)]
    Key(key::Command),
    /// Looks over what a server needs, whether one runs or not, and says what to do: configuration, permissions, room, database,
    /// queued files, mount, importers, news servers, clock.
    ///
    /// Changes nothing. Exits with 1 where something does not work.
    Doctor(doctor::Arguments),
    /// Looks the library over.
    #[command(subcommand)]
    Library(library::Command),
    /// Who is told what happened.
    #[command(subcommand)]
    Notify(notify::Command),
    /// Writes everything that a new server needs to be this one into a file, while the server runs or not.
    Backup(backup::Arguments),
    /// Restores a backup into a data directory that holds no library.
    Restore(backup::Arguments),
    /// Sonarr, Radarr and the like.
    #[command(subcommand)]
    Arr(arr::Command),
    /// Links, `.strm` files and copies that are made for releases.
    #[command(subcommand)]
    Outputs(outputs::Command),
    /// The people who may use the page.
    #[command(subcommand)]
    User(user::Command),
    /// Importers, and libraries with importers.
    #[command(subcommand)]
    Plugin(plugin::Command),
}

/// Runs the program with the process's arguments.
pub fn main() -> ExitCode {
    run(std::env::args_os())
}

/// Runs the program with these arguments, the first of which is its own name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    crate::allocator::settle();
    let Cli { global, command } = Cli::parse_from(arguments);
    let result = match command.unwrap_or(Command::Serve) {
        Command::Serve => serve::run(&global),
        Command::Mount(arguments) => mount::run(&global, &arguments),
        Command::Demo(arguments) => demo::run(&global, &arguments),
        Command::Import(arguments) => import::run(&global, &arguments),
        Command::Inspect(arguments) => inspect::run(&global, &arguments),
        Command::Speedtest(arguments) => speedtest::run(&global, &arguments),
        Command::Config(command) => config::run(&global, &command),
        Command::Key(command) => key::run(&global, &command),
        Command::Doctor(arguments) => doctor::run(&global, &arguments),
        Command::Library(command) => library::run(&global, &command),
        Command::Notify(command) => notify::run(&global, &command),
        Command::Backup(arguments) => backup::run(&global, &arguments),
        Command::Restore(arguments) => backup::restore(&global, &arguments),
        Command::Arr(command) => arr::run(&global, &command),
        Command::Outputs(command) => outputs::run(&global, &command),
        Command::User(command) => user::run(&global, &command),
        Command::Plugin(command) => plugin::run(&global, &command),
    };
    result.unwrap_or_else(|error| {
        eprintln!("altmount: {error:#}");
        ExitCode::FAILURE
    })
}

impl Global {
    fn data(&self) -> Result<DataDir> {
        DataDir::locate(self.data_dir.as_deref())
    }

    /// Reads the configuration. A file that was named must be there.
    fn config(&self, data: &DataDir) -> Result<Config> {
        let usual = data.config_file();
        let (path, required) = match &self.config {
            Some(path) => (path, true),
            None => (&usual, false),
        };
        let mut sources = Sources::from_process().with_file(path, required)?;
        sources.listen = self.listen;
        sources.mount.clone_from(&self.mount);
        Ok(sources.load()?)
    }

    fn settings(&self, data: &DataDir) -> Result<Settings> {
        Ok(self.config(data)?.resolve()?)
    }
}

/// Starts to log, to standard error: standard output belongs to what a command says.
fn start_log(level: &str, format: LogFormat) -> Result<()> {
    logs::start(level, format, None).map_err(|error| anyhow::anyhow!("the log cannot be started: {error}"))
}

/// The runtime that a command runs in.
fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("altmount")
        .build()
        .context("the runtime cannot be started")
}

/// The address at which this machine reaches a server that listens there.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let mut address = listen;
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_stand_before_and_after_the_command() {
        for line in [
            ["altmount", "--data-dir", "/d", "key", "show"],
            ["altmount", "key", "show", "--data-dir", "/d"],
        ] {
            let cli = Cli::try_parse_from(line).expect("parsed");
            assert_eq!(cli.global.data_dir, Some("/d".into()));
            assert!(matches!(cli.command, Some(Command::Key(key::Command::Show))));
        }
        let cli = Cli::try_parse_from(["altmount", "--listen", "127.0.0.1:9"]).expect("parsed");
        assert!(cli.command.is_none());
    }

    #[test]
    fn a_server_on_every_address_is_reached_on_this_machine() {
        let at = |text: &str| reachable(text.parse().expect("an address")).to_string();
        assert_eq!(at("0.0.0.0:8080"), "127.0.0.1:8080");
        assert_eq!(at("[::]:1"), "[::1]:1");
        assert_eq!(at("192.0.2.1:5"), "192.0.2.1:5");
    }
}
