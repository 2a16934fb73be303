//! What is not loaded, and says why.

use crate::{built, lax, listed, opened, variant};
use altmount_loader::{Listed, Policy, open, sha256_of};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

fn reason(path: &Path) -> String {
    open(&listed(path), &lax()).expect_err("refused").to_string()
}

#[test]
fn what_is_wrong_with_a_library_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    for (flags, told) in [
        (
            &["-DMAJOR=2"][..],
            "speaks version 2 of the plugin ABI, this server speaks 1",
        ),
        (&["-DFIRST='B'"], "magic bytes"),
        (&["-DSIZE=40"], "its table has 40 bytes"),
        (&["-DNULL_FUNCTION"], "no function 'import'"),
        (&["-DNO_SYMBOL"], "exports no 'importer_plugin__<name>'"),
        (&["-DTWO_SYMBOLS"], "a library has one importer"),
        (&["-DUNDEFINED"], "nobody_defines_this"),
        (&["-DMANIFEST=\"\""], "panicked in its manifest, or has none"),
        (&["-DMANIFEST=\"{\""], "manifest cannot be read"),
    ] {
        let text = reason(&variant(at, flags));
        assert!(text.contains(told), "{flags:?}: {text}");
    }
}

#[test]
fn what_is_no_library_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.so");
    for (bytes, told) in [
        (&b"hello"[..], "no ELF"),
        (b"", "no ELF"),
        (b"\x7fELF\x02\x01\x01", "damaged"),
    ] {
        fs::write(&path, bytes).expect("written");
        assert!(reason(&path).contains(told), "{}", reason(&path));
    }
    assert!(reason(&folder.path().join("none.so")).contains("cannot be found"));
    assert!(reason(folder.path()).contains("no regular file"));
    assert!(reason(Path::new("a.so")).contains("not absolute"));
    // An ELF file cut anywhere, or with bytes changed, is refused or loaded, and never more.
    let whole = fs::read(variant(folder.path(), &[])).expect("read");
    for cut in (0..whole.len()).step_by(97) {
        fs::write(&path, &whole[..cut]).expect("written");
        let _either = open(
            &listed(&path),
            &Policy {
                allow_unverified: false,
                ..lax()
            },
        );
    }
    // The machine's number in the header (ELF-64, e_machine).
    let mut other = whole;
    other[18] = 0xf3;
    fs::write(&path, &other).expect("written");
    assert!(reason(&path).contains("another machine"), "{}", reason(&path));
}

#[test]
fn constructors_of_what_is_refused_do_not_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = variant(folder.path(), &["-DMAJOR=9", "-DCONSTRUCTOR"]);
    assert!(reason(&path).contains("version 9"));
    // What C sets, C sees: Rust's own view of the environment is the same table.
    assert_eq!(std::env::var_os("ALTMOUNT_TEST_CONSTRUCTOR"), None);
}

#[test]
fn a_newer_minor_version_is_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = variant(folder.path(), &["-DMINOR=7", "-DSIZE=4096"]);
    assert_eq!(opened(&path).manifest.id, "variant");
}

#[test]
fn a_configuration_is_refused_with_the_importers_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let refused = opened(&variant(folder.path(), &["-DREFUSES"]))
        .create(&altmount_sdk::json!({}))
        .expect_err("refused");
    assert!(refused.contains("the key 'x' is wrong"), "{refused}");
}

