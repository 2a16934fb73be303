//! An importer that does what an importer must not, one thing a `mode`, with an allocator of its own: memory that crosses the
//! boundary to be freed on the other side aborts the process.

use altmount_sdk::*;
use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicBool, Ordering},
    task::Poll,
    time::Duration,
};

/// Every pointer is 64 bytes further than the system's.
struct Shifted;

const SHIFT: usize = 64;

#[expect(unsafe_code, reason = "an allocator")]
// SAFETY: what is given out lies inside of what the system gave, with the alignment that was asked for (64 at most is shifted by
// 64; larger ones by themselves), and is given back as it came.
unsafe impl GlobalAlloc for Shifted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(whole) = shifted(layout) else {
            return std::ptr::null_mut();
        };
        // SAFETY: the layout has a size.
        let start = unsafe { System.alloc(whole) };
        if start.is_null() {
            return start;
        }
        // SAFETY: inside of `whole`.
        unsafe { start.add(SHIFT.max(layout.align())) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        if let Some(whole) = shifted(layout) {
            // SAFETY: `alloc` moved it by as much.
            unsafe { System.dealloc(start.sub(SHIFT.max(layout.align())), whole) }
        }
    }
}

fn shifted(layout: Layout) -> Option<Layout> {
    let size = layout.size().checked_add(SHIFT.max(layout.align()))?;
    Layout::from_size_align(size, layout.align()).ok()
}

#[global_allocator]
static ALLOCATOR: Shifted = Shifted;

/// The importer.
#[derive(Debug)]
pub struct Misbehaving {
    mode: String,
}

struct PanicsWhenDropped;

impl Drop for Misbehaving {
    fn drop(&mut self) {
        assert!(self.mode != "drop", "in the instance's destructor");
    }
}

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("in a destructor");
    }
}

fn file(path: &str, bytes: &[u8]) -> Result<VirtualFile> {
    let path = VPath::new(path).map_err(|e| ImportError::new(ErrorKind::Invalid, e.to_string()))?;
    let content = Content::single(Node::Inline {
        bytes: bytes.to_vec(),
    });
    Ok(VirtualFile::new(path, bytes.len() as u64, content))
}

#[async_trait]
impl Importer for Misbehaving {
    fn manifest() -> Manifest {
        Manifest::new("misbehave", "1.0.0")
            .extension("bad")
            .extension("nzb")
    }

    fn create(config: Json) -> Result<Self> {
        let mode = config["mode"].as_str().unwrap_or_default().to_owned();
        assert!(mode != "create", "in create");
        if mode == "refuse" {
            return Err(ImportError::new(
                ErrorKind::Invalid,
                "'mode' must not be 'refuse'",
            ));
        }
        Ok(Self { mode })
    }

    fn probe(&self, name: &str, _head: &[u8]) -> Confidence {
        assert!(self.mode != "probe", "in the probe");
        if self.mode == "spin-probe" {
            loop {
                std::hint::spin_loop();
            }
        }
        if name.ends_with(".bad") {
            Confidence::LIKELY
        } else {
            Confidence::NO
        }
    }

    async fn import(&self, request: ImportRequest, cx: &dyn ImportContext) -> Result<Summary> {
        match self.mode.as_str() {
            "panic-before" => panic!("before the first await"),
            "panic-after" => {
                let _read = cx.read(Handle::UPLOAD, 0, 1).await?;
                panic!("after an await");
            }
            "abort" => std::process::abort(),
            // Memory that is nobody's.
            "crash" => {
                #[expect(unsafe_code, reason = "crashes on purpose")]
                // SAFETY: there is none; the process is to be ended by the system.
                unsafe {
                    std::ptr::without_provenance_mut::<u8>(8).write_volatile(1);
                }
            }
            // Through a library of its own copy.
            "traces" => {
                let span = tracing::info_span!("list", lines = 3);
                {
                    let _entered = span.enter();
                    tracing::warn!(answer = 42, "odd");
                }
                let _read = cx.read(Handle::UPLOAD, 0, 1).await?;
                tracing::debug!("after an await");
                tracing::trace!("nobody wants to know");
                std::thread::spawn(|| tracing::error!("of no import"))
                    .join()
                    .expect("no panic");
                cx.emit(file("a.txt", b"traced")?)?;
            }
            // Tells the passwords that it was given.
            "tells" => cx.log(LogLevel::Info, &format!("{:?}", request.passwords)),
            // Does as if all were well, whatever the host says.
            "deaf" => {
                let _read = cx.read(Handle::UPLOAD, 0, 1).await;
                let _refused = cx.emit(file("a.txt", b"x")?);
            }
            "panic-drop" => {
                let _guard = PanicsWhenDropped;
                std::future::pending::<()>().await;
            }
            "hang" => std::future::pending::<()>().await,
            // Not for ever, so that a test process can end; longer than any grace.
            "busy" => {
                // So that a test knows that it is under way, and cannot be stopped any more.
                cx.progress(1, 2);
                let start = std::time::Instant::now();
                while start.elapsed() < Duration::from_secs(20) {
                    std::hint::spin_loop();
                }
            }
            "polite" => {
                while !cx.is_cancelled() {
                    std::thread::yield_now();
                }
                return Err(ImportError::new(ErrorKind::Cancelled, "as asked"));
            }
            "flood" => {
                for number in 0..1_000_000 {
                    cx.emit(file(&format!("{number}.txt"), b"x")?)?;
                }
            }
            "past-end" => {
                let read = cx.read(Handle::UPLOAD, u64::MAX - 1, u64::MAX).await?;
                assert!(read.is_empty());
                assert!(cx.read(Handle(77), 0, 1).await.is_err());
                cx.emit(file("a.txt", b"nothing there")?)?;
            }
            "denied" => {
                cx.call("usenet.stat", json!({"ids": ["a@b"]})).await?;
            }
            "unknown" => {
                cx.call("no.such.service", Json::Null).await?;
            }
            "own-thread" => {
                let woken = std::sync::Arc::new(AtomicBool::new(false));
                std::future::poll_fn(|task| {
                    if woken.load(Ordering::Acquire) {
                        return Poll::Ready(());
                    }
                    let (waker, woken) = (task.waker().clone(), std::sync::Arc::clone(&woken));
                    std::thread::spawn(move || {
                        woken.store(true, Ordering::Release);
                        waker.wake();
                    });
                    Poll::Pending
                })
                .await;
                cx.emit(file("a.txt", b"woken")?)?;
            }
            "own-tokio" => {
                tokio::time::sleep(Duration::from_millis(1)).await;
                let slept = tokio::spawn(async { 7 }).await;
                assert!(matches!(slept, Ok(7)));
                cx.emit(file("a.txt", b"slept")?)?;
            }
            "huge-note" => {
                return Ok(Summary {
                    notes: vec!["x".repeat(2 << 20)],
                    ..Summary::default()
                });
            }
            "many-reads" => {
                let mut reads = Vec::new();
                for at in 0..10_000 {
                    reads.push(cx.read(Handle::UPLOAD, at % 3, 1));
                }
                for read in reads {
                    read.await?;
                }
                cx.emit(file("a.txt", b"read")?)?;
            }
            _ => cx.emit(file("a.txt", b"well behaved")?)?,
        }
        Ok(Summary::default())
    }
}

export_importer!(Misbehaving, runtime = tokio);
