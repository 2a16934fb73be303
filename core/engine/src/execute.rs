//! The one way from a queued file to a checked release: first run, retry, re-import and inspection all take it.

use crate::{
    EngineConfig,
    context::JobContext,
    expand::Nesting,
    kept::{Keeps, Kept},
    panics,
    password::split_password,
    progress::{Progress, Stage},
    registered::{Code, Registered},
    registry::{Choice, ChoiceRecord, HEAD_BYTES, Registry},
    staging::{Staged, Staging},
    upload::Upload,
    verify,
};
use altmount_model::{JobId, VPath};
use altmount_sdk::{ErrorKind, ImportError, ImportRequest, Summary};
use altmount_store::Store;
use altmount_vfs::Vfs;
use std::sync::{Arc, atomic::Ordering};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::Instrument;

/// Longest text that an importer can put into a job, in bytes.
const TEXT_BYTES: usize = 4096;
/// How many names of files an error has.
const NAMED: usize = 10;
/// Most notes, facts or context pairs that it can put there.
const TEXTS: usize = 1000;

/// What is imported.
pub(crate) struct Input {
    /// `None` where nothing is stored of the import.
    pub(crate) job: Option<JobId>,
    pub(crate) file_name: String,
    pub(crate) upload: Upload,
    pub(crate) passwords: Vec<String>,
    pub(crate) importer: Option<String>,
    pub(crate) destination: VPath,
    /// The release's name, where it is not that of the file.
    pub(crate) name: Option<String>,
    /// The category of its job.
    pub(crate) category: Option<String>,
}

/// What came of it, not yet visible to anyone.
#[derive(Debug)]
pub(crate) struct Imported {
    pub(crate) choice: ChoiceRecord,
    pub(crate) summary: Summary,
    pub(crate) staged: Arc<Staged>,
}

/// Why there is nothing to commit.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The import failed.
    Failed(ImportError),
    /// It was told to stop, and did; or did not within the grace period.
    Stopped {
        wedged: bool,
        /// Whose import it was, where it had begun.
        importer: Option<Arc<Registered>>,
    },
}

impl Ended {
    /// Before the import itself had begun, or when it was over.
    pub(crate) fn stopped() -> Self {
        Self::Stopped {
            wedged: false,
            importer: None,
        }
    }
}

/// Foreign code: whoever reads of the failure must see whose it is.
pub(crate) fn named(error: ImportError, importer: &Registered) -> ImportError {
    match &importer.file {
        Some(file) => error
            .with("importer", &importer.manifest.id)
            .with("plugin", file.path.display()),
        None => error,
    }
}

impl From<ImportError> for Ended {
    fn from(error: ImportError) -> Self {
        Self::Failed(error)
    }
}

/// What an execution needs of the engine.
pub(crate) struct Host<'a> {
    pub(crate) registry: Arc<Registry>,
    pub(crate) vfs: &'a Arc<Vfs>,
    pub(crate) store: &'a Store,
    pub(crate) config: &'a EngineConfig,
}

