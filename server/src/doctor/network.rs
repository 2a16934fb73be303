//! What others say: news servers, *arrs, and the clocks of both.

use super::Findings;
use crate::{config::Settings, http::attempt};
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use std::time::Duration;

/// A clock that is off by more makes certificates and signed addresses fail now and then.
const CLOCK_OFF: i64 = 60;
/// A clock that is off by more makes them fail.
const CLOCK_WRONG: i64 = 3600;
/// No clock is right before this program was written: 2026-01-01.
const WRITTEN: i64 = 1_767_225_600;
/// For a question to an *arr.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connects to every news server, logs in, asks for an article and for the time; and asks the *arrs for the time.
pub async fn network(settings: &Settings, found: &mut Findings) {
    if settings.providers.is_empty() {
        found.warn(
            "provider",
            "no news server is configured",
            "NZB files need one: add it to 'providers'",
        );
    }
    let mut clocks = Vec::new();
    for provider in &settings.providers {
        if !provider.enabled {
            found.good("provider", format!("'{}' is not enabled", provider.name));
            continue;
        }
        let tried = attempt(provider.clone()).await;
        if !tried.ok {
            found.fail(
                "provider",
                format!("'{}': {}", provider.name, tried.message),
                "check host, port, tls, user name and password, and that nobody else uses up its connections",
            );
            continue;
        }
        let text = format!(
            "'{}': {} ({} ms)",
            provider.name, tried.message, tried.duration_ms
        );
        found.good("provider", text);
        if let Ok(date) = altmount_usenet::nntp::date(provider).await
            && let Some(time) = time_of_date(&date)
        {
            clocks.push((provider.name.clone(), off_by(time)));
        }
    }
    for instance in &settings.arr.instances {
        if let Some(time) = http_date(instance.url.as_str()).await {
            clocks.push((instance.name.clone(), off_by(time)));
        }
    }
    clock(&clocks, found);
}

/// How many seconds this machine's clock is ahead of a time.
fn off_by(time: Timestamp) -> i64 {
    Timestamp::now().duration_since(time).as_secs()
}

fn time_of_date(date: &str) -> Option<Timestamp> {
    let time = DateTime::strptime("%Y%m%d%H%M%S", date).ok()?;
    TimeZone::UTC.to_timestamp(time).ok()
}

/// The `Date` of an HTTP server's answer, whatever the answer is.
async fn http_date(url: &str) -> Option<Timestamp> {
    let client = reqwest::Client::builder().timeout(PATIENCE).build().ok()?;
    let answer = client.head(url).send().await.ok()?;
    let date = answer.headers().get(http::header::DATE)?.to_str().ok()?;
    Some(jiff::fmt::rfc2822::parse(date).ok()?.timestamp())
}

/// Judges this machine's clock by those of others: by how many seconds it is ahead of each.
fn clock(others: &[(String, i64)], found: &mut Findings) {
    const TODO: &str = "set it, and have it kept (systemd-timesyncd, chrony)";
    if Timestamp::now().as_second() < WRITTEN {
        return found.fail(
            "clock",
            "the clock is years behind: no certificate is valid yet",
            TODO,
        );
    }
    // One that is off itself says nothing; the one that is nearest is believed.
    let Some((name, off)) = others.iter().min_by_key(|(_, off)| off.unsigned_abs()) else {
        return found.good("clock", "there is nobody to compare the clock with");
    };
    let text = match off {
        0 => format!("the clock is that of '{name}'"),
        off if *off > 0 => format!("the clock is {off} s ahead of that of '{name}'"),
        off => format!("the clock is {} s behind that of '{name}'", -off),
    };
    match off.abs() {
        off if off > CLOCK_WRONG => found.fail("clock", text, TODO),
        off if off > CLOCK_OFF => found.warn("clock", text, TODO),
        _ => found.good("clock", text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn the_clock_is_judged_by_the_nearest_of_others() {
        let verdict = |others: &[(String, i64)]| {
            let mut found = Findings::default();
            clock(others, &mut found);
            (found.worst(), found.0[0].text.clone())
        };
        let at = |off| ("a".to_owned(), off);
        assert_eq!(verdict(&[]).0, Verdict::Ok);
        assert_eq!(verdict(&[at(0), at(99_999)]).0, Verdict::Ok);
        assert_eq!(
            verdict(&[at(-61)]),
            (Verdict::Warn, "the clock is 61 s behind that of 'a'".to_owned())
        );
        assert_eq!(
            verdict(&[at(7200), at(3601)]),
            (
                Verdict::Fail,
                "the clock is 3601 s ahead of that of 'a'".to_owned()
            )
        );
    }

    #[test]
    fn times_are_read_as_servers_send_them() {
        let time = time_of_date("20261126014200").expect("a time");
        assert_eq!(time.to_string(), "2026-11-26T01:42:00Z");
        assert_eq!(time_of_date("20261326014200"), None);
    }
}
