use crate::{execute::Imported, registry::ChoiceRecord};
use altmount_model::{Content, Node, VPath};
use altmount_sdk::{Attributes, Summary};
use serde::Serialize;
use std::collections::BTreeMap;

/// What an import of a file would put into the library.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// Which importer was chosen, and who else takes the file.
    pub choice: ChoiceRecord,
    /// What it says of the file as a whole.
    pub summary: Summary,
    /// The files, in the order in which they were emitted.
    pub files: Vec<InspectedFile>,
    /// How many article tables there are.
    pub tables: usize,
    /// How many articles they have together.
    pub articles: usize,
}

/// One file of an [`Inspection`].
#[derive(Clone, Debug, Serialize)]
pub struct InspectedFile {
    /// Where it would lie below the release's folder.
    pub path: VPath,
    /// Its length in bytes.
    pub size: u64,
    /// Whether it would be listed in the library.
    pub listed: bool,
    /// Its role, where its name came from, which archive member it is.
    pub attributes: Attributes,
    /// How many nodes of each kind its content has.
    pub nodes: BTreeMap<&'static str, usize>,
}

impl Inspection {
    pub(crate) fn of(imported: Imported, list_sidecars: bool) -> Self {
        let staged = &imported.staged;
        let files = staged.files.iter().map(|file| InspectedFile {
            path: file.path.clone(),
            size: file.size,
            listed: file.listed(list_sidecars),
            attributes: file.attributes.clone(),
            nodes: count(&file.content),
        });
        Self {
            files: files.collect(),
            tables: staged.tables.len(),
            articles: staged.tables.iter().map(|table| table.count()).sum(),
            choice: imported.choice,
            summary: imported.summary,
        }
    }
}

pub(crate) fn count(content: &Content) -> BTreeMap<&'static str, usize> {
    let mut nodes = BTreeMap::new();
    for node in &content.nodes {
        let kind = match node {
            Node::Articles { .. } => "articles",
            Node::Http { .. } => "http",
            Node::Local { .. } => "local",
            Node::Inline { .. } => "inline",
            Node::Zero { .. } => "zero",
            Node::Concat { .. } => "concat",
            Node::Slice { .. } => "slice",
            Node::AesCbc { .. } => "aes_cbc",
            Node::AesCtr { .. } => "aes_ctr",
            _ => "other",
        };
        *nodes.entry(kind).or_default() += 1;
    }
    nodes
}
