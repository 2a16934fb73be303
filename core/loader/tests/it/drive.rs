//! Loaded importers at work, and what they do wrong.

use crate::{built, c_importer, opened, variant};
use altmount_loader::{Plugin, Terms, stray_calls};
use altmount_sdk::{
    ArticleTable, Bytes, Content, ErrorKind, Handle, ImportContext, ImportError, ImportRequest, Json,
    LogLevel, Result, Summary, TableNo, VirtualFile, async_trait, json,
};
use altmount_testkit::MockContext;
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// Whoever has not ended by then hangs; generous, for these tests run under valgrind as well.
const HANG_LIMIT: Duration = Duration::from_secs(120);

fn misbehaving(mode: &str) -> Arc<Plugin> {
    let opened = opened(&built("altmount_misbehave"));
    Arc::new(opened.create(&json!({ "mode": mode })).expect("made"))
}

/// Imports `hello`, and gives what was staged besides.
async fn import(plugin: &Arc<Plugin>, stop: CancellationToken) -> (Result<Summary>, Arc<MockContext>) {
    let cx = Arc::new(
        MockContext::new("hello")
            .for_manifest(plugin.manifest())
            .max_files(1000),
    );
    let request = ImportRequest::new("a.bad", "a", 5);
    let shared: Arc<dyn ImportContext> = cx.clone();
    let result = tokio::time::timeout(HANG_LIMIT, Arc::clone(plugin).import(request, shared, stop));
    (result.await.expect("it ends"), cx)
}

