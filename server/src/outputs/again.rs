//! Making outputs again whose files were in the trash and are back.

use super::{
    Outputs,
    make::{Fault, Wanted},
    plan::{self, Planned},
    store,
};
use crate::config::OutputSettings;
use altmount_engine::{Entry, Output, OutputKind, ReleaseFile};
use altmount_model::{FileId, VPath};
use std::{collections::HashMap, path::Path};

/// What is known of the files of some outputs.
struct Known {
    entries: HashMap<FileId, Entry>,
    paths: HashMap<FileId, VPath>,
    versions: HashMap<FileId, u32>,
}

impl Outputs {
    async fn known(&self, outputs: &[Output]) -> Result<Known, String> {
        let ids: Vec<FileId> = outputs.iter().map(|output| output.file).collect();
        let entries = self.library.entries(&ids).await.map_err(store)?;
        let versions = self.rows.link_versions(&ids).await.map_err(store)?;
        Ok(Known {
            entries: entries.into_iter().map(|entry| (entry.id, entry)).collect(),
            paths: self.library.paths_of(&ids).await.map_err(store)?,
            versions: ids.into_iter().zip(versions).collect(),
        })
    }

    /// Makes outputs again as they were; answers why some could not be. Where that cannot be any more, they are forgotten.
    ///
    /// # Errors
    /// A text for people, where the store fails.
    pub(super) async fn make_again(
        &self,
        settings: &OutputSettings,
        outputs: &[Output],
    ) -> Result<Vec<String>, String> {
        let known = self.known(outputs).await?;
        let (mut all, mut forgotten) = (Vec::new(), Vec::new());
        for output in outputs {
            let entry = known.entries.get(&output.file);
            let (Some(entry), Some(path)) = (entry, known.paths.get(&output.file)) else {
                // It went again meanwhile, and its outputs with it.
                continue;
            };
            match self.planned_again(settings, output, entry, path, &known) {
                Some(planned) => {
                    let (entry, path) = (entry.clone(), path.clone());
                    all.push((planned, ReleaseFile { entry, path }));
                }
                None => {
                    tracing::info!("'{}' is not made again: no addresses are configured", output.path);
                    forgotten.push(output.path.clone());
                }
            }
        }
        let wanted = all.iter().map(|(planned, file)| Wanted { planned, file });
        let places = self.look(wanted.collect()).await?;
        let done = self.make(settings, &places).await?;
        let (mut made, mut failed) = (Vec::new(), Vec::new());
        for ((planned, _), done) in all.iter().zip(done) {
            match done {
                Ok(()) => made.push(planned.output.clone()),
                Err(Fault::Foreign(path)) => {
                    tracing::warn!(
                        "'{path}' is not made again: something that is not of this server is there"
                    );
                    forgotten.push(path);
                }
                Err(Fault::Failed(error)) => failed.push(error),
            }
        }
        if !made.is_empty() {
            self.rows.made_again(made).await.map_err(store)?;
        }
        if !forgotten.is_empty() {
            self.rows.forget(forgotten).await.map_err(store)?;
        }
        Ok(failed)
    }

    /// The output as it was; `None` for an address where none are configured any more.
    fn planned_again(
        &self,
        settings: &OutputSettings,
        output: &Output,
        entry: &Entry,
        path: &VPath,
        known: &Known,
    ) -> Option<Planned> {
        let mut output = output.clone();
        let content = match output.kind {
            OutputKind::Symlink => output.mark.clone(),
            OutputKind::Strm => {
                let (_, base) = settings.strm.as_ref()?;
                let version = known.versions.get(&output.file).copied().unwrap_or(0);
                let link = self.key.link(output.file.0, version, path);
                format!("{}\n", plan::address(base, &link))
            }
            OutputKind::Copy => String::new(),
        };
        if output.kind == OutputKind::Strm {
            output.mark = plan::digest(&content);
        }
        let copies = settings.copy.as_ref();
        Some(Planned {
            rated: copies.is_some_and(|copy| Path::new(&output.path).starts_with(&copy.path)),
            size: entry.size,
            content,
            output,
        })
    }
}
