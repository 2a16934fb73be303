//! An [Apprise API](https://github.com/caronc/apprise-api) server, which tells whom it is configured to tell.

use super::{Given, Service, Target};
use crate::notify::Message;
use serde_json::{Value, json};

/// `apprises://[user:password@]host/[path/]key`.
pub(super) struct Apprise;

impl Service for Apprise {
    fn name(&self) -> &'static str {
        "apprise"
    }

    fn schemes(&self) -> &'static [&'static str] {
        &["apprise", "apprises"]
    }

    fn read(&self, given: &Given<'_>) -> Result<Target, String> {
        let web = given.web()?;
        let (key, mut path) = web
            .last_of_path()
            .ok_or("it has no key of a configuration: apprises://host/key")?;
        path.extend(["notify".to_owned(), key]);
        Ok(Target::new(web.at(&path)?, &web.host).with_credentials(web.login()))
    }

    fn body(&self, message: &Message) -> Value {
        json!({
            "title": message.title,
            "body": message.text(),
            "type": message.level.as_str(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{TEXT, refused, sent};
    use serde_json::json;

    #[test]
    fn a_configuration_is_notified_by_its_key() {
        let body = json!({"title": "An import failed", "body": TEXT, "type": "failure"});
        for (text, post, credentials) in [
            ("apprise://h.example/key", "http://h.example/notify/key", None),
            (
                "apprises://u:p@h.example:9/sub/key",
                "https://h.example:9/sub/notify/key",
                Some("Basic dTpw"),
            ),
        ] {
            let wanted = (post.to_owned(), credentials.map(str::to_owned), body.clone());
            assert_eq!(sent(text), wanted, "{text}");
        }
        refused(&["apprise://h"]);
    }
}
