//! The page's door: the first user, sessions, tokens of forms, proxies and the base path.

use crate::harness::{Answer, KEY, Server, read};
use altmount::files::Peer;
use axum::body::Body;
use http::Request;

/// A browser: it keeps one cookie and says where its requests come from.
pub(crate) struct Browser<'a> {
    server: &'a Server,
    pub(crate) cookie: Option<String>,
    peer: &'static str,
    headers: Vec<(&'static str, String)>,
}

impl<'a> Browser<'a> {
    pub(crate) fn new(server: &'a Server) -> Self {
        Self {
            server,
            cookie: None,
            peer: "192.168.1.9:5000",
            headers: Vec::new(),
        }
    }

    /// One that has made the first user.
    pub(crate) async fn known(server: &'a Server) -> Self {
        let mut browser = Self::new(server);
        let made = browser
            .post(
                "/setup",
                &[
                    ("name", "ann"),
                    ("password", "long enough"),
                    ("again", "long enough"),
                ],
            )
            .await;
        assert_eq!(
            (made.status.as_u16(), made.header("location")),
            (303, "/start"),
            "{}",
            made.text()
        );
        browser
    }

    async fn send(&mut self, method: &str, path: &str, body: String) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .extension(Peer(self.peer.parse().expect("an address")))
            .header("accept", "text/html");
        if method == "POST" {
            request = request.header("content-type", "application/x-www-form-urlencoded");
        }
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", cookie);
        }
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let answer = read(
            self.server
                .raw(request.body(Body::from(body)).expect("a request"))
                .await,
        )
        .await;
        if let Some((pair, _)) = answer.header("set-cookie").split_once(';') {
            self.cookie = Some(pair.to_owned());
        }
        answer
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, String::new()).await
    }

    /// A form as it is, without a token.
    pub(crate) async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        self.send("POST", path, body).await
    }

    /// The token that the pages of this session carry.
    pub(crate) async fn token(&mut self) -> String {
        let page = self.get("/account").await;
        let (_, rest) = page.text().split_once("data-csrf=\"").expect("a token");
        rest.split('"').next().expect("an end").to_owned()
    }
}

#[tokio::test]
async fn the_first_user_is_made_once_and_logs_in() {
    let server = Server::start().await;
    let mut browser = Browser::new(&server);
    let first = browser.get("/").await;
    assert_eq!((first.status.as_u16(), first.header("location")), (303, "/setup"));
    assert_eq!(browser.get("/login").await.header("location"), "/setup");
    let differ = [
        ("name", "ann"),
        ("password", "long enough"),
        ("again", "long enouhg"),
    ];
    assert_eq!(browser.post("/setup", &differ).await.status, 400);
    let mut browser = Browser::known(&server).await;
    let page = browser.get("/").await;
    assert_eq!(page.status, 200, "{}", page.text());
    assert!(page.text().contains("Overview"));
    // Nobody else is first, and the door is closed to whoever has no session.
    let mut other = Browser::new(&server);
    let late = [
        ("name", "eve"),
        ("password", "long enough"),
        ("again", "long enough"),
    ];
    assert_eq!(other.post("/setup", &late).await.header("location"), "/login");
    assert_eq!(
        other.get("/account?x=1").await.header("location"),
        "/login?next=%2Faccount%3Fx%3D1"
    );
    let wrong = other
        .post("/login", &[("name", "ann"), ("password", "wrong")])
        .await;
    assert_eq!((wrong.status.as_u16(), wrong.header("set-cookie")), (401, ""));
    let right = [
        ("name", "ANN"),
        ("password", "long enough"),
        ("next", "/account?x=1"),
    ];
    assert_eq!(
        other.post("/login", &right).await.header("location"),
        "/account?x=1"
    );
    assert_eq!(other.get("/account").await.status, 200);
}

#[tokio::test]
async fn the_cookie_and_the_headers_are_strict() {
    let server = Server::start().await;
    let mut browser = Browser::new(&server);
    let made = browser
        .post(
            "/setup",
            &[
                ("name", "ann"),
                ("password", "long enough"),
                ("again", "long enough"),
            ],
        )
        .await;
    let cookie = made.header("set-cookie");
    assert!(
        cookie.contains("; HttpOnly; SameSite=Lax") && cookie.contains("Path=/;"),
        "{cookie}"
    );
    assert!(!cookie.contains("Secure"), "{cookie}");
    for path in ["/", "/login", "/account", "/assets/page.js"] {
        let page = browser.get(path).await;
        let policy = page.header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'") && !policy.contains("unsafe"),
            "{policy}"
        );
        assert_eq!(page.header("x-content-type-options"), "nosniff");
        assert!(
            !page.text().contains(" style=\"") && !page.text().contains("<style"),
            "{path}"
        );
        assert!(!page.text().contains(" onclick"), "{path}");
    }
}

