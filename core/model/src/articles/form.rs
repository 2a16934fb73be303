//! How tables of articles are written: the form of the plugin protocol.
//!
//! The ids are one text, with a space between two: no id can have one, and a table may have hundreds of thousands, which a loaded
//! importer hands over as JSON. Who writes JSON by hand may give an array of ids.

use super::{ArticleTable, ArticleTableError, MAX_ID, MessageId, Run, may_be_in_ids};
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

/// Checked message-ids, one behind the other in one text.
#[derive(Default)]
struct Ids {
    text: String,
    ends: Vec<u32>,
}

impl Ids {
    /// The ids of a text that has white space between them.
    fn of(text: &str) -> Result<Self, ArticleTableError> {
        let mut ids = Self {
            text: String::with_capacity(text.len()),
            // An id of a real post has some 30 characters.
            ends: Vec::with_capacity(text.len() / 32),
        };
        for id in text.split(' ') {
            // Nearly all are as they should be.
            if id.len() <= MAX_ID && may_be_in_ids(id.as_bytes()) {
                if !id.is_empty() {
                    ids.push(id)?;
                }
                continue;
            }
            for id in id.split_ascii_whitespace() {
                ids.push(MessageId::bare(id)?)?;
            }
        }
        Ok(ids)
    }

    fn push(&mut self, id: &str) -> Result<(), ArticleTableError> {
        let end = u32::try_from(self.text.len() + id.len()).map_err(|_| ArticleTableError::Overflow)?;
        // The number of an article is a `u32` as well.
        u32::try_from(self.ends.len()).map_err(|_| ArticleTableError::Overflow)?;
        self.text.push_str(id);
        self.ends.push(end);
        Ok(())
    }
}

impl TryFrom<Packed> for ArticleTable {
    type Error = ArticleTableError;
    fn try_from(packed: Packed) -> Result<Self, ArticleTableError> {
        let Ids { text, ends } = packed.ids;
        let sizes: u64 = packed.sizes.iter().map(|(_, n)| u64::from(*n)).sum();
        if sizes != ends.len() as u64 {
            return Err(ArticleTableError::Count {
                ids: ends.len(),
                sizes,
            });
        }
        let mut table = Self {
            ids: text,
            ends,
            ..Self::default()
        };
        let mut first = 0_u32;
        for (size, n) in packed.sizes.into_iter().filter(|(_, n)| *n > 0) {
            if table.runs.last().is_none_or(|run| run.size != size) {
                table.runs.push(Run {
                    first,
                    offset: table.len,
                    size,
                });
            }
            table.len = size
                .checked_mul(u64::from(n))
                .and_then(|bytes| table.len.checked_add(bytes))
                .filter(|len| *len <= i64::MAX as u64)
                .ok_or(ArticleTableError::Overflow)?;
            // Their sum is the number of the ids, which are not more than a `u32` counts.
            first = first.saturating_add(n);
        }
        table.set_posted(packed.posted);
        Ok(table)
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
    /// Its JSON: the same as by a serialiser, without its look at each character of the ids.
    pub fn to_json(&self) -> Vec<u8> {
        let ids = self.ids.len() + self.count();
        let mut json = Vec::with_capacity(ids + 64 + self.runs.len() * 24);
        json.extend_from_slice(br#"{"ids":""#);
        // Of all that is in ids, JSON has to escape these two.
        let escaped = memchr::memchr2(b'"', b'\\', self.ids.as_bytes()).is_some();
        for at in 0..self.count() {
            if at > 0 {
                json.push(b' ');
            }
            let id = self.id(at).unwrap_or_default();
            if !escaped {
                json.extend_from_slice(id.as_bytes());
                continue;
            }
            for byte in id.bytes() {
                if matches!(byte, b'"' | b'\\') {
                    json.push(b'\\');
                }
                json.push(byte);
            }
        }
        json.extend_from_slice(br#"","sizes":["#);
        for (at, (size, count)) in self.sizes().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            json.extend_from_slice(format!("{comma}[{size},{count}]").as_bytes());
        }
        json.push(b']');
        if let Some(posted) = self.posted {
            json.extend_from_slice(format!(r#","posted":{posted}"#).as_bytes());
        }
        json.push(b'}');
        json
    }
}

impl Serialize for ArticleTable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Text<'a>(&'a ArticleTable);
        impl fmt::Display for Text<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                for at in 0..self.0.count() {
                    if at > 0 {
                        f.write_str(" ")?;
                    }
                    f.write_str(self.0.id(at).unwrap_or_default())?;
                }
                Ok(())
            }
        }
        impl Serialize for Text<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        struct Sizes<'a>(&'a ArticleTable);
        impl Serialize for Sizes<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_seq(self.0.sizes())
            }
        }
        let fields = if self.posted.is_some() { 3 } else { 2 };
        let mut form = serializer.serialize_struct("ArticleTable", fields)?;
        form.serialize_field("ids", &Text(self))?;
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
