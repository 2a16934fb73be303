//! Where the system makes no executable file in memory: the verified bytes are loaded from a folder of the server's own.

use crate::{built, listed};
use altmount_loader::{Policy, open};
use altmount_sdk::json;
use std::{
    fs,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
};

/// Says to a process of this test where it is to work.
const FOLDER: &str = "ALTMOUNT_TEST_FALLBACK";

/// Starts a program that cannot make files in memory.
const WITHOUT_MEMORY_FILES: &str = include_str!("without_memory_files.c");

fn state(folder: &Path) -> PathBuf {
    folder.join("plugins")
}

#[test]
fn without_files_in_memory_a_copy_of_the_servers_own_is_loaded() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return in_the_child(Path::new(&folder));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (source, program) = (folder.path().join("run.c"), folder.path().join("run"));
    fs::write(&source, WITHOUT_MEMORY_FILES).expect("written");
    let made = Command::new("cc").arg(&source).arg("-o").arg(&program).status();
    assert!(made.expect("a C compiler").success());
    let output = Command::new(&program)
        .arg(std::env::current_exe().expect("a test binary"))
        .args([
            "fallback::without_files_in_memory_a_copy_of_the_servers_own_is_loaded",
            "--exact",
        ])
        .env(FOLDER, folder.path())
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // The copy is gone, and its folder is nobody else's.
    let left: Vec<_> = fs::read_dir(state(folder.path())).expect("there").collect();
    assert!(left.is_empty(), "{left:?}");
    let mode = fs::metadata(state(folder.path()))
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
}

fn in_the_child(folder: &Path) {
    let library = built("altmount_example_hello");
    let refused = open(
        &listed(&library),
        &Policy {
            allow_unverified: true,
            state_folder: None,
        },
    );
    let text = refused.expect_err("there is no other way").to_string();
    assert!(text.contains("no sealed memory"), "{text}");
    let policy = Policy {
        allow_unverified: true,
        state_folder: Some(state(folder)),
    };
    let (one, two) = (
        open(&listed(&library), &policy).expect("loaded"),
        open(&listed(&library), &policy).expect("loaded again, as a copy of its own"),
    );
    for opened in [one, two] {
        let plugin = opened.create(&json!({})).expect("made");
        assert_eq!(plugin.probe("a.hello", b"you").expect("no panic").value(), 70);
    }
    let maps = fs::read_to_string("/proc/self/maps").expect("read");
    let start = state(folder).display().to_string();
    let copies: std::collections::BTreeSet<&str> = maps
        .lines()
        .filter_map(|line| line.split_once('/').map(|(_, path)| path))
        .filter(|path| format!("/{path}").starts_with(&start))
        .collect();
    assert_eq!(copies.len(), 2, "{maps}");
    // A folder that others can look into is not used.
    let open_folder = folder.join("open");
    fs::DirBuilder::new()
        .mode(0o755)
        .create(&open_folder)
        .expect("made");
    let policy = Policy {
        allow_unverified: true,
        state_folder: Some(open_folder),
    };
    let text = open(&listed(&library), &policy).expect_err("refused").to_string();
    assert!(text.contains("mode 0700"), "{text}");
}
