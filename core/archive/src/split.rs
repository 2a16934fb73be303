//! Files that were cut into pieces without an archive: `.001 .002`, `.mkv.001`, and pieces with no names at all.
//!
//! All pieces but the last have one length, and only the first begins like a file. Where the pieces' names have no
//! numbers, what the first piece says of the whole file's length (7z, Matroska, RIFF, MP4) must agree with their
//! sum, and [`Set::proof`] says what the order rests on.

use crate::{names::volume_name, sevenz, sniff};
use std::collections::BTreeMap;

/// A file that may be a piece of another.
#[derive(Clone, Debug)]
pub struct Piece<'a> {
    /// Its name, as far as one is known.
    pub name: &'a str,
    /// Length in bytes.
    pub len: u64,
    /// Its first bytes; the more of [`sniff::HEAD`] there are, the more can be told.
    pub head: &'a [u8],
}

/// What the order of the pieces rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Proof {
    /// Their names are numbered without a gap, and their lengths are those of pieces.
    Numbers,
    /// The first and the last are told by content and length, and there is at most one between them.
    Lengths,
    /// The first and the last are told by content and length; those between are in the order in which they were given.
    Given,
}

/// The pieces of one file, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Indexes of what [`join`] was given.
    pub pieces: Vec<usize>,
    /// The whole file's name where the pieces' names have it: theirs without the number.
    pub name: Option<String>,
    /// Length of the whole in bytes.
    pub len: u64,
    /// What the order rests on.
    pub proof: Proof,
    /// The whole length that the first piece's own headers promise is another: pieces are missing.
    pub promised: Option<u64>,
}

