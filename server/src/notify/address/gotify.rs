//! [Gotify](https://gotify.net/docs/pushmsg).

use super::{Given, Service, Target};
use crate::notify::{Level, Message};
use http::HeaderName;
use serde_json::{Value, json};

/// `gotifys://host/[path/]token`.
pub(super) struct Gotify;

impl Service for Gotify {
    fn name(&self) -> &'static str {
        "gotify"
    }

    fn schemes(&self) -> &'static [&'static str] {
        &["gotify", "gotifys"]
    }

    fn read(&self, given: &Given<'_>) -> Result<Target, String> {
        let web = given.web()?;
        let (token, mut path) = web
            .last_of_path()
            .ok_or("it has no token: gotifys://host/token")?;
        path.push("message".to_owned());
        let key = HeaderName::from_static("x-gotify-key");
        Ok(Target::new(web.at(&path)?, &web.host).with_credentials(Some((key, token.into()))))
    }

    fn body(&self, message: &Message) -> Value {
        json!({
            "title": message.title,
            "message": message.text(),
            "priority": if message.level == Level::Failure { 8 } else { 5 },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{TEXT, refused, sent};
    use serde_json::json;

    #[test]
    fn the_token_is_in_its_header_and_not_in_the_path() {
        let body = json!({"title": "An import failed", "message": TEXT, "priority": 8});
        for (text, post) in [
            ("gotifys://h.example/tok", "https://h.example/message"),
            ("gotify://h.example:9/sub/tok", "http://h.example:9/sub/message"),
        ] {
            let wanted = (post.to_owned(), Some("tok".to_owned()), body.clone());
            assert_eq!(sent(text), wanted, "{text}");
        }
        refused(&["gotify://h"]);
    }
}
