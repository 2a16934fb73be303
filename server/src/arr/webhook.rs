//! What an *arr tells: what it grabbed, imported, renamed and deleted. The links and the record of who has which file follow.
//!
//! Only what is recorded is ever removed, by its exact path: an *arr's word about a file that it never told us of changes nothing.

use super::{
    Arrs,
    kind::{Item, lies_below, same_path},
};
use altmount_engine::{ArrFile, StoreError};
use altmount_model::{FileId, VPath};
use serde_json::Value;
use std::{path::Path, sync::Arc};

/// Most files of one message that are looked at: a series of a thousand episodes, deleted at once.
const MAX_FILES: usize = 5000;

/// What came of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Files that it has from now on.
    pub imported: usize,
    /// Files that it has moved.
    pub moved: usize,
    /// Files that it has no more.
    pub dropped: usize,
    /// Files that are gone from the library for it.
    pub deleted: usize,
}

/// The members that hold files, in all the applications.
const FILES: [&str; 8] = [
    "episodeFile",
    "episodeFiles",
    "movieFile",
    "trackFile",
    "trackFiles",
    "bookFile",
    "bookFiles",
    "deletedFiles",
];
/// The members that hold renamed files.
const RENAMED: [&str; 4] = [
    "renamedEpisodeFiles",
    "renamedMovieFiles",
    "renamedTrackFiles",
    "renamedBookFiles",
];
/// The members that hold what files are parts of, with its folder.
const PARENTS: [&str; 4] = ["series", "movie", "artist", "author"];

/// One or several.
fn each(value: &Value) -> &[Value] {
    match value {
        Value::Array(several) => several,
        Value::Object(_) => std::slice::from_ref(value),
        _ => &[],
    }
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value[name].as_str().filter(|text| !text.is_empty())
}

/// What a message is about.
fn item_of(message: &Value) -> Item {
    let parent = PARENTS.iter().find_map(|name| message[*name]["id"].as_i64());
    let ids = |name: &str| -> Vec<i64> {
        each(&message[name])
            .iter()
            .filter_map(|thing| thing["id"].as_i64())
            .collect()
    };
    let mut things = ["episodes", "albums", "album", "books", "book"].map(ids).concat();
    if things.is_empty() {
        things = ids("movie");
    }
    Item::new(parent, things)
}

/// A message's files of an import: all of them but those that went for it.
fn imported(message: &Value) -> impl Iterator<Item = &Value> {
    FILES
        .iter()
        .filter(|name| **name != "deletedFiles")
        .flat_map(|name| each(&message[*name]))
        .take(MAX_FILES)
}

fn folder_of(parent: &Value) -> Option<&str> {
    text(parent, "path").or_else(|| text(parent, "folderPath"))
}

