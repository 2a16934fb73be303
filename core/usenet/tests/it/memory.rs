//! Quotas, and what outlives the pool.

use super::*;
use altmount_newsd::{Command, Fault, Gate, Rule};
use altmount_usenet::{Memory, Period, ProviderState, Quota};
use std::collections::HashMap;
use std::io;
use std::sync::Mutex;

/// Keeps texts in memory.
#[derive(Debug, Default)]
struct Texts(Mutex<HashMap<String, Vec<u8>>>);

impl Memory for Texts {
    fn load(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.lock().unwrap().get(name).cloned())
    }

    fn save(&self, name: &str, text: &[u8]) -> io::Result<()> {
        self.0.lock().unwrap().insert(name.into(), text.into());
        Ok(())
    }
}

fn remembering(configs: &[ProviderConfig], texts: &Arc<Texts>) -> Arc<Pool> {
    Pool::remembering(configs.to_vec(), PoolOptions::default(), texts.clone()).unwrap()
}

#[tokio::test]
async fn a_pool_that_takes_anothers_place_has_its_quota_and_its_connections() {
    let release = release(6);
    let ids = ids(&release);
    let gate = Gate::new();
    let server = Newsd::builder()
        .release(&release)
        .rule(Rule::new(Fault::Hold(gate.clone())).id(&ids[0]))
        .max_connections(2)
        .start()
        .await
        .unwrap();
    let mut config = provider("a", &server);
    config.max_connections = 2;
    config.quota = Some(Quota {
        bytes: 1_000_000,
        period: Period::Month,
    });
    let texts = Arc::new(Texts::default());
    let old = remembering(&[config.clone()], &texts);
    let held = spawn(&old, &ids[0], Class::Import);
    guard(server.wait_until(|c| c.get(Command::Body) == 1)).await;
    fetch(&old, &ids[1]).await.unwrap();
    assert_eq!(server.counts().open, 2);

    config.priority = 1;
    let new = old.replaced_by(vec![config.clone()]).unwrap();
    // The one that is idle makes room, and the provider is not given up because there was none.
    fetch(&new, &ids[2]).await.unwrap();
    gate.open();
    guard(held).await.unwrap().unwrap();
    guard(server.wait_until(|c| c.open == 1)).await;
    let status = new.status().remove(0);
    assert_eq!(status.state, ProviderState::Ready, "{status:?}");
    // All three, whoever received them.
    assert!(status.quota_used_bytes.unwrap() >= 31_000, "{status:?}");
    old.shutdown().await;
    new.shutdown().await;
    let used = remembering(&[config], &texts).status().remove(0).quota_used_bytes;
    assert_eq!(used, status.quota_used_bytes);
}

#[tokio::test]
async fn a_quota_is_used_up_and_stays_so_over_a_restart() {
    let release = release(10);
    let ids = ids(&release);
    let a = Newsd::builder().release(&release).start().await.unwrap();
    let b = Newsd::builder().release(&release).start().await.unwrap();
    let mut configs = vec![provider("a", &a), provider("b", &b)];
    configs[0].quota = Some(Quota {
        bytes: 25_000,
        period: Period::Month,
    });
    configs[1].backup = true;
    let texts = Arc::new(Texts::default());
    let pool = remembering(&configs, &texts);
    for id in &ids[..6] {
        fetch(&pool, id).await.unwrap();
    }
    // Each has some 10,400 bytes on the wire.
    assert_eq!(
        (a.counts().get(Command::Body), b.counts().get(Command::Body)),
        (3, 3)
    );
    let status = pool.status().remove(0);
    assert_eq!(status.state, ProviderState::QuotaUsed);
    assert!(status.quota_used_bytes.unwrap() >= 25_000 && status.quota_resets_in_s.is_some());
    pool.shutdown().await;

    let again = remembering(&configs, &texts);
    fetch(&again, &ids[6]).await.unwrap();
    assert_eq!(
        (a.counts().get(Command::Body), b.counts().get(Command::Body)),
        (3, 4)
    );
    // It was not asked, so nothing is missing.
    let reason = unknown(fetch(&again, "none@here").await);
    assert!(reason.contains("quota"), "{reason}");
}

#[tokio::test]
async fn a_pool_of_some_providers_keeps_the_count_of_the_others() {
    let release = release(3);
    let ids = ids(&release);
    let server = Newsd::builder().release(&release).start().await.unwrap();
    let mut configs = vec![provider("a", &server), provider("b", &server)];
    for config in &mut configs {
        config.quota = Some(Quota {
            bytes: 1_000_000,
            period: Period::Month,
        });
    }
    configs[1].group = configs[0].group.clone();
    let texts = Arc::new(Texts::default());
    // By each of them alone, as a speed test does.
    for (config, id) in configs.iter().zip(&ids) {
        let pool = remembering(std::slice::from_ref(config), &texts);
        fetch(&pool, id).await.unwrap();
        pool.shutdown().await;
    }
    let both = remembering(&configs, &texts).status();
    let used: Vec<_> = both
        .iter()
        .map(|status| status.quota_used_bytes.unwrap())
        .collect();
    assert!(
        used.iter().all(|bytes| (10_000..15_000).contains(bytes)),
        "{used:?}"
    );
}

#[tokio::test]
async fn misses_are_remembered_for_readers_over_a_restart_and_bounded_to_their_group() {
    let release = release(2);
    let ids = ids(&release);
    let a = Newsd::builder().start().await.unwrap();
    let b = Newsd::builder().release(&release).start().await.unwrap();
    let configs = [provider("a", &a), provider("b", &b)];
    let texts = Arc::new(Texts::default());
    let pool = remembering(&configs, &texts);
    let asked = || a.counts().get(Command::Body);
    play(&pool, &ids[0]).await.unwrap();
    play(&pool, &ids[0]).await.unwrap();
    assert_eq!(asked(), 1);
    assert_eq!(pool.status()[0].missing_known, 1);
    fetch(&pool, &ids[0]).await.unwrap();
    assert_eq!(asked(), 2, "an import asks");
    pool.shutdown().await;

    let again = remembering(&configs, &texts);
    play(&again, &ids[0]).await.unwrap();
    assert_eq!(asked(), 2);
    // Another backbone by that name knows nothing of it.
    let mut moved = configs.clone();
    moved[0].group = Some("other".into());
    play(&remembering(&moved, &texts), &ids[0]).await.unwrap();
    assert_eq!(asked(), 3);
    // What is there after all is remembered as well.
    a.add(&release);
    fetch(&again, &ids[0]).await.unwrap();
    let before = b.counts().get(Command::Body);
    play(&again, &ids[0]).await.unwrap();
    assert_eq!(b.counts().get(Command::Body), before);
}

#[tokio::test]
async fn what_makes_no_sense_is_left_out() {
    for text in [
        "",
        "{}",
        "null",
        r#"{"version":9,"data":{}}"#,
        r#"{"version":1,"data":[1]}"#,
    ] {
        let texts = Arc::new(Texts::default());
        for name in ["usage", "misses"] {
            texts.save(name, text.as_bytes()).unwrap();
        }
        let pool = remembering(&[ProviderConfig::new("a", "news.invalid")], &texts);
        assert_eq!(pool.status()[0].missing_known, 0);
    }
}
