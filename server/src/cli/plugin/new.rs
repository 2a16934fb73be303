//! `altmount plugin new`: a crate of an importer that builds and passes its tests.

use anyhow::{Context, Result, bail};
use clap::Args;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The first importer that is there to be copied; it is built and tested with everything else.
const LIB: &str = include_str!("../../../../examples/hello-importer/src/lib.rs");
const TEST: &str = include_str!("../../../../examples/hello-importer/tests/conformance.rs");

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// The importer's id, and the extension that it takes until you change it: a-z, 0-9 and '-', a letter first.
    name: String,
    /// Where the crate is made; a folder of that name here where it is left out. It must not be there yet.
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    /// Where `altmount-sdk` is: the folder of a checkout of AltMount, the address of a Git repository (`https://...`, `ssh://...`), or a
    /// version in a package registry (`0.1`). The checkout that the crate is made in where it is left out.
    #[arg(long, value_name = "PATH|URL|VERSION")]
    sdk: Option<String>,
}

/// Where the new crate finds the SDK and the test kit.
#[derive(Debug, PartialEq, Eq)]
enum Sdk {
    Checkout(PathBuf),
    Git(String),
    Version(String),
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let name = &arguments.name;
    check_name(name)?;
    let folder = arguments.path.clone().unwrap_or_else(|| PathBuf::from(name));
    if fs::symlink_metadata(&folder).is_ok() {
        bail!(
            "'{}' is there already; --path names another folder",
            folder.display()
        );
    }
    let sdk = match &arguments.sdk {
        Some(text) => named(text)?,
        None => Sdk::Checkout(enclosing(&std::env::current_dir()?).context(
            "this is no checkout of AltMount, so --sdk must say where altmount-sdk is: the folder of a checkout, the address of a Git repository, or a version",
        )?),
    };
    for (path, text) in files(name, &sdk) {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("'{}' cannot be made", parent.display()))?;
        }
        fs::write(&path, text).with_context(|| format!("'{}' cannot be written", path.display()))?;
    }
    println!(
        "made the importer '{name}' in '{}'; next:\n\n  cd {}\n  cargo test\n  cargo build --release\n  altmount plugin check target/release/lib{}.so\n  altmount plugin hash target/release/lib{}.so",
        folder.display(),
        folder.display(),
        crate_name(name),
        crate_name(name)
    );
    Ok(())
}

fn check_name(name: &str) -> Result<()> {
    let ok = (1..=40).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && !name.contains("--");
    if !ok {
        bail!(
            "'{}' is no name for an importer: 1 to 40 of a-z, 0-9 and single '-', a letter first",
            name.escape_default()
        );
    }
    Ok(())
}

fn named(text: &str) -> Result<Sdk> {
    if text.contains("://") || text.starts_with("git@") {
        return Ok(Sdk::Git(text.to_owned()));
    }
    if text.starts_with(|c: char| c.is_ascii_digit()) && text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
    {
        return Ok(Sdk::Version(text.to_owned()));
    }
    let folder = Path::new(text);
    let found = folder
        .canonicalize()
        .with_context(|| format!("--sdk: '{text}' is neither a folder, nor an address, nor a version"))?;
    if !is_checkout(&found) {
        bail!(
            "--sdk: there is no core/sdk/Cargo.toml in '{text}'; name the top folder of a checkout of AltMount"
        );
    }
    Ok(Sdk::Checkout(found))
}

fn is_checkout(folder: &Path) -> bool {
    fs::metadata(folder.join("core/sdk/Cargo.toml")).is_ok_and(|found| found.is_file())
}

/// The checkout that a folder is in.
fn enclosing(folder: &Path) -> Option<PathBuf> {
    folder
        .ancestors()
        .find(|folder| is_checkout(folder))
        .map(Path::to_owned)
}

fn crate_name(name: &str) -> String {
    format!("altmount_importer_{}", name.replace('-', "_"))
}

/// `a-list` as the name of a type: `AList`.
fn type_name(name: &str) -> String {
    name.split('-')
        .flat_map(|part| {
            let mut letters = part.chars();
            letters
                .next()
                .map(|first| first.to_ascii_uppercase())
                .into_iter()
                .chain(letters)
        })
        .collect()
}

fn dependency(sdk: &Sdk, package: &str, folder: &str) -> String {
    // Written as TOML writes texts: what JSON escapes, it escapes alike.
    let text = |text: &str| serde_json::Value::from(text).to_string();
    match sdk {
        Sdk::Checkout(checkout) => {
            let path = checkout.join(folder);
            format!("{package} = {{ path = {} }}", text(&path.to_string_lossy()))
        }
        Sdk::Git(url) => format!("{package} = {{ git = {} }}", text(url)),
        Sdk::Version(version) => format!("{package} = {}", text(version)),
    }
}

