//! Importers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Importers.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Plugins {
    /// Configuration of importers, by their id. What an importer reads is in its own documentation.
    pub config: BTreeMap<String, serde_json::Value>,
    /// Who goes first where two importers are equally sure, by their id; the highest number does, 0 where it is left
    /// out.
    pub priority: BTreeMap<String, i32>,
    /// Importers that are loaded from shared libraries. A library is code with all rights of the server: list only what you
    /// trust. On Linux.
    pub load: Vec<PluginFile>,
    /// Whether libraries without `sha256`, or that others than root and the server's user may write, are loaded all the
    /// same. For authors of importers alone.
    pub allow_unverified: bool,
}

/// An importer in a shared library.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PluginFile {
    /// Where the library lies, from `/` on.
    pub path: String,
    /// The SHA-256 of its bytes in hexadecimal, as `altmount plugin hash` prints it.
    pub sha256: Option<String>,
    /// The id of an importer whose place it takes; of two of one id, the one that is part of the program is used else.
    pub replaces: Option<String>,
    /// Whether the server does not start without it.
    pub required: bool,
}
