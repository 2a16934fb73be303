//! altmount-arrd BASE KEY NZB ORIGINAL LIBRARY [LINKED]: every *arr, one after the other, against a running server, over a real
//! mount: Test button, add, poll, import with a move and a recursive delete, history delete, a failure, a cancelled job.
//!
//! BASE      the SABnzbd API's base, such as `http://127.0.0.1:8080/sabnzbd`; KEY its key
//! NZB       a release whose one media file is ORIGINAL
//! LIBRARY   a folder that releases of the applications' own categories can be moved to
//! LINKED    another one, for releases of the category `links`
//!
//! A line of `ok` or `FAIL` for each check; exit status 1 if one failed.

use altmount_arrd::{
    client::{Client, HistoryItem, Kind, Login, State},
    import,
};
use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

type Checked<T> = Result<T, String>;

struct Checks {
    failed: bool,
}

impl Checks {
    /// Says what came of a check; what it answered, where it did.
    fn note<T>(&mut self, kind: Kind, what: &str, done: Checked<T>) -> Option<T> {
        match done {
            Ok(answer) => {
                println!("ok   arrd: {kind:?}: {what}");
                Some(answer)
            }
            Err(why) => {
                println!("FAIL arrd: {kind:?}: {what}: {}", why.replace('\n', " "));
                self.failed = true;
                None
            }
        }
    }
}

