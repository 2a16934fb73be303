use super::Faults;
use crate::config::{
    ArrSettings, Config, ConfigError, Mount, NotifySettings, OutputSettings, Sources, env, library,
    needs_restart,
};
use serde_json::{Value, json};
use std::sync::Arc;

#[test]
fn addresses_of_arrs_carry_no_passwords() {
    for (key, yaml) in [
        (
            "arr.own_url",
            json!({"arr": {"own_url": "http://ann:hunter2@altmount:8080"}}),
        ),
        (
            "arr.instances[0].url",
            json!({"arr": {"instances": [{"kind": "sonarr", "url": "http://ann:hunter2@sonarr:8989", "api_key": "k"}]}}),
        ),
    ] {
        let fault = settings(&yaml).expect_err("refused").to_string();
        assert!(
            fault.contains(key) && fault.contains("no name and password"),
            "{fault}"
        );
        assert!(!fault.contains("hunter2"), "{fault}");
    }
}

fn settings(yaml: &Value) -> Result<String, ConfigError> {
    let file = Some(("test".to_owned(), yaml.to_string()));
    let sources = Sources {
        file,
        ..Sources::default()
    };
    sources.load()?.resolve().map(|settings| format!("{settings:?}"))
}

/// Every leaf of the schema as (path, schema); the keys of `providers` are below index 0.
fn leaves(schema: &Value, path: &[String], out: &mut Vec<(Vec<String>, Value)>) {
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        for (name, part) in properties {
            leaves(part, &[path, std::slice::from_ref(name)].concat(), out);
        }
    } else if let Some(items) = schema.get("items").filter(|i| i.get("properties").is_some()) {
        leaves(items, &[path, &["0".to_owned()]].concat(), out);
    } else {
        out.push((path.to_vec(), schema.clone()));
    }
}

/// Values for a key, one of which is not what it has without them.
fn candidates(key: &str, schema: &Value) -> Vec<Value> {
    if let Some(options) = schema.get("oneOf").and_then(Value::as_array) {
        return options.iter().map(|o| o["const"].clone()).collect();
    }
    match key {
        "server.listen" => return vec![json!("127.0.0.1:99")],
        "import.allowed_roots" => return vec![json!(["/srv"])],
        "import.ignore" => return vec![json!(["*.exe"])],
        "mount.path" | "outputs.library_path" => return vec![json!("/mnt/altmount")],
        "arr.own_url" | "arr.instances.0.url" => return vec![json!("http://elsewhere")],
        "arr.instances.0.categories" => return vec![json!(["other"])],
        "outputs.default" => return vec![json!(["copy"])],
        "outputs.categories" => return vec![json!({"tv": ["copy"]})],
        "outputs.symlinks.path"
        | "outputs.strm.path"
        | "outputs.copy.path"
        | "outputs.symlinks.target"
        | "outputs.mappings.0.ours" => return vec![json!("/srv/elsewhere")],
        "outputs.strm.base_url" => return vec![json!("http://elsewhere")],
        "import.passwords" => return vec![json!(["secret"])],
        "server.trusted_proxies" => return vec![json!(["10.0.0.0/8"])],
        "server.forward_auth_header" => return vec![json!("Remote-User")],
        "plugins.config" => return vec![json!({"links": {"a": 1}})],
        "watch.folders.0.path" => return vec![json!("/srv/other")],
        "watch.folders.0.category" => return vec![json!("tv")],
        "backup.folder" => return vec![json!("/srv/elsewhere")],
        "notify.targets.0.secret_url" => return vec![json!("https://elsewhere/hook")],
        "notify.targets.0.events" => return vec![json!(["failed"])],
        "notify.targets.0.template" => return vec![json!("{\"text\": \"{{title}}\"}")],
        "metrics.listen" => return vec![json!("127.0.0.1:99")],
        "telemetry.otlp_endpoint" => return vec![json!("http://127.0.0.1:4318/v1/traces")],
        "plugins.load.0.path" => return vec![json!("/other.so")],
        "plugins.load.0.sha256" => return vec![json!("ab".repeat(32))],
        "plugins.priority" => return vec![json!({"links": 3})],
        "log.level" => return vec![json!("debug")],
        "sabnzbd.url_base" => return vec![json!("/other")],
        "sabnzbd.version" => return vec![json!("4.5.2")],
        "sabnzbd.fetch_allow" => return vec![json!(["indexer.lan"])],
        "categories.0.priority" => return vec![json!(1)],
        "categories.0.check" => return vec![json!("full")],
        _ => {}
    }
    let kind = &schema["type"];
    let is = |name: &str| kind == name || kind.as_array().is_some_and(|k| k.contains(&json!(name)));
    if is("boolean") {
        vec![json!(true), json!(false)]
    } else if is("integer") {
        vec![json!(17)]
    } else {
        vec![json!("other")]
    }
}