/// The files of the crate.
fn files(name: &str, sdk: &Sdk) -> Vec<(&'static str, String)> {
    let (library, kind) = (crate_name(name), type_name(name));
    let manifest = format!(
        r#"[package]
name = "altmount-importer-{name}"
version = "0.1.0"
edition = "2024"

# A package of its own, wherever it lies.
[workspace]

[lib]
# The first is what a server loads, the second what a program links and tests use.
crate-type = ["cdylib", "rlib"]

[dependencies]
{}

[dev-dependencies]
{}

[profile.release]
# The default, and what the SDK insists on: panics are caught and fail one import.
panic = "unwind"
strip = true
"#,
        dependency(sdk, "altmount-sdk", "core/sdk"),
        dependency(sdk, "altmount-testkit", "core/testkit"),
    );
    let own = |text: &str| {
        text.replace("altmount_example_hello", &library)
            .replace("Hello;", &format!("{kind};"))
            .replace("Hello {", &format!("{kind} {{"))
            .replace("(Hello", &format!("({kind}"))
            .replace("\"hello\"", &format!("\"{name}\""))
            .replace("`.hello`", &format!("`.{name}`"))
            .replace("people.hello", &format!("people.{name}"))
    };
    let readme = format!(
        r#"# altmount-importer-{name}

An importer for AltMount: every line of a `.{name}` file becomes a text file that greets whom the line names. Change `src/lib.rs` to
what you want; `tests/conformance.rs` has the rules that hold for every importer, and a sample that yours must import.

    cargo test
    cargo build --release
    altmount plugin check target/release/lib{library}.so
    altmount plugin hash target/release/lib{library}.so

Write what the last command prints into the server's configuration, start the server or `POST /api/plugins/reload`, and queue a file:

    printf 'world\nmoon\n' > people.{name}
    altmount import people.{name}
"#
    );
    vec![
        ("Cargo.toml", manifest),
        ("src/lib.rs", own(LIB)),
        ("tests/conformance.rs", own(TEST)),
        ("README.md", readme),
        (".gitignore", "/target\n".to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_template_is_left() {
        let files = files("a-list", &Sdk::Version("0.1".to_owned()));
        let text = |wanted: &str| {
            let found = files.iter().find(|(path, _)| *path == wanted);
            found.map(|(_, text)| text.as_str()).expect("made")
        };
        let lib = text("src/lib.rs");
        assert!(lib.contains("pub struct AList {") && lib.contains("impl Importer for AList {"));
        assert!(lib.contains("export_importer!(AList);") && lib.contains(r#"Manifest::new("a-list", "#));
        assert!(lib.contains(r#".extension("a-list")"#));
        let test = text("tests/conformance.rs");
        assert!(test.contains("use altmount_importer_a_list::AList;"), "{test}");
        assert!(
            test.contains(r#"conformance!(AList, [Sample::new("people.a-list","#),
            "{test}"
        );
        for (path, text) in &files {
            // The greeting alone keeps its word.
            let rest = text.replace("\"Hello\"", "");
            assert!(
                !rest.contains("Hello") && !rest.contains("hello"),
                "{path}: {text}"
            );
        }
        let manifest = text("Cargo.toml");
        assert!(manifest.contains("altmount-sdk = \"0.1\"\n"), "{manifest}");
    }

    #[test]
    fn the_sdk_is_a_folder_an_address_or_a_version() {
        let git = "https://example.com/altmount.git";
        assert_eq!(named(git).expect("an address"), Sdk::Git(git.to_owned()));
        assert_eq!(named("0.1").expect("a version"), Sdk::Version("0.1".to_owned()));
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let checkout = top.canonicalize().expect("the checkout");
        assert_eq!(
            named(top.to_str().expect("UTF-8")).expect("a folder"),
            Sdk::Checkout(checkout.clone())
        );
        assert_eq!(enclosing(&checkout.join("core/sdk/src")), Some(checkout));
        assert_eq!(enclosing(Path::new("/")), None);
        assert!(named("/no/such/folder").is_err());
        let line = dependency(
            &Sdk::Checkout(PathBuf::from("/a \"b\"")),
            "altmount-sdk",
            "core/sdk",
        );
        assert_eq!(line, r#"altmount-sdk = { path = "/a \"b\"/core/sdk" }"#);
    }

    #[test]
    fn names_are_those_of_crates_and_types() {
        for bad in ["", "A", "1a", "-a", "a-", "a--b", "a_b", "../a", &"a".repeat(41)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        assert!(check_name("a1-b").is_ok());
        assert_eq!(
            (type_name("my-list"), crate_name("my-list").as_str()),
            ("MyList".to_owned(), "altmount_importer_my_list")
        );
    }
}
