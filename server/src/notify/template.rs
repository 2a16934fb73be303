//! What the operator gives a webhook in place of our object.

use super::Message;
use serde_json::Value;

/// The JSON that a webhook is sent, with places for what happened.
#[derive(Clone, Debug)]
pub struct Template(String);

impl Template {
    /// Checks that it is JSON, whatever happens.
    ///
    /// # Errors
    /// Why it is not.
    pub fn parse(text: &str) -> Result<Self, String> {
        let template = Self(text.to_owned());
        let sample = Message::test(jiff::Timestamp::UNIX_EPOCH);
        serde_json::from_str::<Value>(&template.filled(&sample))
            .map_err(|error| format!("it is no JSON with its places filled: {error}"))?;
        if let Some(unknown) = unknown_place(text) {
            return Err(format!(
                "'{{{{{unknown}}}}}' is no place; there are event, title, message, level, count and time"
            ));
        }
        Ok(template)
    }

    /// The JSON for one message.
    pub(super) fn filled(&self, message: &Message) -> String {
        let values = [
            ("event", message.event.to_owned()),
            ("title", message.title.clone()),
            ("message", message.text()),
            ("level", message.level.as_str().to_owned()),
            ("count", message.count.to_string()),
            ("time", message.time.to_string()),
        ];
        let mut filled = String::with_capacity(self.0.len());
        let mut rest = self.0.as_str();
        // One walk: what a value holds is never taken for a place.
        while let Some((before, after)) = rest.split_once("{{") {
            filled.push_str(before);
            let place = after.split_once("}}");
            let known = place.and_then(|(name, rest)| {
                let value = values.iter().find(|(known, _)| *known == name.trim())?;
                Some((&value.1, rest))
            });
            match known {
                Some((value, behind)) => {
                    let quoted = Value::from(value.as_str()).to_string();
                    filled.push_str(&quoted[1..quoted.len() - 1]);
                    rest = behind;
                }
                None => {
                    filled.push_str("{{");
                    rest = after;
                }
            }
        }
        filled.push_str(rest);
        filled
    }
}

fn unknown_place(text: &str) -> Option<&str> {
    text.split("{{").skip(1).find_map(|rest| {
        let (name, _) = rest.split_once("}}")?;
        let name = name.trim();
        let word = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_');
        let known = ["event", "title", "message", "level", "count", "time"].contains(&name);
        (word && !known).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::Level;

    #[test]
    fn a_template_stays_json_whatever_happens() {
        let template =
            Template::parse("{\"text\": \"{{ title }}: {{message}}\", \"n\": {{count}}}").expect("valid");
        let message = Message {
            event: "failed",
            title: "An import failed".to_owned(),
            lines: vec!["a \"b\" {{title}}: no".to_owned(), "c".to_owned()],
            level: Level::Failure,
            count: 2,
            time: jiff::Timestamp::UNIX_EPOCH,
        };
        let filled: Value = serde_json::from_str(&template.filled(&message)).expect("JSON");
        assert_eq!(filled["text"], "An import failed: a \"b\" {{title}}: no\nc");
        assert_eq!(filled["n"], 2);
        for wrong in ["", "{", "{\"a\": {{title}}}", "{\"a\": \"{{release}}\"}"] {
            assert!(Template::parse(wrong).is_err(), "{wrong}");
        }
    }
}
