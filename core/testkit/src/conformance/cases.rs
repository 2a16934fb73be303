//! The cases.

use super::{
    Case, Instance, Sample, Subject, Terms,
    host::{Difficulty, Host},
};
use crate::MockContext;
use altmount_sdk::{
    Confidence, ErrorKind, ImportError, ImportRequest, Json, Manifest, Result as Ended, Summary, json,
};
use futures::{
    executor::block_on,
    future::{Either, select},
    pin_mut,
};
use std::sync::{Arc, atomic::Ordering};

/// What no importer may tell anybody.
const SECRET: &str = "pa55word-which-nobody-sees";
/// Most points at which one import is cancelled.
const MOST_POINTS: usize = 48;
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
    "manifest-is-valid", "the manifest has an id, a version and file types in the form that the host takes", manifest_is_valid;
    "manifest-is-stable", "the manifest is the same each time, and of bounded length", manifest_is_stable;
    "manifest-schema", "the schema of the configuration is a JSON object that describes an object", manifest_schema;
    "capabilities-are-known", "the manifest declares host services that exist", capabilities_are_known;
    "create-refuses-with-a-reason", "a configuration of any form is taken, or refused with a reason", create_refuses_with_a_reason;
    "instances-are-independent", "two instances work beside each other, and one goes on when the other is gone", instances_are_independent;
    "probe-takes-any-bytes", "the probe answers whatever the first bytes are", probe_takes_any_bytes;
    "probe-takes-any-name", "the probe answers whatever the name is", probe_takes_any_name;
    "probe-is-pure", "the probe answers the same each time, on any thread, several at once", probe_is_pure;
    "probe-is-modest", "the probe is not certain of noise under a name that is not its own", probe_is_modest;
    "probe-knows-its-own", "the probe takes every sample", probe_knows_its_own;
    "import-of-nothing", "an empty file ends in files or an error", import_of_nothing;
    "import-of-noise", "noise ends in files or an error", import_of_noise;
    "import-of-broken-text", "text that is cut, nested, endless or no UTF-8 ends in files or an error", import_of_broken_text;
    "import-of-cut-samples", "samples that are cut anywhere end in files or an error", import_of_cut_samples;
    "import-of-samples", "every sample is imported, and every file of it can be read", import_of_samples;
    "import-is-repeatable", "the same file gives the same result on the same instance", import_is_repeatable;
    "imports-at-once", "several imports run on one instance at once and do not see each other", imports_at_once;
    "any-thread-may-poll", "an import that is polled on another thread each time gives the same result", any_thread_may_poll;
    "slow-answers", "answers that come later, from another thread, are waited for", slow_answers;
    "cancelled-anywhere", "an import that is cancelled while it waits, wherever that is, ends and frees what it holds", cancelled_anywhere;
    "cancelled-before-it-starts", "an import that is cancelled before it starts ends", cancelled_before_it_starts;
    "nothing-after-the-end", "an import that is over asks the host for nothing any more", nothing_after_the_end;
    "failed-reads-fail-the-import", "where the queued file cannot be read the import fails", failed_reads_fail_the_import;
    "refused-files-fail-the-import", "where the host refuses a file the import fails with that reason", refused_files_fail_the_import;
    "denied-services", "a service that is denied ends in an error or is done without", denied_services;
    "only-declared-services", "no service is called that the manifest does not declare", only_declared_services;
    "results-are-bounded", "summaries and errors are of bounded length", results_are_bounded;
    "errors-say-why", "an error has a message that is not empty", errors_say_why;
    "passwords-stay-secret", "no password is in a log line, a summary or an error", passwords_stay_secret;
    "lent-bytes-are-not-kept" (loaded), "bytes that are lent for a call are not read after it", lent_bytes_are_not_kept;
    "a-later-host" (loaded), "a host with more functions, fields and statuses than this version knows is no different", a_later_host;
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

