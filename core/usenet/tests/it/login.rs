//! AUTHINFO, TLS, and what must never be shown.

use super::script::Script;
use super::*;
use altmount_newsd::{Command, Fault, Rule};
use altmount_usenet::ProviderState;

const PASSWORD: &str = "hunter2";

fn with_login(mut config: ProviderConfig) -> ProviderConfig {
    config.username = Some("user".into());
    config.password = Some(PASSWORD.into());
    config
}

async fn locked(release: &Release) -> Newsd {
    Newsd::builder()
        .credentials("user", PASSWORD)
        .release(release)
        .start()
        .await
        .unwrap()
}

#[tokio::test]
async fn it_logs_in_once_per_connection() {
    let release = release(10);
    let server = locked(&release).await;
    let mut config = with_login(provider("a", &server));
    config.max_connections = 2;
    let pool = pool([config]);
    fetch_all(&pool, &release).await;
    let counts = server.counts();
    assert_eq!(counts.logins, counts.connections);
    assert_eq!(
        counts.get(Command::Body),
        10,
        "nothing was asked before the login"
    );
}

#[tokio::test]
async fn a_host_is_found_by_its_name() {
    let release = release(10);
    let server = locked(&release).await;
    let mut config = with_login(provider("a", &server));
    // Its other address, which comes first on many machines, has no server.
    config.host = "localhost".into();
    config.max_connections = 4;
    let pool = pool([config]);
    fetch_all(&pool, &release).await;
    assert_eq!(server.counts().get(Command::Body), 10);
    let status = &pool.status()[0];
    assert_eq!((status.state, status.errors), (ProviderState::Ready, 0));
}

#[tokio::test]
async fn a_dial_waits_for_nothing_but_the_greeting_and_the_login() {
    let release = release(1);
    let server = locked(&release).await;
    let mut config = with_login(provider("a", &server));
    config.max_connections = 1;
    let pool = pool([config]);
    fetch_all(&pool, &release).await;
    let counts = server.counts();
    assert_eq!((counts.connections, counts.logins), (1, 1));
    for command in Command::ALL {
        // USER and PASS, and the article.
        let wanted = match command {
            Command::AuthInfo => 2,
            Command::Body => 1,
            _ => 0,
        };
        assert_eq!(counts.get(command), wanted, "{command:?}");
    }
}

#[tokio::test]
async fn a_refused_login_is_tried_once_and_shows_no_secret() {
    let release = release(10);
    let server = locked(&release).await;
    let mut config = with_login(provider("a", &server));
    config.password = Some("wrong-secret".into());
    assert!(!format!("{config:?}").contains("wrong-secret"));
    let pool = pool([config]);
    let results = futures::future::join_all((0..10).map(|_| fetch(&pool, "x@y"))).await;
    for result in results {
        let reason = unknown(result);
        assert!(reason.contains("refused the login"), "{reason}");
        assert!(!reason.contains("wrong-secret"));
    }
    let failed = server.counts().logins_failed;
    unknown(fetch(&pool, "x@y").await);
    assert_eq!(
        server.counts().logins_failed,
        failed,
        "it was tried again at once"
    );
    let status = &pool.status()[0];
    assert_eq!(status.state, ProviderState::LoginRefused);
    assert!(!format!("{pool:?} {status:?}").contains("wrong-secret"));
}

#[tokio::test]
async fn a_password_that_the_server_repeats_is_not_passed_on() {
    for (answer, shown) in [
        ("481 no, not hunter2\r\n", "481"),
        ("you said: PASS hunter2\r\n", "you said"),
    ] {
        let script = Script::start(move |_| {
            vec![
                ("", "200 hello\r\n".into()),
                ("AUTHINFO USER user", "381 go on\r\n".into()),
                ("AUTHINFO PASS hunter2", answer.into()),
            ]
        })
        .await;
        let pool = pool([with_login(script.provider())]);
        let reason = unknown(fetch(&pool, "x@y").await);
        assert!(reason.contains(shown) && !reason.contains(PASSWORD), "{reason}");
        assert!(!format!("{:?}", pool.status()).contains(PASSWORD));
    }
}

#[tokio::test]
async fn a_server_that_takes_the_user_alone_is_content() {
    let release = release(1);
    let script = Script::start(|_| {
        vec![
            ("", "201 read only\r\n".into()),
            ("AUTHINFO USER user", "281 welcome\r\n".into()),
            ("STAT <x@y>", "223 0 <x@y>\r\n".into()),
        ]
    })
    .await;
    drop(release);
    let pool = pool([with_login(script.provider())]);
    assert!(matches!(
        guard(pool.stat(&["x@y"], Class::Health)).await[..],
        [Ok(true)]
    ));
}

#[tokio::test]
async fn a_login_that_gets_lost_is_made_again_once() {
    let release = release(12);
    let server = locked(&release).await;
    server.rule(Rule::new(Fault::LoginLost).requests(3..=3));
    let mut config = with_login(provider("a", &server));
    config.max_connections = 1;
    config.pipeline_body = 4;
    let pool = pool([config]);
    fetch_all(&pool, &release).await;
    let counts = server.counts();
    assert_eq!(
        (counts.connections, counts.logins),
        (1, 2),
        "on the same connection"
    );
}

#[tokio::test]
async fn a_server_that_never_has_enough_of_logins_is_left() {
    let release = release(1);
    let server = locked(&release).await;
    server.rule(Rule::new(Fault::LoginLost));
    let pool = pool([with_login(provider("a", &server))]);
    let reason = unknown(fetch(&pool, &ids(&release)[0]).await);
    assert!(reason.contains("login"), "{reason}");
    assert!(server.counts().logins <= 4);
    assert_eq!(pool.status()[0].state, ProviderState::LoginRefused);
}

#[tokio::test]
async fn without_a_login_the_reason_says_what_to_do() {
    let release = release(1);
    let server = locked(&release).await;
    let pool = pool([provider("a", &server)]);
    let reason = unknown(fetch(&pool, &ids(&release)[0]).await);
    assert!(
        reason.contains("give the provider a username and password"),
        "{reason}"
    );
}

#[tokio::test]
async fn tls_carries_all_of_it() {
    let release = release(40);
    let server = Newsd::builder()
        .tls(true)
        .credentials("user", PASSWORD)
        .release(&release)
        .start()
        .await
        .unwrap();
    let pool = pool([with_login(provider("a", &server))]);
    fetch_all(&pool, &release).await;
    assert_eq!(server.counts().get(Command::Body), 40);
    pool.shutdown().await;
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused_before_the_login() {
    let release = release(1);
    let server = Newsd::builder()
        .tls(true)
        .credentials("user", PASSWORD)
        .release(&release)
        .start()
        .await
        .unwrap();
    let mut config = with_login(provider("a", &server));
    config.tls_insecure = false;
    // A machine without any root certificates refuses to make the pool at all, and says so.
    let pool = match Pool::new(vec![config]) {
        Ok(pool) => pool,
        Err(error) => return assert!(error.to_string().contains("root certificates"), "{error}"),
    };
    let reason = unknown(fetch(&pool, &ids(&release)[0]).await);
    assert!(reason.contains("certificate"), "{reason}");
    assert_eq!(server.counts().get(Command::AuthInfo), 0);
}
