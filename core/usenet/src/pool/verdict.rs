//! What the answers of all providers together mean. Unknown is not missing.

/// What one provider said of one article, where it did not have it to give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// 430 or 423.
    Missing,
    /// It sent the article damaged.
    Corrupt(String),
    /// It did not answer; it may when it is asked again.
    NoAnswer(String),
    /// It answered, but not to the question; asking again gives the same.
    Refused(String),
    /// It was not asked, because it is known not to work.
    Unavailable(String),
    /// It was not asked, because the article is older than what it keeps.
    TooOld,
    /// It was not asked, because another request is finding out whether it works again.
    Probing,
}

/// A provider's name and group, and what it said; `None` where it was not asked because a sibling had answered.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) name: &'a str,
    pub(super) group: &'a str,
    pub(super) said: Option<Said>,
}

impl Asked<'_> {
    pub(super) fn is_corrupt(&self) -> bool {
        matches!(self.said, Some(Said::Corrupt(_)))
    }
}

/// What is known of an article that nobody gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Each group says that it has it not.
    Missing,
    /// Each group has it not or has it damaged, and at least one has it damaged.
    Corrupt(String),
    /// At least one group said nothing of use.
    Unknown(String),
}

/// Weighs the answers. A group has answered where one of its providers has.
pub(super) fn verdict(asked: &[Asked<'_>]) -> Verdict {
    let mut corrupt = Vec::new();
    let mut silent = Vec::new();
    for provider in asked {
        let name = provider.name;
        match &provider.said {
            Some(Said::Corrupt(why)) => corrupt.push(format!("provider '{name}': {why}")),
            Some(Said::NoAnswer(why) | Said::Refused(why) | Said::Unavailable(why)) => {
                if !has_answered(asked, provider.group) {
                    silent.push(format!("provider '{name}': {why}"));
                }
            }
            Some(Said::Probing) if !has_answered(asked, provider.group) => {
                silent.push(format!("provider '{name}' is being tried again"));
            }
            None if !has_answered(asked, provider.group) => {
                silent.push(format!("provider '{name}' was not asked"));
            }
            Some(Said::Missing | Said::Probing | Said::TooOld) | None => {}
        }
    }
    // Of those that keep nothing so old nobody has to say so; but somebody has to have been asked.
    let nobody = !asked.is_empty() && asked.iter().all(|p| p.said == Some(Said::TooOld));
    if asked.is_empty() {
        Verdict::Unknown("no news provider is configured; add one to the configuration and enable it".into())
    } else if nobody {
        Verdict::Unknown("it is older than what any provider keeps by its retention_days".into())
    } else if !silent.is_empty() {
        Verdict::Unknown(silent.join("; "))
    } else if corrupt.is_empty() {
        Verdict::Missing
    } else {
        Verdict::Corrupt(corrupt.join("; "))
    }
}

/// Whether one of the group's providers has said what it knows of the article.
pub(super) fn has_answered(asked: &[Asked<'_>], group: &str) -> bool {
    asked
        .iter()
        .any(|p| p.group == group && matches!(p.said, Some(Said::Missing | Said::Corrupt(_))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weigh(asked: &[(&'static str, Option<Said>)]) -> Verdict {
        let asked: Vec<_> = asked
            .iter()
            .map(|(group, said)| Asked {
                name: "p",
                group,
                said: said.clone(),
            })
            .collect();
        verdict(&asked)
    }

    fn no() -> Option<Said> {
        Some(Said::Missing)
    }

    fn bad() -> Option<Said> {
        Some(Said::Corrupt("crc".into()))
    }

    fn late() -> Option<Said> {
        Some(Said::NoAnswer("late".into()))
    }

    #[test]
    fn missing_only_where_each_group_says_so() {
        assert_eq!(weigh(&[("a", no()), ("b", no())]), Verdict::Missing);
        assert_eq!(weigh(&[("a", no()), ("a", None), ("b", no())]), Verdict::Missing);
        assert_eq!(
            weigh(&[("a", late()), ("a", no()), ("b", no())]),
            Verdict::Missing
        );
        assert!(matches!(weigh(&[]), Verdict::Unknown(why) if why.contains("configur")));
        for other in [
            late(),
            Some(Said::Refused("500".into())),
            Some(Said::Unavailable("down".into())),
            Some(Said::Probing),
            None,
        ] {
            assert!(matches!(weigh(&[("a", no()), ("b", other)]), Verdict::Unknown(_)));
        }
    }

    #[test]
    fn those_that_keep_nothing_so_old_say_nothing() {
        let old = || Some(Said::TooOld);
        assert_eq!(weigh(&[("a", old()), ("b", no())]), Verdict::Missing);
        assert!(matches!(
            weigh(&[("a", old()), ("b", late())]),
            Verdict::Unknown(_)
        ));
        assert!(
            matches!(weigh(&[("a", old()), ("b", old())]), Verdict::Unknown(why) if why.contains("older"))
        );
    }

    #[test]
    fn corrupt_only_where_nobody_else_could_have_it_right() {
        assert!(matches!(weigh(&[("a", bad()), ("b", no())]), Verdict::Corrupt(_)));
        assert!(matches!(weigh(&[("a", bad()), ("a", no())]), Verdict::Corrupt(_)));
        assert!(matches!(
            weigh(&[("a", bad()), ("b", late())]),
            Verdict::Unknown(_)
        ));
    }
}
