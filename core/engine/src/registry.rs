//! Which importers there are, which files they take, and which one gets a file.

use crate::panics;
use altmount_sdk::{Confidence, FileType, Importer, Json, Manifest, Registration, json};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::mpsc;

/// How many bytes of a file an importer is shown when it is asked whether it takes the file.
pub const HEAD_BYTES: usize = 64 << 10;
/// How long the importers may think about one file together.
const PROBE_TIME: Duration = Duration::from_secs(2);

/// The importers of this program, in one total order, so that the choice for a file is never ambiguous.
#[derive(Debug, Default)]
pub struct Registry {
    /// Sorted by [`Registered::rank`]: who is earlier wins among the equally sure.
    entries: Vec<Arc<Registered>>,
}

/// One importer.
pub struct Registered {
    /// What it says of itself.
    pub manifest: Manifest,
    /// Whether it is linked into the program (and not loaded from a file).
    pub linked: bool,
    /// The operator's priority; the higher one goes first.
    pub priority: i32,
    pub(crate) importer: Arc<dyn Importer>,
    magics: Vec<(u64, Vec<u8>)>,
    quarantined: AtomicBool,
}

/// Why a registration, or a piece of configuration for one, is not in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// The importer's id.
    pub id: String,
    /// What is wrong, and what can be done.
    pub reason: String,
}

/// Who imports a file, and who else would.
#[derive(Clone, Debug)]
pub struct Choice {
    /// The importer.
    pub importer: Arc<Registered>,
    /// How it was chosen, as it is stored with the job.
    pub record: ChoiceRecord,
}

/// The stored form of a [`Choice`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChoiceRecord {
    /// The importer's id.
    pub importer: String,
    /// Its version.
    pub version: String,
    /// How sure it is.
    pub confidence: Confidence,
    /// Whether the request named it.
    #[serde(default)]
    pub pinned: bool,
    /// Who else takes the file, best first.
    #[serde(default)]
    pub runners_up: Vec<RunnerUp>,
}

/// An importer that takes a file too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunnerUp {
    /// The importer's id.
    pub importer: String,
    /// How sure it is.
    pub confidence: Confidence,
}

impl Registry {
    /// Every importer that is linked into this program, with its configuration (`config`, by id) and the operator's
    /// priorities (by id), and what was refused: a bad manifest, an id that is taken, a configuration that the
    /// importer does not accept or that no importer reads.
    pub fn linked(
        config: &BTreeMap<String, Json>,
        priorities: &BTreeMap<String, i32>,
    ) -> (Self, Vec<Refused>) {
        Self::from_registrations(Registration::linked().copied(), config, priorities)
    }

    /// The same for a list of registrations.
    pub fn from_registrations(
        registrations: impl IntoIterator<Item = Registration>,
        config: &BTreeMap<String, Json>,
        priorities: &BTreeMap<String, i32>,
    ) -> (Self, Vec<Refused>) {
        let mut refused = Vec::new();
        let mut found = Vec::new();
        for registration in registrations {
            match catch_unwind(registration.manifest) {
                Ok(manifest) => found.push((manifest, registration.create)),
                Err(payload) => refused.push(Refused {
                    id: String::new(),
                    reason: format!("an importer panicked in its manifest: {}", panics::text(payload)),
                }),
            }
        }
        // `inventory` gives no order: two importers of one id must not change places from start to start.
        found.sort_by(|(a, _), (b, _)| (&a.id, &a.version).cmp(&(&b.id, &b.version)));
        let mut entries: Vec<Arc<Registered>> = Vec::new();
        let mut known = BTreeSet::new();
        for (manifest, create) in found {
            let id = manifest.id.clone();
            let taken = !known.insert(id.clone());
            let made = if taken {
                Err(format!(
                    "there is another importer '{id}'; ids are unique, rename one of the two"
                ))
            } else {
                Registered::make(
                    manifest,
                    create,
                    config.get(&id),
                    priorities.get(&id).copied().unwrap_or(0),
                )
            };
            match made {
                Ok(entry) => entries.push(Arc::new(entry)),
                Err(reason) => refused.push(Refused { id, reason }),
            }
        }
        for id in config.keys().chain(priorities.keys()).collect::<BTreeSet<_>>() {
            if !known.contains(id) {
                let ids = known.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
                refused.push(Refused {
                    id: id.clone(),
                    reason: format!("the configuration names the importer '{id}', there are: {ids}"),
                });
            }
        }
        entries.sort_by(|a, b| a.rank().cmp(&b.rank()));
        (Self { entries }, refused)
    }

