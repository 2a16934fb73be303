//! Requests that nobody waits for any more.

use super::*;
use altmount_newsd::{Command, Fault, Gate, Rule};

async fn held(release: &Release, gate: &Gate, depth: u8) -> (Newsd, Arc<Pool>) {
    let server = Newsd::builder().release(release).start().await.unwrap();
    server.rule(Rule::new(Fault::Hold(gate.clone())).id(&ids(release)[0]));
    let mut config = provider("a", &server);
    config.max_connections = 1;
    config.pipeline_body = depth;
    (server, pool([config]))
}

async fn stop(task: tokio::task::JoinHandle<Result<Article, FetchError>>) {
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
}

#[tokio::test]
async fn what_was_not_sent_never_is() {
    let release = release(3);
    let ids = ids(&release);
    let gate = Gate::new();
    let (server, pool) = held(&release, &gate, 1).await;
    let first = spawn(&pool, &ids[0], Class::Import);
    guard(server.wait_until(|c| c.get(Command::Body) == 1)).await;
    let second = spawn(&pool, &ids[1], Class::Import);
    until(&pool, |s| s.queued == 1).await;
    stop(second).await;
    gate.open();
    first.await.unwrap().unwrap();
    assert_eq!(fetch(&pool, &ids[2]).await.unwrap().data, bytes(&release, 2));
    assert_eq!(server.requests(&ids[1], Command::Body), 0);
    assert_eq!(server.counts().connections, 1);
}

#[tokio::test]
async fn what_was_sent_is_read_to_its_end_and_the_next_answer_is_right() {
    let release = release(4);
    let ids = ids(&release);
    let gate = Gate::new();
    let (server, pool) = held(&release, &gate, 4).await;
    let first = spawn(&pool, &ids[0], Class::Import);
    let second = spawn(&pool, &ids[1], Class::Import);
    let third = spawn(&pool, &ids[2], Class::Import);
    until(&pool, |s| s.in_flight == 3).await;
    stop(first).await;
    stop(second).await;
    gate.open();
    assert_eq!(guard(third).await.unwrap().unwrap().data, bytes(&release, 2));
    assert_eq!(fetch(&pool, &ids[3]).await.unwrap().data, bytes(&release, 3));
    assert_eq!(
        server.counts().connections,
        1,
        "three small articles are read, not run from"
    );
    assert_eq!(pool.status()[0].errors, 0);
}

#[tokio::test]
async fn an_answer_that_is_long_and_of_no_use_is_not_waited_for() {
    let release = in_articles(6_000_000, 3_000_000);
    let ids: Vec<_> = release.files()[0]
        .segments()
        .iter()
        .map(|s| s.id().to_owned())
        .collect();
    let server = Newsd::builder().release(&release).start().await.unwrap();
    server.rule(Rule::new(Fault::SlowBytes(1_000_000)).id(&ids[0]));
    let mut config = provider("a", &server);
    config.max_connections = 1;
    let pool = pool([config]);
    let first = spawn(&pool, &ids[0], Class::Import);
    guard(server.wait_until(|c| c.bytes_out > 20_000)).await;
    stop(first).await;
    let second = fetch(&pool, &ids[1]).await.unwrap();
    assert_eq!(second.data, release.files()[0].body().range(3_000_000, 3_000_000));
    // It came through, on a new connection or behind the rest of the first, and nothing counts as a failure.
    assert_eq!(pool.status()[0].errors, 0);
    assert!(server.counts().connections <= 2);
}

#[tokio::test]
async fn a_thousand_aborts_leave_nothing_behind() {
    let release = release(20);
    let ids = ids(&release);
    let server = Newsd::builder().release(&release).start().await.unwrap();
    let pool = pool([provider("a", &server)]);
    for round in 0..50 {
        let tasks: Vec<_> = ids.iter().map(|id| spawn(&pool, id, Class::Import)).collect();
        for _ in 0..round % 7 {
            tokio::task::yield_now().await;
        }
        for task in tasks {
            task.abort();
        }
    }
    fetch_all(&pool, &release).await;
    let status = pool.status().remove(0);
    assert_eq!((status.errors, status.queued), (0, 0), "{status:?}");
    assert!(status.open <= 8);
    until(&pool, |s| s.busy == 0).await;
}
