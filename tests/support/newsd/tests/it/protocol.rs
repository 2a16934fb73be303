use crate::client::Client;
use altmount_newsd::{Body, Command, FileSpec, LimitAt, Newsd, Release};
use std::time::Duration;

fn release() -> Release {
    Release::builder("Some.Release")
        .seed(3)
        .article_size(100_000)
        .file("film.mkv", Body::seeded(1, 250_000))
        .with(FileSpec::new("small.txt", ".dots\r\n..and more\r\n"))
        .with(FileSpec::new("empty", ""))
        .with(FileSpec::new("gone.bin", Body::seeded(2, 150_000)).missing([2]))
        .build()
}

#[tokio::test]
async fn every_byte_comes_back_plain_and_over_tls() {
    let release = release();
    for tls in [false, true] {
        let server = Newsd::builder().tls(tls).release(&release).start().await.unwrap();
        let mut client = Client::connect(&server).await;
        for file in release.files() {
            let mut bytes = Vec::new();
            for segment in file.segments().iter().filter(|s| s.posted) {
                let part = client.body(segment.id()).await.unwrap().unwrap();
                assert!(part.is_whole(), "{part:?}");
                assert_eq!(
                    part.field(&part.begin, "size"),
                    Some(file.body().len().to_string())
                );
                assert!(part.begin.ends_with(&format!("name={}", file.name())));
                if let Some(line) = &part.part {
                    assert_eq!(part.field(line, "begin"), Some((segment.offset + 1).to_string()));
                    assert_eq!(
                        part.field(line, "end"),
                        Some((segment.offset + segment.len).to_string())
                    );
                }
                bytes.extend(part.data);
            }
            let expected = file.body().range(0, 1 << 20);
            let posted = if file.name() == "gone.bin" {
                &expected[..100_000]
            } else {
                &expected
            };
            assert!(bytes == posted, "{} over {tls}", file.name());
        }
        assert_eq!(server.counts().get(Command::Body), 6);
        assert_eq!(server.counts().articles, 6);
        assert!(server.counts().bytes_out > 350_000);
        server.stop().await;
    }
}

#[tokio::test]
async fn commands_answer_as_the_standard_says() {
    let release = release();
    let server = Newsd::builder().release(&release).start().await.unwrap();
    let mut client = Client::connect(&server).await;
    let id = release.files()[0].id(2).unwrap();
    assert_eq!(
        client.ask("capabilities").await.unwrap(),
        "101 capabilities follow"
    );
    let capabilities = client.text().await.unwrap();
    assert_eq!(capabilities.first().unwrap(), b"VERSION 2");
    assert!(capabilities.iter().any(|line| line == b"READER"));
    assert_eq!(client.ask("MODE READER").await.unwrap(), "200 posting allowed");
    let date = client.ask("DATE").await.unwrap();
    assert!(date.starts_with("111 20") && date.len() == 18, "{date}");
    assert_eq!(
        client.ask(&format!("STAT <{id}>")).await.unwrap(),
        format!("223 0 <{id}>")
    );
    assert_eq!(
        client.ask("STAT <nobody@home>").await.unwrap(),
        "430 no such article"
    );
    let gone = release.files()[3].id(2).unwrap();
    assert_eq!(
        client.ask(&format!("BODY <{gone}>")).await.unwrap(),
        "430 no such article"
    );
    assert_eq!(client.ask("STAT 1").await.unwrap(), "412 no group selected");
    assert_eq!(client.ask("STAT").await.unwrap(), "420 no current article");
    assert_eq!(
        client.ask("GROUP alt.nowhere").await.unwrap(),
        "411 no such group"
    );
    assert_eq!(
        client.ask("GROUP alt.binaries.test").await.unwrap(),
        "211 6 1 6 alt.binaries.test"
    );
    assert_eq!(client.ask("STAT 2").await.unwrap(), format!("223 2 <{id}>"));
    assert_eq!(
        client.ask("STAT 7").await.unwrap(),
        "423 no article with that number"
    );
    assert_eq!(
        client.ask("STAT word").await.unwrap(),
        "501 a message-id or a number"
    );
    assert_eq!(client.ask("XYZZY").await.unwrap(), "500 unknown command");
    assert_eq!(
        client.ask(&format!("HEAD <{id}>")).await.unwrap(),
        format!("221 0 <{id}>")
    );
    let head = client.text().await.unwrap();
    assert!(
        head.iter()
            .any(|line| line == format!("Message-ID: <{id}>").as_bytes())
    );
    assert_eq!(
        client.ask(&format!("ARTICLE <{id}>")).await.unwrap(),
        format!("220 0 <{id}>")
    );
    let article = client.text().await.unwrap();
    let border = article.iter().position(Vec::is_empty).unwrap();
    assert_eq!(article[..border], head);
    assert!(article[border + 1].starts_with(b"=ybegin "));
    assert!(server.remove(id) && !server.remove(id));
    assert_eq!(
        client.ask("STAT 2").await.unwrap(),
        "423 no article with that number"
    );
    assert_eq!(
        server.requests(id, Command::Stat),
        1,
        "requests by message-id are counted, those by number are not"
    );
    assert_eq!(client.ask("QUIT").await.unwrap(), "205 goodbye");
    assert!(client.closed().await);
    let counts = server.wait_until(|counts| counts.open == 0).await;
    assert_eq!((counts.connections, counts.peak), (1, 1));
    assert_eq!(counts.get(Command::Unknown), 1);
}

