//! Readers through the mount. Each has a thread of its own, for whoever reads there waits in the kernel.

use crate::readers::{Visit, Way, pause};
use crate::sides::film_path;
use crate::{Course, FILM, FILMS, Soak};
use altmount_newsd::Body;
use altmount_tests::lot::Lot;
use altmount_tests::stream::Range;
use std::fs::File;
use std::io::{Error, ErrorKind, Result, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Most bytes of one read: the kernel makes one request of it wherever it lies, so that it comes whole or not at all, and has one
/// time limit.
const PIECE: u64 = 512 << 10;

/// A reader of the mount. It knows no server, so that nobody waits for one that does not come back.
struct Mounted {
    course: Arc<Course>,
    number: usize,
    films: Vec<(PathBuf, Body)>,
}

/// Starts a reader, who reads until the end. Answers when it has come back.
pub(crate) fn start(soak: &Soak, number: usize, lot: Lot) -> oneshot::Receiver<()> {
    let side = soak.side(number);
    let mount = side.mount.as_ref().expect("what is not mounted has no readers");
    let films = (0..FILMS).zip(&side.films);
    let reader = Mounted {
        course: soak.course.clone(),
        number,
        films: films
            .map(|(number, film)| (mount.path().join(film_path(number)), film.body.clone()))
            .collect(),
    };
    let (ended, end) = oneshot::channel();
    let thread = thread::Builder::new().name(format!("reader-{number}"));
    let started = thread.spawn(move || {
        reader.read(lot);
        drop(reader);
        let _ = ended.send(());
    });
    started.expect("a thread for a reader");
    end
}

#[expect(
    clippy::disallowed_methods,
    reason = "a reader's own thread, and none of a runtime"
)]
fn stop(time: Duration) {
    thread::sleep(time);
}

impl Mounted {
    /// Reads until the end, in whatever way the lot says.
    fn read(&self, mut lot: Lot) {
        while !self.course.is_over() {
            let visit = Visit::draw(&mut lot);
            let result = match lot.below(6) {
                0 => self.killed(visit, &mut lot),
                _ => self.visit(visit, &mut lot),
            };
            if let Err(error) = result {
                self.course.tally.failed_in_mount(&error);
                stop(pause(&mut lot));
            }
        }
    }

    /// Does what may wait in the kernel, and counts the wait.
    fn answered<T>(&self, what: &str, at: u64, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let asked = Instant::now();
        let done = work();
        self.course.tally.waited(asked.elapsed(), || {
            let number = self.number;
            self.course
                .doing(format_args!("reader {number}, the mount, {what} at {at}"))
        });
        done
    }

    fn open(&self, film: usize) -> Result<(File, &Body)> {
        let (path, body) = &self.films[film];
        let file = self.answered("an open", 0, || File::open(path))?;
        self.course.tally.answers.fetch_add(1, Relaxed);
        Ok((file, body))
    }

    /// Reads pieces one after the other, jumps at times, and closes the film in the middle.
    fn visit(&self, visit: Visit, lot: &mut Lot) -> Result<()> {
        let (file, body) = self.open(visit.film)?;
        let (mut at, bytes) = match visit.range {
            Range::From(at) => (at, visit.bytes),
            Range::Exact(at, len) => (at, visit.bytes.min(len)),
        };
        let most = visit.stops.map_or(PIECE, |stops| stops.every.min(PIECE));
        let (mut got, mut stopped) = (0, 0);
        let (mut buffer, mut posted) = (vec![0; PIECE as usize], vec![0; PIECE as usize]);
        while got < bytes && !self.course.is_over() {
            if lot.below(16) == 0 {
                at = lot.below(FILM - PIECE);
            }
            let len = (1 + lot.below(most)).min(bytes - got).min(FILM - at);
            let (buffer, posted) = (&mut buffer[..len as usize], &mut posted[..len as usize]);
            let n = self.answered("a read", at, || file.read_at(buffer, at))?;
            body.read_at(at, posted);
            if n as u64 != len || buffer != posted {
                let text = match n as u64 == len {
                    true => format!("other bytes in the mount, of {len} at {at}"),
                    false => format!("{n} bytes in the mount, of {len} at {at}"),
                };
                return Err(Error::new(ErrorKind::InvalidData, text));
            }
            (at, got) = (at + len, got + len);
            self.course.came(self.number, Way::Mount, len);
            if let Some(stops) = visit.stops
                && got - stopped >= stops.every
            {
                stopped = got;
                stop(stops.time(lot));
            }
            if at == FILM {
                break;
            }
        }
        Ok(())
    }

    /// Another program reads the film from there on, and is killed in the middle of it, whatever it waits for. The kernel lets go of it
    /// when its read is answered, and no earlier.
    fn killed(&self, visit: Visit, lot: &mut Lot) -> Result<()> {
        let (Range::From(at) | Range::Exact(at, _)) = visit.range;
        let (mut film, _) = self.open(visit.film)?;
        film.seek(SeekFrom::Start(at))?;
        let mut program = Command::new("cat")
            .stdin(film)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        stop(lot.millis(20, 2_000));
        program.kill()?;
        self.answered("a program that is killed", at, || program.wait())?;
        Ok(())
    }
}
