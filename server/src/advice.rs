//! What a person can do about a failed import, by the failure's kind.

/// A sentence for a kind, as [`altmount_engine::Failure::kind`] has it.
pub fn for_kind(kind: &str) -> &'static str {
    match kind {
        "unsupported" => {
            "No importer takes this. See which types are taken under Settings, Plugins; a plugin may add one."
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
}
