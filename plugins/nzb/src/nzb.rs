//! What an NZB lists, kept compactly: the message-ids in one text, 16 bytes for each segment beside them.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A parsed NZB. Files are in a canonical order (subject, then first message-id) and segments in that of their numbers, so
/// two NZBs that list the same things in another order are equal.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Nzb {
    /// `<meta type="...">` pairs, in document order; the type in lower case.
    pub meta: Vec<(String, String)>,
    /// The files that have at least one segment.
    pub files: Vec<NzbFile>,
    /// Subjects of files that list no usable segment, in canonical order.
    pub empty: Vec<String>,
    /// The ids in the order of the document, with a space behind each; tables of articles are parts of it.
    pub(crate) ids: Arc<String>,
    pub(crate) segments: Vec<Segment>,
}

/// One `<file>`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NzbFile {
    /// Subject of the posting.
    pub subject: String,
    /// `date`, in seconds since 1970; `None` where it is missing or absurd.
    pub date: Option<i64>,
    /// How many segments are listed whose id can be none; their numbers count as gaps.
    pub unusable: u32,
    /// Whether some segment had no usable number: the order is a guess until the articles' own headers are read.
    pub guessed: bool,
    /// How many articles the numbers speak of: the highest number, one more where counting starts at 0.
    pub expected: u64,
    pub(crate) primary: Range<u32>,
    pub(crate) alternates: Range<u32>,
}

/// One `<segment>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    start: u32,
    len: u16,
    pub(crate) number: u32,
    pub(crate) bytes: u32,
}

impl Segment {
    /// `number`, counted from 1.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// `bytes`: the encoded size, which is a hint and nothing more; 0 where it is missing or absurd.
    pub fn encoded_bytes(&self) -> u32 {
        self.bytes
    }
}

impl Nzb {
    /// The message-id of a segment of this NZB, without angle brackets; checked to be one.
    pub fn id(&self, segment: &Segment) -> &str {
        let start = segment.start as usize;
        self.ids
            .get(start..start + usize::from(segment.len))
            .unwrap_or_default()
    }

    /// How many of the first ones of `segments` follow each other in the document, and where their ids are in [`Self::ids`], with a space
    /// between two.
    pub(crate) fn ids_in_a_row(&self, segments: &[Segment]) -> (usize, Range<usize>) {
        let start = segments.first().map_or(0, |first| first.start as usize);
        let (mut count, mut end) = (0, start);
        for segment in segments {
            let at = segment.start as usize;
            if count > 0 && at != end + 1 {
                break;
            }
            count += 1;
            end = at + usize::from(segment.len);
        }
        (count, start..end)
    }

    /// All ids, in the order of the document.
    pub(crate) fn ids(&self) -> &Arc<String> {
        &self.ids
    }

    /// The segments of a file, one for each number, in order.
    pub fn segments(&self, file: &NzbFile) -> &[Segment] {
        self.range(&file.primary)
    }

    /// Further segments that claim a number that another one of the file has, in order of their numbers.
    ///
    /// Which of several is the primary one is decided by the text of the ids, so it does not depend on the order in the
    /// NZB. The others are read where the primary one is missing.
    pub fn alternates(&self, file: &NzbFile) -> &[Segment] {
        self.range(&file.alternates)
    }

    /// The segments of a file with the alternates behind them.
    pub(crate) fn candidates(&self, file: &NzbFile) -> &[Segment] {
        self.range(&(file.primary.start..file.alternates.end))
    }

    /// How many segments all files have.
    pub fn segment_count(&self) -> usize {
        self.files.iter().map(|f| f.primary.len()).sum()
    }

    fn range(&self, range: &Range<u32>) -> &[Segment] {
        self.segments
            .get(range.start as usize..range.end as usize)
            .unwrap_or_default()
    }

