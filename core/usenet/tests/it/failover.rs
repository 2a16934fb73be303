//! An article that the first provider does not have: how many round trips the others take.

use super::*;
use altmount_newsd::{Command, Fault, Gate, Rule};

/// Five providers that are groups of their own, of which the last alone has the release.
async fn five(release: &Release) -> (Vec<Newsd>, Arc<Pool>) {
    let mut servers = Vec::new();
    for at in 0..5 {
        let builder = Newsd::builder();
        let builder = if at == 4 {
            builder.release(release)
        } else {
            builder
        };
        servers.push(builder.start().await.unwrap());
    }
    let configs: Vec<_> = servers
        .iter()
        .enumerate()
        .map(|(at, server)| {
            let mut config = provider(&format!("p{at}"), server);
            config.priority = u8::try_from(at).unwrap();
            config
        })
        .collect();
    (servers, pool(configs))
}

fn sent(servers: &[Newsd], command: Command) -> Vec<u64> {
    servers.iter().map(|s| s.counts().get(command)).collect()
}

/// Waits until each server was sent so many.
async fn wait(servers: &[Newsd], command: Command, wanted: [u64; 5]) {
    for (server, wanted) in servers.iter().zip(wanted) {
        guard(server.wait_until(|c| c.get(command) >= wanted)).await;
    }
    assert_eq!(sent(servers, command), wanted);
}

#[tokio::test]
async fn a_miss_costs_two_round_trips_at_most_and_one_body_from_any_number_of_providers() {
    let release = release(3);
    let ids = ids(&release);
    let (servers, pool) = five(&release).await;
    let gate = Gate::new();
    for server in &servers[1..] {
        server.rule(Rule::new(Fault::Hold(gate.clone())));
    }
    // The first round trip is the first provider's "no". In the second, all others are asked at the same time.
    let first = spawn(&pool, &ids[0], Class::Playback);
    wait(&servers, Command::Body, [1, 1, 0, 0, 0]).await;
    wait(&servers, Command::Stat, [0, 0, 1, 1, 1]).await;
    gate.open();
    assert_eq!(guard(first).await.unwrap().unwrap().data, bytes(&release, 0));
    assert_eq!(
        sent(&servers, Command::Body),
        [1, 1, 0, 0, 1],
        "one that has it, one guess"
    );

    // From now on it is known that articles are missing: all are asked in the first round trip, and the second brings it.
    gate.close();
    servers[0].rule(Rule::new(Fault::Hold(gate.clone())));
    let second = spawn(&pool, &ids[1], Class::Playback);
    wait(&servers, Command::Body, [2, 1, 0, 0, 1]).await;
    wait(&servers, Command::Stat, [0, 1, 2, 2, 2]).await;
    gate.open();
    assert_eq!(guard(second).await.unwrap().unwrap().data, bytes(&release, 1));
    assert_eq!(sent(&servers, Command::Body), [2, 1, 0, 0, 2]);
    assert_eq!(sent(&servers, Command::Stat), [0, 1, 2, 2, 2]);

    // A reader takes the groups' word for what they do not have.
    assert!(play(&pool, &ids[1]).await.is_ok());
    assert_eq!(sent(&servers, Command::Body)[0], 2);
    assert_eq!(sent(&servers, Command::Body)[4], 3);
}

#[tokio::test]
async fn what_is_missing_everywhere_is_said_to_be_so_by_body_and_in_three_round_trips() {
    let release = release(1);
    let (servers, pool) = five(&release).await;
    let result = play(&pool, "none@here").await;
    assert!(is_missing(&result), "{result:?}");
    // The first, the likeliest, and then all that denied it to STAT, at once.
    assert_eq!(sent(&servers, Command::Body), [1, 1, 1, 1, 1]);
    assert_eq!(sent(&servers, Command::Stat), [0, 0, 1, 1, 1]);
    // Nobody is asked again for a while.
    assert!(is_missing(&play(&pool, "none@here").await));
    assert_eq!(sent(&servers, Command::Body), [1, 1, 1, 1, 1]);
    // But whoever draws conclusions asks again.
    assert!(is_missing(&fetch(&pool, "none@here").await));
    assert_eq!(sent(&servers, Command::Body), [2, 2, 2, 2, 2]);
}

#[tokio::test]
async fn a_server_that_denies_to_stat_what_it_sends_is_asked_for_the_body() {
    let release = release(1);
    let (servers, pool) = five(&release).await;
    servers[4].rule(Rule::new(Fault::Missing).commands([Command::Stat]));
    let id = &ids(&release)[0];
    assert_eq!(play(&pool, id).await.unwrap().data, bytes(&release, 0));
    assert_eq!(servers[4].requests(id, Command::Body), 1);
}

#[tokio::test]
async fn an_existence_check_asks_the_others_all_at_once() {
    let release = release(1);
    let (servers, pool) = five(&release).await;
    let gate = Gate::new();
    for server in &servers[1..] {
        server.rule(Rule::new(Fault::Hold(gate.clone())));
    }
    let id = ids(&release)[0].clone();
    let asking = tokio::spawn({
        let pool = pool.clone();
        async move { pool.stat(&[&id], Class::Health).await }
    });
    wait(&servers, Command::Stat, [1, 1, 1, 1, 1]).await;
    gate.open();
    assert!(matches!(&guard(asking).await.unwrap()[..], [Ok(true)]));
    assert_eq!(sent(&servers, Command::Body), [0; 5]);
}

#[tokio::test]
async fn when_every_provider_fails_at_once_nothing_is_missing_and_nobody_is_hammered() {
    let release = release(40);
    let (a, b) = (
        Newsd::builder().release(&release).start().await.unwrap(),
        Newsd::builder().release(&release).start().await.unwrap(),
    );
    let configs = [provider("a", &a), provider("b", &b)];
    let pool = pool(configs);
    fetch_all(&pool, &release).await;
    tokio::join!(a.stop(), b.stop());
    let ids = ids(&release);
    for round in 0..3 {
        let results = guard(futures::future::join_all(
            ids.iter().map(|id| pool.fetch(id, Class::Import)),
        ))
        .await;
        for result in results {
            unknown(result);
        }
        let asked: Vec<&str> = ids.iter().map(String::as_str).collect();
        let stats = guard(pool.stat(&asked, Class::Health)).await;
        assert!(stats.iter().all(Result::is_err), "round {round}");
    }
    for status in pool.status() {
        assert!(status.errors <= 8, "{status:?}");
    }
}

#[tokio::test]
async fn a_reader_waits_for_a_provider_that_is_about_to_be_tried_again() {
    let release = release(1);
    let id = &ids(&release)[0];
    let first = Newsd::builder().start().await.unwrap();
    let (config, address) = (provider("a", &first), first.address());
    first.stop().await;
    let pool = pool([config]);
    unknown(fetch(&pool, id).await);
    let _server = Newsd::builder()
        .listen(address.to_string())
        .release(&release)
        .start()
        .await
        .unwrap();
    unknown(fetch(&pool, id).await);
    assert_eq!(play(&pool, id).await.unwrap().data, bytes(&release, 0));
}
