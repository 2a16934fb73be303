//! How tables of articles are written: the form of the plugin protocol.
//!
//! Both directions go without a string for each id: a table may have hundreds of thousands, and a loaded importer hands it over as JSON.

use super::{ArticleTable, ArticleTableError, MessageId, Run};
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
    /// The message-ids, in order.
    #[cfg_attr(feature = "schema", schemars(with = "Vec<MessageId>"))]
    ids: Ids,
    /// Runs of decoded lengths: bytes of each article, and how many of them follow each other.
    sizes: Vec<(u64, u32)>,
    /// When the file was posted, in seconds since 1970.
    #[serde(default)]
    posted: Option<i64>,
}

/// Checked message-ids, one behind the other in one text.
#[derive(Default)]
struct Ids {
    text: String,
    ends: Vec<u32>,
}

impl Ids {
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

impl Serialize for ArticleTable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Each<F>(F);
        impl<T: Serialize, I: Iterator<Item = T>, F: Fn() -> I> Serialize for Each<F> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_seq((self.0)())
            }
        }
        let fields = if self.posted.is_some() { 3 } else { 2 };
        let mut form = serializer.serialize_struct("ArticleTable", fields)?;
        form.serialize_field(
            "ids",
            &Each(|| (0..self.count()).map(|index| self.id(index).unwrap_or_default())),
        )?;
        form.serialize_field("sizes", &Each(|| self.sizes()))?;
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
                f.write_str("an array of message-ids")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Ids, A::Error> {
                let mut ids = Ids::default();
                while seq.next_element_seed(Next(&mut ids))?.is_some() {}
                Ok(ids)
            }
        }
        deserializer.deserialize_seq(Each)
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
