//! From the keys of `plugins` to what loads and configures importers.

use super::{resolve::Faults, types::PluginFile};
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::Path};

pub(super) fn files(load: Vec<PluginFile>, faults: &mut Faults) -> Vec<PluginFile> {
    for (at, file) in load.iter().enumerate() {
        if !Path::new(&file.path).is_absolute() {
            faults.add(format!(
                "'plugins.load[{at}].path' must be where the library lies, from '/' on"
            ));
        }
        let hash_ok = |hash: &String| hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
        if !file.sha256.as_ref().is_none_or(hash_ok) {
            faults.add(format!(
                "'plugins.load[{at}].sha256' must be 64 hexadecimal digits; altmount plugin hash prints them"
            ));
        }
    }
    load
}

/// `import.check`, `ignore` and `damage` are the `nzb` importer's own where those are not given.
pub(super) fn nzb_defaults(plugins: &mut BTreeMap<String, Value>, own: [(&str, Value); 4]) -> Option<String> {
    let nzb = plugins.entry("nzb".to_owned()).or_insert_with(|| json!({}));
    let Value::Object(map) = nzb else {
        return Some("'plugins.config.nzb' must be a map of keys and values".to_owned());
    };
    for (key, value) in own {
        map.entry(key).or_insert(value);
    }
    None
}
