//! Apprise's JSON, for whatever listens for it.

use super::{Given, Service, Target, webhook::hook};
use crate::notify::Message;
use serde_json::{Value, json};

/// `jsons://[user:password@|token@]host/path`.
pub(super) struct Json;

impl Service for Json {
    fn name(&self) -> &'static str {
        "json"
    }

    fn schemes(&self) -> &'static [&'static str] {
        &["json", "jsons"]
    }

    fn takes_query(&self) -> bool {
        true
    }

    fn read(&self, given: &Given<'_>) -> Result<Target, String> {
        hook(given)
    }

    fn body(&self, message: &Message) -> Value {
        json!({
            "version": "1.0",
            "title": message.title,
            "message": message.text(),
            "attachments": [],
            "type": message.level.as_str(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{TEXT, sent};
    use serde_json::json;

    #[test]
    fn it_is_what_apprise_sends() {
        let body = json!({
            "version": "1.0", "title": "An import failed", "message": TEXT, "attachments": [], "type": "failure",
        });
        for (text, post) in [
            ("jsons://h.example/a", "https://h.example/a"),
            ("json://h.example:9/a?b=c", "http://h.example:9/a?b=c"),
        ] {
            assert_eq!(sent(text), (post.to_owned(), None, body.clone()), "{text}");
        }
    }
}
