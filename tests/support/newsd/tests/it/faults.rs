use crate::client::Client;
use altmount_newsd::{Body, Command, Fault, Gate, Newsd, Release, Rule};
use std::time::{Duration, Instant};

fn release() -> Release {
    Release::builder("r")
        .article_size(200_000)
        .file("a.bin", Body::seeded(1, 1_000_000))
        .build()
}

async fn server(release: &Release, rule: Rule) -> Newsd {
    Newsd::builder()
        .seed(5)
        .release(release)
        .rule(rule)
        .start()
        .await
        .unwrap()
}

#[tokio::test]
async fn damaged_articles() {
    let release = release();
    let file = &release.files()[0];
    let (id, right) = (file.id(1).unwrap(), file.body().range(0, 200_000));
    for (fault, whole, same_bytes) in [
        (Fault::CorruptPayload, false, false),
        (Fault::CorruptChecksum, false, true),
        (Fault::Truncated, false, false),
        (Fault::WrongSize, true, true),
        (Fault::WrongOffset, true, true),
    ] {
        let server = server(&release, Rule::new(fault.clone()).id(id)).await;
        let mut client = Client::connect(&server).await;
        assert!(
            client
                .ask(&format!("STAT <{id}>"))
                .await
                .unwrap()
                .starts_with("223 "),
            "{fault:?}"
        );
        let part = client.body(id).await.unwrap().unwrap();
        assert_eq!(part.is_whole(), whole, "{fault:?}");
        assert_eq!(part.data == right, same_bytes, "{fault:?}");
        let size = part.field(&part.begin, "size").unwrap();
        assert_eq!(size == "1001000", matches!(fault, Fault::WrongSize));
        let line = part.part.clone().unwrap();
        assert_eq!(
            line == "begin=1001 end=201000",
            matches!(fault, Fault::WrongOffset),
            "{line}"
        );
        match fault {
            Fault::CorruptPayload => assert_eq!(part.data.len(), right.len()),
            Fault::Truncated => assert!(part.end.is_none() && right.starts_with(&part.data)),
            _ => {}
        }
        let other = client.body(file.id(2).unwrap()).await.unwrap().unwrap();
        assert!(other.is_whole(), "the rule is for another article");
    }
}

#[tokio::test]
async fn the_nth_request_is_hit_and_the_others_are_not() {
    let release = release();
    let id = release.files()[0].id(1).unwrap();
    let server = server(
        &release,
        Rule::new(Fault::Missing)
            .id(id)
            .commands([Command::Body])
            .requests(2..=3),
    )
    .await;
    let mut client = Client::connect(&server).await;
    let mut found = Vec::new();
    for _ in 0..4 {
        found.push(client.body(id).await.unwrap().is_ok());
    }
    assert_eq!(found, [true, false, false, true]);
    assert_eq!(server.requests(id, Command::Body), 4);
    assert_eq!(server.counts().articles, 2);
    server.rule(Rule::new(Fault::Missing));
    assert!(
        client
            .ask(&format!("STAT <{id}>"))
            .await
            .unwrap()
            .starts_with("430 ")
    );
    server.clear_rules();
    assert!(
        client
            .ask(&format!("STAT <{id}>"))
            .await
            .unwrap()
            .starts_with("223 ")
    );
}

#[tokio::test]
async fn connections_break_where_they_should() {
    let release = release();
    let id = release.files()[0].id(1).unwrap();
    let before = server(&release, Rule::new(Fault::Disconnect)).await;
    let mut client = Client::connect(&before).await;
    assert!(client.ask(&format!("BODY <{id}>")).await.is_err());

    let inside = server(&release, Rule::new(Fault::DisconnectInside)).await;
    let mut client = Client::connect(&inside).await;
    assert!(
        client
            .ask(&format!("BODY <{id}>"))
            .await
            .unwrap()
            .starts_with("222 ")
    );
    assert!(client.text().await.is_err(), "no dot line comes");
    let sent = inside.counts().bytes_out;
    assert!((100_000..120_000).contains(&sent), "{sent} bytes");
    assert_eq!(inside.counts().articles, 0);

    let all = Newsd::builder().start().await.unwrap();
    let (mut first, mut second) = (Client::connect(&all).await, Client::connect(&all).await);
    all.disconnect_all();
    assert!(first.closed().await && second.closed().await);
    Client::connect(&all).await;
}

#[tokio::test]
async fn replies_in_place_of_the_right_one() {
    let release = release();
    let id = release.files()[0].id(1).unwrap();
    for (fault, reply, closes) in [
        (Fault::goodbye(), "400 ", true),
        (Fault::too_many_connections(), "502 ", true),
        (
            Fault::Reply {
                code: 503,
                text: "try\r\nlater".into(),
                close: false,
            },
            "503 try  later",
            false,
        ),
    ] {
        let server = server(&release, Rule::new(fault).requests(2..=2)).await;
        let mut client = Client::connect(&server).await;
        // Three at once: the fault comes in the middle of a pipeline.
        client.send(&format!("STAT <{id}>\r\n").repeat(3)).await;
        assert!(client.line().await.unwrap().starts_with("223 "));
        assert!(client.line().await.unwrap().starts_with(reply));
        assert_eq!(client.line().await.is_err(), closes);
    }
}

