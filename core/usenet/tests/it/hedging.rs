//! Articles that are late are asked for once more.

use super::*;
use altmount_newsd::{Command, Fault, Gate, Rule};

fn soon() -> PoolOptions {
    PoolOptions {
        hedge_after: Duration::from_millis(10),
        ..PoolOptions::default()
    }
}

/// Late for ever, so many times that it is asked for.
fn late(id: &str, times: u64) -> Rule {
    Rule::new(Fault::SlowFirstByte(Duration::from_secs(3600)))
        .id(id)
        .requests(..=times)
}

/// A release of one article, its id, and a server that has it.
async fn one() -> (Release, String, Newsd) {
    let release = release(1);
    let id = ids(&release).remove(0);
    let server = Newsd::builder().release(&release).start().await.unwrap();
    (release, id, server)
}

#[tokio::test]
async fn a_late_article_comes_on_another_connection_and_the_late_one_is_given_up() {
    for class in [Class::Playback, Class::ReadAhead] {
        let release = release(2);
        let ids = ids(&release);
        let server = Newsd::builder().release(&release).start().await.unwrap();
        server.rule(late(&ids[0], 1));
        let pool = pool_with([provider("a", &server)], soon());
        let article = guard(pool.fetch(&ids[0], class)).await.unwrap();
        assert_eq!(article.data, bytes(&release, 0));
        assert_eq!(server.requests(&ids[0], Command::Body), 2);
        let status = pool.status().remove(0);
        assert_eq!(
            (status.hedged, status.hedged_bytes, status.errors),
            (1, 0, 0),
            "{status:?}"
        );
        // The connection that it was late on is of no use for an hour.
        until(&pool, |s| s.busy == 0 && s.connections_abandoned == 1).await;
        assert_eq!(play(&pool, &ids[1]).await.unwrap().data, bytes(&release, 1));
    }
}

#[tokio::test]
async fn a_connection_that_stands_still_within_an_article_which_came_elsewhere_is_given_up() {
    let release = release(2);
    let ids = ids(&release);
    let server = Newsd::builder().release(&release).start().await.unwrap();
    server.rule(Rule::new(Fault::Stall).id(&ids[0]).requests(..=1));
    let mut config = provider("a", &server);
    // Far longer than the test waits.
    config.stall_timeout = Duration::from_secs(3600);
    let pool = pool_with([config], soon());
    assert_eq!(play(&pool, &ids[0]).await.unwrap().data, bytes(&release, 0));
    assert_eq!(server.requests(&ids[0], Command::Body), 2);
    until(&pool, |s| s.busy == 0 && s.connections_abandoned == 1).await;
    let status = pool.status().remove(0);
    assert_eq!((status.hedged, status.errors), (1, 0), "{status:?}");
    assert_eq!(play(&pool, &ids[1]).await.unwrap().data, bytes(&release, 1));
}

#[tokio::test]
async fn a_late_article_comes_from_another_provider_where_this_one_has_no_other_connection() {
    let (release, id, a) = one().await;
    let b = Newsd::builder().release(&release).start().await.unwrap();
    a.rule(late(&id, 1));
    let mut configs = [provider("a", &a), provider("b", &b)];
    configs[0].max_connections = 1;
    configs[1].priority = 1;
    let pool = pool_with(configs, soon());
    assert_eq!(play(&pool, &id).await.unwrap().data, bytes(&release, 0));
    assert_eq!(
        (a.requests(&id, Command::Body), b.requests(&id, Command::Body)),
        (1, 1)
    );
    assert_eq!((pool.status()[0].hedged, pool.status()[1].articles), (1, 1));
}

#[tokio::test]
async fn an_import_a_backup_and_a_lone_connection_are_not_asked_twice() {
    let release = release(1);
    let id = &ids(&release)[0];
    let slow = || Rule::new(Fault::SlowFirstByte(Duration::from_millis(400)));
    let (a, backup) = (
        Newsd::builder()
            .release(&release)
            .rule(slow())
            .start()
            .await
            .unwrap(),
        Newsd::builder().release(&release).start().await.unwrap(),
    );
    let mut configs = [provider("a", &a), provider("backup", &backup)];
    configs[1].backup = true;
    let both = pool_with(configs.clone(), soon());
    fetch(&both, id).await.unwrap();
    configs[0].max_connections = 1;
    let alone = pool_with(configs.clone(), soon());
    play(&alone, id).await.unwrap();
    configs[0].max_connections = 8;
    let never = PoolOptions {
        hedge_percent: 0,
        ..soon()
    };
    play(&pool_with(configs, never), id).await.unwrap();
    assert_eq!(a.requests(id, Command::Body), 3, "once by each");
    assert_eq!(backup.counts().connections, 0);
}

