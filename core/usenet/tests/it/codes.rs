//! Every reply code, and every way to say what cannot be said.

use super::script::{CLOSE, Script, body};
use super::*;
use altmount_usenet::ProviderState;

const TEXT: &str = "0123456789";

/// A server that greets and then gives `reply` to each BODY of `x@y`.
async fn replies(reply: &str) -> Script {
    let reply = reply.as_bytes().to_vec();
    Script::start(move |_| vec![("", b"200 hello\r\n".to_vec()), ("BODY <x@y>", reply.clone())]).await
}

#[tokio::test]
async fn greetings() {
    for greeting in [
        "200 hello\r\n",
        "201 no posting\r\n",
        "200\r\n",
        "200 bare line feed\n",
    ] {
        let greeting = greeting.as_bytes().to_vec();
        let answer = format!("222 0 <x@y>\r\n{}", body(TEXT)).into_bytes();
        let script =
            Script::start(move |_| vec![("", greeting.clone()), ("BODY <x@y>", answer.clone())]).await;
        assert_eq!(fetch(&pool([script.provider()]), "x@y").await.unwrap().data, TEXT);
    }
    for (greeting, state) in [
        ("400 down for maintenance\r\n", ProviderState::Unavailable),
        ("502 no service for you\r\n", ProviderState::LoginRefused),
        ("502 too many connections\r\n", ProviderState::Unavailable),
        ("HTTP/1.1 400 Bad Request\r\n", ProviderState::Unavailable),
        ("SSH-2.0-OpenSSH\r\n", ProviderState::Unavailable),
        ("222 0 <x@y>\r\n", ProviderState::Unavailable),
        ("\r\n", ProviderState::Unavailable),
    ] {
        let sent = greeting.as_bytes().to_vec();
        let script = Script::start(move |_| vec![("", sent.clone()), ("", CLOSE.to_vec())]).await;
        let pool = pool([script.provider()]);
        let reason = unknown(fetch(&pool, "x@y").await);
        let said = greeting.trim().split(' ').next_back().unwrap();
        assert!(reason.contains(said), "{greeting:?}: {reason}");
        assert_eq!(pool.status()[0].state, state, "{greeting:?}");
    }
}

#[tokio::test]
async fn a_server_without_a_greeting_is_given_up() {
    let script = Script::start(|_| Vec::new()).await;
    let mut config = script.provider();
    config.connect_timeout = Duration::from_millis(50);
    let reason = unknown(fetch(&pool([config]), "x@y").await);
    assert!(reason.contains("greeting: no answer within 50ms"), "{reason}");
    assert_eq!(script.connections(), 1, "its silence is waited for once");
}

#[tokio::test]
async fn missing_is_430_and_423_and_nothing_else() {
    for reply in [
        "430 no such article\r\n",
        "423 no article with that number\r\n",
        "430\r\n",
        "430 <x@y>\r\n",
    ] {
        let script = replies(reply).await;
        assert!(
            is_missing(&fetch(&pool([script.provider()]), "x@y").await),
            "{reply:?}"
        );
    }
    for code in [
        401, 403, 411, 412, 420, 421, 422, 435, 436, 437, 440, 441, 451, 500, 501, 503, 504, 580,
    ] {
        let script = replies(&format!("{code} something\r\n")).await;
        let pool = pool([script.provider()]);
        let reason = unknown(fetch(&pool, "x@y").await);
        assert!(reason.contains(&code.to_string()), "{reason}");
        assert_eq!(
            (script.connections(), pool.status()[0].open),
            (1, 1),
            "{code} ends no connection"
        );
    }
}

#[tokio::test]
async fn what_cannot_be_the_answer_ends_the_connection() {
    let long = format!("222 {}\r\n", "x".repeat(5000));
    for reply in [
        "100 help follows\r\n",
        "200 hello again\r\n",
        "205 bye\r\n",
        "211 1 1 1 group\r\n",
        "221 0 <x@y> head\r\n",
        "223 0 <x@y>\r\n",
        "281 welcome\r\n",
        "335 send it\r\n",
        "381 password\r\n",
        "600 what\r\n",
        "222 0 <other@id>\r\n",
        "430 no <other@id>\r\n",
        "not a status line\r\n",
        "\r\n",
        "\0\0\0\0",
        "2222222\r\n",
        &long,
    ] {
        let script = replies(reply).await;
        let pool = pool([script.provider()]);
        unknown(fetch(&pool, "x@y").await);
        assert_eq!(pool.status()[0].open, 0, "{reply:?}");
        assert!(
            (2..=4).contains(&script.connections()),
            "{reply:?}: {} connections",
            script.connections()
        );
    }
}

