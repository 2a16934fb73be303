//! Random operations on the library, each also done on a map from path to entry; both must show the same.

use crate::support::{File, Fixture, entries, fixture, path, release};
use altmount_model::{FileId, JobId, ReleaseId};
use altmount_store::{CommitOutcome, DeleteOutcome, MakeDirOutcome, RenameOutcome, Submitted};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
enum Op {
    MakeDir(String),
    Delete(String),
    Rename(String, String, bool),
    Submit(usize, String),
    /// Commits the oldest job, with the files whose bits are set.
    Commit(u8, u64),
    /// Or fails it.
    Fail,
}

const NAMES: [&str; 3] = ["a", "b", "c"];
/// Files of releases: their names meet those of people's folders, and each other's folders.
const FILES: [&str; 5] = ["a", "b/a", "b/c", "c", "d/b/a"];

fn any_path() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(&NAMES[..]), 1..4).prop_map(|names| names.join("/"))
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => any_path().prop_map(Op::MakeDir),
        2 => any_path().prop_map(Op::Delete),
        4 => (any_path(), any_path(), any::<bool>()).prop_map(|(from, to, over)| Op::Rename(from, to, over)),
        3 => (0..3usize, any_path()).prop_map(|(source, to)| Op::Submit(source, to)),
        4 => (1..32u8, 0..3u64).prop_map(|(files, seed)| Op::Commit(files, seed)),
        1 => Just(Op::Fail),
    ]
}

#[derive(Clone, Debug, PartialEq)]
struct Node {
    id: FileId,
    dir: bool,
    release: Option<ReleaseId>,
}

#[derive(Clone, Debug)]
struct Pending {
    job: JobId,
    source: usize,
    place: String,
}

/// The library by path, without a leading `/`.
#[derive(Default)]
struct Model {
    nodes: BTreeMap<String, Node>,
    /// Folder and source of each release that still has its folder.
    releases: BTreeMap<ReleaseId, (FileId, usize)>,
    pending: Vec<Pending>,
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn is_below(path: &str, folder: &str) -> bool {
    folder.is_empty()
        || path
            .strip_prefix(folder)
            .is_some_and(|rest| rest.starts_with('/'))
}

impl Model {
    fn is_dir(&self, path: &str) -> bool {
        path.is_empty() || self.nodes.get(path).is_some_and(|node| node.dir)
    }

    fn remove(&mut self, path: &str) {
        self.nodes.retain(|at, _| at != path && !is_below(at, path));
        let ids: BTreeSet<FileId> = self.nodes.values().map(|node| node.id).collect();
        self.releases.retain(|_, (folder, _)| ids.contains(folder));
    }

    fn is_release_folder(&self, id: FileId) -> bool {
        self.releases.values().any(|(folder, _)| *folder == id)
    }

    /// The job in whose way `from` would be at `to`.
    fn blocked(&self, from: &str, to: &str) -> bool {
        let moved = &self.nodes[from];
        self.pending.iter().any(|job| {
            if job.place == to {
                return true;
            }
            if !is_below(&job.place, to) {
                return false;
            }
            let tail = &job.place[to.len()..];
            let inner = format!("{from}{tail}");
            !moved.dir
                || self.is_release_folder(moved.id)
                || self.nodes.contains_key(&inner)
                || self.nodes.iter().any(|(at, node)| {
                    is_below(at, from)
                        && is_below(&inner, at)
                        && (!node.dir || self.is_release_folder(node.id))
                })
        })
    }

