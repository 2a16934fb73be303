//! `altmount doctor`: looks everything over that a server needs, and says what to do about what it finds.
//!
//! Most of it is looked at by the process that asks, whether a server runs or not. What only one process may look at, the database
//! and the queued files, a running server looks at for it.

mod network;

pub use network::network;

use crate::{backup::Scheduled, config::Settings, data::DataDir};
use altmount_store::Store;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{fs, path::Path};
use utoipa::ToSchema;

/// Room that is little for a database.
const LITTLE_ROOM: u64 = 1 << 30;
/// Room in which nothing more goes.
const NO_ROOM: u64 = 64 << 20;

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and may want a look.
    Warn,
    /// It does not work.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// What: `configuration`, `permissions`, `space`, `clock`, `database`, `queued_files`, `mount`, `outputs`, `watch`, `backup`,
    /// `importers`, `provider`, `server`.
    pub subject: String,
    /// How it is.
    pub verdict: Verdict,
    /// It in a sentence.
    pub text: String,
    /// What to do; nothing where nothing is to be done.
    pub todo: Option<String>,
}

/// What was found, in order.
#[derive(Clone, Debug, Default)]
pub struct Findings(pub Vec<Finding>);

impl Findings {
    fn add(&mut self, subject: &str, verdict: Verdict, text: impl Into<String>, todo: Option<&str>) {
        self.0.push(Finding {
            subject: subject.to_owned(),
            verdict,
            text: text.into(),
            todo: todo.map(str::to_owned),
        });
    }

    /// Something is as it should be.
    pub fn good(&mut self, subject: &str, text: impl Into<String>) {
        self.add(subject, Verdict::Ok, text, None);
    }

    /// Something may want a look.
    pub fn warn(&mut self, subject: &str, text: impl Into<String>, todo: &str) {
        self.add(subject, Verdict::Warn, text, Some(todo));
    }

    /// Something does not work.
    pub fn fail(&mut self, subject: &str, text: impl Into<String>, todo: &str) {
        self.add(subject, Verdict::Fail, text, Some(todo));
    }

    /// The worst of it.
    pub fn worst(&self) -> Verdict {
        self.0
            .iter()
            .map(|finding| finding.verdict)
            .max()
            .unwrap_or(Verdict::Ok)
    }
}

/// Looks at files and folders. Blocks.
pub fn files(settings: Option<&Settings>, data: &DataDir, found: &mut Findings) {
    permissions(data, found);
    space("the data directory", data.path(), found);
    let Some(settings) = settings else { return };
    if settings.vfs.disk.bytes > 0 {
        let folder = data.path().join(&settings.vfs.disk.folder);
        if writable("the cache's folder", "cache.disk_folder", &folder, found) {
            space("the cache's folder", &folder, found);
        }
    }
    outputs(settings, found);
    mount(settings, found);
    watch(settings, found);
    backup(settings, found);
    match crate::plugins::registry(settings, Some(data.path())) {
        Ok(registry) if registry.refused().is_empty() => {
            found.good("importers", "every importer can be used");
        }
        Ok(registry) => {
            for refused in registry.refused() {
                found.warn(
                    "importers",
                    format!("'{}' is not in use: {}", refused.id, refused.reason),
                    "'altmount plugin show' says more; take it out of 'plugins.load' where it is not wanted",
                );
            }
        }
        Err(error) => found.fail(
            "importers",
            format!("{error:#}"),
            "correct 'plugins' in the configuration, or take the library out of 'plugins.load'",
        ),
    }
}

/// Whether a file can be made in a folder.
fn writable(what: &str, key: &str, folder: &Path, found: &mut Findings) -> bool {
    match tempfile::NamedTempFile::new_in(folder) {
        Ok(_) => true,
        // A folder that the server makes at its start.
        Err(_) if fs::metadata(folder).is_err() => {
            let above = folder
                .ancestors()
                .skip(1)
                .find(|above| fs::metadata(above).is_ok());
            if above.is_some_and(|above| tempfile::NamedTempFile::new_in(above).is_ok()) {
                return false;
            }
            found.fail(
                "permissions",
                format!("{what} {} is not there, and cannot be made", folder.display()),
                &format!("make it and give it to the server's user (chown), or change '{key}'"),
            );
            false
        }
        Err(error) => {
            found.fail(
                "permissions",
                format!("{what} {} cannot be written: {error}", folder.display()),
                &format!("give it to the server's user (chown), or change '{key}'"),
            );
            false
        }
    }
}

