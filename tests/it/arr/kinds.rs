//! Every kind of application replaces and is cleared as Sonarr is, under its own names.

use super::{Around, commands, file_of, import, register, replace, told, until, with};
use altmount::config::{ArrKind, QueueRule};
use altmount_arrd::rest::{App, LIDARR, RADARR, READARR, SONARR, WHISPARR, WHISPARR_V3};
use altmount_engine::Job;
use serde_json::{Value, json};

/// An application, its name and category here, and what it calls a file and the thing that it is.
struct Kind {
    app: App,
    kind: ArrKind,
    category: &'static str,
    /// The message of an import, without the download's id and the file's path.
    imported: fn(&str) -> Value,
}

fn kinds() -> [Kind; 6] {
    fn series(path: &str) -> Value {
        json!({"series": {"id": 7, "path": "/lib/x"}, "episodes": [{"id": 70}], "episodeFile": {"id": 700, "path": path}})
    }
    fn film(path: &str) -> Value {
        json!({"movie": {"id": 7, "folderPath": "/lib/x"}, "movieFile": {"id": 700, "path": path}})
    }
    fn music(path: &str) -> Value {
        json!({"artist": {"id": 7, "path": "/lib/x"}, "album": {"id": 70}, "trackFiles": [{"id": 700, "path": path}]})
    }
    fn books(path: &str) -> Value {
        json!({"author": {"id": 7, "path": "/lib/x"}, "book": {"id": 70}, "bookFiles": [{"id": 700, "path": path}]})
    }
    [
        (SONARR, ArrKind::Sonarr, "tv", series as fn(&str) -> Value),
        (RADARR, ArrKind::Radarr, "movies", film),
        (LIDARR, ArrKind::Lidarr, "music", music),
        (READARR, ArrKind::Readarr, "books", books),
        (WHISPARR, ArrKind::Whisparr, "adult", series),
        (WHISPARR_V3, ArrKind::WhisparrV3, "adult", film),
    ]
    .map(|(app, kind, category, imported)| Kind {
        app,
        kind,
        category,
        imported,
    })
}

impl Kind {
    /// The number of the thing: a film is a part of nothing.
    fn thing(&self) -> i64 {
        match self.app.thing == self.app.parents.1 {
            true => 7,
            false => 70,
        }
    }

    /// A row of its queue or history, for a download.
    fn row(&self, id: i64, job: &Job, more: Value) -> Value {
        let mut row = json!({"id": id, "downloadId": job.nzo_id, "protocol": "usenet"});
        row[self.app.parents.1] = json!(7);
        row[self.app.thing] = json!(self.thing());
        if let (Some(row), Value::Object(more)) = (row.as_object_mut(), more) {
            row.extend(more);
        }
        row
    }

    async fn around(&self, rules: Vec<QueueRule>) -> Around {
        let around = with(&[(self.app, self.kind)], |config| {
            config.arr.queue.check_seconds = 3600;
            config.arr.queue.rules = rules;
        })
        .await;
        register(&around.server, self.kind.as_str()).await;
        around
    }

    /// A job that it has imported to a place of its library.
    async fn imported(&self, around: &Around, name: &str, seed: u64, path: &str) -> Job {
        let job = import(&around.server, name, seed, self.category).await;
        let mut message = (self.imported)(path);
        message["eventType"] = json!("Download");
        message["downloadId"] = json!(job.nzo_id);
        told(around, 0, message).await;
        job
    }
}

#[tokio::test]
async fn every_kind_blocklists_and_searches_under_its_own_names() {
    for (at, kind) in kinds().into_iter().enumerate() {
        let around = kind.around(Vec::new()).await;
        let (server, rest) = (&around.server, &around.arrs[0]);
        let path = "/lib/x/file.mkv";
        let job = kind.imported(&around, "Release", 400 + at as u64, path).await;
        {
            let mut state = rest.state();
            state.history = vec![kind.row(1, &job, json!({"eventType": "grabbed"}))];
            state.parents = vec![json!({"id": 7, "path": "/lib/x"})];
            // Its number is another one by now.
            let mut file = json!({"id": 701, "path": path});
            file[kind.app.parents.1] = json!(7);
            state.files = vec![file];
        }
        let answer = replace(server, file_of(server, &job).await, false).await;
        assert_eq!(answer.status, 200, "{:?}: {}", kind.kind, answer.text());
        let (name, parameter) = kind.app.search;
        until(rest, |state| {
            state.commands.iter().any(|command| command["name"] == name)
        })
        .await;
        assert_eq!(
            commands(rest, name),
            [json!({"name": name, parameter: [kind.thing()]})]
        );
        let state = rest.state();
        assert_eq!(state.blocklist, [job.nzo_id.as_str()], "{:?}", kind.kind);
        assert!(state.files.is_empty(), "{:?}: {:?}", kind.kind, state.files);
    }
}

#[tokio::test]
async fn every_kinds_queue_is_cleared_by_rules() {
    for (at, kind) in kinds().into_iter().enumerate() {
        let rule = |message: &str, action: &str| QueueRule {
            message: message.to_owned(),
            grace_seconds: 0,
            action: serde_json::from_value(json!(action)).expect("an action"),
        };
        let around = kind
            .around(vec![
                rule("*not an upgrade*", "remove"),
                rule("*no files*", "blocklist_search"),
            ])
            .await;
        let (server, rest) = (&around.server, &around.arrs[0]);
        let seed = 410 + 2 * at as u64;
        let jobs = [
            import(server, "One", seed, kind.category).await,
            import(server, "Two", seed + 1, kind.category).await,
        ];
        let stuck = |message: &str| json!({"trackedDownloadStatus": "warning", "statusMessages": [{"title": "x", "messages": [message]}]});
        let mut stranger = kind.row(3, &jobs[0], stuck("Not an upgrade"));
        stranger["downloadId"] = json!("SABnzbd_nzo_stranger");
        rest.state().queue = vec![
            kind.row(1, &jobs[0], stuck("Not an upgrade for what is there")),
            kind.row(2, &jobs[1], stuck("No files found are eligible for import")),
            stranger,
        ];
        told(&around, 0, json!({"eventType": "ManualInteractionRequired"})).await;
        until(rest, |state| state.queue.len() == 1).await;
        let state = rest.state();
        assert_eq!(state.queue[0]["id"], 3, "{:?}", kind.kind);
        assert_eq!(state.blocklist, [jobs[1].nzo_id.as_str()], "{:?}", kind.kind);
        let (name, parameter) = kind.app.search;
        let searched: Vec<&Value> = state
            .commands
            .iter()
            .filter(|command| command["name"] == name)
            .collect();
        assert_eq!(
            searched,
            [&json!({"name": name, parameter: [kind.thing()], "trigger": "automatic"})],
            "{:?}",
            kind.kind
        );
        // What has the wrong member for its rows is asked for under the right one.
        let unknown = format!("includeUnknown{}Items", capital(kind.app.parents.0));
        assert!(
            state.requests.iter().any(|line| line.contains(&unknown)),
            "{:?}: {:?}",
            kind.kind,
            state.requests
        );
    }
}

fn capital(word: &str) -> String {
    word[..1].to_uppercase() + &word[1..]
}
