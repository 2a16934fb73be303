//! Words for what the API has names for, for everybody who shows them to a person.

/// What a running import is doing: its stage, and how many articles it has listed, read and asked for.
pub(crate) fn doing(stage: &str, [listed, read, checked]: [u64; 3]) -> String {
    let mut text = match stage {
        "fetching" => "fetching the file",
        "reading" => "reading",
        "checking" => "asking for articles",
        "verifying" => "reading heads and tails back",
        "storing" => "putting it into the library",
        "starting" => "starting",
        // A newer server has one that is not known here.
        other => other,
    }
    .to_owned();
    for (count, what) in [
        (listed, "articles listed"),
        (read, "read"),
        (checked, "asked for"),
    ] {
        if count > 0 {
            text.push_str(&format!(" · {count} {what}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use altmount_engine::Stage;

    #[test]
    fn every_stage_has_words() {
        for stage in [
            Stage::Starting,
            Stage::Fetching,
            Stage::Reading,
            Stage::Checking,
            Stage::Verifying,
            Stage::Storing,
        ] {
            let name = serde_json::to_value(stage).expect("JSON");
            let name = name.as_str().expect("a word");
            let text = super::doing(name, [3, 0, 2]);
            assert!(text.ends_with(" · 3 articles listed · 2 asked for"), "{text}");
            let is_its_own = matches!(name, "starting" | "fetching" | "reading");
            assert_eq!(text.starts_with(name), is_its_own, "{text}");
        }
    }
}
