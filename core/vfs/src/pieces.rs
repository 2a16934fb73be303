use bytes::{Bytes, BytesMut};

/// Bytes in the pieces that they came in.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    /// Offset of each piece, and its bytes, without gaps; none is empty.
    pieces: Box<[(u64, Bytes)]>,
    len: u64,
}

impl From<Vec<Bytes>> for Pieces {
    fn from(pieces: Vec<Bytes>) -> Self {
        let mut len = 0;
        let placed = pieces.into_iter().filter(|piece| !piece.is_empty()).map(|piece| {
            let start = len;
            len += piece.len() as u64;
            (start, piece)
        });
        let pieces = placed.collect();
        Self { pieces, len }
    }
}

impl From<Bytes> for Pieces {
    fn from(bytes: Bytes) -> Self {
        vec![bytes].into()
    }
}

impl Pieces {
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The pieces in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Bytes> {
        self.pieces.iter().map(|(_, piece)| piece)
    }

    /// Some of the bytes `from..upto`: what lies in one piece, without a copy, and where that is less than `least`, that
    /// many, put together.
    pub(crate) fn slice(&self, from: u64, upto: u64, least: u64) -> Bytes {
        slice(&self.pieces, from, upto, least)
    }

    /// All of them as one; a copy where they are more than one piece.
    pub(crate) fn whole(&self) -> Bytes {
        slice(&self.pieces, 0, self.len, self.len)
    }
}

/// [`Pieces::slice`] over pieces that may still become more.
pub(crate) fn slice(pieces: &[(u64, Bytes)], from: u64, upto: u64, least: u64) -> Bytes {
    let first = pieces
        .partition_point(|(start, _)| *start <= from)
        .saturating_sub(1);
    let part = |(start, piece): &(u64, Bytes)| {
        let len = piece.len() as u64;
        let (a, b) = (
            from.saturating_sub(*start).min(len),
            upto.saturating_sub(*start).min(len),
        );
        piece.slice(a as usize..b.max(a) as usize)
    };
    let Some(bytes) = pieces.get(first).map(part) else {
        return Bytes::new();
    };
    let wanted = least.min(upto.saturating_sub(from)) as usize;
    if bytes.len() >= wanted || first + 1 == pieces.len() {
        return bytes;
    }
    let mut all = BytesMut::with_capacity(wanted);
    all.extend_from_slice(&bytes);
    for piece in &pieces[first + 1..] {
        let more = part(piece);
        all.extend_from_slice(&more[..more.len().min(wanted - all.len())]);
        if all.len() == wanted {
            break;
        }
    }
    all.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_one_piece_is_not_copied_and_small_pieces_are_put_together() {
        let first = Bytes::from_static(b"abc");
        let pieces: Pieces = vec![
            first.clone(),
            Bytes::new(),
            Bytes::from_static(b"de"),
            Bytes::from_static(b"fgh"),
        ]
        .into();
        assert_eq!(pieces.len(), 8);
        let one = pieces.slice(1, 8, 1);
        assert_eq!((&one[..], one.as_ptr()), (&b"bc"[..], first[1..].as_ptr()));
        for (from, upto, least, wanted) in [
            (0, 8, 8, "abcdefgh"),
            (2, 8, 3, "cde"),
            (2, 4, 9, "cd"),
            (7, 8, 4, "h"),
            (8, 8, 4, ""),
            (9, 12, 4, ""),
        ] {
            assert_eq!(pieces.slice(from, upto, least), wanted, "{from}..{upto}, {least}");
        }
        assert_eq!(pieces.whole(), "abcdefgh");
        assert_eq!(Pieces::default().slice(0, 5, 5), "");
    }
}
