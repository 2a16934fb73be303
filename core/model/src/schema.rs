//! JSON Schemas of the types whose JSON form is that of another type.

use crate::{AesKey, ArticleTable, MessageId, TableNo, VPath, articles::Packed};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;

macro_rules! schema {
    ($type:ident, $schema:tt) => {
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

schema!(VPath, {
    "description": "A path: names joined by '/', none of which is empty, '.' or '..' or has a control character or a backslash; at most 255 bytes of UTF-8 a name and 4096 in all. One '/' in front is dropped.",
    "type": "string",
    "maxLength": 4098
});
schema!(MessageId, {
    "description": "A message-id, with or without its angle brackets: 1 to 248 printable ASCII characters.",
    "type": "string",
    "minLength": 1
});
schema!(AesKey, {
    "description": "An AES key in hexadecimal: 16, 24 or 32 bytes.",
    "type": "string",
    "pattern": "^([0-9A-Fa-f]{32}|[0-9A-Fa-f]{48}|[0-9A-Fa-f]{64})$"
});
schema!(TableNo, {
    "description": "Which table of articles, as define_articles numbered them.",
    "type": "integer",
    "minimum": 0,
    "maximum": 4294967295u32
});

impl JsonSchema for ArticleTable {
    fn schema_name() -> Cow<'static, str> {
        "ArticleTable".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Packed::json_schema(generator)
    }
}
