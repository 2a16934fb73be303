//! What differs between the *arr applications: names of fields, routes, commands and events. Taken from their own sources.

use crate::config::ArrKind;
use serde_json::{Value, json};

/// What an application calls things.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names {
    /// What it calls itself (`appName` of `system/status`).
    pub(super) app: &'static str,
    /// What its version begins with, where that tells two applications of one name apart.
    pub(super) version: &'static str,
    /// The API's version.
    pub(super) api: &'static str,
    /// The field of the download client's settings that has the category.
    pub(super) category: &'static str,
    /// The category where none is configured.
    pub(super) usual_category: &'static str,
    /// The fields of its priorities.
    pub(super) priorities: [&'static str; 2],
    /// The route of its files.
    pub(super) file: &'static str,
    /// The member of queue and history records with the number of the thing that a download is for.
    pub(super) thing: &'static str,
    /// The member with the number of what that is a part of.
    pub(super) parent: &'static str,
    /// The route of the parents, each of which has a `path`.
    pub(super) parents: &'static str,
    /// The command that looks for a thing, and its parameter.
    pub(super) search: (&'static str, &'static str),
}

const SERIES: Names = Names {
    app: "Sonarr",
    version: "",
    api: "v3",
    category: "tvCategory",
    usual_category: "tv",
    priorities: ["recentTvPriority", "olderTvPriority"],
    file: "episodefile",
    thing: "episodeId",
    parent: "seriesId",
    parents: "series",
    search: ("EpisodeSearch", "episodeIds"),
};
const FILMS: Names = Names {
    app: "Radarr",
    category: "movieCategory",
    usual_category: "movies",
    priorities: ["recentMoviePriority", "olderMoviePriority"],
    file: "moviefile",
    thing: "movieId",
    parent: "movieId",
    parents: "movie",
    search: ("MoviesSearch", "movieIds"),
    ..SERIES
};
const MUSIC: Names = Names {
    app: "Lidarr",
    api: "v1",
    category: "musicCategory",
    usual_category: "music",
    priorities: ["recentMusicPriority", "olderMusicPriority"],
    file: "trackfile",
    thing: "albumId",
    parent: "artistId",
    parents: "artist",
    search: ("AlbumSearch", "albumIds"),
    ..SERIES
};
const BOOKS: Names = Names {
    app: "Readarr",
    usual_category: "books",
    file: "bookfile",
    thing: "bookId",
    parent: "authorId",
    parents: "author",
    search: ("BookSearch", "bookIds"),
    ..MUSIC
};

/// The category that an application of a kind sends where nothing else is configured.
pub fn usual_category(kind: ArrKind) -> &'static str {
    names(kind).usual_category
}

/// Whisparr 2 is a fork of Sonarr, Whisparr 3 one of Radarr; both kept the names.
pub(super) fn names(kind: ArrKind) -> &'static Names {
    const WHISPARR: &str = "Whisparr";
    const ADULT: &str = "adult";
    match kind {
        ArrKind::Sonarr => &SERIES,
        ArrKind::Radarr => &FILMS,
        ArrKind::Lidarr => &MUSIC,
        ArrKind::Readarr => &BOOKS,
        ArrKind::Whisparr => {
            &const {
                Names {
                    app: WHISPARR,
                    version: "2.",
                    usual_category: ADULT,
                    ..SERIES
                }
            }
        }
        ArrKind::WhisparrV3 => {
            &const {
                Names {
                    app: WHISPARR,
                    version: "3.",
                    usual_category: ADULT,
                    ..FILMS
                }
            }
        }
    }
}

/// What a webhook is to be told. Those that an application does not know are ignored by it.
pub(super) const TOLD: [&str; 20] = [
    "onGrab",
    "onDownload",
    "onImportComplete",
    "onReleaseImport",
    "onUpgrade",
    "onRename",
    "onManualInteractionRequired",
    "onSeriesDelete",
    "onEpisodeFileDelete",
    "onEpisodeFileDeleteForUpgrade",
    "onMovieDelete",
    "onMovieFileDelete",
    "onMovieFileDeleteForUpgrade",
    "onArtistDelete",
    "onAlbumDelete",
    "onAuthorDelete",
    "onBookDelete",
    "onBookFileDelete",
    "onBookFileDeleteForUpgrade",
    "onDownloadFailure",
];

/// What a download is for: the parent's number and those of its parts, as they are stored and searched for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Item {
    /// The series, film, artist or author.
    pub(super) parent: Option<i64>,
    /// The episodes, films, albums or books, in order.
    pub(super) things: Vec<i64>,
}

impl Item {
    pub(super) fn new(parent: Option<i64>, mut things: Vec<i64>) -> Self {
        things.sort_unstable();
        things.dedup();
        Self { parent, things }
    }

    /// As it is stored, and as what loops are counted by.
    pub(super) fn text(&self) -> String {
        json!({"parent": self.parent, "things": self.things}).to_string()
    }

    pub(super) fn parse(text: &str) -> Self {
        let value: Value = serde_json::from_str(text).unwrap_or_default();
        let things = value["things"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_i64);
        Self::new(value["parent"].as_i64(), things.collect())
    }

    pub(super) fn is_known(&self) -> bool {
        !self.things.is_empty()
    }
}

/// Whether two paths are the same one, by whole names: `/` and `\` are alike, and a doubled one counts once.
pub(super) fn same_path(a: &str, b: &str) -> bool {
    names_of(a).eq(names_of(b))
}

/// Whether a path lies below a folder, by whole names.
pub(super) fn lies_below(path: &str, folder: &str) -> bool {
    let mut path = names_of(path);
    let mut some = false;
    for name in names_of(folder) {
        some = true;
        if path.next() != Some(name) {
            return false;
        }
    }
    some && path.next().is_some()
}

fn names_of(path: &str) -> impl Iterator<Item = &str> {
    path.split(['/', '\\']).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_compared_by_whole_names() {
        assert!(same_path("/tv/Show/a.mkv", "/tv//Show/a.mkv"));
        assert!(same_path(r"D:\tv\a.mkv", "D:/tv/a.mkv"));
        assert!(!same_path("/tv/Show/a.mkv", "/tv/Show/aa.mkv"));
        assert!(!same_path("/tv/Show", "/tv/Show/a.mkv"));
        assert!(lies_below("/tv/Show/S1/a.mkv", "/tv/Show/"));
        assert!(!lies_below("/tv/Show 2/a.mkv", "/tv/Show"));
        assert!(!lies_below("/tv/Show", "/tv/Show"));
        assert!(!lies_below("/tv/Show", ""));
    }

    #[test]
    fn items_are_the_same_in_any_order() {
        let item = Item::new(Some(5), vec![9, 3, 9]);
        assert_eq!(item, Item::new(Some(5), vec![3, 9]));
        assert_eq!(Item::parse(&item.text()), item);
        assert_eq!(Item::parse("nonsense"), Item::default());
    }
}
