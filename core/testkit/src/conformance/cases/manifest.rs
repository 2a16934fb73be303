//! What an importer says of itself, and how it is made.

use super::{MAX_JSON, Verdict, import, made, same, some};
use crate::conformance::host::Difficulty;
use crate::conformance::{Sample, Subject, Terms};
use altmount_sdk::{ErrorKind, Json, Manifest, json};

pub(super) fn manifest_is_valid(subject: &dyn Subject, _samples: &[Sample]) -> Verdict {
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

pub(super) fn manifest_is_stable(subject: &dyn Subject, _samples: &[Sample]) -> Verdict {
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

pub(super) fn manifest_schema(subject: &dyn Subject, _samples: &[Sample]) -> Verdict {
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

pub(super) fn capabilities_are_known(subject: &dyn Subject, _samples: &[Sample]) -> Verdict {
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

pub(super) fn create_refuses_with_a_reason(subject: &dyn Subject, _samples: &[Sample]) -> Verdict {
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

pub(super) fn instances_are_independent(subject: &dyn Subject, samples: &[Sample]) -> Verdict {
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