#[tokio::test]
async fn a_form_needs_the_token_of_its_session_and_no_foreign_page() {
    let server = Server::start().await;
    let mut ann = Browser::known(&server).await;
    let token = ann.token().await;
    assert_eq!(ann.post("/logout", &[]).await.status, 403);
    assert_eq!(ann.post("/logout", &[("csrf", "x")]).await.status, 403);
    let mut other = Browser::new(&server);
    other
        .post("/login", &[("name", "ann"), ("password", "long enough")])
        .await;
    assert_ne!(other.token().await, token);
    assert_eq!(other.post("/logout", &[("csrf", &token)]).await.status, 403);
    ann.headers = vec![("sec-fetch-site", "cross-site".to_owned())];
    assert_eq!(ann.post("/logout", &[("csrf", &token)]).await.status, 403);
    assert_eq!(
        ann.post("/login", &[("name", "ann"), ("password", "long enough")])
            .await
            .status,
        403
    );
    ann.headers.clear();
    assert_eq!(ann.get("/account").await.status, 200);
    let cookie = ann.cookie.clone();
    assert_eq!(
        ann.post("/logout", &[("csrf", &token)]).await.header("location"),
        "/login"
    );
    // The secret is worth nothing any more, not only forgotten by the browser.
    ann.cookie = cookie;
    assert_eq!(ann.get("/account").await.status, 303);
}

#[tokio::test]
async fn a_password_that_is_changed_ends_the_other_sessions() {
    let server = Server::start().await;
    let mut ann = Browser::known(&server).await;
    let mut elsewhere = Browser::new(&server);
    elsewhere
        .post("/login", &[("name", "ann"), ("password", "long enough")])
        .await;
    let token = ann.token().await;
    let change = [
        ("csrf", token.as_str()),
        ("old", "long enough"),
        ("password", "even longer"),
        ("again", "even longer"),
    ];
    let wrong = [change[0], ("old", "not this"), change[2], change[3]];
    assert_eq!(ann.post("/account/password", &wrong).await.status, 400);
    assert_eq!(elsewhere.get("/account").await.status, 200);
    assert_eq!(ann.post("/account/password", &change).await.status, 200);
    assert_eq!(elsewhere.get("/account").await.status, 303);
    assert_eq!(ann.get("/account").await.status, 200);
    let old = elsewhere
        .post("/login", &[("name", "ann"), ("password", "long enough")])
        .await;
    assert_eq!(old.status, 401);
}

#[tokio::test]
async fn passwords_cannot_be_tried_out() {
    let server = Server::start().await;
    Browser::known(&server).await;
    let mut eve = Browser::new(&server);
    eve.peer = "192.168.1.66:1";
    for _ in 0..10 {
        assert_eq!(
            eve.post("/login", &[("name", "x"), ("password", "y")])
                .await
                .status,
            401
        );
    }
    let right = [("name", "ann"), ("password", "long enough")];
    let refused = eve.post("/login", &right).await;
    assert_eq!(refused.status, 429);
    assert!(refused.header("retry-after").parse::<u64>().expect("seconds") > 0);
    let mut ann = Browser::new(&server);
    assert_eq!(ann.post("/login", &right).await.status, 303);
}

#[tokio::test]
async fn from_outside_the_first_user_needs_the_key() {
    let server = Server::start().await;
    let fields = [
        ("name", "ann"),
        ("password", "long enough"),
        ("again", "long enough"),
    ];
    let mut browser = Browser::new(&server);
    browser.peer = "203.0.113.5:1";
    assert!(browser.get("/setup").await.text().contains("API key"));
    assert_eq!(browser.post("/setup", &fields).await.status, 401);
    // Neither does a proxy that nobody has named make a stranger a neighbour.
    browser.peer = "192.168.1.1:1";
    browser.headers = vec![("x-forwarded-for", "127.0.0.1".to_owned())];
    assert_eq!(browser.post("/setup", &fields).await.status, 401);
    let with_key = [fields[0], fields[1], fields[2], ("key", KEY)];
    assert_eq!(
        browser.post("/setup", &with_key).await.header("location"),
        "/start"
    );
}

