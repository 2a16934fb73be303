//! Importers that are loaded from libraries, in the running server.

use crate::harness::{Server, text};
use altmount::config::{Config, PluginFile};
use altmount_engine::JobState;
use altmount_newsd::Release;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// A library that cargo built beside this test.
fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test binary");
    test.parent().expect("a folder").join(format!("lib{name}.so"))
}

fn file(path: &Path) -> PluginFile {
    PluginFile {
        path: text(path),
        ..PluginFile::default()
    }
}

async fn with(name: &str, change: impl FnOnce(&mut Config)) -> Server {
    let listed = file(&built(name));
    Server::with(|config| {
        config.plugins.allow_unverified = true;
        config.plugins.load.push(listed);
        change(config);
    })
    .await
}

async fn plugin(server: &Server, id: &str) -> Value {
    let all = server.get("/api/plugins").await.json();
    let list = all["data"].as_array().expect("a list");
    list.iter()
        .find(|plugin| plugin["id"] == id)
        .cloned()
        .unwrap_or_else(|| panic!("there is no {id} in {all}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loaded_importer_takes_its_files() {
    let server = with("altmount_example_hello", |config| {
        config
            .plugins
            .config
            .insert("hello".to_owned(), json!({"greeting": "Good day"}));
    })
    .await;
    let job = server
        .import(&server.write("people.hello", "world\nmoon\n"))
        .await;
    assert_eq!(job.destination.to_string(), "/people");
    let id = server.file_id("/people/moon.txt").await;
    let bytes = server.get(&format!("/api/stream/{id}")).await;
    assert_eq!(bytes.body, b"Good day, moon!\n");
    let about = plugin(&server, "hello").await;
    assert_eq!(
        (&about["state"], &about["linked"]),
        (&json!("loaded"), &json!(false))
    );
    assert_eq!(
        (&about["counters"]["imports"], &about["verified"]),
        (&json!(1), &json!(false))
    );
}

/// What the API says of one that is replaced, and of configurations that are not as an importer's schema says.
#[tokio::test(flavor = "multi_thread")]
async fn the_one_that_is_replaced_is_listed_with_the_reason() {
    let loaded = with("altmount_importer_nzb", |config| {
        config.plugins.load[0].replaces = Some("nzb".to_owned());
    })
    .await;
    let about = plugin(&loaded, "nzb").await;
    assert_eq!(
        (&about["state"], &about["linked"]),
        (&json!("loaded"), &json!(false))
    );
    let schema = &about["config_schema"];
    assert_eq!(schema["properties"]["max_depth"]["maximum"], 8, "{schema}");
    // The shadowed one is listed, and why it is not in use.
    let all = loaded.get("/api/plugins").await.json();
    let list = all["data"].as_array().expect("a list");
    assert!(
        list.iter()
            .any(|p| p["id"] == "nzb" && p["state"] == "shadowed" && p["linked"] == true),
        "{all}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_breaks_the_schema_names_its_key() {
    let server = with("altmount_example_hello", |config| {
        config
            .plugins
            .config
            .insert("hello".to_owned(), json!({"greeting": ["s3cret"], "extra": 1}));
    })
    .await;
    let about = plugin(&server, "hello").await;
    assert_eq!(about["state"], "refused");
    let reason = about["reason"].as_str().expect("a reason");
    assert!(
        reason.contains("plugins.config.hello.greeting: ")
            && reason.contains("plugins.config.hello.extra: there is no such key; there are: greeting")
            && !reason.contains("s3cret"),
        "{reason}"
    );
    // Of one that is part of the program, the server does not start.
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = Config::default();
    config
        .plugins
        .config
        .insert("links".to_owned(), json!({"max_links": "many"}));
    let data = crate::harness::data(folder.path());
    let error = altmount::app::App::start(config.resolve().expect("valid"), &data)
        .await
        .expect_err("it does not start");
    assert!(
        error.to_string().contains("plugins.config.links.max_links: "),
        "{error:#}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_panics_is_put_aside_and_the_rest_goes_on() {
    let server = with("altmount_misbehave", |config| {
        config
            .plugins
            .config
            .insert("misbehave".to_owned(), json!({"mode": "panic-after"}));
    })
    .await;
    for number in 0..3 {
        let path = server.write(&format!("{number}.bad"), "x");
        let job = server.wait(server.submit(&path).await).await;
        let failure = job.failure.expect("failed");
        assert_eq!(failure.kind, "panicked");
        assert!(failure.message.contains("after an await"), "{failure:?}");
        let details = failure.details.expect("details").to_string();
        assert!(details.contains("misbehave"), "{details}");
    }
    let about = plugin(&server, "misbehave").await;
    assert_eq!(
        (&about["state"], &about["counters"]["panics"]),
        (&json!("quarantined"), &json!(3))
    );
    assert!(
        about["reason"]
            .as_str()
            .expect("a reason")
            .contains("panicked 3 times")
    );
    // Nobody takes its files now, and others are imported.
    let again = server.write("again.bad", "x");
    let refused = server
        .api("POST", "/api/import/file", Some(json!({"file_path": again})))
        .await;
    refused.failure(400);
    server
        .import(&server.post(&Release::single("fine", 1, 3_000)))
        .await;
    let resumed = server.api("POST", "/api/plugins/misbehave/resume", None).await;
    assert_eq!(resumed.json()["data"]["state"], "loaded");
    server.submit(&again).await;
    server
        .api("POST", "/api/plugins/none/resume", None)
        .await
        .failure(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_import_is_cancelled_and_the_next_one_runs() {
    let server = with("altmount_misbehave", |config| {
        config
            .plugins
            .config
            .insert("misbehave".to_owned(), json!({"mode": "hang"}));
    })
    .await;
    let id = server.submit(&server.write("a.bad", "x")).await;
    let cancelled = server.api("DELETE", &format!("/api/queue/{}", id.0), None).await;
    assert!(cancelled.status.is_success(), "{}", cancelled.text());
    assert_eq!(server.wait(id).await.state, JobState::Cancelled);
    assert_eq!(plugin(&server, "misbehave").await["state"], "loaded");
    server
        .import(&server.post(&Release::single("fine", 1, 3_000)))
        .await;
}

/// A million files, and one after another that does not stop: what the host limits ends the job alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_ends_its_own_job_and_says_whose_it_is() {
    let server = with("altmount_misbehave", |config| {
        config
            .plugins
            .config
            .insert("misbehave".to_owned(), json!({"mode": "flood"}));
    })
    .await;
    let flood = server.submit(&server.write("a.bad", "x")).await;
    // Others are imported meanwhile.
    let fine = server
        .import(&server.post(&Release::single("fine", 1, 3_000)))
        .await;
    // And streamed.
    let folder = server
        .get(&format!("/api/library?path={}", fine.destination))
        .await
        .json();
    let id = folder["data"][0]["id"].as_i64().expect("a file");
    assert_eq!(server.get(&format!("/api/stream/{id}")).await.body.len(), 3_000);
    let failure = server.wait(flood).await.failure.expect("failed");
    assert_eq!(failure.kind, "limit");
    let details = failure.details.expect("details").to_string();
    assert!(details.contains("libaltmount_misbehave.so"), "{details}");
    let about = plugin(&server, "misbehave").await;
    assert_eq!(
        (
            &about["state"],
            &about["counters"]["failed"],
            &about["counters"]["files"]
        ),
        (&json!("loaded"), &json!(1), &json!(100_000))
    );
    assert_eq!(
        server.get("/api/library?path=/a").await.status,
        404,
        "nothing of it is there"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_library_stops_nothing_unless_it_is_required() {
    let server = with("altmount_example_hello", |config| {
        config.plugins.load.push(file(Path::new("/no/such/library.so")));
        config.plugins.config.insert("unheard-of".to_owned(), json!({}));
    })
    .await;
    let all = server.get("/api/plugins").await.json();
    let refused = all["data"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|p| p["path"] == "/no/such/library.so")
        .expect("listed");
    assert_eq!(refused["state"], "refused");
    assert!(
        refused["reason"]
            .as_str()
            .expect("a reason")
            .contains("cannot be found")
    );
    // Loaded anew: another copy, which starts from nothing.
    server.import(&server.write("a.hello", "you")).await;
    assert_eq!(plugin(&server, "hello").await["counters"]["imports"], 1);
    let reloaded = server.api("POST", "/api/plugins/reload", None).await;
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    assert_eq!(plugin(&server, "hello").await["counters"]["imports"], 0);
    server.import(&server.write("b.hello", "you")).await;

    let folder = tempfile::tempdir().expect("a folder");
    let mut config = Config::default();
    config.plugins.load.push(PluginFile {
        required: true,
        ..file(Path::new("/no/such/library.so"))
    });
    let settings = config.resolve().expect("valid");
    let data = crate::harness::data(folder.path());
    let error = altmount::app::App::start(settings, &data)
        .await
        .expect_err("it does not start");
    assert!(error.to_string().contains("/no/such/library.so"), "{error:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_of_nzbs_is_imported_by_the_importer_of_each() {
    let server = with("altmount_example_bundle", |_| {}).await;
    let mut bundle = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for number in 0..2u64 {
        let release = Release::single(format!("part-{number}"), number, 3_000 + number);
        server.newsd.add(&release);
        let options = zip::write::SimpleFileOptions::default();
        bundle
            .start_file(format!("part-{number}.nzb"), options)
            .expect("started");
        std::io::Write::write_all(&mut bundle, &release.nzb()).expect("written");
    }
    let options = zip::write::SimpleFileOptions::default();
    bundle.start_file("readme.txt", options).expect("started");
    let bytes = bundle.finish().expect("finished").into_inner();
    let job = server.import(&server.write("all.zip", bytes)).await;
    for number in 0..2 {
        let folder = format!("{}/part-{number}", job.destination);
        let listed = server.get(&format!("/api/library?path={folder}")).await.json();
        assert_eq!(listed["data"][0]["size"], 3_000 + number, "{listed}");
        let id = listed["data"][0]["id"].as_i64().expect("an id");
        let bytes = server.get(&format!("/api/stream/{id}")).await;
        assert_eq!(bytes.body.len(), 3_000 + number);
    }
    // In a bundle in a bundle ... there is an end.
    let mut inner = b"<nzb>".to_vec();
    for depth in 0..6 {
        let mut out = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        let name = if depth == 0 { "x.nzb" } else { "x.zip" };
        out.start_file(name, zip::write::SimpleFileOptions::default())
            .expect("started");
        std::io::Write::write_all(&mut out, &inner).expect("written");
        inner = out.finish().expect("finished").into_inner();
    }
    let path = server.write("deep.zip", inner);
    let job = server.wait(server.submit(&path).await).await;
    assert_eq!(job.failure.expect("failed").kind, "limit");
}
