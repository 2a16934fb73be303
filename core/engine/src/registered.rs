//! One importer, linked or loaded: what it says of itself, whether it is in use, and what it did.

use crate::{
    panics,
    registry::{ChoiceRecord, RunnerUp},
    schema::check_config,
};
use altmount_loader::{Opened, Plugin};
use altmount_sdk::{Confidence, FileType, Importer, Json, Manifest, json};
use altmount_vfs::Timings;
use serde::Serialize;
use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// So many panics ...
const PANICS: usize = 3;
/// ... in this time end the use of an importer.
const PANIC_WINDOW: Duration = Duration::from_secs(600);

/// One importer.
pub struct Registered {
    /// What it says of itself.
    pub manifest: Manifest,
    /// Whether it is linked into the program (and not loaded from a file).
    pub linked: bool,
    /// The operator's priority; the higher one goes first.
    pub priority: i32,
    /// The library that it was loaded from.
    pub file: Option<LibraryFile>,
    /// What it did since it was made.
    pub counters: Counters,
    pub(crate) code: Code,
    /// One permit for each file that it may import at once; `None` where it sets no limit.
    turns: Option<Arc<Semaphore>>,
    magics: Vec<(u64, Vec<u8>)>,
    trouble: Mutex<Trouble>,
}

/// Where an importer's code is.
pub(crate) enum Code {
    Linked(Arc<dyn Importer>),
    Loaded(Arc<Plugin>),
}

/// The library that an importer was loaded from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LibraryFile {
    /// Where it lay.
    pub path: PathBuf,
    /// The SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
    /// Whether the configuration states that SHA-256.
    pub verified: bool,
}

/// What an importer did since it was made.
#[derive(Debug, Default)]
pub struct Counters {
    /// Imports that ended, cancelled ones aside.
    pub imports: AtomicU64,
    /// Those of them that failed.
    pub failed: AtomicU64,
    /// Its panics, when it was asked and when it imported.
    pub panics: AtomicU64,
    /// Time that its imports took, in milliseconds.
    pub busy_ms: AtomicU64,
    /// Imports under way.
    pub running: AtomicU64,
    /// Jobs that wait because as many run as its manifest allows.
    pub waiting: AtomicU64,
    /// Imports that did not stop when they were told to.
    pub wedged: AtomicU64,
    /// Files that it emitted, those of failed imports among them.
    pub files: AtomicU64,
    /// Bytes that it read through the host, the queued files aside.
    pub bytes_read: AtomicU64,
    /// Services of the host that it called.
    pub calls: AtomicU64,
    /// How long its imports took.
    pub times: ImportTimes,
}

/// Upper bounds for an import, in milliseconds: from a tenth of a second to an hour.
const IMPORTS_MS: [u64; 12] = [
    100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000, 900_000, 3_600_000,
];

/// How long imports took.
#[derive(Debug)]
pub struct ImportTimes(Mutex<Timings>);

impl Default for ImportTimes {
    fn default() -> Self {
        Self(Mutex::new(Timings::new(&IMPORTS_MS)))
    }
}