/// Nobody but its owner may have written what is loaded, and it is what the operator vouched for.
#[test]
fn owner_permissions_and_hash_are_checked() {
    // Below the build folder: all above it are the owner's alone, which `/tmp` (sticky) shows as well.
    let folder =
        tempfile::tempdir_in(built("altmount_misbehave").parent().expect("a folder")).expect("a folder");
    let path = variant(folder.path(), &["-DPERMISSIONS"]);
    let hash = sha256_of(&path).expect("hashed");
    let with = |sha256: &str| Listed {
        path: path.clone(),
        sha256: Some(sha256.to_owned()),
    };
    let strict = Policy::default();
    let text = |listed: &Listed| open(listed, &strict).expect_err("refused").to_string();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("set");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("set");
    // Where the checkout itself lies in a folder that others may write, that is what is told, and nothing else can be tried.
    if let Err(error) = open(&with(&hash), &strict) {
        assert!(error.reason.contains("its folder"), "{error}");
        return;
    }
    assert!(text(&listed(&path)).contains(&format!("add: sha256: {hash}")));
    assert!(text(&with(&"0".repeat(64))).contains("another file than the one that was vouched for"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o775)).expect("set");
    assert!(text(&with(&hash)).contains("can be written by others"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("set");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("set");
    assert!(text(&with(&hash)).contains("its folder"));
    // A link leads to a file that is checked itself.
    let link = folder.path().join("link.so");
    symlink(&path, &link).expect("linked");
    let linked = Listed {
        path: link,
        sha256: Some(hash),
    };
    assert!(text(&linked).contains("its folder"));
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("set");
    assert_eq!(open(&linked, &strict).expect("loaded").manifest.id, "variant");
}

#[test]
fn two_libraries_are_two_and_each_load_is_a_copy_of_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = opened(&variant(folder.path(), &[]));
    let other = "-DMANIFEST=\"{\\\"id\\\":\\\"other\\\",\\\"name\\\":\\\"o\\\",\\\"version\\\":\\\"2\\\",\\\"file_types\\\":[]}\"";
    let second = opened(&variant(folder.path(), &[other]));
    assert_eq!(
        (first.manifest.id.as_str(), second.manifest.id.as_str()),
        ("variant", "other")
    );
}

/// While a library is loaded, its file is exchanged for another one again and again: what is loaded is what was hashed, or nothing.
#[test]
fn a_swap_between_check_and_load_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = variant(folder.path(), &[]);
    let evil = variant(
        folder.path(),
        &[
            "-DMANIFEST=\"{\\\"id\\\":\\\"evil\\\",\\\"name\\\":\\\"e\\\",\\\"version\\\":\\\"1\\\",\\\"file_types\\\":[]}\"",
        ],
    );
    let path = folder.path().join("swapped.so");
    fs::copy(&good, &path).expect("copied");
    let listed = Listed {
        path: path.clone(),
        sha256: Some(sha256_of(&good).expect("hashed")),
    };
    let (swaps, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (mut loaded, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for which in [&evil, &good] {
                    // In one step, as an attacker would, and by writing over it, as a bad update does.
                    let new = folder.path().join("new.so");
                    fs::copy(which, &new).expect("copied");
                    fs::rename(&new, &path).expect("renamed");
                    fs::copy(which, &path).expect("copied");
                    swaps.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        while loaded < 5 || refused < 5 || swaps.load(Ordering::Relaxed) < 50 {
            match open(&listed, &lax()) {
                Ok(opened) => {
                    assert_eq!(opened.manifest.id, "variant");
                    loaded += 1;
                    assert!(loaded < 500, "never anything but the right one: no swap is seen");
                }
                Err(_) => refused += 1,
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}

/// The header of each machine that is not this one (ELF, `e_machine`, `EI_CLASS`, `EI_DATA`).
#[test]
fn libraries_of_other_machines_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = fs::read(variant(folder.path(), &["-DCONSTRUCTOR"])).expect("read");
    let path = folder.path().join("other.so");
    let mut tried = 0;
    // 386, ARM, x86-64, AArch64, RISC-V.
    for machine in [3u16, 40, 62, 183, 243] {
        let mut bytes = whole.clone();
        if bytes[18..20] == machine.to_le_bytes() {
            continue;
        }
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        fs::write(&path, &bytes).expect("written");
        let text = reason(&path);
        assert!(
            text.contains(&format!("another machine (ELF machine {machine})")),
            "{text}"
        );
        tried += 1;
    }
    assert_eq!(tried, 4);
    for (at, value) in [(4, 1), (5, 2), (4, 9), (5, 9)] {
        let mut bytes = whole.clone();
        bytes[at] = value;
        fs::write(&path, &bytes).expect("written");
        let text = reason(&path);
        assert!(
            text.contains("another machine") || text.contains("damaged"),
            "{text}"
        );
    }
    assert_eq!(
        std::env::var_os("ALTMOUNT_TEST_CONSTRUCTOR"),
        None,
        "none of it ran"
    );
}