#[tokio::test]
async fn what_only_waits_behind_another_body_is_not_late() {
    // Each takes 200 ms on the wire, far longer than an answer takes to begin.
    let release = in_articles(2_000_000, 200_000);
    let server = paced(&release, 1_000_000).await;
    let mut config = provider("a", &server);
    config.max_connections = 2;
    config.pipeline_body = 4;
    let options = PoolOptions {
        hedge_after: Duration::from_millis(100),
        ..PoolOptions::default()
    };
    let pool = pool_with([config], options);
    let ids = ids(&release);
    let all = ids[..8].iter().map(|id| pool.fetch(id, Class::ReadAhead));
    for article in guard(futures::future::join_all(all)).await {
        article.unwrap();
    }
    assert_eq!(pool.status()[0].hedged, 0, "{:?}", pool.status());
    assert_eq!(server.counts().get(Command::Body), 8);
}

#[tokio::test]
async fn what_is_behind_a_late_article_goes_elsewhere_with_its_connection() {
    let release = release(4);
    let ids = ids(&release);
    let server = Newsd::builder().release(&release).start().await.unwrap();
    server.rule(late(&ids[0], 1));
    let mut config = provider("a", &server);
    config.max_connections = 2;
    config.pipeline_body = 4;
    let pool = pool_with([config], soon());
    let tasks: Vec<_> = ids.iter().map(|id| spawn(&pool, id, Class::ReadAhead)).collect();
    for (at, task) in tasks.into_iter().enumerate() {
        assert_eq!(guard(task).await.unwrap().unwrap().data, bytes(&release, at));
    }
    // On a busy machine what is behind it may be late before its connection is given up.
    let status = pool.status().remove(0);
    assert!((1..=4).contains(&status.hedged), "{status:?}");
    assert_eq!(status.errors, 0, "{status:?}");
}

#[tokio::test]
async fn an_article_that_is_late_again_is_asked_for_again() {
    let (release, id, server) = one().await;
    server.rule(late(&id, 2));
    let pool = pool_with([provider("a", &server)], soon());
    for class in [Class::ReadAhead, Class::Playback] {
        assert_eq!(
            guard(pool.fetch(&id, class)).await.unwrap().data,
            bytes(&release, 0)
        );
    }
    assert_eq!(server.requests(&id, Command::Body), 3 + 1);
    assert_eq!(pool.status()[0].hedged, 2, "{:?}", pool.status());
}

#[tokio::test]
async fn who_waits_and_was_let_down_twice_has_the_third_and_the_fourth_at_once() {
    let (release, id, server) = one().await;
    server.rule(late(&id, 2));
    // The third is slow, but far from late.
    let slow = Fault::SlowFirstByte(Duration::from_millis(300));
    server.rule(Rule::new(slow).id(&id).requests(3..=3));
    let options = PoolOptions {
        hedge_after: Duration::from_millis(200),
        ..PoolOptions::default()
    };
    let pool = pool_with([provider("a", &server)], options);
    assert_eq!(play(&pool, &id).await.unwrap().data, bytes(&release, 0));
    assert_eq!(server.requests(&id, Command::Body), 4);
    assert_eq!(pool.status()[0].hedged, 3, "{:?}", pool.status());
}

#[tokio::test]
async fn a_late_article_goes_before_what_is_read_ahead() {
    let release = release(8);
    let ids = ids(&release);
    let server = Newsd::builder().release(&release).start().await.unwrap();
    let (second, others) = (Gate::new(), Gate::new());
    server.rule(late(&ids[0], 1));
    server.rule(Rule::new(Fault::Hold(second.clone())).id(&ids[1]));
    server.rule(Rule::new(Fault::Hold(others.clone())).ids(ids[2..].iter().cloned()));
    let mut config = provider("a", &server);
    config.max_connections = 2;
    config.pipeline_body = 1;
    let pool = pool_with([config], soon());
    let first = spawn(&pool, &ids[0], Class::ReadAhead);
    guard(server.wait_until(|c| c.get(Command::Body) == 1)).await;
    // An import's, which is held, is not late.
    let mut tasks = vec![spawn(&pool, &ids[1], Class::Import)];
    guard(server.wait_until(|c| c.get(Command::Body) == 2)).await;
    tasks.extend(ids[2..].iter().map(|id| spawn(&pool, id, Class::ReadAhead)));
    // They wait, and behind them the late one, which was asked for once more.
    until(&pool, |s| s.hedged == 1 && s.queued == 7).await;
    second.open();
    let article = guard(first).await.unwrap().unwrap();
    assert_eq!(article.data, bytes(&release, 0), "the others are held");
    others.open();
    for (at, task) in (1..).zip(tasks) {
        assert_eq!(guard(task).await.unwrap().unwrap().data, bytes(&release, at));
    }
}

#[tokio::test]
async fn a_body_that_stops_in_the_middle_comes_on_another_connection() {
    let release = in_articles(500_000, 500_000);
    let id = &ids(&release)[0];
    let server = Newsd::builder().release(&release).start().await.unwrap();
    server.rule(Rule::new(Fault::Stall).requests(..=1));
    let pool = pool_with([provider("a", &server)], soon());
    let article = play(&pool, id).await.unwrap();
    assert_eq!(article.data, release.files()[0].body().range(0, 500_000));
    let status = pool.status().remove(0);
    assert!(status.hedged >= 1 && status.errors == 0, "{status:?}");
    assert!(status.hedged_bytes > 100_000, "{status:?}");
}

