//! One stream where the network is no limit: what it costs in processor time, against the reference.

use super::{MIB, sequential::task};
use crate::lab::Lab;
use crate::machine;
use crate::reference::{self, Mode, Outcome, Task};
use crate::report::{Row, median};
use altmount_newsd::{Body, Newsd};
use altmount_tests::server::Provider;
use altmount_tests::stream::{Range, Stream};
use std::net::SocketAddr;

/// As many as the prototype was measured with.
const CONNECTIONS: usize = 4;
const ARTICLE: u64 = 750_000;

pub(super) async fn run(lab: &Lab) -> Vec<Row> {
    let mut rows = kind(lab, "cpu-plain", false, 0.6, 0.9).await;
    rows.extend(kind(lab, "cpu-tls", true, 0.75, 0.85).await);
    rows
}

async fn kind(lab: &Lab, name: &'static str, tls: bool, absolute: f64, pool_share: f64) -> Vec<Row> {
    let bytes = lab.pick(1u64, 2) << 30;
    let rounds = lab.pick(1, 3);
    let newsd = lab.newsd(Newsd::builder().tls(tls)).await;
    let mut server = lab.server(name, &[Provider::of(&newsd, CONNECTIONS)], "").await;
    let film = server.film(&newsd, "film", 1, bytes, ARTICLE).await;
    let (_, reference_body) = altmount_tests::server::film(&format!("reference-{name}"), 7, bytes, ARTICLE);
    let task = |mode| task(lab, &newsd, name, mode, bytes, ARTICLE, CONNECTIONS);
    let (mut cost, mut rate, mut news) = (Vec::new(), Vec::new(), Vec::new());
    let mut results: [Vec<Outcome>; 4] = Default::default();
    for round in 0..rounds {
        // The order turns, so that nobody always comes first.
        for turn in 0..5 {
            match (turn + round) % 5 {
                0 => {
                    server.restart_cold().await;
                    let _profile = lab.profile(name, server.pid());
                    let (cpu, newsd_cpu) = (machine::cpu_seconds(server.pid()), lab.news_cpu());
                    let mut stream = server.open(&film, Range::Exact(0, bytes)).await;
                    assert_eq!(stream.take(u64::MAX).await.expect("reads"), bytes);
                    let took = stream.started.elapsed().as_secs_f64();
                    let gib = bytes as f64 / f64::from(1 << 30);
                    cost.push((machine::cpu_seconds(server.pid()) - cpu) / gib);
                    news.push((lab.news_cpu() - newsd_cpu) / gib);
                    rate.push(bytes as f64 / MIB / took);
                }
                1 => results[0].push(measure(task(Mode::Discard), &reference_body).await),
                2 => results[1].push(measure(task(Mode::Decode), &reference_body).await),
                3 => results[2].push(measure(task(Mode::Serve), &reference_body).await),
                _ => results[3].push(measure(task(Mode::Pool), &reference_body).await),
            }
        }
    }
    server.stop().await;
    newsd.stop().await;
    let per_gib = |index: usize| {
        median(
            &results[index]
                .iter()
                .map(Outcome::cpu_per_gib)
                .collect::<Vec<_>>(),
        )
    };
    let per_cpu = |index: usize| median(&results[index].iter().map(Outcome::gb_per_cpu).collect::<Vec<_>>());
    let (discard, decode, serve) = (per_gib(0), per_gib(1), per_gib(2));
    let value = median(&cost);
    vec![
        Row::new(name, "processor time of one stream", value, "s/GiB")
            .against("R: receive, decode, check, send", serve)
            .at_most(1.2 * serve)
            .samples(&cost)
            .note(format!(
                "R without sending {decode:.3}, R that discards {discard:.3}; the stream ran at {:.0} MiB/s, the news server took {:.3} s/GiB",
                median(&rate),
                median(&news)
            )),
        Row::new(name, "the same, absolutely", value, "s/GiB").at_most(absolute),
        Row::new(name, "the pool alone: receive, decode, check", per_cpu(3), "GB per processor second")
            .against("R", per_cpu(1))
            .at_least(pool_share * per_cpu(1)),
    ]
}

async fn measure(task: Task, body: &Body) -> Outcome {
    reference::run(&task, async |address: SocketAddr| {
        let range = Range::From(0);
        let mut stream = Stream::open(address, "/", "", range, body)
            .await
            .expect("R answers");
        assert_eq!(stream.take(u64::MAX).await.expect("reads"), body.len());
    })
    .await
}
