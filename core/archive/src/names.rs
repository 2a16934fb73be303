//! Names of members (encodings) and of volumes (tie breaks only).

/// Code page 437's upper half, in which old ZIP and RAR names are written where nothing else is said.
const CP437: &str = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}";

/// A name of unknown encoding: UTF-8 where it is valid, code page 866 where its words are Russian, else code page 437.
pub(crate) fn decode_oem(bytes: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return text.to_owned();
    }
    if is_russian(bytes) {
        return encoding_rs::IBM866
            .decode_without_bom_handling(bytes)
            .0
            .into_owned();
    }
    bytes
        .iter()
        .map(|byte| match byte.checked_sub(0x80) {
            None => char::from(*byte),
            Some(upper) => CP437.chars().nth(usize::from(upper)).unwrap_or('\u{fffd}'),
        })
        .collect()
}

/// Whether each word with letters that are not ASCII has Cyrillic letters of code page 866 alone. In the languages that
/// code page 437 was for such letters stand among ASCII ones.
fn is_russian(bytes: &[u8]) -> bool {
    let cyrillic = |b: &u8| matches!(b, 0x80..=0xaf | 0xe0..=0xf1);
    let mut words = bytes
        .split(|b| b.is_ascii() && !b.is_ascii_alphabetic())
        .filter(|word| !word.is_ascii())
        .peekable();
    words.peek().is_some()
        && words.all(|word| word.iter().all(cyrillic))
        && bytes.iter().filter(|b| cyrillic(b)).count() > 1
}

/// UTF-16, lone surrogates replaced.
pub(crate) fn decode_utf16(units: impl IntoIterator<Item = u16>) -> String {
    char::decode_utf16(units)
        .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

/// A DOS date and time as seconds since 1970, taken as UTC; `None` for fields out of range.
pub(crate) fn dos_time(value: u32) -> Option<i64> {
    let (second, minute, hour) = ((value & 31) * 2, value >> 5 & 63, value >> 11 & 31);
    let (day, month, year) = (value >> 16 & 31, value >> 21 & 15, 1980 + (value >> 25));
    civil(year as i64, month, day, hour, minute, second)
}

/// A civil date and time as seconds since 1970.
pub(crate) fn civil(year: i64, month: u32, day: u32, hour: u32, minute: u32, second: u32) -> Option<i64> {
    let in_range = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 61
        && (1600..=9999).contains(&year);
    if !in_range {
        return None;
    }
    // Days from civil, with the year starting in March.
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let year_of_era = y.rem_euclid(400);
    let month_from_march = i64::from((month + 9) % 12);
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    Some(days * 86_400 + i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second))
}

/// A Windows file time as seconds since 1970.
pub(crate) fn file_time(value: u64) -> Option<i64> {
    let seconds = i64::try_from(value / 10_000_000).ok()? - 11_644_473_600;
    (-11_644_473_600..253_402_300_800)
        .contains(&seconds)
        .then_some(seconds)
}

/// What a volume's name says about its place: the name without the number, and the number.
///
/// `x.part03.rar` -> 3, `x.rar` -> 0, `x.r00` -> 1 (`x.s00` -> 101), `x.7z.002` and `x.002` -> 2, `x.z01` -> 1.
pub fn volume_name(name: &str) -> (String, Option<u64>) {
    let lower = name.to_lowercase();
    let Some((stem, ext)) = lower.rsplit_once('.') else {
        return (lower, None);
    };
    let digits = |text: &str| -> Option<u64> {
        (!text.is_empty() && text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit()))
            .then(|| text.parse().ok())
            .flatten()
    };
    if let Some(number) = digits(ext) {
        return (stem.to_owned(), Some(number));
    }
    let inner = stem.rsplit_once('.');
    if let Some((before, number)) =
        inner.and_then(|(before, part)| Some((before, digits(part.strip_prefix("part")?)?)))
    {
        return (before.to_owned(), Some(number));
    }
    if ext == "rar" || ext == "exe" {
        return (stem.to_owned(), Some(0));
    }
    let mut chars = ext.chars();
    if let (Some(letter @ 'r'..='z'), Some(number)) = (chars.next(), digits(chars.as_str())) {
        let hundreds = if letter == 'z' {
            0
        } else {
            letter as u64 - 'r' as u64
        };
        return (
            stem.to_owned(),
            Some(hundreds * 100 + number + u64::from(letter != 'z')),
        );
    }
    (lower, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings() {
        assert_eq!(decode_oem("тест".as_bytes()), "тест");
        assert_eq!(decode_oem(b"caf\x82"), "café");
        assert_eq!(decode_oem(&[0x80, 0xff]), "Ç\u{a0}");
        assert_eq!(decode_oem(b"\xe2\xa5\xe1\xe2.txt"), "тест.txt");
        assert_eq!(decode_oem(b"\x94l.txt"), "öl.txt");
        assert_eq!(CP437.chars().count(), 128);
    }

    #[test]
    fn times() {
        assert_eq!(civil(1970, 1, 1, 0, 0, 0), Some(0));
        assert_eq!(civil(2024, 2, 29, 12, 0, 1), Some(1_709_208_001));
        assert_eq!(
            dos_time((44 << 25) | (2 << 21) | (29 << 16) | (12 << 11)),
            Some(1_709_208_000)
        );
        assert_eq!(dos_time(0), None);
        assert_eq!(file_time(116_444_736_000_000_000), Some(0));
    }

    #[test]
    fn volume_names() {
        let number = |name| volume_name(name).1;
        assert_eq!(volume_name("A.part03.rar"), ("a".into(), Some(3)));
        assert_eq!(number("a.rar"), Some(0));
        assert_eq!(number("a.r00"), Some(1));
        assert_eq!(number("a.s00"), Some(101));
        assert_eq!(volume_name("a.7z.002"), ("a.7z".into(), Some(2)));
        assert_eq!(number("a.z01"), Some(1));
        assert_eq!(number("0f3a"), None);
        assert_eq!(number("a.mkv"), None);
    }
}
