//! NZBs as they are sent: packed with gzip or bzip2, several in a ZIP, with a password in their name.

use super::request::shown;
use altmount_engine::split_password;
use altmount_importer_nzb::{Config, Nzb, parse_nzb};
use bytes::Bytes;
use std::io::Read;

/// Entries of a ZIP that are looked at.
const MAX_ENTRIES: usize = 1000;
/// Longest name of a job, in bytes.
const MAX_NAME: usize = 240;

/// An NZB that parses.
#[derive(Debug)]
pub(super) struct Received {
    /// The file's name, without folders.
    pub(super) file_name: String,
    /// What the job is called.
    pub(super) name: String,
    /// The password in the name.
    pub(super) password: Option<String>,
    /// The NZB, not packed.
    pub(super) bytes: Bytes,
    /// How many bytes its articles have, as they are posted.
    pub(super) size: u64,
    /// The category that it names.
    pub(super) category: Option<String>,
    /// When its files were posted on average, in ms since 1970.
    pub(super) posted_ms: Option<i64>,
}

/// What a job of a file of this name is called, and the password in it. `nzbname` is what the client wants instead.
pub(super) fn job_name(file_name: &str, nzbname: Option<&str>) -> (String, Option<String>) {
    let wanted = nzbname.unwrap_or(file_name);
    let mut stem = wanted;
    for ending in [".gz", ".bz2", ".zip", ".nzb"] {
        let at = stem.len().saturating_sub(ending.len());
        if at > 0 && stem.get(at..).is_some_and(|end| end.eq_ignore_ascii_case(ending)) {
            stem = &stem[..at];
        }
    }
    let (name, password) = split_password(stem);
    // A path is no name: what is left is its last part.
    let last = name
        .rsplit(['/', '\\'])
        .find(|part| !part.trim_matches(['.', ' ']).is_empty());
    let last: String = last
        .unwrap_or("unnamed")
        .chars()
        .filter(|c| !c.is_control())
        .collect();
    let mut end = last.len().min(MAX_NAME);
    while !last.is_char_boundary(end) {
        end -= 1;
    }
    (last[..end].to_owned(), password.map(str::to_owned))
}

/// The NZBs in a file, at most `limit` bytes of them together. Takes CPU time; to be called on a blocking thread.
///
/// # Errors
/// Why there is none in it, for the client.
pub(super) fn unpack(
    file_name: &str,
    bytes: Bytes,
    nzbname: Option<&str>,
    limit: u64,
) -> Result<Vec<Received>, String> {
    let what = shown(file_name);
    if bytes.is_empty() {
        return Err(format!("'{what}' is empty"));
    }
    let inflated = |reader: &mut dyn Read, room: u64| -> Result<Bytes, String> {
        let mut out = Vec::new();
        let read = reader.take(room.saturating_add(1)).read_to_end(&mut out);
        read.map_err(|error| format!("'{what}' cannot be unpacked: {error}"))?;
        match out.len() as u64 > room {
            true => Err(format!(
                "'{what}' has over {limit} bytes unpacked, the largest file that may be queued"
            )),
            false => Ok(out.into()),
        }
    };
    if bytes.starts_with(b"PK") {
        return zipped(&what, bytes, nzbname, limit, inflated);
    }
    let plain = if bytes.starts_with(b"\x1f\x8b") {
        inflated(&mut flate2::read::MultiGzDecoder::new(bytes.as_ref()), limit)?
    } else if bytes.starts_with(b"BZh") {
        inflated(&mut bzip2::read::MultiBzDecoder::new(bytes.as_ref()), limit)?
    } else {
        bytes
    };
    Ok(vec![parsed(file_name, plain, nzbname)?])
}

