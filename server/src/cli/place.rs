//! Where a command finds what it is about: in the data directory, or at the server that has it open.

use super::{Global, client::Client, reachable};
use crate::data::DataDir;
use altmount_engine::StoreErrorKind;
use altmount_store::Store;
use anyhow::{Context, Result};

pub(super) enum Place {
    /// Nobody else has it open.
    Here(Store),
    /// This server has.
    Server(Client),
}

pub(super) async fn place(global: &Global, data: &DataDir) -> Result<Place> {
    data.create()?;
    match Store::open(data.path()).await {
        Ok(store) => Ok(Place::Here(store)),
        Err(error) if error.kind() == StoreErrorKind::InUse => {
            let settings = global.settings(data)?;
            let key = data.api_key()?.with_context(|| {
                format!(
                    "a server has {} open, and no key lies there",
                    data.path().display()
                )
            })?;
            let base = format!("http://{}", reachable(settings.server.listen));
            Ok(Place::Server(Client::new(&base, key)?))
        }
        Err(error) => Err(error.into()),
    }
}