fn manifest_is_valid(subject: &dyn Subject, _samples: &[Sample]) -> Verdict {
    let manifest = subject.manifest()?;
    let id_ok = (1..=64).contains(&manifest.id.len())
        && manifest
            .id
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !id_ok {
        return Err(format!("'{}' is no id: 1 to 64 of a-z, 0-9 and '-'", manifest.id));
    }
    if manifest.name.trim().is_empty() || manifest.version.trim().is_empty() {
        return Err("'name' or 'version' is empty".to_owned());
    }
    if manifest.max_concurrency == Some(0) {
        return Err("'max_concurrency' is 0".to_owned());
    }
    let types = &manifest.file_types;
    if !types
        .iter()
        .any(|t| !t.extensions.is_empty() || !t.media_types.is_empty() || !t.magic.is_empty())
    {
        return Err("it declares no file type: it would never be asked".to_owned());
    }
    for extension in manifest.extensions() {
        if extension.is_empty()
            || extension.starts_with('.')
            || extension.contains(['/', '\\'])
            || extension.to_lowercase() != extension
        {
            return Err(format!(
                "'{extension}' is no extension: lower case, without a leading dot"
            ));
        }
    }
    for magic in types.iter().flat_map(|t| &t.magic) {
        let hex = &magic.hex;
        if hex.is_empty() || !hex.len().is_multiple_of(2) || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(format!("the signature '{hex}' is not hexadecimal"));
        }
    }
    Ok(())
}

fn manifest_is_stable(subject: &dyn Subject, _samples: &[Sample]) -> Verdict {
    let (one, two) = (subject.manifest()?, subject.manifest()?);
    if one != two {
        return Err("it is another one the second time".to_owned());
    }
    let json = serde_json::to_string(&one).map_err(|error| error.to_string())?;
    if json.len() > MAX_JSON {
        return Err(format!(
            "it has {} bytes, at most {MAX_JSON} are taken",
            json.len()
        ));
    }
    Ok(())
}

fn manifest_schema(subject: &dyn Subject, _samples: &[Sample]) -> Verdict {
    let Some(schema) = subject.manifest()?.config_schema else {
        return Ok(());
    };
    let kind = &schema["type"];
    let object = kind == "object"
        || kind
            .as_array()
            .is_some_and(|kinds| kinds.contains(&json!("object")));
    if !object {
        return Err(
            "'config_schema' does not say \"type\": \"object\"; a configuration is an object".to_owned(),
        );
    }
    let required = schema["required"].as_array().map_or(0, Vec::len);
    let empty = subject.config() == json!({});
    // Where nothing is required, nothing is enough.
    if required == 0 && empty {
        made(subject, Terms::default())?;
    }
    Ok(())
}

fn capabilities_are_known(subject: &dyn Subject, _samples: &[Sample]) -> Verdict {
    for capability in subject.manifest()?.capabilities {
        if !Manifest::CAPABILITIES.contains(&capability.as_str()) {
            return Err(format!(
                "there is no service '{capability}', there are: {}",
                Manifest::CAPABILITIES.join(", ")
            ));
        }
    }
    Ok(())
}

fn create_refuses_with_a_reason(subject: &dyn Subject, _samples: &[Sample]) -> Verdict {
    made(subject, Terms::default())?;
    let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
    for config in [
        json!({}),
        Json::Null,
        json!([]),
        json!("text"),
        json!(-1.5),
        json!({"no-such-key-at-all": deep}),
        json!({"": "", "\u{0}": null}),
    ] {
        if let Err(error) = subject.create(&config, Terms::default()) {
            if error.kind == ErrorKind::Panicked {
                return Err(format!(
                    "it panicked over the configuration {config}: {}",
                    error.message
                ));
            }
            if error.message.trim().is_empty() {
                return Err(format!(
                    "it refuses the configuration {config} and does not say why"
                ));
            }
        }
    }
    Ok(())
}

fn instances_are_independent(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
    for sample in &some(subject, samples)? {
        let (one, two) = (made(subject, Terms::default())?, made(subject, Terms::default())?);
        let first = import(subject, &one, sample, Difficulty::None)?.result();
        drop(one);
        let second = import(subject, &two, sample, Difficulty::None)?.result();
        same(
            &format!("'{}' on a second instance", sample.name),
            &first,
            &second,
        )?;
    }
    Ok(())
}

fn heads() -> Vec<Vec<u8>> {
    vec![
        Vec::new(),
        vec![0],
        vec![0; 64 << 10],
        vec![0xff; 64 << 10],
        b"<".repeat(64 << 10),
        b"{\"a\":".repeat(13 << 10),
        b"\xef\xbb\xbf".to_vec(),
        b"\xfe\xff\x00<".to_vec(),
        b"a\r\n\r\n\r".to_vec(),
        noise(1, 1),
        noise(2, 100),
        noise(3, 64 << 10),
    ]
}

