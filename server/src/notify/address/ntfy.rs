//! [ntfy](https://docs.ntfy.sh/publish/#publish-as-json): the cloud's, or one's own.

use super::{Given, Service, Target};
use crate::notify::{Level, Message};
use serde_json::{Value, json};

/// `ntfy://topic`, `ntfys://[user:password@|token@]host/topic`.
pub(super) struct Ntfy;

impl Service for Ntfy {
    fn name(&self) -> &'static str {
        "ntfy"
    }

    fn schemes(&self) -> &'static [&'static str] {
        &["ntfy", "ntfys"]
    }

    fn read(&self, given: &Given<'_>) -> Result<Target, String> {
        let web = given.web()?;
        let (target, topic) = match web.path().as_slice() {
            // What stands where a host would is the topic.
            [] => (Target::new("https://ntfy.sh/", "ntfy.sh"), web.host.clone()),
            [topic] => (Target::new(web.at::<&str>([])?, &web.host), topic.clone()),
            _ => return Err("it has more than a host and a topic: ntfys://host/topic".to_owned()),
        };
        Ok(target
            .with_credentials(web.login())
            .with_fields(json!({"topic": topic})))
    }

    fn body(&self, message: &Message) -> Value {
        json!({
            "title": message.title,
            "message": message.text(),
            "priority": if message.level == Level::Failure { 4 } else { 3 },
            "tags": [match message.level {
                Level::Info => "information_source",
                Level::Success => "white_check_mark",
                Level::Warning => "warning",
                Level::Failure => "rotating_light",
            }],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{TEXT, refused, sent};
    use serde_json::json;

    #[test]
    fn a_topic_is_told_wherever_it_is() {
        for (text, post, credentials) in [
            ("ntfy://alerts", "https://ntfy.sh/", None),
            (
                "ntfys://tk_1@h.example/alerts",
                "https://h.example/",
                Some("Bearer tk_1"),
            ),
            (
                "ntfy://u:p@h.example:80/alerts",
                "http://h.example/",
                Some("Basic dTpw"),
            ),
        ] {
            let body = json!({
                "topic": "alerts", "title": "An import failed", "message": TEXT, "priority": 4, "tags": ["rotating_light"],
            });
            let wanted = (post.to_owned(), credentials.map(str::to_owned), body);
            assert_eq!(sent(text), wanted, "{text}");
        }
        refused(&["ntfy://h/a/b", "ntfy://h/a?priority=high"]);
    }
}
