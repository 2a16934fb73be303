//! Metalinks (RFC 5854, and version 3): files with sizes, checksums and mirrors, read from the best mirror by HTTP ranges.

mod document;

use altmount_sdk::{http, *};
use document::{File, Mirror};

/// Largest metalink, in bytes.
const MAX_BYTES: u64 = 8 << 20;
/// Most files of one.
const MAX_FILES: usize = 10_000;
/// Most mirrors of a file that are asked.
const MAX_MIRRORS: usize = 16;

/// The importer.
#[derive(Debug)]
pub struct MetalinkImporter;

#[async_trait]
impl Importer for MetalinkImporter {
    fn manifest() -> Manifest {
        let kind = |extension: &str, media_type: &str| FileType {
            extensions: vec![extension.to_owned()],
            media_types: vec![media_type.to_owned()],
            magic: Vec::new(),
        };
        Manifest::new("metalink", env!("CARGO_PKG_VERSION"))
            .name("Metalinks")
            .file_type(kind("meta4", "application/metalink4+xml"))
            .file_type(kind("metalink", "application/metalink+xml"))
            .capability("open:http")
            .config_schema(json!({"type": "object", "additionalProperties": false}))
    }

    fn create(_config: Json) -> Result<Self> {
        Ok(Self)
    }

    fn probe(&self, _name: &str, head: &[u8]) -> Confidence {
        if head.windows(9).any(|window| window == b"<metalink") {
            Confidence::CERTAIN
        } else {
            Confidence::NO
        }
    }

    async fn import(&self, _request: ImportRequest, cx: &dyn ImportContext) -> Result<Summary> {
        let bytes = cx.read_all(Handle::UPLOAD, MAX_BYTES).await?;
        let files = document::parse(&bytes)?;
        if files.len() > MAX_FILES {
            let text = format!(
                "the metalink has {} files, at most {MAX_FILES} are taken",
                files.len()
            );
            return Err(ImportError::new(ErrorKind::Limit, text));
        }
        let mut summary = Summary::default();
        for (done, file) in files.iter().enumerate() {
            let staged = source(cx, file, &mut summary.notes).await?;
            cx.emit(staged)?;
            for (kind, value) in &file.hashes {
                summary
                    .meta
                    .push((kind.clone(), format!("{value}  {}", file.name)));
            }
            cx.progress(done as u64 + 1, files.len() as u64);
        }
        Ok(summary)
    }
}

/// The file, read from the first mirror that has what the metalink says.
async fn source(cx: &dyn ImportContext, file: &File, notes: &mut Vec<String>) -> Result<VirtualFile> {
    // RFC 5854, 4.1.2.1: the name may have folders, and must not lead out of them.
    let parts = file.name.split(['/', '\\']).filter(|part| !part.is_empty());
    let path: Vec<String> = parts.map(sanitize_component).collect();
    let path = VPath::new(&path.join("/")).map_err(|e| {
        ImportError::new(
            ErrorKind::Invalid,
            format!("'{}' is no file name: {e}", file.name),
        )
    })?;
    let mut last = None;
    for mirror in file.mirrors.iter().take(MAX_MIRRORS) {
        match ask(cx, file, mirror).await {
            Ok((len, validator)) => {
                let node = Node::Http {
                    url: mirror.url.clone(),
                    len,
                    secret_ref: None,
                    validator,
                };
                let mut staged = VirtualFile::new(path, len, Content::single(node));
                staged.attributes.name_source = Some("metalink".to_owned());
                return Ok(staged);
            }
            Err(error) if error.kind == ErrorKind::Cancelled => return Err(error),
            Err(error) => {
                notes.push(format!("'{}': {}", file.name, error.message));
                last = Some(error);
            }
        }
    }
    Err(last.unwrap_or_else(|| {
        let text = format!("'{}' has no mirror that is reached by HTTP", file.name);
        ImportError::new(ErrorKind::Unsupported, text)
    }))
}

async fn ask(cx: &dyn ImportContext, file: &File, mirror: &Mirror) -> Result<(u64, HttpValidator)> {
    let head = http::head(cx, &mirror.url).await?;
    let place = mirror.shown();
    let refuse = |kind, why: String| Err(ImportError::new(kind, format!("{place}: {why}")));
    if !head.accept_ranges {
        return refuse(
            ErrorKind::Unsupported,
            "the server answers no range requests".to_owned(),
        );
    }
    let Some(len) = head.len else {
        return refuse(
            ErrorKind::Unsupported,
            "the server does not say how long the file is".to_owned(),
        );
    };
    if let Some(size) = file.size.filter(|size| *size != len) {
        return refuse(
            ErrorKind::Changed,
            format!("the metalink says {size} bytes, the server {len}"),
        );
    }
    let validator = HttpValidator {
        etag: head.etag.filter(|etag| !etag.starts_with("W/")),
        last_modified: head.last_modified,
    };
    Ok((len, validator))
}

export_importer!(MetalinkImporter);
