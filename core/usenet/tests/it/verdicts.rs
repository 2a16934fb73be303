//! Missing, corrupt, unknown, and whom that takes to say.

use super::*;
use altmount_newsd::{Command, Fault, Rule};
use altmount_usenet::ProviderState;

async fn two(release: &Release) -> (Newsd, Newsd) {
    let a = Newsd::builder().release(release).start().await.unwrap();
    let b = Newsd::builder().release(release).start().await.unwrap();
    (a, b)
}

#[tokio::test]
async fn every_article_is_right_and_asked_once() {
    let release = release(60);
    let server = Newsd::builder().release(&release).start().await.unwrap();
    let pool = pool([provider("a", &server)]);
    fetch_all(&pool, &release).await;
    let counts = server.counts();
    assert_eq!((counts.get(Command::Body), counts.get(Command::Stat)), (60, 0));
    assert!(counts.peak <= 8);
    let status = &pool.status()[0];
    assert_eq!(
        (status.articles, status.errors, status.state),
        (60, 0, ProviderState::Ready)
    );
    assert!(status.bytes > 600_000);
    pool.shutdown().await;
}

#[tokio::test]
async fn without_a_provider_nothing_is_missing() {
    let mut off = ProviderConfig::new("off", "news.invalid");
    off.enabled = false;
    for providers in [Vec::new(), vec![off]] {
        let pool = pool(providers);
        assert!(unknown(fetch(&pool, "a@b").await).contains("no news provider is configured"));
        assert!(matches!(
            &pool.stat(&["a@b"], Class::Health).await[..],
            [Err(FetchError::Unknown { .. })]
        ));
    }
}

#[tokio::test]
async fn what_is_no_message_id_is_never_sent() {
    let server = Newsd::builder().start().await.unwrap();
    let pool = pool([provider("a", &server)]);
    for id in ["", "a b@c", "a@b>\r\nQUIT\r\n", "a\u{e9}@b", &"x".repeat(300)] {
        assert!(unknown(fetch(&pool, id).await).contains("message-id"));
    }
    assert_eq!(server.counts().connections, 0);
}

#[tokio::test]
async fn missing_takes_every_group_and_one_answer_of_each() {
    let (a, b) = two(&release(1)).await;
    let sibling = Newsd::builder().start().await.unwrap();
    let mut configs = [
        provider("a", &a),
        provider("sibling", &sibling),
        provider("b", &b),
    ];
    (configs[0].group, configs[1].group) = (Some("backbone".into()), Some("backbone".into()));
    configs[2].backup = true;
    let pool = pool(configs);
    let result = fetch(&pool, "none@here").await;
    assert!(is_missing(&result), "{result:?}");
    assert_eq!(a.counts().get(Command::Body), 1);
    assert_eq!(b.counts().get(Command::Body), 1);
    assert_eq!(sibling.counts().connections, 0);
}

#[tokio::test]
async fn a_provider_that_does_not_answer_makes_it_unknown() {
    let (a, b) = two(&release(1)).await;
    b.refuse_logins(true);
    let mut refusing = provider("refusing", &b);
    refusing.username = Some("user".into());
    refusing.password = Some("hunter2".into());
    b.rule(Rule::new(Fault::LoginLost));
    let pool = pool([provider("a", &a), refusing]);
    let reason = unknown(fetch(&pool, "none@here").await);
    assert!(reason.contains("provider 'refusing'"), "{reason}");
    assert!(!reason.contains("provider 'a'"), "{reason}");
    let stats = guard(pool.stat(&["none@here"], Class::Health)).await;
    assert!(
        matches!(&stats[..], [Err(FetchError::Unknown { .. })]),
        "{stats:?}"
    );
}

#[tokio::test]
async fn a_sibling_answers_for_one_that_fails() {
    let release = release(1);
    let (a, b) = two(&release).await;
    a.rule(Rule::new(Fault::Disconnect));
    let mut configs = [provider("a", &a), provider("b", &b)];
    configs.iter_mut().for_each(|c| c.group = Some("backbone".into()));
    let pool = pool(configs);
    assert!(is_missing(&fetch(&pool, "none@here").await));
}

