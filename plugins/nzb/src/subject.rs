//! What a subject says, by the habits of posting programs: `[1/9] - "name.mkv" yEnc (1/120)`.

/// The name in a subject: the first quoted text that is one, else the last word that looks like a file name.
pub(crate) fn name(subject: &str) -> Option<(String, Found)> {
    // Some indexers escape twice.
    let subject = crate::parse::unescaped(subject);
    let quoted = subject
        .split('"')
        .skip(1)
        .step_by(2)
        .map(str::trim)
        .find(|text| !text.is_empty() && text.chars().any(char::is_alphanumeric));
    // An odd quote at the end opens nothing.
    if let Some(quoted) = quoted.filter(|_| subject.matches('"').count() > 1) {
        return Some((quoted.to_owned(), Found::Quoted));
    }
    subject
        .split_whitespace()
        .rev()
        .map(|word| word.trim_matches(['(', ')', '[', ']', '\'', ',', '`']))
        .find(|word| looks_like_a_file(word))
        .map(|word| (word.to_owned(), Found::Word))
}

/// Where in a subject a name was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Quoted,
    Word,
}

/// How many articles the file has: the second number of the last `(1/120)`.
pub(crate) fn total(subject: &str) -> Option<u64> {
    subject.rsplit('(').find_map(|part| {
        let (counter, _) = part.split_once(')')?;
        let (at, of) = counter.split_once('/')?;
        at.trim().parse::<u64>().ok()?;
        of.trim().parse().ok().filter(|of| *of > 0)
    })
}

fn looks_like_a_file(word: &str) -> bool {
    let Some((stem, extension)) = word.rsplit_once('.') else {
        return false;
    };
    !stem.is_empty()
        && (2..=5).contains(&extension.len())
        && extension.chars().all(|c| c.is_ascii_alphanumeric())
        && extension.chars().any(|c| c.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(subject: &str) -> Option<String> {
        name(subject).map(|(name, _)| name)
    }

    #[test]
    fn names_are_quoted_or_look_like_files() {
        assert_eq!(
            named(r#"[01/10] - "A b.mkv" yEnc (1/120)"#).as_deref(),
            Some("A b.mkv")
        );
        assert_eq!(
            named(r#"(1/3) "" - "x.rar" yEnc (1/2)"#).as_deref(),
            Some("x.rar")
        );
        assert_eq!(
            named("a &quot;x y.nfo&quot; yEnc (1/1)").as_deref(),
            Some("x y.nfo")
        );
        assert_eq!(
            named("my post show.s01e01.avi (1/40)").as_deref(),
            Some("show.s01e01.avi")
        );
        assert_eq!(named("odd \" quote b.mp4 (1/40)").as_deref(), Some("b.mp4"));
        assert_eq!(named("nothing here (1/40)"), None);
        assert_eq!(named(""), None);
    }

    #[test]
    fn the_last_counter_counts_articles() {
        assert_eq!(total(r#"[01/10] - "A (2020).mkv" yEnc (1/120)"#), Some(120));
        assert_eq!(total("(3/9) x.rar yEnc (1/55) 12345"), Some(55));
        assert_eq!(total("x (1/0)"), None);
        assert_eq!(total("x (a/b) y"), None);
    }
}