impl ImportTimes {
    pub(crate) fn add(&self, took: Duration) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).add(took);
    }

    /// What was counted.
    pub fn get(&self) -> Timings {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[derive(Debug, Default)]
struct Trouble {
    panics: Vec<Instant>,
    quarantined: Option<String>,
}

impl Registered {
    pub(crate) fn linked(
        manifest: Manifest,
        create: fn(Json) -> altmount_sdk::Result<Box<dyn Importer>>,
        config: Option<&Json>,
        priority: i32,
    ) -> Result<Self, String> {
        let magics = check(&manifest)?;
        let config = config_or_nothing(config);
        check_config(&manifest.id, manifest.config_schema.as_ref(), &config)?;
        let importer = catch_unwind(AssertUnwindSafe(|| create(config)))
            .map_err(|payload| format!("it panicked when it was made: {}", panics::text(payload)))?
            .map_err(|error| format!("it does not accept its configuration: {error}"))?;
        Ok(Self::new(
            manifest,
            priority,
            None,
            Code::Linked(Arc::from(importer)),
            magics,
        ))
    }

    pub(crate) fn loaded(opened: Opened, config: &Json, priority: i32) -> Result<Self, String> {
        let magics = check(&opened.manifest)?;
        let manifest = opened.manifest.clone();
        check_config(&manifest.id, manifest.config_schema.as_ref(), config)?;
        let file = LibraryFile {
            path: opened.path.clone(),
            sha256: opened.sha256.clone(),
            verified: opened.verified,
        };
        let plugin = opened.create(config)?;
        Ok(Self::new(
            manifest,
            priority,
            Some(file),
            Code::Loaded(Arc::new(plugin)),
            magics,
        ))
    }

    fn new(
        manifest: Manifest,
        priority: i32,
        file: Option<LibraryFile>,
        code: Code,
        magics: Vec<(u64, Vec<u8>)>,
    ) -> Self {
        Self {
            linked: file.is_none(),
            turns: manifest
                .max_concurrency
                .map(|at_once| Arc::new(Semaphore::new(at_once as usize))),
            manifest,
            priority,
            file,
            counters: Counters::default(),
            code,
            magics,
            trouble: Mutex::default(),
        }
    }

    /// The right to import one more file now; `None` where as many are imported as the manifest allows.
    pub(crate) fn try_turn(&self) -> Option<Option<OwnedSemaphorePermit>> {
        match &self.turns {
            None => Some(None),
            Some(turns) => Arc::clone(turns).try_acquire_owned().ok().map(Some),
        }
    }

    /// Waits for the right to import one more file.
    pub(crate) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        struct Waits<'a>(&'a AtomicU64);
        impl Drop for Waits<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let turns = self.turns.as_ref()?;
        self.counters.waiting.fetch_add(1, Ordering::Relaxed);
        let _waits = Waits(&self.counters.waiting);
        // Never closed.
        Arc::clone(turns).acquire_owned().await.ok()
    }

    /// Whether the manifest declares this host service.
    pub fn declares_capability(&self, capability: &str) -> bool {
        self.manifest.capabilities.iter().any(|c| c == capability)
    }

    /// Why the importer is not used until somebody resumes it, or the next start; `None` where it is in use.
    pub fn quarantined(&self) -> Option<String> {
        self.trouble().quarantined.clone()
    }

    /// Uses the importer again. Answers whether it was in quarantine.
    pub fn resume(&self) -> bool {
        let mut trouble = self.trouble();
        trouble.panics.clear();
        trouble.quarantined.take().is_some()
    }

    pub(crate) fn quarantine(&self, reason: &str) {
        let mut trouble = self.trouble();
        if trouble.quarantined.is_none() {
            tracing::error!(
                plugin.id = self.manifest.id,
                "the importer is not used until it is resumed: {reason}"
            );
            trouble.quarantined = Some(reason.to_owned());
        }
    }

    /// Notes a panic; too many of them in a short time end the use of an importer.
    pub(crate) fn panicked(&self) {
        self.counters.panics.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        let mut trouble = self.trouble();
        trouble.panics.retain(|at| now.duration_since(*at) < PANIC_WINDOW);
        trouble.panics.push(now);
        let many = trouble.panics.len() >= PANICS;
        drop(trouble);
        if many {
            self.quarantine(&format!(
                "it panicked {PANICS} times in {} minutes",
                PANIC_WINDOW.as_secs() / 60
            ));
        }
    }

    fn trouble(&self) -> MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who is smaller goes first among the equally sure.
    pub(crate) fn rank(&self) -> impl Ord + '_ {
        use std::cmp::Reverse;
        (
            Reverse(self.priority),
            Reverse(self.manifest.priority),
            !self.linked,
            &self.manifest.id,
        )
    }

    pub(crate) fn record(
        &self,
        confidence: Confidence,
        pinned: bool,
        runners_up: Vec<RunnerUp>,
    ) -> ChoiceRecord {
        ChoiceRecord {
            importer: self.manifest.id.clone(),
            version: self.manifest.version.clone(),
            confidence,
            pinned,
            runners_up,
        }
    }

    pub(crate) fn declares(&self, file_name: &str, media_types: &[String], head: &[u8]) -> bool {
        let fits = |t: &FileType| {
            t.extensions
                .iter()
                .any(|extension| strip_extension(file_name, extension).is_some())
                || t.media_types
                    .iter()
                    .any(|m| media_types.iter().any(|guess| guess.eq_ignore_ascii_case(m)))
        };
        self.manifest.file_types.iter().any(fits)
            || self.magics.iter().any(|(offset, magic)| {
                usize::try_from(*offset)
                    .ok()
                    .and_then(|at| head.get(at..))
                    .is_some_and(|bytes| bytes.starts_with(magic))
            })
    }
}

impl fmt::Debug for Registered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registered")
            .field("id", &self.manifest.id)
            .field("version", &self.manifest.version)
            .finish_non_exhaustive()
    }
}

/// A key without a value is as good as none.
pub(crate) fn config_or_nothing(config: Option<&Json>) -> Json {
    config
        .filter(|config| !config.is_null())
        .cloned()
        .unwrap_or_else(|| json!({}))
}

/// Checks what the rest relies on, and decodes the signatures.
fn check(manifest: &Manifest) -> Result<Vec<(u64, Vec<u8>)>, String> {
    let id = &manifest.id;
    let id_ok = (1..=64).contains(&id.len())
        && id
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !id_ok {
        return Err(format!(
            "'{}' is no importer id (1 to 64 of a-z, 0-9 and '-')",
            id.escape_default()
        ));
    }
    for extension in manifest.extensions() {
        let ok = !extension.is_empty()
            && !extension.starts_with('.')
            && !extension.contains(['/', '\\'])
            && extension.to_lowercase() == extension;
        if !ok {
            return Err(format!(
                "'{}' is no file name extension (lower case, without a leading dot)",
                extension.escape_default()
            ));
        }
    }
    if manifest.max_concurrency == Some(0) {
        return Err("its manifest has a 'max_concurrency' of 0: it could never import anything".to_owned());
    }
    let magics = manifest.file_types.iter().flat_map(|t| &t.magic);
    magics
        .map(|magic| match hex::decode(&magic.hex) {
            Ok(bytes) if !bytes.is_empty() => Ok((magic.offset, bytes)),
            _ => Err(format!("the signature '{}' is not hexadecimal", magic.hex)),
        })
        .collect()
}

/// `name` without `.extension`, in any case of letters; `None` where it has another one or nothing would be left.
pub(crate) fn strip_extension<'a>(name: &'a str, extension: &str) -> Option<&'a str> {
    let at = name.len().checked_sub(extension.len())?;
    let (stem, end) = (name.get(..at)?, name.get(at..)?);
    let stem = stem.strip_suffix('.')?;
    (!stem.is_empty() && end.to_lowercase() == extension).then_some(stem)
}