fn tree(path: &[String], value: Value) -> Value {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let mut tree = path.iter().rev().fold(value, |below, part| {
        if *part == "0" {
            json!([below])
        } else {
            json!({ *part: below })
        }
    });
    if path[..2] == ["plugins", "load"] {
        let file = tree["plugins"]["load"][0].as_object_mut().expect("a map");
        file.entry("path").or_insert_with(|| json!("/lib.so"));
    }
    if path[..2] == ["arr", "instances"] {
        let instance = tree["arr"]["instances"][0].as_object_mut().expect("a map");
        for (key, value) in [("url", "http://here"), ("api_key", "key")] {
            instance.entry(key).or_insert_with(|| json!(value));
        }
    }
    if path[0] == "arr" && path.len() > 4 {
        let rule = tree["arr"]["queue"]["rules"][0].as_object_mut().expect("a map");
        rule.entry("message").or_insert_with(|| json!("*sample*"));
    }
    if path[0] == "backup" {
        let backup = tree["backup"].as_object_mut().expect("a map");
        backup.entry("folder").or_insert_with(|| json!("/srv/backup"));
    }
    if path[..2] == ["notify", "targets"] {
        let target = tree["notify"]["targets"][0].as_object_mut().expect("a map");
        target
            .entry("secret_url")
            .or_insert_with(|| json!("https://here/hook"));
    }
    if path[0] == "watch" {
        // A folder's category is one of these.
        tree["categories"] = json!([{"name": "tv"}]);
        let folder = tree["watch"]["folders"][0].as_object_mut().expect("a map");
        folder.entry("path").or_insert_with(|| json!("/srv/watch"));
    }
    if path[0] == "outputs" {
        // What the other keys need to be valid.
        let outputs = tree["outputs"].as_object_mut().expect("a map");
        for (name, whole) in [
            ("symlinks", json!({"path": "/srv/links"})),
            ("strm", json!({"path": "/srv/strm", "base_url": "http://here"})),
            ("copy", json!({"path": "/srv/copy"})),
        ] {
            let part = outputs.entry(name).or_insert_with(|| json!({}));
            for (key, value) in whole.as_object().expect("a map") {
                let part = part.as_object_mut().expect("a map");
                part.entry(key).or_insert_with(|| value.clone());
            }
        }
        outputs
            .entry("library_path")
            .or_insert_with(|| json!("/mnt/library"));
        if let Some(mapping) = outputs.get_mut("mappings") {
            let mapping = mapping[0].as_object_mut().expect("a map");
            mapping.entry("ours").or_insert_with(|| json!("/srv"));
            mapping.entry("theirs").or_insert_with(|| json!("/data"));
        }
    }
    if path == ["server", "forward_auth_header"] {
        tree["server"]["trusted_proxies"] = json!(["10.0.0.0/8"]);
    }
    if path[0] == "categories" {
        let category = tree["categories"][0].as_object_mut().expect("a map");
        category.entry("name").or_insert_with(|| json!("tv"));
    }
    if path[0] == "providers" {
        // What the other keys of a provider need to be valid.
        for (key, value) in [
            ("host", json!("news")),
            ("username", json!("user")),
            ("quota_bytes", json!(1000)),
        ] {
            let provider = tree["providers"][0].as_object_mut().expect("a map");
            provider.entry(key).or_insert(value);
        }
    }
    tree
}