impl Host<'_> {
    /// Chooses the importer for a file, or says why there is none.
    pub(crate) async fn choose(&self, input: &Input) -> Result<Choice, ImportError> {
        let head = input.upload.head(HEAD_BYTES);
        let pinned = input.importer.as_deref();
        let choice = self.registry.choose(&input.file_name, head, pinned).await;
        choice.ok_or_else(|| {
            let text = match pinned {
                Some(id) => format!(
                    "the importer '{id}' that '{}' is for is not there, or stopped to answer; these are known: {}",
                    input.file_name,
                    self.registry.ids().join(", ")
                ),
                None => format!(
                    "no importer recognises '{}'; these types are taken: {}",
                    input.file_name,
                    self.registry.extensions().join(", ")
                ),
            };
            ImportError::new(ErrorKind::Unsupported, text)
        })
    }

    /// Runs the chosen importer and checks what it staged.
    pub(crate) async fn import(
        &self,
        mut input: Input,
        choice: Choice,
        progress: Arc<Progress>,
        stop: &CancellationToken,
    ) -> Result<Imported, Ended> {
        input.passwords = self.passwords(&input);
        let secrets = input.passwords.clone();
        let file_name = input.file_name.clone();
        // What is under way stays so until the files were read back.
        let kept = Arc::new(Kept::default());
        let _keeps = Keeps(&kept);
        let run = self.run(input, &choice, Arc::clone(&progress), stop, Arc::clone(&kept));
        let result = run.await;
        let (summary, staged) = result.map_err(|ended| match ended {
            Ended::Failed(error) => Ended::Failed(clean_error(error, &secrets)),
            stopped @ Ended::Stopped { .. } => stopped,
        })?;
        if !staged
            .files
            .iter()
            .any(|file| file.listed(self.config.list_sidecars))
        {
            let text = format!("there is no usable file in '{file_name}'");
            let error = ImportError::new(ErrorKind::NothingUsable, text);
            let seen = staged.files.iter().take(NAMED);
            return Err(seen
                .fold(error, |error, file| error.with("seen", &file.path))
                .into());
        }
        progress.stage(Stage::Verifying);
        let staged = Arc::new(staged);
        let verified = stop
            .run_until_cancelled(verify::verify(self.vfs, &staged, self.config.list_sidecars))
            .await;
        match verified {
            Some(result) => result.map_err(|error| Ended::Failed(clean_error(error, &secrets)))?,
            None => return Err(Ended::stopped()),
        }
        progress.stage(Stage::Storing);
        Ok(Imported {
            choice: choice.record,
            summary: clean_summary(summary, &secrets),
            staged,
        })
    }

    /// What is tried, in order: the password in the file's name, those that came with the job, the configured ones.
    fn passwords(&self, input: &Input) -> Vec<String> {
        let (_, in_name) = split_password(self.registry.release_name(&input.file_name));
        let given = input.passwords.iter().map(String::as_str);
        let configured = self.config.passwords.as_slice().iter().map(String::as_str);
        let mut passwords: Vec<String> = Vec::new();
        for password in in_name.into_iter().chain(given).chain(configured) {
            if !password.is_empty() && !passwords.iter().any(|p| p == password) {
                passwords.push(password.to_owned());
            }
        }
        passwords
    }

    async fn run(
        &self,
        input: Input,
        choice: &Choice,
        progress: Arc<Progress>,
        stop: &CancellationToken,
        kept: Arc<Kept>,
    ) -> Result<(Summary, Staged), Ended> {
        let limits = self.config.limits.clone();
        let staging = Arc::new(Staging::new(limits.clone(), input.destination));
        let release_name = match &input.name {
            Some(name) => name,
            None => split_password(self.registry.release_name(&input.file_name)).0,
        };
        let mut request = ImportRequest::new(&input.file_name, release_name, input.upload.len());
        request.passwords.clone_from(&input.passwords);
        request.category.clone_from(&input.category);
        let asked = stop.child_token();
        let cx = Arc::new(JobContext::new(
            input.job,
            Arc::clone(&choice.importer),
            input.upload,
            Arc::clone(&staging),
            Arc::clone(self.vfs),
            self.store.clone(),
            limits,
            progress,
            asked.clone(),
            Nesting::top(Arc::clone(&self.registry), input.passwords),
            kept,
        ));
        let span = tracing::info_span!(
            "import",
            job.id = input.job.map(|j| j.0),
            plugin.id = choice.record.importer
        );
        let chosen = Arc::clone(&choice.importer);
        // A task of its own: an importer that blocks its thread cannot keep its worker from ending the job.
        let run = async move {
            match &chosen.code {
                Code::Linked(importer) => importer.import(request, &*cx).await,
                // On a thread of its own, and it ends by itself where it is told to.
                Code::Loaded(plugin) => Arc::clone(plugin).import(request, cx, asked).await,
            }
        };
        let _runs = Runs::new(&choice.importer);
        let loaded = matches!(choice.importer.code, Code::Loaded(_));
        let started = std::time::Instant::now();
        let mut task = AbortOnDropHandle::new(tokio::spawn(run.instrument(span)));
        let ended = tokio::select! {
            ended = &mut task => ended,
            () = stop.cancelled() => {
                staging.close();
                if !loaded {
                    task.abort();
                }
                let gone = tokio::time::timeout(self.config.cancel_grace, &mut task).await;
                if gone.is_err() {
                    choice.importer.counters.wedged.fetch_add(1, Ordering::Relaxed);
                    choice.importer.quarantine("it did not stop when it was told to");
                }
                return Err(Ended::Stopped {
                    wedged: gone.is_err(),
                    importer: Some(Arc::clone(&choice.importer)),
                });
            }
        };
        let staged = staging.close();
        let counters = &choice.importer.counters;
        let took = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        counters.busy_ms.fetch_add(took, Ordering::Relaxed);
        counters.times.add(started.elapsed());
        counters.imports.fetch_add(1, Ordering::Relaxed);
        if !matches!(ended, Ok(Ok(_))) {
            counters.failed.fetch_add(1, Ordering::Relaxed);
        }
        match ended {
            Ok(Ok(summary)) => Ok((summary, staged)),
            Ok(Err(error)) => {
                if error.kind == ErrorKind::Panicked {
                    choice.importer.panicked();
                }
                Err(named(error, &choice.importer).into())
            }
            Err(error) => {
                let what = match error.try_into_panic() {
                    Ok(payload) => panics::text(payload),
                    Err(error) => error.to_string(),
                };
                choice.importer.panicked();
                let text = format!("the importer '{}' panicked: {what}", choice.record.importer);
                Err(ImportError::new(ErrorKind::Panicked, text).into())
            }
        }
    }
}

/// An import under way, in the importer's counters.
struct Runs<'a>(&'a Registered);

impl<'a> Runs<'a> {
    fn new(importer: &'a Registered) -> Self {
        importer.counters.running.fetch_add(1, Ordering::Relaxed);
        Self(importer)
    }
}

impl Drop for Runs<'_> {
    fn drop(&mut self) {
        self.0.counters.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Bounded, and without the passwords that came with the job.
fn clean_text(mut text: String, secrets: &[String]) -> String {
    // A password of a letter or two would black out half of the text and is none.
    for secret in secrets
        .iter()
        .filter(|s| s.len() > 3 && text.contains(s.as_str()))
        .cloned()
        .collect::<Vec<_>>()
    {
        text = text.replace(&secret, "***");
    }
    let mut end = text.len().min(TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

fn clean_pairs(pairs: Vec<(String, String)>, secrets: &[String]) -> Vec<(String, String)> {
    pairs
        .into_iter()
        .take(TEXTS)
        .map(|(name, value)| (clean_text(name, secrets), clean_text(value, secrets)))
        .collect()
}

fn clean_error(error: ImportError, secrets: &[String]) -> ImportError {
    ImportError {
        message: clean_text(error.message, secrets),
        context: clean_pairs(error.context, secrets),
        ..error
    }
}

fn clean_summary(summary: Summary, secrets: &[String]) -> Summary {
    Summary {
        notes: summary
            .notes
            .into_iter()
            .take(TEXTS)
            .map(|note| clean_text(note, secrets))
            .collect(),
        meta: clean_pairs(summary.meta, secrets),
    }
}
