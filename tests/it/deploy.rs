//! What the documentation tells people to write is what the program takes.

use altmount::config::{ArrKind, Settings, Sources};
use std::{collections::BTreeMap, path::Path};
use yaml_serde::Value;

fn text(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    std::fs::read_to_string(path).expect("the file is there")
}

fn settings(yaml: &str) -> Settings {
    let sources = Sources {
        file: Some(("config.yaml".to_owned(), yaml.to_owned())),
        ..Sources::default()
    };
    let config = sources.load().unwrap_or_else(|error| panic!("{error}\n{yaml}"));
    config.resolve().unwrap_or_else(|error| panic!("{error}\n{yaml}"))
}

#[test]
fn the_ten_steps_come_to_a_configuration_with_a_sonarr() {
    let page = text("docs/arr.md");
    let steps = page
        .split("## Ten steps")
        .nth(1)
        .and_then(|rest| rest.split("\n## ").next());
    let steps = steps.expect("the steps");
    for step in 1..=10 {
        assert!(steps.contains(&format!("\n{step}. ")), "step {step}");
    }
    let yaml: String = steps
        .split("```yaml")
        .skip(1)
        .filter_map(|block| block.split("```").next())
        .flat_map(str::lines)
        .map(|line| format!("{}\n", line.strip_prefix("   ").unwrap_or(line)))
        .collect();
    let settings = settings(&yaml);
    let sonarr = &settings.arr.instances[0];
    assert_eq!(
        (
            sonarr.kind,
            sonarr.categories.as_slice(),
            settings.providers.len()
        ),
        (ArrKind::Sonarr, ["tv".to_owned()].as_slice(), 1)
    );
    assert!(settings.arr.own_url.is_some() && settings.outputs.symlinks.is_some());
    assert_eq!(settings.categories[0].name, "tv");
}

#[test]
fn the_compose_file_has_everybody_with_the_same_folders() {
    let file = text("examples/deploy/compose.yaml");
    let compose: Value = yaml_serde::from_str(&file).expect("YAML");
    // (folder, propagation) of a service's volumes, by the path in the container.
    let volumes = |service: &str| -> BTreeMap<String, (String, String)> {
        let list = compose["services"][service]["volumes"].as_sequence();
        let list = list.unwrap_or_else(|| panic!("there is no {service}"));
        let one = |volume: &Value| match volume.as_str() {
            Some(short) => {
                let mut parts = short.split(':').map(str::to_owned);
                let (from, to) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
                (to, (from, String::new()))
            }
            None => {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                (
                    text(&volume["target"]),
                    (text(&volume["source"]), text(&volume["bind"]["propagation"])),
                )
            }
        };
        list.iter().map(one).collect()
    };
    let same = |path: &str, propagation: &str| (path.to_owned(), propagation.to_owned());
    let mount = "/srv/altmount/mnt";
    assert_eq!(volumes("altmount")[mount], same(mount, "rshared"));
    for service in ["sonarr", "radarr", "jellyfin"] {
        assert_eq!(volumes(service)[mount], same(mount, "rslave"), "{service}");
        assert_eq!(volumes(service)["/srv/media"].0, "/srv/media", "{service}");
    }
    for service in ["altmount", "sonarr", "radarr"] {
        let folder = "/srv/altmount/completed";
        assert_eq!(volumes(service)[folder].0, folder, "{service}");
    }
    // The configuration that stands in its head.
    let head = file.split("config.yaml:\n").nth(1).expect("the configuration");
    let yaml: String = head
        .lines()
        .take_while(|line| line.starts_with('#'))
        .map(|line| format!("{}\n", line.strip_prefix("#   ").unwrap_or_default()))
        .collect();
    let settings = settings(&yaml);
    assert_eq!(settings.mount.path.as_deref(), Some(Path::new(mount)));
    let kinds: Vec<_> = settings
        .arr
        .instances
        .iter()
        .map(|instance| instance.kind)
        .collect();
    assert_eq!(kinds, [ArrKind::Sonarr, ArrKind::Radarr]);
    for instance in &settings.arr.instances {
        // Called by the name of its service.
        let host = instance.url.host_str().expect("a host");
        assert!(compose["services"].get(host).is_some(), "{host}");
        let category = &instance.categories[0];
        assert!(
            settings.categories.iter().any(|ours| ours.name == *category),
            "{category}"
        );
    }
    // As a user of its own the mount is for others only where the image allows it.
    assert!(text("examples/deploy/Dockerfile").contains("user_allow_other"));
}