#[test]
fn every_key_changes_something() {
    let mut all = Vec::new();
    leaves(&env::schema(), &[], &mut all);
    assert!(all.len() > 50, "{}", all.len());
    let plain = settings(&json!({})).expect("the defaults are valid");
    let provider = settings(&tree(
        &["providers".to_owned(), "0".to_owned(), "host".to_owned()],
        json!("news"),
    ))
    .expect("a provider is valid");
    let watch =
        settings(&json!({"categories": [{"name": "tv"}], "watch": {"folders": [{"path": "/srv/watch"}]}}))
            .expect("valid");
    let backup = settings(&json!({"backup": {"folder": "/srv/backup"}})).expect("valid");
    let target =
        settings(&json!({"notify": {"targets": [{"secret_url": "https://here/hook"}]}})).expect("valid");
    let category = settings(&json!({"categories": [{"name": "tv"}]})).expect("a category is valid");
    for (path, schema) in all {
        let key = path.join(".");
        if key == "arr.instances.0.api_key" {
            // A secret looks the same whatever it is, and this one must be there: it is read where it is missed.
            assert!(
                settings(&tree(&path, json!(""))).is_err(),
                "nothing reads '{key}'"
            );
            continue;
        }
        let before = match path[0].as_str() {
            "providers" => &provider,
            "watch" => &watch,
            "backup" => &backup,
            "notify" if path.len() > 2 => &target,
            // Read by builds that can send traces, and refused by others.
            "telemetry" if cfg!(not(feature = "otel")) => continue,
            "categories" => &category,
            // The same tree without a value of this key's own.
            "outputs" => &outputs_without(&path),
            "arr" if path.len() > 3 => &arr_without(&path),
            _ => &plain,
        };
        let changed = candidates(&key, &schema).into_iter().any(|value| {
            let after = settings(&tree(&path, value)).unwrap_or_else(|e| panic!("{key}: {e}"));
            after != *before
        });
        assert!(changed, "nothing reads '{key}'");
    }
}

/// What a running server does not exchange when its configuration changes: see `live`.
fn kept(yaml: &Value) -> String {
    let sources = Sources {
        file: Some(("test".to_owned(), yaml.to_string())),
        ..Sources::default()
    };
    let mut settings = sources
        .load()
        .and_then(Config::resolve)
        .unwrap_or_else(|error| panic!("{yaml}: {error}"));
    settings.providers.clear();
    settings.arr = ArrSettings::default();
    settings.categories = Arc::default();
    settings.plugin_config.clear();
    settings.plugin_priority.clear();
    settings.plugin_files.clear();
    settings.plugins_unverified = false;
    settings.log_level.clear();
    settings.watch.clear();
    settings.notify = NotifySettings::default();
    settings.outputs = OutputSettings::default();
    settings.mount = library::mount(Mount::default(), &mut Faults::default());
    format!("{settings:?}")
}

#[test]
fn what_is_said_to_be_used_at_once_is_what_the_server_exchanges() {
    let mut all = Vec::new();
    leaves(&env::schema(), &[], &mut all);
    let plain = kept(&json!({}));
    let backup = kept(&json!({"backup": {"folder": "/srv/backup"}}));
    for (path, schema) in all {
        let key = path.join(".");
        // Read by builds that can send traces, and refused by others.
        if path[0] == "telemetry" && cfg!(not(feature = "otel")) {
            continue;
        }
        let before = if path[0] == "backup" { &backup } else { &plain };
        let changed = candidates(&key, &schema)
            .into_iter()
            .any(|value| kept(&tree(&path, value)) != *before);
        assert_eq!(changed, needs_restart(&key), "{key}");
    }
}

