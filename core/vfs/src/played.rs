//! Which films are being played: a jump in one of them is a player's, and not the look of a program that goes elsewhere at once.

use crate::{plan::Plan, units::Key};
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Films of which is known that they are being played.
const MAX_PLAYED: usize = 256;

/// The films that are being played, by their first unit; the one that was noted last at the end.
#[derive(Default)]
pub(crate) struct Played(Mutex<VecDeque<Key>>);

impl Played {
    fn films(&self) -> MutexGuard<'_, VecDeque<Key>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is one of them.
    pub(crate) fn has(&self, plan: &Plan) -> bool {
        plan.first_unit().is_some_and(|film| self.films().contains(&film))
    }

    /// This film is being played.
    pub(crate) fn note(&self, plan: &Plan) {
        let Some(film) = plan.first_unit() else { return };
        let mut films = self.films();
        films.retain(|known| *known != film);
        if films.len() >= MAX_PLAYED {
            films.pop_front();
        }
        films.push_back(film);
    }
}