#[tokio::test]
async fn the_order_is_priority_then_backup() {
    let release = release(1);
    let id = &ids(&release)[0];
    let (a, b) = two(&release).await;
    let (empty, spare) = (Newsd::builder().start().await.unwrap(), two(&release).await.0);
    let mut configs = [
        provider("spare", &spare),
        provider("b", &b),
        provider("a", &a),
        provider("empty", &empty),
    ];
    configs[0].backup = true;
    (configs[1].priority, configs[2].priority, configs[3].priority) = (2, 1, 0);
    let pool = pool(configs);
    let names: Vec<_> = pool.status().into_iter().map(|s| s.name).collect();
    assert_eq!(names, ["empty", "a", "b", "spare"]);
    assert!(fetch(&pool, id).await.is_ok());
    assert_eq!(empty.counts().get(Command::Body), 1);
    assert_eq!(a.requests(id, Command::Body), 1);
    assert_eq!(b.counts().connections + spare.counts().connections, 0);
    b.remove(id);
    a.remove(id);
    assert!(fetch(&pool, id).await.is_ok());
    assert_eq!(spare.requests(id, Command::Body), 1);
}

#[tokio::test]
async fn a_damaged_article_is_had_from_the_next_provider() {
    for fault in [
        Fault::CorruptPayload,
        Fault::CorruptChecksum,
        Fault::Truncated,
        Fault::WrongSize,
    ] {
        let release = release(3);
        let id = &ids(&release)[1];
        let (a, b) = two(&release).await;
        a.rule(Rule::new(fault.clone()).id(id));
        let pool = pool([provider("a", &a), provider("b", &b)]);
        fetch_all(&pool, &release).await;
        assert_eq!(a.requests(id, Command::Body), 1, "{fault:?}");
        assert_eq!(b.counts().get(Command::Body), 1, "{fault:?}");
        assert_eq!(
            (pool.status()[0].corrupt, pool.status()[1].articles),
            (1, 1),
            "{fault:?}"
        );
    }
}

#[tokio::test]
async fn corrupt_is_said_after_asking_twice_and_only_if_nobody_else_could_have_it() {
    let release = release(1);
    let id = &ids(&release)[0];
    let (a, b) = two(&release).await;
    a.rule(Rule::new(Fault::CorruptPayload));
    b.remove(id);
    let one = pool([provider("a", &a)]);
    let result = fetch(&one, id).await;
    assert!(is_corrupt(&result), "{result:?}");
    assert_eq!(a.requests(id, Command::Body), 2);

    let both = pool([provider("a", &a), provider("b", &b)]);
    assert!(is_corrupt(&fetch(&both, id).await));

    b.rule(Rule::new(Fault::Disconnect));
    let reason = unknown(fetch(&both, id).await);
    assert!(reason.contains("provider 'b'"), "{reason}");
}

#[tokio::test]
async fn damage_that_passes_is_no_verdict() {
    let release = release(1);
    let id = &ids(&release)[0];
    let server = Newsd::builder().release(&release).start().await.unwrap();
    server.rule(Rule::new(Fault::CorruptPayload).requests(..=1));
    let pool = pool([provider("a", &server)]);
    assert_eq!(fetch(&pool, id).await.unwrap().data, bytes(&release, 0));
    assert_eq!(server.requests(id, Command::Body), 2);
}

