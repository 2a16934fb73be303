//! The cases, by what they are about; and what they have in common.

mod boundary;
mod files;
mod manifest;
mod probe;
mod refusals;
mod told;
mod waiting;

use super::{
    Case, Instance, Sample, Subject, Terms,
    host::{Difficulty, Host},
};
use crate::MockContext;
use altmount_sdk::{ErrorKind, ImportRequest, Json, Manifest, Result as Ended, Summary, json};
use futures::{
    executor::block_on,
    future::{Either, select},
    pin_mut,
};
use std::sync::Arc;

/// What no importer may tell anybody.
const SECRET: &str = "pa55word-which-nobody-sees";
/// Longest manifest, summary or error, in bytes of JSON, as the host has it.
const MAX_JSON: usize = 1 << 20;
/// Imports at once.
const AT_ONCE: usize = 8;

type Verdict = Result<(), String>;

macro_rules! cases {
    ($($name:literal $(($only:ident))?, $rule:literal, $check:path;)*) => {
        pub(super) const ALL: &[Case] = &[$(Case {
            name: $name,
            rule: $rule,
            loaded_only: cases!(@only $($only)?),
            check: $check,
        }),*];
    };
    (@only) => { false };
    (@only loaded) => { true };
}

cases! {
    "manifest-is-valid", "the manifest has an id, a version and file types in the form that the host takes", manifest::manifest_is_valid;
    "manifest-is-stable", "the manifest is the same each time, and of bounded length", manifest::manifest_is_stable;
    "manifest-schema", "the schema of the configuration is a JSON object that describes an object", manifest::manifest_schema;
    "capabilities-are-known", "the manifest declares host services that exist", manifest::capabilities_are_known;
    "create-refuses-with-a-reason", "a configuration of any form is taken, or refused with a reason", manifest::create_refuses_with_a_reason;
    "instances-are-independent", "two instances work beside each other, and one goes on when the other is gone", manifest::instances_are_independent;
    "probe-takes-any-bytes", "the probe answers whatever the first bytes are", probe::probe_takes_any_bytes;
    "probe-takes-any-name", "the probe answers whatever the name is", probe::probe_takes_any_name;
    "probe-is-pure", "the probe answers the same each time, on any thread, several at once", probe::probe_is_pure;
    "probe-is-modest", "the probe is not certain of noise under a name that is not its own", probe::probe_is_modest;
    "probe-knows-its-own", "the probe takes every sample", probe::probe_knows_its_own;
    "import-of-nothing", "an empty file ends in files or an error", files::import_of_nothing;
    "import-of-noise", "noise ends in files or an error", files::import_of_noise;
    "import-of-broken-text", "text that is cut, nested, endless or no UTF-8 ends in files or an error", files::import_of_broken_text;
    "import-of-cut-samples", "samples that are cut anywhere end in files or an error", files::import_of_cut_samples;
    "import-of-samples", "every sample is imported, and every file of it can be read", files::import_of_samples;
    "import-is-repeatable", "the same file gives the same result on the same instance", files::import_is_repeatable;
    "imports-at-once", "several imports run on one instance at once and do not see each other", files::imports_at_once;
    "any-thread-may-poll", "an import that is polled on another thread each time gives the same result", waiting::any_thread_may_poll;
    "slow-answers", "answers that come later, from another thread, are waited for", waiting::slow_answers;
    "cancelled-anywhere", "an import that is cancelled while it waits, wherever that is, ends and frees what it holds", waiting::cancelled_anywhere;
    "cancelled-before-it-starts", "an import that is cancelled before it starts ends", waiting::cancelled_before_it_starts;
    "nothing-after-the-end", "an import that is over asks the host for nothing any more", waiting::nothing_after_the_end;
    "failed-reads-fail-the-import", "where the queued file cannot be read the import fails", refusals::failed_reads_fail_the_import;
    "refused-files-fail-the-import", "where the host refuses a file the import fails with that reason", refusals::refused_files_fail_the_import;
    "denied-services", "a service that is denied ends in an error or is done without", refusals::denied_services;
    "only-declared-services", "no service is called that the manifest does not declare", refusals::only_declared_services;
    "results-are-bounded", "summaries and errors are of bounded length", told::results_are_bounded;
    "errors-say-why", "an error has a message that is not empty", told::errors_say_why;
    "passwords-stay-secret", "no password is in a log line, a summary or an error", told::passwords_stay_secret;
    "lent-bytes-are-not-kept" (loaded), "bytes that are lent for a call are not read after it", boundary::lent_bytes_are_not_kept;
    "a-later-host" (loaded), "a host with more functions, fields and statuses than this version knows is no different", boundary::a_later_host;
}

