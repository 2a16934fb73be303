//! Exact lengths and order of a file's articles, from what their yEnc headers say. Pure: it says what to read next, never reads.
//!
//! yEnc (1.3) states in each article where its bytes lie (`=ypart begin end`) and how long the file is (`=ybegin size`). Posting
//! programs cut a file into equal parts and a rest, so the first article alone settles most files; every sign that it
//! does not leads to reading more, never to a guess.

use altmount_sdk::usenet::ArticleInfo;

/// What the NZB says of a file's segments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listed<'a> {
    /// `bytes` of each segment, in order of their numbers; 0 where it is unknown.
    pub(crate) encoded: &'a [u32],
    /// How many articles the segments' numbers speak of.
    pub(crate) expected: u64,
    /// Whether the order is a guess.
    pub(crate) guessed: bool,
    /// The counter in the subject.
    pub(crate) subject_total: Option<u64>,
}

/// What is known after an article was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Every length is known: each article but the last has `each` bytes.
    Uniform {
        /// Decoded length of each article but the last, in bytes.
        each: u64,
        /// Decoded length of the last one, in bytes.
        last: u64,
    },
    /// The last article has to be read as well.
    ReadLast,
    /// Every article has to be read.
    ReadAll,
    /// Articles that the file has are not listed.
    Gap(Gap),
}

/// How many articles of how many are not listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) missing: u64,
    pub(crate) of: u64,
}

/// Why the articles that were read are not one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    Gap(Gap),
    Contradiction(String),
}

impl Listed<'_> {
    fn count(&self) -> u64 {
        self.encoded.len() as u64
    }

    fn gap(&self, of: u64) -> Step {
        let of = of.max(self.count() + 1);
        Step::Gap(Gap {
            missing: of - self.count(),
            of,
        })
    }

    /// Whether the numbers leave some out.
    pub(crate) fn has_gaps(&self) -> bool {
        self.expected > self.count()
    }

    /// How many articles the file has, by numbers and subject alone.
    pub(crate) fn best_total(&self) -> u64 {
        let by_subject = self.subject_total.filter(|t| *t <= 10_000_000).unwrap_or(0);
        self.expected.max(self.count()).max(by_subject)
    }

    /// Whether the encoded sizes look like those of parts of `each` decoded bytes and a last one of `rest`: all but the last within a
    /// tenth of each other, and the last one in proportion. Article headers may be counted in.
    fn looks_uniform(&self, each: u64, rest: u64) -> bool {
        let Some((last, others)) = self.encoded.split_last() else {
            return false;
        };
        let (Some(low), Some(high)) = (others.iter().min(), others.iter().max()) else {
            return true;
        };
        let (low, high, last) = (u128::from(*low), u128::from(*high), u128::from(*last));
        if low == 0 || last == 0 || each == 0 || high > low + low / 10 + 64 {
            return false;
        }
        let share = |encoded: u128| encoded * u128::from(rest) / u128::from(each);
        last + 512 >= share(low) * 9 / 10 && last <= share(high) * 11 / 10 + 512
    }

    /// Whether some article but the last has an encoded size that `each` decoded bytes can have in no way: yEnc makes of a byte one or
    /// two, and adds line ends and headers. (Some programs state the decoded size: a little less is let pass.)
    fn cannot_have(&self, each: u64) -> bool {
        let others = self.encoded.split_last().map_or(&[][..], |(_, others)| others);
        let each = u128::from(each);
        others
            .iter()
            .map(|e| u128::from(*e))
            .any(|e| e != 0 && (e * 100 < each * 97 || e * 10 > each * 21 + 40_960))
    }
}

