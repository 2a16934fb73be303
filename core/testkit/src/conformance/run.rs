//! Running cases, each with a limit of time.

use super::{Case, Sample, Subject};
use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

/// How long a case may take where nothing else is said. What does not come back by then hangs; its thread is left behind.
pub const LIMIT: Duration = Duration::from_secs(60);

/// What came of a case.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The case's name.
    pub case: &'static str,
    /// What must hold.
    pub rule: &'static str,
    /// Whether it does.
    pub ok: bool,
    /// What was seen instead.
    pub reason: Option<String>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.ok { "ok" } else { "FAILED" };
        write!(f, "{what:<6} {}: {}", self.case, self.rule)?;
        match &self.reason {
            Some(reason) => write!(f, "\n       {reason}"),
            None => Ok(()),
        }
    }
}

/// Checks one case, which may take so long.
pub fn check_one(case: Case, subject: Arc<dyn Subject>, samples: Vec<Sample>, limit: Duration) -> Finding {
    let started = Instant::now();
    let (told, tell) = mpsc::sync_channel(1);
    let work = move || {
        let checked = catch_unwind(AssertUnwindSafe(|| (case.check)(&*subject, &samples)));
        let checked = checked.unwrap_or_else(|payload| {
            Err(format!(
                "the case itself panicked: {}",
                super::panicked(payload).message
            ))
        });
        // Nobody listens where it came too late.
        let _late = told.send(checked);
    };
    let checked = match std::thread::Builder::new().name(case.name.to_owned()).spawn(work) {
        Ok(_thread) => tell
            .recv_timeout(limit)
            .unwrap_or_else(|_| Err(format!("it did not end within {} s", limit.as_secs()))),
        Err(error) => Err(format!("there is no thread for it: {error}")),
    };
    Finding {
        case: case.name,
        rule: case.rule,
        ok: checked.is_ok(),
        reason: checked.err(),
        took_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
    }
}

/// Checks every case that is for such an importer, each of which may take so long.
pub fn check(subject: Arc<dyn Subject>, samples: Vec<Sample>, limit: Duration) -> Vec<Finding> {
    Case::all()
        .iter()
        .filter(|case| subject.loaded() || !case.loaded_only)
        .map(|case| check_one(*case, Arc::clone(&subject), samples.clone(), limit))
        .collect()
}
