//! What Newtonsoft.Json takes for which type, with the settings of the *arrs: measured against version 12.0.1 under mono. An `Err`
//! is the exception that loses the whole answer.

use serde_json::Value;

/// An exception's message.
pub type Result<T> = std::result::Result<T, String>;

fn wrong<T>(what: &str, value: &Value) -> Result<T> {
    Err(format!("cannot convert {value} to {what}"))
}

/// A string: also from numbers and booleans. `None` for null.
///
/// # Errors
/// Objects and arrays.
pub fn string(value: Option<&Value>) -> Result<Option<String>> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Bool(true)) => Ok(Some("True".to_owned())),
        Some(Value::Bool(false)) => Ok(Some("False".to_owned())),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(other) => wrong("string", other),
    }
}

/// An Int32: `5`, `"5"`; 0 for null and `""`.
///
/// # Errors
/// Fractions, even `5.0`; other texts; booleans; what does not fit.
pub fn int32(value: Option<&Value>) -> Result<i32> {
    match value {
        None | Some(Value::Null) => Ok(0),
        Some(Value::String(text)) if text.is_empty() => Ok(0),
        Some(value @ Value::String(text)) => text.trim().parse().or_else(|_| wrong("Int32", value)),
        Some(value @ Value::Number(number)) => {
            let fits = number.as_i64().and_then(|n| i32::try_from(n).ok());
            fits.map_or_else(|| wrong("Int32", value), Ok)
        }
        Some(other) => wrong("Int32", other),
    }
}

/// An Int64: also from fractions and `true`; 0 for null.
///
/// # Errors
/// Texts that are no whole number, `""` among them.
pub fn int64(value: Option<&Value>) -> Result<i64> {
    match value {
        None | Some(Value::Null) => Ok(0),
        Some(Value::Bool(flag)) => Ok(i64::from(*flag)),
        Some(value @ Value::String(text)) => text.trim().parse().or_else(|_| wrong("Int64", value)),
        Some(value @ Value::Number(number)) => {
            let whole = number
                .as_i64()
                .or_else(|| number.as_f64().map(|n| n.round_ties_even() as i64));
            whole.map_or_else(|| wrong("Int64", value), Ok)
        }
        Some(other) => wrong("Int64", other),
    }
}

/// A decimal: also from texts with thousands' commas; 0 for null and `""`.
///
/// # Errors
/// Other texts, booleans.
pub fn decimal(value: Option<&Value>) -> Result<f64> {
    match value {
        None | Some(Value::Null) => Ok(0.0),
        Some(Value::String(text)) if text.is_empty() => Ok(0.0),
        Some(value @ Value::String(text)) => {
            let number = text
                .replace(',', "")
                .parse::<f64>()
                .ok()
                .filter(|n| n.is_finite());
            number.map_or_else(|| wrong("Decimal", value), Ok)
        }
        Some(value @ Value::Number(number)) => number.as_f64().map_or_else(|| wrong("Decimal", value), Ok),
        Some(other) => wrong("Decimal", other),
    }
}

/// A Boolean: also from numbers and `"true"`; `false` for null and `""`.
///
/// # Errors
/// `"0"`, `"1"`, `"yes"` and the like.
pub fn boolean(value: Option<&Value>) -> Result<bool> {
    match value {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(Value::Number(number)) => Ok(number.as_f64() != Some(0.0)),
        Some(Value::String(text)) if text.is_empty() => Ok(false),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(false),
        Some(other) => wrong("Boolean", other),
    }
}

/// The sixteen words, in the order of their numbers.
pub const STATUSES: [&str; 16] = [
    "Grabbing",
    "Queued",
    "Paused",
    "Checking",
    "Downloading",
    "QuickCheck",
    "Verifying",
    "Repairing",
    "Fetching",
    "Extracting",
    "Moving",
    "Running",
    "Completed",
    "Failed",
    "Deleted",
    "Propagating",
];

/// A status: one of the words in any case, or its number; `Grabbing` for null.
///
/// # Errors
/// Anything else.
pub fn status(value: Option<&Value>) -> Result<&'static str> {
    match value {
        None | Some(Value::Null) => Ok(STATUSES[0]),
        Some(value @ Value::String(text)) => {
            let text = text.trim();
            let named = STATUSES
                .iter()
                .find(|word| word.eq_ignore_ascii_case(text))
                .copied();
            let numbered = text
                .parse::<usize>()
                .ok()
                .and_then(|at| STATUSES.get(at).copied());
            named
                .or(numbered)
                .map_or_else(|| wrong("SabnzbdDownloadStatus", value), Ok)
        }
        Some(value @ Value::Number(number)) => {
            let word = number
                .as_u64()
                .and_then(|at| STATUSES.get(usize::try_from(at).ok()?).copied());
            word.map_or_else(|| wrong("SabnzbdDownloadStatus", value), Ok)
        }
        Some(other) => wrong("SabnzbdDownloadStatus", other),
    }
}

