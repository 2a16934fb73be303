//! The layout is frozen: the Rust side, the C header and the golden file say the same.

use altmount_abi::{Header, HostV1, PluginV1, RawWaker, Slice, WakerTable};
use std::{
    fmt::Write as _,
    fs,
    mem::offset_of,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Wake, Waker},
};

/// What both sides must say. It holds for 64-bit machines, which are all that are built for.
const GOLDEN: &str = include_str!("layout.golden");

fn rust_side() -> String {
    let mut text = format!(
        "abi {} {}\nHeader {}\nHeader.magic {} 8\nHeader.abi_major {} 4\nHeader.abi_minor {} 4\nHeader.struct_size {} 8\n",
        altmount_abi::ABI_MAJOR,
        altmount_abi::ABI_MINOR,
        size_of::<Header>(),
        offset_of!(Header, magic),
        offset_of!(Header, abi_major),
        offset_of!(Header, abi_minor),
        offset_of!(Header, struct_size),
    );
    let _ = writeln!(text, "Slice {}", size_of::<Slice>());
    let _ = writeln!(text, "Slice.ptr {} 8", offset_of!(Slice, ptr));
    let _ = writeln!(text, "Slice.len {} 8", offset_of!(Slice, len));
    let _ = writeln!(text, "RawWaker {}", size_of::<RawWaker>());
    let _ = writeln!(text, "RawWaker.data {} 8", offset_of!(RawWaker, data));
    let _ = writeln!(text, "RawWaker.vtable {} 8", offset_of!(RawWaker, vtable));
    let _ = writeln!(text, "WakerTable {}", size_of::<WakerTable>());
    let _ = writeln!(text, "WakerTable.clone {} 8", offset_of!(WakerTable, clone));
    let _ = writeln!(
        text,
        "WakerTable.wake_by_ref {} 8",
        offset_of!(WakerTable, wake_by_ref)
    );
    let _ = writeln!(text, "WakerTable.drop {} 8", offset_of!(WakerTable, drop));
    text + &HostV1::layout() + &PluginV1::layout()
}

/// A change here needs a greater `ABI_MINOR` (a field appended) or `ABI_MAJOR` (anything else) first.
#[test]
fn the_layout_is_the_golden_one() {
    assert_eq!(rust_side(), GOLDEN);
}

/// Needs a C compiler (`CC`, else `cc`), as building the server does; without one it fails and says so.
#[test]
fn the_c_header_has_the_same_layout() {
    let mut program = "#include <stdio.h>\n#include \"altmount_plugin.h\"\nint main(void) {\n".to_owned();
    program += "printf(\"abi %u %u\\n\", ALTMOUNT_ABI_MAJOR, ALTMOUNT_ABI_MINOR);\n";
    for line in GOLDEN.lines().skip(1) {
        let name = line.split(' ').next().expect("a name");
        let (structure, field) = name.split_once('.').map_or((name, None), |(s, f)| (s, Some(f)));
        let c = match structure {
            "Header" => "altmount_header",
            "Slice" => "altmount_slice",
            "RawWaker" => "altmount_waker",
            "WakerTable" => "altmount_waker_vtable",
            "HostV1" => "altmount_host_v1",
            "PluginV1" => "altmount_plugin_v1",
            other => panic!("{other} has no name in C"),
        };
        let _ = match field {
            None => writeln!(program, "printf(\"{name} %zu\\n\", sizeof({c}));"),
            Some(field) => writeln!(
                program,
                "printf(\"{name} %zu %zu\\n\", offsetof({c}, {field}), sizeof((({c} *)0)->{field}));"
            ),
        };
    }
    program += "return 0; }\n";
    let folder = tempfile::tempdir().expect("a folder");
    let (source, built) = (folder.path().join("layout.c"), folder.path().join("layout"));
    fs::write(&source, program).expect("written");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let compiled = Command::new(&compiler)
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-I"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/include"))
        .arg(&source)
        .arg("-o")
        .arg(&built)
        .output()
        .unwrap_or_else(|e| panic!("this test needs a C compiler; '{compiler}' does not run: {e}"));
    assert!(
        compiled.status.success(),
        "{}",
        String::from_utf8_lossy(&compiled.stderr)
    );
    let said = Command::new(&built).output().expect("it runs");
    assert_eq!(String::from_utf8_lossy(&said.stdout), GOLDEN);
}

struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
#[expect(unsafe_code, reason = "the waker is one of ours")]
fn a_waker_crosses_and_outlives_the_call() {
    let count = Arc::new(Count(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&count));
    // SAFETY: `lend` gives a whole table that lives for ever.
    let crossed = RawWaker::lend(&waker, |raw| unsafe { (*raw).to_waker() }).expect("a whole table");
    drop(waker);
    let copy = crossed.clone();
    let thread = std::thread::spawn(move || copy.wake());
    thread.join().expect("no panic");
    crossed.wake_by_ref();
    assert_eq!(count.0.load(Ordering::SeqCst), 2);
    drop(crossed);
    assert_eq!(Arc::strong_count(&count), 1, "nothing is kept");
}

#[test]
#[expect(unsafe_code, reason = "broken wakers on purpose")]
fn a_waker_without_functions_is_refused() {
    let table = WakerTable {
        clone: None,
        wake_by_ref: None,
        drop: None,
    };
    for vtable in [std::ptr::null(), &raw const table] {
        let raw = RawWaker {
            data: std::ptr::null(),
            vtable,
        };
        // SAFETY: null, or a table whose functions are null.
        assert!(unsafe { raw.to_waker() }.is_none());
    }
}
