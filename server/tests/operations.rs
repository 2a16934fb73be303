//! What operators do at the command line, and that no secret shows up in what the program writes.

mod common;

use altmount_newsd::{Body, Newsd, Release};
use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::any};
use common::{Server, run};
use serde_json::{Value, json};
use std::{
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

/// What `altmount doctor --json` says, by subject and verdict, and its exit code.
fn doctor(data: &Path, more: &[&str]) -> (i32, Vec<(String, String, String)>) {
    let (code, out, err) = run(data, &[&["doctor", "--json"], more].concat());
    let found: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
    let text = |finding: &Value, name: &str| finding[name].as_str().unwrap_or_default().to_owned();
    let findings = found.as_array().expect("a list").iter().map(|finding| {
        if finding["verdict"] != "ok" {
            assert!(finding["todo"].is_string(), "what is to be done: {finding}");
        }
        (
            text(finding, "subject"),
            text(finding, "verdict"),
            text(finding, "text"),
        )
    });
    (code, findings.collect())
}

/// The worst verdict on a subject.
fn verdict<'a>(findings: &'a [(String, String, String)], subject: &str) -> &'a str {
    let of = findings.iter().filter(|(about, ..)| about == subject);
    let verdicts: Vec<&str> = of.map(|(_, verdict, _)| verdict.as_str()).collect();
    for worst in ["fail", "warn", "ok"] {
        if verdicts.contains(&worst) {
            return worst;
        }
    }
    ""
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_says_what_is_wrong_with_and_without_a_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let newsd = Newsd::builder().start().await.expect("newsd starts");
    let (host, port) = (newsd.host(), newsd.port());
    let work = move || {
        let data = folder.path().join("data");
        let (code, found) = doctor(&data, &[]);
        assert_eq!((code, verdict(&found, "database")), (0, "warn"), "{found:?}");
        assert!(std::fs::metadata(&data).is_err(), "nothing is made by looking");

        std::fs::create_dir(&data).expect("made");
        let write = |text: &str| std::fs::write(data.join("config.yaml"), text).expect("written");
        let backups = folder.path().join("backups");
        write(&format!(
            "providers: [{{name: near, host: {host}, port: {port}, tls: false}}]\nbackup: {{folder: {}}}\n",
            backups.display()
        ));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            for path in [data.clone(), data.join("config.yaml")] {
                let mode = if path == data { 0o700 } else { 0o600 };
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("set");
            }
        }
        let server = Server::start(&data, &[]);
        let listen = server.url.strip_prefix("http://").expect("an address").to_owned();
        // The backup is there when the database is looked over: both have one turn.
        let (code, found) = doctor(&data, &["--listen", &listen]);
        assert_eq!(code, 0, "{found:?}");
        for subject in [
            "configuration",
            "permissions",
            "server",
            "database",
            "queued_files",
            "provider",
            "clock",
            "importers",
        ] {
            assert_eq!(verdict(&found, subject), "ok", "{subject} in {found:?}");
        }
        let clock = found
            .iter()
            .find(|(about, ..)| about == "clock")
            .expect("looked at");
        assert!(
            clock.2.contains("'near'"),
            "the news server's clock is asked: {clock:?}"
        );
        assert_eq!(server.stop(), 0);

        let (code, found) = doctor(&data, &[]);
        assert_eq!((code, verdict(&found, "database")), (0, "ok"), "{found:?}");
        assert!(
            found.iter().any(|(_, _, text)| text == "no server runs"),
            "{found:?}"
        );
        // As people read it.
        let (code, out, _) = run(&data, &["doctor"]);
        assert!(code == 0 && out.contains("ok    database"), "{out}");

        // A news server that is none, a folder that cannot be, a database that is damaged.
        write(
            "providers: [{name: gone, host: 127.0.0.1, port: 9, tls: false}]\nbackup: {folder: /proc/none}\n",
        );
        let (code, found) = doctor(&data, &[]);
        assert_eq!(code, 1);
        assert_eq!(
            (verdict(&found, "provider"), verdict(&found, "permissions")),
            ("fail", "fail"),
            "{found:?}"
        );
        write("providers: [{name: gone}]\nlog: {levl: x}\n");
        let (code, found) = doctor(&data, &[]);
        assert_eq!((code, verdict(&found, "configuration")), (1, "fail"), "{found:?}");
        write("");
        let database = data.join("altmount.db");
        let mut bytes = std::fs::read(&database).expect("read");
        let middle = bytes.len() / 2;
        bytes[4096..middle].fill(0x55);
        std::fs::write(&database, bytes).expect("written");
        let (code, found) = doctor(&data, &[]);
        assert_eq!((code, verdict(&found, "database")), (1, "fail"), "{found:?}");
    };
    tokio::task::spawn_blocking(work).await.expect("done");
    drop(newsd);
}

