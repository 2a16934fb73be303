//! What every importer must do and not do, as cases: for importers in this process (`conformance!`), and for libraries
//! (`altmount plugin check`). Most of the cases hold rules of the plugin boundary: who owns bytes, which thread may do what, what an
//! importer may say when. The others try what happens to importers: damaged files, hosts that refuse, cancellation at every point.

mod cases;
mod host;
mod local;
mod run;

pub use local::Local;
pub use run::{Finding, LIMIT, check, check_one};

use crate::MockContext;
use altmount_sdk::{Confidence, ImportContext, ImportError, ImportRequest, Json, Manifest, Result, Summary};
use std::{future::Future, pin::Pin, sync::Arc};

/// An importer that is checked, wherever its code is.
pub trait Subject: Send + Sync {
    /// What it says of itself.
    ///
    /// # Errors
    /// Where it panicked, or cannot be read.
    fn manifest(&self) -> Result<Manifest, String>;

    /// Makes an instance on these terms.
    ///
    /// # Errors
    /// The importer's own; kind `panicked` where it panicked.
    fn create(&self, config: &Json, terms: Terms) -> Result<Arc<dyn Instance>>;

    /// The configuration to try it with: what the operator has for it, or an empty object.
    fn config(&self) -> Json {
        altmount_sdk::json!({})
    }

    /// Calls of the host that were made for imports that were over.
    fn stray_calls(&self) -> u64 {
        0
    }

    /// Whether the importer was loaded from a library: some rules are about nothing else.
    fn loaded(&self) -> bool {
        false
    }
}

/// An instance of an importer.
pub trait Instance: Send + Sync {
    /// Asks it about a file; `None` where it panicked.
    fn probe(&self, name: &str, head: &[u8]) -> Option<Confidence>;

    /// Starts an import.
    fn start(self: Arc<Self>, request: ImportRequest, cx: Arc<dyn ImportContext>) -> Running;
}

/// How a host is allowed to be, and not every host is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Lent bytes are overwritten as soon as they are not lent any more.
    pub spoil: bool,
    /// Each poll is on another thread.
    pub moved: bool,
    /// The host is of a later version: more functions, unknown fields, unknown statuses.
    pub later: bool,
}

/// An import under way.
pub struct Running {
    /// Ends as the import does; kind `panicked` where it panicked.
    pub end: Pin<Box<dyn Future<Output = Result<Summary>> + Send>>,
    /// Tells it to stop: `end` ends with kind `cancelled` as soon as nothing of it runs any more.
    pub cancel: Box<dyn FnOnce() + Send>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").finish_non_exhaustive()
    }
}

/// Puts what a sample refers to into a host.
pub type Prepare = Arc<dyn Fn(&mut MockContext) + Send + Sync>;

/// A file that the importer should take.
#[derive(Clone)]
pub struct Sample {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Puts what it refers to into the host: articles, HTTP resources, archives.
    pub prepare: Option<Prepare>,
}

impl std::fmt::Debug for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sample({}, {} bytes)", self.name, self.bytes.len())
    }
}

impl Sample {
    /// A file that refers to nothing else.
    pub fn new(name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            name: name.to_owned(),
            bytes: bytes.into(),
            prepare: None,
        }
    }

    /// The same with what it refers to.
    #[must_use]
    pub fn with(mut self, prepare: impl Fn(&mut MockContext) + Send + Sync + 'static) -> Self {
        self.prepare = Some(Arc::new(prepare));
        self
    }
}

/// One thing that is checked.
#[derive(Clone, Copy)]
pub struct Case {
    /// Its name, for `--case` and reports.
    pub name: &'static str,
    /// What must hold.
    pub rule: &'static str,
    /// Whether it is about libraries alone.
    pub loaded_only: bool,
    pub(crate) check: fn(&dyn Subject, &[Sample]) -> Result<(), String>,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Case {
    /// All of them, in the order in which they build on each other.
    pub fn all() -> &'static [Self] {
        cases::ALL
    }
}

/// The error of a panic, wherever it was caught.
pub(crate) fn panicked(payload: Box<dyn std::any::Any + Send>) -> ImportError {
    let text = payload
        .downcast_ref::<&'static str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    // Dropping it may panic again.
    std::mem::forget(payload);
    ImportError::new(altmount_sdk::ErrorKind::Panicked, text)
}

/// Makes a test of this name's module that checks an importer type of this crate against every case.
///
/// The second argument, where there is one, is a list of [`Sample`]s: files that the importer must be able to import.
///
/// ```
/// # use altmount_sdk::*;
/// # struct Nothing;
/// # #[async_trait]
/// # impl Importer for Nothing {
/// #     fn manifest() -> Manifest { Manifest::new("nothing", "1.0.0").extension("nothing") }
/// #     fn create(_config: Json) -> Result<Self> { Ok(Self) }
/// #     fn probe(&self, _name: &str, _head: &[u8]) -> Confidence { Confidence::BY_NAME }
/// #     async fn import(&self, _request: ImportRequest, _cx: &dyn ImportContext) -> Result<Summary> { Ok(Summary::default()) }
/// # }
/// use altmount_testkit::{conformance, conformance::Sample};
///
/// conformance!(Nothing, [Sample::new("a.nothing", "any text")]);
/// ```
#[macro_export]
macro_rules! conformance {
    ($importer:ty) => {
        $crate::conformance!($importer, []);
    };
    ($importer:ty, $samples:expr) => {
        #[test]
        fn conforms() {
            let samples: ::std::vec::Vec<$crate::conformance::Sample> = ($samples).into_iter().collect();
            let subject = ::std::sync::Arc::new($crate::conformance::Local::<$importer>::new());
            let findings = $crate::conformance::check(subject, samples, $crate::conformance::LIMIT);
            let failed: ::std::vec::Vec<::std::string::String> = findings
                .iter()
                .filter(|finding| !finding.ok)
                .map(::std::string::ToString::to_string)
                .collect();
            ::std::assert!(
                failed.is_empty(),
                "{} of {} cases failed:\n{}",
                failed.len(),
                findings.len(),
                failed.join("\n")
            );
        }
    };
}