    /// The importers, the one that wins among the equally sure first.
    pub fn importers(&self) -> &[Arc<Registered>] {
        &self.entries
    }

    /// The importer of this id.
    pub fn get(&self, id: &str) -> Option<&Arc<Registered>> {
        self.entries.iter().find(|entry| entry.manifest.id == id)
    }

    /// All ids, sorted.
    pub fn ids(&self) -> Vec<String> {
        self.entries
            .iter()
            .map(|e| e.manifest.id.clone())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect()
    }

    /// All extensions that any importer takes, sorted, each with its leading dot.
    pub fn extensions(&self) -> Vec<String> {
        let all: BTreeSet<String> = self
            .entries
            .iter()
            .flat_map(|e| e.manifest.extensions().map(|x| format!(".{x}")))
            .collect();
        all.into_iter().collect()
    }

    /// Whether any importer declares a type that fits the file's name or first bytes. Asks no importer.
    pub fn takes(&self, file_name: &str, head: &[u8]) -> bool {
        self.candidates(file_name, head).next().is_some()
    }

    /// The file's name without the importable extension: the longest one that any importer takes (`nzb.gz` before `gz`).
    /// The whole name where it has none or would be empty without it. A password in the name belongs to it, see
    /// [`crate::split_password`].
    pub fn release_name<'a>(&self, file_name: &'a str) -> &'a str {
        self.entries
            .iter()
            .flat_map(|e| e.manifest.extensions())
            .filter_map(|extension| strip_extension(file_name, extension))
            .min_by_key(|stem| stem.len())
            .unwrap_or(file_name)
    }

    /// Asks the importers that declare a fitting type how sure they are, and chooses by confidence, the operator's
    /// priority, the importer's own, linked before loaded, then id. `pinned` names the importer instead. `None` where
    /// none takes the file.
    ///
    /// An importer that panics when it is asked, or does not answer within two seconds, counts as not taking it.
    pub async fn choose(&self, file_name: &str, head: &[u8], pinned: Option<&str>) -> Option<Choice> {
        if let Some(id) = pinned {
            let importer = Arc::clone(self.get(id).filter(|entry| !entry.quarantined())?);
            return Some(Choice {
                record: importer.record(Confidence::CERTAIN, true, Vec::new()),
                importer,
            });
        }
        let candidates: Vec<_> = self.candidates(file_name, head).cloned().collect();
        let mut sure = probe(candidates, file_name, head).await;
        // Stable: the entries are in the order of their rank already.
        sure.sort_by_key(|(_, confidence)| std::cmp::Reverse(*confidence));
        let mut sure = sure.into_iter();
        let (importer, confidence) = sure.next()?;
        let runners_up = sure
            .map(|(other, confidence)| RunnerUp {
                importer: other.manifest.id.clone(),
                confidence,
            })
            .collect();
        Some(Choice {
            record: importer.record(confidence, false, runners_up),
            importer,
        })
    }

    fn candidates<'a>(
        &'a self,
        file_name: &'a str,
        head: &'a [u8],
    ) -> impl Iterator<Item = &'a Arc<Registered>> {
        let media_types: Vec<String> = mime_guess::from_path(file_name)
            .iter()
            .map(|m| m.essence_str().to_owned())
            .collect();
        self.entries.iter().filter(move |entry| {
            !entry.quarantined()
                && entry.declares(file_name, &media_types, &head[..head.len().min(HEAD_BYTES)])
        })
    }
}

/// Asks each candidate. One that does not answer is given up for good, and the rest are asked without it.
async fn probe(
    mut candidates: Vec<Arc<Registered>>,
    file_name: &str,
    head: &[u8],
) -> Vec<(Arc<Registered>, Confidence)> {
    let head = &head[..head.len().min(HEAD_BYTES)];
    let mut sure = Vec::new();
    while !candidates.is_empty() {
        let answers = ask(&candidates, file_name, head).await;
        let silent = candidates.get(answers.len()).cloned();
        for (entry, confidence) in candidates.drain(..answers.len()).zip(answers) {
            if confidence > Confidence::NO {
                sure.push((entry, confidence));
            }
        }
        if let Some(silent) = silent {
            // Its thread is lost; asking again would lose another with each file.
            silent.quarantine("it does not answer when it is asked about a file");
            candidates.remove(0);
        }
    }
    sure
}

