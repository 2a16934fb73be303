//! `altmount plugin check` and `new`, as authors of importers use them.

use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// Runs the program in a data directory of its own: exit code, standard output, standard error.
fn run(data: &Path, arguments: &[&str]) -> (i32, String, String) {
    start(Command::new(env!("CARGO_BIN_EXE_altmount")), data, arguments)
}

/// Runs the program as it is started by that command.
fn start(mut command: Command, data: &Path, arguments: &[&str]) -> (i32, String, String) {
    // Nothing of the machine that the test runs on has a say.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ALTMOUNT") {
            command.env_remove(name);
        }
    }
    let command = command
        .args(arguments)
        .arg("--data-dir")
        .arg(data)
        .current_dir(data);
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code().expect("an exit code"), text(stdout), text(stderr))
}

/// A library that cargo built beside this test.
fn built(name: &str) -> String {
    let test = std::env::current_exe().expect("a test binary");
    let path = test.parent().expect("a folder").join(format!("lib{name}.so"));
    path.to_str().expect("UTF-8").to_owned()
}

/// The example in C, built as its Makefile says.
fn c_importer(into: &Path) -> String {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/c-importer");
    let library = into.join("libc_list.so");
    let made = Command::new("make")
        .arg("-B")
        .arg("-C")
        .arg(source)
        .arg(format!("OUT={}", library.display()))
        .output()
        .expect("make runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    library.to_str().expect("UTF-8").to_owned()
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn report(data: &Path, arguments: &[&str]) -> (i32, Value) {
    let (code, out, err) = run(data, &[&["plugin", "check", "--json"], arguments].concat());
    let report = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}{err}"));
    (code, report)
}

#[test]
fn every_importer_that_is_here_conforms() {
    let data = folder();
    let write = |name: &str, text: &str| {
        let path = data.path().join(name);
        fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    };
    let (hello, list) = (
        write("people.hello", "world\nmoon\n"),
        write("a.clist", "a.txt one\n"),
    );
    for (library, samples) in [
        (built("altmount_example_hello"), vec![hello]),
        (c_importer(data.path()), vec![list]),
        (built("altmount_example_bundle"), vec![]),
        (built("altmount_example_metalink"), vec![]),
        (built("altmount_importer_nzb"), vec![]),
        (built("altmount_importer_links"), vec![]),
    ] {
        let mut arguments = vec![library.as_str()];
        arguments.extend(samples.iter().flat_map(|sample| ["--sample", sample]));
        let (code, report) = report(data.path(), &arguments);
        let failed: Vec<&Value> = report["cases"]
            .as_array()
            .expect("cases")
            .iter()
            .filter(|case| case["ok"] == false)
            .collect();
        assert!(failed.is_empty() && code == 0, "{library}: {failed:#?}");
        // Loading is one more.
        assert_eq!(
            report["passed"],
            1 + altmount_testkit::conformance::Case::all().len()
        );
        assert!(report["manifest"]["id"].is_string() && report["sha256"].is_string());
    }
}

/// The misbehaving importer in one of its modes; which cases failed, and why.
fn failures(mode: &str, arguments: &[&str]) -> Vec<(String, String)> {
    let data = folder();
    let config = json!({"plugins": {"config": {"misbehave": {"mode": mode}}}});
    fs::write(data.path().join("config.yaml"), config.to_string()).expect("written");
    let library = built("altmount_misbehave");
    let (code, report) = report(
        data.path(),
        &[&[library.as_str(), "--only-failed"], arguments].concat(),
    );
    let cases = report["cases"].as_array().expect("cases");
    assert!(cases.iter().all(|case| case["ok"] == false), "{report}");
    assert_eq!(
        (code == 0, report["failed"].as_u64()),
        (cases.is_empty(), Some(cases.len() as u64))
    );
    let text = |case: &Value, name: &str| case[name].as_str().expect("a text").to_owned();
    cases
        .iter()
        .map(|case| (text(case, "case"), text(case, "reason")))
        .collect()
}

#[test]
fn what_crashes_hangs_or_loops_fails_its_case_and_not_the_check() {
    let within = |mode: &str, case: &str, seconds: &str| {
        let failed = failures(
            mode,
            &[
                "--case",
                case,
                "--case",
                "manifest-is-valid",
                "--timeout",
                seconds,
            ],
        );
        match &failed[..] {
            [(name, reason)] if name == case => reason.clone(),
            other => panic!("{mode}: {other:?}"),
        }
    };
    let only = |mode: &str, case: &str| within(mode, case, "60");
    let reason = only("abort", "import-of-noise");
    assert!(reason.contains("signal 6 (abort)"), "{reason}");
    let reason = only("crash", "import-of-noise");
    assert!(reason.contains("signal 11 (segmentation fault)"), "{reason}");
    for (mode, case) in [
        ("busy", "import-of-nothing"),
        ("hang", "import-of-nothing"),
        ("spin-probe", "probe-takes-any-bytes"),
    ] {
        let reason = within(mode, case, "4");
        assert!(reason.contains("did not end within 4 s"), "{mode}: {reason}");
    }
    for (mode, case, told) in [
        (
            "panic-before",
            "import-of-noise",
            "it panicked: the importer panicked while it imported: before the first await",
        ),
        ("probe", "probe-takes-any-bytes", "it panicked when it was asked"),
        (
            "tells",
            "passwords-stay-secret",
            "the password is in what it says",
        ),
        (
            "deaf",
            "refused-files-fail-the-import",
            "although the host took no file",
        ),
        (
            "deaf",
            "failed-reads-fail-the-import",
            "although no read of it succeeds",
        ),
        ("denied", "only-declared-services", "needs 'open:usenet'"),
        ("huge-note", "results-are-bounded", "'conformance.bad'"),
    ] {
        let reason = only(mode, case);
        assert!(reason.contains(told), "{mode}: {reason}");
    }
}

#[test]
fn what_cannot_be_loaded_fails_the_first_case_alone() {
    let data = folder();
    let library = data.path().join("a.so");
    fs::write(&library, "no library").expect("written");
    let path = library.to_str().expect("UTF-8");
    let (code, report) = report(data.path(), &[path]);
    assert_eq!(
        (code, &report["ok"], &report["failed"]),
        (1, &json!(false), &json!(1))
    );
    assert_eq!(report["cases"][0]["case"], "load");
    let reason = report["cases"][0]["reason"].as_str().expect("a reason");
    assert!(reason.contains("no ELF shared library"), "{reason}");
    // So does what its own configuration, or another hash than the stated one, refuses.
    for (mode, told) in [("create", "in create"), ("refuse", "'mode' must not be 'refuse'")] {
        let failed = failures(mode, &[]);
        assert!(failed.len() == 1 && failed[0].1.contains(told), "{failed:?}");
    }
    let hello = built("altmount_example_hello");
    let (code, out, _) = run(
        data.path(),
        &["plugin", "check", &hello, "--sha256", &"0".repeat(64)],
    );
    assert_eq!(code, 1);
    assert!(out.contains("FAILED load"), "{out}");
    let (code, _, err) = run(
        data.path(),
        &["plugin", "check", &hello, "--case", "no-such-case"],
    );
    assert!(
        code == 1 && err.contains("there is no case 'no-such-case', there are: load, manifest-is-valid"),
        "{err}"
    );
}

#[test]
fn without_files_in_memory_the_commands_load_a_copy_as_the_server_does() {
    let data = folder();
    let (source, wrapper) = (data.path().join("run.c"), data.path().join("run"));
    let program = include_str!("../../core/loader/tests/it/without_memory_files.c");
    fs::write(&source, program).expect("written");
    let made = Command::new("cc").arg(&source).arg("-o").arg(&wrapper).status();
    assert!(made.expect("a C compiler").success());
    let started = |arguments: &[&str]| {
        let mut command = Command::new(&wrapper);
        command.arg(env!("CARGO_BIN_EXE_altmount"));
        start(command, data.path(), arguments)
    };
    let hello = built("altmount_example_hello");
    let case = "manifest-is-valid";
    let (code, out, err) = started(&["plugin", "check", &hello, "--case", case]);
    assert_eq!(code, 0, "{out}{err}");
    let (code, out, err) = started(&["plugin", "show", &hello]);
    assert_eq!(code, 0, "{out}{err}");
    // That way was taken, and nothing is left of it.
    let left = fs::read_dir(data.path().join("plugins")).expect("made");
    assert_eq!(left.count(), 0);
}

#[test]
fn all_cases_run_in_one_process_for_a_debugger() {
    let data = folder();
    let hello = built("altmount_example_hello");
    let (code, out, err) = run(data.path(), &["plugin", "check", &hello, "--in-process"]);
    assert_eq!(code, 0, "{out}{err}");
    let all = 1 + altmount_testkit::conformance::Case::all().len();
    assert!(
        out.ends_with(&format!("hello 0.1.0: {all} of {all} cases passed\n")),
        "{out}"
    );
}

#[test]
fn what_a_library_says_of_itself_is_shown_with_its_schema() {
    let data = folder();
    let (code, out, _) = run(
        data.path(),
        &["plugin", "show", &built("altmount_importer_links")],
    );
    assert_eq!(code, 0);
    let about: Value = serde_json::from_str(&out).expect("JSON");
    let schema = &about["manifest"]["config_schema"];
    assert_eq!(schema["additionalProperties"], false, "{out}");
    assert_eq!(schema["properties"]["max_links"]["minimum"], 1);
}

/// The crate's files; that it builds and passes its tests is tried by the suite that has a network of its own to build in
/// (`tests/real/plugin-new.sh`), for there is no cargo within cargo here.
#[test]
fn a_new_importer_is_a_crate_of_its_own() {
    let data = folder();
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .expect("the checkout");
    let sdk = checkout.to_str().expect("UTF-8");
    let (code, out, err) = run(data.path(), &["plugin", "new", "my-list", "--sdk", sdk]);
    assert_eq!(code, 0, "{err}");
    assert!(
        out.contains("altmount plugin check target/release/libaltmount_importer_my_list.so"),
        "{out}"
    );
    let read = |path: &str| fs::read_to_string(data.path().join("my-list").join(path)).expect("made");
    let manifest = read("Cargo.toml");
    assert!(
        manifest.contains(&format!("altmount-sdk = {{ path = \"{sdk}/core/sdk\" }}")),
        "{manifest}"
    );
    assert!(manifest.contains("[workspace]\n") && manifest.contains("crate-type = [\"cdylib\", \"rlib\"]"));
    assert!(read("src/lib.rs").contains("export_importer!(MyList);"));
    assert!(read("tests/conformance.rs").contains("conformance!(MyList"));
    assert!(read("README.md").contains("people.my-list") && read(".gitignore") == "/target\n");
    // Nothing is written over, and a name must be one.
    let (code, _, err) = run(data.path(), &["plugin", "new", "my-list", "--sdk", sdk]);
    assert!(code == 1 && err.contains("is there already"), "{err}");
    let (code, _, err) = run(data.path(), &["plugin", "new", "My List", "--sdk", sdk]);
    assert!(code == 1 && err.contains("is no name for an importer"), "{err}");
    let (code, _, err) = run(data.path(), &["plugin", "new", "other"]);
    assert!(code == 1 && err.contains("--sdk must say where"), "{err}");
    let there: Vec<PathBuf> = fs::read_dir(data.path())
        .expect("read")
        .map(|e| e.expect("read").path())
        .collect();
    assert!(!there.iter().any(|path| path.ends_with("other")), "{there:?}");
}
