//! The links importer: `.strm`, `.url` and JSON link lists become files whose bytes come by HTTP.
//!
//! Nothing is downloaded: each link is asked once for its length, its validator and whether it answers ranges, and becomes a
//! source of the content graph. A resource that cannot be read in ranges, or does not say how long it is, is refused by name; one
//! that cannot be told from a changed one is taken with a note.
//!
//! The formats:
//! - `.strm`: one URL a line; empty lines and lines that begin with `#` are skipped.
//! - `.url`: an INI file with `URL=` below `[InternetShortcut]`, as browsers write it.
//! - `.links.json`: `{"files": [{"url": "https://...", "name": "a.mkv", "size": 123}]}`; `name` and `size` may be left out, and a size that
//!   is given must be the one that the server states.
#![warn(missing_docs)]

mod config;
mod import;
mod parse;

pub use config::Config;
pub use parse::{Link, ListKind, kind_of, parse_links};

use altmount_sdk::{
    Confidence, FileType, ImportContext, ImportRequest, Importer, Json, Manifest, Result, Summary,
    async_trait, export_importer,
};

/// The importer. One instance serves many imports at once.
#[derive(Debug)]
pub struct LinksImporter {
    config: Config,
}

#[async_trait]
impl Importer for LinksImporter {
    fn manifest() -> Manifest {
        let kind = |extension: &str, media_type: &str| FileType {
            extensions: vec![extension.to_owned()],
            media_types: vec![media_type.to_owned()],
            magic: Vec::new(),
        };
        Manifest::new("links", env!("CARGO_PKG_VERSION"))
            .name("HTTP links")
            .file_type(kind("strm", "application/x-strm"))
            .file_type(kind("url", "application/x-mswinurl"))
            .file_type(kind("links.json", "application/x-link-list+json"))
            .capability("open:http")
            .config::<Config>()
    }

    fn create(config: Json) -> Result<Self> {
        Ok(Self {
            config: Config::from_json(config)?,
        })
    }

    fn probe(&self, name: &str, head: &[u8]) -> Confidence {
        let Some(kind) = kind_of(name) else {
            return Confidence::NO;
        };
        let text = String::from_utf8_lossy(head).to_ascii_lowercase();
        let likely = match kind {
            ListKind::Strm => text.contains("http://") || text.contains("https://"),
            ListKind::Shortcut => text.contains("[internetshortcut]"),
            ListKind::Json => text.contains("\"files\""),
        };
        if likely {
            Confidence::LIKELY
        } else {
            Confidence::BY_NAME
        }
    }

    async fn import(&self, request: ImportRequest, cx: &dyn ImportContext) -> Result<Summary> {
        import::run(&self.config, &request, cx).await
    }
}

export_importer!(LinksImporter);
