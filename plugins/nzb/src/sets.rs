//! What the names in the subjects say of which files are volumes of one set. Names may lie, and many say nothing: they decide what
//! is asked for when, and nothing else.

use crate::nzb::{Nzb, NzbFile};
use crate::{listing, names, subject};
use altmount_archive::volume_name;
use std::collections::BTreeMap;

/// A file as it looks before anything of it was read.
pub(crate) struct Likely<'a> {
    pub(crate) file: &'a NzbFile,
    /// The name in its subject; empty where there is none.
    pub(crate) name: String,
    /// Bytes of its articles on the wire, by the NZB.
    bytes: u64,
    /// The set that it is a volume of, and its number there.
    volume: Option<(String, u64)>,
}

/// Volumes of one name.
struct Set<'a> {
    bytes: u64,
    volumes: usize,
    /// The highest number, and whose it is.
    last: u64,
    file: &'a NzbFile,
}

/// So many archives of one volume are not what they look like.
const FEW: usize = 3;

/// All files of an NZB, in its order.
pub(crate) fn likely(nzb: &Nzb) -> Vec<Likely<'_>> {
    let mut all = Vec::with_capacity(nzb.files.len());
    for file in &nzb.files {
        let name = subject::name(&file.subject).map_or_else(String::new, |(name, _)| name);
        let (stem, number) = volume_name(&name);
        all.push(Likely {
            file,
            bytes: nzb.segments(file).iter().map(|s| u64::from(s.bytes)).sum(),
            volume: number.map(|number| (stem, number)),
            name,
        });
    }
    all
}

/// The order in which the first articles are asked for: those that are looked at once (later volumes, recovery data) before those that
/// are read again in the end. A host keeps the articles of a moment ago, and a set of a hundred volumes is more than that.
pub(crate) fn order(files: &[Likely<'_>]) -> Vec<usize> {
    let mut firsts: BTreeMap<&str, u64> = BTreeMap::new();
    for (stem, number) in files.iter().filter_map(|f| f.volume.as_ref()) {
        let first = firsts.entry(stem).or_insert(*number);
        *first = (*first).min(*number);
    }
    let again = |file: &Likely<'_>| match &file.volume {
        Some((stem, number)) => firsts.get(stem.as_str()) == Some(number),
        None => {
            let name = file.name.to_ascii_lowercase();
            !(name.ends_with(".par2") && name.contains(".vol"))
        }
    };
    let (last, first): (Vec<usize>, Vec<usize>) = (0..files.len()).partition(|i| again(&files[*i]));
    first.into_iter().chain(last).collect()
}

/// The files whose last articles are the ends of what people will be shown, by names and sizes: videos as they are, and the last
/// volumes of sets. At most `most` of them.
pub(crate) fn ends<'a>(files: &[&Likely<'a>], is_alone: bool, most: usize) -> Vec<&'a NzbFile> {
    let mut sets: BTreeMap<&str, Set<'_>> = BTreeMap::new();
    let (mut wholes, mut nameless) = (Vec::new(), Vec::new());
    for likely in files {
        let extension = names::extension(&likely.name).unwrap_or_default();
        if let Some((stem, number)) = &likely.volume {
            let set = sets.entry(stem).or_insert(Set {
                bytes: 0,
                volumes: 0,
                last: *number,
                file: likely.file,
            });
            set.bytes += likely.bytes;
            set.volumes += 1;
            if *number >= set.last {
                (set.last, set.file) = (*number, likely.file);
            }
        } else if is_alone || listing::is_video_extension(&extension) {
            wholes.push((likely.bytes, likely.file));
        } else {
            nameless.push((likely.bytes, likely.file));
        }
    }
    let (lone, sets): (Vec<Set<'_>>, Vec<Set<'_>>) = sets.into_values().partition(|set| set.volumes == 1);
    wholes.extend(sets.iter().map(|set| (set.bytes, set.file)));
    // Many archives of one volume are more likely one of many, whose names do not say so.
    let alone = if lone.len() < FEW {
        &mut wholes
    } else {
        &mut nameless
    };
    alone.extend(lone.iter().map(|set| (set.bytes, set.file)));
    wholes.extend(last_by_size(nameless));
    let largest = wholes.iter().map(|(bytes, _)| *bytes).max().unwrap_or(0);
    wholes.retain(|(bytes, _)| *bytes >= largest / 4);
    wholes.truncate(most);
    wholes.into_iter().map(|(_, file)| file).collect()
}

