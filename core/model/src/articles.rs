use serde::{Deserialize, Serialize};
use std::{fmt, ops::Range, sync::Arc};

mod form;
mod text;

use text::Text;

#[cfg(feature = "schema")]
pub(crate) use form::Packed;

/// Longest message-id, in octets: RFC 3977 section 3.6 has 250 with the angle brackets.
const MAX_ID: usize = 248;

/// A message-id without its angle brackets (RFC 3977 section 3.6: 1 to 250 octets, printable ASCII).
///
/// It goes into NNTP commands as it is, so nothing that could end a command line can be in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MessageId(Box<str>);

/// Why a text is not a message-id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a message-id (1 to 248 printable ASCII characters without spaces and angle brackets)")]
pub struct MessageIdError(String);

impl MessageIdError {
    fn of(text: &str) -> Self {
        let start: String = text.chars().take(80).collect();
        Self(start.escape_default().to_string())
    }
}

impl MessageId {
    /// Checks and takes a message-id, with or without its angle brackets.
    ///
    /// # Errors
    /// [`MessageIdError`] where it is empty, over 248 octets, or has a character outside of printable ASCII.
    pub fn new(text: &str) -> Result<Self, MessageIdError> {
        Self::bare(text).map(|text| Self(text.into()))
    }

    /// The checked id inside of `text`, which may have its angle brackets: [`Self::new`] without a copy.
    ///
    /// # Errors
    /// As [`Self::new`].
    #[inline]
    pub fn bare(text: &str) -> Result<&str, MessageIdError> {
        // As nearly all come.
        if is_bare(text) {
            return Ok(text);
        }
        let text = text.trim();
        let text = text.strip_prefix('<').unwrap_or(text);
        let text = text.strip_suffix('>').unwrap_or(text);
        if is_bare(text) {
            Ok(text)
        } else {
            Err(MessageIdError::of(text))
        }
    }

    /// The id without angle brackets.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether each octet may be in a message-id. Without a way out in the middle, so that many are looked at together.
#[inline]
fn may_be_in_ids(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |all, b| {
        all & (0x21..=0x7e).contains(b) & (*b != b'<') & (*b != b'>')
    })
}

#[inline]
fn is_bare(text: &str) -> bool {
    (1..=MAX_ID).contains(&text.len()) && may_be_in_ids(text.as_bytes())
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.0)
    }
}

impl TryFrom<String> for MessageId {
    type Error = MessageIdError;
    fn try_from(text: String) -> Result<Self, MessageIdError> {
        Self::new(&text)
    }
}

impl From<MessageId> for String {
    fn from(id: MessageId) -> Self {
        id.0.into()
    }
}

/// The articles of one posted file in order, with their exact decoded lengths.
///
/// Kept packed: the ids in one text, the lengths as runs (a normal post is one run and a last article). Its serde
/// form is the one of the plugin protocol: `{"ids": "a@b c@d ...", "sizes": [[716800, 99], [1234, 1]]}`, where each
/// pair is (decoded bytes, how many articles). `"posted"` is there where it is known. An array of ids is taken as well.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ArticleTable {
    /// The ids with a space between two: as they are written.
    ids: Text,
    /// End of each id in `ids`.
    ends: Vec<u32>,
    /// For each run: index of its first article, offset of its first byte, decoded bytes of each article.
    runs: Vec<Run>,
    len: u64,
    posted: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    first: u32,
    offset: u64,
    size: u64,
}

/// Why an [`ArticleTable`] cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArticleTableError {
    /// One of the ids is none.
    #[error(transparent)]
    Id(#[from] MessageIdError),
    /// The runs do not cover the ids.
    #[error("the table has {ids} message-ids and sizes for {sizes} articles")]
    Count {
        /// How many ids there are.
        ids: usize,
        /// For how many articles sizes are given.
        sizes: u64,
    },
    /// The sum of the lengths, the ids' text or the count is out of bounds.
    #[error("the table's lengths or ids are too large")]
    Overflow,
}

