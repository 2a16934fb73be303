//! The mount point: what was left on it, and letting go of it. All of this blocks.

use anyhow::{Context, Result, bail};
use rustix::mount::{UnmountFlags, unmount};
use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

/// How long a mount point may take to say what it is. One whose process hangs never does.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Dead mounts that may lie over one another.
const LAYERS: usize = 8;
/// `ENOTCONN`: the process behind a FUSE mount is gone.
const NOT_CONNECTED: i32 = 107;

/// Makes the folder where it is not there, and takes away what a process that died has left on it.
pub(super) fn prepare(path: &Path) -> Result<()> {
    for _ in 0..LAYERS {
        // The kernel may still know the attributes of a dead mount; only a request shows that nobody answers.
        match fs::metadata(path).and_then(|found| match found.is_dir() {
            true => fs::read_dir(path).map(|_| found),
            false => Ok(found),
        }) {
            Err(error) if error.raw_os_error() == Some(NOT_CONNECTED) => {
                tracing::warn!(mount.path = %path.display(), "a dead mount is there: it is taken over");
                detach(path)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return fs::create_dir_all(path)
                    .with_context(|| format!("cannot make the mount point {}", path.display()));
            }
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("the mount point {} cannot be used", path.display()));
            }
            Ok(found) if !found.is_dir() => bail!("the mount point {} is not a folder", path.display()),
            Ok(_) => return check_free(path),
        }
    }
    bail!(
        "more than {LAYERS} dead mounts lie on {}; unmount them with 'umount -l'",
        path.display()
    )
}

fn check_free(path: &Path) -> Result<()> {
    let shown = path.display();
    let real = path
        .canonicalize()
        .with_context(|| format!("the mount point {shown} cannot be used"))?;
    if let Some(mounted) = mounted(&real).filter(|mounted| mounted.kind.starts_with("fuse")) {
        bail!(
            "a running process has '{}' mounted at {shown}; stop it, or choose another 'mount.path'",
            mounted.source
        );
    }
    let mut entries =
        fs::read_dir(path).with_context(|| format!("the mount point {shown} cannot be read"))?;
    if entries.next().is_some() {
        bail!("the mount point {shown} is not empty: its files would be hidden; choose an empty folder");
    }
    Ok(())
}

/// Lets go of our mount: nobody comes in by the path any more, and what is open gets errors and no silence.
pub(super) fn release(path: &Path) {
    let connection = connection(path);
    if connection.is_none() {
        // Somebody else has unmounted it. What may be there now is not ours.
        return;
    }
    if let Err(error) = detach(path) {
        tracing::warn!("{error:#}");
    }
    abort(connection.as_deref());
}

/// Lets go of our mount, and of nothing else: nobody comes in by the path any more, and what is open stays open. Answers where its
/// connection is aborted; nothing where it was not there any more.
pub(super) fn detach_ours(path: &Path) -> Result<Option<PathBuf>> {
    let connection = connection(path);
    if connection.is_some() {
        detach(path)?;
    }
    Ok(connection)
}

/// Where the connection of our mount at a path is aborted.
fn connection(path: &Path) -> Option<PathBuf> {
    path.canonicalize()
        .ok()
        .and_then(|real| mounted(&real))
        .filter(Mounted::is_ours)
        .map(|mounted| PathBuf::from(format!("/sys/fs/fuse/connections/{}/abort", mounted.minor)))
}

/// Only the owner may, and only where this file system is mounted; else the connection ends with the process.
pub(super) fn abort(connection: Option<&Path>) {
    if let Some(abort) = connection
        && let Err(error) = fs::write(abort, "1")
    {
        tracing::debug!("the connection is not aborted: {}: {error}", abort.display());
    }
}

/// Unmounts without waiting for open files.
fn detach(path: &Path) -> Result<()> {
    let shown = path.display();
    let Err(error) = unmount(path, UnmountFlags::DETACH) else {
        return Ok(());
    };
    if error != rustix::io::Errno::PERM {
        return Err(error).with_context(|| format!("{shown} cannot be unmounted"));
    }
    // Whoever is not root asks the helper that may.
    let helper = Command::new("fusermount3")
        .args(["-u", "-z", "--"])
        .arg(path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match helper {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => bail!("{shown} cannot be unmounted: fusermount3 ended with {status}"),
        Err(error) => bail!("{shown} cannot be unmounted: fusermount3 cannot be run: {error}"),
    }
}

/// What is mounted at a path.
#[derive(Debug, PartialEq, Eq)]
struct Mounted {
    /// Minor number of its device, which is the number of its FUSE connection.
    minor: u32,
    /// Its type.
    kind: String,
    /// What its process calls it.
    source: String,
}

impl Mounted {
    /// Mounted by the kernel itself it is a plain `fuse`, by fusermount3 a `fuse.altmount`.
    fn is_ours(&self) -> bool {
        self.kind.starts_with("fuse") && self.source == super::NAME
    }
}

fn mounted(path: &Path) -> Option<Mounted> {
    find(&fs::read_to_string("/proc/self/mountinfo").ok()?, path)
}

/// The topmost mount at a path, in the words of proc(5): `36 35 98:0 /root /point options - type source options`.
fn find(table: &str, path: &Path) -> Option<Mounted> {
    let path = path.to_str()?;
    table.lines().rev().find_map(|line| {
        let (head, tail) = line.split_once(" - ")?;
        let mut head = head.split(' ').skip(2);
        let (_, minor) = head.next()?.split_once(':')?;
        let point = head.nth(1)?;
        let mut tail = tail.split(' ').map(str::to_owned);
        if unescaped(point) != path {
            return None;
        }
        Some(Mounted {
            minor: minor.parse().ok()?,
            kind: tail.next()?,
            source: tail.next()?,
        })
    })
}

/// Blanks, tabs, line ends and backslashes are written in octal.
fn unescaped(text: &str) -> String {
    text.replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topmost_mount_at_a_path_is_found() {
        let table = "22 1 8:1 / / rw - ext4 /dev/a rw\n\
            40 22 0:51 / /mnt/my\\040files rw,nosuid shared:7 - fuse.altmount altmount rw\n\
            41 22 0:52 / /mnt/my rw - fuse altmount rw\n\
            42 40 0:53 / /mnt/my\\040files rw - tmpfs t rw\n";
        let found = |path: &str| find(table, Path::new(path)).map(|m| (m.minor, m.is_ours()));
        assert_eq!(
            found("/mnt/my files"),
            Some((53, false)),
            "something lies over ours"
        );
        assert_eq!(found("/mnt/my"), Some((52, true)));
        assert_eq!(found("/mnt"), None);
        assert_eq!(find("garbage\n- -\n1 2 3\n", Path::new("/")), None);
    }

    #[test]
    fn a_mount_point_is_made_and_must_be_an_empty_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let point = folder.path().join("a/b");
        prepare(&point).expect("made");
        prepare(&point).expect("empty");
        fs::write(point.join("x"), "").expect("written");
        let error = format!("{:#}", prepare(&point).expect_err("not empty"));
        assert!(error.contains("is not empty"), "{error}");
        let error = format!("{:#}", prepare(&point.join("x")).expect_err("a file"));
        assert!(error.contains("is not a folder"), "{error}");
    }

    #[test]
    fn a_path_that_is_no_mount_of_ours_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        release(folder.path());
        assert!(fs::metadata(folder.path()).is_ok());
    }
}