fn permissions(data: &DataDir, found: &mut Findings) {
    let path = data.path();
    if let Err(error) = fs::metadata(path) {
        if error.kind() == std::io::ErrorKind::NotFound {
            found.warn(
                "permissions",
                format!("the data directory {} is not there yet", path.display()),
                "the first start makes it; where there should be one, name it with --data-dir",
            );
        } else {
            found.fail(
                "permissions",
                format!(
                    "the data directory {} cannot be looked at: {error}",
                    path.display()
                ),
                "run this as the server's user",
            );
        }
        return;
    }
    let before = found.0.len();
    writable("the data directory", "--data-dir", path, found);
    #[cfg(unix)]
    for file in [
        path.to_owned(),
        data.config_file(),
        data.key_file(),
        data.password_file(),
        data.link_key_file(),
        data.database_file(),
    ] {
        use std::os::unix::fs::PermissionsExt;
        if let Ok(meta) = fs::metadata(&file)
            && meta.permissions().mode() & 0o077 != 0
        {
            found.fail(
                "permissions",
                format!("others may look into {}", file.display()),
                &format!("passwords and keys stand there: chmod go= '{}'", file.display()),
            );
        }
    }
    if found.0.len() == before {
        let text = format!("{} can be written, and by nobody else", path.display());
        found.good("permissions", text);
    }
}

