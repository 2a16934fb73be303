//! How tables of articles are written: the form of the plugin protocol.
//!
//! The ids are one text, with a space between two: no id can have one, and a table may have hundreds of thousands, which a loaded
//! importer hands over as JSON. Who writes JSON by hand may give an array of ids.

use super::{ArticleTable, ArticleTableError, MAX_ID, MessageId, MessageIdError};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeSeed, Error as _, SeqAccess, Visitor},
    ser::SerializeStruct,
};
use std::fmt;

/// The articles of one posted file, in order, with their exact decoded lengths.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct Packed {
    /// The message-ids, in order: one text with a space between two ids, or an array.
    #[cfg_attr(feature = "schema", schemars(with = "Written"))]
    ids: Ids,
    /// Runs of decoded lengths: bytes of each article, and how many of them follow each other.
    sizes: Vec<(u64, u32)>,
    /// When the file was posted, in seconds since 1970.
    #[serde(default)]
    posted: Option<i64>,
}

/// How ids may be written.
#[cfg(feature = "schema")]
#[derive(schemars::JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "it describes what `Ids` reads")]
enum Written {
    Text(String),
    Each(Vec<MessageId>),
}

/// What a table's JSON has before its ids, and room for what a table of some runs has behind them, in bytes.
pub(super) const AROUND_IDS: usize = HEAD.len() + 120;
const HEAD: &str = r#"{"ids":""#;

/// How many bytes are looked at together.
const PIECE: usize = 4096;

/// Puts where each id of a text ends behind `ends`, counted from `start`; the ids have no angle brackets, and one space between two.
///
/// # Errors
/// Where one of them is no message-id. What was put until then stays.
pub(super) fn ends_of(text: &str, start: u32, ends: &mut Vec<u32>) -> Result<(), ArticleTableError> {
    if text.is_empty() {
        return Ok(());
    }
    let may_be = |bytes: &[u8]| {
        bytes.iter().fold(true, |all, b| {
            all & (0x20..=0x7e).contains(b) & (*b != b'<') & (*b != b'>')
        })
    };
    let whole = text.as_bytes().chunks(PIECE).all(may_be);
    let mut from = 0;
    for end in memchr::memchr_iter(b' ', text.as_bytes()).chain([text.len()]) {
        if !whole || !(1..=MAX_ID).contains(&(end - from)) {
            let id = text.get(from..end).unwrap_or_default();
            if !super::is_bare(id) {
                return Err(MessageIdError::of(id).into());
            }
        }
        let end_there = u32::try_from(end).ok().and_then(|end| start.checked_add(end));
        ends.push(end_there.ok_or(ArticleTableError::Overflow)?);
        from = end + 1;
    }
    // The number of an article is a `u32` as well.
    u32::try_from(ends.len()).map_err(|_| ArticleTableError::Overflow)?;
    Ok(())
}

/// Checked message-ids in one text, with a space between two.
#[derive(Default)]
struct Ids {
    text: String,
    ends: Vec<u32>,
}

impl Ids {
    /// The ids of a text that has white space between them.
    fn of(text: &str) -> Result<Self, ArticleTableError> {
        // An id of a real post has some 30 characters.
        let mut ends = Vec::with_capacity(text.len() / 32);
        // As nearly all come.
        if ends_of(text, 0, &mut ends).is_ok() {
            let text = text.to_owned();
            return Ok(Self { text, ends });
        }
        let mut ids = Self::default();
        for id in text.split_ascii_whitespace() {
            ids.push(MessageId::bare(id)?)?;
        }
        Ok(ids)
    }

    fn push(&mut self, id: &str) -> Result<(), ArticleTableError> {
        if !self.ends.is_empty() {
            self.text.push(' ');
        }
        self.text.push_str(id);
        let end = u32::try_from(self.text.len()).map_err(|_| ArticleTableError::Overflow)?;
        self.ends.push(end);
        u32::try_from(self.ends.len()).map_err(|_| ArticleTableError::Overflow)?;
        Ok(())
    }
}

impl TryFrom<Packed> for ArticleTable {
    type Error = ArticleTableError;
    fn try_from(packed: Packed) -> Result<Self, ArticleTableError> {
        Self::of(packed.ids, packed.sizes, packed.posted)
    }
}