/// An NZB of articles that nobody has.
const NOWHERE: &[u8] = b"<?xml version=\"1.0\" encoding=\"UTF-8\"?><nzb xmlns=\"http://www.newzbin.com/DTD/2003/nzb\">\
<file poster=\"p@example.com\" date=\"1600000000\" subject=\"&quot;gone.mkv&quot; yEnc (1/1)\"><groups><group>alt.binaries.test</group>\
</groups><segments><segment bytes=\"740000\" number=\"1\">no-such-article@nowhere.example</segment></segments></file></nzb>";

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// A job of the history, as soon as it is in one of these states.
async fn finished(client: &Client, id: &str, states: &[State]) -> Checked<HistoryItem> {
    for _ in 0..1200 {
        let poll = client.poll().await?;
        if let Some(item) = poll.history.into_iter().find(|item| item.id == id) {
            if states.contains(&item.state) {
                return Ok(item);
            }
            if item.state != State::Downloading {
                return Err(format!("{item:?}"));
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err("it is not finished within two minutes".to_owned())
}

fn same(one: &Path, other: &Path) -> Checked<()> {
    let open = |path: &Path| fs::File::open(path).map_err(|error| format!("{}: {error}", path.display()));
    let (mut one, mut other) = (open(one)?, open(other)?);
    let (mut a, mut b) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let fill = |file: &mut fs::File, buffer: &mut [u8]| -> io::Result<usize> {
        let mut have = 0;
        while have < buffer.len() {
            match file.read(&mut buffer[have..])? {
                0 => break,
                more => have += more,
            }
        }
        Ok(have)
    };
    loop {
        let (x, y) = (
            fill(&mut one, &mut a).map_err(text)?,
            fill(&mut other, &mut b).map_err(text)?,
        );
        if a[..x] != b[..y] {
            return Err("other bytes".to_owned());
        }
        if x == 0 {
            return Ok(());
        }
    }
}

fn what(is: bool, otherwise: impl FnOnce() -> String) -> Checked<()> {
    match is {
        true => Ok(()),
        false => Err(otherwise()),
    }
}

struct Given {
    nzb: Vec<u8>,
    original: PathBuf,
}

/// The life of one download, in one category.
async fn whole(
    checks: &mut Checks,
    client: &Client,
    given: &Given,
    library: &Path,
    title: &str,
) -> Option<()> {
    let kind = client.kind;
    let id = client.add(title, &given.nzb, -100).await;
    let id = checks.note(kind, "adds", id)?;
    let item = finished(client, &id, &[State::Completed]).await;
    let item = checks.note(kind, "polls until it is Completed", item)?;
    let storage = item.storage.map(PathBuf::from);
    let storage = storage.filter(|path| path.is_absolute() && fs::metadata(path).is_ok());
    let storage = checks.note(
        kind,
        "finds it there",
        storage.ok_or("it is not there".to_owned()),
    )?;
    let moved = import::import(&storage, title, library).map_err(text);
    let moved = checks.note(kind, "imports it with a move", moved)?;
    let one = what(moved.len() == 1, || format!("{moved:?}")).and_then(|()| same(&moved[0], &given.original));
    checks.note(kind, "has the bytes that were posted", one)?;
    let cleaned = import::clean_up(&storage, title).map_err(text).and_then(|()| {
        let left = import::output_path(&storage, title);
        what(fs::symlink_metadata(&left).is_err(), || {
            format!("{} is left", left.display())
        })
    });
    checks.note(kind, "deletes the rest, recursively", cleaned)?;
    checks.note(kind, "deletes the history's entry", client.remove(&id).await)?;
    let poll = client.poll().await;
    let forgotten = poll.and_then(|poll| {
        what(poll.history.iter().all(|item| item.id != id), || {
            "it is still there".to_owned()
        })
    });
    checks.note(kind, "does not see it again", forgotten)?;
    checks.note(kind, "still has what it moved", same(&moved[0], &given.original))
}

async fn others(checks: &mut Checks, client: &Client, given: &Given, title: &str) -> Option<()> {
    let kind = client.kind;
    let id = client.add(&format!("{title}.gone"), NOWHERE, -100).await;
    let id = checks.note(kind, "adds what nobody has", id)?;
    let failed = finished(client, &id, &[State::Failed]).await;
    let said = failed.and_then(|item| what(item.message.is_some(), || format!("{item:?}")));
    checks.note(kind, "is told that it failed, and why", said)?;
    checks.note(kind, "removes the failed one", client.remove(&id).await)?;
    // Added paused, so that it is in the queue for certain.
    let id = client.add(&format!("{title}.unwanted"), &given.nzb, -2).await;
    let id = checks.note(kind, "adds one to be cancelled", id)?;
    let there = client.poll().await.and_then(|poll| {
        let state = poll
            .queue
            .iter()
            .find(|item| item.id == id)
            .map(|item| item.state);
        what(state == Some(State::Paused), || format!("{state:?}"))
    });
    checks.note(kind, "sees it paused in the queue", there)?;
    checks.note(kind, "cancels it", client.remove(&id).await)?;
    let gone = client.poll().await.and_then(|poll| {
        let queue = poll.queue.iter().map(|item| &item.id);
        let mut all = queue.chain(poll.history.iter().map(|item| &item.id));
        what(all.all(|other| *other != id), || "it is still there".to_owned())
    });
    checks.note(kind, "does not see it again either", gone)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [base, key, nzb, original, library, linked @ ..] = arguments.as_slice() else {
        eprintln!("altmount-arrd BASE KEY NZB ORIGINAL LIBRARY [LINKED]");
        return ExitCode::from(2);
    };
    let given = match fs::read(nzb) {
        Ok(nzb) => Given {
            nzb,
            original: original.into(),
        },
        Err(error) => {
            eprintln!("{nzb}: {error}");
            return ExitCode::from(2);
        }
    };
    // The only one in this process: the first choice counts.
    let _chosen = rustls::crypto::ring::default_provider().install_default();
    let mut checks = Checks { failed: false };
    for kind in Kind::ALL {
        let client = Client::new(kind, base, Login::Key(key.clone()));
        let problems = client.test().await;
        checks.note(
            kind,
            "its Test button",
            what(problems.is_empty(), || format!("{problems:?}")),
        );
        // It adds, and never looks at what came of it.
        if kind == Kind::Prowlarr {
            let id = client.add("Prowlarr.2026.1080p", &given.nzb, -100).await;
            checks.note(kind, "adds", id);
            continue;
        }
        let title = format!("{kind:?}.Some.Film.2026.1080p.WEB-GRP");
        let into = Path::new(library).join(format!("{kind:?}"));
        let _stopped = whole(&mut checks, &client, &given, &into, &title).await;
        let _stopped = others(&mut checks, &client, &given, &title).await;
        if let [linked] = linked {
            let client = client.category("links");
            let into = Path::new(linked).join(format!("{kind:?}"));
            let _stopped = whole(&mut checks, &client, &given, &into, &format!("{title}.linked")).await;
        }
    }
    ExitCode::from(u8::from(checks.failed))
}
