//! The articles of a file in its order, as runs: of nearly all files the parts are equal and listed one behind the other.

/// Stands for the candidate of an article that the file has and the NZB does not list.
pub(crate) const UNLISTED: u32 = u32::MAX;

/// Articles, each with its index among the file's candidates and its decoded length in bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Articles {
    runs: Vec<Run>,
    count: usize,
}

/// Articles of one length whose candidates follow each other, or are all not listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    /// Index of its first article.
    first: usize,
    /// Offset of its first byte.
    offset: u64,
    /// Candidate of its first article.
    candidate: u32,
    /// Decoded length of each, in bytes.
    len: u64,
}

impl Run {
    fn candidate(&self, behind: usize) -> u32 {
        match self.candidate {
            UNLISTED => UNLISTED,
            first => first.saturating_add(behind as u32),
        }
    }
}

impl Articles {
    /// Adds an article.
    pub(crate) fn push(&mut self, candidate: u32, len: u64) {
        self.push_run(candidate, 1, len);
    }

    /// Adds `count` articles of one length, of which the first is `candidate`.
    pub(crate) fn push_run(&mut self, candidate: u32, count: u32, len: u64) {
        if count == 0 {
            return;
        }
        let goes_on = |run: &Run| run.len == len && run.candidate(self.count - run.first) == candidate;
        if !self.runs.last().is_some_and(goes_on) {
            self.runs.push(Run {
                first: self.count,
                offset: self.len(),
                candidate,
                len,
            });
        }
        self.count += count as usize;
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The sum of their lengths, in bytes.
    pub(crate) fn len(&self) -> u64 {
        let last = self.runs.last();
        last.map_or(0, |run| {
            run.offset
                .saturating_add(run.len.saturating_mul((self.count - run.first) as u64))
        })
    }

    fn run(&self, index: usize) -> Option<&Run> {
        let before = self.runs.partition_point(|run| run.first <= index);
        self.runs
            .get(before.checked_sub(1)?)
            .filter(|_| index < self.count)
    }

    /// Candidate and length of one.
    pub(crate) fn get(&self, index: usize) -> Option<(u32, u64)> {
        let run = self.run(index)?;
        Some((run.candidate(index - run.first), run.len))
    }

    /// Offset and length of one.
    pub(crate) fn extent(&self, index: usize) -> Option<(u64, u64)> {
        let run = self.run(index)?;
        Some((run.offset + run.len * (index - run.first) as u64, run.len))
    }

    /// The runs: candidate of the first, how many, length of each.
    pub(crate) fn runs(&self) -> impl Iterator<Item = (u32, usize, u64)> {
        self.runs.iter().enumerate().map(|(at, run)| {
            let end = self.runs.get(at + 1).map_or(self.count, |next| next.first);
            (run.candidate, end - run.first, run.len)
        })
    }

    /// Each of them: candidate and length.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, u64)> {
        self.runs().flat_map(|(candidate, count, len)| {
            let run = Run {
                first: 0,
                offset: 0,
                candidate,
                len,
            };
            (0..count).map(move |behind| (run.candidate(behind), len))
        })
    }

    /// The same with other candidates at some places, which are in order.
    pub(crate) fn with(&self, others: &[(usize, u32)]) -> Self {
        let mut others = others.iter().copied().peekable();
        let all = self.iter().enumerate().map(|(at, (candidate, len))| {
            let other = others.next_if(|(place, _)| *place == at);
            (other.map_or(candidate, |(_, other)| other), len)
        });
        all.collect()
    }
}

impl FromIterator<(u32, u64)> for Articles {
    fn from_iter<T: IntoIterator<Item = (u32, u64)>>(all: T) -> Self {
        let mut articles = Self::default();
        for (candidate, len) in all {
            articles.push(candidate, len);
        }
        articles
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_the_articles_that_were_put_in() {
        let all = [
            (0, 10),
            (1, 10),
            (7, 10),
            (8, 10),
            (UNLISTED, 10),
            (UNLISTED, 10),
            (11, 0),
            (12, 0),
            (13, 3),
        ];
        let articles: Articles = all.into_iter().collect();
        assert_eq!(articles.runs().count(), 5);
        assert_eq!(articles.iter().collect::<Vec<_>>(), all);
        let mut offset = 0;
        for (at, (candidate, len)) in all.into_iter().enumerate() {
            assert_eq!(articles.get(at), Some((candidate, len)));
            assert_eq!(articles.extent(at), Some((offset, len)));
            offset += len;
        }
        assert_eq!((articles.count(), articles.len()), (all.len(), offset));
        assert_eq!(
            (articles.get(all.len()), articles.extent(all.len())),
            (None, None)
        );
        let other = articles.with(&[(1, 20), (2, 21), (8, 5)]);
        let mut expected = all;
        (expected[1].0, expected[2].0, expected[8].0) = (20, 21, 5);
        assert_eq!(other.iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn equal_parts_are_one_run() {
        let mut articles = Articles::default();
        articles.push(0, 10);
        articles.push_run(1, 0, 10);
        articles.push_run(1, 8, 10);
        articles.push(9, 4);
        assert_eq!(articles.runs().collect::<Vec<_>>(), [(0, 9, 10), (9, 1, 4)]);
        assert_eq!((articles.count(), articles.len()), (10, 94));
        let empty = Articles::default();
        assert_eq!((empty.count(), empty.len(), empty.get(0)), (0, 0, None));
    }
}