    /// What adds segments. Made once for many of them: that nobody else has the ids, which grow in place, is looked at here, with an
    /// operation that locks out other processors and takes longer than to add one.
    pub(crate) fn adder(&mut self) -> Adder<'_> {
        Adder {
            ids: Arc::make_mut(&mut self.ids),
            segments: &mut self.segments,
        }
    }

    /// Puts the segments from index `first` on into order as those of `file` and adds it.
    ///
    /// `highest_unusable` is the highest number of a segment that was left out because its id is none; `u32::MAX` is the number
    /// of a segment that has none.
    pub(crate) fn push_file(&mut self, mut file: NzbFile, first: usize, highest_unusable: u32) {
        let own = self.segments.get(first..).unwrap_or_default();
        if own.is_empty() {
            self.empty.push(file.subject);
            return;
        }
        // As nearly all are: one segment for each number, in their order.
        let ordered = !file.guessed && own.is_sorted_by(|a, b| a.number < b.number);
        let alternates = if ordered && all_differ(own.iter().map(|s| self.id(s))) {
            0
        } else {
            self.put_in_order(first, file.guessed)
        };
        let (start, end) = (first as u32, self.segments.len() as u32);
        file.primary = start..end - alternates as u32;
        file.alternates = file.primary.end..end;
        let own = self.segments(&file);
        let lowest = own.first().map_or(0, |s| s.number);
        let highest = own.last().map_or(0, |s| s.number).max(highest_unusable);
        file.expected = u64::from(highest) + u64::from(lowest == 0);
        self.files.push(file);
    }

    /// Puts the segments from index `first` on into order, one for each number and those that claim one again behind them; how many
    /// these are.
    fn put_in_order(&mut self, first: usize, guessed: bool) -> usize {
        let mut own = self.segments.split_off(first.min(self.segments.len()));
        if guessed {
            number_the_unnumbered(&mut own);
        }
        let id = |s: &Segment| self.id(s);
        let order = |a: &Segment, b: &Segment| a.number.cmp(&b.number).then_with(|| id(a).cmp(id(b)));
        own.sort_by(order);
        own.dedup_by(|later, earlier| later.number == earlier.number && id(later) == id(earlier));
        drop_repeated_ids(&mut own, |s| id(s));
        let mut alternates = Vec::new();
        let mut last = None;
        own.retain(|s| {
            let again = last == Some(s.number);
            last = Some(s.number);
            if again {
                alternates.push(*s);
            }
            !again
        });
        self.segments.append(&mut own);
        self.segments.extend_from_slice(&alternates);
        alternates.len()
    }

    /// Sorts the files and drops those that are listed twice.
    pub(crate) fn finish(&mut self) {
        let mut files = std::mem::take(&mut self.files);
        let by_ids = |a: &NzbFile, b: &NzbFile| {
            let (a, b) = (self.segments(a).iter(), self.segments(b).iter());
            a.map(|s| self.id(s)).cmp(b.map(|s| self.id(s)))
        };
        files.sort_by(|a, b| {
            a.subject
                .cmp(&b.subject)
                .then_with(|| by_ids(a, b))
                .then_with(|| a.date.cmp(&b.date))
        });
        files.dedup_by(|later, earlier| later.subject == earlier.subject && by_ids(later, earlier).is_eq());
        self.files = files;
        self.empty.sort();
        self.empty.dedup();
    }
}

/// Adds segments to an [`Nzb`].
pub(crate) struct Adder<'a> {
    ids: &'a mut String,
    segments: &'a mut Vec<Segment>,
}

impl Adder<'_> {
    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.segments.len()
    }

    /// Adds one, whose id is checked. `false` where the ids are too many to be counted.
    pub(crate) fn push(&mut self, id: &str, number: u32, bytes: u32) -> bool {
        let (Ok(start), Ok(len)) = (u32::try_from(self.ids.len()), u16::try_from(id.len())) else {
            return false;
        };
        self.ids.push_str(id);
        self.ids.push(' ');
        self.segments.push(Segment {
            start,
            len,
            number,
            bytes,
        });
        true
    }
}

/// Segments without a number (`u32::MAX`) take the numbers that are free, in the order of the document.
fn number_the_unnumbered(own: &mut [Segment]) {
    let mut taken: Vec<u32> = own.iter().map(|s| s.number).filter(|n| *n != u32::MAX).collect();
    taken.sort_unstable();
    taken.dedup();
    let (mut at, mut next) = (0, 1);
    for segment in own.iter_mut().filter(|s| s.number == u32::MAX) {
        while let Some(number) = taken.get(at).filter(|number| **number <= next) {
            if *number == next {
                next += 1;
            }
            at += 1;
        }
        segment.number = next;
        next += 1;
    }
}

