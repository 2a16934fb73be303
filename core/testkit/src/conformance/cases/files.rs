//! Files of all kinds, good and broken, one after the other and at once.

use super::{AT_ONCE, Verdict, all_end, import, made, noise, own_name, same, some};
use crate::conformance::host::Difficulty;
use crate::conformance::{Sample, Subject, Terms};

pub(super) fn import_of_nothing(subject: &dyn Subject, _samples: &[Sample]) -> Verdict {
    all_end(subject, &[Sample::new(&own_name(&subject.manifest()?), "")])
}

pub(super) fn import_of_noise(subject: &dyn Subject, _samples: &[Sample]) -> Verdict {
    let name = own_name(&subject.manifest()?);
    let samples: Vec<Sample> = [1usize, 2, 100, 4096, 64 << 10, 1 << 20]
        .into_iter()
        .map(|len| Sample::new(&name, noise(len as u64 + 77, len)))
        .collect();
    all_end(subject, &samples)
}

pub(super) fn import_of_broken_text(subject: &dyn Subject, _samples: &[Sample]) -> Verdict {
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

pub(super) fn import_of_cut_samples(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
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

pub(super) fn import_of_samples(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
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

pub(super) fn import_is_repeatable(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
    let instance = made(subject, Terms::default())?;
    for sample in &some(subject, samples)? {
        let first = import(subject, &instance, sample, Difficulty::None)?.result();
        let again = import(subject, &instance, sample, Difficulty::None)?.result();
        same(&format!("'{}' a second time", sample.name), &first, &again)?;
    }
    Ok(())
}

pub(super) fn imports_at_once(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
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
