//! Where a command finds what it is about: in the data directory, or at the server that has it open.

use super::{Global, client::Client, reachable};
use crate::data::DataDir;
use altmount_engine::StoreErrorKind;
use altmount_store::Store;
use anyhow::{Context, Result, ensure};

pub(super) enum Place {
    /// Nobody else has it open.
    Here(Store),
    /// This server has.
    Server(Client),
}

/// Where the library is, which is made where there is none.
pub(super) async fn place(global: &Global, data: &DataDir) -> Result<Place> {
    data.create()?;
    match Store::open(data.path()).await {
        Ok(store) => Ok(Place::Here(store)),
        Err(error) if error.kind() == StoreErrorKind::InUse => Ok(Place::Server(server(global)?)),
        Err(error) => Err(error.into()),
    }
}

/// Where the library is. One that is not there is not made.
pub(super) async fn found(global: &Global, data: &DataDir) -> Result<Place> {
    ensure!(
        data.has_library()?,
        "there is no library in {}; name its folder with --data-dir",
        data.path().display()
    );
    place(global, data).await
}

/// A client of the server that runs on the data directory, where the configuration says that it listens.
pub(super) fn server(global: &Global) -> Result<Client> {
    let data = global.data()?;
    let listen = global.settings(&data)?.server.listen;
    let key = data.api_key()?.with_context(|| {
        format!(
            "there is no API key in {}; has the server run?",
            data.path().display()
        )
    })?;
    Client::new(&format!("http://{}", reachable(listen)), key)
}
