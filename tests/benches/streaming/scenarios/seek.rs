//! Reads that jump.

use super::{Bed, YENC, ms};
use crate::lab::{Lab, bodies, settled};
use crate::report::{Row, mean, quantile};
use altmount_newsd::{Body, Newsd, Profile, Release};
use altmount_tests::archive;
use altmount_tests::lot::Lot;
use altmount_tests::server::{Film, Server};
use altmount_tests::stream::Range;
use std::time::Duration;

const SMALL: u64 = 64 << 10;
const LARGE: u64 = 8 << 20;

pub(super) async fn run(lab: &Lab) -> Vec<Row> {
    let mut rows = Vec::new();
    for (profile, random, plain, stored, encrypted) in [
        (
            Profile::PREMIUM_750K,
            "random-premium",
            "seek-premium",
            "seek-rar",
            "seek-aes",
        ),
        (
            Profile::SLOW_4M,
            "random-slow",
            "seek-slow",
            "seek-slow-rar",
            "seek-slow-aes",
        ),
    ] {
        let quick = lab.quick && profile == Profile::SLOW_4M;
        let bed = Bed::new(lab, plain, profile, 2, 2 << 30).await;
        bed.warm().await;
        let reads = if quick { 6 } else { lab.pick(20, 60) };
        for end in [End::Open, End::Said] {
            rows.push(small(lab, &bed, random, end, reads).await);
        }
        let seeks = if quick { 3 } else { lab.pick(6, 15) };
        rows.extend(large(&bed, plain, &bed.films[0], "plain file", seeks).await);
        if !quick {
            let film = in_archive(&bed.server, &bed.newsd, stored, profile.article, None).await;
            rows.extend(large(&bed, stored, &film, "stored in RAR volumes", seeks).await);
            let film = in_archive(
                &bed.server,
                &bed.newsd,
                encrypted,
                profile.article,
                Some("secret"),
            )
            .await;
            rows.extend(large(&bed, encrypted, &film, "stored in encrypted RAR volumes", seeks).await);
        }
        bed.end().await;
    }
    rows
}

/// Whether a request says where it will stop.
#[derive(Clone, Copy)]
enum End {
    /// It does not, as players' do not.
    Open,
    /// It does. Its last bytes are given when what they are of is proven to be right.
    Said,
}

/// 64 KiB at random places, against the time that the line takes to bring just these bytes.
async fn small(lab: &Lab, bed: &Bed, name: &'static str, end: End, count: usize) -> Row {
    let film = &bed.films[0];
    let article = bed.profile.article;
    // Other places each time: nothing of them is here already.
    let (mut lot, what) = match end {
        End::Open => (Lot(10), "64 KiB at a random place, as a player asks"),
        End::Said => (
            Lot(11),
            "64 KiB at a random place and no more, all of them proven",
        ),
    };
    let (mut times, mut limits) = (Vec::new(), Vec::new());
    let kind = match end {
        End::Open => "",
        End::Said => "-said",
    };
    let _profile = lab.profile(&format!("{name}{kind}"), bed.server.pid());
    let before = bodies(&bed.newsd.counts());
    let mut spanned = 0;
    for _ in 0..count {
        let at = lot.below(film.body.len() - SMALL);
        let upto = at + SMALL;
        let inside = at % article;
        // All of it in one article, or its end in the next one, which comes at the same time.
        let limit = if inside + SMALL <= article {
            bed.until(inside + SMALL)
        } else {
            bed.until(article).max(bed.until(upto % article))
        };
        spanned += (upto - 1) / article - at / article + 1;
        let range = match end {
            End::Open => Range::From(at),
            End::Said => Range::Exact(at, SMALL),
        };
        let mut stream = bed.server.open(film, range).await;
        stream.take(SMALL).await.expect("reads");
        times.push(ms(stream.started.elapsed()));
        drop(stream);
        limits.push(limit * 1e3);
        settled(&bed.newsd, Duration::from_millis(60)).await;
    }
    let fetched = bodies(&bed.newsd.counts()) - before;
    let proven = match end {
        End::Open => String::new(),
        End::Said => format!(
            "; an article is whole, and proven, after {:.0} ms",
            bed.until(article) * 1e3
        ),
    };
    Row::new(name, what, mean(&times), "ms")
        .against("round trip + bytes before them / bandwidth", mean(&limits))
        .at_most(1.15 * mean(&limits))
        .note(format!(
            "95 %: {:.0} ms; {fetched} articles for {spanned}{proven}",
            quantile(&times, 0.95)
        ))
        .samples(&times)
}

/// A jump to a random place and 8 MiB from there on, as a player does it: it does not say where it will stop.
async fn large(bed: &Bed, name: &'static str, film: &Film, what: &str, count: usize) -> Vec<Row> {
    let article = bed.profile.article;
    let mut lot = Lot(12);
    // The articles come side by side, and one of them is whole, wherever it begins: it takes the time.
    assert!(LARGE >= 2 * article, "an article is at most half of what is read");
    let limit = bed.until(article) * 1e3;
    let (mut times, mut amplification) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let at = lot.below(film.body.len() - 4 * LARGE);
        let before = settled(&bed.newsd, Duration::from_millis(100)).await;
        let mut stream = bed.server.open(film, Range::From(at)).await;
        let got = stream.take(LARGE).await.expect("reads");
        times.push(ms(stream.started.elapsed()));
        drop(stream);
        let after = settled(&bed.newsd, Duration::from_millis(250)).await;
        amplification.push((after.bytes_out - before.bytes_out) as f64 / YENC / got as f64);
    }
    vec![
        Row::new(name, format!("seek and 8 MiB, {what}"), mean(&times), "ms")
            .against("round trip + an article", limit)
            .at_most(1.5 * limit)
            .note(format!("95 %: {:.0} ms", quantile(&times, 0.95)))
            .samples(&times),
        Row::new(name, "bytes fetched for a byte served", mean(&amplification), "x")
            .at_most(1.6)
            .samples(&amplification),
    ]
}

/// A film of 300 MB stored in RAR 5 volumes of 15 MB.
async fn in_archive(
    server: &Server,
    newsd: &Newsd,
    name: &str,
    article: u64,
    password: Option<&str>,
) -> Film {
    const LEN: u64 = 300_000_000;
    let body = Body::stamped(5, LEN, 1 << 20);
    let volumes = archive::volumes(body.range(0, LEN as usize), 15_000_000, password);
    let mut release = Release::builder(name).seed(5).article_size(article);
    if let Some(password) = password {
        release = release.meta("password", password);
    }
    let release = archive::posted(release, volumes).build();
    server.import(newsd, &release).await;
    let id = server.file_id(name, "film.mkv").await;
    Film { id, body }
}
