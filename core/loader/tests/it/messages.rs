//! What the example in C says, byte by byte as it says it, against the published JSON Schemas.
#![expect(
    unsafe_code,
    reason = "a host of this test's own, which drives the table of a library"
)]

use crate::c_importer;
use altmount_abi::{HostV1, PluginV1, RawWaker, Slice, status};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use serde_json::{Value, json};
use std::{
    ffi::c_void,
    fs,
    path::Path,
    ptr,
    sync::{Mutex, MutexGuard, PoisonError},
};

const UPLOAD: &[u8] = b"a.txt one\n\nb.txt two words\nc.txt";
const REFUSAL: &[u8] = br#"{"kind":"limit","message":"no more files","retry":"never"}"#;

/// What was said, as (message, JSON).
static SAID: Mutex<Vec<(&str, String)>> = Mutex::new(Vec::new());

fn said() -> MutexGuard<'static, Vec<(&'static str, String)>> {
    SAID.lock().unwrap_or_else(PoisonError::into_inner)
}

fn note(what: &'static str, json: Slice) {
    // SAFETY: the importer lends them for the call.
    let text = String::from_utf8(unsafe { json.bytes() }.to_vec()).expect("UTF-8");
    said().push((what, text));
}

unsafe extern "C" fn log(_: *const c_void, _: u32, _: Slice) {}
unsafe extern "C" fn progress(_: *const c_void, _: u64, _: u64) {}
unsafe extern "C" fn is_cancelled(_: *const c_void) -> i32 {
    0
}
/// Takes two files; `cx` counts nothing, so the third is refused by what was said.
unsafe extern "C" fn emit(cx: *const c_void, file: Slice, error: *mut *mut c_void) -> i32 {
    note("file", file);
    if cx.addr() == 2 {
        // SAFETY: a place of the importer's, or null.
        if let Some(error) = unsafe { error.as_mut() } {
            *error = ptr::without_provenance_mut(2);
        }
        return status::FAILED;
    }
    status::OK
}
unsafe extern "C" fn len(_: *const c_void, _: u64, len: *mut u64, _: *mut *mut c_void) -> i32 {
    // SAFETY: a place of the importer's.
    unsafe { len.write(UPLOAD.len() as u64) };
    status::OK
}
/// Operation 1 is the whole file, operation 2 the refusal.
unsafe extern "C" fn read(_: *const c_void, _: u64, _: u64, _: u64) -> *mut c_void {
    ptr::without_provenance_mut(1)
}
unsafe extern "C" fn op_wait(op: *mut c_void, out: *mut Slice) -> i32 {
    let (status, bytes) = if op.addr() == 1 {
        (status::OK, UPLOAD)
    } else {
        (status::FAILED, REFUSAL)
    };
    // SAFETY: a place of the importer's.
    unsafe { out.write(Slice::new(bytes)) };
    status
}
unsafe extern "C" fn op_poll(op: *mut c_void, _: *const RawWaker, out: *mut Slice) -> i32 {
    // SAFETY: as the importer gave it.
    unsafe { op_wait(op, out) }
}
unsafe extern "C" fn op_free(_: *mut c_void) {}
unsafe extern "C" fn complete(_: *const c_void, number: i32, json: Slice) {
    note(if number == status::OK { "summary" } else { "error" }, json);
}

static HOST: HostV1 = HostV1 {
    struct_size: size_of::<HostV1>() as u64,
    log: Some(log),
    progress: Some(progress),
    is_cancelled: Some(is_cancelled),
    emit: Some(emit),
    define_articles: None,
    len: Some(len),
    open: None,
    read: Some(read),
    call: None,
    op_poll: Some(op_poll),
    op_wait: Some(op_wait),
    op_free: Some(op_free),
    complete: Some(complete),
};

fn schema(name: &str) -> jsonschema::Validator {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/plugin-schemas/1.0");
    let text = fs::read_to_string(folder.join(format!("{name}.json"))).expect("a schema");
    jsonschema::validator_for(&serde_json::from_str(&text).expect("JSON")).expect("a schema")
}

#[test]
fn what_the_c_example_says_is_as_the_schemas_say() {
    let folder = tempfile::tempdir().expect("a folder");
    let library = c_importer(folder.path());
    let request = json!({"file_name": "x.clist", "size": UPLOAD.len(), "release_name": "x", "passwords": []});
    schema("request")
        .validate(&request)
        .expect("what is asked fits, too");
    let request = request.to_string();
    // SAFETY: the example keeps to the header; host and request outlive every call, and each thing that it gives is given back once.
    unsafe {
        let library = Library::open(Some(&library), RTLD_NOW | RTLD_LOCAL).expect("loaded");
        let table: *const PluginV1 = *library.get(b"importer_plugin__c_list").expect("its table");
        let table = &*table;
        note("manifest", table.manifest.expect("there")());
        let made =
            table.create.expect("there")(&raw const HOST, ptr::without_provenance(1), Slice::new(b"{}"));
        for cx in [1, 2] {
            let cx = ptr::without_provenance(cx);
            let task = table.import.expect("there")(made, cx, Slice::new(request.as_bytes()));
            table.task_poll.expect("there")(task, ptr::null());
            table.task_drop.expect("there")(task);
        }
        table.destroy.expect("there")(made);
        std::mem::forget(library);
    }
    let said = said().clone();
    let names: Vec<&str> = said.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        names,
        ["manifest", "file", "file", "file", "summary", "file", "error"]
    );
    for (name, text) in &said {
        let json: Value = serde_json::from_str(text).unwrap_or_else(|e| panic!("{name}: {text}: {e}"));
        let faults: Vec<String> = schema(name).iter_errors(&json).map(|e| e.to_string()).collect();
        assert!(faults.is_empty(), "{name}: {text}: {faults:?}");
    }
    assert_eq!(
        said[6].1.as_bytes(),
        REFUSAL,
        "the host's own reason is handed on"
    );
}