async fn failure(mode: &str) -> ImportError {
    let (result, _) = import(&misbehaving(mode), CancellationToken::new()).await;
    result.expect_err(mode)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loaded_importer_imports() {
    let plugin = opened(&built("altmount_example_hello"))
        .create(&json!({"greeting": "Good day"}))
        .map(Arc::new)
        .expect("made");
    assert_eq!(plugin.probe("a.hello", b"you").expect("no panic").value(), 70);
    assert_eq!(plugin.probe("a.hello", b"\xff").expect("no panic").value(), 0);
    let (result, cx) = import(&plugin, CancellationToken::new()).await;
    assert_eq!(result, Ok(Summary::default()));
    let files = cx.recorded().files;
    assert_eq!(files[0].path.as_str(), "hello.txt");
    assert_eq!(cx.materialise(&files[0]).expect("read"), b"Good day, hello!\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_importer_in_c_imports() {
    let folder = tempfile::tempdir().expect("a folder");
    let library = c_importer(folder.path());
    let plugin = Arc::new(opened(&library).create(&json!({})).expect("made"));
    let cx = Arc::new(MockContext::new("a.txt one\n\nb.txt two words\nc.txt"));
    let shared: Arc<dyn ImportContext> = cx.clone();
    let request = ImportRequest::new("x.clist", "x", 33);
    let summary = Arc::clone(&plugin)
        .import(request.clone(), shared, CancellationToken::new())
        .await
        .expect("imported");
    assert_eq!(summary.notes, ["imported by C"]);
    let read: Vec<_> = cx
        .recorded()
        .files
        .iter()
        .map(|file| (file.path.to_string(), cx.materialise(file).expect("read")))
        .collect();
    let expected = [("/a.txt", &b"one"[..]), ("/b.txt", b"two words"), ("/c.txt", b"")];
    assert_eq!(
        read,
        expected.map(|(path, bytes)| (path.to_owned(), bytes.to_vec()))
    );
    // What the host refuses is the host's reason.
    let bad: Arc<dyn ImportContext> = Arc::new(MockContext::new("../../x text"));
    let error = plugin
        .import(request, bad, CancellationToken::new())
        .await
        .expect_err("refused");
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn panics_end_the_import_and_nothing_else() {
    for (mode, told) in [
        ("panic-before", "before the first await"),
        ("panic-after", "after an await"),
    ] {
        let error = failure(mode).await;
        assert_eq!(error.kind, ErrorKind::Panicked, "{mode}: {error}");
        assert!(error.message.contains(told), "{error}");
        assert!(error.message.contains("lib.rs:"), "the place: {error}");
    }
    assert_eq!(misbehaving("probe").probe("a.bad", b""), None);
    let create = opened(&built("altmount_misbehave")).create(&json!({"mode": "create"}));
    assert!(create.expect_err("refused").contains("in create"));
    let create = opened(&built("altmount_misbehave")).create(&json!({"mode": "refuse"}));
    assert!(
        create
            .expect_err("refused")
            .contains("'mode' must not be 'refuse'")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_importer_may_do_works() {
    for (mode, text) in [
        ("", &b"well behaved"[..]),
        ("past-end", b"nothing there"),
        ("own-thread", b"woken"),
        ("own-tokio", b"slept"),
        ("many-reads", b"read"),
    ] {
        let (result, cx) = import(&misbehaving(mode), CancellationToken::new()).await;
        assert!(result.is_ok(), "{mode}: {result:?}");
        let files = cx.recorded().files;
        assert_eq!(cx.materialise(&files[0]).expect("read"), text, "{mode}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_host_refuses_fails_the_import_with_the_hosts_reason() {
    for (mode, kind) in [
        ("flood", ErrorKind::Limit),
        ("denied", ErrorKind::Denied),
        ("unknown", ErrorKind::Unsupported),
        ("huge-note", ErrorKind::Limit),
    ] {
        assert_eq!(failure(mode).await.kind, kind, "{mode}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_import_ends_where_it_stands() {
    for mode in ["hang", "polite", "panic-drop"] {
        let stop = CancellationToken::new();
        let plugin = misbehaving(mode);
        let cancel = async {
            tokio::task::yield_now().await;
            stop.cancel();
        };
        let ((result, _), ()) = tokio::join!(import(&plugin, stop.clone()), cancel);
        assert_eq!(result.expect_err(mode).kind, ErrorKind::Cancelled, "{mode}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_importer_that_spins_keeps_its_own_thread_alone() {
    let stop = CancellationToken::new();
    stop.cancel();
    let plugin = misbehaving("busy");
    let cx: Arc<dyn ImportContext> = Arc::new(MockContext::new("hello"));
    let spinning =
        Arc::clone(&plugin).import(ImportRequest::new("a.bad", "a", 5), cx, CancellationToken::new());
    let mut spinning = Box::pin(spinning);
    // Started, and given up.
    assert!(futures_poll(&mut spinning).await);
    drop(spinning);
    let (result, _) = import(&misbehaving(""), CancellationToken::new()).await;
    assert!(result.is_ok());
}

/// Polls once; whether it is still pending.
async fn futures_poll<F: Future + Unpin>(future: &mut F) -> bool {
    std::future::poll_fn(|cx| std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx).is_pending()))
        .await
}

async fn run_variant(flag: &str) -> Result<Summary> {
    let folder = tempfile::tempdir().expect("a folder");
    let plugin = opened(&variant(folder.path(), &[flag]))
        .create(&Json::Null)
        .expect("made");
    let plugin = Arc::new(plugin);
    assert_eq!(
        plugin.probe("a.v", b"").expect("no panic").value(),
        100,
        "bounded"
    );
    import(&plugin, CancellationToken::new()).await.0
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_and_numbers_are_checked() {
    assert_eq!(run_variant("-DPLAIN").await, Ok(Summary::default()));
    assert_eq!(run_variant("-DSTALE").await, Ok(Summary::default()));
    assert_eq!(run_variant("-DLEAKS").await, Ok(Summary::default()));
    let over = run_variant("-DAFTER").await.expect("imported");
    assert_eq!(
        over.notes,
        ["over"],
        "what comes after the end is refused, and the end stands"
    );
    let error = run_variant("-DDOTDOT").await.expect_err("refused");
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(
        error.message.contains("the file cannot be read as JSON"),
        "{error}"
    );
    assert!(run_variant("-DNOT_UTF8").await.is_err());
    assert_eq!(
        run_variant("-DHUGE_JSON").await.expect_err("refused").kind,
        ErrorKind::Limit
    );
    let odd = run_variant("-DNO_STATUS").await.expect_err("no status");
    assert!(odd.message.contains("variant"), "{odd}");
}

/// A thread of the library outlives its import, and calls on: each call finds nothing, and later imports see nothing of it.
#[tokio::test(flavor = "multi_thread")]
async fn calls_after_the_end_find_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let late = opened(&variant(folder.path(), &["-DLATE", "-pthread"]));
    let late = Arc::new(late.create(&Json::Null).expect("made"));
    let before = stray_calls();
    let (result, cx) = import(&late, CancellationToken::new()).await;
    assert_eq!(result, Ok(Summary::default()));
    drop(late);
    while stray_calls() < before + 100 {
        let (result, other) = import(&misbehaving(""), CancellationToken::new()).await;
        assert!(result.is_ok());
        assert_eq!(other.recorded().files.len(), 1);
    }
    assert!(cx.recorded().logs.len() <= 100, "those before the end alone");
}

/// A host that answers no read until it is told to.
struct Silent(MockContext);

#[async_trait]
impl ImportContext for Silent {
    fn log(&self, level: LogLevel, message: &str) {
        self.0.log(level, message);
    }
    fn progress(&self, done: u64, total: u64) {
        self.0.progress(done, total);
    }
    fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }
    fn emit(&self, file: VirtualFile) -> Result<()> {
        self.0.emit(file)
    }
    fn define_articles(&self, table: ArticleTable) -> Result<TableNo> {
        self.0.define_articles(table)
    }
    async fn open(&self, content: &Content) -> Result<Handle> {
        self.0.open(content).await
    }
    async fn read(&self, _handle: Handle, _offset: u64, _len: u64) -> Result<Bytes> {
        self.0.log(LogLevel::Debug, "asked");
        std::future::pending().await
    }
    fn len(&self, handle: Handle) -> Result<u64> {
        self.0.len(handle)
    }
    async fn call(&self, method: &str, params: Json) -> Result<Json> {
        self.0.call(method, params).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_importer_in_c_is_cancelled_while_it_blocks() {
    let folder = tempfile::tempdir().expect("a folder");
    let plugin = Arc::new(
        opened(&c_importer(folder.path()))
            .create(&json!({}))
            .expect("made"),
    );
    let cx = Arc::new(Silent(MockContext::new("a.txt one")));
    let stop = CancellationToken::new();
    let shared: Arc<dyn ImportContext> = Arc::clone(&cx) as _;
    let import = Arc::clone(&plugin).import(ImportRequest::new("x.clist", "x", 9), shared, stop.clone());
    let cancel = async {
        // It waits for the read by then, and blocks its thread.
        while cx.0.recorded().logs.is_empty() {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    let ended = tokio::time::timeout(HANG_LIMIT, async { tokio::join!(import, cancel).0 });
    let error = ended.await.expect("it ends").expect_err("cancelled");
    assert_eq!(error.kind, ErrorKind::Cancelled, "{error}");
}

/// A panic in the destructor of an instance goes nowhere.
#[test]
fn a_panic_when_an_instance_is_given_back_is_caught() {
    drop(misbehaving("drop"));
}

/// Whatever a later host has more, and whatever happens to lent bytes when they are not lent any more.
#[tokio::test(flavor = "multi_thread")]
async fn the_examples_keep_to_strict_terms() {
    let folder = tempfile::tempdir().expect("a folder");
    for terms in [
        Terms {
            spoil: true,
            ..Terms::default()
        },
        Terms {
            moved: true,
            ..Terms::default()
        },
        Terms {
            later: true,
            ..Terms::default()
        },
    ] {
        for library in [built("altmount_example_hello"), c_importer(folder.path())] {
            let plugin = opened(&library).create_on(&json!({}), terms).expect("made");
            let (result, cx) = import(&Arc::new(plugin), CancellationToken::new()).await;
            assert!(result.is_ok(), "{terms:?} {}: {result:?}", library.display());
            assert_eq!(cx.recorded().files.len(), 1);
        }
    }
}

/// What it says through `tracing` in its own copy of that library comes out where its log does.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_traced_is_logged() {
    let (result, cx) = import(&misbehaving("traces"), CancellationToken::new()).await;
    assert!(result.is_ok(), "{result:?}");
    let logs = cx.recorded().logs;
    let expected = [
        (LogLevel::Warn, "list{lines=3}: odd answer=42"),
        (LogLevel::Debug, "after an await"),
    ];
    assert_eq!(logs, expected.map(|(level, line)| (level, line.to_owned())));
}
