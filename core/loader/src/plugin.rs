//! A loaded importer: its table, its instance, and the threads that its imports run on.

use crate::{
    elf,
    file::Verified,
    file_name,
    host::{self, Lent},
    image::Image,
    json,
    operation::Unpark,
    terms::Terms,
};
use altmount_abi::{PROBE_PANICKED, PluginV1, RawWaker, Slice, status};
use altmount_sdk::{
    Confidence, ErrorKind, ImportContext, ImportError, ImportRequest, Json, Manifest, Summary,
};
use std::{
    ffi::c_void,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    task::Waker,
};
use tokio::{runtime, sync::oneshot};
use tokio_util::sync::CancellationToken;

/// Longest manifest, in bytes.
const MAX_MANIFEST: usize = 1 << 20;

/// A library that is loaded and has said what it is.
#[derive(Debug)]
pub struct Opened {
    /// What it says of itself.
    pub manifest: Manifest,
    /// The SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
    /// Whether the operator stated that SHA-256.
    pub verified: bool,
    /// Where it lay.
    pub path: PathBuf,
    table: PluginV1,
}

/// An instance of a loaded importer.
pub struct Plugin {
    manifest: Manifest,
    table: PluginV1,
    instance: *mut c_void,
    terms: Terms,
}

#[expect(unsafe_code, reason = "the header says so of every instance")]
// SAFETY: an instance is used by several threads at once.
unsafe impl Send for Plugin {}
#[expect(unsafe_code, reason = "the header says so of every instance")]
// SAFETY: as above.
unsafe impl Sync for Plugin {}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin")
            .field("id", &self.manifest.id)
            .finish_non_exhaustive()
    }
}

/// Finds the table of a loaded library and asks for its manifest.
pub(crate) fn open(image: Image, symbol: &str, verified: &Verified) -> Result<Opened, String> {
    #[expect(
        unsafe_code,
        reason = "the exported table, whose header was read from the file"
    )]
    // SAFETY: the symbol's place in the file starts with a header of this version, and the header is frozen.
    let table = unsafe {
        let found = image
            .library
            .get::<*const PluginV1>(symbol.as_bytes())
            .map_err(|e| format!("its table '{symbol}' cannot be found: {e}"))?;
        let table: *const PluginV1 = *found;
        if table.is_null() || !table.is_aligned() {
            return Err(format!("its table '{symbol}' does not lie at a usable address"));
        }
        // Again, of what is in memory: a constructor may have changed it.
        elf::check(&(*table).header)?;
        *table
    };
    // Never unloaded, whatever comes of it.
    std::mem::forget(image);
    if let Some(function) = table.missing() {
        return Err(format!("its table has no function '{function}'"));
    }
    let manifest = manifest_of(&table)?;
    Ok(Opened {
        manifest,
        sha256: verified.sha256.clone(),
        verified: verified.stated,
        path: verified.path.clone(),
        table,
    })
}

/// Asks for the manifest.
fn manifest_of(table: &PluginV1) -> Result<Manifest, String> {
    let Some(manifest) = table.manifest else {
        return Err("its table has no function 'manifest'".to_owned());
    };
    #[expect(unsafe_code, reason = "a function of the table")]
    // SAFETY: as the header says: static bytes.
    let json = unsafe {
        let json = manifest();
        if json.len > MAX_MANIFEST {
            return Err(format!(
                "its manifest has {} bytes, at most {MAX_MANIFEST} are taken",
                json.len
            ));
        }
        json.bytes()
    };
    if json.is_empty() {
        return Err("it panicked in its manifest, or has none".to_owned());
    }
    json::read(json).map_err(|e| format!("its manifest cannot be read: {e}"))
}

impl Opened {
    /// Asks for the manifest again.
    ///
    /// # Errors
    /// Where it panicked, or cannot be read.
    pub fn read_manifest(&self) -> Result<Manifest, String> {
        manifest_of(&self.table)
    }

    /// Makes an instance.
    ///
    /// # Errors
    /// Where the importer does not accept the configuration.
    pub fn create(self, config: &Json) -> Result<Plugin, String> {
        let name = file_name(&self.path);
        self.create_on(config, Terms::default())
            .map_err(|error| format!("it does not accept its configuration: {error} ({name})"))
    }

