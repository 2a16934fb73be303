//! Where the ids of a table are.

use super::form;
use std::{fmt, ops::Range, sync::Arc};

/// A text of its own, or a part of one that others have parts of as well.
#[derive(Clone, Default)]
pub(super) struct Text {
    /// Empty where it is a part.
    own: String,
    part: Option<(Arc<String>, Range<usize>)>,
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Text {}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl From<String> for Text {
    fn from(own: String) -> Self {
        Self { own, part: None }
    }
}

impl Text {
    /// An empty one with room for `len` bytes, and for what is written around them.
    pub(super) fn with_capacity(len: usize) -> Self {
        let room = if len == 0 { 0 } else { len + form::AROUND_IDS };
        Self {
            own: String::with_capacity(room),
            part: None,
        }
    }

    /// A part of a text, which lies in it.
    pub(super) fn part(all: &Arc<String>, part: Range<usize>) -> Self {
        Self {
            own: String::new(),
            part: Some((Arc::clone(all), part)),
        }
    }

    /// This one and another part of the same text, where there is nothing but a space between them.
    pub(super) fn joined(&self, text: &Arc<String>, next: Range<usize>) -> Option<Self> {
        let (all, part) = self.part.as_ref()?;
        let follows = next.start == part.end + 1 && text.as_bytes().get(part.end) == Some(&b' ');
        (Arc::ptr_eq(all, text) && follows).then(|| Self::part(text, part.start..next.end))
    }

    pub(super) fn as_str(&self) -> &str {
        match &self.part {
            None => &self.own,
            Some((all, part)) => all.get(part.clone()).unwrap_or_default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.as_str().len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The text to be changed: a copy, where it was a part of one.
    pub(super) fn own(&mut self) -> &mut String {
        if self.part.is_some() {
            let mut own = String::with_capacity(self.len() + form::AROUND_IDS);
            own.push_str(self.as_str());
            (self.own, self.part) = (own, None);
        }
        &mut self.own
    }

    /// Bytes of memory, about. A part counts as if nobody else had it.
    pub(super) fn memory(&self) -> usize {
        self.own.capacity() + self.part.as_ref().map_or(0, |(_, part)| part.len())
    }
}