#[cfg(unix)]
fn space(what: &str, folder: &Path, found: &mut Findings) {
    let Ok(stat) = rustix::fs::statvfs(folder) else {
        return;
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let text = format!("{what} has {} MiB of room", free >> 20);
    let todo = "make room on its disk: no job is accepted and nothing is stored without";
    match free {
        free if free < NO_ROOM => found.fail("space", text, todo),
        free if free < LITTLE_ROOM => found.warn("space", text, todo),
        _ => found.good("space", text),
    }
}

#[cfg(not(unix))]
fn space(_what: &str, _folder: &Path, _found: &mut Findings) {}

fn outputs(settings: &Settings, found: &mut Findings) {
    let outputs = &settings.outputs;
    let folders = [
        (
            "outputs.symlinks.path",
            outputs.symlinks.as_ref().map(|(path, _)| path),
        ),
        ("outputs.strm.path", outputs.strm.as_ref().map(|(path, _)| path)),
        ("outputs.copy.path", outputs.copy.as_ref().map(|copy| &copy.path)),
    ];
    for (key, folder) in folders {
        let Some(folder) = folder else { continue };
        if writable("the outputs' folder", key, folder, found) {
            found.good("outputs", format!("{} can be written", folder.display()));
        }
    }
    if let Some(copy) = &outputs.copy {
        space("the folder of copies", &copy.path, found);
    }
}

fn mount(settings: &Settings, found: &mut Findings) {
    let Some(path) = &settings.mount.path else { return };
    let before = found.0.len();
    if let Err(error) = fs::metadata("/dev/fuse") {
        found.fail(
            "mount",
            format!("the mount at {} needs /dev/fuse: {error}", path.display()),
            "load the module (modprobe fuse), or give the device to the container (--device /dev/fuse)",
        );
    }
    #[cfg(unix)]
    if !rustix::process::geteuid().is_root() {
        let helper = std::env::var_os("PATH").is_some_and(|all| {
            std::env::split_paths(&all).any(|dir| fs::metadata(dir.join("fusermount3")).is_ok())
        });
        if !helper {
            found.fail(
                "mount",
                "fusermount3 is not there, and only root mounts without it",
                "install the package fuse3",
            );
        }
        if settings.mount.allow_other {
            let allowed = fs::read_to_string("/etc/fuse.conf")
                .is_ok_and(|text| text.lines().any(|line| line.trim() == "user_allow_other"));
            if !allowed {
                found.fail(
                    "mount",
                    "'mount.allow_other' is not allowed to this user",
                    "write 'user_allow_other' into /etc/fuse.conf",
                );
            }
        }
    }
    // ENOTCONN: the process behind a mount is gone.
    if let Err(error) = fs::read_dir(path)
        && error.raw_os_error() == Some(107)
    {
        found.warn(
            "mount",
            format!("a dead mount lies on {}", path.display()),
            "the next start takes it over; 'umount -l' takes it away",
        );
    }
    if found.0.len() == before {
        found.good("mount", format!("{} can be mounted on", path.display()));
    }
}

fn watch(settings: &Settings, found: &mut Findings) {
    for folder in &settings.watch {
        match fs::read_dir(&folder.path) {
            Err(error) => found.fail(
                "watch",
                format!(
                    "the watch folder {} cannot be read: {error}",
                    folder.path.display()
                ),
                "make it, mount it, or give it to the server's user",
            ),
            Ok(_) => {
                let moves = folder.after == crate::config::AfterImport::Move;
                if !moves || writable("the watch folder", "watch.folders", &folder.path, found) {
                    found.good("watch", format!("{} can be read", folder.path.display()));
                }
            }
        }
    }
}

fn backup(settings: &Settings, found: &mut Findings) {
    let Some(backup) = &settings.backup else {
        return found.warn(
            "backup",
            "no backups are made by themselves",
            "set 'backup.folder', best to a folder on another disk",
        );
    };
    if !writable("the backups' folder", "backup.folder", &backup.folder, found)
        && fs::metadata(&backup.folder).is_ok()
    {
        return;
    }
    match Scheduled::newest(&backup.folder) {
        Some(last) => {
            let age = Timestamp::now().duration_since(last).as_secs();
            let text = format!("the newest backup is {} hours old", age / 3600);
            let late = i64::try_from(backup.every.as_secs()).unwrap_or(i64::MAX);
            match age > late.saturating_mul(2) {
                true => found.warn(
                    "backup",
                    text,
                    "look into the server's log for why there is no newer one",
                ),
                false => found.good("backup", text),
            }
        }
        None => found.warn(
            "backup",
            format!("there is no backup in {} yet", backup.folder.display()),
            "a server that runs makes the first one at once; look into its log where there is none",
        ),
    }
}

/// Looks at the database and at every queued file.
pub async fn database(store: &Store, found: &mut Findings) {
    match store.check().await {
        Ok(wrong) if wrong.is_empty() => found.good("database", "the database is whole"),
        Ok(wrong) => found.fail(
            "database",
            format!("the database is damaged: {}", wrong.join("; ")),
            "restore a backup into a new data directory: altmount --data-dir DIR restore FILE",
        ),
        Err(error) => found.fail(
            "database",
            format!("the database cannot be read: {error}"),
            "look at the disk; restore a backup where it is lost",
        ),
    }
    match store.broken_blobs().await {
        Ok(broken) if broken.is_empty() => found.good("queued_files", "every queued file is kept and whole"),
        Ok(broken) => found.fail(
            "queued_files",
            format!("{} queued files are lost or damaged: {}", broken.len(), broken[0]),
            "the library plays on; their export and a new import need the files queued again, or a backup",
        ),
        Err(error) => found.fail(
            "queued_files",
            format!("the queued files cannot be read: {error}"),
            "look at the disk",
        ),
    }
    match store.orphans().await {
        Ok(orphans) if orphans.is_empty() => {}
        Ok(_) => found.warn(
            "database",
            "something is left over that nothing refers to",
            "'altmount library check --orphans' shows it",
        ),
        Err(error) => found.fail(
            "database",
            format!("what is left over cannot be looked for: {error}"),
            "look at the disk",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn what_others_may_read_is_told_with_what_to_do() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let data = DataDir::locate(Some(&folder.path().join("data"))).expect("located");
        data.create().expect("made");
        data.make_api_key().expect("made");
        let mut found = Findings::default();
        permissions(&data, &mut found);
        assert_eq!(found.worst(), Verdict::Ok, "{found:?}");
        fs::set_permissions(data.key_file(), fs::Permissions::from_mode(0o644)).expect("set");
        let mut found = Findings::default();
        permissions(&data, &mut found);
        assert_eq!(found.worst(), Verdict::Fail);
        assert!(found.0.iter().any(|one| one.text.contains("api.key")
            && one.todo.as_ref().is_some_and(|todo| todo.contains("chmod"))));
    }
}