#[tokio::test]
async fn what_comes_twice_is_bounded() {
    let release = release(400);
    let ids = ids(&release);
    let server = Newsd::builder().release(&release).start().await.unwrap();
    // Everything is late by what is configured.
    server.rule(Rule::new(Fault::SlowFirstByte(Duration::from_millis(60))));
    let options = PoolOptions {
        hedge_after: Duration::from_millis(10),
        ..PoolOptions::default()
    };
    let mut config = provider("a", &server);
    config.max_connections = 20;
    let pool = pool_with([config], options);
    guard(async {
        for batch in ids.chunks(20) {
            let all = batch.iter().map(|id| pool.fetch(id, Class::ReadAhead));
            for article in futures::future::join_all(all).await {
                article.unwrap();
            }
        }
    })
    .await;
    let status = pool.status().remove(0);
    // 5 of 100 bytes, and 8 articles at the start.
    assert!(
        status.hedged_bytes <= status.bytes / 20 + 8 * 11_000,
        "{status:?}"
    );
    assert!(
        server.counts().get(Command::Body) <= 400 + status.hedged,
        "{status:?}"
    );
}

/// Whichever of two comes second was asked for all the same, and counts with all that comes of it.
#[tokio::test]
async fn what_comes_after_the_other_is_counted_as_well() {
    let release = in_articles(3 * 700_000, 700_000);
    let ids = ids(&release);
    // A new connection takes three round trips, which is longer than an article: what is on its way is read to its end.
    let server = Newsd::builder()
        .release(&release)
        .credentials("joe", "secret")
        .rtt(Duration::from_millis(200))
        .bandwidth(2_000_000)
        .start()
        .await
        .unwrap();
    let mut config = provider("a", &server);
    config.username = Some("joe".into());
    config.password = Some("secret".to_owned().into());
    let pool = pool_with([config], soon());
    let all = ids.iter().map(|id| pool.fetch(id, Class::ReadAhead));
    guard(futures::future::try_join_all(all)).await.unwrap();
    until(&pool, |s| s.busy == 0).await;
    let before = pool.status().remove(0);
    let gate = Gate::new();
    server.rule(Rule::new(Fault::Hold(gate.clone())).id(&ids[0]).requests(..=1));
    let late = spawn(&pool, &ids[0], Class::Playback);
    // The second one is half there.
    until(&pool, |s| s.bytes >= before.bytes + 350_000).await;
    gate.open();
    assert_eq!(guard(late).await.unwrap().unwrap().data.len(), 700_000);
    until(&pool, |s| s.busy == 0).await;
    let status = pool.status().remove(0);
    assert!(status.hedged > before.hedged, "{status:?}");
    let bytes = status.bytes - before.bytes;
    let twice = status.hedged_bytes - before.hedged_bytes;
    // On the wire an article has some 3 % more.
    assert!(
        (700_000..735_000).contains(&(bytes - twice)),
        "{bytes} came and {twice} of them twice: {status:?}"
    );
}

#[tokio::test]
async fn a_failure_of_one_of_two_leaves_the_other() {
    let (release, id, a) = one().await;
    let empty = Newsd::builder().start().await.unwrap();
    a.rule(
        Rule::new(Fault::SlowFirstByte(Duration::from_millis(400)))
            .id(&id)
            .requests(..=1),
    );
    let mut configs = [provider("a", &a), provider("empty", &empty)];
    configs[0].max_connections = 1;
    let pool = pool_with(configs, soon());
    // It is asked of the other one as well, which does not have it; the late one brings it.
    assert_eq!(play(&pool, &id).await.unwrap().data, bytes(&release, 0));
    assert_eq!(
        (a.requests(&id, Command::Body), empty.counts().get(Command::Body)),
        (1, 1)
    );
}

#[tokio::test]
async fn a_read_ends_where_no_byte_comes() {
    let (_, id, server) = one().await;
    server.rule(Rule::new(Fault::SlowFirstByte(Duration::from_secs(3600))));
    let options = PoolOptions {
        demand_timeout: Duration::from_millis(300),
        ..soon()
    };
    let pool = pool_with([provider("a", &server)], options);
    let reason = unknown(play(&pool, &id).await);
    assert!(reason.contains("given up after 300ms"), "{reason}");
    // What was fetched ahead and is waited for from now on as well.
    let before = server.counts().get(Command::Body);
    let ahead = spawn(&pool, &id, Class::ReadAhead);
    guard(server.wait_until(|c| c.get(Command::Body) > before)).await;
    pool.raise(&id, Class::Playback);
    let reason = unknown(guard(ahead).await.unwrap());
    assert!(reason.contains("given up after 300ms"), "{reason}");
}
