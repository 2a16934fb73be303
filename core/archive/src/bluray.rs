//! The main playlist of a Blu-ray: `BDMV/PLAYLIST/*.mpls`, the longest of them, and its clips in `BDMV/STREAM`.

use crate::{Error, ErrorKind, Extent, Map, Member, Plan, Result, bytes_in::BytesIn, plan};
use std::{cmp::Reverse, collections::BTreeMap};

/// Longest playlist file in bytes.
pub const MAX_PLAYLIST: u64 = 1 << 20;
/// Most items of a playlist: the format's own bound.
const MAX_ITEMS: u16 = 999;

/// A part of a clip that is played.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlayItem {
    /// The clip's number as text: `00800` for `BDMV/STREAM/00800.m2ts`.
    pub clip: String,
    /// Start in ticks of 45 kHz.
    pub start: u32,
    /// End in ticks of 45 kHz.
    pub end: u32,
}

/// A playlist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Playlist {
    /// Its items in order.
    pub items: Vec<PlayItem>,
}

impl Playlist {
    /// Duration in ticks of 45 kHz, in which an item that repeats counts once: menus loop for hours.
    pub fn duration(&self) -> u64 {
        let mut distinct: Vec<(&str, u32, u32)> = self
            .items
            .iter()
            .map(|i| (i.clip.as_str(), i.start, i.end))
            .collect();
        distinct.sort_unstable();
        distinct.dedup();
        distinct
            .iter()
            .map(|(_, start, end)| u64::from(end.saturating_sub(*start)))
            .sum()
    }

    /// The clips in the order in which they are played, one that is played again at once left out.
    pub fn clips(&self) -> Vec<&str> {
        let mut clips: Vec<&str> = self.items.iter().map(|i| i.clip.as_str()).collect();
        clips.dedup();
        clips
    }
}

/// Parses a `.mpls` file.
///
/// # Errors
/// [`ErrorKind::Format`] where it is none, [`ErrorKind::Invalid`] and [`ErrorKind::Limit`].
pub fn parse_playlist(bytes: &[u8]) -> Result<Playlist> {
    if !bytes.starts_with(b"MPLS") {
        return Err(Error::new(ErrorKind::Format, "there is no MPLS signature"));
    }
    let u32_be = |fields: &mut BytesIn<'_>| fields.array().map(u32::from_be_bytes);
    let u16_be = |fields: &mut BytesIn<'_>| fields.array().map(u16::from_be_bytes);
    let mut fields = BytesIn::new(bytes, "a Blu-ray playlist");
    fields.skip(8)?;
    let start = u32_be(&mut fields)?;
    let mut fields = BytesIn::new(bytes, "a Blu-ray playlist");
    fields.take_u64(start.into())?;
    fields.skip(6)?;
    let count = u16_be(&mut fields)?;
    fields.skip(2)?;
    if count > MAX_ITEMS {
        return Err(Error::limit(format!("a Blu-ray playlist of {count} items")));
    }
    let mut items = Vec::new();
    for _ in 0..count {
        let len = u16_be(&mut fields)?;
        let mut item = BytesIn::new(fields.take(len.into())?, "a Blu-ray play item");
        let clip = item.take(5)?;
        if !clip.iter().all(u8::is_ascii_digit) {
            return Err(Error::invalid("a Blu-ray play item whose clip is no number"));
        }
        let clip = String::from_utf8_lossy(clip).into_owned();
        item.skip(7)?;
        items.push(PlayItem {
            clip,
            start: u32_be(&mut item)?,
            end: u32_be(&mut item)?,
        });
    }
    Ok(Playlist { items })
}

/// The main playlist of a disc.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Main {
    /// Index of the playlist among the members.
    pub playlist: usize,
    /// Indexes of the clips among the members, in order.
    pub clips: Vec<usize>,
    /// Duration in milliseconds.
    pub duration_ms: u64,
}

/// The members that are playlists of a Blu-ray, and small enough to be read for [`main`].
pub fn playlists(members: &[Member]) -> Vec<usize> {
    let is_playlist =
        |m: &Member| in_folder(&m.path, "BDMV/PLAYLIST/", ".mpls").is_some() && m.size <= MAX_PLAYLIST;
    (0..members.len()).filter(|i| is_playlist(&members[*i])).collect()
}

/// What stands between folder and extension of a path, whatever its case and whatever is before the folder.
fn in_folder<'a>(path: &'a str, folder: &str, extension: &str) -> Option<&'a str> {
    let upper = path.to_ascii_uppercase();
    let start = upper.rfind(folder)?;
    if start > 0 && !upper[..start].ends_with('/') {
        return None;
    }
    let name = start + folder.len();
    let end = upper.strip_suffix(&extension.to_ascii_uppercase())?.len();
    path.get(name..end).filter(|n| !n.contains('/'))
}

