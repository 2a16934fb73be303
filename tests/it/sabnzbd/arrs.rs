//! What the *arrs do, from the Test button to the end of a job.

use super::{TITLE, copying, finished, listen, listening, nzb, published, sab};
use crate::harness::KEY;
use altmount_arrd::client::{Client, Kind, Login, State};
use altmount_arrd::import;
use altmount_engine::JobState;
use altmount_newsd::{Body as Content, Fault, FileSpec, Gate, Release, Rule};
use serde_json::json;
use std::path::Path;

#[tokio::test]
async fn every_arr_can_test_add_poll_import_and_remove() {
    let complete = tempfile::tempdir().expect("a folder");
    let server = copying(complete.path()).await;
    let base = format!("{}/sabnzbd", listen(server.router()).await);
    for (at, kind) in Kind::ALL.into_iter().enumerate() {
        let client = Client::new(kind, &base, Login::Key(KEY.to_owned()));
        assert_eq!(client.test().await, [], "{kind:?}");
        assert!(!client.removes_completed().await.expect("reads"));
        // The folder is there before the first job: the health check looks for it.
        let root = client.root().await.expect("reads");
        assert_eq!(Path::new(&root), complete.path().join(kind.category()));
        assert!(std::fs::metadata(&root).expect("is there").is_dir());
        let title = format!("{TITLE}.{at} (2020) [a&b+c] ü");
        let id = client
            .add(
                &title,
                &nzb(&server, &format!("release{at}"), at as u64 + 1),
                -100,
            )
            .await
            .expect("added");
        let job = finished(&server, &id).await;
        assert_eq!(job.state, JobState::Completed, "{:?}", job.failure);
        assert_eq!(published(&server, &id).await["name"], title);
        if kind == Kind::Prowlarr {
            continue;
        }
        let poll = client.poll().await.expect("polls");
        assert!(poll.queue.is_empty(), "{poll:?}");
        let item = &poll.history[0];
        assert_eq!(
            (item.id.as_str(), item.title.as_str(), item.state),
            (id.as_str(), title.as_str(), State::Completed)
        );
        assert!(item.size > 30_000 && poll.history.len() == 1, "{item:?}");
        let storage = item.storage.clone().expect("set with Completed");
        assert!(Path::new(&storage).is_absolute());
        assert!(Path::new(&storage).starts_with(complete.path().join(kind.category())));
        let library = server.folder.path().join("library");
        let moved = import::import(Path::new(&storage), &title, &library).expect("imported");
        assert_eq!(std::fs::metadata(&moved[0]).expect("there").len(), 30_000);
        import::clean_up(Path::new(&storage), &title).expect("deleted");
        assert!(!Path::new(&storage).try_exists().expect("looked"));
        client.remove(&id).await.expect("removed");
        assert!(client.poll().await.expect("polls").history.is_empty());
        client.remove(&id).await.expect("removing twice is no error");
    }
    // Put away, not forgotten.
    assert_eq!(
        sab(&server, "mode=history&archive=1&limit=100").await["history"]["noofslots"],
        6
    );
}

#[tokio::test]
async fn failures_are_told_in_the_history_and_running_jobs_can_be_cancelled() {
    let (server, base) = listening().await;
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Prowlarr) {
        let client = Client::new(kind, &base, Login::Key(KEY.to_owned()));
        let gone = Release::builder("gone")
            .seed(9)
            .article_size(5_000)
            .with(FileSpec::new("gone.mkv", Content::seeded(9, 20_000)).missing([1, 2, 3, 4]))
            .build();
        let id = client
            .add("Gone", &gone.nzb(), 0)
            .await
            .expect("an NZB that parses is accepted");
        assert_eq!(finished(&server, &id).await.state, JobState::Failed);
        let item = client.poll().await.expect("polls").history.remove(0);
        assert_eq!((item.id.as_str(), item.state), (id.as_str(), State::Failed));
        assert!(
            item.message
                .as_deref()
                .is_some_and(|text| text.contains("missing")),
            "{item:?}"
        );
        client.remove(&id).await.expect("removed");
        // Failed ones are gone for good: the *arr says so with archive=0.
        assert!(
            server
                .app
                .engine()
                .imports()
                .by_nzo(&[id])
                .await
                .expect("reads")
                .is_empty()
        );
    }
    let gate = Gate::new();
    server.newsd.rule(Rule::new(Fault::Hold(gate.clone())));
    let client = Client::new(Kind::Sonarr, &base, Login::Key(KEY.to_owned()));
    let running = client
        .add("Running", &nzb(&server, "running", 20), 0)
        .await
        .expect("added");
    let waiting = client
        .add("Waiting", &nzb(&server, "waiting", 21), 0)
        .await
        .expect("added");
    server
        .newsd
        .wait_until(|counts| counts.get(altmount_newsd::Command::Body) > 0)
        .await;
    let poll = client.poll().await.expect("polls");
    let states: Vec<_> = poll
        .queue
        .iter()
        .map(|item| (item.title.as_str(), item.state))
        .collect();
    assert_eq!(
        states,
        [("Running", State::Downloading), ("Waiting", State::Queued)]
    );
    for id in [&running, &waiting] {
        client.remove(id).await.expect("removed");
    }
    gate.open();
    for id in [&running, &waiting] {
        assert_eq!(finished(&server, id).await.state, JobState::Cancelled);
    }
    let poll = client.poll().await.expect("polls");
    assert!(poll.queue.is_empty() && poll.history.is_empty(), "{poll:?}");
    // As a real one: in the queue an unknown id is an error, in the history it is none.
    let unknown = sab(&server, "mode=queue&name=delete&value=SABnzbd_nzo_nothing1").await;
    assert_eq!(unknown, json!({"status": false, "nzo_ids": []}));
    assert_eq!(
        sab(&server, "mode=history&name=delete&value=SABnzbd_nzo_nothing1").await,
        json!({"status": true})
    );
}

#[tokio::test]
async fn the_test_button_says_what_is_wrong() {
    let (server, base) = listening().await;
    let problem = async |login: Login, category: &str| {
        let client = Client::new(Kind::Sonarr, &base, login).category(category);
        let problems = client.test().await;
        problems
            .first()
            .map(|problem| problem.field.clone())
            .unwrap_or_default()
    };
    assert_eq!(problem(Login::Key("wrong".to_owned()), "tv").await, "APIKey");
    assert_eq!(problem(Login::Key(String::new()), "tv").await, "APIKey");
    assert_eq!(problem(Login::Key(KEY.to_owned()), "TV").await, "Category");
    let users = server.app.engine().users();
    users.create("me", "long enough a password").await.expect("made");
    let login = |password: &str| Login::User("me".to_owned(), password.to_owned());
    assert!(
        Client::new(Kind::Radarr, &base, login("long enough a password"))
            .test()
            .await
            .is_empty()
    );
    assert!(
        !Client::new(Kind::Radarr, &base, login("wrong"))
            .test()
            .await
            .is_empty()
    );
}