/// Finds the split files among `pieces`. What is in no set is left out of the result; archives whose volumes have
/// headers of their own (RAR) are no business of this.
pub fn join(pieces: &[Piece<'_>]) -> Vec<Set> {
    let mut sets = Vec::new();
    let mut unnamed = Vec::new();
    let mut by_stem: BTreeMap<String, BTreeMap<u64, usize>> = BTreeMap::new();
    for (i, piece) in pieces.iter().enumerate() {
        match numbered(piece.name) {
            // Of two of the same number and stem neither can be told to be the right one; the first stays.
            Some((stem, number)) => {
                by_stem.entry(stem).or_default().entry(number).or_insert(i);
            }
            None => unnamed.push(i),
        }
    }
    for (stem, numbers) in by_stem {
        let order: Vec<usize> = numbers.values().copied().collect();
        let starts = numbers.keys().next().is_some_and(|first| *first <= 1);
        let gapless = numbers
            .keys()
            .zip(numbers.keys().skip(1))
            .all(|(a, b)| *b == a + 1);
        if starts
            && gapless
            && order.len() > 1
            && lengths_fit(pieces, &order)
            && !is_volume(&pieces[order[1]])
        {
            let name = &pieces[order[0]].name[..stem.len().min(pieces[order[0]].name.len())];
            sets.push(set(pieces, order.clone(), Some(name.to_owned()), Proof::Numbers));
        } else {
            unnamed.extend(order);
        }
    }
    unnamed.sort_unstable();
    if let Some(found) = by_content(pieces, &unnamed) {
        sets.push(found);
    }
    sets.sort_by_key(|s| s.pieces.first().copied());
    sets
}

/// The stem and the number of `x.001`; names of other volumes are none.
fn numbered(name: &str) -> Option<(String, u64)> {
    let extension = name.rsplit_once('.')?.1;
    let digits = (2..=5).contains(&extension.len()) && extension.bytes().all(|b| b.is_ascii_digit());
    let (stem, number) = volume_name(name);
    if digits { Some((stem, number?)) } else { None }
}

/// RAR volumes have headers of their own, so a numbered one is no piece.
fn is_volume(piece: &Piece<'_>) -> bool {
    matches!(
        sniff::detect(piece.head),
        Some(sniff::Kind::Rar4 | sniff::Kind::Rar5)
    )
}

/// All have one length but the last, which is not longer.
fn lengths_fit(pieces: &[Piece<'_>], order: &[usize]) -> bool {
    let len = pieces[order[0]].len;
    let (last, rest) = match order.split_last() {
        Some(split) => split,
        None => return false,
    };
    len > 0 && rest.iter().all(|i| pieces[*i].len == len) && pieces[*last].len <= len && pieces[*last].len > 0
}

fn set(pieces: &[Piece<'_>], order: Vec<usize>, name: Option<String>, proof: Proof) -> Set {
    let len = order
        .iter()
        .fold(0u64, |sum, i| sum.saturating_add(pieces[*i].len));
    let promised = whole_len(pieces[order[0]].head).filter(|whole| *whole != len);
    Set {
        pieces: order,
        name,
        len,
        proof,
        promised,
    }
}

/// One split file among pieces without numbers: exactly one begins like a file and promises the length of all.
fn by_content(pieces: &[Piece<'_>], among: &[usize]) -> Option<Set> {
    let mut firsts = among
        .iter()
        .copied()
        .filter(|i| sniff::detect(pieces[*i].head).is_some() && !is_volume(&pieces[*i]));
    let first = firsts.next()?;
    let len = pieces[first].len;
    let rest: Vec<usize> = among
        .iter()
        .copied()
        .filter(|i| *i != first && pieces[*i].len <= len)
        .filter(|i| sniff::detect(pieces[*i].head).is_none())
        .collect();
    if firsts.next().is_some() || rest.is_empty() {
        return None;
    }
    let (mut order, shorter): (Vec<usize>, Vec<usize>) = rest.iter().partition(|i| pieces[**i].len == len);
    if shorter.len() > 1 {
        return None;
    }
    let middles = order.len();
    order.insert(0, first);
    order.extend(&shorter);
    let proof = if middles <= 1 {
        Proof::Lengths
    } else {
        Proof::Given
    };
    let found = set(pieces, order, None, proof);
    // Without names nothing else says that the pieces belong together.
    (found.promised.is_none() && whole_len(pieces[first].head).is_some()).then_some(found)
}

/// The length of the whole file by its own first headers, where the format has it there.
pub fn whole_len(head: &[u8]) -> Option<u64> {
    match sniff::detect(head)? {
        sniff::Kind::SevenZ => sevenz::promised_len(head),
        sniff::Kind::Avi | sniff::Kind::Wav => {
            let len = u32::from_le_bytes(head.get(4..8)?.try_into().ok()?);
            // An AVI of more than a gigabyte has several RIFF chunks (OpenDML).
            (len < 1 << 30).then_some(u64::from(len) + 8)
        }
        sniff::Kind::Matroska => matroska_len(head),
        sniff::Kind::Image => {
            // The volume space size of ISO 9660's primary descriptor, in sectors.
            let sectors = head.get(32768 + 80..32768 + 84)?;
            Some(u64::from(u32::from_le_bytes(sectors.try_into().ok()?)) * 2048)
        }
        _ => None,
    }
}

/// The EBML header and a segment of known size behind it are a whole Matroska file.
fn matroska_len(head: &[u8]) -> Option<u64> {
    let vint = |at: usize| -> Option<(u64, usize)> {
        let first = *head.get(at)?;
        let len = first.leading_zeros() as usize + 1;
        if len > 8 {
            return None;
        }
        let bytes = head.get(at..at + len)?;
        let mask = (1u64 << (7 * len)) - 1;
        let value = bytes.iter().fold(0u64, |v, b| v << 8 | u64::from(*b)) & mask;
        (value != mask).then_some((value, len))
    };
    let (header, header_len) = vint(4)?;
    let segment = usize::try_from(header).ok()?.checked_add(4 + header_len)?;
    if head.get(segment..segment.checked_add(4)?)? != b"\x18\x53\x80\x67" {
        return None;
    }
    let (len, len_len) = vint(segment + 4)?;
    len.checked_add(segment as u64 + 4 + len_len as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece<'a>(name: &'a str, len: u64, head: &'a [u8]) -> Piece<'a> {
        Piece { name, len, head }
    }

    /// An EBML header without children and a segment so long that the file has `len` bytes.
    fn matroska(len: u64) -> Vec<u8> {
        let mut head = b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\x01".to_vec();
        head.extend_from_slice(&(len - 17).to_be_bytes()[1..]);
        head
    }

    #[test]
    fn numbers_join_without_gaps_only() {
        let mkv = matroska(25);
        let pieces = [
            piece("A.mkv.003", 5, b""),
            piece("A.mkv.001", 10, &mkv),
            piece("A.mkv.002", 10, b""),
            piece("B.002", 10, b""),
            piece("B.003", 10, b""),
        ];
        let sets = join(&pieces);
        assert_eq!(sets.len(), 1);
        assert_eq!(sets[0].pieces, [1, 2, 0]);
        assert_eq!(sets[0].name.as_deref(), Some("A.mkv"));
        assert_eq!(
            (sets[0].len, sets[0].promised, sets[0].proof),
            (25, None, Proof::Numbers)
        );
        let short = join(&[pieces[1].clone(), pieces[2].clone()]);
        assert_eq!(short[0].promised, Some(25));
    }

    #[test]
    fn nameless_pieces_join_where_the_whole_length_agrees() {
        let mkv = matroska(25);
        let pieces = [
            piece("x", 5, b"zzzz"),
            piece("y", 10, b"yyyy"),
            piece("q", 10, &mkv),
            piece("par", 10, b"PAR2\0PKT"),
        ];
        assert!(join(&pieces).is_empty(), "two begin like files");
        let sets = join(&pieces[..3]);
        assert_eq!(sets[0].pieces, [2, 1, 0]);
        assert_eq!(sets[0].proof, Proof::Lengths);
        let other = matroska(26);
        let wrong = [pieces[0].clone(), pieces[1].clone(), piece("q", 10, &other)];
        assert!(join(&wrong).is_empty());
    }

    #[test]
    fn rar_volumes_with_numbers_are_no_pieces() {
        let rar = sniff::RAR5;
        assert!(join(&[piece("a.001", 10, rar), piece("a.002", 10, rar)]).is_empty());
    }
}
