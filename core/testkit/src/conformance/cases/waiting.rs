//! Answers that are late, polls from any thread, and cancellation.

use super::{Import, Verdict, import, made, no_different, same, some};
use crate::conformance::host::Difficulty;
use crate::conformance::{Sample, Subject, Terms};

/// Most points at which one import is cancelled.
const MOST_POINTS: usize = 48;

pub(super) fn any_thread_may_poll(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
    let terms = Terms {
        moved: true,
        ..Terms::default()
    };
    no_different(subject, samples, terms, Difficulty::Slow)
}

pub(super) fn slow_answers(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
    no_different(subject, samples, Terms::default(), Difficulty::Slow)
}

pub(super) fn cancelled_anywhere(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
    let instance = made(subject, Terms::default())?;
    for sample in &some(subject, samples)? {
        let whole = import(subject, &instance, sample, Difficulty::None)?;
        let step = whole.host.asked() / MOST_POINTS + 1;
        for point in (0..whole.host.asked()).step_by(step) {
            let cut = import(subject, &instance, sample, Difficulty::SilentAfter(point))?;
            if cut.ended.is_ok() {
                return Err(format!(
                    "'{}' is imported although answer {} never came",
                    sample.name,
                    point + 1
                ));
            }
            late(&sample.name, &cut)?;
        }
        // Nothing is left behind that would disturb the next one.
        let again = import(subject, &instance, sample, Difficulty::None)?.result();
        same(
            &format!("'{}' after it was cancelled", sample.name),
            &whole.result(),
            &again,
        )?;
    }
    Ok(())
}

pub(super) fn cancelled_before_it_starts(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
    let instance = made(subject, Terms::default())?;
    for sample in &some(subject, samples)? {
        import(subject, &instance, sample, Difficulty::Cancelled)?;
    }
    Ok(())
}

fn late(name: &str, import: &Import) -> Verdict {
    match import.host.late().first() {
        Some(what) => Err(format!("'{name}': it calls '{what}' after its end")),
        None => Ok(()),
    }
}

pub(super) fn nothing_after_the_end(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
    let before = subject.stray_calls();
    let instance = made(subject, Terms::default())?;
    let mut over = Vec::new();
    for sample in &some(subject, samples)? {
        for difficulty in [
            Difficulty::None,
            Difficulty::Slow,
            Difficulty::SilentAfter(0),
            Difficulty::FailedReads,
        ] {
            over.push((
                sample.name.clone(),
                import(subject, &instance, sample, difficulty)?,
            ));
        }
    }
    drop(instance);
    // Threads of the importer's own have had the time of all these imports by now; a last moment for those of the last.
    let (_keep, wait) = std::sync::mpsc::sync_channel::<()>(0);
    let _elapsed = wait.recv_timeout(std::time::Duration::from_millis(200));
    for (name, import) in &over {
        late(name, import)?;
    }
    match subject.stray_calls() - before {
        0 => Ok(()),
        calls => Err(format!(
            "it calls the host {calls} times for imports that are over"
        )),
    }
}
