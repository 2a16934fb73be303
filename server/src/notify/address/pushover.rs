//! [Pushover](https://pushover.net/api).

use super::{
    Given, Service, Target,
    parts::{cut, plain},
};
use crate::notify::Message;
use serde_json::{Value, json};

/// Longest text that it takes, in characters.
const MAX: usize = 1024;

/// `pover://user@token[/device...]`.
pub(super) struct Pushover;

impl Service for Pushover {
    fn name(&self) -> &'static str {
        "pushover"
    }

    fn schemes(&self) -> &'static [&'static str] {
        &["pover"]
    }

    fn read(&self, given: &Given<'_>) -> Result<Target, String> {
        let mut parts = given.rest.split('/').filter(|part| !part.is_empty());
        let keys = parts.next().and_then(|keys| keys.split_once('@'));
        let (user, token) = keys
            .filter(|(user, token)| plain(user) && plain(token))
            .ok_or("it is not pover://user@token")?;
        let devices: Vec<&str> = parts.collect();
        if !devices.iter().all(|device| plain(device)) {
            return Err(
                "a device's name has letters, digits, '_' and '-' alone: pover://user@token/device"
                    .to_owned(),
            );
        }
        let devices = Some(devices.join(",")).filter(|names| !names.is_empty());
        let post = "https://api.pushover.net/1/messages.json";
        Ok(Target::new(post, "api.pushover.net")
            .with_fields(json!({"token": token, "user": user, "device": devices})))
    }

    fn body(&self, message: &Message) -> Value {
        json!({"title": message.title, "message": cut(&message.text(), MAX)})
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{TEXT, refused, sent};
    use serde_json::json;

    #[test]
    fn all_devices_of_a_user_are_told_or_those_that_are_named() {
        let body = json!({"token": "token", "user": "user", "title": "An import failed", "message": TEXT});
        let mut named = body.clone();
        named["device"] = json!("phone,pad");
        for (address, body) in [
            ("pover://user@token", body),
            ("pover://user@token/phone/pad", named),
        ] {
            let post = "https://api.pushover.net/1/messages.json";
            assert_eq!(sent(address), (post.to_owned(), None, body), "{address}");
        }
        refused(&["pover://token", "pover://user@token/a b"]);
    }
}
