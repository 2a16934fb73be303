//! Imports beside the readers.

use crate::Soak;
use crate::readers::{answered, judged};
use crate::sides::Side;
use altmount_newsd::Body;
use altmount_tests::server::Film;
use altmount_tests::stream::Range;
use std::sync::atomic::Ordering::Relaxed;

/// Bytes of a release that is imported beside the readers.
const SMALL: u64 = 3 << 20;

/// Imports a small release, reads it and deletes it, again and again. While the provider is bad it may fail, but what is read is right.
pub(crate) async fn imports(soak: &Soak, side: &Side, seed: u64) {
    let course = &soak.course;
    for number in 0.. {
        if course.is_over() {
            return;
        }
        let good = course.recovered.load(Relaxed);
        let name = format!("beside-{number}");
        // What has failed in the bad minutes may wait for its next attempt for longer than the good ones last.
        let given_up = || course.is_over() || (!good && course.recovered.load(Relaxed));
        let (body, completed) = side.import(&name, seed + number, SMALL, given_up).await;
        if course.is_over() {
            return;
        }
        if !completed {
            course.tally.not_imported.fetch_add(1, Relaxed);
            continue;
        }
        course.tally.imported.fetch_add(1, Relaxed);
        let id = side.server.file_id(&name, &format!("{name}.mkv")).await;
        match read_whole(soak, side, &Film { id, body }).await {
            Ok(()) if good => _ = course.tally.imported_and_read.fetch_add(1, Relaxed),
            Ok(()) => {}
            Err(error) => course.tally.failed(&error),
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
async fn read_whole(soak: &Soak, side: &Side, film: &Film) -> std::io::Result<()> {
    let course = &soak.course;
    let who = || course.doing("an import");
    let opened = side.server.try_open(film, Range::From(0));
    let (mut got, mut stream) = (0, answered(course, opened, who).await??);
    loop {
        match answered(course, stream.next(), who).await? {
            Ok(0) if got == SMALL => return Ok(()),
            Ok(0) => return Err(std::io::Error::other(format!("{got} of {SMALL} bytes"))),
            Ok(n) => got += n as u64,
            Err(error) => return Err(judged(side, error, &mut stream).await),
        }
    }
}