fn asked(instance: &Arc<dyn Instance>, name: &str, head: &[u8]) -> Result<Confidence, String> {
    instance.probe(name, head).ok_or_else(|| {
        let name: String = name.chars().take(60).collect();
        format!(
            "it panicked when it was asked about '{}' with {} bytes",
            name.escape_default(),
            head.len()
        )
    })
}

fn probe_takes_any_bytes(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
    let (instance, name) = (made(subject, Terms::default())?, own_name(&subject.manifest()?));
    for head in heads() {
        asked(&instance, &name, &head)?;
    }
    for sample in samples {
        for cut in 0..sample.bytes.len().min(2000) {
            asked(&instance, &sample.name, &sample.bytes[..cut])?;
        }
    }
    Ok(())
}

fn probe_takes_any_name(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
    let (instance, own) = (made(subject, Terms::default())?, own_name(&subject.manifest()?));
    let long = format!("{}.{own}", "x".repeat(100_000));
    let head = samples.first().map_or(&b"text"[..], |sample| &sample.bytes);
    let head = &head[..head.len().min(64 << 10)];
    for name in [
        "",
        ".",
        "..",
        "/",
        "a",
        "ä€😀",
        "\u{0}\u{7f}\n",
        "ŉ.İ",
        &own.to_uppercase(),
        &long,
    ] {
        asked(&instance, name, head)?;
        asked(&instance, name, b"")?;
    }
    Ok(())
}

fn probe_is_pure(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
    let (instance, name) = (made(subject, Terms::default())?, own_name(&subject.manifest()?));
    let mut files: Vec<(String, Vec<u8>)> = heads().into_iter().map(|head| (name.clone(), head)).collect();
    files.extend(
        samples
            .iter()
            .map(|s| (s.name.clone(), s.bytes[..s.bytes.len().min(64 << 10)].to_vec())),
    );
    let all = || -> Result<Vec<Confidence>, String> {
        files
            .iter()
            .map(|(name, head)| asked(&instance, name, head))
            .collect()
    };
    let first = all()?;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(all)).collect();
        for thread in threads {
            let answers = thread.join().map_err(|_| "a thread panicked".to_owned())??;
            if answers != first {
                return Err("it answers differently the second time".to_owned());
            }
        }
        Ok(())
    })
}

fn probe_is_modest(subject: &dyn Subject, _samples: &[Sample]) -> Verdict {
    let instance = made(subject, Terms::default())?;
    for seed in 11..20 {
        let answer = asked(&instance, "holiday.conformance-noise", &noise(seed, 4096))?;
        if answer >= Confidence::CERTAIN {
            return Err("it is certain of noise".to_owned());
        }
    }
    Ok(())
}

fn probe_knows_its_own(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
    let instance = made(subject, Terms::default())?;
    for sample in samples {
        if asked(
            &instance,
            &sample.name,
            &sample.bytes[..sample.bytes.len().min(64 << 10)],
        )? == Confidence::NO
        {
            return Err(format!("it does not take '{}'", sample.name));
        }
    }
    Ok(())
}

fn import_of_nothing(subject: &dyn Subject, _samples: &[Sample]) -> Verdict {
    all_end(subject, &[Sample::new(&own_name(&subject.manifest()?), "")])
}

fn import_of_noise(subject: &dyn Subject, _samples: &[Sample]) -> Verdict {
    let name = own_name(&subject.manifest()?);
    let samples: Vec<Sample> = [1usize, 2, 100, 4096, 64 << 10, 1 << 20]
        .into_iter()
        .map(|len| Sample::new(&name, noise(len as u64 + 77, len)))
        .collect();
    all_end(subject, &samples)
}

fn import_of_broken_text(subject: &dyn Subject, _samples: &[Sample]) -> Verdict {
    let name = own_name(&subject.manifest()?);
    let texts: [Vec<u8>; 10] = [
        b"\xff\xfe\n\x80 \xc3\x28\n".to_vec(),
        b"\0\n\0\0\n".to_vec(),
        vec![b'a'; 1 << 20],
        vec![b'\n'; 100_000],
        b"../../etc/passwd\n/etc/passwd\n..\n.\n\\\\host\\share\n".to_vec(),
        b"<a>".repeat(100_000),
        b"[".repeat(100_000),
        b"{\"a\":".repeat(50_000),
        b"http://\nhttps://%\nhttp://[::\n:\n".to_vec(),
        "ä€😀 \u{202e}\u{0}\u{feff}\n".repeat(1000).into_bytes(),
    ];
    all_end(subject, &texts.map(|text| Sample::new(&name, text)))
}

