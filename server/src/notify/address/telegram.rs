//! [Bots of Telegram](https://core.telegram.org/bots/api#sendmessage).

use super::{
    Given, Service, Target,
    parts::{cut, pair},
};
use crate::notify::Message;
use serde_json::{Value, json};

/// Longest text that it takes, in characters.
const MAX: usize = 4096;

/// `tgram://token/chat[:topic]`.
pub(super) struct Telegram;

impl Service for Telegram {
    fn name(&self) -> &'static str {
        "telegram"
    }

    fn schemes(&self) -> &'static [&'static str] {
        &["tgram"]
    }

    fn read(&self, given: &Given<'_>) -> Result<Target, String> {
        const FORM: &str = "it is not tgram://token/chat, with one chat; give each chat a target of its own";
        let (token, chat) = pair(given.rest).ok_or(FORM)?;
        let (chat, topic) = match chat.split_once(':') {
            Some((chat, topic)) => (chat, Some(topic.parse::<u32>().map_err(|_| FORM)?)),
            None => (chat, None),
        };
        let post = format!("https://api.telegram.org/bot{token}/sendMessage");
        Ok(Target::new(post, "api.telegram.org")
            .with_fields(json!({"chat_id": chat, "message_thread_id": topic})))
    }

    fn body(&self, message: &Message) -> Value {
        json!({"text": cut(&format!("{}\n{}", message.title, message.text()), MAX)})
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{TEXT, refused, sent};
    use serde_json::json;

    #[test]
    fn a_chat_or_a_topic_of_it_is_told() {
        let text = format!("An import failed\n{TEXT}");
        for (address, body) in [
            ("tgram://123:ab-c/-34", json!({"chat_id": "-34", "text": text})),
            (
                "tgram://123:ab-c/@films:77",
                json!({"chat_id": "@films", "message_thread_id": 77, "text": text}),
            ),
        ] {
            let post = "https://api.telegram.org/bot123:ab-c/sendMessage";
            assert_eq!(sent(address), (post.to_owned(), None, body), "{address}");
        }
        refused(&["tgram:///x", "tgram://1:a/-5/-6", "tgram://1:a/-5:x"]);
    }
}