#[tokio::test]
async fn stat_has_three_answers_in_the_order_of_the_ids() {
    let release = release(40);
    let ids = ids(&release);
    let (a, b) = two(&release).await;
    a.remove(&ids[3]);
    b.remove(&ids[3]);
    a.remove(&ids[5]);
    a.rule(Rule::new(Fault::Missing).id(&ids[7]));
    b.rule(
        Rule::new(Fault::Reply {
            code: 403,
            text: "internal fault".into(),
            close: false,
        })
        .id(&ids[7]),
    );
    let pool = pool([provider("a", &a), provider("b", &b)]);
    let asked: Vec<&str> = ids.iter().map(String::as_str).collect();
    let answers = guard(pool.stat(&asked, Class::Health)).await;
    assert_eq!(answers.len(), 40);
    for (at, answer) in answers.iter().enumerate() {
        match at {
            3 => assert!(matches!(answer, Ok(false))),
            7 => assert!(matches!(answer, Err(FetchError::Unknown { reason, .. }) if reason.contains("403"))),
            _ => assert!(matches!(answer, Ok(true)), "{at}: {answer:?}"),
        }
    }
    assert_eq!(
        (a.counts().get(Command::Stat), b.counts().get(Command::Stat)),
        (40, 3)
    );
    assert_eq!(a.counts().get(Command::Body), 0);
    assert_eq!(a.counts().connections, 1, "one connection takes a hundred STATs");
}

#[tokio::test]
async fn what_is_older_than_a_provider_keeps_is_not_asked_of_it() {
    let release = release(1);
    let id = &ids(&release)[0];
    let (a, b) = two(&release).await;
    let mut configs = [provider("a", &a), provider("b", &b)];
    configs[0].retention_days = Some(1000);
    let pool = pool(configs.clone());
    let ago = |days: u64| std::time::SystemTime::now() - Duration::from_secs(days * 86_400 + 60);
    guard(pool.fetch_posted(id, Class::Import, ago(1001)))
        .await
        .unwrap();
    assert_eq!((a.counts().connections, b.requests(id, Command::Body)), (0, 1));
    guard(pool.fetch_posted(id, Class::Import, ago(1000)))
        .await
        .unwrap();
    assert_eq!(a.requests(id, Command::Body), 1);
    assert!(is_missing(
        &guard(pool.fetch_posted("none@here", Class::Import, ago(1001))).await
    ));
    // So it is where only its being there is asked for.
    let at = |days: u64| {
        let since = ago(days).duration_since(std::time::UNIX_EPOCH).unwrap();
        Some(i64::try_from(since.as_secs()).unwrap())
    };
    let stats = || (a.counts().get(Command::Stat), b.counts().get(Command::Stat));
    let old = [(id.as_str(), at(1001)), ("none@here", at(1001))];
    let answers = guard(pool.stat_posted(&old, Class::Import)).await;
    assert!(matches!(answers[..], [Ok(true), Ok(false)]), "{answers:?}");
    assert_eq!(stats(), (0, 2));
    let known = [
        (id.as_str(), at(1000)),
        (id.as_str(), None),
        (id.as_str(), Some(-1)),
    ];
    let answers = guard(pool.stat_posted(&known, Class::Import)).await;
    assert!(
        answers.iter().all(|answer| matches!(answer, Ok(true))),
        "{answers:?}"
    );
    assert_eq!(stats(), (3, 2));
    configs[1].retention_days = Some(1000);
    let neither = super::pool(configs);
    let reason = unknown(guard(neither.fetch_posted(id, Class::Import, ago(1001))).await);
    assert!(reason.contains("retention_days"), "{reason}");
    let answers = guard(neither.stat_posted(&old, Class::Import)).await;
    assert!(
        answers
            .iter()
            .all(|answer| matches!(answer, Err(FetchError::Unknown { .. }))),
        "{answers:?}"
    );
    assert_eq!(stats(), (3, 2));
}

#[tokio::test]
async fn two_providers_may_not_have_one_name_and_bad_values_are_named() {
    let config = ProviderConfig::new("a", "news.invalid");
    let error = Pool::new(vec![config.clone(), config.clone()]).unwrap_err();
    assert!(error.to_string().contains("two providers named 'a'"));
    let mut bad = config.clone();
    bad.max_connections = 0;
    assert!(
        Pool::new(vec![bad])
            .unwrap_err()
            .to_string()
            .contains("max_connections")
    );
    let mut bad = config;
    bad.username = Some("x\r\nQUIT".into());
    assert!(Pool::new(vec![bad]).unwrap_err().to_string().contains("username"));
}
