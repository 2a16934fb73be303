//! Which of the files that a release has people are shown, and what it means that some of them cannot be mapped.

use crate::archive::{Failure, Opened, Stream};
use crate::{Config, names, some_of};
use altmount_sdk::{ErrorKind, ImportError, Result, Role};
use std::path::Path;

/// What cannot be mapped fails the release unless it is so many times smaller than the largest file that can.
const MINOR: u64 = 10;
/// A sample is so many times shorter than the longest video.
const SAMPLE: u64 = 4;
/// How many names an error lists.
const NAMED: usize = 10;

/// A file of the release.
#[derive(Debug)]
pub(crate) struct Leaf {
    pub(crate) stream: Stream,
    pub(crate) role: Role,
}

/// The files of a release, from what its containers gave.
pub(crate) fn leaves(config: &Config, opened: Opened, notes: &mut Vec<String>) -> Result<Vec<Leaf>> {
    let Opened {
        mut files,
        failures,
        containers,
        notes: said,
    } = opened;
    notes.extend(said);
    let largest = files.iter().map(|f| f.len).max().unwrap_or(0);
    for (number, container) in containers.into_iter().enumerate() {
        let of_it: Vec<&Failure> = failures.iter().filter(|f| f.container == number).collect();
        let Some(worst) = of_it.iter().max_by_key(|f| f.size) else {
            continue;
        };
        let lost: u64 = of_it.iter().map(|f| f.size).sum();
        if lost.saturating_mul(MINOR) > largest {
            let mut error = worst.error.clone();
            if of_it.len() > 1 {
                error.message = format!("{}; so it is with {} more", error.message, of_it.len() - 1);
            }
            return Err(error.with("archive", container.name));
        }
        notes.extend(of_it.iter().map(|f| format!("left out: {}", f.error.message)));
        if container.mapped == 0 {
            notes.push(format!(
                "'{}' is listed as the archive that it is",
                container.name
            ));
            files.extend(container.volumes);
        }
    }
    let ignored = config
        .ignored()
        .map_err(|e| ImportError::new(ErrorKind::Internal, e.to_string()))?;
    let longest = files
        .iter()
        .filter(|f| is_video(f))
        .map(|f| f.len)
        .max()
        .unwrap_or(0);
    Ok(files
        .into_iter()
        .map(|stream| {
            let by_glob =
                ignored.is_match(Path::new(&stream.path)) || ignored.is_match(Path::new(stream.name()));
            let sample = !config.list_samples
                && is_sample(&stream.path)
                && is_video(&stream)
                && stream.len.saturating_mul(SAMPLE) <= longest;
            if by_glob || sample {
                let why = if by_glob {
                    "import.ignore names it"
                } else {
                    "it is a sample"
                };
                notes.push(format!("'{}' is not listed: {why}", stream.path));
            }
            let role = if by_glob || sample {
                Role::Sidecar
            } else {
                role(config, stream.name(), None)
            };
            Leaf { stream, role }
        })
        .collect())
}

/// What a file is for, by its extension, or by the one that its content has.
pub(crate) fn role(config: &Config, name: &str, by_content: Option<&str>) -> Role {
    let listed = |extension: &str| config.sidecar_extensions.iter().any(|e| e == extension);
    let by_name = names::extension(name).is_some_and(|e| listed(&e));
    if by_name || by_content.is_some_and(|e| e == "par2" && listed(e)) {
        Role::Sidecar
    } else {
        Role::Main
    }
}

/// Says of a name whether a file that has it would not be listed, whatever becomes of it.
pub(crate) fn unwanted(config: &Config) -> impl Fn(&str) -> bool + '_ {
    let ignored = config.ignored();
    move |name| {
        let by_glob = ignored.as_ref().is_ok_and(|set| set.is_match(Path::new(name)));
        by_glob || (!config.list_samples && is_sample(name)) || role(config, name, None) == Role::Sidecar
    }
}

/// Whether `sample` is a word of the path.
fn is_sample(path: &str) -> bool {
    path.split(|c: char| !c.is_ascii_alphanumeric())
        .any(|word| word.eq_ignore_ascii_case("sample"))
}

/// Whether a file with this extension is a video.
pub(crate) fn is_video_extension(extension: &str) -> bool {
    const VIDEOS: &[&str] = &[
        "mkv", "mp4", "m4v", "avi", "mov", "wmv", "mpg", "mpeg", "ts", "m2ts", "mts", "vob", "webm", "flv",
    ];
    VIDEOS.contains(&extension)
}

fn is_video(stream: &Stream) -> bool {
    stream.extension().is_some_and(|e| is_video_extension(&e)) || stream.kind.is_some_and(|k| k.is_media())
}

/// The only big listed file takes the release's name where its own says nothing. Big: at least half of the largest.
pub(crate) fn lend_release_name(leaves: &mut [Leaf], release: &str) {
    let largest = leaves
        .iter()
        .filter(|l| l.role == Role::Main)
        .map(|l| l.stream.len)
        .max()
        .unwrap_or(0);
    let mut big = leaves
        .iter_mut()
        .filter(|l| l.role == Role::Main && l.stream.len >= largest.div_ceil(2));
    if let (Some(only), None) = (big.next(), big.next())
        && names::is_junk(only.stream.name())
        && release.chars().any(char::is_alphanumeric)
    {
        let by_content = only.stream.kind.map(|k| k.extension());
        let name = names::of_release(release, only.stream.name(), by_content);
        only.stream.path = format!("{}{}", only.stream.folder(), name.text);
        only.stream.name_source = name.source;
    }
}

/// The error of a release of which nothing is listed.
pub(crate) fn nothing_usable(seen: &[String]) -> ImportError {
    let text = if seen.is_empty() {
        "nothing in the release can be read, its sidecars included".to_owned()
    } else {
        let names = some_of(seen.iter().map(String::as_str), seen.len());
        format!("nothing in the release is worth listing; it has: {names}")
    };
    let error = ImportError::new(ErrorKind::NothingUsable, text);
    seen.iter()
        .take(NAMED)
        .fold(error, |e, name| e.with("seen", name))
}

#[cfg(test)]
mod tests {
    use super::is_sample;

    #[test]
    fn samples_are_a_word() {
        for path in [
            "sample.mkv",
            "Sample/movie.mkv",
            "movie-sample.mkv",
            "Movie.SAMPLE.mkv",
        ] {
            assert!(is_sample(path), "{path}");
        }
        for path in ["Samples.of.Life.mkv", "resampled.mkv", "movie.mkv"] {
            assert!(!is_sample(path), "{path}");
        }
    }
}
