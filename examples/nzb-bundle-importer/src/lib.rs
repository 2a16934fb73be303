//! Bundles of importable files: each one inside is handed back to the host, and imported by whoever takes it.

use altmount_sdk::{nested, nested::Nested, *};
use flate2::read::MultiGzDecoder;
use std::io::{Cursor, Read};

/// Largest bundle, in bytes.
const MAX_BYTES: u64 = 256 << 20;
/// Most files in one.
const MAX_FILES: usize = 1000;
/// Largest file in one, in bytes.
const MAX_FILE: u64 = 32 << 20;
/// Most bytes of all files together.
const MAX_TOTAL: u64 = 256 << 20;

/// The importer.
#[derive(Debug)]
pub struct BundleImporter;

#[async_trait]
impl Importer for BundleImporter {
    fn manifest() -> Manifest {
        Manifest::new("nzb-bundle", env!("CARGO_PKG_VERSION"))
            .name("Bundles of NZBs")
            .extension("zip")
            .extension("tar.gz")
            .extension("tgz")
            .capability("expand")
            .config_schema(json!({"type": "object", "additionalProperties": false}))
    }

    fn create(_config: Json) -> Result<Self> {
        Ok(Self)
    }

    fn probe(&self, name: &str, head: &[u8]) -> Confidence {
        let fits = match kind(name) {
            Kind::Zip => head.starts_with(b"PK\x03\x04"),
            Kind::TarGz => head.starts_with(&[0x1f, 0x8b]),
        };
        if fits { Confidence::LIKELY } else { Confidence::NO }
    }

    async fn import(&self, request: ImportRequest, cx: &dyn ImportContext) -> Result<Summary> {
        let bytes = cx.read_all(Handle::UPLOAD, MAX_BYTES).await?;
        let files = match kind(&request.file_name) {
            Kind::Zip => from_zip(&bytes)?,
            Kind::TarGz => from_tar_gz(&bytes)?,
        };
        let (total, mut taken) = (files.len() as u64, 0);
        let mut summary = Summary::default();
        for (done, (name, bytes)) in files.into_iter().enumerate() {
            let nested = Nested {
                folder: Some(folder(&name)?),
                file_name: name,
                bytes,
            };
            match nested::expand(cx, &nested).await {
                Ok(expanded) => {
                    taken += 1;
                    let notes = expanded.summary.notes.into_iter();
                    summary
                        .notes
                        .extend(notes.map(|note| format!("{}: {note}", nested.file_name)));
                }
                Err(error) if error.kind == ErrorKind::Unsupported && error.context.is_empty() => {
                    summary
                        .notes
                        .push(format!("'{}' is left out: {}", nested.file_name, error.message));
                }
                Err(error) => return Err(error),
            }
            cx.progress(done as u64 + 1, total);
        }
        if taken == 0 {
            let text = format!("nothing in '{}' is of a type that is taken", request.file_name);
            return Err(ImportError::new(ErrorKind::NothingUsable, text));
        }
        Ok(summary)
    }
}

enum Kind {
    Zip,
    TarGz,
}

fn kind(name: &str) -> Kind {
    if name.to_ascii_lowercase().ends_with(".zip") {
        Kind::Zip
    } else {
        Kind::TarGz
    }
}

/// A folder of its own for each file, so that two of them never share one.
fn folder(name: &str) -> Result<VPath> {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    VPath::new(&sanitize_component(stem))
        .map_err(|e| ImportError::new(ErrorKind::Invalid, format!("'{name}' is no file name: {e}")))
}

type Files = Vec<(String, Vec<u8>)>;

/// Bounds what comes out of a bundle, whatever it says of itself.
#[derive(Default)]
struct Collected {
    files: Files,
    total: u64,
}

impl Collected {
    fn add(&mut self, path: &str, from: impl Read) -> Result<()> {
        let name = path.rsplit(['/', '\\']).next().unwrap_or(path).to_owned();
        // What a macOS archiver adds beside each file.
        if name.is_empty() || name.starts_with("._") {
            return Ok(());
        }
        let limit = |what: String| Err(ImportError::new(ErrorKind::Limit, what));
        if self.files.len() >= MAX_FILES {
            return limit(format!("the bundle has more than {MAX_FILES} files"));
        }
        let mut bytes = Vec::new();
        from.take(MAX_FILE + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| invalid(&format!("'{name}' cannot be unpacked: {e}")))?;
        self.total += bytes.len() as u64;
        if bytes.len() as u64 > MAX_FILE || self.total > MAX_TOTAL {
            return limit(format!(
                "'{name}' is too large: a file of a bundle has at most {MAX_FILE} bytes, all together {MAX_TOTAL}"
            ));
        }
        self.files.push((name, bytes));
        Ok(())
    }
}

fn invalid(why: &str) -> ImportError {
    ImportError::new(ErrorKind::Invalid, format!("the bundle cannot be read: {why}"))
}

fn from_zip(bytes: &[u8]) -> Result<Files> {
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|e| invalid(&e.to_string()))?;
    let mut collected = Collected::default();
    for at in 0..archive.len() {
        let file = archive.by_index(at).map_err(|e| invalid(&e.to_string()))?;
        if file.is_file() {
            let name = file.name().map_err(|e| invalid(&e.to_string()))?.into_owned();
            collected.add(&name, file)?;
        }
    }
    Ok(collected.files)
}

fn from_tar_gz(bytes: &[u8]) -> Result<Files> {
    // What is skipped is unpacked as well.
    let unpacked = MultiGzDecoder::new(bytes).take(MAX_TOTAL * 2);
    let mut archive = tar::Archive::new(unpacked);
    let mut collected = Collected::default();
    for file in archive.entries().map_err(|e| invalid(&e.to_string()))? {
        let file = file.map_err(|e| invalid(&e.to_string()))?;
        if file.header().entry_type().is_file() {
            let name = String::from_utf8_lossy(&file.path_bytes()).into_owned();
            collected.add(&name, file)?;
        }
    }
    Ok(collected.files)
}

export_importer!(BundleImporter);
