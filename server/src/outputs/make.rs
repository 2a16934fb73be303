//! Making outputs, many at a time: what is known of their places takes one statement, and so does noting them; each file is then made
//! by itself, or fails by itself.

use super::{
    Outputs, blocking,
    disk::{self, Owner, Seen},
    plan::Planned,
    store,
};
use crate::config::OutputSettings;
use altmount_engine::{Output, OutputKind, ReleaseFile};
use std::{
    collections::{HashMap, HashSet},
    fmt,
    path::Path,
};

/// Outputs that are looked at, noted and made in one step.
pub(super) const AT_ONCE: usize = 500;

/// An output that is to be there.
pub(super) struct Wanted<'a> {
    pub(super) planned: &'a Planned,
    /// The file that it is for.
    pub(super) file: &'a ReleaseFile,
}

/// And what is at its place.
pub(super) struct Looked<'a> {
    pub(super) wanted: Wanted<'a>,
    /// The row of what was made there before.
    known: Option<Output>,
    /// A text for people where it cannot be looked at.
    pub(super) seen: Result<Seen, String>,
}

/// Why an output was not made.
#[derive(Debug)]
pub(super) enum Fault {
    /// Something that is not of this server is at its place.
    Foreign(String),
    /// A text for people.
    Failed(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign(path) => write!(
                f,
                "something that is not of this server is at '{path}'; move it away, and it is tried again"
            ),
            Self::Failed(text) => f.write_str(text),
        }
    }
}

impl Looked<'_> {
    fn path(&self) -> &str {
        &self.wanted.planned.output.path
    }

    /// Its row before it is made. A copy that is there is known by its mark; one that is not there yet has none.
    fn row(&self) -> Output {
        let mut output = self.wanted.planned.output.clone();
        if output.kind == OutputKind::Copy
            && matches!(self.seen, Ok(Seen::Wanted | Seen::Ours))
            && let Some(known) = self.known.as_ref().filter(|known| known.file == output.file)
        {
            output.mark.clone_from(&known.mark);
        }
        output
    }

    /// Whether its bytes are to be written.
    fn is_copied(&self) -> bool {
        self.wanted.planned.output.kind == OutputKind::Copy && !matches!(self.seen, Ok(Seen::Wanted))
    }
}