    /// The same, held to these terms in everything that the instance does.
    ///
    /// # Errors
    /// The importer's own, where it does not accept the configuration.
    pub fn create_on(&self, config: &Json, terms: Terms) -> Result<Plugin, ImportError> {
        let internal = |text: String| ImportError::new(ErrorKind::Internal, text);
        let Some(create) = self.table.create else {
            return Err(internal("its table has no function 'create'".to_owned()));
        };
        let json = serde_json::to_vec(config)
            .map_err(|e| internal(format!("its configuration has no JSON form: {e}")))?;
        let cx = Lent::for_create(&self.manifest.id, terms);
        #[expect(unsafe_code, reason = "a function of the table")]
        // SAFETY: the host's table is static, `cx` and the configuration stay until the call is over.
        let instance = terms.lend(&json, |json| unsafe {
            create(host::table(terms), cx.pointer(), Slice::new(json))
        });
        if instance.is_null() {
            return Err(failure(&self.manifest.id, cx.completed(), "it was made"));
        }
        Ok(Plugin {
            manifest: self.manifest.clone(),
            table: self.table,
            instance,
            terms,
        })
    }
}

/// The error that an importer completed with; one that says so where it left none that can be read.
fn failure(id: &str, completed: Option<(i32, Vec<u8>)>, when: &str) -> ImportError {
    let (number, json) = completed.unwrap_or((status::FAILED, Vec::new()));
    let kind = match number {
        status::PANICKED => ErrorKind::Panicked,
        status::CANCELLED => ErrorKind::Cancelled,
        _ => ErrorKind::Internal,
    };
    let error: Option<ImportError> = serde_json::from_slice(&json).ok();
    match error {
        Some(error) if number != status::PANICKED || error.kind == ErrorKind::Panicked => error,
        Some(error) => ImportError::new(kind, error.message),
        None => ImportError::new(
            kind,
            format!("the importer '{id}' failed when {when}, and gave no reason that can be read"),
        ),
    }
}

impl Plugin {
    /// What it says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// How sure the importer is that it takes a file; `None` where it panicked.
    pub fn probe(&self, name: &str, head: &[u8]) -> Option<Confidence> {
        let (probe, terms) = (self.table.probe?, self.terms);
        let answer = terms.lend(name.as_bytes(), |name| {
            terms.lend(head, |head| {
                #[expect(unsafe_code, reason = "a function of the table")]
                // SAFETY: the instance lives as long as this does; name and head stay until the call is over.
                unsafe {
                    probe(self.instance, Slice::new(name), Slice::new(head))
                }
            })
        });
        if answer == PROBE_PANICKED {
            return None;
        }
        Some(Confidence::new(u8::try_from(answer).unwrap_or(u8::MAX)))
    }

    /// Imports on a thread of its own. Where `stop` is cancelled, the importer's future is dropped there, and this returns
    /// when that is done: never, where the importer does not come back. Dropping this future leaves the thread to itself.
    ///
    /// # Errors
    /// Those of the importer, and `io` where there is no thread.
    pub async fn import(
        self: Arc<Self>,
        request: ImportRequest,
        cx: Arc<dyn ImportContext>,
        stop: CancellationToken,
    ) -> Result<Summary, ImportError> {
        let (ended, end) = oneshot::channel();
        let stop = stop.child_token();
        // The thread parks between polls; a cancellation must wake it.
        let sleeper = Arc::new(Mutex::new(None::<Waker>));
        let runtime = runtime::Handle::current();
        let name: String = format!("plugin-{}", self.manifest.id).chars().take(15).collect();
        let work = {
            let (sleeper, stop) = (Arc::clone(&sleeper), stop.clone());
            move || {
                *sleeper.lock().unwrap_or_else(PoisonError::into_inner) = Some(Unpark::waker());
                let lent = Lent::for_import(&self.manifest.id, cx, stop.clone(), runtime, self.terms);
                let result = self.drive(&request, &lent, &stop);
                drop(lent);
                // The engine may have given it up.
                let _given_up = ended.send(result);
            }
        };
        if let Err(error) = std::thread::Builder::new().name(name).spawn(work) {
            let text = format!("there is no thread for the import: {error}");
            return Err(ImportError::new(ErrorKind::Io, text));
        }
        // Where this future is dropped, the import is given up as well.
        let give_up = GiveUp { stop, sleeper };
        let wake = async {
            give_up.stop.cancelled().await;
            give_up.wake();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            result = end => result.unwrap_or_else(|_| {
                Err(ImportError::new(ErrorKind::Internal, "the import's thread ended without a result"))
            }),
            () = wake => Err(over()),
        }
    }