impl ArticleTable {
    /// The empty table, to be filled with [`Self::push`].
    pub fn new() -> Self {
        Self::default()
    }

    /// The empty table, with room for so many articles, whose ids have so many bytes together; 0 where they are put there with
    /// [`Self::push_shared`].
    pub fn with_capacity(articles: usize, id_bytes: usize) -> Self {
        Self {
            ids: Text::with_capacity(id_bytes),
            ends: Vec::with_capacity(articles),
            ..Self::default()
        }
    }

    /// Adds an article behind the last, with its exact decoded length in bytes.
    ///
    /// # Errors
    /// [`ArticleTableError::Overflow`].
    pub fn push(&mut self, id: &MessageId, size: u64) -> Result<(), ArticleTableError> {
        self.push_checked(id.as_str(), size)
    }

    /// As [`Self::push`], with an id that is not checked yet, and may have its angle brackets.
    ///
    /// # Errors
    /// [`ArticleTableError::Id`], [`ArticleTableError::Overflow`].
    #[inline]
    pub fn push_id(&mut self, id: &str, size: u64) -> Result<(), ArticleTableError> {
        self.push_checked(MessageId::bare(id)?, size)
    }

    /// Adds the articles whose ids a text has, without angle brackets and with one space between two, each of the same decoded length in
    /// bytes: as with [`Self::push_id`] for each, and much faster where they are many. Where one of them is none, nothing is added.
    ///
    /// # Errors
    /// [`ArticleTableError::Id`], [`ArticleTableError::Overflow`].
    pub fn push_ids(&mut self, text: &str, size: u64) -> Result<(), ArticleTableError> {
        let gap = usize::from(!self.ends.is_empty());
        self.add_ids(text, size)?;
        if !text.is_empty() {
            let ids = self.ids.own();
            ids.push_str(&" "[..gap]);
            ids.push_str(text);
        }
        Ok(())
    }

    /// Counts the articles of a text that is put behind the others.
    fn add_ids(&mut self, text: &str, size: u64) -> Result<(), ArticleTableError> {
        let (count, gap) = (self.ends.len(), usize::from(!self.ends.is_empty()));
        let added = (|| {
            let start = u32::try_from(self.ids.len() + gap).map_err(|_| ArticleTableError::Overflow)?;
            form::ends_of(text, start, &mut self.ends)?;
            let more = u32::try_from(self.ends.len() - count).map_err(|_| ArticleTableError::Overflow)?;
            self.add(count, more, size)
        })();
        if added.is_err() {
            self.ends.truncate(count);
        }
        added
    }

    /// As [`Self::push_ids`] for a part of a text, which is shared and not copied as long as what is pushed are parts of one text that
    /// follow each other, with a space between two. All of the text then stays in memory as long as the table.
    ///
    /// # Errors
    /// [`ArticleTableError::Id`], [`ArticleTableError::Overflow`].
    pub fn push_shared(
        &mut self,
        text: &Arc<String>,
        part: Range<usize>,
        size: u64,
    ) -> Result<(), ArticleTableError> {
        let ids = text.get(part.clone()).unwrap_or_default();
        let joined = match &self.ids {
            _ if ids.is_empty() => None,
            ids if ids.is_empty() => Some(Text::part(text, part)),
            ids => ids.joined(text, part),
        };
        match joined {
            Some(joined) => {
                self.add_ids(ids, size)?;
                self.ids = joined;
                Ok(())
            }
            None => self.push_ids(ids, size),
        }
    }

    #[inline]
    fn push_checked(&mut self, id: &str, size: u64) -> Result<(), ArticleTableError> {
        let gap = usize::from(!self.ends.is_empty());
        let end = u32::try_from(self.ids.len() + gap + id.len()).map_err(|_| ArticleTableError::Overflow)?;
        self.add(self.ends.len(), 1, size)?;
        let ids = self.ids.own();
        ids.push_str(&" "[..gap]);
        ids.push_str(id);
        self.ends.push(end);
        Ok(())
    }

