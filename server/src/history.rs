//! How many imports ended when: what the API answers with, and what the page draws.

use altmount_engine::{EndedImports, ImportService, StoreResult};
use altmount_store::now_ms;

const HOUR_MS: i64 = 3_600_000;

/// How far back is looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Span {
    /// A day, in hours.
    Day,
    /// Thirty days, in days of UTC.
    Month,
}

impl Span {
    /// The length of a step in milliseconds, and how many there are.
    pub(crate) fn steps(self) -> (i64, i64) {
        match self {
            Self::Day => (HOUR_MS, 24),
            Self::Month => (24 * HOUR_MS, 30),
        }
    }
}

/// The imports of every step of a span, the one that is not over included, the oldest first.
pub(crate) async fn imports(imports: &ImportService, span: Span) -> StoreResult<Vec<EndedImports>> {
    let (step, count) = span.steps();
    let last = now_ms() / step;
    let first = last - count + 1;
    let ended = imports.ended(first * step, step).await?;
    let all = (first..=last).map(|at| {
        let there = ended.iter().find(|ended| ended.at_ms == at * step);
        there.copied().unwrap_or(EndedImports {
            at_ms: at * step,
            ..EndedImports::default()
        })
    });
    Ok(all.collect())
}
