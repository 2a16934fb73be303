//! What people are told: errors, summaries and log lines.

use super::{Import, MAX_JSON, SECRET, Verdict, import, made, noise, own_name, some};
use crate::conformance::host::Difficulty;
use crate::conformance::{Sample, Subject, Terms};
use altmount_sdk::{ImportError, json};

/// Every end of every import that is tried here, with its log.
fn ends(subject: &dyn Subject, samples: &[Sample], look: impl Fn(&str, &Import) -> Verdict) -> Verdict {
    let instance = made(subject, Terms::default())?;
    let mut tried = some(subject, samples)?;
    let name = own_name(&subject.manifest()?);
    tried.push(Sample::new(&name, ""));
    tried.push(Sample::new(&name, vec![b'x'; 2 << 20]));
    tried.push(Sample::new(&name, noise(5, 100_000)));
    for sample in &tried {
        for difficulty in [
            Difficulty::None,
            Difficulty::FailedReads,
            Difficulty::RefusedFiles,
            Difficulty::DeniedCalls,
        ] {
            look(&sample.name, &import(subject, &instance, sample, difficulty)?)?;
        }
    }
    Ok(())
}

pub(super) fn results_are_bounded(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
    ends(subject, samples, |name, import| {
        // A server has cut it already.
        if let Err(error) = &import.ended
            && error.message.starts_with("the importer's result: ")
        {
            return Err(format!("'{name}': {}", error.message));
        }
        let json = match &import.ended {
            Ok(summary) => serde_json::to_string(summary),
            Err(error) => serde_json::to_string(error),
        };
        let len = json.map_err(|error| error.to_string())?.len();
        if len > MAX_JSON {
            return Err(format!(
                "'{name}': the result has {len} bytes, at most {MAX_JSON} are taken"
            ));
        }
        Ok(())
    })
}

pub(super) fn errors_say_why(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
    ends(subject, samples, |name, import| match &import.ended {
        Err(ImportError { message, kind, .. }) if message.trim().is_empty() => {
            Err(format!("'{name}' fails with kind '{kind}' and does not say why"))
        }
        _ => Ok(()),
    })
}

pub(super) fn passwords_stay_secret(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
    ends(subject, samples, |name, import| {
        let logs = import.host.mock.recorded().logs;
        let ended = match &import.ended {
            Ok(summary) => json!(summary).to_string(),
            Err(error) => json!(error).to_string(),
        };
        if ended.contains(SECRET) || logs.iter().any(|(_, line)| line.contains(SECRET)) {
            return Err(format!("'{name}': the password is in what it says"));
        }
        Ok(())
    })
}