fn import_of_cut_samples(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
    let mut cut = Vec::new();
    for sample in samples {
        let step = sample.bytes.len() / 40 + 1;
        for at in (0..sample.bytes.len()).step_by(step) {
            cut.push(Sample {
                bytes: sample.bytes[..at].to_vec(),
                ..sample.clone()
            });
            let mut changed = sample.clone();
            changed.bytes[at] ^= 0x55;
            cut.push(changed);
        }
    }
    all_end(subject, &cut)
}

fn import_of_samples(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
    let instance = made(subject, Terms::default())?;
    for sample in samples {
        let import = import(subject, &instance, sample, Difficulty::None)?;
        if let Err(error) = &import.ended {
            return Err(format!("'{}' is not imported: {error}", sample.name));
        }
        let seen = import.host.mock.recorded();
        if seen.files.is_empty() && seen.nested.is_empty() {
            return Err(format!("'{}' gives no file", sample.name));
        }
        for file in &seen.files {
            let read = import.host.mock.materialise(file);
            let bytes =
                read.map_err(|error| format!("'{}': '{}' cannot be read: {error}", sample.name, file.path))?;
            if bytes.len() as u64 != file.size {
                return Err(format!(
                    "'{}': '{}' has another length than it says",
                    sample.name, file.path
                ));
            }
        }
    }
    Ok(())
}

fn import_is_repeatable(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
    let instance = made(subject, Terms::default())?;
    for sample in &some(subject, samples)? {
        let first = import(subject, &instance, sample, Difficulty::None)?.result();
        let again = import(subject, &instance, sample, Difficulty::None)?.result();
        same(&format!("'{}' a second time", sample.name), &first, &again)?;
    }
    Ok(())
}

fn imports_at_once(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
    let instance = made(subject, Terms::default())?;
    for sample in &some(subject, samples)? {
        let alone = import(subject, &instance, sample, Difficulty::None)?.result();
        std::thread::scope(|scope| {
            let one = || import(subject, &instance, sample, Difficulty::Slow).map(|import| import.result());
            let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(one)).collect();
            for thread in threads {
                let seen = thread.join().map_err(|_| "a thread panicked".to_owned())??;
                same(&format!("'{}' beside others", sample.name), &alone, &seen)?;
            }
            Ok::<_, String>(())
        })?;
    }
    Ok(())
}

/// Whether each sample gives the same on these terms, or with this difficulty, as without.
fn no_different(subject: &dyn Subject, samples: &[Sample], terms: Terms, difficulty: Difficulty) -> Verdict {
    let (plain, other) = (made(subject, Terms::default())?, made(subject, terms)?);
    for sample in &some(subject, samples)? {
        let head = &sample.bytes[..sample.bytes.len().min(64 << 10)];
        if asked(&plain, &sample.name, head)? != asked(&other, &sample.name, head)? {
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

fn any_thread_may_poll(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
    let terms = Terms {
        moved: true,
        ..Terms::default()
    };
    no_different(subject, samples, terms, Difficulty::Slow)
}

fn slow_answers(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
    no_different(subject, samples, Terms::default(), Difficulty::Slow)
}

fn cancelled_anywhere(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
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

fn cancelled_before_it_starts(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
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

fn nothing_after_the_end(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
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

fn failed_reads_fail_the_import(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
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

fn refused_files_fail_the_import(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
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

fn denied_services(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
    let instance = made(subject, Terms::default())?;
    for sample in &some(subject, samples)? {
        import(subject, &instance, sample, Difficulty::DeniedCalls)?;
    }
    Ok(())
}

fn only_declared_services(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
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

fn results_are_bounded(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
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

fn errors_say_why(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
    ends(subject, samples, |name, import| match &import.ended {
        Err(ImportError { message, kind, .. }) if message.trim().is_empty() => {
            Err(format!("'{name}' fails with kind '{kind}' and does not say why"))
        }
        _ => Ok(()),
    })
}

fn passwords_stay_secret(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
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

fn lent_bytes_are_not_kept(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
    let terms = Terms {
        spoil: true,
        ..Terms::default()
    };
    no_different(subject, samples, terms, Difficulty::None)
}

fn a_later_host(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
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