/// What the first article settles.
pub(crate) fn from_first(listed: &Listed<'_>, first: &ArticleInfo) -> Step {
    let count = listed.count();
    let (Some(offset), Some(size)) = (first.offset, first.file_size) else {
        return if listed.has_gaps() && !listed.guessed {
            listed.gap(listed.best_total())
        } else {
            Step::ReadAll
        };
    };
    let total = first.total.map(u64::from).filter(|t| *t > 0);
    let implied = if first.len == 0 {
        0
    } else {
        size.div_ceil(first.len)
    };
    if count == 1 {
        if offset == 0 && first.len == size {
            return Step::Uniform {
                each: size,
                last: size,
            };
        }
        return if offset.checked_add(first.len).is_some_and(|end| end <= size) {
            listed.gap(total.unwrap_or(implied).max(listed.expected))
        } else {
            Step::ReadAll
        };
    }
    // The count in the articles is better than the numbers in the NZB.
    let complete = match total {
        Some(total) => total == count,
        None => implied == count,
    };
    if listed.has_gaps() && !complete {
        return listed.gap(total.unwrap_or(implied).max(listed.expected));
    }
    let first_of_equals = offset == 0 && first.part == 1 && implied == count && complete;
    if first_of_equals && !listed.guessed && !listed.has_gaps() {
        return match uniform(count, first.len, size) {
            Step::Uniform { each, last } if !listed.looks_uniform(each, last) => Step::ReadLast,
            step => step,
        };
    }
    if offset == 0 && implied > count && !listed.guessed {
        return match total {
            Some(total) if total > count => listed.gap(total),
            _ => Step::ReadLast,
        };
    }
    Step::ReadAll
}

fn uniform(count: u64, each: u64, size: u64) -> Step {
    match each
        .checked_mul(count - 1)
        .and_then(|before| size.checked_sub(before))
    {
        Some(last) => Step::Uniform { each, last },
        None => Step::ReadAll,
    }
}

/// What the first and the last article settle together.
pub(crate) fn from_last(listed: &Listed<'_>, first: &ArticleInfo, last: &ArticleInfo) -> Step {
    let count = listed.count();
    let (Some(size), Some(offset)) = (first.file_size, last.offset) else {
        return Step::ReadAll;
    };
    let Some(end) = offset.checked_add(last.len) else {
        return Step::ReadAll;
    };
    if last.file_size != Some(size) || first.len.checked_mul(count - 1) != Some(offset) {
        return Step::ReadAll;
    }
    if end == size && !listed.cannot_have(first.len) {
        return Step::Uniform {
            each: first.len,
            last: last.len,
        };
    }
    if end < size && first.len > 0 {
        return listed.gap(size.div_ceil(first.len));
    }
    Step::ReadAll
}

/// A file in equal parts and a rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EqualParts {
    /// Length of the file in bytes.
    size: u64,
    /// Length of each part but the last.
    each: u64,
    pub(crate) count: u64,
}

impl EqualParts {
    /// Length in bytes of a part, which counts from 1.
    pub(crate) fn len(&self, number: u64) -> u64 {
        if number < self.count {
            self.each
        } else {
            self.size - self.each * (self.count - 1)
        }
    }
}

/// How a file lies by one of its articles, the one with this number in the NZB. `None` where the article and its number do not say the
/// same, or it is the last one, which does not say how long the others are.
pub(crate) fn equal_parts(number: u32, info: &ArticleInfo) -> Option<EqualParts> {
    let (offset, size) = (info.offset?, info.file_size?);
    let before = u64::from(number.checked_sub(1)?);
    let is_last = offset.checked_add(info.len)? >= size;
    if info.part != number || info.len == 0 || is_last || before.checked_mul(info.len)? != offset {
        return None;
    }
    let count = size.div_ceil(info.len);
    let stated = info.total.map(u64::from).filter(|t| *t > 0);
    stated.is_none_or(|total| total == count).then_some(EqualParts {
        size,
        each: info.len,
        count,
    })
}