/// A time left in seconds: `H:M:S` or `D:H:M:S`; 0 for null.
///
/// # Errors
/// Anything else, `""` and numbers among them.
pub fn time_left(value: Option<&Value>) -> Result<u64> {
    let text = match value {
        None | Some(Value::Null) => return Ok(0),
        Some(Value::String(text)) => text,
        Some(other) => return wrong("TimeSpan", other),
    };
    let parts: Option<Vec<u64>> = text.split(':').map(|part| part.parse().ok()).collect();
    match parts.as_deref() {
        Some([hours, minutes, seconds]) => Ok(hours * 3600 + minutes * 60 + seconds),
        Some([days, hours, minutes, seconds]) => Ok(days * 86_400 + hours * 3600 + minutes * 60 + seconds),
        _ => Err(format!(
            "expected either 0:0:0:0 or 0:0:0 format, but received: {text}"
        )),
    }
}

/// A list; empty for null and `""`.
///
/// # Errors
/// Objects and other texts.
pub fn list(value: Option<&Value>) -> Result<Vec<Value>> {
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(text)) if text.is_empty() => Ok(Vec::new()),
        Some(Value::Array(values)) => Ok(values.clone()),
        Some(other) => wrong("List", other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn taken<T: PartialEq + std::fmt::Debug>(
        read: fn(Option<&Value>) -> Result<T>,
        good: &[(Value, T)],
        bad: &[Value],
    ) {
        for (value, expected) in good {
            assert_eq!(read(Some(value)).as_ref(), Ok(expected), "{value}");
        }
        for value in bad {
            assert!(read(Some(value)).is_err(), "{value}");
        }
    }

    #[test]
    fn the_table_as_it_was_measured() {
        taken(
            int32,
            &[
                (json!(5), 5),
                (json!("5"), 5),
                (json!(" 5 "), 5),
                (json!(null), 0),
                (json!(""), 0),
            ],
            &[
                json!(5.0),
                json!(5.5),
                json!("5.5"),
                json!("abc"),
                json!(true),
                json!(3_000_000_000u64),
            ],
        );
        taken(
            int64,
            &[
                (json!(5), 5),
                (json!("5"), 5),
                (json!(5.0), 5),
                (json!(5.5), 6),
                (json!(true), 1),
                (json!(null), 0),
            ],
            &[json!(""), json!("5.5"), json!("abc")],
        );
        taken(
            decimal,
            &[
                (json!(5.5), 5.5),
                (json!("5.55"), 5.55),
                (json!("1,234.50"), 1234.5),
                (json!(""), 0.0),
                (json!(null), 0.0),
            ],
            &[json!("1.2 GB"), json!("NaN"), json!(true)],
        );
        taken(
            boolean,
            &[
                (json!(true), true),
                (json!(0), false),
                (json!("True"), true),
                (json!(""), false),
                (json!(null), false),
            ],
            &[json!("0"), json!("1"), json!("yes")],
        );
        taken(
            status,
            &[
                (json!("queued"), "Queued"),
                (json!(" Failed "), "Failed"),
                (json!(4), "Downloading"),
                (json!(null), "Grabbing"),
            ],
            &[
                json!("Idle"),
                json!("Unknown"),
                json!(""),
                json!("Quick Check"),
                json!(true),
                json!(4.0),
            ],
        );
        taken(
            time_left,
            &[
                (json!("1:02:03"), 3723),
                (json!("1:0:0:0"), 86_400),
                (json!("0:0:90"), 90),
                (json!(null), 0),
            ],
            &[json!(""), json!("12:34"), json!(5), json!("unknown")],
        );
        taken(
            list,
            &[
                (json!([1]), vec![json!(1)]),
                (json!(""), vec![]),
                (json!(null), vec![]),
            ],
            &[json!({}), json!("tv")],
        );
        taken(
            string,
            &[(json!(5), Some("5".to_owned())), (json!(null), None)],
            &[json!({}), json!([])],
        );
    }
}
