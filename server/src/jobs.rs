//! How many jobs there are.

use altmount_engine::{Engine, JobFilter, JobState, StoreResult};

/// The jobs of each state, in the order of the states.
///
/// # Errors
/// Those of the store.
pub(crate) async fn by_state(engine: &Engine) -> StoreResult<Vec<(JobState, u64)>> {
    let mut counts = Vec::with_capacity(JobState::ALL.len());
    for state in JobState::ALL {
        let filter = JobFilter {
            states: vec![state],
            limit: 1,
            ..JobFilter::default()
        };
        counts.push((state, engine.imports().jobs(filter).await?.total));
    }
    Ok(counts)
}
