//! One connection: RFC 3977 commands, RFC 4643 login, and the faults that hit them.

use crate::{
    article::{Article, Damage, Piece, Writer, header},
    counts::Command,
    fault::{Fault, Request},
    generator::Rng,
    server::{LimitAt, Open, Shared, one_line},
    store::Entry,
    wire::{self, Incoming, Outbox, PIPELINE},
};
use bytes::Bytes;
use std::{
    io,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, SystemTime},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// Encoded bytes that are gathered before they are written.
const GATHER: usize = 64 << 10;

/// A reply that is due within this time is given now.
const HALF_A_TICK: Duration = Duration::from_micros(500);

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Continue,
    /// It closes in order: what was sent arrives.
    Close,
    /// It breaks.
    Cut,
}

/// Serves a connection to its end.
pub(crate) async fn serve<R, W>(reader: R, writer: W, open: &Open)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let shared = &open.shared;
    let (lines, incoming) = mpsc::channel(PIPELINE);
    let (accept, accepted) = mpsc::channel(1);
    let gone = CancellationToken::new();
    let read = async {
        wire::read(reader, shared.clone(), lines, accepted).await;
        gone.cancel();
    };
    let mut session = Session {
        shared,
        out: Outbox::new(writer, shared.bandwidth),
        accept,
        gone: &gone,
        user: None,
        login: None,
        group: None,
        lot: Rng::new(shared.seed ^ shared.counters.snapshot().connections),
    };
    let answer = async {
        let next = session.run(incoming, open.number).await.unwrap_or(Next::Cut);
        if next == Next::Close && session.out.flush(shared).await.is_ok() {
            session.out.shutdown().await;
        }
        next
    };
    tokio::pin!(read, answer);
    let next = tokio::select! {
        next = &mut answer => next,
        // The client will send no more; what it sent is still answered.
        () = &mut read => { answer.await; return }
    };
    if next == Next::Close {
        // Until the client has taken the last reply and closed too, or does not.
        let _ = tokio::time::timeout(Duration::from_secs(1), read).await;
    }
}

/// Counts a login for as long as its connection has it.
struct Login<'a>(&'a Shared);

impl<'a> Login<'a> {
    /// `None` if that is one too many.
    fn new(shared: &'a Shared) -> Option<Self> {
        let before = shared.logged_in.fetch_add(1, Relaxed);
        let login = Self(shared);
        let full = shared.limit_at == LimitAt::Login && before >= shared.max_connections.load(Relaxed);
        (!full).then_some(login)
    }
}

impl Drop for Login<'_> {
    fn drop(&mut self) {
        self.0.logged_in.fetch_sub(1, Relaxed);
    }
}

struct Session<'a, W> {
    shared: &'a Arc<Shared>,
    out: Outbox<W>,
    accept: mpsc::Sender<bool>,
    gone: &'a CancellationToken,
    user: Option<String>,
    login: Option<Login<'a>>,
    group: Option<String>,
    lot: Rng,
}