/// Bytes without a pattern, the same each time (xorshift, Marsaglia 2003).
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn made(subject: &dyn Subject, terms: Terms) -> Result<Arc<dyn Instance>, String> {
    let config = subject.config();
    subject.create(&config, terms).map_err(|error| {
        format!("it cannot be made with the configuration {config}: {error}; `plugins.config` may have one that it takes")
    })
}

fn own_name(manifest: &Manifest) -> String {
    let extension = manifest.extensions().next().unwrap_or("bin");
    format!("conformance.{extension}")
}

fn mock(manifest: &Manifest, sample: &Sample) -> MockContext {
    let mut mock = MockContext::new(sample.bytes.clone()).for_manifest(manifest);
    if let Some(prepare) = &sample.prepare {
        prepare(&mut mock);
    }
    mock
}

fn request(sample: &Sample) -> ImportRequest {
    let stem = sample.name.split('.').next().unwrap_or(&sample.name);
    let mut request = ImportRequest::new(&sample.name, stem, sample.bytes.len() as u64);
    request.passwords.push(SECRET.to_owned());
    request
}

/// One import that is over.
struct Import {
    host: Arc<Host>,
    ended: Ended<Summary>,
}

impl Import {
    /// Everything that can be compared.
    fn result(&self) -> Json {
        let seen = self.host.mock.recorded();
        let ended = match &self.ended {
            Ok(summary) => json!({ "summary": summary }),
            Err(error) => json!({ "kind": error.kind }),
        };
        json!({ "ended": ended, "files": seen.files, "tables": seen.tables })
    }
}

/// Runs an import to its end.
fn import(
    subject: &dyn Subject,
    instance: &Arc<dyn Instance>,
    sample: &Sample,
    difficulty: Difficulty,
) -> Result<Import, String> {
    let manifest = subject.manifest()?;
    let host = Arc::new(Host::new(mock(&manifest, sample), difficulty));
    let running = Arc::clone(instance).start(request(sample), Arc::clone(&host) as _);
    let (end, cancel) = (running.end, running.cancel);
    let ended = block_on(async {
        let silence = host.silence();
        pin_mut!(silence);
        match select(end, silence).await {
            Either::Left((ended, _)) => ended,
            Either::Right(((), end)) => {
                cancel();
                end.await
            }
        }
    });
    host.over();
    no_panic(&sample.name, &ended)?;
    Ok(Import { host, ended })
}

fn no_panic(name: &str, ended: &Ended<Summary>) -> Verdict {
    match ended {
        Err(error) if error.kind == ErrorKind::Panicked => {
            Err(format!("'{name}': it panicked: {}", error.message))
        }
        _ => Ok(()),
    }
}

/// Runs an import of each of these files, and fails where one panics, or says that it is cancelled and was not.
fn all_end(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
    let instance = made(subject, Terms::default())?;
    for sample in samples {
        let import = import(subject, &instance, sample, Difficulty::None)?;
        if let Err(error) = &import.ended
            && error.kind == ErrorKind::Cancelled
        {
            return Err(format!(
                "'{}': it says that it was cancelled, and was not",
                sample.name
            ));
        }
    }
    Ok(())
}

/// The samples, or a file of this name where there are none: most rules hold for files that are refused as well.
fn some(subject: &dyn Subject, samples: &[Sample]) -> Result<Vec<Sample>, String> {
    if !samples.is_empty() {
        return Ok(samples.to_vec());
    }
    let name = own_name(&subject.manifest()?);
    Ok(vec![
        Sample::new(&name, "one\ntwo words\nthree\n"),
        Sample::new(&name, noise(7, 3000)),
    ])
}

fn same(what: &str, expected: &Json, seen: &Json) -> Verdict {
    if expected == seen {
        return Ok(());
    }
    let short = |json: &Json| json.to_string().chars().take(300).collect::<String>();
    Err(format!(
        "{what} gives another result:\n         {}\n         {}",
        short(expected),
        short(seen)
    ))
}

/// Whether each sample gives the same on these terms, or with this difficulty, as without.
fn no_different(subject: &dyn Subject, samples: &[Sample], terms: Terms, difficulty: Difficulty) -> Verdict {
    let (plain, other) = (made(subject, Terms::default())?, made(subject, terms)?);
    for sample in &some(subject, samples)? {
        let head = &sample.bytes[..sample.bytes.len().min(64 << 10)];
        if probe::asked(&plain, &sample.name, head)? != probe::asked(&other, &sample.name, head)? {
            return Err(format!(
                "it answers differently when it is asked about '{}'",
                sample.name
            ));
        }
        let expected = import(subject, &plain, sample, Difficulty::None)?.result();
        let seen = import(subject, &other, sample, difficulty)?.result();
        same(&format!("'{}'", sample.name), &expected, &seen)?;
    }
    Ok(())
}
