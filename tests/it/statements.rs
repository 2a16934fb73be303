//! How many statements the whole server asks its database for what it does: no more for a thousand entries than for ten, but for
//! the few hundred that one statement takes at a time.

use crate::harness::{KEY, Server};
use crate::web_login::Browser;
use altmount::config::OutputWay;
use altmount_engine::{Event, HistoryFilter, Job, Statements};
use altmount_newsd::{Body as Content, FileSpec, Release};
use serde_json::json;
use std::{collections::BTreeMap, time::Duration};
use tokio::sync::broadcast::error::RecvError;

const FEW: usize = 10;
const MANY: usize = 1000;

/// So many films of an article each.
fn release(name: &str, seed: u64, count: usize) -> Release {
    let mut release = Release::builder(name).seed(seed);
    for no in 0..count {
        let content = Content::seeded(seed + no as u64, 300);
        release = release.with(FileSpec::new(format!("film {no:04}.mkv"), content));
    }
    release.build()
}

fn between(before: Statements, after: Statements) -> Statements {
    Statements {
        read: after.read - before.read,
        written: after.written - before.written,
        commits: after.commits - before.commits,
    }
}

/// What was asked of the database so far, as soon as nothing more is.
async fn settled(server: &Server) -> Statements {
    let mut last = server.app.engine().statements();
    let mut quiet = 0;
    for _ in 0..6000 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let now = server.app.engine().statements();
        quiet = if now == last { quiet + 1 } else { 0 };
        if quiet == 20 {
            return now;
        }
        last = now;
    }
    panic!("the database is asked for a minute on end");
}

/// The statements that something takes which only looks. What happens beside it in the server may come in between, so it is done
/// more than once.
async fn looks(server: &Server, mut look: impl AsyncFnMut()) -> u64 {
    let mut least = u64::MAX;
    for _ in 0..3 {
        let before = server.app.engine().statements();
        look().await;
        let spent = between(before, server.app.engine().statements());
        least = least.min(spent.read + spent.written);
    }
    least
}

/// Queues a file and waits until its release is published, without asking again and again.
async fn publish(server: &Server, path: &str) -> Job {
    let mut events = server.app.engine().events();
    let job = server.import(path).await;
    loop {
        let told = tokio::time::timeout(Duration::from_secs(60), events.recv()).await;
        match told.expect("it is published within a minute") {
            Ok(Event::Published { id, .. }) if id == job.id => break,
            // Some were missed; among them may be this one.
            Err(RecvError::Lagged(_)) if server.job(job.id).await.storage.is_some() => break,
            _ => {}
        }
    }
    server.job(job.id).await
}

/// A queue of so many jobs that wait, and a history of as many that failed.
async fn jobs(server: &Server, count: usize) {
    let mut last = Vec::new();
    for no in 0..count {
        last.push(
            server
                .submit(&server.write(&format!("bad {no}.nzb"), "<nzb/>"))
                .await,
        );
    }
    for id in last {
        server.wait(id).await;
    }
    let paused = server
        .api("PUT", "/api/queue/paused", Some(json!({"paused": true})))
        .await;
    assert_eq!(paused.status, 200, "{}", paused.text());
    for no in 0..count {
        server
            .submit(&server.write(&format!("waits {no}.nzb"), "<nzb/>"))
            .await;
    }
    let filter = HistoryFilter {
        limit: 10_000,
        ..HistoryFilter::default()
    };
    let history = server.app.engine().imports().history(&filter).await;
    assert_eq!(history.expect("reads").items.len(), count + 1);
}