/// What [`tree`] makes around a key of a list of the *arrs', without the key.
fn arr_without(path: &[String]) -> String {
    let names: Vec<&str> = path.iter().map(String::as_str).collect();
    let (anchor, value): (Vec<&str>, _) = match names[1] {
        "instances" => (vec!["arr", "instances", "0", "url"], json!("http://here")),
        _ => (vec!["arr", "queue", "rules", "0", "message"], json!("*sample*")),
    };
    let anchor: Vec<String> = anchor.into_iter().map(str::to_owned).collect();
    settings(&tree(&anchor, value)).expect("valid")
}

/// What [`tree`] makes around a key of the outputs, without the key.
fn outputs_without(path: &[String]) -> String {
    let names: Vec<&str> = path.iter().map(String::as_str).collect();
    let anchor: Vec<String> = match names[1] {
        "mappings" => ["outputs", "mappings", "0", "ours"].map(str::to_owned).to_vec(),
        _ => ["outputs", "copy", "max_bytes_per_second"]
            .map(str::to_owned)
            .to_vec(),
    };
    let value = if names[1] == "mappings" {
        json!("/srv")
    } else {
        json!(0)
    };
    settings(&tree(&anchor, value)).expect("valid")
}

#[test]
fn categories_stay_below_the_library_and_have_names_of_their_own() {
    let faults =
        |yaml: Value| settings(&json!({"categories": yaml})).map_or_else(|e| e.problems.len(), |_| 0);
    for good in [
        json!([{"name": "tv"}, {"name": "movies", "dir": "films/hd"}]),
        json!([{"name": "TV 4K", "dir": "/tv/", "priority": 2}]),
    ] {
        assert_eq!(faults(good.clone()), 0, "{good}");
    }
    for bad in [
        json!([{"name": ""}]),
        json!([{"name": "*"}]),
        json!([{"name": "a,b"}]),
        json!([{"name": "Default"}]),
        json!([{"name": "tv"}, {"name": "TV", "dir": "x"}]),
        json!([{"name": "tv", "dir": "../x"}]),
        json!([{"name": "tv", "dir": "/"}]),
        json!([{"name": "tv", "dir": "tv*"}]),
        json!([{"name": "tv", "priority": 3}]),
    ] {
        assert_ne!(faults(bad.clone()), 0, "{bad}");
    }
}

#[test]
fn all_faults_are_told_at_once() {
    let error = settings(&json!({
        "server": {"max_connections": 0},
        "import": {"allowed_roots": ["down/loads"], "lease_seconds": 1},
        "providers": [{"name": "a"}, {"name": "b", "host": "x"}, {"name": "b", "host": "y", "password": "p"}],
        "log": {"level": "a=b=c"},
    }))
    .expect_err("refused");
    for key in [
        "server.max_connections",
        "import.allowed_roots",
        "import.lease_seconds",
        "providers[0].host",
        "providers[2].name",
        "providers[2]'",
        "log.level",
    ] {
        assert!(error.problems.iter().any(|p| p.contains(key)), "{key} in {error}");
    }
}

#[test]
fn the_importers_own_check_goes_before_the_queues() {
    let check = |yaml: Value| {
        let file = Some(("test".to_owned(), yaml.to_string()));
        let sources = Sources {
            file,
            ..Sources::default()
        };
        let settings = sources.load().expect("loads").resolve().expect("valid");
        settings.plugin_config["nzb"]["check"].clone()
    };
    assert_eq!(check(json!({})), "sample");
    assert_eq!(check(json!({"import": {"check": "full"}})), "full");
    let both = json!({"import": {"check": "full"}, "plugins": {"config": {"nzb": {"check": "none"}}}});
    assert_eq!(check(both), "none");
}
