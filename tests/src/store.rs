//! What stands in a store, put there without a server.

use altmount_model::VPath;
use altmount_store::{BlobId, NewJob, Origin, Passwords};

/// A job as an upload makes it, of a release that is wanted in this folder.
///
/// # Panics
/// Where that is no path.
pub fn upload(name: &str, destination: &str, blob: &BlobId) -> NewJob {
    NewJob {
        source_path: format!("{name}.nzb"),
        source_key: format!("upload-{name}"),
        file_name: format!("{name}.nzb"),
        size: 6,
        blob: blob.clone(),
        destination: VPath::new(destination).expect("a path"),
        delete_source: false,
        passwords: Passwords::default(),
        priority: 0,
        category: None,
        wanted_importer: None,
        name: name.to_owned(),
        bytes: 0,
        paused: false,
        url: None,
        fetched: true,
        origin: Origin::default(),
    }
}