/// Volumes are of one size, but for the last.
fn last_by_size(mut files: Vec<(u64, &NzbFile)>) -> Option<(u64, &NzbFile)> {
    files.sort_by_key(|(bytes, _)| *bytes);
    let [(least, last), (next, _), .., (most, _)] = files[..] else {
        return None;
    };
    let near = |bytes: u64| bytes >= most / 100 * 97;
    let all = files.iter().map(|(bytes, _)| bytes).sum();
    (near(next) && !near(least)).then_some((all, last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    /// Files of these names, each of articles of 1000 bytes and a rest.
    fn nzb(files: &[(&str, usize)]) -> Nzb {
        let mut xml = String::from("<nzb>");
        for (name, bytes) in files {
            xml.push_str(&format!(
                "<file subject=\"&quot;{name}&quot; yEnc\" date=\"1\"><segments>"
            ));
            for at in 0..bytes.div_ceil(1000) {
                let size = 1000.min(bytes - at * 1000);
                xml.push_str(&format!(
                    "<segment bytes=\"{size}\" number=\"{}\">{at}.{name}@x</segment>",
                    at + 1
                ));
            }
            xml.push_str("</segments></file>");
        }
        xml.push_str("</nzb>");
        crate::parse_nzb(xml.as_bytes(), &Config::default()).expect("an NZB")
    }

    fn ordered(files: &[(&str, usize)]) -> Vec<String> {
        let nzb = nzb(files);
        let likely = likely(&nzb);
        let order = order(&likely);
        order.into_iter().map(|i| likely[i].name.clone()).collect()
    }

    fn ended(files: &[(&str, usize)]) -> Vec<String> {
        let nzb = nzb(files);
        let likely = likely(&nzb);
        let all: Vec<&Likely<'_>> = likely.iter().collect();
        let name = |file: &NzbFile| subject::name(&file.subject).expect("a name").0;
        ends(&all, files.len() == 1, 8).into_iter().map(name).collect()
    }

    #[test]
    fn what_is_read_again_is_asked_for_last() {
        assert_eq!(
            ordered(&[
                ("a.part1.rar", 9),
                ("a.part2.rar", 9),
                ("a.part3.rar", 9),
                ("a.nfo", 9)
            ]),
            ["a.part2.rar", "a.part3.rar", "a.nfo", "a.part1.rar"]
        );
        assert_eq!(
            ordered(&[
                ("a.rar", 9),
                ("a.r00", 9),
                ("a.r01", 9),
                ("a.vol0+1.par2", 9),
                ("a.par2", 9)
            ]),
            ["a.r00", "a.r01", "a.vol0+1.par2", "a.par2", "a.rar"]
        );
        // Two sets, and files that are none.
        assert_eq!(
            ordered(&[
                ("a.7z.001", 9),
                ("a.7z.002", 9),
                ("b.001", 9),
                ("b.002", 9),
                ("c.mkv", 9)
            ]),
            ["a.7z.002", "b.002", "a.7z.001", "b.001", "c.mkv"]
        );
    }

    #[test]
    fn ends_are_those_of_videos_and_of_sets() {
        assert_eq!(ended(&[("film", 5000)]), ["film"]);
        assert_eq!(
            ended(&[("a.mkv", 5000), ("b.mkv", 4000), ("c.mkv", 1000)]),
            ["a.mkv", "b.mkv"]
        );
        assert_eq!(
            ended(&[
                ("a.part1.rar", 5000),
                ("a.part2.rar", 5000),
                ("a.part3.rar", 50),
                ("s.mkv", 50)
            ]),
            ["a.part3.rar"]
        );
        assert_eq!(
            ended(&[("a.rar", 5000), ("a.r00", 5000), ("a.r01", 500)]),
            ["a.r01"]
        );
        assert_eq!(ended(&[("a.rar", 5000), ("b.rar", 5000)]), ["a.rar", "b.rar"]);
        assert_eq!(
            ended(&[("a1.rar", 5000), ("a2.rar", 5000), ("a3.rar", 500)]),
            ["a3.rar"]
        );
        // Nothing but sizes.
        assert_eq!(ended(&[("x", 5000), ("y", 800), ("z", 4990)]), ["y"]);
        assert_eq!(ended(&[("x", 5000), ("y", 800), ("z", 800)]), [""; 0]);
        assert_eq!(ended(&[("x", 5000), ("y", 5000), ("z", 5000)]), [""; 0]);
    }
}
