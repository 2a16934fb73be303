//! Replacing a release that is no good: blocklist it, and look for another one, at the instance that wants it.
//!
//! A wish is checked against the limits and stored in one step; what is then done at the *arr can be done again from the
//! beginning at any time, for each step looks first whether it is done. So neither a kill nor an *arr that is away for a
//! night loses one or doubles it, and nothing is deleted before the *arr has answered.

use super::{
    ArrError, Arrs, Instance,
    kind::{Item, lies_below, same_path},
    work::Work,
};
use altmount_engine::{HealthState, Job, ReplaceVerdict, StoreError};
use altmount_model::FileId;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Most records of an *arr's history for one download: a season's episodes, several times.
const PAGE: &str = "1000";

/// A release that is to be replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Replacement {
    /// The download that it came with; empty where it came in another way.
    pub(super) nzo_id: String,
    /// The *arr's number for the file; 0 where it is not known, or it was never imported.
    pub(super) arr_file: i64,
    /// Where the *arr has it; empty where it was never imported.
    pub(super) path: String,
    /// What it is of, as far as the *arr told.
    pub(super) item: String,
    /// The file, where nobody asked for it but its own state: what is done is done only while that is so.
    #[serde(default)]
    pub(super) missing: Option<FileId>,
}

/// Why a release is not replaced.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplaceError {
    /// There is no such file.
    #[error("there is no file {0} in the library")]
    NoFile(FileId),
    /// No instance has it, or wanted it.
    #[error("no *arr of the configuration has this file or wanted it")]
    NoInstance,
    /// A limit of `arr.replace` keeps it from going round and round.
    #[error("{0}")]
    Limited(&'static str),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A wish that was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Accepted {
    /// The instance that is asked.
    pub instance: String,
}

impl Arrs {
    /// Asks the right instance to blocklist the release of a file and to look for another. With `force` limits do not count.
    ///
    /// # Errors
    /// [`ReplaceError`].
    pub async fn replace(&self, file: FileId, force: bool) -> Result<Accepted, ReplaceError> {
        self.ask_for_another(file, force, false).await
    }

    /// The same. With `missing` nobody asked for it: it is done where the file lacks articles when its turn comes.
    pub(super) async fn ask_for_another(
        &self,
        file: FileId,
        force: bool,
        missing: bool,
    ) -> Result<Accepted, ReplaceError> {
        let entry = self.library.entry(file).await?.filter(|entry| !entry.is_dir);
        let release = entry.ok_or(ReplaceError::NoFile(file))?.release;
        let facts = match release {
            Some(release) => self.library.release(release).await?,
            None => None,
        };
        let job = facts.as_ref().and_then(|facts| facts.job.as_ref());
        let record = self.rows.files_of(file).await?.into_iter().next();
        let grab = match job {
            Some(job) => self.rows.grab(&job.nzo_id).await?,
            None => None,
        };
        let name = match (&record, &grab, job) {
            (Some(record), ..) => Some(record.instance.clone()),
            (None, Some((instance, _)), _) => Some(instance.clone()),
            (None, None, Some(job)) => self
                .of_category(job)
                .map(|instance| instance.settings.name.clone()),
            (None, None, None) => None,
        };
        let name = name
            .filter(|name| self.instance(name).is_some())
            .ok_or(ReplaceError::NoInstance)?;
        let wanted = grab.map(|(_, item)| item);
        let item = record
            .as_ref()
            .map(|record| record.item.clone())
            .or(wanted)
            .unwrap_or_default();
        let replacement = Replacement {
            nzo_id: record
                .as_ref()
                .map(|record| record.nzo_id.clone())
                .or_else(|| job.map(|job| job.nzo_id.clone()))
                .unwrap_or_default(),
            arr_file: record.as_ref().map_or(0, |record| record.arr_file),
            path: record.map(|record| record.path).unwrap_or_default(),
            item,
            missing: missing.then_some(file),
        };
        let fingerprint = match release {
            Some(release) => self.library.fingerprint(release).await?,
            None => format!("file-{file}"),
        };
        self.allowed(&name, &replacement.item, &replacement.nzo_id, &fingerprint, force)
            .await?;
        let thing = format!("replace:{file}");
        self.wish(&name, &thing, &Work::Replace(replacement), 0).await?;
        Ok(Accepted { instance: name })
    }

