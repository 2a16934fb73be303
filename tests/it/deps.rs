//! Which package may use which. An edge that is not in the table below fails, so adding one is a decision.

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};
use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

/// What each package may use of this workspace, in every build. Those in [`EVERYTHING`] may use all of it.
const EDGES: &[(&str, &[&str])] = &[
    ("altmount-model", &[]),
    ("altmount-abi", &["altmount-model"]),
    ("altmount-sdk", &["altmount-model", "altmount-abi"]),
    ("altmount-loader", &["altmount-sdk", "altmount-abi"]),
    ("altmount-testkit", &["altmount-sdk"]),
    ("altmount-archive", &["altmount-model"]),
    ("altmount-par2", &["altmount-model"]),
    ("altmount-vfs", &["altmount-model"]),
    ("altmount-store", &["altmount-model"]),
    ("altmount-usenet", &["altmount-model", "altmount-vfs"]),
    (
        "altmount-engine",
        &[
            "altmount-model",
            "altmount-sdk",
            "altmount-loader",
            "altmount-store",
            "altmount-vfs",
            "altmount-archive",
            "altmount-par2",
        ],
    ),
    // It shares nothing with what it tests.
    ("altmount-newsd", &[]),
    ("altmount-arrd", &[]),
    ("altmount-misbehave", &["altmount-sdk"]),
];

/// What a plugin may use: an importer, or an example of one. The umbrella may use the importers besides.
const PLUGIN: &[&str] = &["altmount-sdk", "altmount-archive", "altmount-par2"];

/// The composition root, and the tests of the whole.
const EVERYTHING: &[&str] = &["altmount", "altmount-tests"];

/// What tests and benches may use beyond that.
const FOR_TESTS: &[&str] = &[
    "altmount-testkit",
    "altmount-newsd",
    "altmount-arrd",
    "altmount-misbehave",
    "altmount-example-hello",
    "altmount-example-bundle",
    "altmount-example-metalink",
];

/// Libraries that one package alone may use.
const ALONE: &[(&str, &str)] = &[
    ("sqlx", "altmount-store"),
    ("axum", "altmount"),
    ("libloading", "altmount-loader"),
];

/// What must not be below the packages that third parties build on, at any depth.
const LIGHT: &[&str] = &["altmount-model", "altmount-abi", "altmount-sdk"];
const HEAVY: &[&str] = &[
    "tokio",
    "async-std",
    "smol",
    "sqlx",
    "sqlx-core",
    "rusqlite",
    "axum",
    "hyper",
    "reqwest",
    "ureq",
    "curl",
    "isahc",
];

fn metadata() -> Metadata {
    // Without the filter cargo would fetch what only other platforms build.
    let rustc = Command::new("rustc").arg("-vV").output().expect("rustc runs");
    let text = String::from_utf8_lossy(&rustc.stdout).into_owned();
    let host = text
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .expect("rustc names its host");
    MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .other_options(["--filter-platform".to_owned(), host.to_owned()])
        .exec()
        .expect("cargo metadata runs")
}

fn is_plugin(package: &Package) -> bool {
    let path = package.manifest_path.as_str();
    package.name.starts_with("altmount-importer-") || path.contains("/examples/")
}

/// Whether `package` may use `used`, both of this workspace.
fn may_use(package: &Package, used: &str, kind: DependencyKind) -> bool {
    let name = package.name.as_str();
    if EVERYTHING.contains(&name) || (kind == DependencyKind::Development && FOR_TESTS.contains(&used)) {
        return true;
    }
    if name == "altmount-plugins" {
        return used.starts_with("altmount-importer-") || used == "altmount-sdk";
    }
    if is_plugin(package) {
        return PLUGIN.contains(&used);
    }
    EDGES
        .iter()
        .any(|(user, allowed)| *user == name && allowed.contains(&used))
}

#[test]
fn packages_use_only_what_the_design_lets_them() {
    let metadata = metadata();
    let members = metadata.workspace_packages();
    let ours: BTreeSet<&str> = members.iter().map(|package| package.name.as_str()).collect();
    let mut wrong = Vec::new();
    for package in &members {
        let name = package.name.as_str();
        let known = EVERYTHING.contains(&name) || name == "altmount-plugins" || is_plugin(package);
        if !known && !EDGES.iter().any(|(user, _)| *user == name) {
            wrong.push(format!("{name} is in no table: decide what it may use"));
        }
        for dependency in &package.dependencies {
            let used = dependency.name.as_str();
            if ours.contains(used) && !may_use(package, used, dependency.kind) {
                wrong.push(format!("{name} must not use {used} ({:?})", dependency.kind));
            }
            for (library, owner) in ALONE {
                let family = used == *library
                    || used
                        .strip_prefix(library)
                        .is_some_and(|rest| rest.starts_with('-'));
                if family && name != *owner && !EVERYTHING.contains(&name) {
                    wrong.push(format!("{name} must not use {used}: {owner} alone does"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn one_package_alone_sees_each_heavy_library() {
    // The composition root builds the whole, and still talks to the database and loads libraries through their owners.
    let metadata = metadata();
    let root = metadata
        .workspace_packages()
        .into_iter()
        .find(|p| p.name == "altmount")
        .expect("the server's package");
    let used: BTreeSet<&str> = root
        .dependencies
        .iter()
        .map(|dependency| dependency.name.as_str())
        .collect();
    for (library, owner) in ALONE.iter().filter(|(_, owner)| *owner != "altmount") {
        assert!(
            !used.contains(library),
            "altmount must not use {library}: {owner} alone does"
        );
    }
}

#[test]
fn what_plugin_authors_build_on_is_light() {
    let metadata = metadata();
    let resolve = metadata.resolve.as_ref().expect("cargo metadata resolves");
    let nodes: BTreeMap<_, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let mut checked = 0;
    for package in metadata
        .workspace_packages()
        .into_iter()
        .filter(|p| LIGHT.contains(&p.name.as_str()))
    {
        checked += 1;
        let mut seen = BTreeSet::from([&package.id]);
        let mut open = vec![&package.id];
        while let Some(id) = open.pop() {
            for dependency in &nodes[id].deps {
                let built_in = dependency
                    .dep_kinds
                    .iter()
                    .any(|kind| kind.kind == DependencyKind::Normal);
                if built_in && seen.insert(&dependency.pkg) {
                    open.push(&dependency.pkg);
                }
            }
        }
        let below: BTreeSet<&str> = seen.into_iter().map(|id| metadata[id].name.as_str()).collect();
        let heavy: Vec<&&str> = HEAVY.iter().filter(|name| below.contains(**name)).collect();
        assert!(heavy.is_empty(), "{} must not pull in {heavy:?}", package.name);
    }
    assert!(checked >= 2, "model and sdk are there");
}
