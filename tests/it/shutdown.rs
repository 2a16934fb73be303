//! The server on a real socket, and its end.

use crate::harness::{KEY, Server};
use altmount_newsd::{Fault, Gate, Release, Rule};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a port")
}

/// Sends a request and reads until its head is there.
async fn ask(stream: &mut TcpStream, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nX-Api-Key: {KEY}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut text = Vec::new();
    while !text.windows(4).any(|four| four == b"\r\n\r\n") {
        let mut piece = [0; 512];
        let n = stream.read(&mut piece).await.expect("read");
        assert!(n > 0, "the connection ended inside of the head");
        text.extend_from_slice(&piece[..n]);
    }
    String::from_utf8_lossy(&text).into_owned()
}

async fn rest(mut stream: TcpStream) -> usize {
    let mut bytes = Vec::new();
    // A reset is an end too.
    let _ended = stream.read_to_end(&mut bytes).await;
    bytes.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_waits_for_no_listener_and_no_held_import() {
    let server = Server::with(|config| {
        config.server.shutdown_seconds = 60;
        config.import.workers = 1;
    })
    .await;
    let gate = Gate::new();
    server.newsd.rule(Rule::new(Fault::Hold(gate.clone())));
    let id = server
        .submit(&server.post(&Release::single("movie", 1, 30_000)))
        .await;
    let Server {
        app, newsd, folder, ..
    } = server;
    newsd
        .wait_until(|counts| counts.get(altmount_newsd::Command::Body) > 0)
        .await;

    let listener = listen().await;
    let address = listener.local_addr().expect("an address");
    let stop = CancellationToken::new();
    let serving = tokio::spawn(app.serve(listener, stop.clone()));
    let mut events = TcpStream::connect(address).await.expect("connected");
    let head = ask(&mut events, "/api/queue/events").await;
    assert!(
        head.starts_with("HTTP/1.1 200") && head.contains("text/event-stream"),
        "{head}"
    );
    let mut idle = TcpStream::connect(address).await.expect("connected");
    assert!(ask(&mut idle, "/healthz").await.starts_with("HTTP/1.1 200"));

    stop.cancel();
    // Far less than the deadline: nothing that has no end of its own is waited for.
    tokio::time::timeout(Duration::from_secs(30), serving)
        .await
        .expect("in time")
        .expect("in order");
    rest(events).await;
    rest(idle).await;
    assert!(TcpStream::connect(address).await.is_err());

    // The import that was under way is in the queue of the next start, and completes there.
    gate.open();
    let provider = altmount::config::Provider {
        host: newsd.host(),
        port: Some(newsd.port()),
        tls: false,
        ..Default::default()
    };
    let config = altmount::config::Config {
        providers: vec![provider],
        ..Default::default()
    };
    let settings = config.resolve().expect("valid");
    let app = altmount::app::App::start(settings, &crate::harness::data(folder.path()))
        .await
        .expect("starts again");
    let job = app
        .engine()
        .imports()
        .wait(id)
        .await
        .expect("the store answers")
        .expect("the job is there");
    assert_eq!(job.state, altmount_engine::JobState::Completed);
    app.shutdown().await;
    newsd.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_breaks_off_is_seen_by_the_client() {
    let server = Server::with(|config| config.cache.memory_bytes = 0).await;
    let release = Release::single("movie", 1, 3_000_000);
    server.import(&server.post(&release)).await;
    let id = server.file_id("movie/movie.mkv").await;
    let last = release.files()[0]
        .segments()
        .last()
        .expect("an article")
        .id()
        .to_owned();
    server.newsd.remove(&last);
    let Server {
        app, newsd, folder, ..
    } = server;
    let listener = listen().await;
    let address = listener.local_addr().expect("an address");
    let stop = CancellationToken::new();
    let serving = tokio::spawn(app.serve(listener, stop.clone()));
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let url = format!("http://{address}/api/stream/{id}");
    let response = http
        .get(&url)
        .header("X-Api-Key", KEY)
        .send()
        .await
        .expect("a head");
    assert_eq!(response.content_length(), Some(3_000_000));
    assert!(
        response.bytes().await.is_err(),
        "a part of the file looked like the whole"
    );
    stop.cancel();
    serving.await.expect("in order");
    newsd.stop().await;
    drop(folder);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_server_on_the_same_data_is_refused() {
    let server = Server::start().await;
    let settings = altmount::config::Config::default().resolve().expect("valid");
    let data = crate::harness::data(server.folder.path());
    let error = altmount::app::App::start(settings, &data)
        .await
        .expect_err("refused");
    assert!(error.to_string().contains("data"), "{error:#}");
}