    /// The first instance of a job's category.
    fn of_category(&self, job: &Job) -> Option<&Instance> {
        let category = job.category.as_deref()?;
        self.instances.iter().find(|instance| instance.has(category))
    }

    /// Checks the limits, and counts the replacement.
    pub(super) async fn allowed(
        &self,
        instance: &str,
        item: &str,
        nzo_id: &str,
        fingerprint: &str,
        force: bool,
    ) -> Result<(), ReplaceError> {
        // Where nobody said what it is of, it is itself.
        let item = match Item::parse(item) {
            item if item.is_known() => item.text(),
            _ => format!("download {nzo_id}"),
        };
        let verdict = self
            .rows
            .may_replace(instance, &item, fingerprint, self.settings.limits, force)
            .await?;
        let why = match verdict {
            ReplaceVerdict::Allowed => return Ok(()),
            ReplaceVerdict::ItemLimit => {
                "it was replaced as often as 'arr.replace.per_item_per_day' allows; look at it by hand"
            }
            ReplaceVerdict::SetLimit => {
                "the same articles were replaced as often as 'arr.replace.per_release_per_day' allows: they come back under \
                 other names"
            }
            ReplaceVerdict::Brake => {
                "as many releases failed in an hour as 'arr.replace.brake_per_hour' allows: the cause is probably a news server \
                 and not the releases; nothing is replaced until it is over"
            }
        };
        tracing::warn!(arr.name = instance, "a release is not replaced: {why}");
        Err(ReplaceError::Limited(why))
    }