    async fn apply(&mut self, f: &Fixture, op: &Op) {
        match op {
            Op::MakeDir(at) => {
                let expected = if !self.is_dir(parent(at)) {
                    "parent"
                } else if self.nodes.contains_key(at) {
                    "exists"
                } else if self.pending.iter().any(|job| job.place == *at) {
                    "reserved"
                } else {
                    "made"
                };
                let got = match f.store.make_dir(&path(at)).await.expect("answers") {
                    MakeDirOutcome::ParentMissing => "parent",
                    MakeDirOutcome::Exists => "exists",
                    MakeDirOutcome::Reserved(_) => "reserved",
                    MakeDirOutcome::Created(entry) => {
                        let node = Node {
                            id: entry.id,
                            dir: true,
                            release: None,
                        };
                        self.nodes.insert(at.clone(), node);
                        "made"
                    }
                };
                assert_eq!(got, expected);
            }
            Op::Delete(at) => {
                let expected = self.nodes.get(at).map(|node| node.id);
                let got = match f.store.delete(&path(at)).await.expect("answers") {
                    DeleteOutcome::Deleted { id, .. } => Some(id),
                    _ => None,
                };
                assert_eq!(got, expected);
                self.remove(at);
            }
            Op::Rename(from, to, overwrite) => self.rename(f, from, to, *overwrite).await,
            Op::Submit(source, to) => {
                let got = f
                    .store
                    .submit(f.job(&format!("s{source}"), to))
                    .await
                    .expect("submits");
                match got {
                    Submitted::Duplicate(by) => {
                        assert!(
                            self.pending
                                .iter()
                                .any(|job| job.job == by && job.source == *source)
                        );
                    }
                    Submitted::Accepted(job) => {
                        self.check_place(*source, to, job.destination.as_str());
                        self.pending.push(Pending {
                            job: job.id,
                            source: *source,
                            place: job.destination.as_str().to_owned(),
                        });
                    }
                }
            }
            Op::Commit(files, seed) => {
                if self.pending.is_empty() {
                    return;
                }
                let job = self.pending.remove(0);
                let chosen: Vec<&str> = FILES
                    .iter()
                    .enumerate()
                    .filter(|(bit, _)| files & (1 << bit) != 0)
                    .map(|(_, name)| *name)
                    .collect();
                let new: Vec<File> = chosen.iter().map(|name| File(name, *seed, true)).collect();
                assert_eq!(f.claim("w").await.expect("due").id, job.job);
                let done = f
                    .store
                    .commit(job.job, "w", release(&new))
                    .await
                    .expect("commits");
                let CommitOutcome::Committed(id) = done else {
                    panic!("{done:?}")
                };
                self.commit(f, &job, id, &chosen).await;
            }
            Op::Fail => {
                if self.pending.is_empty() {
                    return;
                }
                let job = self.pending.remove(0);
                f.store.cancel(job.job).await.expect("cancels");
            }
        }
    }

    async fn rename(&mut self, f: &Fixture, from: &str, to: &str, overwrite: bool) {
        let expected = if from == to || is_below(from, to) || is_below(to, from) {
            "itself"
        } else if !self.nodes.contains_key(from) {
            "missing"
        } else if !self.is_dir(parent(to)) {
            "parent"
        } else if self.nodes.contains_key(to) && !overwrite {
            "exists"
        } else if self.blocked(from, to) {
            "reserved"
        } else {
            "done"
        };
        let got = match f
            .store
            .rename(&path(from), &path(to), overwrite)
            .await
            .expect("answers")
        {
            RenameOutcome::IntoItself => "itself",
            RenameOutcome::NotFound => "missing",
            RenameOutcome::ParentMissing => "parent",
            RenameOutcome::Exists => "exists",
            RenameOutcome::Reserved(_) => "reserved",
            RenameOutcome::Renamed { .. } => "done",
            other => panic!("{other:?}"),
        };
        assert_eq!(got, expected, "{from} to {to}");
        if got == "done" {
            self.remove(to);
            let moved: Vec<String> = self
                .nodes
                .keys()
                .filter(|at| *at == from || is_below(at, from))
                .cloned()
                .collect();
            for at in moved {
                let node = self.nodes.remove(&at).expect("is there");
                self.nodes.insert(format!("{to}{}", &at[from.len()..]), node);
            }
        }
    }

    /// A place must not be anybody else's, nor below or above one; and it is the wanted one where that is so.
    fn check_place(&self, source: usize, wanted: &str, place: &str) {
        let free = |at: &str| {
            let own = |id: FileId| {
                self.releases
                    .values()
                    .any(|(folder, by)| *folder == id && *by == source)
            };
            let vacant = self.nodes.get(at).is_none_or(|node| own(node.id));
            let held = self
                .pending
                .iter()
                .any(|job| job.place == at || is_below(&job.place, at) || is_below(at, &job.place));
            let passable = self
                .nodes
                .iter()
                .all(|(above, node)| !is_below(at, above) || (node.dir && !self.is_release_folder(node.id)));
            vacant && !held && passable
        };
        // An older release of the source may lie in a release's folder into which a person has moved it.
        let kept = self.nodes.get(place).is_some_and(|node| {
            self.releases
                .values()
                .any(|(folder, by)| *folder == node.id && *by == source)
        });
        assert!(free(place) || kept, "{place} is not free");
        if place != wanted && !kept {
            assert!(!free(wanted), "{wanted} was free and {place} was given");
        }
    }