#[tokio::test]
async fn an_answer_about_another_article_is_never_taken() {
    let (other, right) = (body("AAAAAAAAAA"), body(TEXT));
    let script = Script::start(move |n| {
        let (id, text) = if n == 0 {
            ("<a@b>", &other)
        } else {
            ("<x@y>", &right)
        };
        let answer = format!("222 0 {id} body\r\n{text}").into_bytes();
        vec![("", b"200 hello\r\n".to_vec()), ("BODY <x@y>", answer)]
    })
    .await;
    assert_eq!(fetch(&pool([script.provider()]), "x@y").await.unwrap().data, TEXT);
    assert_eq!(script.connections(), 2);
}

#[tokio::test]
async fn what_comes_unasked_ends_the_connection_and_answers_nothing() {
    let right = format!("222 0 <x@y>\r\n{}", body(TEXT));
    let script = Script::start(move |n| {
        let mut first = right.clone().into_bytes();
        if n == 0 {
            first.extend_from_slice(b"222 0 <z@y>\r\nstray\r\n.\r\n");
        }
        let command = if n == 0 { "BODY <x@y>" } else { "BODY <z@y>" };
        let answer = if n == 0 {
            first
        } else {
            format!("222 0 <z@y>\r\n{}", body("AAA")).into_bytes()
        };
        vec![("", b"200 hello\r\n".to_vec()), (command, answer)]
    })
    .await;
    let pool = pool([script.provider()]);
    assert_eq!(fetch(&pool, "x@y").await.unwrap().data, TEXT);
    assert_eq!(fetch(&pool, "z@y").await.unwrap().data, "AAA");
    assert_eq!(script.connections(), 2);
}

#[tokio::test]
async fn answers_in_single_bytes_are_put_together() {
    let whole = format!("222 0 <x@y>\r\n{}430 no\r\n", body(TEXT));
    let script = Script::start(move |_| {
        let mut steps = vec![("", b"200 hello\r\n".to_vec()), ("BODY <x@y>", Vec::new())];
        steps.extend(whole.bytes().map(|b| ("", vec![b])));
        steps
    })
    .await;
    let mut config = script.provider();
    config.pipeline_body = 1;
    let pool = pool([config]);
    assert_eq!(fetch(&pool, "x@y").await.unwrap().data, TEXT);
}

#[tokio::test]
async fn article_answers_and_bare_line_feeds_are_understood() {
    let with_headers = format!(
        "220 0 <x@y> article\r\nSubject: x\r\nFrom: ..\r\n\r\n{}",
        body(TEXT)
    );
    let bare = format!("222 0 <x@y>\r\n{}", body(TEXT)).replace('\r', "");
    for answer in [with_headers, bare] {
        let script = replies(&answer).await;
        assert_eq!(fetch(&pool([script.provider()]), "x@y").await.unwrap().data, TEXT);
    }
}

#[tokio::test]
async fn an_article_without_an_end_is_bounded() {
    let script = Script::start(|_| {
        let mut steps = vec![
            ("", b"200 hello\r\n".to_vec()),
            ("BODY <x@y>", b"222 0 <x@y>\r\n".to_vec()),
        ];
        steps.extend((0..64).map(|_| ("", vec![b'a'; 64 << 10])));
        steps
    })
    .await;
    let options = altmount_usenet::PoolOptions {
        max_article_bytes: 1000,
        ..Default::default()
    };
    let pool = Pool::with_options(vec![script.provider()], options).unwrap();
    let reason = unknown(fetch(&pool, "x@y").await);
    assert!(reason.contains("no end"), "{reason}");
}

#[tokio::test]
async fn a_trickle_is_cut_off() {
    let release = release(1);
    let server = paced(&release, 2000).await;
    let mut config = provider("a", &server);
    config.article_timeout = Duration::from_millis(300);
    let reason = unknown(fetch(&pool([config]), &ids(&release)[0]).await);
    assert!(reason.contains("not whole after 300ms"), "{reason}");
}

#[tokio::test]
async fn service_that_ends_with_502_is_not_asked_again() {
    let script = Script::start(|_| {
        let refusal = b"502 your account is empty\r\n".to_vec();
        vec![("", b"200 hello\r\n".to_vec()), ("BODY <x@y>", refusal)]
    })
    .await;
    let pool = pool([script.provider()]);
    assert!(unknown(fetch(&pool, "x@y").await).contains("your account is empty"));
    assert!(unknown(fetch(&pool, "x@y").await).contains("your account is empty"));
    assert_eq!(script.connections(), 1);
    assert_eq!(pool.status()[0].state, ProviderState::LoginRefused);
}