#[test]
fn what_is_left_over_is_shown_without_a_server_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let (code, _, err) = run(&data, &["library", "check", "--orphans"]);
    assert!(code == 1 && err.contains("there is no library"), "{err}");
    assert_eq!(Server::start(&data, &[]).stop(), 0);
    let blob = data.join("blobs/ab").join(format!("{}.zst", "ab".repeat(32)));
    std::fs::create_dir_all(blob.parent().expect("a folder")).expect("made");
    std::fs::write(&blob, "left over").expect("written");
    // What is younger than the look may be on its way into the queue.
    let file = std::fs::File::options().write(true).open(&blob).expect("opened");
    file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000))
        .expect("set");
    let (code, out, err) = run(&data, &["library", "check", "--orphans"]);
    assert!(
        code == 0 && out.contains("queued file  abab") && out.contains("nothing was changed"),
        "{out}{err}"
    );
    assert!(std::fs::metadata(&blob).is_ok());
    let (code, out, _) = run(&data, &["library", "check", "--orphans", "--delete", "--json"]);
    let told: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &told["removed"]), (0, &json!(1)), "{out}");
    assert!(std::fs::metadata(&blob).is_err());
    assert!(
        run(&data, &["library", "check", "--orphans"])
            .1
            .contains("nothing is left over")
    );
}

