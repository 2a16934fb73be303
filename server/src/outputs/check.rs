//! Whether this machine has what a way out of the library needs, before it is configured.

use crate::config::OutputWay;
use std::path::Path;

/// What FUSE is reached by.
const FUSE: &str = "/dev/fuse";

/// Whether this system can mount at all.
pub fn has_fuse() -> bool {
    cfg!(all(target_os = "linux", feature = "fuse")) && std::fs::metadata(FUSE).is_ok()
}

/// Looks whether a folder can be what `way` needs, and makes it where it is not there. Blocks.
///
/// # Errors
/// Why not, and what to do, for people.
pub fn check(way: OutputWay, folder: &Path) -> Result<(), String> {
    let shown = folder.display();
    if !folder.is_absolute() {
        return Err(format!("'{shown}' must be a full path, from '/' on"));
    }
    if way == OutputWay::Mount && !has_fuse() {
        return Err(format!(
            "this machine has no {FUSE}, or this build cannot mount; give the container the device as \
             examples/deploy/compose.yaml does, or choose another way"
        ));
    }
    let made = std::fs::create_dir_all(folder);
    made.map_err(|error| format!("the folder '{shown}' cannot be made: {error}"))?;
    if way == OutputWay::Mount {
        let mut inside =
            std::fs::read_dir(folder).map_err(|error| format!("'{shown}' cannot be read: {error}"))?;
        return match inside.next() {
            None => Ok(()),
            Some(_) => Err(format!(
                "'{shown}' is not empty; what is in it would be hidden below the mount"
            )),
        };
    }
    let tried = tempfile::tempfile_in(folder);
    tried.map_err(|error| {
        format!(
            "nothing can be written to '{shown}': {error}; it must belong to the user that the server runs as"
        )
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_made_and_must_take_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let new = folder.path().join("a/b");
        assert_eq!(check(OutputWay::Copy, &new), Ok(()));
        assert_eq!(
            std::fs::read_dir(&new).expect("made").count(),
            0,
            "nothing is left in it"
        );
        std::fs::write(folder.path().join("file"), "x").expect("written");
        let refused = check(OutputWay::Strm, &folder.path().join("file/b")).expect_err("no folder");
        assert!(refused.contains("cannot be made"), "{refused}");
        assert!(check(OutputWay::Strm, Path::new("relative")).is_err());
        let refused = check(OutputWay::Mount, folder.path()).expect_err("something is in it");
        assert!(
            refused.contains("not empty") || refused.contains(FUSE),
            "{refused}"
        );
    }
}
