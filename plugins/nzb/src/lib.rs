//! The NZB importer: `.nzb` and `.nzb.gz` become files whose bytes are articles.
//!
//! An NZB says which articles a release has and almost nothing that can be trusted beside: its sizes are those of the
//! encoded text, its numbers may be wrong, its subjects are written by whoever posted. So the importer reads the first
//! article of each file and takes exact lengths, order and names from the articles' own headers; it reads more of them only where
//! those headers do not settle it, and it never guesses a length. What is missing is told apart from what could not be asked,
//! and a release of which something is missing fails with the file and the count.
//!
//! The stages are modules: [`parse_nzb`] (text to a compact list), `layout` (lengths from headers, pure), `fetch` (what has to be
//! asked of the host), `heads` (the posted files), `described`, `names` and `content` (what a file is called and what it is), `archive`
//! (containers among them, and what is inside), `listing` (what people are shown), `check` and `damage` (what is missing, and what
//! follows from it), `import` (the order of all this).
#![warn(missing_docs)]

mod archive;
mod check;
mod config;
mod content;
mod damage;
mod decode;
mod described;
mod early;
mod fetch;
mod heads;
mod import;
mod layout;
mod listing;
mod names;
mod nzb;
mod parse;
mod plain;
mod runs;
mod sets;
mod subject;

pub use config::{Check, Config, DamagePolicy};
pub(crate) use import::some_of;
pub use nzb::{Nzb, NzbFile, Segment};

use altmount_sdk::{
    Confidence, FileType, ImportContext, ImportRequest, Importer, Json, Magic, Manifest, Result, Summary,
    async_trait, export_importer,
};

/// The importer. One instance serves many imports at once.
#[derive(Debug)]
pub struct NzbImporter {
    config: Config,
}

#[async_trait]
impl Importer for NzbImporter {
    fn manifest() -> Manifest {
        let magic = |hex: &str| Magic {
            offset: 0,
            hex: hex.to_owned(),
        };
        Manifest::new("nzb", env!("CARGO_PKG_VERSION"))
            .name("Usenet NZB")
            .file_type(FileType {
                extensions: vec!["nzb".to_owned(), "nzb.gz".to_owned()],
                media_types: vec!["application/x-nzb".to_owned()],
                // `<?xml` and gzip: much else starts so too, which `probe` looks into.
                magic: vec![magic("3c3f786d6c"), magic("1f8b08")],
            })
            .capability("open:usenet")
            .config::<Config>()
    }

    fn create(config: Json) -> Result<Self> {
        Ok(Self {
            config: Config::from_json(config)?,
        })
    }

    fn probe(&self, name: &str, head: &[u8]) -> Confidence {
        let name = name.to_ascii_lowercase();
        let named = name.ends_with(".nzb") || name.ends_with(".nzb.gz");
        let text = decode::preview(head);
        let text = text.trim_start();
        match (text.starts_with('<') && parse::names_nzb_element(text), named) {
            (true, _) => Confidence::CERTAIN,
            // The import then says what is wrong with the file.
            (false, true) => Confidence::BY_NAME,
            (false, false) => Confidence::NO,
        }
    }

    async fn import(&self, request: ImportRequest, cx: &dyn ImportContext) -> Result<Summary> {
        let config = self.config.of_category(request.category.as_deref());
        import::run(&config, &request, cx).await
    }
}

export_importer!(NzbImporter);

/// Parses an NZB that is in memory, packed or not, within the limits of `config`.
///
/// # Errors
/// `invalid` for what is no NZB or ends too early, `limit` past a limit.
pub fn parse_nzb(bytes: &[u8], config: &Config) -> Result<Nzb> {
    let mut reader = decode::NzbReader::new(parse::Parser::new(config), config.max_xml_bytes);
    for piece in bytes.chunks(parse::PIECE) {
        reader.push(piece)?;
    }
    reader.finish()
}