/// A web server that takes every request and remembers it as text.
async fn listener() -> (Arc<Mutex<String>>, String) {
    let heard: Arc<Mutex<String>> = Arc::default();
    let hear = async |State(heard): State<Arc<Mutex<String>>>, _headers: HeaderMap, body: Bytes| {
        heard
            .lock()
            .expect("not poisoned")
            .push_str(&String::from_utf8_lossy(&body));
        "{}"
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let at = listener.local_addr().expect("an address").to_string();
    let router = Router::new().fallback(any(hear)).with_state(Arc::clone(&heard));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (heard, at)
}

/// Secrets are planted wherever one may stand; then everything that the program writes and answers is read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_shows_up_anywhere() {
    altmount::app::install_crypto();
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    std::fs::create_dir(&data).expect("made");
    let good = Release::builder("good")
        .file("film.mkv", Body::seeded(1, 300_000))
        .build();
    let newsd = Newsd::builder()
        .release(&good)
        .start()
        .await
        .expect("newsd starts");
    let (heard, at) = listener().await;
    let config = format!(
        "log: {{level: 'trace,h2=off,hyper=off'}}\n\
         providers: [{{name: near, host: {}, port: {}, tls: false, username: canary_user, password: canary-provider}}, \
         {{name: far, host: 127.0.0.1, port: 9, tls: false, username: u, password: canary-far}}]\n\
         webdav: {{password: canary-webdav}}\nimport: {{passwords: [canary-archive], max_attempts: 1}}\n\
         sabnzbd: {{fetch_allow: ['127.0.0.1']}}\n\
         outputs: {{strm: {{path: {}, base_url: 'http://here'}}}}\n\
         arr: {{own_url: 'http://here', instances: [{{url: 'http://{at}/arr', api_key: canary-arr}}]}}\n\
         notify: {{gather_seconds: 0, attempts: 1, targets: [{{secret_url: 'json://canary-name:canary-word@{at}/canary-path'}}, \
         {{secret_url: 'gotify://127.0.0.1:9/canary-token'}}]}}\n",
        newsd.host(),
        newsd.port(),
        folder.path().join("strm").display()
    );
    std::fs::write(data.join("config.yaml"), config).expect("written");
    let log = folder.path().join("log");
    let server = Server::logging(
        &data,
        &[],
        Stdio::from(std::fs::File::create(&log).expect("made")),
    );
    let url = server.url.clone();
    let key = std::fs::read_to_string(data.join("api.key"))
        .expect("read")
        .trim()
        .to_owned();
    let links = std::fs::read_to_string(data.join("links.key"))
        .expect("read")
        .trim()
        .to_owned();
    let http = reqwest::Client::new();
    let mut written = String::new();
    let ask = async |method: &str, path: &str, body: Option<Value>| -> String {
        let mut request = http
            .request(method.parse().expect("a method"), format!("{url}{path}"))
            .header("x-api-key", &key)
            .timeout(Duration::from_secs(60));
        if let Some(body) = body {
            request = request.json(&body);
        }
        request
            .send()
            .await
            .expect("an answer")
            .text()
            .await
            .expect("a text")
    };
    let value = |text: String| serde_json::from_str::<Value>(&text).expect("JSON");

    // Events, from before anything happens.
    let (mut events, events_url) = (
        http.get(format!("{url}/api/queue/events"))
            .header("x-api-key", &key)
            .send()
            .await
            .expect("events"),
        url.clone(),
    );
    let made = value(ask("POST", "/api/keys", Some(json!({"name": "n", "scope": "read"}))).await);
    let second = made["data"]["secret"].as_str().expect("a key").to_owned();
    written += &ask(
        "POST",
        "/api/users",
        Some(json!({"name": "ann", "password": "canary-person"})),
    )
    .await;
    let nzb = folder.path().join("good.nzb");
    std::fs::write(&nzb, good.nzb()).expect("written");
    let job = json!({"file_path": nzb, "password": "canary-job"});
    let queued = value(ask("POST", "/api/import/file", Some(job)).await);
    let named = folder.path().join("bad.nzb");
    std::fs::write(&named, "no nzb").expect("written");
    written += &ask(
        "POST",
        "/api/import/file",
        Some(json!({"file_path": named, "password": "canary-other"})),
    )
    .await;
    let fetched = json!({"url": format!("http://{at}/a.nzb?apikey=canary-indexer")});
    written += &ask("POST", "/api/import/url", Some(fetched.clone())).await;
    written += &ask("POST", "/api/import/stream", Some(fetched)).await;
    for _ in 0..600 {
        let open = value(ask("GET", "/api/queue?state=queued,running", None).await);
        if open["meta"]["total"] == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // A signed link, which its own endpoint and the one-call import alone show.
    let nzb_again = json!({"file_path": nzb});
    let _queued_again = ask("POST", "/api/import/file", Some(nzb_again)).await;
    let id = value(ask("GET", "/api/library?path=/good", None).await)["data"][0]["id"]
        .as_i64()
        .expect("a file");
    let link = value(ask("GET", &format!("/api/files/{id}/link"), None).await);
    let link = link["data"]["url"].as_str().expect("a link").to_owned();
    let signature = link.split("sig=").nth(1).expect("signed").to_owned();
    assert_eq!(signature.len(), 32, "{link}");
    let path = link
        .split("http://here")
        .nth(1)
        .expect("of this server")
        .to_owned();
    assert_eq!(
        http.get(format!("{url}{path}"))
            .send()
            .await
            .expect("an answer")
            .bytes()
            .await
            .expect("bytes")
            .len(),
        300_000
    );
    let forged = http
        .get(format!("{url}/strm/{id}/a?sig={signature}&sig=1"))
        .send()
        .await
        .expect("an answer");
    written += &forged.text().await.expect("a text");

    // Everything that answers a GET, with the ids that there are.
    let queue_id = queued["data"]["queue_id"].as_i64().expect("an id");
    let document = value(ask("GET", "/api/openapi.json", None).await);
    let mut routes = 0;
    for (path, operations) in document["paths"].as_object().expect("paths") {
        // What gives a link is to show it; bytes and endless streams are looked at by themselves.
        let other = ["/link", "/events", "/source", "/stream/{file_id}"]
            .iter()
            .any(|end| path.ends_with(end));
        if operations.get("get").is_none() || other {
            continue;
        }
        let id = match path {
            path if path.starts_with("/api/queue") => queue_id,
            path if path.starts_with("/api/files") => id,
            _ => 1,
        };
        written += &ask("GET", &path.replace("{id}", &id.to_string()), None).await;
        routes += 1;
    }
    assert!(routes > 15, "{routes}");
    written += &ask("GET", "/metrics", None).await;
    written += &ask("POST", "/api/notifications/test", Some(json!({}))).await;
    written += &ask("POST", "/api/arr/sonarr/test", Some(json!({}))).await;
    written += &ask(
        "PUT",
        "/api/settings",
        Some(json!({"set": {"webdav.password": 5}})),
    )
    .await;
    written += &ask(
        "PUT",
        "/api/settings",
        Some(json!({"set": {"notify.targets": [{"secret_url": "mailto://canary-set"}]}})),
    )
    .await;
    written += &ask("POST", "/api/settings/reload", None).await;
    written += &ask(
        "POST",
        "/api/providers/test",
        Some(
            json!({"host": "127.0.0.1", "port": 9, "tls": false, "username": "u", "password": "canary-try"}),
        ),
    )
    .await;
    for wrong in ["wrong", second.as_str()] {
        let answer = http
            .get(format!("{events_url}/api/users"))
            .header("x-api-key", wrong)
            .send()
            .await;
        written += &answer.expect("an answer").text().await.expect("a text");
    }
    // The events that came by now.
    while let Ok(Ok(Some(piece))) = tokio::time::timeout(Duration::from_millis(500), events.chunk()).await {
        written += &String::from_utf8_lossy(&piece);
    }
    assert!(written.contains("\"completed\""), "the events were heard");
    drop(events);
    let at_commands = {
        let (data, listen) = (
            data.clone(),
            url.strip_prefix("http://").expect("an address").to_owned(),
        );
        tokio::task::spawn_blocking(move || {
            let mut all = String::new();
            for command in [
                &["config", "show"][..],
                &["doctor"],
                &["doctor", "--json"],
                &["key", "list"],
                &["notify", "test"],
                &["arr", "list"],
                &["library", "check", "--orphans"],
            ] {
                let (_, out, err) = run(&data, &[command, &["--listen", &listen]].concat());
                all += &out;
                all += &err;
            }
            all
        })
    };
    written += &at_commands.await.expect("ran");
    assert_eq!(
        tokio::task::spawn_blocking(move || server.stop())
            .await
            .expect("stopped"),
        0
    );
    let logged = std::fs::read_to_string(&log).expect("read");
    assert!(
        logged.contains("altmount::access") && logged.contains("TRACE"),
        "the log was read"
    );
    let told = heard.lock().expect("not poisoned").clone();
    assert!(told.contains("AltMount: "), "notifications were heard: {told}");
    for (where_from, text) in [
        ("an answer", &written),
        ("the log", &logged),
        ("a message", &told),
    ] {
        for secret in [key.as_str(), &second, &signature, &links] {
            assert!(!text.contains(secret), "a key or a signature in {where_from}");
        }
        // Names of users are no secrets; whatever else is called so is one.
        if let Some(at) = text.find("canary-") {
            let around = text[at.saturating_sub(200)..]
                .chars()
                .take(300)
                .collect::<String>();
            panic!("a secret in {where_from}: {around}");
        }
    }
}