    /// Whether there is still reason for it, where nobody but the file's state asked for it: the articles may be there again,
    /// and what the *arr has imported and has no more is nothing that it lacks.
    async fn is_still_wanted(&self, instance: &Instance, wanted: &Replacement) -> Result<bool, ArrError> {
        let Some(file) = wanted.missing else {
            return Ok(true);
        };
        let record = self.health.record(file).await.map_err(ArrError::store)?;
        if record.is_none_or(|record| record.state != HealthState::Missing) {
            tracing::info!(
                file.id = file.0,
                "not replaced: it does not lack articles any more"
            );
            return Ok(false);
        }
        if wanted.path.is_empty() && !wanted.nzo_id.is_empty() {
            let imported = history(instance, &wanted.nzo_id, Happened::Imported).await?;
            if !imported.is_empty() {
                let done = "not replaced: the *arr imported it and has it no more";
                tracing::info!(file.id = file.0, "{done}");
                self.health.acted(file, done).await.map_err(ArrError::store)?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Does it, from the beginning or from where an earlier try got to.
    pub(super) async fn do_replace(&self, instance: &Instance, wanted: &Replacement) -> Result<(), ArrError> {
        let client = &instance.client;
        let names = client.names;
        if !self.is_still_wanted(instance, wanted).await? {
            return Ok(());
        }
        let grabbed = match wanted.nzo_id.as_str() {
            "" => Vec::new(),
            nzo_id => history(instance, nzo_id, Happened::Grabbed).await?,
        };
        let mut item = Item::parse(&wanted.item);
        if !item.is_known() {
            let number = |name: &str| grabbed.iter().find_map(|record| record[name].as_i64());
            let things = grabbed.iter().filter_map(|record| record[names.thing].as_i64());
            item = Item::new(number(names.parent), things.collect());
        }
        let mut arr_file = wanted.arr_file;
        if !wanted.path.is_empty() {
            // The number may be another file's by now.
            let there = match arr_file {
                0 => None,
                id => Some(client.get(&format!("{}/{id}", names.file), &[]).await),
            };
            let still = match there {
                Some(Ok(file)) => file["path"]
                    .as_str()
                    .is_some_and(|path| same_path(path, &wanted.path)),
                Some(Err(ArrError::Refused { status: 404, .. })) | None => false,
                Some(Err(error)) => return Err(error),
            };
            if !still {
                arr_file = find_file(instance, &wanted.path, &mut item).await?;
            }
        }
        if !item.is_known() && grabbed.is_empty() {
            return Err(ArrError::Refused {
                status: 404,
                text: "it knows neither the download nor the file".to_owned(),
            });
        }
        if arr_file != 0 && !wanted.path.is_empty() {
            client.delete(&format!("{}/{arr_file}", names.file), &[]).await?;
        }
        let mut searches_itself = false;
        if let Some(id) = grabbed.iter().find_map(|record| record["id"].as_i64()) {
            let settings = client.get("config/downloadclient", &[]).await?;
            searches_itself = settings["autoRedownloadFailed"] == true;
            // Told twice it would search twice.
            if history(instance, &wanted.nzo_id, Happened::Failed)
                .await?
                .is_empty()
            {
                client.post(&format!("history/failed/{id}"), &json!({})).await?;
            }
        }
        if !searches_itself && item.is_known() {
            let (command, parameter) = names.search;
            client
                .command(&json!({"name": command, parameter: item.things}))
                .await?;
        }
        Ok(())
    }
}

/// A kind of record in an *arr's history.
#[derive(Clone, Copy, Debug)]
enum Happened {
    Grabbed = 1,
    Imported = 3,
    Failed = 4,
}

/// The records of a download in an *arr's history, of one kind.
async fn history(instance: &Instance, nzo_id: &str, event: Happened) -> Result<Vec<Value>, ArrError> {
    let event_text = (event as u8).to_string();
    let query = [
        ("page", "1"),
        ("pageSize", PAGE),
        ("sortKey", "date"),
        ("sortDirection", "descending"),
        ("downloadId", nzo_id),
        ("eventType", event_text.as_str()),
    ];
    let is_one = |name: &str| match event {
        Happened::Grabbed => name == "grabbed",
        Happened::Imported => name.ends_with("Imported"),
        Happened::Failed => name == "downloadFailed",
    };
    let mut answer = instance.client.get("history", &query).await?;
    let records = match answer["records"].take() {
        Value::Array(records) => records,
        _ => Vec::new(),
    };
    // An application that does not know the filters answers with everything.
    let mine = records.into_iter().filter(|record| {
        record["downloadId"]
            .as_str()
            .is_some_and(|id| id.eq_ignore_ascii_case(nzo_id))
            && record["eventType"].as_str().is_none_or(is_one)
    });
    Ok(mine.collect())
}

/// Looks for a file of an *arr by its path: in the series (film, artist, author) whose folder it lies in. 0 where there is none.
async fn find_file(instance: &Instance, path: &str, item: &mut Item) -> Result<i64, ArrError> {
    let client = &instance.client;
    let names = client.names;
    let parents = client.get(names.parents, &[]).await?;
    let parent = parents.as_array().into_iter().flatten().find(|parent| {
        parent["path"]
            .as_str()
            .is_some_and(|folder| lies_below(path, folder))
    });
    let Some(id) = parent.and_then(|parent| parent["id"].as_i64()) else {
        return Ok(0);
    };
    let number = id.to_string();
    let files = client.get(names.file, &[(names.parent, number.as_str())]).await?;
    let file = files
        .as_array()
        .into_iter()
        .flatten()
        .find(|file| file["path"].as_str().is_some_and(|there| same_path(there, path)));
    let Some(file) = file else { return Ok(0) };
    if !item.is_known() {
        let things = match names.thing {
            "movieId" => vec![id],
            "episodeId" => {
                let file_id = file["id"].as_i64().unwrap_or(0).to_string();
                let episodes = client
                    .get("episode", &[("episodeFileId", file_id.as_str())])
                    .await?;
                let episodes = episodes.as_array().into_iter().flatten();
                episodes.filter_map(|episode| episode["id"].as_i64()).collect()
            }
            thing => file[thing].as_i64().into_iter().collect(),
        };
        *item = Item::new(Some(id), things);
    }
    Ok(file["id"].as_i64().unwrap_or(0))
}