impl Arrs {
    /// Takes in what an instance tells.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn hear(self: &Arc<Self>, instance: &str, message: &Value) -> Result<Heard, StoreError> {
        let mut heard = Heard::default();
        match message["eventType"].as_str().unwrap_or_default() {
            "Grab" => {
                if let Some(nzo_id) = text(message, "downloadId") {
                    let item = item_of(message).text();
                    self.rows.grabbed(instance, nzo_id, &item).await?;
                }
            }
            "Download" => {
                // First what went, so that a file in its place is not taken for it.
                self.dropped(instance, &message["deletedFiles"], true, &mut heard)
                    .await?;
                self.import(instance, message, &mut heard).await?;
            }
            "Rename" => {
                for renamed in RENAMED
                    .iter()
                    .flat_map(|name| each(&message[*name]))
                    .take(MAX_FILES)
                {
                    if let (Some(from), Some(to)) = (text(renamed, "previousPath"), text(renamed, "path"))
                        && self.rows.move_file(instance, from, to).await?
                    {
                        heard.moved += 1;
                    }
                }
            }
            "EpisodeFileDelete" | "MovieFileDelete" | "BookFileDelete" => {
                // It misses the file, perhaps because a mount is away: no reason to delete anything.
                let missing = message["deleteReason"]
                    .as_str()
                    .is_some_and(|reason| reason.eq_ignore_ascii_case("missingFromDisk"));
                for name in ["episodeFile", "movieFile", "bookFile"] {
                    self.dropped(instance, &message[name], !missing, &mut heard)
                        .await?;
                }
            }
            "SeriesDelete" | "MovieDelete" | "ArtistDelete" | "AlbumDelete" | "AuthorDelete"
            | "BookDelete" => {
                self.parent_deleted(instance, message, &mut heard).await?;
            }
            "ManualInteractionRequired" => self.look_at_queue(instance),
            _ => {}
        }
        tracing::info!(
            arr.name = instance,
            arr.event = message["eventType"].as_str().unwrap_or_default(),
            "{} imported, {} moved, {} dropped, {} deleted",
            heard.imported,
            heard.moved,
            heard.dropped,
            heard.deleted
        );
        Ok(heard)
    }

    async fn import(&self, instance: &str, message: &Value, heard: &mut Heard) -> Result<(), StoreError> {
        let Some(nzo_id) = text(message, "downloadId") else {
            // Imported by hand, from somewhere else.
            return Ok(());
        };
        let ours = self.rows.ours(&[nzo_id.to_owned()]).await?;
        let Some((_, job)) = ours.first() else {
            return Ok(());
        };
        let release = self.imports.job(*job).await?.and_then(|job| job.release);
        let files = match release {
            Some(release) => self.outputs.release_files(release).await?,
            None => Vec::new(),
        };
        let item = item_of(message).text();
        for told in imported(message) {
            let Some(path) = text(told, "path") else { continue };
            let source = text(told, "sourcePath");
            let mut file = self.by_place(path).await?;
            if file.is_none()
                && let Some(source) = source
            {
                file = self.by_place(source).await?;
            }
            if file.is_none() {
                // By its name in the release, where one file alone has it.
                let name = source.and_then(|source| source.rsplit(['/', '\\']).next());
                let mut named = files.iter().filter(|file| Some(file.entry.name.as_str()) == name);
                file = match (named.next(), named.next()) {
                    (Some(one), None) => Some(one.entry.id),
                    _ if files.len() == 1 => Some(files[0].entry.id),
                    _ => None,
                };
            }
            self.rows
                .put_file(ArrFile {
                    instance: instance.to_owned(),
                    path: path.to_owned(),
                    arr_file: told["id"].as_i64().unwrap_or(0),
                    nzo_id: nzo_id.to_owned(),
                    item: item.clone(),
                    file,
                })
                .await?;
            heard.imported += 1;
        }
        Ok(())
    }

    /// The library's file that is at a place of an *arr: an output, a link, or a file of the mount.
    async fn by_place(&self, path: &str) -> Result<Option<FileId>, StoreError> {
        let ours = self.places.ours(path);
        if let Some(text) = ours.to_str()
            && let Some(output) = self.outputs.at(&[text]).await?.first()
        {
            return Ok(Some(output.file));
        }
        if let Some(library) = &self.places.library
            && let Ok(below) = ours.strip_prefix(library)
            && let Some(path) = below.to_str().and_then(|text| VPath::new(text).ok())
        {
            let entry = self.library.lookup(&path).await?;
            return Ok(entry.filter(|entry| !entry.is_dir).map(|entry| entry.id));
        }
        let target = match &self.places.symlinks {
            Some((_, target)) => target.join(".ids"),
            None => return Ok(None),
        };
        // Looked at in a thread of its own: it may be a share that does not answer.
        let link = tokio::time::timeout(super::LOOK, tokio::fs::read_link(ours)).await;
        let number = match link {
            Ok(Ok(link)) => id_below(&link, &target),
            _ => None,
        };
        match number {
            Some(id) => Ok(self.library.entry(id).await?.map(|entry| entry.id)),
            None => Ok(None),
        }
    }

    /// An *arr has these files no more. With `deleted` they are gone there, and from the library where nobody else has them.
    async fn dropped(
        &self,
        instance: &str,
        files: &Value,
        deleted: bool,
        heard: &mut Heard,
    ) -> Result<(), StoreError> {
        for told in each(files).iter().take(MAX_FILES) {
            let Some(path) = text(told, "path") else { continue };
            let Some(record) = self.rows.drop_file(instance, path).await? else {
                continue;
            };
            heard.dropped += 1;
            // One that went to a recycle bin is there, and leads to us.
            if deleted && text(told, "recycleBinPath").is_none() {
                heard.deleted += usize::from(self.delete(&record).await?);
            }
        }
        Ok(())
    }

    async fn parent_deleted(
        &self,
        instance: &str,
        message: &Value,
        heard: &mut Heard,
    ) -> Result<(), StoreError> {
        let deleted = message["deletedFiles"] == Value::Bool(true);
        let Some(folder) = PARENTS.iter().find_map(|name| folder_of(&message[*name])) else {
            return Ok(());
        };
        // Of a film or a series all goes; of an artist's albums, only that album's.
        let event = message["eventType"].as_str().unwrap_or_default();
        let only = matches!(event, "AlbumDelete" | "BookDelete").then(|| item_of(message).things);
        for record in self
            .rows
            .files_below(instance, folder)
            .await?
            .into_iter()
            .take(MAX_FILES)
        {
            debug_assert!(lies_below(&record.path, folder) && !same_path(&record.path, folder));
            if let Some(things) = &only
                && !Item::parse(&record.item)
                    .things
                    .iter()
                    .any(|thing| things.contains(thing))
            {
                continue;
            }
            self.rows.drop_file(instance, &record.path).await?;
            heard.dropped += 1;
            if deleted {
                heard.deleted += usize::from(self.delete(&record).await?);
            }
        }
        Ok(())
    }

    /// Removes a file from the library that nobody has any more, where that is wanted.
    async fn delete(&self, record: &ArrFile) -> Result<bool, StoreError> {
        let Some(file) = record.file.filter(|_| self.settings.delete_files) else {
            return Ok(false);
        };
        if !self.rows.files_of(file).await?.is_empty() {
            return Ok(false);
        }
        let path = self.library.path_of(file).await?;
        let outcome = self.library.delete_id(file).await?;
        if !matches!(outcome, altmount_engine::DeleteOutcome::Deleted { .. }) {
            return Ok(false);
        }
        if let Some(folder) = path
            .and_then(|path| path.parent())
            .filter(|folder| !folder.is_root())
        {
            self.library.delete_empty(&folder).await?;
        }
        Ok(true)
    }
}

