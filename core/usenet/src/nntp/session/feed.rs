//! What a session is told by whoever has requests for it, and what it tells.

use crate::nntp::command::Kind;
use crate::nntp::request::{Answer, Request};
use std::time::Duration;
use tokio::time::Instant;

/// Where a session's requests come from and where its answers go.
pub(crate) trait Feed {
    /// What may be in flight at once.
    fn depth(&self) -> Depth;
    /// Another number whenever what [`Feed::next`] has to give may have changed.
    fn version(&self) -> u64;
    /// The next request, among the kinds that there is room for.
    fn next(&self, body: bool, stat: bool) -> Option<Request>;
    /// Something came, or the first request on an idle connection was sent.
    fn moved(&self, at: Instant);
    /// The answer to a request began so long after it was next in line; `alone` where nothing else was in flight when it was
    /// sent.
    fn began(&self, kind: Kind, after: Duration, alone: bool);
    /// A body of so many bytes came whole, so long after its first bytes: those that came with its status line are not
    /// counted.
    fn came(&self, bytes: u64, took: Duration);
    /// A request got its answer.
    fn answered(&self, request: Request, answer: Answer);
    /// Bytes came in.
    fn received(&self, received: Received);
    /// How long this connection stays although nothing is in flight on it.
    fn idle_timeout(&self) -> Duration;
    /// Whether this connection is to be kept open although nothing is asked of it.
    fn keep(&self) -> bool;
    /// What it costs to go on, and to start again.
    fn costs(&self) -> Costs;
}

/// Bytes that came in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) bytes: u64,
    /// Of them, those of bodies that nobody waited for any more.
    pub(crate) unwanted: u64,
    /// Of those, the ones of articles that came whole on another connection.
    pub(crate) twice: u64,
}

/// What is known of a provider's connections, to decide whether an answer that nobody wants is read or run from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Costs {
    /// Time that a new connection takes.
    pub(crate) dial: Duration,
    /// Bytes a second that a connection brings.
    pub(crate) rate: Option<u64>,
    /// Bytes of an article, decoded.
    pub(crate) article: Option<u64>,
    /// A body that has not begun after this time is late.
    pub(crate) late: Duration,
}

/// How much is to be in flight on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Depth {
    /// Most bodies.
    pub(crate) bodies: usize,
    /// Most STATs.
    pub(crate) stats: usize,
    /// Where the depth adapts.
    pub(crate) lead: Option<Lead>,
}

/// When the next body is asked for: so early that its answer begins as the one before it ends, and not earlier. What is asked
/// for earlier is bound to this connection while another one may have room first, and lies before what is more urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lead {
    /// When no more than so many bytes of those before it are to come.
    pub(crate) bytes: u64,
    /// Bytes of a body of which nothing is known.
    pub(crate) article: u64,
}
