//! Libraries that are built here, opened and driven as the server does.

mod drive;
mod fallback;
mod messages;
mod refused;

use altmount_loader::{Listed, Opened, Policy, open};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

const HEADERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../abi/include");

/// Compiles C with the machine's own compiler.
fn cc(source: &Path, into: &Path, flags: &[&str]) -> PathBuf {
    let library = into.join(format!(
        "lib{}.so",
        flags.join("").replace(|c: char| !c.is_alphanumeric(), "")
    ));
    let status = Command::new("cc")
        .args([
            "-std=gnu11",
            "-fPIC",
            "-fvisibility=hidden",
            "-shared",
            "-I",
            HEADERS,
            "-o",
        ])
        .arg(&library)
        .arg(source)
        .args(flags)
        .status()
        .expect("a C compiler");
    assert!(status.success(), "{flags:?}");
    library
}

fn variant(into: &Path, flags: &[&str]) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/variants.c");
    cc(&source, into, flags)
}

/// The example in C.
fn c_importer(into: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/c-importer/importer.c");
    cc(&source, into, &["-Wall", "-Wextra", "-Werror"])
}

/// A library that cargo built beside this test.
fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test binary");
    let folder = test.parent().expect("a folder");
    let library = folder.join(format!("lib{name}.so"));
    assert!(
        library.metadata().is_ok(),
        "{} is built with the tests",
        library.display()
    );
    library
}

/// As authors do: whatever the hash, and whoever may write.
fn lax() -> Policy {
    Policy {
        allow_unverified: true,
        state_folder: None,
    }
}

fn listed(path: &Path) -> Listed {
    Listed {
        path: path.to_owned(),
        sha256: None,
    }
}

fn opened(path: &Path) -> Opened {
    open(&listed(path), &lax()).expect("it is loaded")
}