/// The id that a link leads to, where it is one of ours.
fn id_below(link: &Path, ids: &Path) -> Option<FileId> {
    let name = link.strip_prefix(ids).ok()?.to_str()?;
    name.parse().ok().map(FileId)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_message_is_about() {
        let sonarr = json!({"series": {"id": 5}, "episodes": [{"id": 12}, {"id": 11}]});
        assert_eq!(item_of(&sonarr), Item::new(Some(5), vec![11, 12]));
        let radarr = json!({"movie": {"id": 7}});
        assert_eq!(item_of(&radarr), Item::new(Some(7), vec![7]));
        let lidarr = json!({"artist": {"id": 1}, "album": {"id": 2}});
        assert_eq!(item_of(&lidarr), Item::new(Some(1), vec![2]));
        let readarr = json!({"author": {"id": 3}, "books": [{"id": 4}]});
        assert_eq!(item_of(&readarr), Item::new(Some(3), vec![4]));
        for nonsense in [
            json!(null),
            json!([]),
            json!({"series": "x", "episodes": [1, "a"]}),
        ] {
            assert_eq!(item_of(&nonsense), Item::default(), "{nonsense}");
        }
    }

    #[test]
    fn a_link_leads_to_an_id_or_nowhere() {
        let ids = Path::new("/mnt/altmount/.ids");
        assert_eq!(
            id_below(Path::new("/mnt/altmount/.ids/17"), ids),
            Some(FileId(17))
        );
        for other in [
            "/mnt/altmount/.ids",
            "/mnt/altmount/.ids/a",
            "/mnt/altmount/.ids/1/2",
            "/x/17",
            "17",
        ] {
            assert_eq!(id_below(Path::new(other), ids), None, "{other}");
        }
    }
}
