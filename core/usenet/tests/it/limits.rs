//! How many connections, and for how long.

use super::*;
use altmount_newsd::{Command, Fault, Gate, LimitAt, Rule};
use altmount_usenet::{PoolError, ProviderState};

#[tokio::test]
async fn the_cap_of_a_server_is_learned() {
    for at in [LimitAt::Greeting, LimitAt::Login] {
        let release = release(60);
        let server = Newsd::builder()
            .credentials("u", "p")
            .max_connections(2)
            .limit_at(at)
            .rtt(Duration::from_millis(2))
            .release(&release)
            .start()
            .await
            .unwrap();
        let mut config = provider("a", &server);
        (config.username, config.password) = (Some("u".into()), Some("p".into()));
        config.max_connections = 10;
        let pool = pool([config]);
        fetch_all(&pool, &release).await;
        let refused = server.counts().refused;
        assert!(refused > 0, "{at:?}");
        let status = &pool.status()[0];
        assert_eq!(status.state, ProviderState::Ready, "{at:?}: {status:?}");
        assert!((1..=2).contains(&status.open), "{at:?}: {status:?}");
        fetch_all(&pool, &release).await;
        assert_eq!(server.counts().refused, refused, "{at:?}: it knows by now");
    }
}

#[tokio::test]
async fn too_many_in_the_middle_of_a_session_is_no_verdict() {
    let release = release(10);
    let server = Newsd::builder().release(&release).start().await.unwrap();
    server.rule(Rule::new(Fault::too_many_connections()).requests(..=1));
    let mut config = provider("a", &server);
    config.max_connections = 2;
    let pool = pool([config]);
    fetch_all(&pool, &release).await;
}

#[tokio::test]
async fn connections_are_made_on_demand_and_no_more_than_configured() {
    let release = release(30);
    let gate = Gate::new();
    let server = Newsd::builder().release(&release).start().await.unwrap();
    let pool = {
        let mut config = provider("a", &server);
        config.max_connections = 3;
        config.pipeline_body = 2;
        pool([config])
    };
    assert_eq!(server.counts().connections, 0);
    for id in &ids(&release)[..5] {
        fetch(&pool, id).await.unwrap();
    }
    assert_eq!(server.counts().connections, 1, "one after the other needs one");
    server.rule(Rule::new(Fault::Hold(gate.clone())));
    let all = tokio::spawn({
        let (pool, release) = (pool.clone(), release.clone());
        async move { fetch_all(&pool, &release).await }
    });
    // Three connections, two bodies on each.
    until(&pool, |s| (s.in_flight, s.queued) == (6, 24)).await;
    assert_eq!((pool.status()[0].open, pool.status()[0].busy), (3, 3));
    gate.open();
    all.await.unwrap();
    assert_eq!(server.counts().connections, 3);
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_made_again() {
    let release = release(2);
    let server = Newsd::builder().release(&release).start().await.unwrap();
    let mut config = provider("a", &server);
    config.idle_timeout = Duration::from_millis(50);
    let pool = pool([config]);
    fetch(&pool, &ids(&release)[0]).await.unwrap();
    let counts = guard(server.wait_until(|c| c.open == 0)).await;
    assert_eq!(counts.get(Command::Quit), 1);
    fetch(&pool, &ids(&release)[1]).await.unwrap();
    assert_eq!(server.counts().connections, 2);
    assert_eq!(pool.status()[0].errors, 0);
}

#[tokio::test]
async fn a_connection_that_the_server_closed_while_idle_is_no_error() {
    let release = release(2);
    let server = Newsd::builder()
        .release(&release)
        .idle_timeout(Duration::from_millis(30))
        .start()
        .await
        .unwrap();
    let pool = pool([provider("a", &server)]);
    fetch(&pool, &ids(&release)[0]).await.unwrap();
    guard(server.wait_until(|c| c.open == 0)).await;
    fetch(&pool, &ids(&release)[1]).await.unwrap();
    assert_eq!(pool.status()[0].state, ProviderState::Ready);
    assert_eq!(server.counts().get(Command::Body), 2);
}

#[tokio::test]
async fn shutdown_says_goodbye_fails_what_waits_and_ends_all_tasks() {
    let release = release(10);
    let server = Newsd::builder().release(&release).start().await.unwrap();
    let pool = pool([provider("a", &server)]);
    fetch_all(&pool, &release).await;
    let open = server.counts().open;
    assert!(open > 0);
    server.rule(Rule::new(Fault::Hold(Gate::new())));
    let waiting = tokio::spawn({
        let (pool, id) = (pool.clone(), ids(&release)[0].clone());
        async move { fetch(&pool, &id).await }
    });
    guard(server.wait_until(|c| c.get(Command::Body) == 11)).await;
    guard(pool.shutdown()).await;
    assert!(unknown(waiting.await.unwrap()).contains("shut down"));
    assert!(unknown(fetch(&pool, "a@b").await).contains("shut down"));
    assert_eq!(pool.status()[0].state, ProviderState::Closed);
    // All but the one whose answer the server holds back have read the goodbye.
    guard(server.wait_until(|c| c.get(Command::Quit) >= open - 1)).await;
}

#[tokio::test]
async fn a_dropped_pool_leaves_no_connection() {
    let release = release(10);
    let server = Newsd::builder().release(&release).start().await.unwrap();
    let pool = pool([provider("a", &server)]);
    fetch_all(&pool, &release).await;
    drop(pool);
    guard(server.wait_until(|c| c.open == 0)).await;
}

#[test]
fn a_pool_needs_no_runtime_to_be_made() -> Result<(), PoolError> {
    let mut config = ProviderConfig::new("a", "news.invalid");
    config.tls_insecure = true;
    Pool::new(vec![config])?;
    Ok(())
}