/// The order and the lengths where every article was read: indexes into `infos` (`None` where an article could not be read) with
/// decoded lengths in bytes. The first `listed.count()` of `infos` are the articles in order of their numbers, those behind are
/// alternates, which fill holes.
pub(crate) fn from_all(
    listed: &Listed<'_>,
    infos: &[Option<ArticleInfo>],
) -> Result<Vec<(usize, u64)>, Broken> {
    let read: Vec<(usize, &ArticleInfo)> = infos
        .iter()
        .enumerate()
        .filter_map(|(at, info)| Some((at, info.as_ref()?)))
        .collect();
    if read.iter().all(|(_, info)| info.offset.is_none()) {
        return by_number(listed, infos);
    }
    let contradiction = |text: String| Err(Broken::Contradiction(text));
    let mut placed = Vec::with_capacity(read.len());
    let mut size = None;
    for (at, info) in read {
        let (Some(offset), Some(own_size)) = (info.offset, info.file_size) else {
            return contradiction("some articles say where their bytes lie and others do not".to_owned());
        };
        if *size.get_or_insert(own_size) != own_size {
            let text = format!(
                "its articles are of different files: one of {} bytes, one of {own_size}",
                size.unwrap_or_default()
            );
            return contradiction(text);
        }
        placed.push((offset, at, info.len));
    }
    let size = size.unwrap_or_default();
    placed.sort_unstable();
    let has_alternates = infos.len() > listed.encoded.len();
    let (mut order, mut end, mut longest) = (Vec::with_capacity(placed.len()), 0u64, 0u64);
    let mut hole = false;
    for (offset, at, len) in placed {
        longest = longest.max(len);
        if offset == end && (len > 0 || size == 0) {
            let Some(next) = end.checked_add(len).filter(|next| *next <= size) else {
                return contradiction(format!("an article ends behind the {size} bytes of the file"));
            };
            if size == 0 && !order.is_empty() {
                continue;
            }
            order.push((at, len));
            end = next;
        } else if offset > end {
            hole = true;
            break;
        } else if !has_alternates && len > 0 && !repeats(&order, infos, offset, len) {
            return contradiction(format!("two articles hold the same bytes, at {offset}"));
        }
    }
    if !hole && end == size {
        return Ok(order);
    }
    let have = infos
        .iter()
        .take(listed.encoded.len())
        .filter(|i| i.is_some())
        .count() as u64;
    let stated = infos
        .iter()
        .flatten()
        .filter_map(|i| i.total)
        .max()
        .map(u64::from);
    let implied = if longest == 0 { 0 } else { size.div_ceil(longest) };
    let of = stated.unwrap_or(implied).max(listed.expected).max(have + 1);
    Err(Broken::Gap(Gap {
        missing: of - have,
        of,
    }))
}

/// Whether the article that was taken last has exactly these bytes: then it was posted twice. They are sorted by offset, so it could be
/// no earlier one.
fn repeats(order: &[(usize, u64)], infos: &[Option<ArticleInfo>], offset: u64, len: u64) -> bool {
    order.last().is_some_and(|(at, taken)| {
        *taken == len
            && infos
                .get(*at)
                .and_then(Option::as_ref)
                .is_some_and(|i| i.offset == Some(offset))
    })
}

