//! Readers over HTTP and WebDAV.

use crate::{FILM, FILMS, PATIENCE, Soak};
use altmount_tests::lot::Lot;
use altmount_tests::stream::Range;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// One reader of so many is over WebDAV.
pub(crate) const WEBDAV: usize = 4;

/// Reads until the end, in whatever way the lot says.
pub(crate) async fn reader(soak: &Soak, number: usize, mut lot: Lot) {
    while !soak.over.load(Relaxed) {
        let film = lot.below(FILMS) as usize;
        let at = lot.below(FILM - (32 << 20));
        let result = match lot.below(5) {
            // A piece, to its end.
            0 => {
                let range = Range::Exact(at, 1 + lot.below(4 << 20));
                visit(soak, number, film, range, u64::MAX, None, &mut lot).await
            }
            // From here on, and away in the middle of it.
            1 | 2 => {
                visit(
                    soak,
                    number,
                    film,
                    Range::From(at),
                    1 + lot.below(16 << 20),
                    None,
                    &mut lot,
                )
                .await
            }
            // With pauses, some of them longer than any time-out of a connection.
            3 => {
                visit(
                    soak,
                    number,
                    film,
                    Range::From(at),
                    24 << 20,
                    Some((4 << 20, 500, 12_000)),
                    &mut lot,
                )
                .await
            }
            // Slower than the film: a few KiB, a short stop, and again.
            _ => {
                visit(
                    soak,
                    number,
                    film,
                    Range::From(at),
                    2 << 20,
                    Some((64 << 10, 50, 300)),
                    &mut lot,
                )
                .await
            }
        };
        if let Err(error) = result {
            soak.tally.failed(&error);
            // As players do: not at once.
            tokio::time::sleep(lot.millis(100, 600)).await;
        }
    }
}

/// One answer: `bytes` of it, with a stop of so many milliseconds after every so many bytes.
pub(crate) async fn visit(
    soak: &Soak,
    number: usize,
    film: usize,
    range: Range,
    bytes: u64,
    stops: Option<(u64, u64, u64)>,
    lot: &mut Lot,
) -> std::io::Result<()> {
    let phase = || {
        format!(
            "reader {number}, {:?}, {range:?}",
            *soak.phase.lock().expect("whole")
        )
    };
    let asked = Instant::now();
    // A wait that is far too long ends here too, so that the run goes on.
    let limit = 3 * PATIENCE;
    let late = || std::io::Error::new(std::io::ErrorKind::TimedOut, "neither data nor an error");
    let webdav = number.is_multiple_of(WEBDAV);
    let opened = tokio::time::timeout(limit, soak.side(number).open(film, webdav, range)).await;
    soak.tally.waited(asked.elapsed(), phase);
    let mut stream = opened.map_err(|_| late())??;
    soak.tally.answers.fetch_add(1, Relaxed);
    let (mut got, mut stop) = (0, 0);
    while got < bytes && !soak.over.load(Relaxed) {
        let asked = Instant::now();
        let came = tokio::time::timeout(limit, stream.next()).await;
        soak.tally.waited(asked.elapsed(), phase);
        let n = match came.map_err(|_| late())? {
            Err(error) => return Err(soak.side(number).judged(error, &mut stream).await),
            Ok(n) => n as u64,
        };
        if n == 0 {
            return Ok(());
        }
        got += n;
        soak.tally.bytes.fetch_add(n, Relaxed);
        if webdav {
            soak.tally.webdav.fetch_add(n, Relaxed);
        }
        if soak.recovered.load(Relaxed) {
            soak.had_data[number].store(true, Relaxed);
        }
        if let Some((every, least, most)) = stops
            && got - stop >= every
        {
            stop = got;
            tokio::time::sleep(lot.millis(least, most)).await;
        }
    }
    Ok(())
}
