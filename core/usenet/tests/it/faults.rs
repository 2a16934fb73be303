//! What a network and a server do to a connection.

use super::*;
use altmount_newsd::{Command, Fault, Rule};
use altmount_usenet::ProviderState;
use tokio::net::TcpSocket;

#[tokio::test]
async fn a_connection_that_breaks_costs_one_more_request() {
    for fault in [Fault::Disconnect, Fault::DisconnectInside, Fault::goodbye()] {
        let release = release(4);
        let id = &ids(&release)[0];
        let server = Newsd::builder().release(&release).start().await.unwrap();
        server.rule(Rule::new(fault.clone()).id(id).requests(..=1));
        let mut config = provider("a", &server);
        config.max_connections = 1;
        config.pipeline_body = 4;
        let pool = pool([config]);
        fetch_all(&pool, &release).await;
        assert_eq!(server.requests(id, Command::Body), 2, "{fault:?}");
        assert_eq!(server.counts().connections, 2, "{fault:?}");
        assert_eq!(pool.status()[0].state, ProviderState::Ready);
    }
}

#[tokio::test]
async fn an_article_that_always_breaks_the_connection_does_not_take_others_with_it() {
    let release = release(8);
    let ids = ids(&release);
    let server = Newsd::builder().release(&release).start().await.unwrap();
    server.rule(Rule::new(Fault::DisconnectInside).id(&ids[2]));
    let mut config = provider("a", &server);
    config.max_connections = 1;
    config.pipeline_body = 4;
    let pool = pool([config]);
    let fetched = futures::future::join_all(ids.iter().map(|id| pool.fetch(id, Class::Import)));
    for (at, result) in guard(fetched).await.into_iter().enumerate() {
        if at == 2 {
            unknown(result);
        } else {
            assert_eq!(result.unwrap().data, bytes(&release, at), "article {at}");
        }
    }
    // Two tries, and two more when nobody else had it.
    assert_eq!(server.requests(&ids[2], Command::Body), 4);
}

#[tokio::test]
async fn a_stall_and_a_silence_end_in_the_next_provider() {
    for fault in [
        Fault::Stall,
        Fault::SlowFirstByte(Duration::from_secs(3600)),
        Fault::SlowBytes(1),
    ] {
        let release = release(2);
        let id = &ids(&release)[0];
        let a = Newsd::builder()
            .release(&release)
            .rule(Rule::new(fault.clone()).id(id))
            .start()
            .await
            .unwrap();
        let b = Newsd::builder().release(&release).start().await.unwrap();
        let mut config = provider("a", &a);
        config.first_byte_timeout = Duration::from_millis(150);
        config.stall_timeout = Duration::from_millis(150);
        config.article_timeout = Duration::from_millis(400);
        let pool = pool([config, provider("b", &b)]);
        fetch_all(&pool, &release).await;
        assert_eq!(b.requests(id, Command::Body), 1, "{fault:?}");
        assert_eq!(a.requests(id, Command::Body), 1, "{fault:?}");
        let error = pool.status()[0].last_error.clone().unwrap();
        assert!(error.contains("answer"), "{error}");
    }
}

#[tokio::test]
async fn a_request_ends_whatever_a_lone_provider_does() {
    let release = release(1);
    let server = Newsd::builder()
        .release(&release)
        .rule(Rule::new(Fault::Stall))
        .start()
        .await
        .unwrap();
    let mut config = provider("a", &server);
    config.stall_timeout = Duration::from_secs(3600);
    config.first_byte_timeout = Duration::from_secs(3600);
    config.article_timeout = Duration::from_secs(3600);
    let options = PoolOptions {
        request_timeout: Duration::from_millis(200),
        ..PoolOptions::default()
    };
    let pool = Pool::with_options(vec![config], options).unwrap();
    let reason = unknown(fetch(&pool, &ids(&release)[0]).await);
    assert!(reason.contains("given up after 200ms"), "{reason}");
}

