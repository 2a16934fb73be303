//! Which importers there are, which files they take, and which one gets a file.

use crate::{
    panics,
    registered::{Code, Registered, config_or_nothing, strip_extension},
};
use altmount_loader::{LoadError, Opened};
use altmount_sdk::{Confidence, Json, Registration};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::Arc,
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
    /// What is not in use, and why.
    refused: Vec<Refused>,
}

/// A library that the operator listed, opened or not.
#[derive(Debug)]
pub struct LoadedFile {
    /// Where it lies.
    pub path: PathBuf,
    /// The id of an importer whose place it takes.
    pub replaces: Option<String>,
    /// Whether the server does not start without it.
    pub required: bool,
    /// What came of opening it.
    pub opened: Result<Opened, LoadError>,
}

/// Why a registration, or a piece of configuration for one, is not in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// The importer's id.
    pub id: String,
    /// What is wrong, and what can be done.
    pub reason: String,
    /// The library that it is of; `None` for what is part of the program or of the configuration.
    pub path: Option<PathBuf>,
    /// Whether another importer of the same id is in use instead.
    pub shadowed: bool,
    /// Whether the server may start without it: so it is with libraries that are not `required`.
    pub optional: bool,
}

impl Refused {
    fn fault(id: &str, reason: String) -> Self {
        Self {
            id: id.to_owned(),
            reason,
            path: None,
            shadowed: false,
            optional: false,
        }
    }
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
        Self::with_files(Vec::new(), config, priorities)
    }

    /// The same with importers of loaded libraries. Of one id, the linked one is in use; among libraries, the first in the list.
    /// A library that `replaces` an id goes before whoever has it. What was refused is kept with the registry, too.
    pub fn with_files(
        files: Vec<LoadedFile>,
        config: &BTreeMap<String, Json>,
        priorities: &BTreeMap<String, i32>,
    ) -> (Self, Vec<Refused>) {
        Self::build(Registration::linked().copied(), files, config, priorities)
    }

    /// The same for a list of registrations.
    pub fn from_registrations(
        registrations: impl IntoIterator<Item = Registration>,
        config: &BTreeMap<String, Json>,
        priorities: &BTreeMap<String, i32>,
    ) -> (Self, Vec<Refused>) {
        Self::build(registrations, Vec::new(), config, priorities)
    }

    /// The same for a list of registrations and one of libraries.
    pub fn build(
        registrations: impl IntoIterator<Item = Registration>,
        files: Vec<LoadedFile>,
        config: &BTreeMap<String, Json>,
        priorities: &BTreeMap<String, i32>,
    ) -> (Self, Vec<Refused>) {
        let mut refused = Vec::new();
        let mut entries: Vec<Arc<Registered>> = Vec::new();
        let mut known = BTreeSet::new();
        let replaced: BTreeMap<String, PathBuf> = files
            .iter()
            .filter(|file| file.opened.is_ok())
            .filter_map(|file| Some((file.replaces.clone()?, file.path.clone())))
            .collect();
        let priority = |id: &str| priorities.get(id).copied().unwrap_or(0);
        for (manifest, create) in manifests(registrations, &mut refused) {
            let id = manifest.id.clone();
            if let Some(by) = replaced.get(&id) {
                refused.push(Refused {
                    shadowed: true,
                    optional: true,
                    ..Refused::fault(&id, format!("the plugin '{}' replaces it", by.display()))
                });
                continue;
            }
            let made = if known.insert(id.clone()) {
                Registered::linked(manifest, create, config.get(&id), priority(&id))
            } else {
                Err(format!(
                    "there is another importer '{id}'; ids are unique, rename one of the two"
                ))
            };
            match made {
                Ok(entry) => entries.push(Arc::new(entry)),
                Err(reason) => refused.push(Refused::fault(&id, reason)),
            }
        }
        for file in files {
            let refuse = |id: &str, reason, shadowed| Refused {
                path: Some(file.path.clone()),
                shadowed,
                optional: !file.required,
                ..Refused::fault(id, reason)
            };
            let opened = match file.opened {
                Ok(opened) => opened,
                Err(error) => {
                    refused.push(refuse("", error.reason, false));
                    continue;
                }
            };
            let id = opened.manifest.id.clone();
            // Another library may have it, and replaced by this one is what nobody else has now.
            if known.contains(&id) {
                let reason = format!(
                    "there is an importer '{id}' already, which goes first; 'replaces: {id}' turns that round"
                );
                refused.push(refuse(&id, reason, true));
                continue;
            }
            let config = config_or_nothing(config.get(&id));
            match Registered::loaded(opened, &config, priority(&id)) {
                Ok(entry) => {
                    known.insert(id);
                    entries.push(Arc::new(entry));
                }
                Err(reason) => refused.push(refuse(&id, reason, false)),
            }
        }
        // What is configured for an importer that is refused has its reader, who is not there.
        known.extend(refused.iter().map(|refused| refused.id.clone()));
        let some_file_failed = refused.iter().any(|refused| refused.path.is_some());
        for id in config.keys().chain(priorities.keys()).collect::<BTreeSet<_>>() {
            if !known.contains(id) {
                let ids: Vec<&str> = known
                    .iter()
                    .map(String::as_str)
                    .filter(|id| !id.is_empty())
                    .collect();
                refused.push(Refused {
                    // It may be that of a library that did not get as far as telling its id.
                    optional: some_file_failed,
                    ..Refused::fault(
                        id,
                        format!(
                            "the configuration names the importer '{id}', there are: {}",
                            ids.join(", ")
                        ),
                    )
                });
            }
        }
        entries.sort_by(|a, b| a.rank().cmp(&b.rank()));
        let kept = refused.clone();
        (
            Self {
                entries,
                refused: kept,
            },
            refused,
        )
    }

    /// What is not in use, and why.
    pub fn refused(&self) -> &[Refused] {
        &self.refused
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
            let importer = Arc::clone(self.get(id).filter(|entry| entry.quarantined().is_none())?);
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
            entry.quarantined().is_none()
                && entry.declares(file_name, &media_types, &head[..head.len().min(HEAD_BYTES)])
        })
    }
}

type Found = (
    altmount_sdk::Manifest,
    fn(Json) -> altmount_sdk::Result<Box<dyn altmount_sdk::Importer>>,
);

/// The manifests of linked importers by id: `inventory` gives no order, and two importers of one id must not change places
/// from start to start.
fn manifests(
    registrations: impl IntoIterator<Item = Registration>,
    refused: &mut Vec<Refused>,
) -> Vec<Found> {
    let mut found = Vec::new();
    for registration in registrations {
        match catch_unwind(registration.manifest) {
            Ok(manifest) => found.push((manifest, registration.create)),
            Err(payload) => {
                let text = format!("an importer panicked in its manifest: {}", panics::text(payload));
                refused.push(Refused::fault("", text));
            }
        }
    }
    found.sort_by(|(a, _), (b, _)| (&a.id, &a.version).cmp(&(&b.id, &b.version)));
    found
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
            let answer = match &entry.code {
                Code::Linked(importer) => {
                    catch_unwind(AssertUnwindSafe(|| importer.probe(&name, &head))).map_err(panics::text)
                }
                Code::Loaded(plugin) => plugin
                    .probe(&name, &head)
                    .ok_or_else(|| "it says no more".to_owned()),
            };
            let confidence = answer.unwrap_or_else(|text| {
                tracing::warn!(
                    plugin.id = entry.manifest.id,
                    "the importer panicked when it was asked about '{name}': {text}"
                );
                entry.panicked();
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