#[tokio::test]
async fn a_trusted_proxy_vouches_for_users_and_for_https() {
    let server = Server::with(|config| {
        config.server.trusted_proxies = vec!["10.0.0.0/8".to_owned()];
        config.server.forward_auth_header = Some("Remote-User".to_owned());
    })
    .await;
    let mut browser = Browser::new(&server);
    browser.headers = vec![
        ("remote-user", "carol".to_owned()),
        ("x-forwarded-proto", "https".to_owned()),
        ("x-forwarded-for", "192.168.4.4".to_owned()),
    ];
    assert_eq!(
        browser.get("/account").await.status,
        303,
        "anybody can send a header"
    );
    browser.peer = "10.1.1.1:1";
    let page = browser.get("/account").await;
    assert_eq!(page.status, 200);
    assert!(page.text().contains(">carol</a>"));
    assert_eq!(
        browser.post("/account/password", &[]).await.status,
        403,
        "its forms have tokens too"
    );
    browser.headers.remove(0);
    let made = browser
        .post(
            "/setup",
            &[
                ("name", "ann"),
                ("password", "long enough"),
                ("again", "long enough"),
            ],
        )
        .await;
    assert!(
        made.header("set-cookie").ends_with("; Secure"),
        "{}",
        made.header("set-cookie")
    );
    let sessions = server.get("/api/sessions").await.json();
    assert_eq!(sessions["data"][0]["address"], "192.168.4.4");
}

#[tokio::test]
async fn everything_is_below_the_base_path() {
    let server = Server::with(|config| config.server.base_path = "/media/altmount/".to_owned()).await;
    let mut browser = Browser::new(&server);
    let first = browser.get("/media/altmount").await;
    assert_eq!(first.header("location"), "/media/altmount/setup");
    let fields = [
        ("name", "ann"),
        ("password", "long enough"),
        ("again", "long enough"),
    ];
    let made = browser.post("/media/altmount/setup", &fields).await;
    assert_eq!(made.header("location"), "/media/altmount/start");
    assert!(made.header("set-cookie").contains("Path=/media/altmount;"));
    let page = browser.get("/media/altmount/?x=1").await;
    assert_eq!(page.status, 200);
    for link in page
        .text()
        .split(['"', '\''])
        .filter(|text| text.starts_with('/'))
    {
        assert!(
            link == "/media/altmount" || link.starts_with("/media/altmount/"),
            "{link}"
        );
    }
    // A proxy that cuts it off is served too, and a longer name is not below it.
    assert_eq!(browser.get("/account").await.status, 200);
    assert_eq!(browser.get("/media/altmounted").await.status, 404);
    let auth = crate::harness::basic(crate::harness::USER, crate::harness::PASSWORD);
    for at in ["/media/altmount/webdav/", "/webdav/"] {
        let request = Request::builder()
            .method("PROPFIND")
            .uri(at)
            .header("depth", "0")
            .header("authorization", &auth);
        let answer = read(server.raw(request.body(Body::empty()).expect("a request")).await).await;
        assert!(
            answer.text().contains("<D:href>/media/altmount/webdav/</D:href>"),
            "{}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn users_are_managed_by_the_api() {
    let server = Server::start().await;
    let ann = serde_json::json!({"name": "ann", "password": "long enough"});
    let made = server.api("POST", "/api/users", Some(ann.clone())).await.json();
    let id = made["data"]["id"].as_i64().expect("an id");
    server.api("POST", "/api/users", Some(ann)).await.failure(409);
    let short = serde_json::json!({"name": "bob", "password": "short"});
    server.api("POST", "/api/users", Some(short)).await.failure(400);
    let mut browser = Browser::new(&server);
    browser
        .post("/login", &[("name", "ann"), ("password", "long enough")])
        .await;
    let sessions = server.get("/api/sessions").await.json();
    let session = sessions["data"][0]["id"].as_i64().expect("a session");
    assert_eq!(browser.get("/account").await.status, 200);
    assert_eq!(
        server
            .api("DELETE", &format!("/api/sessions/{session}"), None)
            .await
            .status,
        200
    );
    assert_eq!(browser.get("/account").await.status, 303);
    let path = format!("/api/users/{id}/password");
    let new = serde_json::json!({"password": "another one"});
    assert_eq!(server.api("PUT", &path, Some(new)).await.status, 200);
    let login = browser
        .post("/login", &[("name", "ann"), ("password", "another one")])
        .await;
    assert_eq!(login.status, 303);
    server
        .api("DELETE", &format!("/api/users/{id}"), None)
        .await
        .failure(409);
    let all = server.get("/api/users").await;
    assert!(!all.text().contains("argon2") && all.json()["meta"]["total"] == 1);
}

#[tokio::test]
async fn a_form_that_does_not_come_is_not_waited_for() {
    let server = Server::with(|config| config.server.receive_timeout_seconds = 1).await;
    Browser::known(&server).await;
    for path in ["/login", "/setup"] {
        let first = futures::stream::iter([Ok::<_, std::io::Error>("name=ann&pass")]);
        let body = futures::StreamExt::chain(first, futures::stream::pending());
        let request = Request::post(path)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from_stream(body))
            .expect("a request");
        let answer = read(server.raw(request).await).await;
        assert_eq!(answer.status, 408, "{path}: {}", answer.text());
    }
}
