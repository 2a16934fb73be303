//! How sure it is of a file.

use super::{AT_ONCE, Verdict, made, noise, own_name};
use crate::conformance::{Instance, Sample, Subject, Terms};
use altmount_sdk::Confidence;
use std::sync::Arc;

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

pub(super) fn asked(instance: &Arc<dyn Instance>, name: &str, head: &[u8]) -> Result<Confidence, String> {
    instance.probe(name, head).ok_or_else(|| {
        let name: String = name.chars().take(60).collect();
        format!(
            "it panicked when it was asked about '{}' with {} bytes",
            name.escape_default(),
            head.len()
        )
    })
}

pub(super) fn probe_takes_any_bytes(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
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

pub(super) fn probe_takes_any_name(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
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

pub(super) fn probe_is_pure(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
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

pub(super) fn probe_is_modest(subject: &dyn Subject, _samples: &[Sample]) -> Verdict {
    let instance = made(subject, Terms::default())?;
    for seed in 11..20 {
        let answer = asked(&instance, "holiday.conformance-noise", &noise(seed, 4096))?;
        if answer >= Confidence::CERTAIN {
            return Err("it is certain of noise".to_owned());
        }
    }
    Ok(())
}

pub(super) fn probe_knows_its_own(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
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
