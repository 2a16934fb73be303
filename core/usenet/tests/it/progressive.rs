//! What is decoded of an article reaches its reader while the rest is still arriving.

use super::*;
use altmount_newsd::{Command, Fault, Rule};
use altmount_vfs::{Arrival, Arrived};

const LEN: u64 = 500_000;

fn one_large() -> Release {
    let file = FileSpec::new("file.bin", Body::seeded(3, LEN)).article_size(LEN);
    Release::builder("large").with(file).build()
}

fn right(release: &Release) -> Vec<u8> {
    release.files()[0].body().range(0, LEN as usize)
}

/// All published bytes.
fn published(arrival: &Arrival) -> Vec<u8> {
    let mut all = Vec::new();
    while (all.len() as u64) < arrival.published() {
        all.extend_from_slice(&arrival.bytes_at(all.len() as u64));
    }
    all
}

#[tokio::test]
async fn the_first_half_is_there_while_the_second_never_comes_and_the_next_provider_goes_on() {
    let release = one_large();
    let id = &ids(&release)[0];
    let a = Newsd::builder().release(&release).start().await.unwrap();
    let b = Newsd::builder().release(&release).start().await.unwrap();
    a.rule(Rule::new(Fault::Stall));
    let mut configs = [provider("a", &a), provider("b", &b)];
    configs[0].stall_timeout = Duration::from_millis(300);
    let pool = pool(configs);
    let arrival = Arrival::new();
    let fetching = pool.fetch_into(id, Class::Playback, &arrival);
    let reading = async {
        arrival.reached(100_000).await;
        assert_eq!(b.counts().get(Command::Body), 0, "the first is still at it");
        let early = published(&arrival);
        assert!(
            early.len() >= 100_000 && (early.len() as u64) < LEN,
            "{}",
            early.len()
        );
        assert!(right(&release).starts_with(&early));
        assert_eq!(arrival.info().unwrap().offset, Some(0));
    };
    let (arrived, ()) = guard(async { tokio::join!(fetching, reading) }).await;
    let arrived = arrived.unwrap();
    assert_eq!(arrival.settle(&arrived), None);
    assert_eq!(arrived.pieces.concat(), right(&release));
    assert_eq!(
        (a.requests(id, Command::Body), b.requests(id, Command::Body)),
        (1, 1)
    );
}

#[tokio::test]
async fn the_last_block_of_a_damaged_article_is_never_given_out() {
    for fault in [Fault::CorruptPayload, Fault::CorruptChecksum, Fault::WrongSize] {
        let release = one_large();
        let server = Newsd::builder().release(&release).start().await.unwrap();
        server.rule(Rule::new(fault.clone()));
        let pool = pool([provider("a", &server)]);
        let arrival = Arrival::new();
        let id = &ids(&release)[0];
        let fetching = pool.fetch_into(id, Class::Playback, &arrival);
        let reading = async {
            // More and more, to the end, which does not come.
            for upto in (50_000..=LEN).step_by(50_000) {
                arrival.reached(upto).await;
            }
        };
        let result = guard(async {
            tokio::select! {
                result = fetching => result,
                () = reading => panic!("all of it was given out"),
            }
        })
        .await;
        assert!(
            matches!(result, Err(FetchError::Corrupt { .. })),
            "{fault:?}: {result:?}"
        );
        assert!(
            arrival.published() <= LEN - 4096 + 1000,
            "{fault:?}: {}",
            arrival.published()
        );
    }
}

#[tokio::test]
async fn what_was_given_out_is_compared_only_where_no_checksum_proves_it() {
    let release = one_large();
    let bytes = "a".repeat(128) + "\r\n";
    let lines = (LEN / 128) as usize;
    let size = lines * 128;
    let unproven = format!(
        "=ybegin line=128 size={size} name=x\r\n{}=yend size={size}\r\n",
        bytes.repeat(lines)
    );
    let server = Newsd::builder()
        .release(&release)
        .bandwidth(5_000_000)
        .start()
        .await
        .unwrap();
    assert!(server.add_article("unproven@here", "", unproven));
    let pool = pool([provider("a", &server)]);
    for (id, proven) in [(ids(&release)[0].as_str(), true), ("unproven@here", false)] {
        let arrival = Arrival::new();
        let fetching = pool.fetch_into(id, Class::Playback, &arrival);
        let (arrived, ()) = guard(async { tokio::join!(fetching, arrival.reached(100_000)) }).await;
        let arrived = arrived.unwrap();
        assert!(arrival.published() >= 100_000);
        assert_eq!(arrival.settle(&arrived), None, "{id}");
        // Other bytes than any that came: whoever compares finds them.
        let other = Arrived {
            info: arrived.info.clone(),
            pieces: vec![vec![0; arrived.len() as usize].into()],
        };
        let at = arrival.settle(&other);
        assert_eq!(at.is_none(), proven, "{id}: {at:?}");
    }
}

#[tokio::test]
async fn without_somebody_who_waits_it_comes_in_one_piece() {
    let release = one_large();
    let server = Newsd::builder().release(&release).start().await.unwrap();
    let pool = pool([provider("a", &server)]);
    let arrival = Arrival::new();
    let arrived = guard(pool.fetch_into(&ids(&release)[0], Class::ReadAhead, &arrival))
        .await
        .unwrap();
    assert_eq!((arrival.published(), arrived.pieces.len()), (0, 1));
    assert_eq!(arrived.pieces[0], right(&release));
}

#[tokio::test]
async fn a_copy_that_disagrees_with_what_was_given_out_is_found_out() {
    let release = one_large();
    let other = {
        // The same message-id, other bytes.
        let file = FileSpec::new("file.bin", Body::seeded(4, LEN)).article_size(LEN);
        Release::builder("large").with(file).build()
    };
    let id = &ids(&release)[0];
    assert_eq!(id, &ids(&other)[0]);
    let a = Newsd::builder().release(&other).start().await.unwrap();
    let b = Newsd::builder().release(&release).start().await.unwrap();
    a.rule(Rule::new(Fault::Stall));
    let mut configs = [provider("a", &a), provider("b", &b)];
    configs[0].stall_timeout = Duration::from_millis(200);
    let pool = pool(configs);
    let arrival = Arrival::new();
    let (arrived, ()) = guard(async {
        tokio::join!(
            pool.fetch_into(id, Class::Playback, &arrival),
            arrival.reached(100_000)
        )
    })
    .await;
    assert_eq!(arrival.settle(&arrived.unwrap()), Some(0));
}
