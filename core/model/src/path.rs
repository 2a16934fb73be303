use serde::{Deserialize, Serialize};
use std::fmt;

/// The longest path component, in bytes of UTF-8 (what Linux file systems take).
pub const MAX_COMPONENT_BYTES: usize = 255;
/// The longest path, in bytes of UTF-8.
pub const MAX_PATH_BYTES: usize = 4096;

/// A path in the library: components joined by `/`, relative to the root, normalised. The empty path is the root.
///
/// Never holds an empty component, `.`, `..`, a NUL or other control character, or a backslash; so joining it to
/// a folder can never leave that folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VPath(String);

/// Why a text is not a [`VPath`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// An empty component, `.` or `..`.
    #[error("path '{0}' has an empty, '.' or '..' component")]
    Component(String),
    /// A control character or a backslash.
    #[error("path '{0}' has a control character or a backslash")]
    Character(String),
    /// A component over [`MAX_COMPONENT_BYTES`] or a path over [`MAX_PATH_BYTES`].
    #[error("path of {0} bytes is too long (a component may have 255 bytes, a path 4096)")]
    TooLong(usize),
}

impl VPath {
    /// The root of the library.
    pub fn root() -> Self {
        Self::default()
    }

    /// Checks and takes a relative path. One leading and one trailing `/` are dropped.
    ///
    /// # Errors
    /// [`PathError`] where a component breaks the rules of the type.
    pub fn new(text: &str) -> Result<Self, PathError> {
        let text = text.strip_prefix('/').unwrap_or(text);
        let text = text.strip_suffix('/').unwrap_or(text);
        if text.is_empty() {
            return Ok(Self::root());
        }
        if text.len() > MAX_PATH_BYTES {
            return Err(PathError::TooLong(text.len()));
        }
        for component in text.split('/') {
            if component.is_empty() || component == "." || component == ".." {
                return Err(PathError::Component(text.to_owned()));
            }
            if component.chars().any(|c| c.is_control() || c == '\\') {
                return Err(PathError::Character(text.escape_default().to_string()));
            }
            if component.len() > MAX_COMPONENT_BYTES {
                return Err(PathError::TooLong(component.len()));
            }
        }
        Ok(Self(text.to_owned()))
    }

    /// The path as text, without a leading `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The components, outermost first.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|c| !c.is_empty())
    }

    /// The last component; `None` for the root.
    pub fn name(&self) -> Option<&str> {
        self.components().last()
    }

    /// The folder that holds this path; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        Some(Self(
            self.0
                .rsplit_once('/')
                .map_or(String::new(), |(parent, _)| parent.to_owned()),
        ))
    }

    /// `self` followed by `tail`.
    ///
    /// # Errors
    /// [`PathError::TooLong`] where the result is over [`MAX_PATH_BYTES`].
    pub fn join(&self, tail: &Self) -> Result<Self, PathError> {
        if self.is_root() {
            return Ok(tail.clone());
        }
        if tail.is_root() {
            return Ok(self.clone());
        }
        let len = self.0.len() + 1 + tail.0.len();
        if len > MAX_PATH_BYTES {
            return Err(PathError::TooLong(len));
        }
        Ok(Self(format!("{}/{}", self.0, tail.0)))
    }

    /// Whether `self` is `other` or lies below it, by whole components.
    pub fn starts_with(&self, other: &Self) -> bool {
        other.is_root()
            || self
                .0
                .strip_prefix(&other.0)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl fmt::Display for VPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.0)
    }
}

impl TryFrom<String> for VPath {
    type Error = PathError;
    fn try_from(text: String) -> Result<Self, PathError> {
        Self::new(&text)
    }
}

impl From<VPath> for String {
    fn from(path: VPath) -> Self {
        path.0
    }
}

/// Makes one path component of any text: separators, control characters and what Windows refuses become `_`,
/// trailing dots and spaces go, device names (`CON`, `NUL`, ...) get a `_` in front, and a long name is cut to
/// [`MAX_COMPONENT_BYTES`] at a character border with its extension (up to 16 bytes) kept. Never empty.
pub fn sanitize_component(text: &str) -> String {
    let mut name: String = text
        .chars()
        .map(|c| {
            if c.is_control() || matches!(c, '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|') {
                '_'
            } else {
                c
            }
        })
        .collect();
    name.truncate(name.trim_end_matches(['.', ' ']).len());
    let name = name.trim_start();
    if name.is_empty() {
        return "_".to_owned();
    }
    let stem = name.split('.').next().unwrap_or(name).to_ascii_uppercase();
    let device = matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL")
        || (stem.len() == 4
            && (stem.starts_with("COM") || stem.starts_with("LPT"))
            && stem.as_bytes()[3].is_ascii_digit());
    let name = if device {
        format!("_{name}")
    } else {
        name.to_owned()
    };
    if name.len() <= MAX_COMPONENT_BYTES {
        return name;
    }
    let (stem, extension) = match name.rfind('.') {
        Some(dot) if dot > 0 && name.len() - dot <= 17 => name.split_at(dot),
        _ => (name.as_str(), ""),
    };
    let mut cut = MAX_COMPONENT_BYTES - extension.len();
    while !stem.is_char_boundary(cut) {
        cut -= 1;
    }
    format!("{}{extension}", stem[..cut].trim_end_matches(['.', ' ']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_normal_paths_and_drops_outer_slashes() {
        let path = VPath::new("/a/b.mkv").expect("valid");
        assert_eq!(path.as_str(), "a/b.mkv");
        assert_eq!(path.name(), Some("b.mkv"));
        assert_eq!(path.parent().map(|p| p.to_string()), Some("/a".to_owned()));
        assert!(VPath::new("").expect("root").is_root());
    }

    #[test]
    fn refuses_what_could_leave_the_folder() {
        for bad in ["..", "a/../b", "a//b", "./a", "a\0b", "a\\b", "a/\n"] {
            assert!(VPath::new(bad).is_err(), "{bad:?}");
        }
        assert!(serde_json::from_str::<VPath>("\"../x\"").is_err());
    }

    #[test]
    fn starts_with_goes_by_whole_components() {
        let path = VPath::new("down/loads/x").expect("valid");
        assert!(path.starts_with(&VPath::new("down/loads").expect("valid")));
        assert!(!path.starts_with(&VPath::new("down/lo").expect("valid")));
    }

    #[test]
    fn sanitized_names_are_always_components() {
        for text in [
            "",
            "..",
            "a/b",
            "CON.txt",
            "x. .",
            "\u{7}",
            &"ä".repeat(300),
            &format!("{}.mkv", "x".repeat(400)),
        ] {
            let name = sanitize_component(text);
            assert_eq!(VPath::new(&name).expect(&name).as_str(), name);
        }
        assert!(sanitize_component(&format!("{}.mkv", "x".repeat(400))).ends_with(".mkv"));
        assert_eq!(sanitize_component("CON.txt"), "_CON.txt");
    }
}