/// The answers of the candidates in their order, up to the first that does not answer in time. Foreign code runs on a thread
/// of its own here: a probe that never returns must hang neither the runtime nor its shutdown.
async fn ask(candidates: &[Arc<Registered>], file_name: &str, head: &[u8]) -> Vec<Confidence> {
    let (answers, mut answered) = mpsc::channel(candidates.len());
    let (list, name, head) = (candidates.to_vec(), file_name.to_owned(), head.to_vec());
    let work = move || {
        for entry in list {
            let answer = catch_unwind(AssertUnwindSafe(|| entry.importer.probe(&name, &head)));
            let confidence = answer.unwrap_or_else(|payload| {
                tracing::warn!(
                    importer.id = entry.manifest.id,
                    "the importer panicked when it was asked about '{name}': {}",
                    panics::text(payload)
                );
                Confidence::NO
            });
            if answers.try_send(confidence).is_err() {
                return;
            }
        }
    };
    let thread = std::thread::Builder::new().name("importer-probe".to_owned());
    if let Err(error) = thread.spawn(work) {
        tracing::error!("there is no thread to ask the importers on: {error}");
        return vec![Confidence::NO; candidates.len()];
    }
    let deadline = tokio::time::Instant::now() + PROBE_TIME;
    let mut all = Vec::new();
    while let Ok(Some(confidence)) = tokio::time::timeout_at(deadline, answered.recv()).await {
        all.push(confidence);
    }
    all
}

impl Registered {
    fn make(
        manifest: Manifest,
        create: fn(Json) -> altmount_sdk::Result<Box<dyn Importer>>,
        config: Option<&Json>,
        priority: i32,
    ) -> Result<Self, String> {
        let magics = check(&manifest)?;
        let config = config.cloned().unwrap_or_else(|| json!({}));
        let importer = catch_unwind(AssertUnwindSafe(|| create(config)))
            .map_err(|payload| format!("it panicked when it was made: {}", panics::text(payload)))?
            .map_err(|error| format!("it does not accept its configuration: {error}"))?;
        Ok(Self {
            manifest,
            linked: true,
            priority,
            importer: Arc::from(importer),
            magics,
            quarantined: AtomicBool::new(false),
        })
    }

    /// Whether the manifest declares this host service.
    pub fn declares_capability(&self, capability: &str) -> bool {
        self.manifest.capabilities.iter().any(|c| c == capability)
    }

    /// Whether the importer stopped to answer and is not used until the next start.
    pub fn quarantined(&self) -> bool {
        self.quarantined.load(Ordering::Relaxed)
    }

    pub(crate) fn quarantine(&self, reason: &str) {
        if !self.quarantined.swap(true, Ordering::Relaxed) {
            tracing::error!(
                importer.id = self.manifest.id,
                "the importer is not used until the next start: {reason}"
            );
        }
    }

    /// Who is smaller goes first among the equally sure.
    fn rank(&self) -> impl Ord + '_ {
        use std::cmp::Reverse;
        (
            Reverse(self.priority),
            Reverse(self.manifest.priority),
            !self.linked,
            &self.manifest.id,
        )
    }

    fn record(&self, confidence: Confidence, pinned: bool, runners_up: Vec<RunnerUp>) -> ChoiceRecord {
        ChoiceRecord {
            importer: self.manifest.id.clone(),
            version: self.manifest.version.clone(),
            confidence,
            pinned,
            runners_up,
        }
    }

    fn declares(&self, file_name: &str, media_types: &[String], head: &[u8]) -> bool {
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
    let magics = manifest.file_types.iter().flat_map(|t| &t.magic);
    magics
        .map(|magic| match hex::decode(&magic.hex) {
            Ok(bytes) if !bytes.is_empty() => Ok((magic.offset, bytes)),
            _ => Err(format!("the signature '{}' is not hexadecimal", magic.hex)),
        })
        .collect()
}

/// `name` without `.extension`, in any case of letters; `None` where it has another one or nothing would be left.
fn strip_extension<'a>(name: &'a str, extension: &str) -> Option<&'a str> {
    let at = name.len().checked_sub(extension.len())?;
    let (stem, end) = (name.get(..at)?, name.get(at..)?);
    let stem = stem.strip_suffix('.')?;
    (!stem.is_empty() && end.to_lowercase() == extension).then_some(stem)
}
