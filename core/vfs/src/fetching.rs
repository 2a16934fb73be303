//! An article that was asked for, as something to hold.

use crate::{
    ArticleInfo, Class, FetchError,
    units::{Ask, Flight, Key, Unit, UnitError, Units},
};
use std::{fmt, sync::Arc};

/// An article that is being fetched, or was. Who drops the future of its arrival and keeps this has not given the fetch up: it stays
/// under way, and whoever asks for the same article meanwhile joins it. Nobody drives it then, so what is to be tried after a failure
/// waits for somebody who does.
#[derive(Clone)]
pub struct Fetching {
    id: Arc<str>,
    flight: Arc<Flight>,
}

impl fmt::Debug for Fetching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetching")
            .field("id", &self.id)
            .field("ended", &self.has_ended())
            .finish()
    }
}

impl Fetching {
    pub(crate) fn new(units: &Arc<Units>, id: &str, ask: Ask<'_>) -> Self {
        let id: Arc<str> = id.into();
        let flight = units.flight(&Key::Article(Arc::clone(&id)), ask);
        Self { id, flight }
    }

    /// Waits until all of it is here: it is in the cache then. Says what its headers say, and how many bytes it has.
    ///
    /// # Errors
    /// Those of the source.
    pub async fn head(&self) -> Result<(ArticleInfo, u64), FetchError> {
        let (info, unit) = self.unit().await?;
        Ok((info, unit.data.len()))
    }

    /// Whether somebody has waited to its end.
    pub fn has_ended(&self) -> bool {
        self.flight.ended().is_some()
    }

    pub(crate) async fn unit(&self) -> Result<(ArticleInfo, Arc<Unit>), FetchError> {
        let failed = |reason: &str| FetchError::Unknown {
            id: self.id.to_string(),
            reason: reason.to_owned(),
        };
        match self.flight.outcome().await {
            Ok(unit) => match unit.info.clone() {
                Some(info) => Ok((info, unit)),
                None => Err(failed("the cache has something else under its id")),
            },
            Err(UnitError::Fetch(e)) => Err(e),
            Err(UnitError::Read(e)) => Err(failed(&e.message)),
        }
    }
}

impl crate::Vfs {
    /// Asks for a whole article, through the cache and the fetches that readers use; it is under way for as long as anybody waits for
    /// it or holds it. `posted` is when it was posted, in seconds since 1970, where that is known.
    pub fn fetching(&self, id: &str, class: Class, posted: Option<i64>) -> Fetching {
        let ask = Ask {
            class,
            ledger: None,
            since: (class == Class::Playback).then(tokio::time::Instant::now),
            posted,
            len: None,
        };
        Fetching::new(self.units(), id, ask)
    }
}
