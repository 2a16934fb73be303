//! Which connection a request goes to, and how many there are.

use super::*;
use altmount_newsd::{Command, Fault, Gate, Rule};
use altmount_usenet::ProviderState;
use altmount_vfs::{Arrival, Ledger};

#[tokio::test]
async fn a_second_provider_of_the_same_rank_takes_what_the_first_cannot() {
    let release = release(20);
    let ids = ids(&release);
    let gate = Gate::new();
    let a = Newsd::builder().release(&release).start().await.unwrap();
    let b = Newsd::builder().release(&release).start().await.unwrap();
    let mut configs = [provider("a", &a), provider("b", &b)];
    for (config, server) in configs.iter_mut().zip([&a, &b]) {
        config.max_connections = 2;
        config.pipeline_body = 2;
        server.rule(Rule::new(Fault::Hold(gate.clone())));
    }
    let pool = pool(configs);
    let tasks: Vec<_> = ids.iter().map(|id| spawn(&pool, id, Class::Import)).collect();
    guard(async {
        while pool.status().iter().any(|s| s.in_flight < 4) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(pool.status()[0].queued, 12);
    gate.open();
    for (at, task) in tasks.into_iter().enumerate() {
        assert_eq!(guard(task).await.unwrap().unwrap().data, bytes(&release, at));
    }
    assert_eq!(a.counts().get(Command::Body) + b.counts().get(Command::Body), 20);
    // One that is not needed is not asked.
    let before = b.counts().get(Command::Body);
    for id in &ids[..4] {
        fetch(&pool, id).await.unwrap();
    }
    assert_eq!(b.counts().get(Command::Body), before);
}

#[tokio::test]
async fn what_somebody_waits_for_goes_to_an_idle_connection_wherever_it_is() {
    let release = release(6);
    let ids = ids(&release);
    let gate = Gate::new();
    let a = Newsd::builder().release(&release).start().await.unwrap();
    let b = Newsd::builder().release(&release).start().await.unwrap();
    a.rule(Rule::new(Fault::Hold(gate.clone())));
    let mut configs = [provider("a", &a), provider("b", &b)];
    configs.iter_mut().for_each(|c| {
        c.max_connections = 1;
        c.pipeline_body = 8;
    });
    let pool = pool(configs);
    pool.warm();
    for server in [&a, &b] {
        guard(server.wait_until(|c| c.open == 1)).await;
    }
    until(&pool, |s| s.open == 1).await;
    let import = spawn(&pool, &ids[0], Class::Import);
    guard(a.wait_until(|c| c.get(Command::Body) == 1)).await;
    // There is room behind the import's article, where it would hang.
    for id in &ids[1..] {
        play(&pool, id).await.unwrap();
    }
    gate.open();
    guard(import).await.unwrap().unwrap();
    assert_eq!(
        (a.counts().get(Command::Body), b.counts().get(Command::Body)),
        (1, 5)
    );
}

#[tokio::test]
async fn readers_take_turns_whatever_each_has_asked_for_and_what_one_waits_for_goes_first() {
    let release = release(40);
    let ids = ids(&release);
    let gate = Gate::new();
    let server = Newsd::builder().release(&release).start().await.unwrap();
    server.rule(Rule::new(Fault::Hold(gate.clone())).ids([ids[0].clone()]));
    let mut config = provider("a", &server);
    (config.max_connections, config.pipeline_body) = (1, 1);
    let options = PoolOptions {
        hedge_percent: 0,
        ..PoolOptions::default()
    };
    let pool = pool_with([config], options);
    let first = spawn(&pool, &ids[0], Class::Playback);
    until(&pool, |s| s.in_flight == 1).await;
    // Three windows of different sizes, the largest first, all of which are full.
    let (sent, mut came) = tokio::sync::mpsc::channel(40);
    let mut rest = ids[1..].iter();
    for (reader, articles) in [("a", 20), ("b", 10), ("c", 5)] {
        let ledger = Arc::new(Ledger::new());
        for id in rest.by_ref().take(articles) {
            let (pool, id, sent) = (pool.clone(), id.clone(), sent.clone());
            let arrival = Arrival::of(None, Some(10_000), Some(ledger.clone()));
            tokio::spawn(async move {
                pool.fetch_into(&id, Class::ReadAhead, &arrival).await.unwrap();
                sent.send(reader).await.unwrap();
            });
        }
    }
    until(&pool, |s| s.queued == 35).await;
    let wanted = (pool.clone(), rest.next().unwrap().clone());
    let waits = sent.clone();
    tokio::spawn(async move {
        play(&wanted.0, &wanted.1).await.unwrap();
        waits.send("!").await.unwrap();
    });
    until(&pool, |s| s.queued == 36).await;
    drop(sent);
    gate.open();
    guard(first).await.unwrap().unwrap();
    let mut order = String::new();
    while let Some(reader) = guard(came.recv()).await {
        order += reader;
    }
    assert_eq!(
        order,
        format!("!{}{}{}", "abc".repeat(5), "ab".repeat(5), "a".repeat(10))
    );
}

#[tokio::test]
async fn a_flood_of_checks_fills_its_depth_on_every_connection_and_no_more() {
    let release = release(300);
    let ids = ids(&release);
    let gate = Gate::new();
    let server = Newsd::builder().release(&release).start().await.unwrap();
    server.rule(Rule::new(Fault::Hold(gate.clone())));
    let mut config = provider("a", &server);
    config.max_connections = 4;
    config.pipeline_stat = 50;
    let pool = pool([config]);
    let asking = tokio::spawn({
        let (pool, ids) = (pool.clone(), ids.clone());
        async move {
            let asked: Vec<&str> = ids.iter().map(String::as_str).collect();
            pool.stat(&asked, Class::Health).await
        }
    });
    // Connections x depth are under way in one round trip: that is all that the delay allows.
    until(&pool, |s| (s.open, s.in_flight, s.queued) == (4, 200, 100)).await;
    gate.open();
    assert!(guard(asking).await.unwrap().iter().all(|s| matches!(s, Ok(true))));
    assert_eq!(server.counts().get(Command::Stat), 300);
    assert_eq!(server.counts().connections, 4);
}

#[tokio::test]
async fn the_depth_follows_delay_and_bandwidth() {
    // An answer takes ten times as long to begin as its article takes on the wire: on a machine that is ten times too busy there
    // is still room for more than one in that time.
    let release = in_articles(1_000_000, 200_000);
    let server = Newsd::builder()
        .release(&release)
        .rtt(Duration::from_millis(200))
        .bandwidth(10_000_000)
        .start()
        .await
        .unwrap();
    let mut config = provider("a", &server);
    config.pipeline_body_max = 64;
    let pool = pool([config]);
    assert_eq!(pool.status()[0].depth_body, 2);
    for id in &ids(&release) {
        fetch(&pool, id).await.unwrap();
    }
    let status = pool.status().remove(0);
    let (delay_ms, rate) = (status.delay_ms.unwrap(), status.bytes_per_second.unwrap());
    assert!(delay_ms >= 200, "{status:?}");
    assert!(status.depth_body >= 3, "{status:?}");
    // Whatever was measured, the depth is what it comes to; the figures that are shown are rounded.
    let depth = |delay_ms: u64, rate: u64| (1 + (delay_ms * rate).div_ceil(1000 * 200_000)).min(64);
    let (least, most) = (depth(delay_ms - 1, rate), depth(delay_ms + 1, rate + 1));
    assert!((least..=most).contains(&status.depth_body.into()), "{status:?}");
}

#[tokio::test]
async fn a_body_is_bound_to_a_connection_when_that_has_room_and_not_before() {
    let release = in_articles(7_000_000, 1_000_000);
    let ids = ids(&release);
    // So slow that what a delay carries is far less than an article, on a busy machine too.
    let server = paced(&release, 4_000_000).await;
    let (begin, rest) = (Gate::new(), Gate::new());
    server.rule(Rule::new(Fault::Hold(begin.clone())).ids(ids[..2].iter().cloned()));
    server.rule(Rule::new(Fault::Hold(rest.clone())).ids(ids[2..6].iter().cloned()));
    let mut config = provider("a", &server);
    config.max_connections = 2;
    let options = PoolOptions {
        hedge_percent: 0,
        ..PoolOptions::default()
    };
    let pool = pool_with([config], options);
    // One that shows what is usual, before they are held.
    fetch(&pool, &ids[6]).await.unwrap();
    let mut tasks: Vec<_> = ids[..5]
        .iter()
        .map(|id| spawn(&pool, id, Class::ReadAhead))
        .collect();
    // One on each connection, in their order; nothing lies behind what has not come.
    until(&pool, |s| (s.open, s.in_flight, s.queued) == (2, 2, 3)).await;
    guard(server.wait_until(|c| c.get(Command::Body) == 3)).await;
    let of = |range: std::ops::Range<usize>| -> u64 {
        let ids = ids[range].iter();
        ids.map(|id| server.requests(id, Command::Body)).sum()
    };
    assert_eq!(of(0..2), 2);
    // Who comes now and is waited for is next, and does not come behind what others read ahead.
    tasks.push(spawn(&pool, &ids[5], Class::Playback));
    until(&pool, |s| s.queued == 4).await;
    begin.open();
    guard(server.wait_until(|c| c.get(Command::Body) == 5)).await;
    assert_eq!((of(5..6), of(2..3)), (1, 1));
    rest.open();
    for (at, task) in tasks.into_iter().enumerate() {
        let right = release.files()[0].body().range(at as u64 * 1_000_000, 1_000_000);
        assert_eq!(guard(task).await.unwrap().unwrap().data, right);
    }
    assert_eq!(server.counts().connections, 2);
}

#[tokio::test]
async fn a_connection_does_not_stand_still_between_bodies() {
    // What is in flight of small articles is what a delay carries, and not one of them.
    let release = in_articles(3_000_000, 20_000);
    let ids = ids(&release);
    let server = Newsd::builder().release(&release).start().await.unwrap();
    let mut config = provider("a", &server);
    config.max_connections = 1;
    config.pipeline_body_max = 6;
    let pool = pool([config]);
    // One has to be seen, to know what they are like.
    fetch(&pool, &ids[0]).await.unwrap();
    let gate = Gate::new();
    server.rule(Rule::new(Fault::Hold(gate.clone())));
    let tasks: Vec<_> = ids[1..60]
        .iter()
        .map(|id| spawn(&pool, id, Class::Import))
        .collect();
    until(&pool, |s| (s.in_flight, s.queued) == (6, 53)).await;
    gate.open();
    for task in tasks {
        guard(task).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn opening_a_file_makes_connections_at_once_and_once() {
    let release = release(4);
    let server = Newsd::builder().release(&release).start().await.unwrap();
    let pool = pool([provider("a", &server)]);
    pool.warm();
    pool.warm();
    guard(server.wait_until(|c| c.open == 4)).await;
    until(&pool, |s| s.open == 4).await;
    pool.warm();
    play(&pool, &ids(&release)[0]).await.unwrap();
    assert_eq!(
        (server.counts().connections, server.counts().get(Command::Body)),
        (4, 1)
    );
    assert_eq!(pool.width(), 16, "eight connections, two bodies on each");
}

#[tokio::test]
async fn where_a_provider_works_again_connections_are_made_for_all_that_waits() {
    let release = release(20);
    let server = Newsd::builder()
        .release(&release)
        .max_connections(0)
        .start()
        .await
        .unwrap();
    let gate = Gate::new();
    server.rule(Rule::new(Fault::Hold(gate.clone())));
    let pool = pool([provider("a", &server)]);
    let ids = ids(&release);
    assert!(fetch(&pool, &ids[0]).await.is_err());
    until(&pool, |s| s.state != ProviderState::Ready).await;
    server.set_max_connections(8);
    // What waits has been waiting before the first connection was there, and nothing comes after it.
    let tasks: Vec<_> = ids.iter().map(|id| spawn(&pool, id, Class::Playback)).collect();
    guard(server.wait_until(|c| c.open == 8)).await;
    gate.open();
    for (at, task) in tasks.into_iter().enumerate() {
        assert_eq!(guard(task).await.unwrap().unwrap().data, bytes(&release, at));
    }
}

#[tokio::test]
async fn a_server_that_still_counts_what_was_given_up_is_asked_again_and_not_taken_for_down() {
    let release = in_articles(144_000_000, 3_000_000);
    let server = paced(&release, 4_000_000).await;
    let pool = pool([provider("a", &server)]);
    let ids = ids(&release);
    // Eight that are arriving, and many that wait.
    let tasks: Vec<_> = ids.iter().map(|id| spawn(&pool, id, Class::ReadAhead)).collect();
    until(&pool, |s| s.open == 8 && s.bytes > 800_000 && s.queued > 20).await;
    server.set_max_connections(0);
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    until(&pool, |s| s.connections_abandoned == 8).await;
    until(&pool, |s| s.errors >= 2).await;
    let status = pool.status().remove(0);
    assert_eq!(status.state, ProviderState::Ready, "{status:?}");
    assert!(
        status.connections_made <= 8 + 4 + 4,
        "nobody waits for more: {status:?}"
    );
    server.set_max_connections(8);
    until(&pool, |s| s.open >= 1).await;
    assert_eq!(play(&pool, &ids[40]).await.unwrap().data.len(), 3_000_000);
}

#[tokio::test]
async fn connections_that_are_to_be_kept_are_kept() {
    let server = Newsd::builder().start().await.unwrap();
    let mut config = provider("a", &server);
    config.min_connections = 2;
    config.idle_timeout = Duration::from_millis(40);
    let pool = pool([config]);
    pool.start();
    guard(server.wait_until(|c| c.get(Command::Date) >= 6)).await;
    assert_eq!((server.counts().connections, server.counts().open), (2, 2));
    assert_eq!(pool.status()[0].errors, 0);
    pool.shutdown().await;
}

#[tokio::test]
async fn a_seek_leaves_what_is_long_and_reads_what_is_short() {
    let release = in_articles(24_000_000, 3_000_000);
    let ids = ids(&release);
    let server = paced(&release, 4_000_000).await;
    let mut config = provider("a", &server);
    config.max_connections = 1;
    let pool = pool([config]);
    let first = spawn(&pool, &ids[0], Class::Playback);
    // Its length is known by then.
    until(&pool, |s| s.bytes > 100_000).await;
    first.abort();
    // The next one does not wait for 3 MB that nobody wants.
    until(&pool, |s| s.connections_abandoned == 1).await;
    assert_eq!(play(&pool, &ids[1]).await.unwrap().data.len(), 3_000_000);
    let status = pool.status().remove(0);
    assert_eq!((status.connections_made, status.errors), (2, 0), "{status:?}");
}

#[tokio::test]
async fn who_comes_back_after_leaving_much_behind_finds_connections() {
    let release = in_articles(48_000_000, 3_000_000);
    let ids = ids(&release);
    let server = paced(&release, 1_000_000).await;
    let pool = pool([provider("a", &server)]);
    let tasks: Vec<_> = ids[..8]
        .iter()
        .map(|id| spawn(&pool, id, Class::ReadAhead))
        .collect();
    until(&pool, |s| s.open == 8 && s.bytes > 800_000).await;
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    // All are given up, and as many are made as for somebody who opens a file.
    until(&pool, |s| s.connections_abandoned == 8).await;
    until(&pool, |s| (s.open, s.connecting, s.busy) == (4, 0, 0)).await;
    assert_eq!(pool.status()[0].connections_made, 12);
    assert_eq!(server.counts().get(Command::Body), 8);
}
