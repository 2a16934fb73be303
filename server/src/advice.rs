//! What a person can do about a failed import, by the failure's kind.

use serde_json::Value;

/// A sentence for a failure, by its kind and its further facts, as [`altmount_engine::Failure`] has them.
pub fn of(kind: &str, details: Option<&Value>) -> &'static str {
    match kind {
        "nothing_usable" if !has_seen(details) => {
            "It names nothing that could be listed: it is empty or damaged. Get it again from where it came from, or get \
             another release."
        }
        kind => for_kind(kind),
    }
}

/// Whether an importer found files, none of which is listed.
fn has_seen(details: Option<&Value>) -> bool {
    let context = details.and_then(|details| details["context"].as_array());
    let name = |pair: &Value| pair[0] == "seen";
    context.is_some_and(|context| context.iter().any(name))
}

/// A sentence for a kind.
fn for_kind(kind: &str) -> &'static str {
    match kind {
        "unsupported" => {
            "No importer takes this. See which types are taken under Settings, Importers; a plugin may add one."
        }
        "invalid" => "The file is damaged or no such file. Get it again from where it came from.",
        "compressed" => {
            "The release is packed with compression and cannot be played in place. Get one that is only stored."
        }
        "password_required" => {
            "Add the release again with its password, or put the password into the list under Settings, import."
        }
        "wrong_password" => "Add the release again with the right password.",
        "missing" => {
            "Articles are gone from every news server. Add a server of another backbone, or get another release; \
                      import.damage decides what becomes of small holes."
        }
        "changed" => "What the file points to is not what it was. Get a current link.",
        "corrupt" => "Bytes arrived damaged. Try again; if it stays so, get another release.",
        "nothing_usable" => {
            "Everything in it is of a kind that is not listed. import.ignore says what that is."
        }
        "io" => {
            "A news server, a web server or a disk failed. Look at the news servers under Activity, then try again."
        }
        "limit" => "It is larger than one import may be. The limits are under Settings, import.",
        "denied" => {
            "It asks for something that is not allowed here, such as an address of a private network; \
                     see http_sources.allow_private."
        }
        "panicked" | "wedged" => {
            "The importer has a fault. Try again; if it stays so, report it with the support bundle."
        }
        "cancelled" => "It was cancelled. Try again puts it back into the queue.",
        _ => "The server's log says more. Try again, and report it with the support bundle if it stays so.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_advice_of_its_own() {
        let general = for_kind("something new");
        for kind in [
            "unsupported",
            "missing",
            "io",
            "limit",
            "wedged",
            "cancelled",
            "nothing_usable",
        ] {
            assert_ne!(for_kind(kind), general, "{kind}");
        }
    }

    #[test]
    fn who_found_nothing_is_told_another_thing_than_who_found_what_is_not_listed() {
        let seen = serde_json::json!({"attempt": 1, "context": [["seen", "a.par2"]]});
        assert!(of("nothing_usable", Some(&seen)).contains("import.ignore"));
        let empty = serde_json::json!({"attempt": 1, "context": []});
        for details in [Some(&empty), None] {
            assert!(of("nothing_usable", details).contains("empty or damaged"));
        }
        assert_eq!(of("missing", None), for_kind("missing"));
    }
}
