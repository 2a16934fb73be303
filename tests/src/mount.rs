//! A server's library as a folder of this machine.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Whether `/dev/fuse` can be opened, without which no server can mount anything.
#[must_use]
pub fn can_mount() -> bool {
    let device = OpenOptions::new().read(true).write(true).open("/dev/fuse");
    device.is_ok()
}

/// A place for a server's mount. What a server that was killed leaves there goes with this.
#[derive(Debug)]
pub struct Mount {
    path: PathBuf,
}

impl Mount {
    /// The place at this path, an empty folder that is made where it is not there.
    pub fn new(path: &Path) -> Self {
        std::fs::create_dir_all(path).expect("a folder to mount at");
        // The table of mounts has no path with a link in it.
        let path = path.canonicalize().expect("the folder's own path");
        Self { path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The configuration, as YAML, of a server that mounts its library here.
    pub fn config(&self) -> String {
        format!("mount:\n  path: '{}'\n", self.path.display())
    }

    /// Whether anything is mounted here.
    ///
    /// # Errors
    /// Where the table of mounts cannot be read.
    pub fn is_mounted(&self) -> io::Result<bool> {
        Ok(is_listed(
            &std::fs::read_to_string("/proc/self/mounts")?,
            &self.path,
        ))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // The folder could not be deleted with its parent.
        if self.is_mounted().unwrap_or(true) {
            let _ = Command::new("umount").arg("-l").arg(&self.path).status();
        }
    }
}

/// Whether a table of mounts has something at this path. Its lines are `SOURCE PATH TYPE …`, with spaces in a path as `\040`.
fn is_listed(table: &str, path: &Path) -> bool {
    let path = path.to_string_lossy().replace(' ', "\\040");
    table
        .lines()
        .any(|line| line.split(' ').nth(1) == Some(path.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_found_in_the_table_by_its_whole_path() {
        let table = "proc /proc proc rw 0 0\naltmount /tmp/my\\040films fuse rw 0 0\n";
        assert!(is_listed(table, Path::new("/tmp/my films")));
        for other in ["/tmp/my", "/tmp", "altmount", "fuse"] {
            assert!(!is_listed(table, Path::new(other)), "{other}");
        }
    }

    #[test]
    fn an_empty_folder_is_not_mounted() {
        let folder = tempfile::tempdir().expect("a folder");
        let mount = Mount::new(&folder.path().join("films"));
        assert!(!mount.is_mounted().expect("the table is read"));
        assert!(mount.config().contains(mount.path().to_str().expect("a path")));
    }
}
