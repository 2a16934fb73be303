//! The password that a release's name carries, as SABnzbd and NZBGet read it.

/// A release's name and the password in it: `name{{password}}`, `name password=password`, `name / password` and
/// `name/password`. A name that would be empty without it keeps all of it, and has none.
pub fn split_password(name: &str) -> (&str, Option<&str>) {
    const KEY: &str = "password=";
    let bare = |end: usize| name[..end].trim_matches(['.', ' ']);
    let found =
        |end: usize, password: &'_ str| (!password.is_empty() && !bare(end).is_empty()).then_some(end);
    let whole = (name, None);
    if name.contains("http://") || name.contains("https://") {
        return whole;
    }
    let braces = name.find("{{");
    let key = name.find(KEY);
    if let (Some(at), None) = (name.find('/'), key)
        && braces.is_none_or(|braces| at < braces)
    {
        let password = name[at + 1..].strip_prefix(' ').unwrap_or(&name[at + 1..]);
        if let Some(end) = found(at, password) {
            return (bare(end), Some(password));
        }
    }
    if let Some(at) = key
        && let Some(end) = found(at, &name[at + KEY.len()..])
    {
        return (bare(end), Some(&name[at + KEY.len()..]));
    }
    if let Some(at) = braces {
        let inner = &name[at + 2..];
        let password = &inner[..inner.rfind("}}").unwrap_or(inner.len())];
        if let Some(end) = found(at, password) {
            return (bare(end), Some(password));
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::split_password;

    #[test]
    fn every_way_of_writing_it() {
        for (name, release, password) in [
            ("My.Movie.2020", "My.Movie.2020", None),
            (
                "My.Movie.2020{{s3cret pass}}",
                "My.Movie.2020",
                Some("s3cret pass"),
            ),
            ("My.Movie {{a}}b}}", "My.Movie", Some("a}}b")),
            ("My.Movie{{open", "My.Movie", Some("open")),
            ("My.Movie / secret", "My.Movie", Some("secret")),
            ("My.Movie/secret", "My.Movie", Some("secret")),
            ("My.Movie{{a/b}}", "My.Movie", Some("a/b")),
            ("My.Movie password=a/b", "My.Movie", Some("a/b")),
            ("My.Movie{{}}", "My.Movie{{}}", None),
            ("{{secret}}", "{{secret}}", None),
            (" . {{secret}}", " . {{secret}}", None),
            ("/secret", "/secret", None),
            ("password=secret", "password=secret", None),
            ("Film{{\u{e9}\u{fc}}}", "Film", Some("\u{e9}\u{fc}")),
            ("https://example.com/a.nzb", "https://example.com/a.nzb", None),
        ] {
            assert_eq!(split_password(name), (release, password), "{name}");
        }
    }
}