impl<W: AsyncWrite + Unpin> Session<'_, W> {
    async fn run(&mut self, mut incoming: mpsc::Receiver<Incoming>, number: u64) -> io::Result<Next> {
        self.latency(Instant::now()).await?;
        let limit = self.shared.max_connections.load(Relaxed) as u64;
        if self.shared.limit_at == LimitAt::Greeting && number > limit {
            self.shared.counters.refused.fetch_add(1, Relaxed);
            self.shared.changed.notify_waiters();
            self.out.line("502 too many connections");
            return Ok(Next::Close);
        }
        let greeting = self.shared.greeting();
        self.out.line(&greeting);
        if !greeting.starts_with('2') {
            return Ok(Next::Close);
        }
        loop {
            let came = match incoming.try_recv() {
                Ok(came) => came,
                Err(mpsc::error::TryRecvError::Disconnected) => return Ok(Next::Close),
                Err(mpsc::error::TryRecvError::Empty) => {
                    self.out.flush(self.shared).await?;
                    match tokio::time::timeout(self.shared.idle_timeout, incoming.recv()).await {
                        Ok(Some(came)) => came,
                        Ok(None) => return Ok(Next::Close),
                        Err(_) => {
                            self.out.line("400 idle for too long");
                            return Ok(Next::Close);
                        }
                    }
                }
            };
            let next = match came {
                Incoming::Line(at, line) => {
                    self.latency(at).await?;
                    self.command(&String::from_utf8_lossy(&line)).await?
                }
                Incoming::TooLong => {
                    self.out.line("501 line too long");
                    Next::Close
                }
                Incoming::Article(article) => self.posted(article),
            };
            if next != Next::Continue {
                return Ok(next);
            }
        }
    }

    /// Waits until the reply to a command that came at `at` may start.
    async fn latency(&mut self, at: Instant) -> io::Result<()> {
        let jitter = u64::try_from(self.shared.jitter.as_micros()).unwrap_or(u64::MAX);
        let due = at + self.shared.rtt + Duration::from_micros(self.lot.below(jitter));
        // A timer has ticks of a millisecond: of commands that came together, each would wait for a tick of its own.
        if due > Instant::now() + HALF_A_TICK {
            self.out.flush(self.shared).await?;
            tokio::time::sleep_until(due).await;
        }
        self.out.begin(due);
        Ok(())
    }

    async fn command(&mut self, line: &str) -> io::Result<Next> {
        let mut words = line.split_ascii_whitespace();
        let verb = words.next().unwrap_or_default().to_ascii_uppercase();
        let arguments: Vec<&str> = words.collect();
        let command = match verb.as_str() {
            "CAPABILITIES" => Command::Capabilities,
            "MODE" => Command::ModeReader,
            "AUTHINFO" => Command::AuthInfo,
            "DATE" => Command::Date,
            "HELP" => Command::Help,
            "GROUP" => Command::Group,
            "STAT" => Command::Stat,
            "HEAD" => Command::Head,
            "BODY" => Command::Body,
            "ARTICLE" => Command::Article,
            "POST" => Command::Post,
            "QUIT" => Command::Quit,
            _ => Command::Unknown,
        };
        self.shared.counters.command(command);
        let id = arguments
            .first()
            .and_then(|id| id.strip_prefix('<')?.strip_suffix('>'));
        let asked = id.and_then(|id| self.shared.store.asked_or_new(id));
        if let Some(asked) = &asked {
            asked.count(command);
        }
        self.shared.changed.notify_waiters();
        let count = |command: Command| asked.as_ref().map_or(0, |asked| asked.get(command));
        let faults = match self.shared.rules() {
            Some(mut rules) => rules.judge(&Request {
                command,
                id,
                asked: &count,
            }),
            None => Vec::new(),
        };

        let mut damage = Damage::default();
        let mut middle = Next::Continue;
        let mut stall = false;
        let mut missing = false;
        self.out.slow = None;
        for fault in faults {
            if damage.take(&fault) {
                continue;
            }
            match fault {
                Fault::Hold(gate) => {
                    self.out.flush(self.shared).await?;
                    tokio::select! {
                        () = gate.passed() => self.out.begin(Instant::now()),
                        () = self.gone.cancelled() => return Ok(Next::Cut),
                    }
                }
                Fault::SlowFirstByte(delay) => {
                    self.out.flush(self.shared).await?;
                    tokio::time::sleep(delay).await;
                    self.out.begin(Instant::now());
                }
                Fault::SlowBytes(rate) => {
                    // What was gathered before goes at its own pace.
                    self.out.flush(self.shared).await?;
                    self.out.slow = Some(rate);
                }
                Fault::Missing => missing = true,
                Fault::Stall => stall = true,
                Fault::DisconnectInside => middle = Next::Cut,
                Fault::Disconnect => {
                    self.out.flush(self.shared).await?;
                    return Ok(Next::Cut);
                }
                Fault::Reply { code, text, close } => {
                    self.refuse_post(command).await;
                    self.out.line(&format!("{code:03} {}", one_line(&text)));
                    return Ok(if close { Next::Close } else { Next::Continue });
                }
                Fault::LoginLost => {
                    self.refuse_post(command).await;
                    (self.login, self.user) = (None, None);
                    self.out.line("480 authentication required");
                    return Ok(Next::Continue);
                }
                // The content faults were taken above.
                _ => {}
            }
        }
        let sends_text = matches!(command, Command::Body | Command::Article);
        if !sends_text && (stall || middle == Next::Cut) {
            self.out.flush(self.shared).await?;
            if stall {
                self.gone.cancelled().await;
            }
            return Ok(Next::Cut);
        }

        let open_to_all = matches!(
            command,
            Command::Capabilities | Command::ModeReader | Command::AuthInfo | Command::Help | Command::Quit
        );
        if self.shared.credentials.is_some() && self.login.is_none() && !open_to_all {
            self.refuse_post(command).await;
            self.out.line("480 authentication required");
            return Ok(Next::Continue);
        }
        match command {
            Command::Capabilities => self.capabilities(),
            Command::ModeReader => match arguments.first() {
                Some(mode) if mode.eq_ignore_ascii_case("reader") => {
                    let code = if self.shared.posting { "200 posting allowed" } else { "201 posting prohibited" };
                    self.out.line(code);
                }
                _ => self.out.line("501 the only mode is READER"),
            },
            Command::AuthInfo => return Ok(self.authinfo(&arguments)),
            Command::Date => self.out.line(&format!("111 {}", date(SystemTime::now()))),
            Command::Help => self.out.line(
                "100 help follows\r\nCAPABILITIES MODE AUTHINFO DATE HELP GROUP STAT HEAD BODY ARTICLE POST QUIT\r\n.",
            ),
            Command::Group => self.group(arguments.first().copied()),
            Command::Stat | Command::Head | Command::Body | Command::Article => {
                let (number, entry) = match self.find(arguments.first().copied(), missing) {
                    Ok(found) => found,
                    Err(reply) => {
                        self.out.line(reply);
                        return Ok(Next::Continue);
                    }
                };
                return self.article(command, number, &entry, damage, stall, middle).await;
            }
            Command::Post => {
                self.out.line(if self.shared.posting { "340 send the article" } else { "440 posting is not allowed" });
                // The capacity is one and the reader takes each before the next POST; gone if the client is.
                let _ = self.accept.send(self.shared.posting).await;
            }
            Command::Quit => {
                self.out.line("205 goodbye");
                return Ok(Next::Close);
            }
            Command::Unknown => self.out.line("500 unknown command"),
        }
        Ok(Next::Continue)
    }

    /// Tells the reading side that no article follows, so that it goes on with commands.
    async fn refuse_post(&self, command: Command) {
        if command == Command::Post {
            let _ = self.accept.send(false).await;
        }
    }

    fn capabilities(&mut self) {
        self.out
            .line("101 capabilities follow\r\nVERSION 2\r\nIMPLEMENTATION altmount-newsd\r\nREADER");
        if self.shared.posting {
            self.out.line("POST");
        }
        if self.login.is_none() {
            self.out.line("AUTHINFO USER");
        }
        self.out.line(".");
    }

    fn authinfo(&mut self, arguments: &[&str]) -> Next {
        let (kind, value) = match arguments {
            [kind, value] => (kind.to_ascii_uppercase(), *value),
            _ => {
                self.out.line("501 AUTHINFO USER name or AUTHINFO PASS password");
                return Next::Continue;
            }
        };
        match kind.as_str() {
            "USER" if self.login.is_some() => self.out.line("502 already logged in"),
            "USER" => {
                self.user = Some(value.to_owned());
                self.out.line("381 password required");
            }
            "PASS" => {
                let Some(user) = self.user.take() else {
                    self.out.line("482 the user comes first");
                    return Next::Continue;
                };
                let right = self
                    .shared
                    .credentials
                    .as_ref()
                    .is_none_or(|(u, p)| *u == user && p == value);
                if !right || self.shared.refuse_logins.load(Relaxed) {
                    self.shared.counters.logins_failed.fetch_add(1, Relaxed);
                    self.shared.changed.notify_waiters();
                    self.out.line("481 wrong user or password");
                    return Next::Continue;
                }
                let Some(login) = Login::new(self.shared) else {
                    self.shared.counters.refused.fetch_add(1, Relaxed);
                    self.shared.changed.notify_waiters();
                    self.out.line("502 too many connections");
                    return Next::Close;
                };
                self.login = Some(login);
                self.shared.counters.logins.fetch_add(1, Relaxed);
                self.shared.changed.notify_waiters();
                self.out.line("281 welcome");
            }
            _ => self.out.line("501 AUTHINFO USER name or AUTHINFO PASS password"),
        }
        Next::Continue
    }

    fn group(&mut self, name: Option<&str>) {
        let Some(name) = name else {
            self.out.line("501 GROUP name");
            return;
        };
        match self.shared.store.group(name) {
            Some(count) => {
                self.group = Some(name.to_owned());
                let low = u64::from(count > 0);
                self.out.line(&format!("211 {count} {low} {count} {name}"));
            }
            None => self.out.line("411 no such group"),
        }
    }

    /// The article that a command names by message-id or by number, or the refusal (RFC 3977, 6.2).
    fn find(&self, name: Option<&str>, missing: bool) -> Result<(u64, Arc<Entry>), &'static str> {
        let Some(name) = name else {
            return Err("420 no current article");
        };
        if let Some(id) = name.strip_prefix('<').and_then(|id| id.strip_suffix('>')) {
            let entry = self.shared.store.get(id).filter(|_| !missing);
            return entry.map(|entry| (0, entry)).ok_or("430 no such article");
        }
        let Ok(number) = name.parse() else {
            return Err("501 a message-id or a number");
        };
        let Some(group) = &self.group else {
            return Err("412 no group selected");
        };
        let entry = self.shared.store.numbered(group, number).filter(|_| !missing);
        entry
            .map(|entry| (number, entry))
            .ok_or("423 no article with that number")
    }

    async fn article(
        &mut self,
        command: Command,
        number: u64,
        entry: &Entry,
        damage: Damage,
        stall: bool,
        middle: Next,
    ) -> io::Result<Next> {
        let id = &entry.id;
        let code = match command {
            Command::Stat => 223,
            Command::Head => 221,
            Command::Body => 222,
            _ => 220,
        };
        self.out.line(&format!("{code} {number} <{id}>"));
        if command == Command::Stat {
            return Ok(Next::Continue);
        }
        if matches!(command, Command::Head | Command::Article) {
            let headers = entry.article.headers(id);
            self.out.buffer.extend_from_slice(&headers);
        }
        if command == Command::Article {
            self.out.line("");
        }
        if command == Command::Head {
            self.out.line(".");
            return Ok(Next::Continue);
        }
        let mut writer = Writer::new(&entry.article, damage);
        let mut halves = 1;
        loop {
            let piece = writer.next(&mut self.out.buffer);
            if piece == Piece::Middle {
                halves = 2;
            }
            // An article too short to have a middle is left after its text, before its end.
            let here = piece == Piece::Middle || (piece == Piece::End && halves == 1);
            if here && (stall || middle == Next::Cut) {
                self.out.flush(self.shared).await?;
                if stall {
                    self.gone.cancelled().await;
                }
                return Ok(Next::Cut);
            }
            if piece == Piece::End {
                break;
            }
            if self.out.buffer.len() >= GATHER {
                self.out.flush(self.shared).await?;
            }
        }
        self.out.line(".");
        // Before its last bytes go: a client that has them all finds them counted.
        self.shared.counters.articles.fetch_add(1, Relaxed);
        self.shared.changed.notify_waiters();
        if self.out.slow.is_some() || self.out.buffer.len() >= GATHER {
            self.out.flush(self.shared).await?;
            self.out.slow = None;
        }
        Ok(Next::Continue)
    }

    fn posted(&mut self, article: Option<Vec<u8>>) -> Next {
        let reply = match article {
            None => "441 the article is too long",
            Some(article) => self.keep(article),
        };
        self.out.line(reply);
        Next::Continue
    }

    fn keep(&self, article: Vec<u8>) -> &'static str {
        let article = Bytes::from(article);
        let Some(end) = memchr::memmem::find(&article, b"\r\n\r\n") else {
            return "441 no empty line behind the headers";
        };
        let (headers, body) = (article.slice(..end + 2), article.slice(end + 4..));
        let named = header(&headers, "message-id");
        let id = named
            .as_deref()
            .and_then(|id| id.strip_prefix('<')?.strip_suffix('>'));
        let Some(id) = id.filter(|id| !id.is_empty() && id.len() <= 250 && !id.contains(char::is_whitespace))
        else {
            return "441 no Message-ID header, or one that is not <in brackets>";
        };
        let room = &self.shared.posted_room;
        let taken = room.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(article.len()));
        if taken.is_err() {
            return "441 out of room";
        }
        if !self
            .shared
            .store
            .add(id.into(), Arc::new(Article::Posted { headers, body }))
        {
            room.fetch_add(article.len(), Relaxed);
            return "441 the message-id is taken";
        }
        self.shared.counters.posted.fetch_add(1, Relaxed);
        self.shared.changed.notify_waiters();
        "240 article received"
    }
}

/// `yyyymmddhhmmss` in UTC (RFC 3977, 7.1), by Howard Hinnant's civil-from-days.
fn date(now: SystemTime) -> String {
    let seconds = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!(
        "{year:04}{month:02}{day:02}{hour:02}{minute:02}{:02}",
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_the_reference_tools() {
        // date -u -d @N +%Y%m%d%H%M%S
        for (seconds, text) in [
            (0, "19700101000000"),
            (951_827_696, "20000229123456"),
            (1_767_225_599, "20251231235959"),
            (4_107_542_400, "21000301000000"),
        ] {
            assert_eq!(date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }
}
