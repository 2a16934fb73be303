//! JSON of plugins, with errors that name the place.

use serde::de::DeserializeOwned;

/// Reads a message.
///
/// # Errors
/// Where it is none; the text names the field, as far as there is one.
pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| {
        // Once more, slowly: who writes messages wants to know which field it is.
        let read = serde_path_to_error::deserialize::<_, T>(&mut serde_json::Deserializer::from_slice(bytes));
        match read {
            Err(found) if found.path().iter().next().is_some() => {
                format!("{}: {}", found.path(), found.inner())
            }
            _ => error.to_string(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use altmount_sdk::{Manifest, VirtualFile};

    #[test]
    fn errors_name_the_field() {
        let text =
            br#"{"id":"a","name":"A","version":"1","file_types":[{"magic":[{"offset":"4","hex":""}]}]}"#;
        let error = read::<Manifest>(text).expect_err("no manifest");
        assert!(
            error.starts_with("file_types[0].magic[0].offset: invalid type: string"),
            "{error}"
        );
        let text = br#"{"path":"a","size":"7","content":[]}"#;
        let error = read::<VirtualFile>(text).expect_err("no file");
        assert!(error.starts_with("size: invalid type: string"), "{error}");
        let error = read::<Manifest>(b"{").expect_err("no JSON");
        assert!(error.contains("EOF"), "{error}");
        let error = read::<Manifest>(br#"{"id":"a"}"#).expect_err("not whole");
        assert!(error.contains("missing field `name`"), "{error}");
    }
}