fn zipped(
    what: &str,
    bytes: Bytes,
    nzbname: Option<&str>,
    limit: u64,
    inflated: impl Fn(&mut dyn Read, u64) -> Result<Bytes, String>,
) -> Result<Vec<Received>, String> {
    let broken = |error: zip::result::ZipError| format!("'{what}' cannot be unpacked: {error}");
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(bytes)).map_err(broken)?;
    if archive.len() > MAX_ENTRIES {
        return Err(format!("'{what}' has more than {MAX_ENTRIES} files"));
    }
    let mut found = Vec::new();
    let mut room = limit;
    for at in 0..archive.len() {
        let mut entry = archive.by_index(at).map_err(broken)?;
        let name = entry.name().map_err(broken)?.into_owned();
        if entry.is_dir() || !name.to_ascii_lowercase().ends_with(".nzb") {
            continue;
        }
        let plain = inflated(&mut entry, room)?;
        room -= plain.len() as u64;
        let last = name.rsplit(['/', '\\']).next().unwrap_or(&name).to_owned();
        found.push((last, plain));
    }
    // A name for all of them would be one for none.
    let nzbname = nzbname.filter(|_| found.len() == 1);
    let found: Vec<Received> = found
        .into_iter()
        .map(|(name, plain)| parsed(&name, plain, nzbname))
        .collect::<Result<_, _>>()?;
    match found.is_empty() {
        true => Err(format!("there is no NZB in '{what}'")),
        false => Ok(found),
    }
}

fn parsed(file_name: &str, bytes: Bytes, nzbname: Option<&str>) -> Result<Received, String> {
    let nzb = parse(&bytes).map_err(|why| format!("'{}' is no NZB: {why}", shown(file_name)))?;
    let (name, password) = job_name(file_name, nzbname);
    let category = nzb.meta.iter().find(|(kind, _)| kind == "category");
    Ok(Received {
        file_name: format!("{name}.nzb"),
        category: category.map(|(_, value)| value.clone()),
        size: posted_bytes(&nzb),
        posted_ms: posted_ms(&nzb),
        name,
        password,
        bytes,
    })
}

/// An NZB's content.
///
/// # Errors
/// Why it is none.
pub(super) fn parse(bytes: &[u8]) -> Result<Nzb, String> {
    let nzb = parse_nzb(bytes, &Config::default()).map_err(|error| error.message)?;
    match nzb.files.is_empty() && nzb.empty.is_empty() {
        true => Err("it lists no file".to_owned()),
        false => Ok(nzb),
    }
}

/// When the files of an NZB were posted on average, in ms since 1970; of those that do not say it, nothing.
pub(super) fn posted_ms(nzb: &Nzb) -> Option<i64> {
    let (sum, count) = nzb
        .files
        .iter()
        .filter_map(|file| file.date)
        .fold((0i128, 0i128), |(sum, count), date| {
            (sum + i128::from(date), count + 1)
        });
    let mean = sum.checked_div(count)?;
    i64::try_from(mean).ok()?.checked_mul(1000)
}

