//! Slack: [its webhooks](https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks), and
//! [its own API](https://docs.slack.dev/reference/methods/chat.postMessage) for a bot.

use super::{
    Given, Refusal, Service, Target,
    parts::{cut, plain, sender},
};
use crate::notify::Message;
use http::header;
use serde_json::{Value, json};

/// Longest text that it shows as one, in characters.
const MAX: usize = 4000;
/// Longest word for a refusal that is shown, in characters.
const MAX_WORD: usize = 100;

/// `slack://[sender@]A/B/C[/#channel]`, as the webhook's address ends, or `slack://[sender@]xoxb-token/#channel`.
pub(super) struct Slack;

impl Service for Slack {
    fn name(&self) -> &'static str {
        "slack"
    }

    fn schemes(&self) -> &'static [&'static str] {
        &["slack"]
    }

    fn shown(&self) -> &'static [&'static str] {
        &["hooks.slack.com/services/"]
    }

    fn read(&self, given: &Given<'_>) -> Result<Target, String> {
        const FORMS: &str =
            "it is neither slack://A/B/C, as the webhook's address ends, nor slack://xoxb-token/#channel";
        let (sender, rest) = sender(given.rest);
        let parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).collect();
        let (target, channel) = match parts.as_slice() {
            [token, to] if token.starts_with("xox") && plain(token) => {
                (bot(token), Some(channel(to).ok_or(FORMS)?))
            }
            [a, b, c, to @ ..] if to.len() < 2 && [a, b, c].iter().all(|part| plain(part)) => {
                let to = to.first().map(|to| channel(to).ok_or(FORMS)).transpose()?;
                let post = format!("https://hooks.slack.com/services/{a}/{b}/{c}");
                (Target::new(post, "slack.com"), to)
            }
            _ => return Err(FORMS.to_owned()),
        };
        Ok(target.with_fields(json!({"channel": channel, "username": sender})))
    }

    fn body(&self, message: &Message) -> Value {
        let (title, text) = (unmarked(&message.title), unmarked(&message.text()));
        json!({"text": cut(&format!("*{title}*\n{text}"), MAX)})
    }
}

/// Its own API answers with a good status whatever becomes of a message.
fn bot(token: &str) -> Target {
    let authorization = (header::AUTHORIZATION, format!("Bearer {token}").into());
    Target {
        verdict: Some(refusal),
        ..Target::new("https://slack.com/api/chat.postMessage", "slack.com")
    }
    .with_credentials(Some(authorization))
}

fn channel(text: &str) -> Option<String> {
    let named = !text.trim_start_matches(['#', '+', '@']).is_empty();
    // `+` is how Apprise writes that it is a channel's id.
    (named && !text.chars().any(char::is_control)).then(|| text.trim_start_matches('+').to_owned())
}

/// A text in which nothing is a mark of Slack's: nobody is called by what a release is called.
fn unmarked(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn refusal(answer: &Value) -> Option<Refusal> {
    if answer["ok"] == true {
        return None;
    }
    let word = answer["error"]
        .as_str()
        .unwrap_or("its answer is none of its API");
    Some(Refusal {
        why: word.chars().filter(|c| !c.is_control()).take(MAX_WORD).collect(),
        again: word == "ratelimited",
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{refused, sent};
    use super::*;

    const TEXT: &str = "*An import failed*\na &lt;b&gt; &amp; c: &lt;!channel&gt;\n@everyone";

    #[test]
    fn a_webhook_is_sent_a_text_without_marks() {
        for (address, body) in [
            ("slack://T1/B2/c3", json!({"text": TEXT})),
            (
                "slack://me@T1/B2/c3/#alerts",
                json!({"text": TEXT, "channel": "#alerts", "username": "me"}),
            ),
        ] {
            let post = "https://hooks.slack.com/services/T1/B2/c3";
            assert_eq!(sent(address), (post.to_owned(), None, body), "{address}");
        }
        refused(&["slack://T1/B2", "slack://T1/B2/c3/#a/#b"]);
    }

    #[test]
    fn a_bot_has_its_token_in_the_header() {
        let wanted = (
            "https://slack.com/api/chat.postMessage".to_owned(),
            Some("Bearer xoxb-1-2-a".to_owned()),
            json!({"text": TEXT, "channel": "C0123"}),
        );
        assert_eq!(sent("slack://xoxb-1-2-a/+C0123"), wanted);
        refused(&["slack://xoxb-1", "slack://xoxb-1/#"]);
    }

    #[test]
    fn a_bots_answer_says_whether_and_why_not() {
        assert_eq!(refusal(&json!({"ok": true})), None);
        for (answer, why, again) in [
            (
                json!({"ok": false, "error": "channel_not_found"}),
                "channel_not_found",
                false,
            ),
            (json!({"ok": false, "error": "ratelimited"}), "ratelimited", true),
            (Value::Null, "its answer is none of its API", false),
        ] {
            let why = why.to_owned();
            assert_eq!(refusal(&answer), Some(Refusal { why, again }));
        }
    }
}