/// How many places are looked at for an id before nothing is said of it: ids can be made to want the same ones.
const PROBES: usize = 128;

/// Whether surely no id is there twice. Keeps 31 bits of a hash of each, so that of many files one is looked at more closely in vain.
fn all_differ<'a>(mut ids: impl ExactSizeIterator<Item = &'a str>) -> bool {
    // Half of it stays empty, and it is no larger than that: of a large NZB it lies in the processor's own cache then.
    let places = 2 * ids.len();
    let mut seen = vec![0u32; places + PROBES];
    ids.all(|id| {
        let hash = hash(id);
        // The low half, spread over the places; the high half tells ids apart that want the same one.
        let start = ((u64::from(hash as u32) * places as u64) >> 32) as usize;
        let mark = (hash >> 32) as u32 | 1;
        for place in &mut seen[start..start + PROBES] {
            match *place {
                0 => {
                    *place = mark;
                    return true;
                }
                other if other == mark => return false,
                _ => {}
            }
        }
        false
    })
}

/// An article stands for one part of a file only: where an id has several numbers, its lowest one counts, and the others
/// are gaps.
fn drop_repeated_ids<'a>(own: &mut Vec<Segment>, id: impl Fn(&Segment) -> &'a str) {
    if all_differ(own.iter().map(&id)) {
        return;
    }
    let mut by_id: Vec<(&str, u32, usize)> = own
        .iter()
        .enumerate()
        .map(|(at, s)| (id(s), s.number, at))
        .collect();
    by_id.sort_unstable();
    let mut keep = vec![true; own.len()];
    for pair in by_id.windows(2) {
        if pair[0].0 == pair[1].0 {
            keep[pair[1].2] = false;
        }
    }
    let mut keep = keep.into_iter();
    own.retain(|_| keep.next().unwrap_or(true));
}

/// Multiplies and folds 8 bytes at a time, as FNV-1a does one: good enough to see that no id is repeated, which is then checked exactly.
fn hash(text: &str) -> u64 {
    let bytes = text.as_bytes();
    let add = |hash: u64, word: u64| {
        let hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^ (hash >> 29)
    };
    let (words, rest) = bytes.as_chunks();
    let start = add(0xcbf2_9ce4_8422_2325, bytes.len() as u64);
    let hash = words
        .iter()
        .fold(start, |hash, word| add(hash, u64::from_le_bytes(*word)));
    match (rest, bytes.last_chunk()) {
        ([], _) => hash,
        // Some of it for the second time, which is quicker than to fill it up.
        (_, Some(last)) => add(hash, u64::from_le_bytes(*last)),
        (rest, None) => rest.iter().fold(hash, |hash, byte| add(hash, u64::from(*byte))),
    }
}

/// Counts only: meta values may be passwords.
impl fmt::Debug for Nzb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nzb")
            .field(
                "meta",
                &self.meta.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            )
            .field("files", &self.files)
            .field("empty", &self.empty)
            .field("segments", &self.segments.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_are_there_twice_are_seen_and_others_are_not_taken_for_such() {
        let ids: Vec<String> = (0..20_000u32)
            .map(|n| match n % 3 {
                0 => format!("part{n}of20000.Some@host"),
                1 => format!("{:08x}", n.wrapping_mul(0x9e37_79b9)),
                _ => format!("{n}"),
            })
            .collect();
        let differ = |ids: &[String]| all_differ(ids.iter().map(String::as_str));
        assert!(differ(&ids));
        assert!(differ(&[]) && differ(&ids[..1]));
        for (from, to) in [(0, 1), (3, 19_999), (10_001, 10_000), (5, 8)] {
            let mut twice = ids.clone();
            twice[to] = twice[from].clone();
            assert!(!differ(&twice), "{}", twice[from]);
        }
    }

    #[test]
    fn hashes_are_of_every_byte_and_of_the_length() {
        for len in 1..40 {
            let text = "a".repeat(len);
            let mut seen = vec![hash(&text), hash(&"a".repeat(len + 1))];
            for at in 0..len {
                let mut other = text.clone();
                other.replace_range(at..=at, "b");
                seen.push(hash(&other));
            }
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), len + 2);
        }
    }
}
