//! Readers: what they do, and those over HTTP and WebDAV.

use crate::sides::Side;
use crate::{Course, FILM, FILMS, PATIENCE, Soak};
use altmount_tests::lot::Lot;
use altmount_tests::stream::{Range, Stream};
use std::future::Future;
use std::io::{Error, ErrorKind, Result};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// How a reader reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Over the API.
    Http,
    WebDav,
    Mount,
}

impl Way {
    /// A quarter of the readers of each side over WebDAV, another one in the mount.
    pub(crate) fn of(reader: usize) -> Self {
        match reader % 4 {
            0 => Self::WebDav,
            2 => Self::Mount,
            _ => Self::Http,
        }
    }
}

/// A stop after every so many bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stops {
    pub(crate) every: u64,
    /// The shortest and the longest, in milliseconds.
    millis: (u64, u64),
}

impl Stops {
    pub(crate) fn time(self, lot: &mut Lot) -> Duration {
        lot.millis(self.millis.0, self.millis.1)
    }
}

/// What a reader does with a film before it goes away.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Visit {
    pub(crate) film: usize,
    pub(crate) range: Range,
    /// It is away after so many bytes.
    pub(crate) bytes: u64,
    pub(crate) stops: Option<Stops>,
}

impl Visit {
    /// The next one, as the lot says.
    pub(crate) fn draw(lot: &mut Lot) -> Self {
        let film = lot.below(FILMS) as usize;
        let at = lot.below(FILM - (32 << 20));
        let (range, bytes, stops) = match lot.below(5) {
            // A piece, to its end.
            0 => (Range::Exact(at, 1 + lot.below(4 << 20)), u64::MAX, None),
            // From here on, and away in the middle of it.
            1 | 2 => (Range::From(at), 1 + lot.below(16 << 20), None),
            // With pauses, some of them longer than any time-out of a connection.
            3 => (Range::From(at), 24 << 20, Some((4 << 20, (500, 12_000)))),
            // Slower than the film: a few KiB, a short stop, and again.
            _ => (Range::From(at), 2 << 20, Some((64 << 10, (50, 300)))),
        };
        Self {
            film,
            range,
            bytes,
            stops: stops.map(|(every, millis)| Stops { every, millis }),
        }
    }
}

/// How long after an error players try again.
pub(crate) fn pause(lot: &mut Lot) -> Duration {
    lot.millis(100, 600)
}

/// Waits for what a server is to say, and counts the wait. One that is far too long ends here too, so that the run goes on.
pub(crate) async fn answered<T>(
    course: &Course,
    answer: impl Future<Output = T>,
    who: impl FnOnce() -> String,
) -> Result<T> {
    let asked = Instant::now();
    let came = tokio::time::timeout(3 * PATIENCE, answer).await;
    course.tally.waited(asked.elapsed(), who);
    came.map_err(|_| late())
}

fn late() -> Error {
    Error::new(ErrorKind::TimedOut, "neither data nor an error")
}

/// What an error of a read is: other bytes than the posted ones are right where the answer breaks off within their article, and
/// where bytes are given out early.
pub(crate) async fn judged(side: &Side, error: Error, stream: &mut Stream) -> Error {
    if error.kind() != ErrorKind::InvalidData || side.strict {
        return error;
    }
    match tokio::time::timeout(3 * PATIENCE, stream.breaks_off(crate::ARTICLE)).await {
        Ok(true) => Error::other("the answer broke off within a damaged article"),
        Ok(false) => error,
        Err(_) => late(),
    }
}

/// Reads until the end, in whatever way the lot says.
pub(crate) async fn reader(soak: &Soak, number: usize, mut lot: Lot) {
    while !soak.course.is_over() {
        if let Err(error) = visit(soak, number, Visit::draw(&mut lot), &mut lot).await {
            soak.course.tally.failed(&error);
            tokio::time::sleep(pause(&mut lot)).await;
        }
    }
}

/// One answer.
async fn visit(soak: &Soak, number: usize, visit: Visit, lot: &mut Lot) -> Result<()> {
    let (course, side, way) = (&soak.course, soak.side(number), soak.way(number));
    let who = || course.doing(format_args!("reader {number}, {way:?}, {:?}", visit.range));
    let opened = side.open(visit.film, way, visit.range);
    let mut stream = answered(course, opened, who).await??;
    course.tally.answers.fetch_add(1, Relaxed);
    let (mut got, mut stop) = (0, 0);
    while got < visit.bytes && !course.is_over() {
        let n = match answered(course, stream.next(), who).await? {
            Err(error) => return Err(judged(side, error, &mut stream).await),
            Ok(n) => n as u64,
        };
        if n == 0 {
            return Ok(());
        }
        got += n;
        course.came(number, way, n);
        if let Some(stops) = visit.stops
            && got - stop >= stops.every
        {
            stop = got;
            tokio::time::sleep(stops.time(lot)).await;
        }
    }
    Ok(())
}