impl<'de> Deserialize<'de> for ArticleTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Packed::deserialize(deserializer)?
            .try_into()
            .map_err(D::Error::custom)
    }
}

impl ArticleTable {
    fn of(ids: Ids, runs: Vec<(u64, u32)>, posted: Option<i64>) -> Result<Self, ArticleTableError> {
        let sizes: u64 = runs.iter().map(|(_, n)| u64::from(*n)).sum();
        if sizes != ids.ends.len() as u64 {
            return Err(ArticleTableError::Count {
                ids: ids.ends.len(),
                sizes,
            });
        }
        let mut table = Self {
            ids: ids.text.into(),
            ends: ids.ends,
            ..Self::default()
        };
        let mut first = 0;
        for (size, n) in runs {
            table.add(first, n, size)?;
            first += n as usize;
        }
        table.set_posted(posted);
        Ok(table)
    }

    /// Reads its JSON: the same as by a deserialiser, without its looks at each character of the ids.
    ///
    /// # Errors
    /// As those of a deserialiser.
    pub fn from_json(json: &[u8]) -> serde_json::Result<Self> {
        match Self::from_usual_json(json) {
            Some(table) => Ok(table),
            None => serde_json::from_slice(json),
        }
    }

    /// A table that is written as [`Self::into_json`] does; `None` where something is unusual, or wrong.
    fn from_usual_json(json: &[u8]) -> Option<Self> {
        /// What follows the ids, in an object of its own.
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Rest {
            sizes: Vec<(u64, u32)>,
            posted: Option<i64>,
        }
        let behind = json.strip_prefix(HEAD.as_bytes())?;
        let (ids, rest) = behind.split_at_checked(memchr::memchr2(b'"', b'\\', behind)?)?;
        let rest = rest.strip_prefix(br#"","#)?;
        let rest: Rest = serde_json::from_slice(&[b"{", rest].concat()).ok()?;
        let ids = Ids::of(std::str::from_utf8(ids).ok()?).ok()?;
        Self::of(ids, rest.sizes, rest.posted).ok()
    }

    /// Its JSON: the same as by a serialiser, without its look at each character of the ids, and in the memory that the ids have.
    pub fn into_json(self) -> Vec<u8> {
        // Of all that is in ids, JSON has to escape these two.
        if memchr::memchr2(b'"', b'\\', self.ids.as_str().as_bytes()).is_some() {
            // A table has no value that serde_json does not write.
            return serde_json::to_vec(&self).unwrap_or_default();
        }
        let mut behind = String::from(r#"","sizes":["#);
        for (at, (size, count)) in self.sizes().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            behind.push_str(&format!("{comma}[{size},{count}]"));
        }
        behind.push(']');
        if let Some(posted) = self.posted {
            behind.push_str(&format!(r#","posted":{posted}"#));
        }
        behind.push('}');
        let mut ids = self.ids;
        let mut json = std::mem::take(ids.own());
        json.reserve(HEAD.len() + behind.len());
        json.insert_str(0, HEAD);
        json.push_str(&behind);
        json.into_bytes()
    }
}

impl Serialize for ArticleTable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Sizes<'a>(&'a ArticleTable);
        impl Serialize for Sizes<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_seq(self.0.sizes())
            }
        }
        let fields = if self.posted.is_some() { 3 } else { 2 };
        let mut form = serializer.serialize_struct("ArticleTable", fields)?;
        form.serialize_field("ids", self.ids.as_str())?;
        form.serialize_field("sizes", &Sizes(self))?;
        if let Some(posted) = self.posted {
            form.serialize_field("posted", &posted)?;
        }
        form.end()
    }
}

impl<'de> Deserialize<'de> for Ids {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Ids;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("message-ids: a text with a space between two, or an array")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Ids, E> {
                Ids::of(text).map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Ids, A::Error> {
                let mut ids = Ids::default();
                while seq.next_element_seed(Next(&mut ids))?.is_some() {}
                Ok(ids)
            }
        }
        deserializer.deserialize_any(Each)
    }
}

/// One id, put behind the others.
struct Next<'a>(&'a mut Ids);

impl<'de> DeserializeSeed<'de> for Next<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Next<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message-id")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        let id = MessageId::bare(text).map_err(E::custom)?;
        self.0.push(id).map_err(E::custom)
    }
}
