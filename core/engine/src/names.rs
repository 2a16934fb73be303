//! Names in a release that do not collide, the same ones for the same emissions.

use altmount_model::{MAX_COMPONENT_BYTES, PathError, VPath};
use std::collections::HashMap;

/// The names that are taken in a release's folder. Names that differ in the case of letters alone count as equal, since
/// some who mount the library cannot tell them apart.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Lower-case path -> what is there.
    taken: HashMap<String, Taken>,
    /// Lower-case requested folder -> where it really is.
    folders: HashMap<String, String>,
    /// Lower-case path of a file or folder -> the next number to try, so that a million equal names do not take a million tries each.
    next: HashMap<(String, Taken), u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Taken {
    File,
    Folder,
}

impl Names {
    /// The path for a file that wants `wanted`: that one, or with a number before its extension, as in `name (2).ext`.
    /// Folders are shared; one whose name a file has gets a number as well.
    pub(crate) fn place(&mut self, wanted: &VPath) -> Result<VPath, PathError> {
        let (mut requested, mut folder) = (String::new(), String::new());
        let mut components = wanted.components().peekable();
        while let Some(component) = components.next() {
            push(&mut requested, component);
            if components.peek().is_none() {
                let file = self.free(&folder, component, Taken::File)?;
                return VPath::new(&file);
            }
            let key = requested.to_lowercase();
            folder = match self.folders.get(&key) {
                Some(there) => there.clone(),
                None => {
                    let made = self.free(&folder, component, Taken::Folder)?;
                    self.folders.insert(key, made.clone());
                    made
                }
            };
        }
        Err(PathError::Component(String::new()))
    }

    fn free(&mut self, folder: &str, name: &str, what: Taken) -> Result<String, PathError> {
        let mut plain = folder.to_owned();
        push(&mut plain, name);
        let plain_key = plain.to_lowercase();
        if self.take(&plain_key, what) {
            return Ok(plain);
        }
        loop {
            let number = self.next.entry((plain_key.clone(), what)).or_insert(2);
            let numbered = numbered(name, *number, what);
            *number = number.checked_add(1).ok_or(PathError::TooLong(plain.len()))?;
            let mut path = folder.to_owned();
            push(&mut path, &numbered);
            if self.take(&path.to_lowercase(), what) {
                return Ok(path);
            }
        }
    }

    fn take(&mut self, key: &str, what: Taken) -> bool {
        match self.taken.get(key) {
            Some(Taken::Folder) => what == Taken::Folder,
            Some(Taken::File) => false,
            None => {
                self.taken.insert(key.to_owned(), what);
                true
            }
        }
    }
}

fn push(path: &mut String, component: &str) {
    if !path.is_empty() {
        path.push('/');
    }
    path.push_str(component);
}

/// `name (2).ext`; cut at a character border where it would be too long for a component.
fn numbered(name: &str, number: u32, what: Taken) -> String {
    let (stem, extension) = match name.rfind('.') {
        Some(dot) if dot > 0 && what == Taken::File && name.len() - dot <= 17 => name.split_at(dot),
        _ => (name, ""),
    };
    let tail = format!(" ({number}){extension}");
    let mut cut = stem.len().min(MAX_COMPONENT_BYTES - tail.len());
    while !stem.is_char_boundary(cut) {
        cut -= 1;
    }
    format!("{}{tail}", &stem[..cut])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(wanted: &[&str]) -> Vec<String> {
        let mut names = Names::default();
        wanted
            .iter()
            .map(|w| {
                names
                    .place(&VPath::new(w).expect("valid"))
                    .expect("fits")
                    .as_str()
                    .to_owned()
            })
            .collect()
    }

    #[test]
    fn equal_names_are_numbered_in_order() {
        assert_eq!(
            place(&[
                "a.mkv",
                "A.MKV",
                "a (2).mkv",
                "a.mkv",
                "noext",
                "noext",
                ".hidden",
                ".hidden"
            ]),
            [
                "a.mkv",
                "A (2).MKV",
                "a (2) (2).mkv",
                "a (3).mkv",
                "noext",
                "noext (2)",
                ".hidden",
                ".hidden (2)"
            ]
        );
    }

    #[test]
    fn folders_merge_and_never_share_a_name_with_a_file() {
        assert_eq!(
            place(&[
                "Season 1/a",
                "season 1/b",
                "season 1/A",
                "x",
                "x/y",
                "X/z",
                "Season 1"
            ]),
            [
                "Season 1/a",
                "Season 1/b",
                "Season 1/A (2)",
                "x",
                "x (2)/y",
                "x (2)/z",
                "Season 1 (2)"
            ]
        );
    }

    #[test]
    fn long_names_stay_components() {
        let long = format!("{}ä.mkv", "x".repeat(249));
        let placed = place(&[&long, &long]);
        assert_eq!(placed[0], long);
        assert!(placed[1].len() <= MAX_COMPONENT_BYTES && placed[1].ends_with(" (2).mkv"));
    }
}
