//! Faults on demand: what goes wrong, for which requests, how often.

use crate::{counts::Command, generator::mix};
use std::{collections::HashSet, fmt, ops::RangeBounds, time::Duration};
use tokio::sync::watch;

/// One way in which a news server lets its reader down.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// 430 "no such article".
    Missing,
    /// One byte of the payload is another one; the checksums are those of the right bytes.
    CorruptPayload,
    /// The payload is right, `pcrc32`/`crc32` is not.
    CorruptChecksum,
    /// The body ends half way at a line's end, without `=yend`, but with the terminating dot.
    Truncated,
    /// `=ybegin` and `=yend` give sizes that are 1000 bytes too large.
    WrongSize,
    /// `=ypart` places the part 1000 bytes later than it lies. Only on articles that have a `=ypart`.
    WrongOffset,
    /// The reply starts this much later.
    SlowFirstByte(Duration),
    /// The article comes at this many bytes a second.
    SlowBytes(u64),
    /// Half of the article (or nothing, of a one-line reply), then silence until the client goes.
    Stall,
    /// The connection closes without a reply.
    Disconnect,
    /// The connection closes in the middle of the article (of a one-line reply: without one).
    DisconnectInside,
    /// Another reply in place of the right one.
    Reply {
        /// Three digits.
        code: u16,
        /// The text behind it; without line ends.
        text: String,
        /// Whether the server closes the connection behind it.
        close: bool,
    },
    /// 480, and the connection's login is forgotten.
    LoginLost,
    /// The reply waits until the gate is opened.
    Hold(Gate),
}

impl Fault {
    /// `400`, and the connection closes: the server goes down or times the reader out (RFC 3977, 3.2.1).
    pub fn goodbye() -> Self {
        Self::Reply {
            code: 400,
            text: "service temporarily unavailable".into(),
            close: true,
        }
    }

    /// `502` in the middle of a session, and the connection closes.
    pub fn too_many_connections() -> Self {
        Self::Reply {
            code: 502,
            text: "too many connections".into(),
            close: true,
        }
    }

    /// Faults of the article itself hit `ARTICLE` and `BODY`; the others every command that names an article.
    fn default_commands(&self) -> &'static [Command] {
        match self {
            Self::CorruptPayload
            | Self::CorruptChecksum
            | Self::Truncated
            | Self::WrongSize
            | Self::WrongOffset
            | Self::SlowBytes(_)
            | Self::DisconnectInside => &[Command::Article, Command::Body],
            _ => &[Command::Article, Command::Body, Command::Head, Command::Stat],
        }
    }

    /// Faults that a stored article has, so that asking again finds them again.
    fn is_lasting(&self) -> bool {
        matches!(
            self,
            Self::Missing
                | Self::CorruptPayload
                | Self::CorruptChecksum
                | Self::Truncated
                | Self::WrongSize
                | Self::WrongOffset
        )
    }
}

/// Holds replies back until a test opens it, so that a test never has to guess how long something takes.
#[derive(Clone)]
pub struct Gate(watch::Sender<bool>);

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    /// Lets everything through from now on.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    /// Holds replies back again.
    pub fn close(&self) {
        self.0.send_replace(false);
    }

    pub(crate) async fn passed(&self) {
        // The sender lives in `self`, so the wait cannot fail.
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Gate").field(&*self.0.borrow()).finish()
    }
}

/// A fault and the requests that it hits. All limits must agree; a fresh rule hits every request that its fault is for.
#[derive(Clone, Debug)]
pub struct Rule {
    fault: Fault,
    ids: Option<HashSet<String>>,
    commands: Vec<Command>,
    first: u64,
    last: u64,
    per_id: bool,
    chance: f64,
    seen: u64,
}

impl Rule {
    /// `fault` for every request: the content faults for `ARTICLE` and `BODY`, the others for `HEAD` and `STAT` too.
    pub fn new(fault: Fault) -> Self {
        let commands = fault.default_commands().to_vec();
        Self {
            fault,
            ids: None,
            commands,
            first: 1,
            last: u64::MAX,
            per_id: false,
            chance: 1.0,
            seen: 0,
        }
    }

    /// Only for this message-id (without angle brackets). Several calls name several.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.ids.get_or_insert_default().insert(id.into());
        self
    }

    /// Only for these message-ids; none at all if there are none.
    #[must_use]
    pub fn ids<T: Into<String>>(mut self, ids: impl IntoIterator<Item = T>) -> Self {
        self.ids
            .get_or_insert_default()
            .extend(ids.into_iter().map(Into::into));
        self
    }

    /// Only for these commands, of whatever kind (a login too).
    #[must_use]
    pub fn commands(mut self, commands: impl Into<Vec<Command>>) -> Self {
        self.commands = commands.into();
        self
    }

    /// Only for the n-th requests in this range, counted from 1 over the requests that the other limits let in.
    #[must_use]
    pub fn requests(mut self, range: impl RangeBounds<u64>) -> Self {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        self.first = match range.start_bound() {
            Included(first) => *first,
            Excluded(before) => before.saturating_add(1),
            Unbounded => 1,
        };
        self.last = match range.end_bound() {
            Included(last) => *last,
            Excluded(end) => end.saturating_sub(1),
            Unbounded => u64::MAX,
        };
        self
    }

    /// Counts [`Rule::requests`] for each article by itself, over the rule's commands.
    #[must_use]
    pub fn per_id(mut self) -> Self {
        self.per_id = true;
        self
    }

    /// Hits with this probability (0 to 1), decided by the server's seed, the message-id and, unless the fault is one
    /// that a stored article keeps, the number of the request. So a run can be repeated whatever the timing.
    #[must_use]
    pub fn chance(mut self, probability: f64) -> Self {
        self.chance = probability;
        self
    }
}

