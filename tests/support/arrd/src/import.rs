//! What becomes of a completed download: found on the disk, moved into a library, its folder deleted.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// What is a media file by its name.
const MEDIA: [&str; 12] = [
    ".mkv", ".mp4", ".avi", ".ts", ".m2ts", ".iso", ".mp3", ".flac", ".epub", ".mobi", ".strm", ".bin",
];

/// The folder of a download: the top-most one above `storage` that has exactly the release's name, else `storage` itself.
pub fn output_path(storage: &Path, title: &str) -> PathBuf {
    let named = storage
        .ancestors()
        .filter(|path| path.file_name().is_some_and(|name| name == title));
    named.last().unwrap_or(storage).to_owned()
}

fn media_below(path: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    if !fs::metadata(path)?.is_dir() {
        let name = path.to_string_lossy().to_lowercase();
        if MEDIA.iter().any(|ending| name.ends_with(ending)) {
            found.push(path.to_owned());
        }
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        media_below(&entry?.path(), found)?;
    }
    Ok(())
}

/// Moves the media files of a download to a library's folder, as the applications do: a link is made anew with an absolute
/// target, a file is renamed, or copied and deleted where that cannot be. Answers where they are now.
///
/// # Errors
/// Where there is no media file, or a step fails.
pub fn import(storage: &Path, title: &str, library: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    media_below(&output_path(storage, title), &mut found)?;
    if found.is_empty() {
        return Err(io::Error::other(format!(
            "No files found are eligible for import in {}",
            storage.display()
        )));
    }
    fs::create_dir_all(library)?;
    let mut moved = Vec::new();
    for file in found {
        let to = library.join(file.file_name().unwrap_or_default());
        if fs::symlink_metadata(&file)?.file_type().is_symlink() {
            let target = fs::read_link(&file)?;
            let target = if target.is_relative() {
                file.parent().unwrap_or(Path::new("/")).join(target)
            } else {
                target
            };
            std::os::unix::fs::symlink(target, &to)?;
            fs::remove_file(&file)?;
        } else if fs::rename(&file, &to).is_err() {
            fs::copy(&file, &to)?;
            fs::remove_file(&file)?;
        }
        moved.push(to);
    }
    Ok(moved)
}

/// Deletes what is left of a download.
///
/// # Errors
/// Where it cannot be deleted; a folder that is gone is none.
pub fn clean_up(storage: &Path, title: &str) -> io::Result<()> {
    let path = output_path(storage, title);
    let done = match fs::metadata(&path) {
        Ok(there) if there.is_dir() => fs::remove_dir_all(&path),
        Ok(_) => fs::remove_file(&path),
        Err(error) => Err(error),
    };
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_path_is_the_top_most_folder_of_the_name() {
        for (storage, title, expected) in [
            ("/c/tv/Show.S01/Show.S01/a.mkv", "Show.S01", "/c/tv/Show.S01"),
            ("/c/tv/Show.S01", "Show.S01", "/c/tv/Show.S01"),
            ("/c/tv/Show (2)", "Show", "/c/tv/Show (2)"),
        ] {
            assert_eq!(output_path(Path::new(storage), title), Path::new(expected));
        }
    }
}
