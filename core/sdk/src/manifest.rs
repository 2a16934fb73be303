use crate::Json;
use serde::{Deserialize, Serialize};

/// What an importer says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    /// The host services that it uses, such as `open:usenet` or `open:http`; see [`Manifest::CAPABILITIES`].
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// How many queued files it imports at once at most; as many as the server does where `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrency: Option<u32>,
    /// A JSON Schema (draft 2020-12) of its configuration. The host checks the configuration against it, before `create`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_schema: Option<Json>,
    /// Where to read more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub homepage: Option<String>,
    /// Its licence, as an SPDX expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// The version of the SDK that it was built with, where it was built with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sdk_version: Option<String>,
}

/// One type of file.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Magic {
    /// Where they start.
    pub offset: u64,
    /// The bytes in hexadecimal.
    pub hex: String,
}

impl Manifest {
    /// The host services that there are.
    pub const CAPABILITIES: &[&str] = &[
        "archive.map",
        "expand",
        "library.exists",
        "open:http",
        "open:usenet",
        "par2.names",
    ];

    /// A manifest with an id, a version and nothing else.
    pub fn new(id: &str, version: &str) -> Self {
        Self {
            id: id.to_owned(),
            name: id.to_owned(),
            version: version.to_owned(),
            file_types: Vec::new(),
            priority: 0,
            capabilities: Vec::new(),
            max_concurrency: None,
            config_schema: None,
            homepage: None,
            licence: None,
            sdk_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
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

    /// Imports so many queued files at once at most.
    #[must_use]
    pub fn max_concurrency(mut self, at_once: u32) -> Self {
        self.max_concurrency = Some(at_once);
        self
    }

    /// With a JSON Schema of the configuration.
    #[must_use]
    pub fn config_schema(mut self, schema: Json) -> Self {
        self.config_schema = Some(schema);
        self
    }

    /// With the JSON Schema of the type that the configuration is read into (feature `schema`).
    #[cfg(feature = "schema")]
    #[must_use]
    pub fn config<T: schemars::JsonSchema>(self) -> Self {
        self.config_schema(schemars::schema_for!(T).to_value())
    }

    /// With an address to read more at.
    #[must_use]
    pub fn homepage(mut self, url: &str) -> Self {
        self.homepage = Some(url.to_owned());
        self
    }

    /// With a licence, as an SPDX expression.
    #[must_use]
    pub fn licence(mut self, licence: &str) -> Self {
        self.licence = Some(licence.to_owned());
        self
    }

    /// All extensions of all file types.
    pub fn extensions(&self) -> impl Iterator<Item = &str> {
        self.file_types
            .iter()
            .flat_map(|t| t.extensions.iter().map(String::as_str))
    }
}