#[tokio::test]
async fn pipelined_commands_are_answered_in_order() {
    let release = release();
    let server = Newsd::builder().release(&release).start().await.unwrap();
    let mut client = Client::connect(&server).await;
    let ids: Vec<&str> = release.files()[0].segments().iter().map(|s| s.id()).collect();
    let many: String = (0..1000).map(|n| format!("STAT <{}>\r\n", ids[n % 3])).collect();
    client.send(&many).await;
    for n in 0..1000 {
        assert_eq!(client.line().await.unwrap(), format!("223 0 <{}>", ids[n % 3]));
    }
    client
        .send(&format!(
            "BODY <{}>\r\nSTAT <none@x>\r\nBODY <{}>\r\nQUIT\r\n",
            ids[0], ids[2]
        ))
        .await;
    assert!(client.line().await.unwrap().starts_with("222 "));
    client.text().await.unwrap();
    assert!(client.line().await.unwrap().starts_with("430 "));
    assert!(client.line().await.unwrap().starts_with("222 "));
    client.text().await.unwrap();
    assert!(client.line().await.unwrap().starts_with("205 "));
    assert_eq!(server.requests(ids[0], Command::Stat), 334);
    assert_eq!(server.requests(ids[0], Command::Body), 1);
    assert_eq!(server.requests("none@x", Command::Stat), 1);
}

#[tokio::test]
async fn a_login_is_asked_for_and_judged() {
    let release = release();
    let id = release.files()[0].id(1).unwrap();
    let server = Newsd::builder()
        .credentials("me", "secret")
        .release(&release)
        .start()
        .await
        .unwrap();
    let mut client = Client::connect(&server).await;
    assert!(
        client
            .ask(&format!("STAT <{id}>"))
            .await
            .unwrap()
            .starts_with("480 ")
    );
    assert!(client.ask("POST").await.unwrap().starts_with("480 "));
    assert!(
        client
            .ask("AUTHINFO PASS secret")
            .await
            .unwrap()
            .starts_with("482 ")
    );
    assert!(client.ask("AUTHINFO USER me").await.unwrap().starts_with("381 "));
    assert!(
        client
            .ask("AUTHINFO PASS wrong")
            .await
            .unwrap()
            .starts_with("481 ")
    );
    client.send("AUTHINFO USER me\r\nAUTHINFO PASS secret\r\n").await;
    assert!(client.line().await.unwrap().starts_with("381 "));
    assert!(client.line().await.unwrap().starts_with("281 "));
    assert!(
        client
            .ask(&format!("STAT <{id}>"))
            .await
            .unwrap()
            .starts_with("223 ")
    );
    server.refuse_logins(true);
    let mut other = Client::connect(&server).await;
    assert!(other.ask("AUTHINFO USER me").await.unwrap().starts_with("381 "));
    assert!(
        other
            .ask("AUTHINFO PASS secret")
            .await
            .unwrap()
            .starts_with("481 ")
    );
    let counts = server.counts();
    assert_eq!((counts.logins, counts.logins_failed), (1, 2));
}