/// How many bytes the articles of an NZB have, by what it says.
pub(super) fn posted_bytes(nzb: &Nzb) -> u64 {
    let files = nzb.files.iter().flat_map(|file| nzb.segments(file));
    files.map(|segment| u64::from(segment.encoded_bytes())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const NZB: &str = "<?xml version=\"1.0\"?><nzb xmlns=\"http://www.newzbin.com/DTD/2003/nzb\"><file subject=\"a\" poster=\"p\" date=\"1\">\
                       <groups><group>a.b</group></groups><segments><segment bytes=\"1000\" number=\"1\">x@y</segment>\
                       <segment bytes=\"500\" number=\"2\">z@y</segment></segments></file></nzb>";

    fn unpack(name: &str, bytes: Vec<u8>) -> Result<Vec<(String, Option<String>, u64)>, String> {
        let found = super::unpack(name, bytes.into(), None, 1 << 20)?;
        Ok(found.into_iter().map(|f| (f.name, f.password, f.size)).collect())
    }

    fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default();
        for (name, bytes) in entries {
            writer.start_file(*name, options).expect("begun");
            writer.write_all(bytes).expect("written");
        }
        writer.finish().expect("finished").into_inner()
    }

    #[test]
    fn the_name_is_the_files_without_its_ending_and_its_password() {
        for (file, name, password) in [
            (
                "Some.Show.S01E01.1080p-GRP.nzb",
                "Some.Show.S01E01.1080p-GRP",
                None,
            ),
            ("Some.Show.S01E01.1080p-GRP", "Some.Show.S01E01.1080p-GRP", None),
            ("A - B (2020) [x] ü.NZB.gz", "A - B (2020) [x] ü", None),
            ("Film{{s3cret}}.nzb", "Film", Some("s3cret")),
            ("Film / s3cret.nzb", "Film", Some("s3cret")),
            ("../../x.nzb", "x", None),
            ("..\\..\\x.nzb", "x", None),
            ("/etc/cron.d/x.nzb", "x", None),
            (".nzb", ".nzb", None),
            ("..", "unnamed", None),
        ] {
            let (got, pass) = job_name(file, None);
            assert!(!got.contains(['/', '\\']), "{got}");
            if file.starts_with("/etc") {
                // Read as `name/password`: either way it stays a name.
                continue;
            }
            assert_eq!((got.as_str(), pass.as_deref()), (name, password), "{file}");
        }
        assert_eq!(
            job_name("abc.nzb", Some("Wanted{{p}}.nzb")),
            ("Wanted".to_owned(), Some("p".to_owned()))
        );
        assert!(job_name(&"ä".repeat(1000), None).0.len() <= MAX_NAME);
    }

    #[test]
    fn the_age_is_the_mean_of_the_files_that_say_it() {
        let nzb = |dates: &[&str]| {
            let files: String = dates
                .iter()
                .enumerate()
                .map(|(at, date)| {
                    format!(
                        "<file subject=\"a\" {date}><segments><segment bytes=\"1\" number=\"1\">{at}@y</segment></segments></file>"
                    )
                })
                .collect();
            parse(format!("<nzb>{files}</nzb>").as_bytes()).expect("parses")
        };
        assert_eq!(
            posted_ms(&nzb(&["date=\"100\"", "date=\"300\"", ""])),
            Some(200_000)
        );
        assert_eq!(posted_ms(&nzb(&["", "date=\"x\""])), None);
    }

    #[test]
    fn every_packing_is_opened() {
        let plain = NZB.as_bytes().to_vec();
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&plain).expect("written");
        let mut bz = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bz.write_all(&plain).expect("written");
        for (name, bytes) in [
            ("A{{p}}.nzb", plain.clone()),
            ("A{{p}}.nzb.gz", gz.finish().expect("finished")),
            ("A{{p}}.nzb.bz2", bz.finish().expect("finished")),
            (
                "anything.zip",
                zip(&[("sub/A{{p}}.nzb", &plain), ("readme.txt", b"x")]),
            ),
        ] {
            assert_eq!(
                unpack(name, bytes).expect(name),
                [("A".to_owned(), Some("p".to_owned()), 1500)],
                "{name}"
            );
        }
        let two = unpack("z.zip", zip(&[("1.nzb", &plain), ("2.nzb", &plain)])).expect("opened");
        assert_eq!(two.len(), 2);
    }

    #[test]
    fn what_is_none_is_refused_and_bombs_are_not_blown_up() {
        let zeros = vec![0u8; 8 << 20];
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gz.write_all(&zeros).expect("written");
        let bomb = "<?xml version=\"1.0\"?><!DOCTYPE nzb [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\">\
                    <!ENTITY c \"&b;&b;&b;&b;&b;&b;&b;&b;\">]><nzb><file subject=\"&c;\"></file></nzb>";
        for (name, bytes, why) in [
            ("e.nzb", Vec::new(), "is empty"),
            ("g.nzb", b"garbage".to_vec(), "is no NZB"),
            (
                "h.nzb",
                b"<html><body>Not found</body></html>".to_vec(),
                "is no NZB",
            ),
            ("n.nzb", b"<nzb></nzb>".to_vec(), "is no NZB"),
            ("t.nzb", NZB.as_bytes()[..200].to_vec(), "is no NZB"),
            ("b.gz", gz.finish().expect("finished"), "over 1048576 bytes"),
            ("b.zip", zip(&[("0.nzb", &zeros)]), "over 1048576 bytes"),
            ("x.zip", b"PK\x03\x04 and nothing".to_vec(), "cannot be unpacked"),
            ("r.zip", zip(&[("readme.txt", b"x")]), "there is no NZB"),
            ("f.gz", b"\x1f\x8bnonsense".to_vec(), "cannot be unpacked"),
        ] {
            let error = unpack(name, bytes).expect_err(name);
            assert!(error.contains(why), "{name}: {error}");
        }
        // Entities of a document's own are not expanded, whatever is made of the rest.
        if let Ok(found) = unpack("bomb.nzb", bomb.as_bytes().to_vec()) {
            assert!(found.len() == 1 && found[0].2 == 0);
        }
    }
}