/// A request as the rules see it.
pub(crate) struct Request<'a> {
    pub(crate) command: Command,
    pub(crate) id: Option<&'a str>,
    /// How often each command has asked for this article, this request included.
    pub(crate) asked: &'a dyn Fn(Command) -> u64,
}

/// The rules of one server, in the order in which they were added.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    seed: u64,
    rules: Vec<Rule>,
}

impl Rules {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            rules: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, rule: Rule) {
        self.rules.push(rule);
    }

    pub(crate) fn clear(&mut self) {
        self.rules.clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The faults that hit this request. Delays add to others; of two contradicting ones the later rule's holds.
    pub(crate) fn judge(&mut self, request: &Request<'_>) -> Vec<Fault> {
        let seed = self.seed;
        let mut hits = Vec::new();
        for (index, rule) in self.rules.iter_mut().enumerate() {
            if !rule.commands.contains(&request.command) {
                continue;
            }
            let named = match (&rule.ids, request.id) {
                (None, _) => true,
                (Some(ids), Some(id)) => ids.contains(id),
                (Some(_), None) => false,
            };
            if !named {
                continue;
            }
            rule.seen += 1;
            let asked: u64 = rule.commands.iter().map(|c| (request.asked)(*c)).sum();
            let number = if rule.per_id && asked > 0 {
                asked
            } else {
                rule.seen
            };
            if number < rule.first || number > rule.last {
                continue;
            }
            let round = match (rule.fault.is_lasting(), asked) {
                (true, _) => 0,
                (false, 0) => rule.seen,
                (false, asked) => asked,
            };
            if rule.chance < 1.0 && draw(seed, index as u64, request.id, round) >= rule.chance {
                continue;
            }
            hits.push(rule.fault.clone());
        }
        hits
    }
}

/// A number in 0..1 that depends on nothing but its arguments.
fn draw(seed: u64, rule: u64, id: Option<&str>, round: u64) -> f64 {
    let mut state = mix(seed ^ mix(rule));
    for byte in id.unwrap_or_default().bytes() {
        state = mix(state ^ u64::from(byte));
    }
    let bits = mix(state ^ mix(round.wrapping_add(1)));
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(rules: &mut Rules, command: Command, id: &str, nth: u64) -> usize {
        let asked = |c: Command| if c == command { nth } else { 0 };
        rules
            .judge(&Request {
                command,
                id: Some(id),
                asked: &asked,
            })
            .len()
    }

    #[test]
    fn windows_ids_and_commands_limit_a_rule() {
        let mut rules = Rules::new(1);
        rules.add(
            Rule::new(Fault::Missing)
                .id("a")
                .commands([Command::Body])
                .requests(2..=3),
        );
        let counts: Vec<usize> = (1..=5).map(|n| hits(&mut rules, Command::Body, "a", n)).collect();
        assert_eq!(counts, [0, 1, 1, 0, 0]);
        assert_eq!(hits(&mut rules, Command::Body, "b", 2), 0);
        assert_eq!(hits(&mut rules, Command::Stat, "a", 2), 0);
    }

    #[test]
    fn per_id_counts_each_article() {
        let mut rules = Rules::new(1);
        rules.add(Rule::new(Fault::Disconnect).requests(..=1).per_id());
        assert_eq!(hits(&mut rules, Command::Body, "a", 1), 1);
        assert_eq!(hits(&mut rules, Command::Body, "b", 1), 1);
        assert_eq!(hits(&mut rules, Command::Body, "a", 2), 0);
    }

    #[test]
    fn chance_is_lasting_for_articles_and_fresh_for_connections() {
        let (mut missing, mut stalls) = (Rules::new(9), Rules::new(9));
        missing.add(Rule::new(Fault::Missing).chance(0.3));
        stalls.add(Rule::new(Fault::Stall).chance(0.3));
        let mut differs = 0;
        let mut gone = 0;
        for article in 0..1000 {
            let id = format!("{article}@x");
            let first = hits(&mut missing, Command::Body, &id, 1);
            assert_eq!(first, hits(&mut missing, Command::Stat, &id, 2));
            gone += first;
            differs += usize::from(
                hits(&mut stalls, Command::Body, &id, 1) != hits(&mut stalls, Command::Body, &id, 2),
            );
        }
        assert!((200..400).contains(&gone), "{gone} of 1000 at 0.3");
        assert!((300..540).contains(&differs), "{differs} of 1000 differ");
    }
}