#[tokio::test]
async fn one_connection_too_many_is_told_502() {
    let server = Newsd::builder().max_connections(2).start().await.unwrap();
    let (first, _second) = (Client::connect(&server).await, Client::connect(&server).await);
    let mut third = Client::dial(&server).await;
    assert_eq!(third.line().await.unwrap(), "502 too many connections");
    assert!(third.closed().await);
    drop((first, third));
    server.wait_until(|counts| counts.open == 1).await;
    Client::connect(&server).await;
    let counts = server.counts();
    assert_eq!((counts.connections, counts.peak, counts.refused), (4, 3, 1));

    let server = Newsd::builder()
        .credentials("u", "p")
        .limit_at(LimitAt::Login)
        .max_connections(1)
        .start()
        .await
        .unwrap();
    let (mut first, mut second) = (Client::connect(&server).await, Client::connect(&server).await);
    for (client, reply) in [(&mut first, "281 "), (&mut second, "502 ")] {
        client.send("AUTHINFO USER u\r\nAUTHINFO PASS p\r\n").await;
        assert!(client.line().await.unwrap().starts_with("381 "));
        assert!(client.line().await.unwrap().starts_with(reply));
    }
    assert!(second.closed().await);
}

#[tokio::test]
async fn posted_articles_are_kept_and_bounded() {
    let server = Newsd::builder().posted_bytes(2000).start().await.unwrap();
    let mut client = Client::connect(&server).await;
    let article = |id: &str, filler: usize| {
        let body = format!(
            "=ybegin line=128 size=1 name=x\r\n..k\r\n{}",
            "x\r\n".repeat(filler)
        );
        format!("Newsgroups: alt.binaries.test, alt.two\r\nMessage-ID: {id}\r\n\r\n{body}.\r\n")
    };
    for (id, filler, reply) in [
        ("<a@x>", 0, "240 "),
        ("<a@x>", 0, "441 "),
        ("no-brackets", 0, "441 "),
        ("<b@x>", 1000, "441 "),
    ] {
        assert!(client.ask("POST").await.unwrap().starts_with("340 "));
        client.send(&article(id, filler)).await;
        assert!(client.line().await.unwrap().starts_with(reply), "{id}");
    }
    assert!(
        client
            .ask("GROUP alt.two")
            .await
            .unwrap()
            .starts_with("211 1 1 1 ")
    );
    assert!(client.ask("BODY 1").await.unwrap().starts_with("222 1 <a@x>"));
    assert_eq!(
        client.text().await.unwrap(),
        [b"=ybegin line=128 size=1 name=x".to_vec(), b".k".to_vec()]
    );
    assert_eq!((server.counts().posted, server.articles()), (1, 1));
    let closed = Newsd::builder().posting(false).start().await.unwrap();
    let mut client = Client::connect(&closed).await;
    assert!(client.ask("POST").await.unwrap().starts_with("440 "));
    assert!(
        client.ask("DATE").await.unwrap().starts_with("111 "),
        "the next line is a command again"
    );
}

#[tokio::test]
async fn hostile_lines_end_only_their_connection() {
    let server = Newsd::builder().start().await.unwrap();
    let mut client = Client::connect(&server).await;
    client.send(&"x".repeat(5000)).await;
    assert_eq!(client.line().await.unwrap(), "501 line too long");
    assert!(client.closed().await);
    let mut client = Client::connect(&server).await;
    client
        .send("\r\n\0\u{7f}\r\nSTAT <\r\nSTAT <>\r\nGROUP\r\nAUTHINFO\r\n")
        .await;
    for code in ["500", "500", "501", "430", "501", "501"] {
        let line = client.line().await.unwrap();
        assert!(line.starts_with(code), "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn idle_connections_are_told_400() {
    let server = Newsd::builder()
        .idle_timeout(Duration::from_secs(60))
        .start()
        .await
        .unwrap();
    let mut client = Client::connect(&server).await;
    assert_eq!(client.line().await.unwrap(), "400 idle for too long");
    assert!(client.closed().await);
}

#[tokio::test]
async fn a_stopped_server_leaves_its_port() {
    let server = Newsd::builder().start().await.unwrap();
    let address = server.address().to_string();
    let mut client = Client::connect(&server).await;
    server.stop().await;
    assert!(client.closed().await);
    let again = Newsd::builder().listen(&address).start().await.unwrap();
    Client::connect(&again).await;
    assert!(Newsd::builder().listen(&address).start().await.is_err());
}
