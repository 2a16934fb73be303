//! The thread that writes and deletes. All of this blocks.

use super::{
    Inner, count,
    entry::{self, Name},
    index::Place,
};
use crate::units::Unit;
use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    path::Path,
    sync::{Arc, atomic::Ordering, mpsc::Receiver},
    time::SystemTime,
};

/// What the thread is to do.
pub(super) enum Order {
    Write {
        id: Box<str>,
        name: Name,
        unit: Arc<Unit>,
        place: Place,
    },
    Delete(Name),
    /// What is there is to stay.
    Keep(Name),
    /// It was used.
    Used(Name),
}

/// Works until nobody gives orders any more.
pub(super) fn run(inner: &Inner, orders: &Receiver<Order>) {
    if let Err(error) = look_through(inner) {
        count(&inner.counters.errors);
        tracing::warn!(folder = %inner.folder.display(), "the disk cache cannot be looked through: {error}");
    }
    inner.index().set_complete();
    make_room(inner, 0, Place::Plain);
    while let Ok(order) = orders.recv() {
        match order {
            Order::Write {
                id,
                name,
                unit,
                place,
            } => {
                if !inner.writes_rest.goes_on() {
                    put(inner, &id, name, &unit, place);
                } else {
                    count(&inner.counters.dropped);
                }
                inner
                    .counters
                    .queued
                    .fetch_sub(unit.data.len(), Ordering::Relaxed);
            }
            Order::Delete(name) => {
                inner.index().remove(&name);
                delete(inner, &name, Place::Plain);
                delete(inner, &name, Place::Pinned);
            }
            Order::Keep(name) => {
                if let Err(error) = keep(inner, name) {
                    count(&inner.counters.errors);
                    tracing::debug!("a file of the disk cache cannot be moved: {error}");
                }
            }
            Order::Used(name) => {
                let place = inner.index().place(&name);
                let path = place.map(|place| inner.path(place, &name));
                // For the order after the next start alone: nothing is lost where it fails.
                let _ = path.map(|path| File::open(path)?.set_modified(SystemTime::now()));
            }
        }
    }
}

/// Takes in what a process before this one has left.
fn look_through(inner: &Inner) -> io::Result<()> {
    let temporary = inner.folder.join("tmp");
    make_folder(&temporary)?;
    for file in fs::read_dir(&temporary)? {
        // What was being written when it died.
        fs::remove_file(file?.path())?;
    }
    let mut found = Vec::new();
    for (place, folder) in [(Place::Plain, "articles"), (Place::Pinned, "pinned")] {
        let folder = inner.folder.join(folder);
        make_folder(&folder)?;
        for prefix in fs::read_dir(folder)? {
            let prefix = prefix?.path();
            let Ok(files) = fs::read_dir(&prefix) else {
                continue;
            };
            for file in files {
                let file = file?;
                let Some(name) = file.file_name().to_str().and_then(Name::parse) else {
                    continue;
                };
                let meta = file.metadata()?;
                let used = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                found.push((used, name, place, meta.len()));
            }
        }
    }
    found.sort_unstable_by_key(|(used, ..)| *used);
    let mut index = inner.index();
    for (used, name, place, len) in found {
        if !index.has(&name) {
            index.insert(name, place, len, used);
        }
    }
    Ok(())
}

fn make_folder(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

fn make_room(inner: &Inner, more: u64, place: Place) {
    loop {
        let first = inner.index().pop_for(more, place);
        let Some((name, place)) = first else { return };
        delete(inner, &name, place);
        count(&inner.counters.evicted);
    }
}

fn delete(inner: &Inner, name: &Name, place: Place) {
    match fs::remove_file(inner.path(place, name)) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            count(&inner.counters.errors);
            tracing::debug!("a file of the disk cache cannot be deleted: {error}");
        }
        _ => {}
    }
}

/// Moves a file to those that stay.
fn keep(inner: &Inner, name: Name) -> io::Result<()> {
    if inner.index().place(&name) != Some(Place::Plain) {
        return Ok(());
    }
    let (from, to) = (inner.path(Place::Plain, &name), inner.path(Place::Pinned, &name));
    let len = fs::metadata(&from)?.len();
    make_room(inner, len, Place::Pinned);
    if let Some(folder) = to.parent() {
        make_folder(folder)?;
    }
    fs::rename(from, to)?;
    inner.index().insert(name, Place::Pinned, len, SystemTime::now());
    Ok(())
}

fn put(inner: &Inner, id: &str, name: Name, unit: &Unit, place: Place) {
    let before = inner.index().place(&name);
    if before.is_some_and(|before| before >= place) {
        return;
    }
    let len = unit.data.len();
    if len > inner.index().limit() {
        count(&inner.counters.dropped);
        return;
    }
    make_room(inner, len + 4096, place);
    let path = inner.path(place, &name);
    let temporary = inner.folder.join("tmp").join(name.to_string());
    let written = path
        .parent()
        .map_or(Ok(()), make_folder)
        .and_then(|()| entry::write(&temporary, id, unit))
        .and_then(|len| fs::rename(&temporary, &path).map(|()| len));
    match written {
        Ok(len) => {
            if before == Some(Place::Plain) {
                delete(inner, &name, Place::Plain);
            }
            inner.index().insert(name, place, len, SystemTime::now());
            count(&inner.counters.written);
        }
        Err(error) => {
            let _ = fs::remove_file(&temporary);
            count(&inner.counters.errors);
            inner.writes_rest.begin();
            if error.kind() == ErrorKind::StorageFull {
                inner.index().lower();
            }
            tracing::warn!(
                folder = %inner.folder.display(),
                "the disk cache cannot be written, and is left alone for a while: {error}"
            );
        }
    }
}
