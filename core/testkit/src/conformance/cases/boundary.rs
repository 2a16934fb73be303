//! What only a library can do wrong that is loaded.

use super::{Verdict, import, made, no_different, some};
use crate::conformance::host::Difficulty;
use crate::conformance::{Sample, Subject, Terms};
use std::sync::atomic::Ordering;

pub(super) fn lent_bytes_are_not_kept(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
    let terms = Terms {
        spoil: true,
        ..Terms::default()
    };
    no_different(subject, samples, terms, Difficulty::None)
}

pub(super) fn a_later_host(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
    let terms = Terms {
        later: true,
        ..Terms::default()
    };
    no_different(subject, samples, terms, Difficulty::None)?;
    // A failure whose status is not known is a failure.
    let instance = made(subject, terms)?;
    for sample in &some(subject, samples)? {
        for difficulty in [Difficulty::FailedReads, Difficulty::RefusedFiles] {
            let import = import(subject, &instance, sample, difficulty)?;
            if import.ended.is_ok() && import.host.refused.load(Ordering::Acquire) {
                return Err(format!(
                    "'{}' is imported although the host answers with failures that it does not know",
                    sample.name
                ));
            }
        }
    }
    Ok(())
}
