//! The recorded answers of a real SABnzbd, mode by mode: ours have every member of theirs with its type, and no other.

use super::{TITLE, added, finished, held, nzb, published, sab, start, upload};
use altmount_engine::JobState;
use altmount_newsd::{Body as Content, FileSpec, Release};
use serde_json::{Value, json};

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}

/// How two values are compared.
#[derive(Clone, Copy)]
struct Rules<'a> {
    /// Members whose own members are data, such as names of servers: one stands for all.
    keys: &'a [&'a str],
    /// Members of which only a part was recorded: ours may have more.
    part: &'a [&'a str],
}

/// What differs between a recorded value and ours, by names and types.
fn differences(at: &str, recorded: &Value, ours: &Value, rules: Rules<'_>, found: &mut Vec<String>) {
    if kind(recorded) != kind(ours) {
        found.push(format!(
            "{at} is {} and not {}: {ours}",
            kind(ours),
            kind(recorded)
        ));
        return;
    }
    let name = at.rsplit('.').next().unwrap_or_default();
    match (recorded, ours) {
        (Value::Object(recorded), Value::Object(ours)) if rules.keys.contains(&name) => {
            match (recorded.values().next(), ours.values().next()) {
                (Some(recorded), Some(ours)) => {
                    differences(&format!("{at}.*"), recorded, ours, rules, found);
                }
                (Some(_), None) => found.push(format!("{at} has nothing in it")),
                (None, _) => {}
            }
        }
        (Value::Object(recorded), Value::Object(ours)) => {
            for (name, value) in recorded {
                match ours.get(name) {
                    Some(ours) => differences(&format!("{at}.{name}"), value, ours, rules, found),
                    None => found.push(format!("{at}.{name} is not there")),
                }
            }
            let more = ours.keys().filter(|name| !recorded.contains_key(*name));
            if !rules.part.contains(&name) {
                found.extend(more.map(|name| format!("{at}.{name} is nothing that a SABnzbd has")));
            }
        }
        (Value::Array(recorded), Value::Array(ours)) => match (recorded.first(), ours.first()) {
            (Some(recorded), Some(_)) => {
                for (number, ours) in ours.iter().enumerate() {
                    differences(&format!("{at}.{number}"), recorded, ours, rules, found);
                }
            }
            (Some(_), None) => found.push(format!("{at} has nothing in it")),
            (None, _) => {}
        },
        _ => {}
    }
}

#[track_caller]
fn same(what: &str, recorded: &Value, ours: &Value, rules: Rules<'_>) {
    let mut found = Vec::new();
    differences("", recorded, ours, rules, &mut found);
    assert!(found.is_empty(), "{what}: {found:#?}");
}

const STRICT: Rules<'_> = Rules { keys: &[], part: &[] };

fn gone(name: &str, seed: u64) -> Vec<u8> {
    let file = FileSpec::new("gone.mkv", Content::seeded(seed, 20_000)).missing([1, 2, 3, 4]);
    let release = Release::builder(name).seed(seed).article_size(5_000).with(file);
    release.build().nzb()
}