/// Articles that do not say where they lie (uuencode): the numbers are all there is, so none may be missing.
fn by_number(listed: &Listed<'_>, infos: &[Option<ArticleInfo>]) -> Result<Vec<(usize, u64)>, Broken> {
    let primary = &infos[..infos.len().min(listed.encoded.len())];
    let order: Vec<(usize, u64)> = primary
        .iter()
        .enumerate()
        .filter_map(|(at, info)| Some((at, info.as_ref()?.len)))
        .collect();
    let have = order.len() as u64;
    let of = listed.best_total();
    if listed.guessed && primary.len() > 1 {
        return Err(Broken::Contradiction(
            "its segments have no numbers, and its articles (uuencode) do not say where their bytes lie"
                .to_owned(),
        ));
    }
    if have < of {
        return Err(Broken::Gap(Gap {
            missing: of - have,
            of,
        }));
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_article_says_how_equal_parts_lie() {
        let parts = equal_parts(3, &part(3, Some(5), 200, 100, 450)).expect("equal parts");
        assert_eq!(
            (1..=parts.count).map(|n| parts.len(n)).collect::<Vec<_>>(),
            [100, 100, 100, 100, 50]
        );
        for (number, info) in [
            (2, part(3, Some(5), 200, 100, 450)), // another number
            (3, part(3, Some(6), 200, 100, 450)), // another count
            (3, part(3, Some(5), 210, 100, 450)), // another place
            (5, part(5, Some(5), 400, 50, 450)),  // the last
            (0, part(0, None, 0, 100, 450)),
            (3, part(3, None, 200, 0, 450)),
        ] {
            assert_eq!(equal_parts(number, &info), None, "{number} {info:?}");
        }
    }

    fn listed(encoded: &[u32]) -> Listed<'_> {
        Listed {
            encoded,
            expected: encoded.len() as u64,
            guessed: false,
            subject_total: None,
        }
    }

    fn part(part: u32, total: Option<u32>, offset: u64, len: u64, size: u64) -> ArticleInfo {
        ArticleInfo {
            name: None,
            file_size: Some(size),
            part,
            total,
            offset: Some(offset),
            len,
        }
    }

    #[test]
    fn equal_parts_are_settled_by_the_first() {
        let step = from_first(&listed(&[1030, 1031, 320]), &part(1, Some(3), 0, 1000, 2300));
        assert_eq!(
            step,
            Step::Uniform {
                each: 1000,
                last: 300
            }
        );
        let step = from_first(&listed(&[1030, 1031, 320]), &part(1, None, 0, 1000, 2300));
        assert_eq!(
            step,
            Step::Uniform {
                each: 1000,
                last: 300
            }
        );
        let empty = from_first(&listed(&[10]), &part(1, None, 0, 0, 0));
        assert_eq!(empty, Step::Uniform { each: 0, last: 0 });
    }

    #[test]
    fn odd_encoded_sizes_ask_for_the_last() {
        for encoded in [
            &[9000, 1031, 320][..],
            &[0, 1031, 320],
            &[9000, 9000, 20_000],
            &[1030, 1031, 0],
            &[10_030, 10_031, 1000],
        ] {
            let step = from_first(&listed(encoded), &part(1, Some(3), 0, 1000, 2300));
            assert_eq!(step, Step::ReadLast, "{encoded:?}");
        }
        let first = part(1, Some(3), 0, 1000, 2300);
        let last =
            |offset, len, size| from_last(&listed(&[1, 1, 1]), &first, &part(3, Some(3), offset, len, size));
        assert_eq!(
            last(2000, 300, 2300),
            Step::ReadAll,
            "1000 bytes take more than one"
        );
        let first_and_last =
            |encoded: &[u32]| from_last(&listed(encoded), &first, &part(3, Some(3), 2000, 300, 2300));
        let fits = Step::Uniform {
            each: 1000,
            last: 300,
        };
        for encoded in [&[1030, 2000, 320], &[0, 0, 0], &[1030, 5000, 1]] {
            assert_eq!(first_and_last(encoded), fits, "{encoded:?}");
        }
        for encoded in [&[1030, 700, 320], &[1030, 9000, 320]] {
            assert_eq!(first_and_last(encoded), Step::ReadAll, "{encoded:?}");
        }
        assert_eq!(last(1900, 400, 2300), Step::ReadAll);
        assert_eq!(last(2000, 300, 2400), Step::ReadAll);
        assert_eq!(last(u64::MAX, 300, 2300), Step::ReadAll);
    }

    #[test]
    fn what_is_not_listed_is_missing() {
        let gap = |step| match step {
            Step::Gap(gap) => (gap.missing, gap.of),
            other => panic!("{other:?}"),
        };
        // The tail: the articles say five, two are listed.
        let step = from_first(&listed(&[1030, 1031]), &part(1, Some(5), 0, 1000, 4500));
        assert_eq!(gap(step), (3, 5));
        // A number is left out.
        let mut holes = listed(&[1030, 1031]);
        holes.expected = 3;
        assert_eq!(gap(from_first(&holes, &part(1, Some(3), 0, 1000, 2300))), (1, 3));
        // The numbers are wrong, the articles say that they are complete.
        assert_eq!(
            from_first(&holes, &part(1, Some(2), 0, 1000, 1300)),
            Step::ReadAll
        );
        // One article of many.
        assert_eq!(
            gap(from_first(&listed(&[1030]), &part(1, None, 0, 1000, 2300))),
            (2, 3)
        );
        // Without a count, the end is asked for.
        let first = part(1, None, 0, 1000, 4500);
        assert_eq!(from_first(&listed(&[1030, 1031]), &first), Step::ReadLast);
        let step = from_last(&listed(&[1030, 1031]), &first, &part(2, None, 1000, 1000, 4500));
        assert_eq!(gap(step), (3, 5));
        // A hostile number costs nothing.
        holes.expected = u64::from(u32::MAX);
        assert_eq!(
            gap(from_first(&holes, &part(1, Some(9), 0, 1, 9))).1,
            u64::from(u32::MAX)
        );
    }

    #[test]
    fn articles_that_were_read_are_ordered_by_their_offsets() {
        let infos = [
            Some(part(2, None, 700, 300, 1500)),
            Some(part(3, None, 1000, 500, 1500)),
            Some(part(1, None, 0, 700, 1500)),
        ];
        let order = from_all(&listed(&[1, 1, 1]), &infos).expect("one file");
        assert_eq!(order, [(2, 700), (0, 300), (1, 500)]);
    }

    #[test]
    fn holes_overlaps_and_strangers_are_no_file() {
        let all = |infos: &[Option<ArticleInfo>]| from_all(&listed(&vec![1; infos.len()]), infos);
        let a = || Some(part(1, Some(3), 0, 700, 1500));
        let c = || Some(part(3, Some(3), 1000, 500, 1500));
        assert_eq!(
            all(&[a(), None, c()]),
            Err(Broken::Gap(Gap { missing: 1, of: 3 }))
        );
        let overlap = Some(part(2, Some(3), 600, 400, 1500));
        assert!(matches!(all(&[a(), overlap, c()]), Err(Broken::Contradiction(_))));
        let stranger = Some(part(2, Some(3), 700, 300, 1600));
        assert!(matches!(
            all(&[a(), stranger, c()]),
            Err(Broken::Contradiction(_))
        ));
        let too_far = Some(part(2, Some(3), 700, u64::MAX, 1500));
        assert!(matches!(all(&[a(), too_far]), Err(Broken::Contradiction(_))));
        // Posted twice under two numbers.
        let b = || Some(part(2, Some(3), 700, 300, 1500));
        assert_eq!(all(&[a(), b(), b(), c()]), Ok(vec![(0, 700), (1, 300), (3, 500)]));
    }

    #[test]
    fn alternates_fill_holes() {
        let infos = [
            Some(part(1, Some(2), 0, 700, 1000)),
            None,
            Some(part(2, Some(2), 700, 300, 1000)),
        ];
        assert_eq!(from_all(&listed(&[1, 1]), &infos), Ok(vec![(0, 700), (2, 300)]));
    }

    #[test]
    fn uuencode_goes_by_number_and_must_be_whole() {
        let uu = |len| {
            Some(ArticleInfo {
                name: None,
                file_size: None,
                part: 1,
                total: None,
                offset: None,
                len,
            })
        };
        assert_eq!(
            from_first(&listed(&[1, 1]), uu(5).as_ref().expect("some")),
            Step::ReadAll
        );
        assert_eq!(
            from_all(&listed(&[1, 1]), &[uu(5), uu(2)]),
            Ok(vec![(0, 5), (1, 2)])
        );
        let mut short = listed(&[1, 1]);
        short.subject_total = Some(3);
        assert_eq!(
            from_all(&short, &[uu(5), uu(2)]),
            Err(Broken::Gap(Gap { missing: 1, of: 3 }))
        );
    }
}