async fn seen(count: usize) -> BTreeMap<String, u64> {
    let server = Server::start().await;
    publish(&server, &server.post(&release("season", 1, count))).await;
    jobs(&server, count.min(150)).await;
    let folder = server.file_id("season").await;
    settled(&server).await;
    let mut took = BTreeMap::new();
    for path in [
        "/api/library?path=/season&limit=500",
        "/api/library?search=film&limit=500",
        "/api/queue?limit=500",
        "/api/queue?state=failed&limit=500",
        "/api/health/files",
        "/api/health/summary",
        "/api/trash",
        "/metrics",
    ] {
        let spent = looks(&server, async || {
            let answer = server.get(path).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        });
        took.insert(path.to_owned(), spent.await);
    }
    let listed = server.get("/api/library?path=/season&limit=500").await.json();
    assert_eq!(listed["meta"]["total"], count);
    assert_eq!(listed["data"].as_array().expect("a list").len(), count.min(500));
    for mode in ["queue", "history"] {
        let path = format!("/sabnzbd/api?apikey={KEY}&output=json&mode={mode}&limit=500");
        let spent = looks(&server, async || {
            let answer = server.get(&path).await;
            let all = answer
                .body
                .windows(8)
                .filter(|word| word == b"\"nzo_id\"")
                .count();
            assert_eq!(all, count.min(150) + usize::from(mode == "history"), "{mode}");
        });
        took.insert(mode.to_owned(), spent.await);
    }
    let mut browser = Browser::known(&server).await;
    for path in [
        "/",
        "/queue",
        "/queue?view=failed",
        "/library",
        "/library?path=/season",
        "/library?search=film",
        "/activity",
    ] {
        let spent = looks(&server, async || {
            let page = browser.get(path).await;
            assert_eq!(page.status, 200, "{path}");
        });
        took.insert(format!("page {path}"), spent.await);
    }
    // Whoever opens a file for the first time reads its table, too.
    let mut next = 0;
    let spent = looks(&server, async || {
        next += 1;
        let id = server.file_id(&format!("season/film {next:04}.mkv")).await;
        let answer = server
            .get_with(&format!("/api/stream/{id}"), &[("Range", "bytes=0-99")])
            .await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (206, 100));
    });
    took.insert("open".to_owned(), spent.await);
    let spent = looks(&server, async || {
        let answer = server.dav("GET", "/season/film%200007.mkv", &[], "").await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 300));
    });
    took.insert("read by WebDAV".to_owned(), spent.await);
    // One more statement for each full page of the folder.
    let pages = count as u64 / 500;
    let spent = looks(&server, async || {
        let answer = server.dav("PROPFIND", "/season", &[("Depth", "1")], "").await;
        assert_eq!(answer.status, 207);
        assert_eq!(answer.text().matches("film%20").count(), count);
    });
    took.insert("PROPFIND".to_owned(), spent.await - pages);
    #[cfg(target_os = "linux")]
    {
        use altmount::fuse::tree::{Tree, inode};
        let settings = altmount::config::Config::default()
            .resolve()
            .expect("valid")
            .mount;
        let tree = Tree::new(server.app.engine().library().clone(), &settings);
        let dir = inode(altmount_model::FileId(folder));
        let pages = (count as u64).div_ceil(512);
        let spent = looks(&server, async || {
            let (mut all, mut after) = (0, None);
            loop {
                let some = tree.list(dir, after.as_deref()).await.expect("lists");
                let Some(last) = some.last() else { break };
                after = Some(last.name.clone());
                all += some.len();
            }
            assert_eq!(all, count);
        });
        took.insert("readdir".to_owned(), spent.await - pages);
        let spent = looks(&server, async || {
            let name = std::ffi::OsStr::new("film 0005.mkv");
            let found = tree.look_up(dir, name).await.expect("is there");
            tree.get(found.inode()).await.expect("is there");
            tree.open(found.inode()).await.expect("opens");
        });
        took.insert("look-up and open".to_owned(), spent.await);
    }
    took
}

#[tokio::test]
async fn looking_takes_as_many_statements_for_a_thousand_as_for_ten() {
    let few = seen(FEW).await;
    let many = seen(MANY).await;
    assert_eq!(few, many);
    for (what, most) in [("queue", 12), ("history", 12), ("PROPFIND", 4), ("open", 8)] {
        assert!(few[what] <= most, "{what}: {few:?}");
    }
}

/// What an import took with all that comes after it.
async fn imported(server: &Server, release: &Release) -> (Job, Statements) {
    let path = server.post(release);
    let before = settled(server).await;
    let job = publish(server, &path).await;
    (job, between(before, settled(server).await))
}

/// What the server does by itself meanwhile, such as a look for work or a lease that is renewed: how much that is depends on how
/// long the machine takes. A statement for each of a thousand entries is far beyond it.
const BESIDE: u64 = 16;

/// A thousand entries take what ten take, and `batch` more for the second five hundred.
#[track_caller]
fn is_batched(few: u64, many: u64, batch: u64) {
    assert!(many <= few + batch + BESIDE, "{few} and {many}");
}

