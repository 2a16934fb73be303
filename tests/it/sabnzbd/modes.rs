//! All other modes.

use super::{added, finished, nzb, sab, start};
use crate::harness::KEY;
use serde_json::json;

#[tokio::test]
async fn the_rest_of_the_modes_answer_as_clients_expect() {
    let server = start().await;
    let id = added(&server, "cat=tv", "x.nzb", &nzb(&server, "x", 1)).await;
    finished(&server, &id).await;
    let stats = sab(&server, "mode=server_stats").await;
    let one = stats["servers"]
        .as_object()
        .expect("servers")
        .values()
        .next()
        .expect("a server")
        .clone();
    assert!(
        one["total"].as_u64().is_some_and(|bytes| bytes > 30_000),
        "{stats}"
    );
    let day = one["daily"]
        .as_object()
        .expect("days")
        .keys()
        .next()
        .expect("a day")
        .clone();
    assert!(
        one["articles_tried"][&day].as_u64() >= one["articles_success"][&day].as_u64(),
        "{stats}"
    );
    let status = sab(&server, "mode=fullstatus&skip_dashboard=1").await;
    for name in [
        "uptime",
        "version",
        "pid",
        "completedir",
        "speedlimit_abs",
        "diskspace1",
        "loadavg",
    ] {
        assert!(!status["status"][name].is_null(), "{name}");
    }
    assert_eq!(sab(&server, "mode=status").await["status"]["paused"], false);
    assert_eq!(sab(&server, "mode=warnings").await["warnings"], json!([]));
    assert_eq!(
        sab(&server, "mode=get_scripts").await,
        json!({"scripts": ["None"]})
    );
    let config = sab(&server, "mode=get_config").await;
    assert_eq!(config["config"]["categories"][1]["dir"], "tv");
    assert!(!config.to_string().contains(KEY));
    assert_eq!(
        sab(&server, "mode=get_config&section=misc&keyword=pre_check").await,
        json!({"config": {"misc": {"pre_check": 0}}})
    );
    assert_eq!(
        sab(&server, "mode=get_config&section=nothing").await["status"],
        false
    );
    assert_eq!(
        sab(
            &server,
            "mode=set_config&section=misc&keyword=complete_dir&value=/x"
        )
        .await["status"],
        false
    );
    for (value, absolute) in [("400K", "409600"), ("0", "0"), ("1M", "1048576")] {
        assert_eq!(
            sab(&server, &format!("mode=config&name=speedlimit&value={value}")).await,
            json!({"status": true})
        );
        assert_eq!(
            sab(&server, "mode=queue").await["queue"]["speedlimit_abs"],
            absolute
        );
    }
    assert_eq!(
        sab(&server, "mode=config&name=speedlimit&value=x").await["status"],
        false
    );
    assert_eq!(
        sab(&server, "mode=config&name=set_pause&value=5").await,
        json!({"status": true})
    );
    let queue = sab(&server, "mode=queue").await;
    assert!(
        queue["queue"]["pause_int"]
            .as_str()
            .is_some_and(|text| text.starts_with("4:") || text == "5:00"),
        "{queue}"
    );
    // Every folder of a category is there before its first job.
    assert!(
        server
            .app
            .engine()
            .library()
            .lookup(&altmount_model::VPath::new("movies").expect("a path"))
            .await
            .expect("reads")
            .is_some()
    );
}

#[tokio::test]
async fn categories_can_be_set_and_are_used_at_once_and_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let newsd = altmount_newsd::Newsd::builder().start().await.expect("starts");
    let more = "categories:\n  # Sonarr's\n  - {name: tv}\n";
    let provider = altmount_tests::server::Provider::of(&newsd, 2);
    let mut server = altmount_tests::server::Server::new(None, folder.path(), &[provider], more);
    server.start().await;
    assert_eq!(
        server.sabnzbd("mode=get_cats").await,
        json!({"categories": ["*", "tv"]})
    );
    let set = |name: &str, more: &str| format!("mode=set_config&section=categories&keyword={name}&{more}");
    let answer = server.sabnzbd(&set("films", "dir=media/films&priority=1")).await;
    let category = &answer["config"]["categories"][0];
    assert_eq!(
        (&category["name"], &category["dir"], &category["priority"]),
        (&json!("films"), &json!("media/films"), &json!(1)),
        "{answer}"
    );
    let answer = server.sabnzbd(&set("tv", "dir=shows")).await;
    assert_eq!(answer["config"]["categories"][0]["dir"], "shows", "{answer}");
    for (name, more) in [
        ("", "dir=x"),
        ("*", "dir=x"),
        ("a,b", ""),
        ("bad", "dir=../x"),
        ("bad", "priority=x"),
    ] {
        let answer = server.sabnzbd(&set(name, more)).await;
        assert_eq!(answer["status"], false, "{name} {more}: {answer}");
    }
    // Its folder is there before its first job, which is put into it.
    assert_eq!(server.get("/api/library?path=/media/films").await, json!([]));
    let release = altmount_newsd::Release::single("film", 7, 20_000);
    newsd.add(&release);
    let nzb = server.write(&release);
    let added = server
        .sabnzbd(&format!("mode=addlocalfile&cat=films&name={}", nzb.display()))
        .await;
    assert_eq!(added["status"], true, "{added}");
    let id = added["nzo_ids"][0].as_str().expect("an id");
    for _ in 0..1000 {
        let history = server.sabnzbd(&format!("mode=history&nzo_ids={id}")).await;
        if history["history"]["slots"][0]["status"] == "Completed" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(server.file_id("media/films/film", "film.mkv").await > 0);
    let file = std::fs::read_to_string(folder.path().join("config.yaml")).expect("there");
    assert!(file.contains("films"), "{file}");
    server.kill();
    server.start().await;
    assert_eq!(
        server.sabnzbd("mode=get_cats").await,
        json!({"categories": ["*", "tv", "films"]})
    );
}
