//! The exported table, driven as a host does: what the importer does wrong ends as a status and an error.
#![expect(unsafe_code, reason = "calls the table across the boundary")]

use altmount_sdk::__private::{PluginV1, Slice, c_void, import, manifest, plain, table, with};
use altmount_sdk::*;
use std::{
    ptr,
    sync::{Mutex, OnceLock},
};

struct Misbehaving(String);

#[async_trait]
impl Importer for Misbehaving {
    fn manifest() -> Manifest {
        Manifest::new("misbehaving", "1.0.0")
    }
    fn create(config: Json) -> Result<Self> {
        Ok(Self(config["mode"].as_str().unwrap_or_default().to_owned()))
    }
    fn probe(&self, _name: &str, _head: &[u8]) -> Confidence {
        assert!(self.0 != "probe", "in the probe");
        Confidence::LIKELY
    }
    async fn import(&self, _request: ImportRequest, _cx: &dyn ImportContext) -> Result<Summary> {
        assert!(self.0 != "import", "in the import");
        Err(ImportError::new(ErrorKind::Compressed, "it is packed"))
    }
}

extern "C" fn exported_manifest() -> Slice {
    static MADE: OnceLock<Vec<u8>> = OnceLock::new();
    manifest::<Misbehaving>(&MADE)
}

unsafe extern "C" fn exported_import(i: *mut c_void, cx: *const c_void, request: Slice) -> *mut c_void {
    // SAFETY: `run` below keeps to the header.
    unsafe { import::<Misbehaving>(i, cx, request, plain) }
}

static TABLE: PluginV1 = with(table::<Misbehaving>(), exported_manifest, exported_import);

type Ended = Mutex<Option<(i32, Vec<u8>)>>;

unsafe extern "C" fn complete(cx: *const c_void, status: i32, json: Slice) {
    // SAFETY: `run` passes its `Ended`.
    let (ended, json) = unsafe { (&*cx.cast::<Ended>(), json.bytes()) };
    *ended.lock().expect("no panic") = Some((status, json.to_vec()));
}

/// The probe's answer, and how the import ended.
fn run(config: &str) -> (u32, i32, ImportError) {
    let host = altmount_abi::HostV1 {
        struct_size: size_of::<altmount_abi::HostV1>() as u64,
        log: None,
        progress: None,
        is_cancelled: None,
        emit: None,
        define_articles: None,
        len: None,
        open: None,
        read: None,
        call: None,
        op_poll: None,
        op_wait: None,
        op_free: None,
        complete: Some(complete),
    };
    let ended: Ended = Mutex::new(None);
    let cx = (&raw const ended).cast();
    let request = json!(ImportRequest::new("a.x", "a", 1)).to_string();
    // SAFETY: host and `ended` outlive the instance and the task, each of which is given back once.
    let (probed, status) = unsafe {
        let made = TABLE.create.expect("there")(&raw const host, cx, Slice::new(config.as_bytes()));
        assert!(!made.is_null());
        let probed = TABLE.probe.expect("there")(made, Slice::new(b"a.x"), Slice::EMPTY);
        let task = TABLE.import.expect("there")(made, cx, Slice::new(request.as_bytes()));
        let status = TABLE.task_poll.expect("there")(task, ptr::null());
        assert_eq!(
            TABLE.task_poll.expect("there")(task, ptr::null()),
            2,
            "not polled again"
        );
        TABLE.task_drop.expect("there")(task);
        TABLE.destroy.expect("there")(made);
        (probed, status)
    };
    let (said, json) = ended.into_inner().expect("no panic").expect("completed");
    assert_eq!(said, status);
    (probed, status, serde_json::from_slice(&json).expect("an error"))
}

#[test]
fn an_error_crosses_with_its_kind() {
    let (probed, status, error) = run("{}");
    assert_eq!((probed, status, error.kind), (70, 2, ErrorKind::Compressed));
}

#[test]
fn panics_end_as_statuses() {
    let (probed, _, _) = run(r#"{"mode":"probe"}"#);
    assert_eq!(probed, altmount_abi::PROBE_PANICKED);
    let (_, status, error) = run(r#"{"mode":"import"}"#);
    assert_eq!((status, error.kind), (4, ErrorKind::Panicked));
    assert!(error.message.contains("in the import"), "{error}");
}

#[test]
fn nothing_is_missing_in_the_table() {
    assert_eq!(TABLE.missing(), None);
}
