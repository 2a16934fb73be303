//! Webhooks of nobody's: an object of ours, or the operator's own.

use super::{Given, Service, Target};
use crate::notify::Message;
use serde_json::{Value, json};

/// `https://[user:password@|token@]host/path`.
pub(super) struct Webhook;

impl Service for Webhook {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn schemes(&self) -> &'static [&'static str] {
        &["http", "https"]
    }

    fn takes_query(&self) -> bool {
        true
    }

    fn takes_template(&self) -> bool {
        true
    }

    fn read(&self, given: &Given<'_>) -> Result<Target, String> {
        hook(given)
    }

    fn body(&self, message: &Message) -> Value {
        json!({
            "event": message.event,
            "title": message.title,
            "message": message.text(),
            "level": message.level.as_str(),
            "count": message.count,
            "time": message.time.to_string(),
        })
    }
}

/// The address as it is, but for who logs in.
pub(super) fn hook(given: &Given<'_>) -> Result<Target, String> {
    let web = given.web()?;
    let (login, host) = (web.login(), web.host.clone());
    Ok(Target::new(web.without_login(), host).with_credentials(login))
}

#[cfg(test)]
mod tests {
    use super::super::{
        Address,
        testing::{TEXT, refused, sent},
    };
    use serde_json::json;

    #[test]
    fn all_of_a_message_is_posted_to_the_address_as_it_is() {
        let (post, credentials, body) = sent("https://h.example/a?b=c");
        assert_eq!((post.as_str(), credentials), ("https://h.example/a?b=c", None));
        let whole = json!({
            "event": "failed", "title": "An import failed", "message": TEXT, "level": "failure", "count": 2,
            "time": "1970-01-01T00:00:00Z",
        });
        assert_eq!(body, whole);
    }

    #[test]
    fn who_logs_in_is_in_the_header_alone() {
        let (post, credentials, _) = sent("http://u:p@h.example:8/a");
        assert_eq!(
            (post.as_str(), credentials.as_deref()),
            ("http://h.example:8/a", Some("Basic dTpw"))
        );
        let address = Address::parse("http://u:p@h.example:8/a").expect("valid");
        assert_eq!(format!("{address:?}"), "webhook(h.example)");
        refused(&["https://", "http://h:port/"]);
    }
}