/// Chooses the main playlist: the longest; of equally long ones that with more bytes of clips, then the first by name.
/// One whose clips are not all there is none. `read` are the playlists' indexes and contents; damaged ones are left out.
pub fn main(members: &[Member], read: &[(usize, Vec<u8>)]) -> Option<Main> {
    let clips: BTreeMap<&str, usize> = members
        .iter()
        .enumerate()
        .filter_map(|(i, m)| Some((in_folder(&m.path, "BDMV/STREAM/", ".m2ts")?, i)))
        .collect();
    let mut best = None;
    for (index, bytes) in read {
        let (Ok(playlist), Some(member)) = (parse_playlist(bytes), members.get(*index)) else {
            continue;
        };
        let found: Option<Vec<usize>> = playlist.clips().iter().map(|c| clips.get(c).copied()).collect();
        let Some(found) = found.filter(|f| !f.is_empty()) else {
            continue;
        };
        let size = found
            .iter()
            .fold(0u64, |sum, i| sum.saturating_add(members[*i].size));
        let duration = playlist.duration();
        let rank = (duration, size, Reverse(member.path.as_str()));
        if best.as_ref().is_none_or(|(before, _)| rank > *before) {
            let main = Main {
                playlist: *index,
                clips: found,
                duration_ms: duration / 45,
            };
            best = Some((rank, main));
        }
    }
    best.map(|(_, main)| main)
}

/// One map over the clips, one behind the other.
///
/// # Errors
/// What [`plan`] says of a clip; [`ErrorKind::Unsupported`] for a clip that is encrypted or packed.
pub fn stream(members: &[Member], main: &Main) -> Result<Map> {
    let mut extents: Vec<Extent> = Vec::new();
    let mut len = 0u64;
    for clip in main.clips.iter().filter_map(|i| members.get(*i)) {
        match plan(clip)? {
            Plan::Map(map) if map.cipher.is_none() && map.offset == 0 => {
                len = len
                    .checked_add(map.len)
                    .ok_or_else(|| Error::limit("the clips' lengths overflow"))?;
                extents.extend(map.extents);
            }
            _ => {
                return Err(Error::unsupported(format!(
                    "`{}` is no plain clip of an image",
                    clip.path
                )));
            }
        }
    }
    Ok(Map {
        extents,
        cipher: None,
        offset: 0,
        len,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemberKind;

    fn mpls(items: &[(&str, u32, u32)]) -> Vec<u8> {
        let mut bytes = b"MPLS0200".to_vec();
        bytes.extend_from_slice(&40u32.to_be_bytes());
        bytes.resize(40, 0);
        bytes.extend_from_slice(&[0; 6]);
        bytes.extend_from_slice(&(items.len() as u16).to_be_bytes());
        bytes.extend_from_slice(&[0; 2]);
        for (clip, start, end) in items {
            bytes.extend_from_slice(&32u16.to_be_bytes());
            let at = bytes.len();
            bytes.extend_from_slice(clip.as_bytes());
            bytes.extend_from_slice(b"M2TS\0\0\0");
            bytes.extend_from_slice(&start.to_be_bytes());
            bytes.extend_from_slice(&end.to_be_bytes());
            bytes.resize(at + 32, 0);
        }
        bytes
    }

    fn member(path: &str, size: u64) -> Member {
        let mut member = Member::new(path.into(), MemberKind::File, size);
        member.extents.push(Extent::Data {
            volume: 0,
            offset: size,
            len: size,
        });
        member
    }

    #[test]
    fn the_longest_playlist_wins_and_loops_do_not() {
        let members = [
            member("Disc/BDMV/PLAYLIST/00000.mpls", 100),
            member("Disc/BDMV/PLAYLIST/00800.mpls", 100),
            member("Disc/BDMV/PLAYLIST/00801.MPLS", 100),
            member("Disc/BDMV/STREAM/00001.m2ts", 1000),
            member("Disc/BDMV/STREAM/00002.m2ts", 5000),
            member("Disc/BDMV/STREAM/00003.m2ts", 500),
        ];
        assert_eq!(playlists(&members), [0, 1, 2]);
        let menu: Vec<_> = std::iter::repeat_n(("00003", 0, 45_000 * 60), 900).collect();
        let film = [("00001", 0, 45_000 * 600), ("00002", 45_000, 45_000 * 3601)];
        let gone = [("00009", 0, u32::MAX)];
        let read = [(0, mpls(&menu)), (1, mpls(&film)), (2, mpls(&gone))];
        let main = main(&members, &read).expect("a main playlist");
        assert_eq!((main.playlist, &main.clips[..]), (1, &[3, 4][..]));
        assert_eq!(main.duration_ms, 4_200_000);
        let map = stream(&members, &main).expect("maps");
        assert_eq!((map.len, map.extents.len()), (6000, 2));
    }

    #[test]
    fn hostile_playlists_are_errors() {
        assert!(parse_playlist(b"MPLS0200\xff\xff\xff\xff").is_err());
        let whole = mpls(&[("00001", 0, 1)]);
        for len in 0..whole.len() - 1 {
            assert!(parse_playlist(&whole[..len]).is_err(), "{len}");
        }
    }
}
