//! `expand`: a file inside of the queued file is handed back, and imported by whoever takes it, as part of the same release.

use crate::{
    context::JobContext,
    panics,
    password::split_password,
    registered::Code,
    registry::{HEAD_BYTES, Registry},
};
use altmount_model::VPath;
use altmount_sdk::{
    ErrorKind, ImportError, ImportRequest, Result, Summary,
    nested::{Expanded, Nested},
    sanitize_component,
};
use bytes::Bytes;
use futures::FutureExt;
use std::{panic::AssertUnwindSafe, sync::Arc};

/// So many files inside of each other.
const MAX_DEPTH: usize = 4;

/// Where an import is in a nest of files.
#[derive(Clone)]
pub(crate) struct Nesting {
    pub(crate) registry: Arc<Registry>,
    pub(crate) passwords: Vec<String>,
    /// What is emitted lies below it, in the release's folder.
    pub(crate) folder: VPath,
    pub(crate) depth: usize,
}

impl Nesting {
    /// That of a queued file.
    pub(crate) fn top(registry: Arc<Registry>, passwords: Vec<String>) -> Self {
        Self {
            registry,
            passwords,
            folder: VPath::root(),
            depth: 0,
        }
    }

    /// The path of a file in the release's folder.
    pub(crate) fn place(&self, path: &VPath) -> Result<VPath> {
        self.folder.join(path).map_err(|error| {
            ImportError::new(
                ErrorKind::Invalid,
                format!("the file's path is too long: {error}"),
            )
        })
    }
}

/// Imports `nested` in the name of the import behind `cx`.
pub(crate) async fn expand(cx: &JobContext, nested: Nested) -> Result<Expanded> {
    let nesting = &cx.nesting;
    let name = sanitize_component(&nested.file_name);
    if nesting.depth + 1 >= MAX_DEPTH {
        let text = format!("'{name}' lies more than {MAX_DEPTH} files deep in the queued file");
        return Err(ImportError::new(ErrorKind::Limit, text));
    }
    let bytes = Bytes::from(nested.bytes);
    cx.charge(bytes.len() as u64)?;
    let head = &bytes[..bytes.len().min(HEAD_BYTES)];
    let Some(choice) = nesting.registry.choose(&name, head, None).await else {
        let text = format!(
            "no importer recognises '{name}'; these types are taken: {}",
            nesting.registry.extensions().join(", ")
        );
        return Err(ImportError::new(ErrorKind::Unsupported, text));
    };
    let importer = choice.importer;
    let folder = match &nested.folder {
        Some(folder) => nesting.place(folder)?,
        None => nesting.folder.clone(),
    };
    let (release_name, _) = split_password(nesting.registry.release_name(&name));
    let mut request = ImportRequest::new(&name, release_name, bytes.len() as u64);
    request.passwords.clone_from(&nesting.passwords);
    let inner = Arc::new(cx.inner(
        Arc::clone(&importer),
        bytes.into(),
        Nesting {
            folder,
            depth: nesting.depth + 1,
            ..nesting.clone()
        },
        // The outer importer says how far it is.
        Arc::new(cx.progress.inner()),
    ));
    let id = importer.manifest.id.clone();
    let imported: Result<Summary> = match &importer.code {
        Code::Linked(code) => {
            let import = AssertUnwindSafe(code.import(request, &*inner)).catch_unwind();
            import.await.unwrap_or_else(|payload| {
                let text = format!("the importer '{id}' panicked: {}", panics::text(payload));
                Err(ImportError::new(ErrorKind::Panicked, text))
            })
        }
        Code::Loaded(plugin) => {
            let stop = inner.stop.clone();
            Arc::clone(plugin).import(request, inner, stop).await
        }
    };
    match imported {
        Ok(summary) => Ok(Expanded {
            importer: id,
            summary,
        }),
        Err(error) => {
            if error.kind == ErrorKind::Panicked {
                importer.panicked();
            }
            Err(error.with("nested", name).with("importer", id))
        }
    }
}