#[tokio::test]
async fn a_login_can_be_lost_in_the_middle() {
    let release = release();
    let id = release.files()[0].id(1).unwrap();
    let builder = Newsd::builder().credentials("u", "p").release(&release);
    let server = builder
        .rule(Rule::new(Fault::LoginLost).requests(2..=2))
        .start()
        .await
        .unwrap();
    let mut client = Client::connect(&server).await;
    let stat = format!("STAT <{id}>");
    for codes in [["223 ", "480 "], ["223 ", "223 "]] {
        assert!(client.ask("AUTHINFO USER u").await.unwrap().starts_with("381 "));
        assert!(client.ask("AUTHINFO PASS p").await.unwrap().starts_with("281 "));
        for code in codes {
            let line = client.ask(&stat).await.unwrap();
            assert!(line.starts_with(code), "{line}");
        }
    }
    assert_eq!(server.counts().logins, 2);
}

#[tokio::test]
async fn a_bad_greeting_ends_the_connection() {
    let server = Newsd::builder()
        .greeting("400 down for maintenance")
        .start()
        .await
        .unwrap();
    let mut client = Client::dial(&server).await;
    assert_eq!(client.line().await.unwrap(), "400 down for maintenance");
    assert!(client.closed().await);
    server.set_greeting("200 back again");
    Client::connect(&server).await;
}

#[tokio::test]
async fn a_gate_holds_replies_until_it_opens() {
    let release = release();
    let id = release.files()[0].id(1).unwrap();
    let gate = Gate::new();
    let server = server(&release, Rule::new(Fault::Hold(gate.clone()))).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = Client::connect(&server).await;
        client.send(&format!("BODY <{id}>\r\n")).await;
        clients.push(client);
    }
    let counts = server.wait_until(|counts| counts.get(Command::Body) == 3).await;
    assert_eq!(counts.articles, 0);
    gate.open();
    for client in &mut clients {
        assert!(client.line().await.unwrap().starts_with("222 "));
        client.text().await.unwrap();
    }
    assert_eq!(server.counts().articles, 3);
}

#[tokio::test]
async fn a_stall_lasts_until_the_client_goes() {
    let release = release();
    let id = release.files()[0].id(1).unwrap();
    let server = server(&release, Rule::new(Fault::Stall)).await;
    for command in ["BODY", "STAT"] {
        let mut client = Client::connect(&server).await;
        client.send(&format!("{command} <{id}>\r\n")).await;
        if command == "BODY" {
            assert!(client.line().await.unwrap().starts_with("222 "));
        }
        let silence = tokio::time::timeout(Duration::from_millis(100), client.text()).await;
        assert!(silence.is_err(), "{command} was answered");
        drop(client);
        server.wait_until(|counts| counts.open == 0).await;
    }
}

/// At least as slow as asked: a lower bound holds on a busy machine too.
#[tokio::test]
async fn slow_lines_are_slow() {
    let release = release();
    let id = release.files()[0].id(1).unwrap();
    let took = async |server: Newsd| {
        let mut client = Client::connect(&server).await;
        let start = Instant::now();
        assert!(client.body(id).await.unwrap().unwrap().is_whole());
        start.elapsed()
    };
    let first = server(
        &release,
        Rule::new(Fault::SlowFirstByte(Duration::from_millis(80))),
    )
    .await;
    assert!(took(first).await >= Duration::from_millis(80));
    let bytes = server(&release, Rule::new(Fault::SlowBytes(1_000_000))).await;
    assert!(took(bytes).await >= Duration::from_millis(180));
    let line = Newsd::builder()
        .bandwidth(1_000_000)
        .release(&release)
        .start()
        .await
        .unwrap();
    assert!(took(line).await >= Duration::from_millis(180));
}

/// Ten pipelined commands share one round trip; ten one after the other take ten.
#[tokio::test]
async fn pipelined_commands_share_a_round_trip() {
    let release = release();
    let stat = format!("STAT <{}>\r\n", release.files()[0].id(1).unwrap());
    let rtt = Duration::from_millis(30);
    let server = Newsd::builder()
        .rtt(rtt)
        .jitter(Duration::from_millis(1))
        .release(&release)
        .start()
        .await
        .unwrap();
    let mut client = Client::connect(&server).await;
    let start = Instant::now();
    for _ in 0..10 {
        client.send(&stat).await;
        client.line().await.unwrap();
    }
    let one_by_one = start.elapsed();
    let start = Instant::now();
    client.send(&stat.repeat(10)).await;
    for _ in 0..10 {
        client.line().await.unwrap();
    }
    let pipelined = start.elapsed();
    assert!(one_by_one >= rtt * 10, "{one_by_one:?}");
    assert!(
        pipelined >= rtt && pipelined < one_by_one / 2,
        "{pipelined:?} against {one_by_one:?}"
    );
}

#[tokio::test]
async fn chances_are_the_same_in_every_run() {
    let release = Release::builder("r")
        .article_size(100)
        .file("a.bin", Body::seeded(1, 50_000))
        .build();
    let mut runs = Vec::new();
    for _ in 0..2 {
        let server = server(&release, Rule::new(Fault::Missing).chance(0.1)).await;
        let mut client = Client::connect(&server).await;
        let mut gone = Vec::new();
        for segment in release.files()[0].segments() {
            if client
                .ask(&format!("STAT <{}>", segment.id()))
                .await
                .unwrap()
                .starts_with("430 ")
            {
                gone.push(segment.part);
            }
        }
        runs.push(gone);
    }
    assert_eq!(runs[0], runs[1]);
    assert!((20..90).contains(&runs[0].len()), "{} of 500", runs[0].len());
}