    async fn commit(&mut self, f: &Fixture, job: &Pending, id: ReleaseId, files: &[&str]) {
        let shown = entries(&f.store).await;
        let ids: BTreeMap<String, FileId> = shown
            .iter()
            .map(|(at, entry)| (at[1..].to_owned(), entry.id))
            .collect();
        let old = self
            .nodes
            .get(&job.place)
            .and_then(|node| self.releases.iter().find(|(_, (folder, _))| *folder == node.id))
            .map(|(release, _)| *release);
        let inside = |at: &str| is_below(at, &job.place);
        if let Some(old) = old {
            let wanted: BTreeSet<String> = files.iter().map(|name| format!("{}/{name}", job.place)).collect();
            self.nodes.retain(|at, node| {
                !inside(at) || node.dir || node.release != Some(old) || wanted.contains(at)
            });
            loop {
                let empty = self.nodes.iter().find(|(at, node)| {
                    inside(at)
                        && node.dir
                        && node.release == Some(old)
                        && !self.nodes.keys().any(|other| is_below(other, at))
                });
                let Some(at) = empty.map(|(at, _)| at.clone()) else {
                    break;
                };
                self.nodes.remove(&at);
            }
        }
        self.make_dirs(&ids, &job.place, Some(id));
        for name in files {
            let mut at = job.place.clone();
            let names: Vec<&str> = name.split('/').collect();
            for (depth, name) in names.iter().enumerate() {
                let dir = depth + 1 < names.len();
                at = (1..)
                    .map(|n| {
                        if n == 1 {
                            format!("{at}/{name}")
                        } else {
                            format!("{at}/{name} ({n})")
                        }
                    })
                    .find(|at| match self.nodes.get(at) {
                        None => true,
                        Some(node) if dir => node.dir,
                        Some(node) => !node.dir && old.is_some() && node.release == old,
                    })
                    .expect("a name is free");
                let there = self.nodes.get(&at).cloned();
                let release = match &there {
                    // A person's folder stays one.
                    Some(node) if dir && node.release != old && node.release != Some(id) => node.release,
                    Some(node) if dir && node.release.is_none() => None,
                    _ => Some(id),
                };
                let kept = there.map(|node| node.id);
                let now = ids
                    .get(&at)
                    .copied()
                    .unwrap_or_else(|| panic!("{at} is not shown"));
                assert!(kept.is_none_or(|kept| kept == now), "{at} has lost its id");
                self.nodes.insert(
                    at.clone(),
                    Node {
                        id: now,
                        dir,
                        release,
                    },
                );
            }
        }
        if let Some(old) = old {
            self.releases.remove(&old);
            for node in self
                .nodes
                .values_mut()
                .filter(|node| node.dir && node.release == Some(old))
            {
                node.release = None;
            }
        }
        let folder = self.nodes.get_mut(&job.place).expect("is made");
        folder.release = Some(id);
        self.releases.insert(id, (folder.id, job.source));
    }

    fn make_dirs(&mut self, ids: &BTreeMap<String, FileId>, place: &str, release: Option<ReleaseId>) {
        let mut at = String::new();
        for name in place.split('/') {
            at = if at.is_empty() {
                name.to_owned()
            } else {
                format!("{at}/{name}")
            };
            let id = ids
                .get(&at)
                .copied()
                .unwrap_or_else(|| panic!("{at} is not shown"));
            let release = if at == place { release } else { None };
            self.nodes.entry(at.clone()).or_insert(Node {
                id,
                dir: true,
                release,
            });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 5, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_library_is_what_a_map_of_paths_would_be(ops in prop::collection::vec(any_op(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("starts");
        runtime.block_on(async {
            let f = fixture().await;
            let mut model = Model::default();
            for op in &ops {
                model.apply(&f, op).await;
                let shown: BTreeMap<String, Node> = entries(&f.store)
                    .await
                    .into_iter()
                    .map(|(at, entry)| {
                        let node = Node { id: entry.id, dir: entry.is_dir, release: entry.release };
                        (at[1..].to_owned(), node)
                    })
                    .collect();
                assert_eq!(shown, model.nodes, "after {op:?}");
                for (at, node) in &shown {
                    assert_eq!(f.store.path_of(node.id).await.expect("reads"), Some(path(at)));
                    if !node.dir {
                        let (release, _) = f.store.content(node.id).await.expect("reads").expect("has content");
                        assert_eq!(Some(release), node.release);
                    }
                }
            }
            assert_eq!(f.store.check().await.expect("checks"), [""; 0]);
        });
    }
}
