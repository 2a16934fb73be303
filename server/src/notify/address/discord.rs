//! [Webhooks of Discord](https://discord.com/developers/docs/resources/webhook#execute-webhook).

use super::{
    Given, Service, Target,
    parts::{cut, pair, sender},
};
use crate::notify::Message;
use serde_json::{Value, json};

/// Longest text that it takes, in characters.
const MAX: usize = 2000;

/// `discord://[sender@]id/token`.
pub(super) struct Discord;

impl Service for Discord {
    fn name(&self) -> &'static str {
        "discord"
    }

    fn schemes(&self) -> &'static [&'static str] {
        &["discord"]
    }

    fn shown(&self) -> &'static [&'static str] {
        &["discord.com/api/webhooks/", "discordapp.com/api/webhooks/"]
    }

    fn read(&self, given: &Given<'_>) -> Result<Target, String> {
        let (sender, rest) = sender(given.rest);
        let (id, token) = pair(rest).ok_or("it is not discord://id/token, as the webhook's address ends")?;
        let post = format!("https://discord.com/api/webhooks/{id}/{token}");
        Ok(Target::new(post, "discord.com").with_fields(json!({"username": sender})))
    }

    fn body(&self, message: &Message) -> Value {
        json!({
            "content": cut(&format!("**{}**\n{}", message.title, message.text()), MAX),
            // Nobody is called by what a release is called.
            "allowed_mentions": {"parse": []},
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        Address,
        testing::{TEXT, message, refused, sent},
    };
    use serde_json::json;

    #[test]
    fn a_webhook_is_sent_a_text_that_calls_nobody() {
        let body = json!({
            "content": format!("**An import failed**\n{TEXT}"), "allowed_mentions": {"parse": []},
        });
        let post = "https://discord.com/api/webhooks/12/to-k_en";
        assert_eq!(
            sent("discord://12/to-k_en"),
            (post.to_owned(), None, body.clone())
        );
        let mut named = body;
        named["username"] = json!("My Library");
        assert_eq!(
            sent("discord://My%20Library@12/to-k_en/"),
            (post.to_owned(), None, named)
        );
        refused(&["discord://1"]);
    }

    #[test]
    fn a_long_text_is_cut_to_what_it_takes() {
        let mut long = message();
        long.lines = vec!["é".repeat(5000)];
        let body = Address::parse("discord://1/t").expect("valid").body(&long);
        let content = body["content"].as_str().expect("a text");
        assert_eq!((content.chars().count(), content.ends_with('…')), (2000, true));
    }
}
