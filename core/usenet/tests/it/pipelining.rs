//! Several requests on one connection, and which goes first.

use super::*;
use altmount_newsd::{Command, Fault, Gate, Rule};
use tokio::sync::mpsc;

async fn one_connection(release: &Release, depth: u8) -> (Newsd, Arc<Pool>) {
    let server = Newsd::builder().release(release).start().await.unwrap();
    let mut config = provider("a", &server);
    config.max_connections = 1;
    config.pipeline_body = depth;
    (server, pool([config]))
}

#[tokio::test]
async fn bodies_and_stats_have_their_own_depths() {
    let release = release(200);
    let gate = Gate::new();
    let (server, pool) = one_connection(&release, 3).await;
    server.rule(Rule::new(Fault::Hold(gate.clone())));
    let all = tokio::spawn({
        let (pool, release) = (pool.clone(), release.clone());
        async move {
            let ids = ids(&release);
            let asked: Vec<&str> = ids.iter().map(String::as_str).collect();
            let (stats, ()) = tokio::join!(pool.stat(&asked, Class::Import), fetch_all(&pool, &release));
            assert!(stats.iter().all(|s| matches!(s, Ok(true))));
        }
    });
    let sent = |c: &altmount_newsd::Counts| (c.get(Command::Body), c.get(Command::Stat));
    until(&pool, |s| (s.in_flight, s.queued) == (103, 297)).await;
    gate.open();
    guard(all).await.unwrap();
    assert_eq!(sent(&server.counts()), (200, 200));
    assert_eq!(server.counts().connections, 1);
}

#[tokio::test]
async fn answers_stay_with_their_requests_whatever_is_between() {
    let release = release(60);
    let ids = ids(&release);
    let (server, pool) = one_connection(&release, 8).await;
    for at in (0..60).step_by(7) {
        server.remove(&ids[at]);
    }
    for at in (3..60).step_by(7) {
        server.rule(Rule::new(Fault::CorruptPayload).id(&ids[at]));
    }
    for at in (5..60).step_by(7) {
        server.rule(
            Rule::new(Fault::Reply {
                code: 451,
                text: "taken down".into(),
                close: false,
            })
            .id(&ids[at]),
        );
    }
    let bodies = futures::future::join_all(ids.iter().map(|id| pool.fetch(id, Class::Import)));
    let asked: Vec<&str> = ids.iter().map(String::as_str).collect();
    let (bodies, stats) = guard(async { tokio::join!(bodies, pool.stat(&asked, Class::Import)) }).await;
    for (at, (body, stat)) in bodies.into_iter().zip(stats).enumerate() {
        match at % 7 {
            0 => assert!(is_missing(&body) && matches!(stat, Ok(false)), "article {at}"),
            3 => assert!(is_corrupt(&body) && matches!(stat, Ok(true)), "article {at}"),
            5 => assert!(unknown(body).contains("451") && stat.is_err(), "article {at}"),
            _ => assert_eq!(body.unwrap().data, super::bytes(&release, at), "article {at}"),
        }
    }
    assert_eq!(server.counts().connections, 1, "none of this ends a connection");
}

#[tokio::test]
async fn playback_goes_before_what_came_earlier_for_others() {
    let release = release(5);
    let ids = ids(&release);
    let gate = Gate::new();
    let (server, pool) = one_connection(&release, 1).await;
    server.rule(Rule::new(Fault::Hold(gate.clone())).id(&ids[0]));
    let (done, mut finished) = mpsc::channel(8);
    let classes = [
        Class::Import,
        Class::Repair,
        Class::Health,
        Class::ReadAhead,
        Class::Playback,
    ];
    for (at, class) in classes.into_iter().enumerate() {
        let (pool, id, done) = (pool.clone(), ids[at].clone(), done.clone());
        tokio::spawn(async move {
            pool.fetch(&id, class).await.unwrap();
            done.send(class).await.unwrap();
        });
        // The first is on the connection, the others wait in this order.
        if at == 0 {
            guard(server.wait_until(|c| c.get(Command::Body) == 1)).await;
        }
    }
    until(&pool, |s| s.queued == 4).await;
    gate.open();
    let mut order = Vec::new();
    for _ in 0..5 {
        order.extend(guard(finished.recv()).await);
    }
    assert_eq!(
        order,
        [
            Class::Import,
            Class::Playback,
            Class::ReadAhead,
            Class::Health,
            Class::Repair
        ]
    );
}

#[tokio::test]
async fn an_idle_connection_is_preferred_to_a_place_behind_another_body() {
    let release = release(4);
    let ids = ids(&release);
    let gate = Gate::new();
    let server = Newsd::builder().release(&release).start().await.unwrap();
    let mut config = provider("a", &server);
    config.max_connections = 2;
    config.pipeline_body = 4;
    let pool = pool([config]);
    server.rule(Rule::new(Fault::Hold(gate.clone())).id(&ids[0]));
    let held = tokio::spawn({
        let (pool, id) = (pool.clone(), ids[0].clone());
        async move { fetch(&pool, &id).await }
    });
    guard(server.wait_until(|c| c.get(Command::Body) == 1)).await;
    // Behind the held one any of these would hang. The first may be put there while the second connection is made.
    let second = tokio::spawn({
        let (pool, id) = (pool.clone(), ids[1].clone());
        async move { fetch(&pool, &id).await }
    });
    until(&pool, |s| s.open == 2 && s.in_flight > 0 && s.queued == 0).await;
    for id in &ids[2..] {
        fetch(&pool, id).await.unwrap();
    }
    gate.open();
    held.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
}