impl Outputs {
    /// Looks at the places of outputs.
    ///
    /// # Errors
    /// A text for people, where the store fails. What cannot be looked at is told with each.
    pub(super) async fn look<'a>(&self, wanted: Vec<Wanted<'a>>) -> Result<Vec<Looked<'a>>, String> {
        let paths: Vec<&str> = wanted
            .iter()
            .map(|wanted| wanted.planned.output.path.as_str())
            .collect();
        let known = self.rows.at(&paths).await.map_err(store)?;
        let mut known: HashMap<String, Output> = known
            .into_iter()
            .map(|output| (output.path.clone(), output))
            .collect();
        let places: Vec<(Planned, Option<Output>)> = wanted
            .iter()
            .map(|wanted| {
                let known = known.remove(&wanted.planned.output.path);
                (wanted.planned.clone(), known)
            })
            .collect();
        let looked = blocking(move || {
            let look = |(planned, known): (Planned, Option<Output>)| {
                let seen = disk::look(&planned, known.as_ref());
                (known, seen)
            };
            Ok(places.into_iter().map(look).collect::<Vec<_>>())
        })
        .await?;
        let looked = wanted
            .into_iter()
            .zip(looked)
            .map(|(wanted, (known, seen))| Looked { wanted, known, seen });
        Ok(looked.collect())
    }

    /// Makes outputs where they are not there, and answers what became of each, in their order.
    ///
    /// # Errors
    /// A text for people, where the store fails.
    pub(super) async fn make(
        &self,
        settings: &OutputSettings,
        places: &[Looked<'_>],
    ) -> Result<Vec<Result<(), Fault>>, String> {
        // The row of what is there may be an older one, or missing. A copy is noted right before it is begun: who finds a row
        // without a mark takes what is there for a copy that was just finished.
        let may_be =
            |place: &&Looked<'_>| matches!(place.seen, Ok(Seen::Nothing | Seen::Wanted | Seen::Ours));
        let noted: Vec<Output> = places
            .iter()
            .filter(may_be)
            .filter(|place| !place.is_copied())
            .map(Looked::row)
            .collect();
        if !noted.is_empty() {
            self.rows.put(noted).await.map_err(store)?;
        }
        let owner = Owner::of(settings);
        let mut done = Vec::with_capacity(places.len());
        let mut made: Vec<&Output> = Vec::new();
        // Rows of copies that are written with the next one's.
        let mut finished = Vec::new();
        for place in places {
            let replace = match &place.seen {
                Ok(Seen::Wanted) => {
                    done.push(Ok(()));
                    continue;
                }
                Ok(Seen::Foreign) => {
                    done.push(Err(Fault::Foreign(place.path().to_owned())));
                    continue;
                }
                Err(error) => {
                    done.push(Err(Fault::Failed(error.clone())));
                    continue;
                }
                Ok(Seen::Nothing) => false,
                Ok(Seen::Ours) => true,
            };
            let result = if place.is_copied() {
                finished.push(place.row());
                self.rows
                    .put(std::mem::take(&mut finished))
                    .await
                    .map_err(store)?;
                let copied = self.copy(settings, &place.wanted, replace, owner).await;
                copied.map(|output| finished.push(output))
            } else {
                let planned = place.wanted.planned.clone();
                made.push(&place.wanted.planned.output);
                blocking(move || disk::make(&planned, replace, owner)).await
            };
            done.push(result.map_err(Fault::Failed));
        }
        if !finished.is_empty() {
            self.rows.put(finished).await.map_err(store)?;
        }
        self.take_back(&made).await?;
        Ok(done)
    }

    /// Makes all of them, [`AT_ONCE`] in a step.
    ///
    /// # Errors
    /// A text for people: the first of a step that has any.
    pub(super) async fn make_all(
        &self,
        settings: &OutputSettings,
        planned: &[(Planned, usize)],
        files: &[ReleaseFile],
    ) -> Result<(), String> {
        for some in planned.chunks(AT_ONCE) {
            let wanted = some
                .iter()
                .map(|(planned, at)| Wanted {
                    planned,
                    file: &files[*at],
                })
                .collect();
            let places = self.look(wanted).await?;
            let done = self.make(settings, &places).await?;
            if let Some(fault) = done.into_iter().find_map(Result::err) {
                return Err(fault.to_string());
            }
        }
        Ok(())
    }

    /// Removes what was made for files that were deleted between the note and the making: whoever removed what was noted has found
    /// nothing there.
    async fn take_back(&self, made: &[&Output]) -> Result<(), String> {
        if made.is_empty() {
            return Ok(());
        }
        let paths: Vec<&str> = made.iter().map(|output| output.path.as_str()).collect();
        let noted: HashSet<String> = self
            .rows
            .noted(&paths)
            .await
            .map_err(store)?
            .into_iter()
            .collect();
        for output in made.iter().filter(|output| !noted.contains(&output.path)) {
            self.remove(output).await?;
        }
        Ok(())
    }

    /// Writes a copy; answers its row.
    async fn copy(
        &self,
        settings: &OutputSettings,
        wanted: &Wanted<'_>,
        replace: bool,
        owner: Owner,
    ) -> Result<Output, String> {
        let copy = settings.copy.as_ref().filter(|_| wanted.planned.rated);
        let min_free = copy.map(|copy| copy.min_free);
        let mut output = wanted.planned.output.clone();
        let path = Path::new(&output.path);
        output.mark = self
            .copier
            .copy(wanted.file, path, replace, min_free, owner)
            .await?;
        Ok(output)
    }
}
