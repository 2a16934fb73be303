//! An importer's configuration against the JSON Schema in its manifest.

use altmount_sdk::Json;
use jsonschema::{Draft, PatternOptions, Validator, error::ValidationErrorKind};

/// Most faults of one configuration that are told.
const MOST_TOLD: usize = 5;
/// Longest schema, in bytes of JSON.
const MAX_SCHEMA: usize = 256 << 10;

/// Checks a configuration, before the importer sees it. What a fault tells is the key and what is expected there, never the value:
/// it may be a secret.
///
/// # Errors
/// Where the schema is none or refers to another document, and where the configuration is not as it says.
pub fn check_config(id: &str, schema: Option<&Json>, config: &Json) -> Result<(), String> {
    let Some(schema) = schema else {
        return Ok(());
    };
    let validator = compile(schema).map_err(|why| format!("the 'config_schema' of its manifest {why}"))?;
    let mut faults: Vec<String> = Vec::new();
    for error in validator.iter_errors(config).take(MOST_TOLD) {
        let mut key = format!("plugins.config.{id}");
        for part in error.instance_path().as_str().split('/').skip(1) {
            // RFC 6901 writes '~' and '/' so.
            key = format!("{key}.{}", part.replace("~1", "/").replace("~0", "~"));
        }
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                let known = properties(schema);
                for name in unexpected {
                    let mut text = format!("{key}.{name}: there is no such key");
                    if key.ends_with(&format!(".{id}")) && !known.is_empty() {
                        text = format!("{text}; there are: {}", known.join(", "));
                    }
                    faults.push(text);
                }
            }
            _ => faults.push(format!("{key}: {}", error.masked_with("the value"))),
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    Err(faults.join("; "))
}

fn compile(schema: &Json) -> Result<Validator, String> {
    let len = schema.to_string().len();
    if len > MAX_SCHEMA {
        return Err(format!("has {len} bytes, at most {MAX_SCHEMA} are taken"));
    }
    if !schema.is_object() {
        return Err("is no JSON Schema: it must be an object".to_owned());
    }
    // Expressions without backtracking: their time is bounded by the text. Other documents are never fetched.
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .with_pattern_options(PatternOptions::regex())
        .build(schema)
        .map_err(|error| format!("is no JSON Schema that can be used: {error}"))
}

fn properties(schema: &Json) -> Vec<&str> {
    let properties = schema["properties"].as_object();
    properties
        .map(|map| map.keys().map(String::as_str).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use altmount_sdk::json;

    fn check(config: Json) -> Result<(), String> {
        let schema = json!({
            "type": "object",
            "properties": {
                "greeting": {"type": "string", "maxLength": 5},
                "deep": {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}},
                "token": {"type": "string", "pattern": "^[a-z]+$"}
            },
            "additionalProperties": false
        });
        check_config("hello", Some(&schema), &config)
    }

    #[test]
    fn a_fault_names_its_key_and_never_the_value() {
        assert_eq!(check(json!({"greeting": "hi", "deep": {"n": 3}})), Ok(()));
        assert_eq!(check_config("x", None, &json!([1])), Ok(()));
        let fault = |config| check(config).expect_err("a fault");
        let text = fault(json!({"greting": "hi"}));
        assert!(
            text.starts_with("plugins.config.hello.greting: there is no such key; there are: ")
                && text.contains("greeting"),
            "{text}"
        );
        for (config, key) in [
            (json!({"greeting": 7}), "plugins.config.hello.greeting: "),
            (json!({"deep": {"n": "3"}}), "plugins.config.hello.deep.n: "),
            (json!({"deep": {"n": 0}}), "plugins.config.hello.deep.n: "),
            (json!("text"), "plugins.config.hello: "),
        ] {
            let text = fault(config);
            assert!(text.starts_with(key), "{text}");
        }
        let text = fault(json!({"token": "S3CRET"}));
        assert!(text.contains("hello.token") && !text.contains("S3CRET"), "{text}");
    }

    #[test]
    fn a_schema_that_is_none_is_refused_and_nothing_is_fetched() {
        for (schema, told) in [
            (json!(7), "must be an object"),
            (json!({"type": "no such type"}), "no JSON Schema"),
            (json!({"$ref": "http://localhost:1/x.json"}), "no JSON Schema"),
            (json!({"$ref": "file:///etc/passwd"}), "no JSON Schema"),
            (json!({"description": "x".repeat(MAX_SCHEMA)}), "at most"),
        ] {
            let text = check_config("x", Some(&schema), &json!({})).expect_err("refused");
            assert!(text.contains("config_schema") && text.contains(told), "{text}");
        }
    }
}