#[tokio::test]
async fn every_recorded_answer_has_its_shape_here() {
    let server = start().await;
    // What an answer tells of is there: a job that is done, two that have failed, one that waits, and a warning.
    let done = added(&server, "cat=tv", "done.nzb", &nzb(&server, "done", 1)).await;
    assert_eq!(finished(&server, &done).await.state, JobState::Completed);
    let mut failed = Vec::new();
    for seed in [2, 3] {
        let id = added(&server, "cat=tv", "gone.nzb", &gone("gone", seed)).await;
        assert_eq!(finished(&server, &id).await.state, JobState::Failed);
        failed.push(id);
    }
    sab(&server, "mode=pause").await;
    let answer = upload(&server, "cat=tv", "queued.nzb", &nzb(&server, "queued", 4)).await;
    same(
        "addfile",
        &json!({"status": true, "nzo_ids": [""]}),
        &answer,
        STRICT,
    );
    let queued = answer["nzo_ids"][0].as_str().expect("an id").to_owned();
    // With a reason, which clients log, beside what a real one says.
    let refused = upload(&server, "cat=tv", "x.nzb", b"garbage").await;
    same(
        "a refused file",
        &json!({"status": false, "nzo_ids": [], "error": ""}),
        &refused,
        STRICT,
    );
    // A news server that takes nobody in.
    let film = server.file_id("tv/done/done.mkv").await;
    server.newsd.set_greeting("502 go away");
    server.newsd.disconnect_all();
    for _ in 0..1000 {
        let file = altmount_model::FileId(film);
        server.app.engine().health().check(file).await.expect("asks");
        if sab(&server, "mode=queue").await["queue"]["have_warnings"] != "0" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let recorded: Value =
        serde_json::from_str(include_str!("../../fixtures/sabnzbd/answers.json")).expect("JSON");
    let names = |entry: &Value, name: &str| -> Vec<String> {
        let list = entry[name].as_array().into_iter().flatten();
        list.map(|name| name.as_str().expect("a name").to_owned())
            .collect()
    };
    for entry in recorded.as_array().expect("a list") {
        let call = entry["call"].as_str().expect("a call");
        let call = call
            .replace("$QUEUED", &queued)
            .replace("$FAILED", &failed[0])
            .replace("$OTHER", &failed[1]);
        let (keys, part) = (names(entry, "keys"), names(entry, "part"));
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let part: Vec<&str> = part.iter().map(String::as_str).collect();
        let rules = Rules {
            keys: &keys,
            part: &part,
        };
        same(&call, &entry["answer"], &sab(&server, &call).await, rules);
    }
}

#[tokio::test]
async fn queue_and_history_have_every_field_of_a_real_one_with_its_type() {
    let (server, gate) = held().await;
    sab(&server, "mode=pause").await;
    let queued = nzb(&server, TITLE, 1);
    added(&server, "cat=tv&priority=-100", &format!("{TITLE}.nzb"), &queued).await;
    let real: Value = serde_json::from_str(include_str!("../../fixtures/sabnzbd/queue.json")).expect("JSON");
    let ours = sab(&server, "mode=queue&start=0&limit=0").await;
    same("queue", &real, &ours, STRICT);
    let (slot, real) = (&ours["queue"]["slots"][0], &real["queue"]["slots"][0]);
    for name in [
        "filename",
        "cat",
        "priority",
        "status",
        "percentage",
        "timeleft",
        "unpackopts",
        "script",
        "labels",
    ] {
        assert_eq!(slot[name], real[name], "{name}");
    }
    assert!(
        slot["avg_age"].as_str().is_some_and(|age| age.ends_with('d')),
        "{slot}"
    );
    assert_eq!(
        (&ours["queue"]["status"], &ours["queue"]["paused"]),
        (&json!("Paused"), &json!(true))
    );
    let id = slot["nzo_id"].as_str().expect("an id").to_owned();
    assert!(id.starts_with("SABnzbd_nzo_") && id.len() == 20, "{id}");
    sab(&server, "mode=resume").await;
    gate.open();
    let job = finished(&server, &id).await;
    assert_eq!(job.state, JobState::Completed, "{:?}", job.failure);
    published(&server, &id).await;
    let real: Value =
        serde_json::from_str(include_str!("../../fixtures/sabnzbd/history.json")).expect("JSON");
    let ours = sab(&server, "mode=history&limit=60").await;
    same("history", &real, &ours, STRICT);
    let (slot, real) = (&ours["history"]["slots"][0], &real["history"]["slots"][0]);
    for name in [
        "name",
        "nzb_name",
        "category",
        "status",
        "fail_message",
        "script",
        "loaded",
        "retry",
        "archive",
    ] {
        assert_eq!(slot[name], real[name], "{name}");
    }
    assert_eq!(slot["nzo_id"], id);
    let update = &ours["history"]["last_history_update"];
    assert_eq!(
        sab(&server, &format!("mode=history&last_history_update={update}")).await,
        json!({"history": false})
    );
}

#[test]
fn a_difference_is_seen_in_both_directions() {
    let of = |recorded: Value, ours: Value| {
        let mut found = Vec::new();
        differences("", &recorded, &ours, STRICT, &mut found);
        found.len()
    };
    let real = json!({"a": {"b": [{"c": 1}], "d": null}});
    assert_eq!(of(real.clone(), real.clone()), 0);
    for other in [
        json!({"a": {"b": [{"c": "1"}], "d": null}}),
        json!({"a": {"b": [{"c": 1}, {"c": 1.5}], "d": null}}),
        json!({"a": {"b": [], "d": null}}),
        json!({"a": {"b": [{"c": 1}]}}),
        json!({"a": {"b": [{"c": 1}], "d": null, "e": 1}}),
        json!({"a": {"b": [{"c": 1}], "d": ""}}),
    ] {
        assert_eq!(of(real.clone(), other.clone()), 1, "{other}");
    }
}
