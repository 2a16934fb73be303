use serde::{Deserialize, Serialize};

/// What an importer says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Short name, `[a-z0-9-]`, unique among all importers.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// The importer's own version.
    pub version: String,
    /// The file types that it takes.
    pub file_types: Vec<FileType>,
    /// Who goes first where two importers are equally sure; the higher one does.
    #[serde(default)]
    pub priority: i32,
    /// The host services that it uses, such as `open:usenet` or `open:http`.
    #[serde(default)]
    pub capabilities: Vec<String>,
}

/// One type of file.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FileType {
    /// File name extensions without the leading dot, lower case; a compound one such as `nzb.gz` is allowed.
    #[serde(default)]
    pub extensions: Vec<String>,
    /// Media types.
    #[serde(default)]
    pub media_types: Vec<String>,
    /// Signatures, any of which is enough.
    #[serde(default)]
    pub magic: Vec<Magic>,
}

/// Bytes at a fixed place of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Magic {
    /// Where they start.
    pub offset: u64,
    /// The bytes in hexadecimal.
    pub hex: String,
}

impl Manifest {
    /// A manifest with an id, a version and nothing else.
    pub fn new(id: &str, version: &str) -> Self {
        Self {
            id: id.to_owned(),
            name: id.to_owned(),
            version: version.to_owned(),
            file_types: Vec::new(),
            priority: 0,
            capabilities: Vec::new(),
        }
    }

    /// With a name for people.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.to_owned();
        self
    }

    /// Takes files with this extension (no leading dot).
    #[must_use]
    pub fn extension(mut self, extension: &str) -> Self {
        self.file_types.push(FileType {
            extensions: vec![extension.to_ascii_lowercase()],
            ..FileType::default()
        });
        self
    }

    /// Takes one more file type.
    #[must_use]
    pub fn file_type(mut self, file_type: FileType) -> Self {
        self.file_types.push(file_type);
        self
    }

    /// With a priority.
    #[must_use]
    pub fn priority(mut self, priority: i32) -> Self {
        self.priority = priority;
        self
    }

    /// Uses this host service.
    #[must_use]
    pub fn capability(mut self, capability: &str) -> Self {
        self.capabilities.push(capability.to_owned());
        self
    }

    /// All extensions of all file types.
    pub fn extensions(&self) -> impl Iterator<Item = &str> {
        self.file_types
            .iter()
            .flat_map(|t| t.extensions.iter().map(String::as_str))
    }
}