    /// Counts `count` articles of `size` bytes each behind the first ones; nothing is changed where they do not fit.
    fn add(&mut self, first: usize, count: u32, size: u64) -> Result<(), ArticleTableError> {
        let first = u32::try_from(first).map_err(|_| ArticleTableError::Overflow)?;
        first.checked_add(count).ok_or(ArticleTableError::Overflow)?;
        if count == 0 {
            return Ok(());
        }
        let len = size
            .checked_mul(u64::from(count))
            .and_then(|bytes| self.len.checked_add(bytes))
            .filter(|len| *len <= i64::MAX as u64)
            .ok_or(ArticleTableError::Overflow)?;
        if self.runs.last().is_none_or(|run| run.size != size) {
            self.runs.push(Run {
                first,
                offset: self.len,
                size,
            });
        }
        self.len = len;
        Ok(())
    }

    /// When the file was posted, in seconds since 1970; `None` where nobody said. A provider that keeps nothing so old is not
    /// asked for its articles.
    pub fn posted(&self) -> Option<i64> {
        self.posted
    }

    /// Says when the file was posted, in seconds since 1970. What is before that is no date.
    pub fn set_posted(&mut self, posted: Option<i64>) {
        self.posted = posted.filter(|at| *at >= 0);
    }

    /// How many articles there are.
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// The sum of the decoded lengths, in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no byte in the table.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The message-id of article `index`, as text without angle brackets.
    #[inline]
    pub fn id(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)? as usize;
        let start = if index == 0 {
            0
        } else {
            // Behind the space.
            self.ends[index - 1] as usize + 1
        };
        Some(&self.ids.as_str()[start..end])
    }

    /// The message-ids in order, as by [`Self::id`] for each.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        let text = self.ids.as_str();
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let id = &text[start..*end as usize];
            // Behind the space.
            start = *end as usize + 1;
            id
        })
    }

    /// Offset of the first byte of article `index`, and its decoded length.
    pub fn extent(&self, index: usize) -> Option<(u64, u64)> {
        if index >= self.count() {
            return None;
        }
        let run = &self.runs[self.runs.partition_point(|run| run.first as usize <= index) - 1];
        Some((
            run.offset + (index - run.first as usize) as u64 * run.size,
            run.size,
        ))
    }

    /// The article that holds the byte at `offset`; `None` at and past the end. Empty articles hold nothing.
    pub fn find(&self, offset: u64) -> Option<usize> {
        if offset >= self.len {
            return None;
        }
        let run = &self.runs[self.runs.partition_point(|run| run.offset <= offset) - 1];
        Some(run.first as usize + ((offset - run.offset) / run.size) as usize)
    }

    /// The lengths as runs: (decoded bytes, how many articles).
    pub fn sizes(&self) -> impl Iterator<Item = (u64, u32)> {
        let total = self.count() as u32;
        self.runs.iter().enumerate().map(move |(at, run)| {
            let next = self.runs.get(at + 1).map_or(total, |next| next.first);
            (run.size, next - run.first)
        })
    }

    /// Bytes of memory that the table takes, about.
    pub fn memory(&self) -> usize {
        self.ids.memory()
            + self.ends.capacity() * 4
            + self.runs.capacity() * size_of::<Run>()
            + size_of::<Self>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(sizes: &[u64]) -> ArticleTable {
        let mut table = ArticleTable::new();
        for (i, size) in sizes.iter().enumerate() {
            table
                .push(&MessageId::new(&format!("{i}@x")).expect("valid"), *size)
                .expect("fits");
        }
        table
    }

    #[test]
    fn finds_articles_by_offset_over_runs_and_empty_articles() {
        let t = table(&[10, 10, 0, 10, 3, 0]);
        assert_eq!(t.len(), 33);
        assert_eq!(t.find(0), Some(0));
        assert_eq!(t.find(19), Some(1));
        assert_eq!(t.find(20), Some(3));
        assert_eq!(t.find(32), Some(4));
        assert_eq!(t.find(33), None);
        assert_eq!(t.extent(3), Some((20, 10)));
        assert_eq!(t.extent(6), None);
        assert_eq!(t.id(4), Some("4@x"));
    }

    #[test]
    fn survives_its_own_json_and_refuses_wrong_counts() {
        let t = table(&[10, 10, 3]);
        let json = serde_json::to_string(&t).expect("serialises");
        assert_eq!(json, r#"{"ids":"0@x 1@x 2@x","sizes":[[10,2],[3,1]]}"#);
        assert_eq!(t.clone().into_json(), json.as_bytes());
        assert_eq!(serde_json::from_str::<ArticleTable>(&json).expect("parses"), t);
        let mut dated = t;
        dated.set_posted(Some(1_700_000_000));
        let json = serde_json::to_string(&dated).expect("serialises");
        assert!(json.ends_with(r#","posted":1700000000}"#), "{json}");
        assert_eq!(dated.clone().into_json(), json.as_bytes());
        assert_eq!(
            serde_json::from_str::<ArticleTable>(&json).expect("parses"),
            dated
        );
        assert!(
            serde_json::from_str::<ArticleTable>(r#"{"ids":["a@b"],"sizes":[[10,4000000000]]}"#).is_err()
        );
        for id in [
            r#"["a\r\nQUIT"]"#,
            r#"["a b"]"#,
            r#""a\u0000b""#,
            r#""<a@b>c""#,
            r#""ä@b""#,
            "7",
        ] {
            let json = format!(r#"{{"ids":{id},"sizes":[[1,1]]}}"#);
            assert!(serde_json::from_str::<ArticleTable>(&json).is_err(), "{json}");
        }
        let long = format!(r#"{{"ids":"a@b {}","sizes":[[1,2]]}}"#, "x".repeat(249));
        assert!(serde_json::from_str::<ArticleTable>(&long).is_err());
        let huge = format!(r#"{{"ids":["a@b","c@d"],"sizes":[[{},2]]}}"#, u64::MAX / 2);
        assert!(serde_json::from_str::<ArticleTable>(&huge).is_err());
    }

    #[test]
    fn other_ways_to_write_a_table_are_the_same_table() {
        let t = table(&[10, 10, 3]);
        for json in [
            r#"{"sizes":[[10,1],[10,1],[7,0],[3,1]],"ids":["<0@x>"," 1@x ","2@x"]}"#,
            r#"{"ids":["\u0030@x","1@x","2@x"],"more":[1],"sizes":[[10,2],[3,1]]}"#,
            r#"{"ids":"0@x 1@x 2@x","sizes":[[10,2],[3,1]]}"#,
            r#"{"ids":" <0@x>\n1@x\r\n\t2@x  ","sizes":[[10,2],[3,1]]}"#,
            r#"{"sizes":[[10,2],[3,1]],"ids":"\u0030@x 1\u0040x 2@x"}"#,
        ] {
            assert_eq!(serde_json::from_str::<ArticleTable>(json).expect("parses"), t);
            assert_eq!(ArticleTable::from_json(json.as_bytes()).expect("parses"), t);
        }
        for wrong in [
            r#"{"ids":"0@x 1@x 2@x","sizes":[[10,2]]}"#,
            r#"{"ids":"0@x 1@x 2@x","sizes":[[10,2],[3,1]]"#,
            r#"{"ids":"0@x 1@x 2@x","sizes":[[10,2],[3,1]],"ids":"0@x 1@x 2@x"}"#,
            r#"{"ids":"0@x 1@x <2@x>x","sizes":[[10,2],[3,1]]}"#,
            r#"{"ids":"0@x 1@x 2@x"}"#,
            r#"{"ids":"0@x"#,
        ] {
            assert!(serde_json::from_str::<ArticleTable>(wrong).is_err(), "{wrong}");
            assert!(ArticleTable::from_json(wrong.as_bytes()).is_err(), "{wrong}");
        }
        for empty in [r#"{"ids":[],"sizes":[]}"#, r#"{"ids":" ","sizes":[]}"#] {
            let empty: ArticleTable = serde_json::from_str(empty).expect("parses");
            assert_eq!(empty, ArticleTable::new());
        }
    }

    #[test]
    fn ids_that_are_shared_are_the_same_as_others() {
        let text = Arc::new("a@x b@x c@x  d@x e@x".to_owned());
        let mut shared = ArticleTable::with_capacity(5, 0);
        for (part, size) in [(0..3, 10), (4..7, 10), (8..11, 3)] {
            shared.push_shared(&text, part, size).expect("fits");
        }
        assert_eq!(Arc::strong_count(&text), 2);
        let mut own = ArticleTable::new();
        own.push_ids("a@x b@x", 10).expect("fits");
        own.push_ids("c@x", 3).expect("fits");
        assert_eq!((&shared, shared.id(2)), (&own, Some("c@x")));
        assert_eq!(shared.clone().into_json(), own.clone().into_json());
        // Two spaces, another text, an id of its own, nothing: it is not one part any more, or stays as it is.
        let other = Arc::new("f@x".to_owned());
        for table in [&mut shared, &mut own] {
            table.push_shared(&text, 0..0, 7).expect("is nothing");
            table.push_shared(&text, 13..20, 3).expect("fits");
            table.push_shared(&other, 0..3, 3).expect("fits");
            table.push_id("<g@x>", 3).expect("fits");
        }
        assert_eq!(shared, own);
        assert_eq!(shared.into_json(), own.into_json());
        assert_eq!(Arc::strong_count(&text), 1);
        let mut first = ArticleTable::new();
        first.push_shared(&text, 4..11, 5).expect("fits");
        assert!(first.push_shared(&text, 11..17, 5).is_err(), "two spaces");
        assert!(first.push_shared(&text, 12..16, 5).is_err(), "a space before it");
        assert_eq!((first.count(), first.id(1)), (2, Some("c@x")));
    }

    #[test]
    fn ids_that_json_has_to_escape_cross_too() {
        let mut table = ArticleTable::new();
        for id in [r#"a"b@c"#, r"back\slash@x", "plain@x", "q$&/('{}~!@x"] {
            table.push_id(id, 7).expect("fits");
        }
        let json = table.clone().into_json();
        assert_eq!(json, serde_json::to_vec(&table).expect("serialises"));
        assert_eq!(
            serde_json::from_slice::<ArticleTable>(&json).expect("parses"),
            table
        );
    }

    #[test]
    fn many_ids_in_one_text_are_as_good_as_one_by_one() {
        let mut single = table(&[10, 10, 3]);
        let mut together = ArticleTable::new();
        together.push_ids("0@x 1@x", 10).expect("fits");
        together.push_ids("", 10).expect("nothing");
        together.push_ids("2@x", 3).expect("fits");
        assert_eq!(together, single);
        for table in [&mut single, &mut together] {
            table.push_ids("3@x 4@x", 3).expect("fits");
            table.push_id("5@x", 7).expect("fits");
        }
        assert_eq!(together, single);
        assert_eq!((together.id(2), together.id(4)), (Some("2@x"), Some("4@x")));
        assert_eq!((together.find(22), together.find(23)), (Some(2), Some(3)));
        let long = format!("6@x {}", "x".repeat(249));
        for wrong in [
            " 6@x",
            "6@x ",
            "6@x  7@x",
            "<6@x>",
            "6@x\t7@x",
            "6@x \u{e9}",
            " ",
            &long,
        ] {
            assert!(together.push_ids(wrong, 1).is_err(), "{wrong}");
            assert_eq!(together, single, "nothing of {wrong}");
        }
        assert!(together.push_ids("6@x 7@x", u64::MAX / 2).is_err());
        assert_eq!(together, single);
    }

    #[test]
    fn message_ids_lose_their_brackets() {
        assert_eq!(MessageId::new(" <a@b> ").expect("valid").as_str(), "a@b");
        assert!(MessageId::new("<>").is_err());
        assert!(MessageId::new("a b").is_err());
        assert!(MessageId::new(&"x".repeat(249)).is_err());
    }
}
