//! Counters of everything that a server was asked and did.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The commands that are told apart in the counts and by rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Command {
    /// `CAPABILITIES`
    Capabilities,
    /// `MODE READER`
    ModeReader,
    /// `AUTHINFO USER` and `AUTHINFO PASS`, each counted
    AuthInfo,
    /// `DATE`
    Date,
    /// `HELP`
    Help,
    /// `GROUP`
    Group,
    /// `STAT`
    Stat,
    /// `HEAD`
    Head,
    /// `BODY`
    Body,
    /// `ARTICLE`
    Article,
    /// `POST`
    Post,
    /// `QUIT`
    Quit,
    /// Anything that the server does not know.
    Unknown,
}

impl Command {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 13] = [
        Self::Capabilities,
        Self::ModeReader,
        Self::AuthInfo,
        Self::Date,
        Self::Help,
        Self::Group,
        Self::Stat,
        Self::Head,
        Self::Body,
        Self::Article,
        Self::Post,
        Self::Quit,
        Self::Unknown,
    ];

    fn index(self) -> usize {
        self as usize
    }
}

/// What a server counted, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    commands: [u64; Command::ALL.len()],
    /// Connections that were accepted, the refused ones included.
    pub connections: u64,
    /// Connections that are open now.
    pub open: u64,
    /// The most that were open at one time.
    pub peak: u64,
    /// Connections that were turned away with 502 because of the limit.
    pub refused: u64,
    /// Logins that succeeded.
    pub logins: u64,
    /// Logins that failed.
    pub logins_failed: u64,
    /// Articles (`ARTICLE`, `BODY`) that were sent to their end.
    pub articles: u64,
    /// Articles that were posted to the server.
    pub posted: u64,
    /// Bytes sent, as the protocol's text (without TLS's overhead).
    pub bytes_out: u64,
    /// Bytes received, likewise.
    pub bytes_in: u64,
}

impl Counts {
    /// How often this command came.
    pub fn get(&self, command: Command) -> u64 {
        self.commands[command.index()]
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    commands: [AtomicU64; Command::ALL.len()],
    pub(crate) connections: AtomicU64,
    open: AtomicU64,
    peak: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) logins: AtomicU64,
    pub(crate) logins_failed: AtomicU64,
    pub(crate) articles: AtomicU64,
    pub(crate) posted: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
}

impl Counters {
    pub(crate) fn command(&self, command: Command) {
        self.commands[command.index()].fetch_add(1, Relaxed);
    }

    /// Counts a connection in; returns how many are open with it.
    pub(crate) fn opened(&self) -> u64 {
        self.connections.fetch_add(1, Relaxed);
        let open = self.open.fetch_add(1, Relaxed) + 1;
        self.peak.fetch_max(open, Relaxed);
        open
    }

    pub(crate) fn closed(&self) {
        self.open.fetch_sub(1, Relaxed);
    }

    pub(crate) fn snapshot(&self) -> Counts {
        let mut commands = [0; Command::ALL.len()];
        for (to, from) in commands.iter_mut().zip(&self.commands) {
            *to = from.load(Relaxed);
        }
        Counts {
            commands,
            connections: self.connections.load(Relaxed),
            open: self.open.load(Relaxed),
            peak: self.peak.load(Relaxed),
            refused: self.refused.load(Relaxed),
            logins: self.logins.load(Relaxed),
            logins_failed: self.logins_failed.load(Relaxed),
            articles: self.articles.load(Relaxed),
            posted: self.posted.load(Relaxed),
            bytes_out: self.bytes_out.load(Relaxed),
            bytes_in: self.bytes_in.load(Relaxed),
        }
    }
}
