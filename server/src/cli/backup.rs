//! `altmount backup` and `altmount restore`.

use super::{
    Global,
    place::{Place, found},
    runtime,
};
use crate::backup;
use altmount_store::Store;
use anyhow::{Context, Result};
use clap::Args;
use std::{path::PathBuf, process::ExitCode};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The backup's file.
    file: PathBuf,
}

/// Makes a backup, of a running server too, and reads it back.
pub(super) fn run(global: &Global, arguments: &Arguments) -> Result<ExitCode> {
    let file = std::path::absolute(&arguments.file)?;
    runtime()?.block_on(async {
        let data = global.data()?;
        match found(global, &data).await? {
            Place::Here(store) => {
                let made = backup::make(&store, &data, &file).await;
                Store::close(store).await;
                made?;
            }
            Place::Server(client) => {
                // Beside the target, so that one that breaks off is not taken for a backup.
                let folder = file.parent().context("the file has no folder")?;
                let part = tempfile::NamedTempFile::new_in(folder)
                    .with_context(|| format!("cannot write into {}", folder.display()))?;
                client.save("POST", "/api/backup", part.as_file()).await?;
                part.as_file().sync_all()?;
                part.persist(&file)
                    .map_err(|error| error.error)
                    .with_context(|| format!("cannot write {}", file.display()))?;
            }
        }
        anyhow::Ok(())
    })?;
    let manifest = backup::read(&file, None).context("the backup was made, and is not as it should be")?;
    println!("{}: {} files, read back", file.display(), manifest.files.len());
    Ok(ExitCode::SUCCESS)
}

/// Restores a backup into a data directory that holds no library.
pub(super) fn restore(global: &Global, arguments: &Arguments) -> Result<ExitCode> {
    let data = global.data()?;
    let manifest = runtime()?.block_on(backup::restore(&arguments.file, &data))?;
    println!(
        "{}: the state of {}, {} files",
        data.path().display(),
        manifest.created_at,
        manifest.files.len()
    );
    Ok(ExitCode::SUCCESS)
}
