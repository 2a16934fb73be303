//! A host that refuses what it is asked for.

use super::{Verdict, import, made, some};
use crate::conformance::host::Difficulty;
use crate::conformance::{Sample, Subject, Terms};
use altmount_sdk::ErrorKind;
use std::sync::atomic::Ordering;

pub(super) fn failed_reads_fail_the_import(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
    let instance = made(subject, Terms::default())?;
    for sample in &some(subject, samples)? {
        let import = import(subject, &instance, sample, Difficulty::FailedReads)?;
        if import.ended.is_ok() && import.host.refused.load(Ordering::Acquire) {
            return Err(format!(
                "'{}' is imported although no read of it succeeds",
                sample.name
            ));
        }
    }
    Ok(())
}

pub(super) fn refused_files_fail_the_import(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
    let instance = made(subject, Terms::default())?;
    for sample in &some(subject, samples)? {
        let import = import(subject, &instance, sample, Difficulty::RefusedFiles)?;
        if !import.host.refused.load(Ordering::Acquire) {
            continue;
        }
        match &import.ended {
            Ok(_) => {
                return Err(format!(
                    "'{}' is imported although the host took no file",
                    sample.name
                ));
            }
            Err(error) if error.kind != ErrorKind::Limit => {
                return Err(format!(
                    "'{}' fails with '{error}', and the host refused its file with kind 'limit'",
                    sample.name
                ));
            }
            Err(_) => {}
        }
    }
    Ok(())
}

pub(super) fn denied_services(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
    let instance = made(subject, Terms::default())?;
    for sample in &some(subject, samples)? {
        import(subject, &instance, sample, Difficulty::DeniedCalls)?;
    }
    Ok(())
}

pub(super) fn only_declared_services(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
    let (instance, manifest) = (made(subject, Terms::default())?, subject.manifest()?);
    for sample in &some(subject, samples)? {
        let seen = import(subject, &instance, sample, Difficulty::None)?
            .host
            .mock
            .recorded();
        if let Some(denied) = seen.denied.first() {
            return Err(format!(
                "'{}' needs '{denied}', and the manifest declares: {}",
                sample.name,
                manifest.capabilities.join(", ")
            ));
        }
    }
    Ok(())
}
