use crate::{ErrorKind, ImportContext, ImportError, Json, Manifest, Result};
use altmount_model::{ByteRange, Content, Node, VPath};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// Turns a queued file into virtual files. One instance serves many imports at once.
#[async_trait]
pub trait Importer: Send + Sync + 'static {
    /// What the importer is and which files it takes.
    fn manifest() -> Manifest
    where
        Self: Sized;

    /// Makes an instance from the operator's configuration (`plugins.config.<id>`; an empty object where there is none).
    ///
    /// # Errors
    /// Where the configuration cannot be used; the message names the key.
    fn create(config: Json) -> Result<Self>
    where
        Self: Sized;

    /// How sure the importer is that it takes a file, from its name and its first bytes (64 KiB at most). Pure and quick.
    fn probe(&self, name: &str, head: &[u8]) -> Confidence;

    /// Imports the file behind [`crate::Handle::UPLOAD`]: emits virtual files through `cx`. What was emitted is committed only
    /// where this returns `Ok`. Dropping the future is how an import is cancelled.
    ///
    /// # Errors
    /// Where the import fails; the kind decides whether it is tried again.
    async fn import(&self, request: ImportRequest, cx: &dyn ImportContext) -> Result<Summary>;
}

/// How sure an importer is, from 0 (does not take the file) to 100 (certain).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Confidence(u8);

impl Confidence {
    /// Does not take the file.
    pub const NO: Self = Self(0);
    /// The name fits, the content says nothing.
    pub const BY_NAME: Self = Self(30);
    /// The content looks right.
    pub const LIKELY: Self = Self(70);
    /// The content can be nothing else.
    pub const CERTAIN: Self = Self(100);

    /// A confidence of 0 to 100; more counts as 100.
    pub const fn new(value: u8) -> Self {
        Self(if value > 100 { 100 } else { value })
    }

    /// The number.
    pub const fn value(self) -> u8 {
        self.0
    }
}

/// What is to be imported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct ImportRequest {
    /// The queued file's name, without folders.
    pub file_name: String,
    /// The queued file's length in bytes.
    pub size: u64,
    /// The release's name: the file name without its importable extension.
    pub release_name: String,
    /// Passwords that came with the job, in the order in which to try them.
    #[serde(default)]
    pub passwords: Vec<String>,
    /// The category that the job is of, where it is of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
}

impl ImportRequest {
    /// A request for a file of `size` bytes.
    pub fn new(file_name: &str, release_name: &str, size: u64) -> Self {
        Self {
            file_name: file_name.to_owned(),
            size,
            release_name: release_name.to_owned(),
            passwords: Vec::new(),
            category: None,
        }
    }
}

/// What an import found, beside the files that it emitted.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Summary {
    /// Things worth telling a person, in order.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Facts that the queued file stated of itself, such as (`title`, ...), (`category`, ...), (`tag`, ...).
    #[serde(default)]
    pub meta: Vec<(String, String)>,
}

/// One virtual file, as an importer emits it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct VirtualFile {
    /// Where it lies below the release's folder.
    pub path: VPath,
    /// Its length in bytes; equals the length of `content`.
    pub size: u64,
    /// Where its bytes lie.
    pub content: Content,
    /// Time of last change, in seconds since 1970; the time of the import where `None`.
    #[serde(default)]
    pub mtime: Option<i64>,
    /// The rest.
    #[serde(default)]
    pub attributes: Attributes,
}

impl VirtualFile {
    /// A listed file with no attributes.
    pub fn new(path: VPath, size: u64, content: Content) -> Self {
        Self {
            path,
            size,
            content,
            mtime: None,
            attributes: Attributes::default(),
        }
    }
}

impl VirtualFile {
    /// A listed file of these bytes, at a path below the release's folder.
    ///
    /// # Errors
    /// `invalid` for a path that is none: see [`altmount_model::sanitize_component`] for names that come from outside.
    pub fn inline(path: &str, bytes: impl Into<Vec<u8>>) -> Result<Self> {
        let path = VPath::new(path).map_err(|e| ImportError::new(ErrorKind::Invalid, e.to_string()))?;
        let bytes = bytes.into();
        let size = bytes.len() as u64;
        Ok(Self::new(path, size, Content::single(Node::Inline { bytes })))
    }
}

/// What is known of a virtual file beside its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Attributes {
    /// What the file is for; only [`Role::Main`] files are listed in the library.
    #[serde(default)]
    pub role: Role,
    /// Where the name came from, and why it won.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_source: Option<String>,
    /// The archive member that the file is, as a path through archives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive_path: Option<String>,
    /// How the innermost archive keeps it, such as `stored`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Ranges of the file that no source has. They read as zero bytes, because the operator's damage policy says so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holes: Vec<ByteRange>,
}

/// What a virtual file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Role {
    /// A file that a person wants.
    #[default]
    Main,
    /// Repair data, checksums, the nested `.nzb`: kept with the release, not listed.
    Sidecar,
}
