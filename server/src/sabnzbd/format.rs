//! Numbers as SABnzbd writes them. Clients parse these texts, so their forms are part of the contract.

/// Mebibytes with two digits, such as `2.86`.
pub(super) fn mb(bytes: u64) -> String {
    format!("{:.2}", bytes as f64 / f64::from(1 << 20))
}

/// Gibibytes with two digits.
pub(super) fn gb(bytes: u64) -> String {
    format!("{:.2}", bytes as f64 / f64::from(1 << 30))
}

/// `2.9 M`, `1.2 G`, `12 K`, `0`: no letter below a kibibyte, one digit from a mebibyte on.
pub(super) fn units(bytes: u64) -> String {
    let mut value = bytes as f64;
    let letters = ["", "K", "M", "G", "T", "P"];
    let mut at = 0;
    while value >= 1024.0 && at + 1 < letters.len() {
        value /= 1024.0;
        at += 1;
    }
    match at {
        0 => format!("{bytes}"),
        1 => format!("{value:.0} K"),
        _ => format!("{value:.1} {}", letters[at]),
    }
}

/// The same with a `B`: `2.9 MB`, `0 B`.
pub(super) fn size(bytes: u64) -> String {
    let text = units(bytes);
    match text.contains(' ') {
        true => format!("{text}B"),
        false => format!("{text} B"),
    }
}

/// `H:MM:SS`, from a day on `D:HH:MM:SS`.
pub(super) fn time_left(seconds: u64) -> String {
    let (days, hours, minutes, seconds) = (
        seconds / 86_400,
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60,
    );
    match days {
        0 => format!("{hours}:{minutes:02}:{seconds:02}"),
        _ => format!("{days}:{hours:02}:{minutes:02}:{seconds:02}"),
    }
}

/// A rate such as `400K`, `1.5 M` or `1048576`, in bytes a second; `None` for what is none.
pub(super) fn rate(text: &str) -> Option<u64> {
    let text = text.trim();
    let letter = text.chars().last().filter(char::is_ascii_alphabetic);
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic()).trim();
    let factor = match letter.map(|c| c.to_ascii_uppercase()) {
        None => 1.0,
        Some('K') => 1024.0,
        Some('M') => 1024.0 * 1024.0,
        Some('G') => 1024.0 * 1024.0 * 1024.0,
        Some(_) => return None,
    };
    let value: f64 = number.parse().ok()?;
    let bytes = value * factor;
    (bytes.is_finite() && (0.0..1e15).contains(&bytes)).then_some(bytes as u64)
}

/// How long ago something was, as SABnzbd says it: days, or hours, or minutes. Times are in ms since 1970.
pub(super) fn age(then: Option<i64>, now: i64) -> String {
    let Some(then) = then else { return "-".to_owned() };
    match now.saturating_sub(then).max(0) / 60_000 {
        minutes @ 0..60 => format!("{minutes}m"),
        minutes @ 60..1440 => format!("{}h", minutes / 60),
        minutes => format!("{}d", minutes / 1440),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_a_real_one_wrote_them() {
        // 3000000 bytes, as SABnzbd 5.0.0RC3 showed them.
        assert_eq!(
            (mb(3_000_000), size(3_000_000), units(3_145_728)),
            ("2.86".into(), "2.9 MB".into(), "3.0 M".into())
        );
        assert_eq!(
            (size(0), units(0), size(999), size(2048)),
            ("0 B".into(), "0".into(), "999 B".into(), "2 KB".into())
        );
        assert_eq!(units(u64::MAX), "16384.0 P");
        assert_eq!(gb(270_549_188_608), "251.97");
    }

    #[test]
    fn time_left_is_what_a_timespan_reads() {
        for (seconds, text) in [
            (0, "0:00:00"),
            (61, "0:01:01"),
            (86_399, "23:59:59"),
            (86_400, "1:00:00:00"),
            (90_061, "1:01:01:01"),
        ] {
            assert_eq!(time_left(seconds), text);
        }
    }

    #[test]
    fn an_age_has_one_unit() {
        let minute = 60_000;
        for (ago, text) in [
            (0, "0m"),
            (59 * minute, "59m"),
            (60 * minute, "1h"),
            (1439 * minute, "23h"),
            (1440 * minute, "1d"),
            (-5, "0m"),
        ] {
            assert_eq!(age(Some(1_000_000_000_000 - ago), 1_000_000_000_000), text);
        }
        assert_eq!(age(None, 5), "-");
    }

    #[test]
    fn rates_have_letters() {
        for (text, bytes) in [
            ("400K", Some(409_600)),
            ("1.5 m", Some(1_572_864)),
            ("0", Some(0)),
            ("1G", Some(1 << 30)),
            ("x", None),
            ("5X", None),
            ("-1", None),
            ("NaN", None),
            ("1e300", None),
        ] {
            assert_eq!(rate(text), bytes, "{text}");
        }
    }
}