    fn drive(
        &self,
        request: &ImportRequest,
        cx: &Lent,
        stop: &CancellationToken,
    ) -> Result<Summary, ImportError> {
        let id = &self.manifest.id;
        let json = serde_json::to_vec(request).map_err(|e| {
            ImportError::new(ErrorKind::Internal, format!("the request has no JSON form: {e}"))
        })?;
        let json = self.terms.written(json);
        let (Some(import), Some(task_poll), Some(task_drop)) =
            (self.table.import, self.table.task_poll, self.table.task_drop)
        else {
            return Err(ImportError::new(
                ErrorKind::Internal,
                "the plugin's table is not whole",
            ));
        };
        #[expect(unsafe_code, reason = "a function of the table")]
        // SAFETY: the instance lives as long as this does, `cx` until after `task_drop`, the request for the call.
        let task = self.terms.lend(&json, |json| unsafe {
            import(self.instance, cx.pointer(), Slice::new(json))
        });
        if task.is_null() {
            return Err(failure(id, cx.completed(), "it started an import"));
        }
        let waker = Unpark::waker();
        let number = loop {
            if stop.is_cancelled() {
                break status::CANCELLED;
            }
            let at = task.expose_provenance();
            let poll = || {
                RawWaker::lend(&waker, |raw| {
                    #[expect(unsafe_code, reason = "a function of the table")]
                    // SAFETY: the task is not dropped yet, one thread alone polls it, the waker is lent for the call.
                    unsafe {
                        task_poll(std::ptr::with_exposed_provenance_mut(at), raw)
                    }
                })
            };
            let number = if self.terms.moved {
                let polled = std::thread::scope(|scope| scope.spawn(poll).join());
                polled.unwrap_or(status::FAILED)
            } else {
                poll()
            };
            if number != status::PENDING {
                break number;
            }
            std::thread::park();
        };
        #[expect(unsafe_code, reason = "a function of the table")]
        // SAFETY: once, and the task is not used after it.
        unsafe {
            task_drop(task);
        }
        let completed = cx.completed();
        match (number, completed) {
            (status::OK, None) => Ok(Summary::default()),
            (status::OK, Some((status::OK, json))) if json.is_empty() => Ok(Summary::default()),
            (status::OK, Some((status::OK, json))) => serde_json::from_slice(&json).map_err(|e| {
                let text = format!("the summary of the importer '{id}' cannot be read: {e}");
                ImportError::new(ErrorKind::Invalid, text)
            }),
            (status::CANCELLED, _) if stop.is_cancelled() => Err(over()),
            // What the task said last counts for the reason; what it answered counts for the kind.
            (number, completed) => {
                let json = completed.map(|(_, json)| json).unwrap_or_default();
                let number = if number == status::OK {
                    status::FAILED
                } else {
                    number
                };
                Err(failure(id, Some((number, json)), "it imported"))
            }
        }
    }
}

/// Tells an import's thread to end.
struct GiveUp {
    stop: CancellationToken,
    sleeper: Arc<Mutex<Option<Waker>>>,
}

impl GiveUp {
    fn wake(&self) {
        if let Some(waker) = &*self.sleeper.lock().unwrap_or_else(PoisonError::into_inner) {
            waker.wake_by_ref();
        }
    }
}

impl Drop for GiveUp {
    fn drop(&mut self) {
        self.stop.cancel();
        self.wake();
    }
}

fn over() -> ImportError {
    ImportError::new(ErrorKind::Cancelled, "the import is cancelled")
}

impl Drop for Plugin {
    fn drop(&mut self) {
        if let Some(destroy) = self.table.destroy {
            #[expect(unsafe_code, reason = "a function of the table")]
            // SAFETY: once; every import holds the plugin, so none is under way.
            unsafe {
                destroy(self.instance);
            }
        }
    }
}