#[tokio::test]
async fn an_import_takes_a_few_statements_for_each_five_hundred_files() {
    let mut took = Vec::new();
    for count in [FEW, MANY] {
        let server = Server::start().await;
        let (job, first) = imported(&server, &release("season", 1, count)).await;
        // The same once more, over what is there.
        let again = server.write("season.nzb", release("season", 1, count).nzb());
        let before = settled(&server).await;
        let second = publish(&server, &again).await;
        assert_eq!(second.destination, job.destination);
        took.push((first, between(before, settled(&server).await)));
        let listed = server.get("/api/library?path=/season&limit=500").await.json();
        assert_eq!(listed["meta"]["total"], count);
    }
    let [(few, few_again), (many, many_again)] = took[..] else {
        unreachable!("there are two");
    };
    // Tables, entries, contents.
    is_batched(few.written, many.written, 3);
    is_batched(few_again.written, many_again.written, 3);
    is_batched(few.read, many.read, 0);
    is_batched(few_again.read, many_again.read, 0);
    assert!(few.written <= 50 + BESIDE && few.read <= 40 + BESIDE, "{few:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn outputs_take_a_few_statements_for_each_five_hundred_files() {
    let mut took: Vec<BTreeMap<&str, Statements>> = Vec::new();
    for count in [FEW, MANY] {
        let server = Server::in_folder(|config, folder| {
            let outputs = &mut config.outputs;
            outputs.default = vec![OutputWay::Symlinks, OutputWay::Strm];
            outputs.library_path = Some("/nowhere/library".into());
            outputs.symlinks.path = Some(folder.join("links"));
            outputs.strm.path = Some(folder.join("strm"));
            outputs.strm.base_url = Some("http://media.example".to_owned());
        })
        .await;
        let made = |below: &str| {
            let folder = server.folder.path().join(below).join("season");
            std::fs::read_dir(folder).map_or(0, |entries| entries.count())
        };
        let all = || made("links") == count && made("strm") == count;
        let until = async |is: &dyn Fn() -> bool| {
            for _ in 0..6000 {
                if is() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            panic!("there are {} and {}", made("links"), made("strm"));
        };
        let mut spent = BTreeMap::new();
        let (_, import) = imported(&server, &release("season", 1, count)).await;
        assert!(all());
        spent.insert("import", import);
        let rebuild = async || {
            let before = settled(&server).await;
            let asked = json!({"apply": true});
            let answer = server.api("POST", "/api/outputs/rebuild", Some(asked)).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let data = answer.json()["data"].clone();
            (data, between(before, settled(&server).await))
        };
        let (done, nothing) = rebuild().await;
        assert_eq!(done["kept"], 2 * count, "{done}");
        spent.insert("nothing to rebuild", nothing);
        std::fs::remove_dir_all(server.folder.path().join("links/season")).expect("removed");
        let (done, links) = rebuild().await;
        assert_eq!(
            (&done["kept"], &done["made"]),
            (&json!(count), &json!(count)),
            "{done}"
        );
        assert!(all());
        spent.insert("rebuild", links);
        let folder = server.file_id("season").await;
        let before = settled(&server).await;
        let answer = server.api("DELETE", &format!("/api/files/{folder}"), None).await;
        assert!(answer.status.is_success(), "{}", answer.text());
        until(&|| made("links") + made("strm") == 0).await;
        let after = settled(&server).await;
        spent.insert("delete", between(before, after));
        let answer = server
            .api("POST", &format!("/api/trash/{folder}/restore"), None)
            .await;
        assert!(answer.status.is_success(), "{}", answer.text());
        until(&all).await;
        spent.insert("restore", between(after, settled(&server).await));
        took.push(spent);
    }
    let total = |spent: &Statements| spent.read + spent.written;
    // Two thousand outputs are four steps, ten or twenty are one.
    for (what, batch) in [
        ("import", 3 * 3),
        ("nothing to rebuild", 3),
        ("rebuild", 3 + 2),
        ("delete", 3 * 3),
        ("restore", 3 * 7),
    ] {
        let (few, many) = (total(&took[0][what]), total(&took[1][what]));
        assert!(many <= few + batch + BESIDE, "{what}: {few} and {many}");
        assert!(few <= 80 + BESIDE, "{what}: {few}");
    }
}

#[tokio::test]
async fn a_check_of_a_file_takes_the_same_statements_however_many_articles_it_has() {
    let mut took = Vec::new();
    for count in [FEW as u64, MANY as u64] {
        let server = Server::start().await;
        let film = FileSpec::new("film.mkv", Content::seeded(1, 100 * count)).article_size(100);
        let release = Release::builder("movie").seed(1).with(film).build();
        let ids: Vec<String> = release.files()[0]
            .segments()
            .iter()
            .map(|segment| segment.id().to_owned())
            .collect();
        assert_eq!(ids.len() as u64, count);
        let (_, import) = imported(&server, &release).await;
        let file = server.file_id("movie/film.mkv").await;
        let check = async |gone: u64| {
            let before = settled(&server).await;
            let answer = server
                .api("POST", &format!("/api/files/{file}/check"), None)
                .await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!(answer.json()["data"]["missing_articles"], gone);
            between(before, server.app.engine().statements())
        };
        let whole = check(0).await;
        for id in &ids[2..] {
            server.newsd.remove(id);
        }
        let damaged = check(count - 2).await;
        took.push([import, whole, damaged].map(|spent| spent.read + spent.written));
    }
    for (few, many) in took[0].iter().zip(took[1]) {
        is_batched(*few, many, 0);
    }
}

#[tokio::test]
async fn a_start_takes_the_same_statements_however_much_there_is() {
    let mut took = Vec::new();
    for count in [FEW, MANY] {
        let server = Server::start().await;
        publish(&server, &server.post(&release("season", 1, count))).await;
        jobs(&server, count.min(100)).await;
        let server = server.restarted().await;
        let answer = server.dav("PROPFIND", "/", &[("Depth", "1")], "").await;
        assert_eq!(answer.status, 207);
        let spent = settled(&server).await;
        took.push(spent.read + spent.written);
    }
    is_batched(took[0], took[1], 0);
    assert!(took[0] <= 60 + BESIDE, "{took:?}");
}
