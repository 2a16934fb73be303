//! Imports beside the readers.

use crate::sides::Side;
use crate::{PATIENCE, Soak};
use altmount_newsd::Body;
use altmount_tests::server::Film;
use altmount_tests::stream::Range;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// Bytes of a release that is imported beside the readers.
pub(crate) const SMALL: u64 = 3 << 20;

/// Imports a small release, reads it and deletes it, again and again. While the provider is bad it may fail, but what is read is right.
pub(crate) async fn imports(soak: &Soak, side: &Side, seed: u64) {
    for number in 0.. {
        if soak.over.load(Relaxed) {
            return;
        }
        let good = soak.recovered.load(Relaxed);
        let name = format!("beside-{number}");
        let given_up = || soak.over.load(Relaxed);
        let (body, completed) = side.import(&name, seed + number, SMALL, given_up).await;
        if given_up() {
            return;
        }
        if !completed {
            soak.tally.not_imported.fetch_add(1, Relaxed);
            continue;
        }
        soak.tally.imported.fetch_add(1, Relaxed);
        let id = side.server.file_id(&name, &format!("{name}.mkv")).await;
        match read_whole(soak, side, &Film { id, body }).await {
            Ok(()) if good => _ = soak.tally.imported_and_read.fetch_add(1, Relaxed),
            Ok(()) => {}
            Err(error) => soak.tally.failed(&error),
        }
        side.server.delete(side.server.file_id("", &name).await).await;
        let film = Film {
            id,
            body: Body::bytes(""),
        };
        let gone = side.server.try_open(&film, Range::From(0)).await;
        assert!(gone.is_err(), "{name} is deleted, and read");
    }
}

/// A small film from its beginning to its end.
pub(crate) async fn read_whole(soak: &Soak, side: &Side, film: &Film) -> std::io::Result<()> {
    let late = || std::io::Error::new(std::io::ErrorKind::TimedOut, "neither data nor an error");
    let phase = || format!("an import, {:?}", *soak.phase.lock().expect("whole"));
    let (mut got, mut asked) = (0, Instant::now());
    let opened = tokio::time::timeout(3 * PATIENCE, side.server.try_open(film, Range::From(0))).await;
    soak.tally.waited(asked.elapsed(), phase);
    let mut stream = opened.map_err(|_| late())??;
    loop {
        asked = Instant::now();
        let came = tokio::time::timeout(3 * PATIENCE, stream.next()).await;
        soak.tally.waited(asked.elapsed(), phase);
        match came.map_err(|_| late())? {
            Ok(0) if got == SMALL => return Ok(()),
            Ok(0) => return Err(std::io::Error::other(format!("{got} of {SMALL} bytes"))),
            Ok(n) => got += n as u64,
            Err(error) => return Err(side.judged(error, &mut stream).await),
        }
    }
}