#[tokio::test]
async fn a_dead_provider_is_left_alone_and_others_serve() {
    let release = release(20);
    let server = Newsd::builder().release(&release).start().await.unwrap();
    // Bound and not listening: it refuses, and nobody else is given its port.
    let refusing = TcpSocket::new_v4().unwrap();
    refusing.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut dead = provider("dead", &server);
    dead.port = refusing.local_addr().unwrap().port();
    let pool = pool([dead, provider("b", &server)]);
    fetch_all(&pool, &release).await;
    let status = &pool.status()[0];
    assert_eq!(status.state, ProviderState::Unavailable);
    assert!(status.retry_in_ms.is_some());
    let errors = status.errors;
    fetch_all(&pool, &release).await;
    assert_eq!(pool.status()[0].errors, errors, "it was not tried again");
    assert!(unknown(fetch(&pool, "none@here").await).contains("provider 'dead'"));
}

#[tokio::test]
async fn a_provider_that_comes_back_is_used_again() {
    let release = release(1);
    let id = &ids(&release)[0];
    let first = Newsd::builder().start().await.unwrap();
    let (config, address) = (provider("a", &first), first.address());
    first.stop().await;
    let pool = pool([config]);
    unknown(fetch(&pool, id).await);
    let wait = pool.status()[0].retry_in_ms.expect("it is left alone");
    let _server = Newsd::builder()
        .listen(address.to_string())
        .release(&release)
        .start()
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(wait + 1)).await;
    assert!(fetch(&pool, id).await.is_ok());
    assert_eq!(pool.status()[0].state, ProviderState::Ready);
}

#[tokio::test]
async fn while_it_is_tried_again_one_request_goes_and_a_lone_provider_is_waited_for() {
    let release = release(12);
    let first = Newsd::builder().start().await.unwrap();
    let (config, address) = (provider("a", &first), first.address());
    first.stop().await;
    let pool = pool([config]);
    unknown(fetch(&pool, "x@y").await);
    let wait = pool.status()[0].retry_in_ms.expect("it is left alone");
    let server = Newsd::builder()
        .listen(address.to_string())
        .release(&release)
        .start()
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(wait + 1)).await;
    fetch_all(&pool, &release).await;
    assert!(server.counts().get(Command::Body) == 12);
}

#[tokio::test]
async fn a_storm_of_faults_changes_no_byte() {
    let release = release(150);
    let mut servers = Vec::new();
    for seed in 0..2 {
        let chances = [
            (Fault::CorruptPayload, 0.05),
            (Fault::Truncated, 0.03),
            (Fault::Missing, 0.05),
            (Fault::Disconnect, 0.02),
            (Fault::DisconnectInside, 0.02),
            (Fault::Stall, 0.01),
            (
                Fault::Reply {
                    code: 403,
                    text: "fault".into(),
                    close: false,
                },
                0.03,
            ),
        ];
        let mut builder = Newsd::builder().seed(seed).release(&release);
        for (fault, chance) in chances {
            builder = builder.rule(Rule::new(fault).chance(chance));
        }
        servers.push(builder.start().await.unwrap());
    }
    let last = Newsd::builder().release(&release).start().await.unwrap();
    let mut configs = vec![
        provider("a", &servers[0]),
        provider("b", &servers[1]),
        provider("c", &last),
    ];
    for config in &mut configs {
        config.stall_timeout = Duration::from_millis(100);
        config.first_byte_timeout = Duration::from_millis(1000);
    }
    configs[2].backup = true;
    let pool = pool(configs);
    for _ in 0..2 {
        fetch_all(&pool, &release).await;
    }
    let open = pool.status().iter().map(|s| s.open + s.connecting).sum::<u32>();
    assert!(open <= 24, "{open} connections");
    pool.shutdown().await;
    let gone = pool
        .status()
        .iter()
        .all(|s| s.open + s.connecting + s.busy == 0 && s.queued == 0);
    assert!(gone, "{:?}", pool.status());
}
