//! The library through WebDAV: listing, reading, deleting, moving, folders, locks, and what is refused.

use crate::harness::{PASSWORD, Server, USER, basic, read};
use altmount_newsd::{Body as Content, Command, FileSpec, Release};
use axum::body::Body;
use http::Request;

/// A release with a film and a file in a folder below it.
async fn library() -> (Server, Content) {
    let server = Server::start().await;
    let content = Content::seeded(7, 50_000);
    let release = Release::builder("Movie & Söhne")
        .seed(7)
        .with(FileSpec::new("film.mkv", content.clone()).article_size(5_000))
        .with(FileSpec::new("notes <1>.nfo", "notes"))
        .build();
    server.import(&server.post(&release)).await;
    (server, content)
}

const FOLDER: &str = "/Movie%20%26%20S%C3%B6hne";

fn fetched(server: &Server) -> u64 {
    let counts = server.newsd.counts();
    [Command::Body, Command::Article, Command::Stat, Command::Head]
        .map(|command| counts.get(command))
        .iter()
        .sum()
}

/// The paths of a multistatus, in order.
fn hrefs(text: &str) -> Vec<String> {
    let parts = text.split("<D:href>").skip(1);
    parts
        .map(|part| part.split('<').next().expect("a path").to_owned())
        .collect()
}

#[tokio::test]
async fn listings_come_from_the_library_alone() {
    let (server, _) = library().await;
    let before = fetched(&server);
    let root = server.dav("PROPFIND", "/", &[("Depth", "1")], "").await;
    assert_eq!(root.status, 207);
    assert_eq!(
        hrefs(root.text()),
        ["/webdav/", "/webdav/Movie%20%26%20S%C3%B6hne/"]
    );
    let bare = server.dav("PROPFIND", "", &[("Depth", "0")], "").await;
    assert_eq!(hrefs(bare.text()), ["/webdav/"]);

    let folder = server.dav("PROPFIND", FOLDER, &[("Depth", "1")], "").await;
    assert_eq!(
        hrefs(folder.text()),
        [
            "/webdav/Movie%20%26%20S%C3%B6hne/",
            "/webdav/Movie%20%26%20S%C3%B6hne/film.mkv",
            // `<` and `>` are no character of a name, here or on Windows.
            "/webdav/Movie%20%26%20S%C3%B6hne/notes%20_1_.nfo",
        ]
    );
    let file = server
        .dav("PROPFIND", &format!("{FOLDER}/film.mkv"), &[("Depth", "0")], "")
        .await;
    let text = file.text();
    assert!(
        text.contains("<D:getcontentlength>50000</D:getcontentlength>"),
        "{text}"
    );
    assert!(
        text.contains("<D:getcontenttype>video/x-matroska</D:getcontenttype>"),
        "{text}"
    );
    let head = server.dav("HEAD", &format!("{FOLDER}/film.mkv"), &[], "").await;
    let etag = head.header("etag").to_owned();
    assert!(
        text.contains(&format!("<D:getetag>{etag}</D:getetag>")),
        "{etag} in {text}"
    );
    assert!(
        text.contains(&format!("<D:getlastmodified>{}</", head.header("last-modified"))),
        "{text}"
    );

    assert_eq!(
        server
            .dav("PROPFIND", "/nothing", &[("Depth", "0")], "")
            .await
            .status,
        404
    );
    assert_eq!(
        server
            .dav("PROPFIND", "/", &[("Depth", "infinity")], "")
            .await
            .status,
        501
    );
    assert_eq!(fetched(&server), before, "a listing asked the news server");
}

#[tokio::test]
async fn a_folder_of_many_pages_is_listed_whole() {
    let server = Server::start().await;
    let library = server.app.engine().library();
    for n in 0..1203 {
        let path = altmount_model::VPath::new(&format!("d{n:04}")).expect("a path");
        library.make_dir(&path).await.expect("made");
    }
    let root = server.dav("PROPFIND", "/", &[("Depth", "1")], "").await;
    let hrefs = hrefs(root.text());
    assert_eq!(hrefs.len(), 1204);
    assert_eq!(hrefs[1203], "/webdav/d1202/");
}

#[tokio::test]
async fn reading_is_the_same_as_over_the_stream_route() {
    let (server, content) = library().await;
    let film = format!("{FOLDER}/film.mkv");
    let whole = server.dav("GET", &film, &[], "").await;
    assert_eq!(whole.status, 200);
    assert!(whole.body == content.range(0, 50_000));
    let part = server
        .dav("GET", &film, &[("Range", "bytes=4990-5009")], "")
        .await;
    assert_eq!(
        (part.status.as_u16(), part.header("content-range")),
        (206, "bytes 4990-5009/50000")
    );
    assert!(part.body == content.range(4990, 20));
    let etag = whole.header("etag").to_owned();
    let same = server.dav("GET", &film, &[("If-None-Match", &etag)], "").await;
    assert_eq!((same.status.as_u16(), same.body.len()), (304, 0));
    let other = server
        .dav("GET", &film, &[("If-Range", "\"x\""), ("Range", "bytes=0-1")], "")
        .await;
    assert_eq!(other.status, 200);
    let several = server
        .dav("GET", &film, &[("Range", "bytes=0-1,10-11")], "")
        .await;
    assert!(
        several
            .header("content-type")
            .starts_with("multipart/byteranges; boundary=")
    );
    assert_eq!(
        server
            .dav("GET", &film, &[("Range", "bytes=50000-")], "")
            .await
            .status,
        416
    );
    let id = server.file_id("Movie & Söhne/film.mkv").await;
    let stream = server.get(&format!("/api/stream/{id}")).await;
    assert!(stream.body == whole.body && stream.header("etag") == etag);
    // A browser gets a page for a folder.
    let index = server.dav("GET", &format!("{FOLDER}/"), &[], "").await;
    assert!(
        index.status == 200 && index.text().contains("film.mkv"),
        "{}",
        index.text()
    );
    assert_eq!(server.dav("GET", "/nothing", &[], "").await.status, 404);
}

#[tokio::test]
async fn the_password_comes_first() {
    let (server, _) = library().await;
    for header in [
        None,
        Some(basic(USER, "wrong")),
        Some(basic("wrong", PASSWORD)),
        Some(basic("", "")),
        Some("Bearer x".to_owned()),
    ] {
        for method in ["GET", "PROPFIND", "OPTIONS", "DELETE", "PUT", "BREW"] {
            for path in ["/webdav", "/webdav/", "/webdav/nothing"] {
                let mut request = Request::builder().method(method).uri(path);
                if let Some(value) = &header {
                    request = request.header("Authorization", value);
                }
                let answer = read(server.raw(request.body(Body::empty()).expect("a request")).await).await;
                assert_eq!(answer.status, 401, "{method} {path} {header:?}");
                assert!(answer.header("www-authenticate").starts_with("Basic realm="));
            }
        }
    }
    // The API's key is no password, and the other way round.
    server.get("/api/queue").await.json();
    let request = Request::get("/api/queue").header("Authorization", basic(USER, PASSWORD));
    read(server.raw(request.body(Body::empty()).expect("a request")).await)
        .await
        .failure(401);
}

/// Whoever sends the same wrong password for ever tries nothing out: a client that was set up wrongly shuts out nobody.
#[tokio::test]
async fn a_password_cannot_be_tried_out() {
    let (server, _) = library().await;
    let asked = async |password: &str| {
        let request = Request::get("/webdav/").header("Authorization", basic(USER, password));
        read(server.raw(request.body(Body::empty()).expect("a request")).await).await
    };
    for _ in 0..50 {
        assert_eq!(asked("the old one").await.status, 401);
    }
    for no in 0..9 {
        assert_eq!(asked(PASSWORD).await.status, 200);
        assert_eq!(asked(&format!("guess {no}")).await.status, 401);
    }
    // What is asked now may be right, and is not looked at.
    for password in ["guess 10", PASSWORD] {
        let answer = asked(password).await;
        assert_eq!(answer.status, 429, "{}", answer.text());
        let wait: u64 = answer.header("retry-after").parse().expect("seconds");
        assert!((800..=900).contains(&wait), "{wait}");
    }
}

#[tokio::test]
async fn files_and_folders_are_deleted_in_one_step() {
    let (server, _) = library().await;
    assert_eq!(
        server
            .dav("DELETE", &format!("{FOLDER}/film.mkv"), &[], "")
            .await
            .status,
        204
    );
    assert_eq!(
        server
            .dav("GET", &format!("{FOLDER}/film.mkv"), &[], "")
            .await
            .status,
        404
    );
    assert_eq!(server.dav("DELETE", FOLDER, &[], "").await.status, 204);
    assert_eq!(server.dav("DELETE", FOLDER, &[], "").await.status, 404);
    let root = server.dav("PROPFIND", "/", &[("Depth", "1")], "").await;
    assert_eq!(hrefs(root.text()), ["/webdav/"]);
    assert_ne!(server.dav("DELETE", "/", &[], "").await.status, 204);
    assert_eq!(
        server.dav("PROPFIND", "/", &[("Depth", "0")], "").await.status,
        207
    );
}

#[tokio::test]
async fn moves_keep_the_bytes_and_the_id() {
    let (server, content) = library().await;
    let id = server.file_id("Movie & Söhne/film.mkv").await;
    let film = format!("{FOLDER}/film.mkv");
    let to = |path: &str| format!("http://server:8080/webdav{path}");
    let moved = server
        .dav("MOVE", &film, &[("Destination", &to("/film%20two.mkv"))], "")
        .await;
    assert_eq!(moved.status, 201, "{}", moved.text());
    assert_eq!(server.file_id("film two.mkv").await, id);
    assert_eq!(server.dav("GET", &film, &[], "").await.status, 404);

    // A folder moves with all that is in it.
    let moved = server
        .dav("MOVE", FOLDER, &[("Destination", &to("/shelf/"))], "")
        .await;
    assert_eq!(moved.status, 201, "{}", moved.text());
    server.file_id("shelf/notes _1_.nfo").await;

    // What is at the target goes only where that is wanted.
    let notes = "/shelf/notes%20_1_.nfo";
    let no = server
        .dav(
            "MOVE",
            "/film%20two.mkv",
            &[("Destination", &to(notes)), ("Overwrite", "F")],
            "",
        )
        .await;
    assert_eq!(no.status, 412);
    let yes = server
        .dav(
            "MOVE",
            "/film%20two.mkv",
            &[("Destination", &to(notes)), ("Overwrite", "T")],
            "",
        )
        .await;
    assert_eq!(yes.status, 204);
    assert_eq!(server.file_id("shelf/notes _1_.nfo").await, id);
    let read = server.dav("GET", notes, &[], "").await;
    assert!(read.body == content.range(0, 50_000));

    for (from, destination, status) in [
        ("/nothing", "/a", 404),
        ("/shelf", "/missing/folder", 409),
        ("/shelf", "/shelf", 403),
        ("/shelf", "/shelf/below", 403),
        ("/shelf", "s/a", 409),
        ("/shelf", "/a/../../../b", 502),
    ] {
        let answer = server
            .dav("MOVE", from, &[("Destination", &to(destination))], "")
            .await;
        assert_eq!(answer.status.as_u16(), status, "{from} -> {destination}");
    }
    assert_eq!(server.dav("MOVE", "/shelf", &[], "").await.status, 400);
    server.file_id("shelf/notes _1_.nfo").await;
}

#[tokio::test]
async fn a_move_onto_what_holds_it_loses_nothing() {
    let (server, content) = library().await;
    let film = format!("{FOLDER}/film.mkv");
    let target = format!("/webdav{FOLDER}");
    let answer = server
        .dav("MOVE", &film, &[("Destination", &target), ("Overwrite", "T")], "")
        .await;
    assert_eq!(answer.status, 403);
    assert!(server.dav("GET", &film, &[], "").await.body == content.range(0, 50_000));
}

#[tokio::test]
async fn folders_are_made() {
    let server = Server::start().await;
    assert_eq!(server.dav("MKCOL", "/a", &[], "").await.status, 201);
    assert_eq!(server.dav("MKCOL", "/a/b/", &[], "").await.status, 201);
    assert_eq!(server.dav("MKCOL", "/a", &[], "").await.status, 405);
    assert_eq!(server.dav("MKCOL", "/x/y", &[], "").await.status, 409);
    assert_eq!(server.dav("MKCOL", "/c", &[], "<x/>").await.status, 415);
    assert!(
        !server
            .dav("MKCOL", "/%2e%2e/c", &[], "")
            .await
            .status
            .is_success()
    );
    let root = server.dav("PROPFIND", "/a", &[("Depth", "1")], "").await;
    assert_eq!(hrefs(root.text()), ["/webdav/a/", "/webdav/a/b/"]);
}

#[tokio::test]
async fn nothing_is_uploaded_or_copied() {
    let (server, _) = library().await;
    let film = format!("{FOLDER}/film.mkv");
    for (method, path) in [
        ("PUT", "/new.txt"),
        ("PUT", film.as_str()),
        ("PATCH", film.as_str()),
    ] {
        assert_eq!(
            server.dav(method, path, &[], "bytes").await.status,
            405,
            "{method}"
        );
    }
    let copy = server
        .dav("COPY", &film, &[("Destination", "/webdav/copy.mkv")], "")
        .await;
    assert_eq!(copy.status, 405);
    let options = server.dav("OPTIONS", "/", &[], "").await;
    assert_eq!(options.status, 200);
    assert!(options.header("dav").contains('2'), "{:?}", options.headers);
    let allow: Vec<&str> = options.header("allow").split(',').collect();
    assert!(
        allow.contains(&"PROPFIND") && !allow.contains(&"PUT") && !allow.contains(&"COPY"),
        "{allow:?}"
    );
    let huge = "x".repeat(100_000);
    assert_eq!(
        server.dav("PROPFIND", "/", &[("Depth", "0")], &huge).await.status,
        413
    );
    assert_eq!(
        server
            .dav("PROPFIND", "/", &[("Depth", "0")], "<not xml")
            .await
            .status,
        400
    );
}

#[tokio::test]
async fn a_locked_file_moves_and_goes_only_with_its_token() {
    let (server, _) = library().await;
    let film = format!("{FOLDER}/film.mkv");
    let body = "<?xml version=\"1.0\"?><D:lockinfo xmlns:D=\"DAV:\"><D:lockscope><D:exclusive/></D:lockscope>\
                <D:locktype><D:write/></D:locktype><D:owner>me</D:owner></D:lockinfo>";
    let lock = server
        .dav("LOCK", &film, &[("Timeout", "Second-60"), ("Depth", "0")], body)
        .await;
    assert_eq!(lock.status, 200, "{}", lock.text());
    let token = lock.header("lock-token").to_owned();
    assert!(token.starts_with("<urn:uuid:"), "{token}");
    assert_eq!(
        server.dav("LOCK", &film, &[("Depth", "0")], body).await.status,
        423
    );
    assert_eq!(server.dav("DELETE", &film, &[], "").await.status, 423);
    assert_eq!(
        server
            .dav("MOVE", FOLDER, &[("Destination", "/webdav/shelf")], "")
            .await
            .status,
        423
    );
    assert_eq!(
        server
            .dav("UNLOCK", &film, &[("Lock-Token", "<urn:uuid:other>")], "")
            .await
            .status,
        409
    );
    let condition = format!("({token})");
    assert_eq!(
        server
            .dav("DELETE", &film, &[("If", &condition)], "")
            .await
            .status,
        204
    );
    // The lock went with the file, and a lock makes no file.
    assert_eq!(
        server.dav("LOCK", &film, &[("Depth", "0")], body).await.status,
        403
    );
    assert_eq!(
        server.dav("PROPFIND", &film, &[("Depth", "0")], "").await.status,
        404
    );
    let large = body.replace("me", &"x".repeat(5000));
    assert_eq!(server.dav("LOCK", FOLDER, &[], &large).await.status, 413);
}

#[tokio::test]
async fn it_can_be_off() {
    let server = Server::with(|config| config.webdav.enabled = false).await;
    server
        .dav("PROPFIND", "/", &[("Depth", "0")], "")
        .await
        .failure(404);
}

/// What is written here and what dav-server writes: it answers where a lock is to be shown.
#[tokio::test]
async fn a_listing_is_what_the_protocols_library_makes_of_it() {
    let server = Server::start().await;
    let mut release = Release::builder("a & <b> \u{fc}").seed(3);
    for name in [
        "one.mkv",
        "two & <three> #4 %5 'x' \"y\".mp4",
        "\u{fc}ber.txt",
        "no_extension",
        "f.nfo",
    ] {
        release = release.with(FileSpec::new(name, Content::seeded(9, 3_000)));
    }
    server.import(&server.post(&release.build())).await;
    assert_eq!(server.dav("MKCOL", "/other", &[], "").await.status, 201);
    let root = server.dav("PROPFIND", "/", &[("Depth", "1")], "").await;
    let folder = root
        .text()
        .split("<D:href>/webdav")
        .find(|part| part.starts_with("/a%20"))
        .expect("listed");
    let folder = folder.split_once("</D:href>").expect("an end").0.to_owned();
    let prop = "<?xml version=\"1.0\"?><propfind xmlns=\"DAV:\" xmlns:o=\"http://owncloud.org/ns\" \
        xmlns:q=\"urn:a&amp;b\"><prop><getetag/><resourcetype/><lockdiscovery/><getcontentlength/><displayname/>\
        <getlastmodified/><o:size/><q:z/><quota-used-bytes/><creationdate/><supportedlock/>\
        <current-user-principal/><getcontenttype/></prop></propfind>";
    let only_unknown = "<propfind xmlns=\"DAV:\"><prop><lockdiscovery/><nothing/></prop></propfind>";
    let allprop = "<a:propfind xmlns:a=\"DAV:\"><a:allprop/></a:propfind>";
    let ask = async || {
        let mut answers = Vec::new();
        for path in [folder.as_str(), folder.trim_end_matches('/'), "/", ""] {
            for depth in ["0", "1"] {
                for body in ["", prop, only_unknown, allprop] {
                    let answer = server.dav("PROPFIND", path, &[("Depth", depth)], body).await;
                    assert_eq!(answer.status, 207, "{path} {depth} {body}");
                    let location = answer.header("content-location").to_owned();
                    let kind = answer.header("content-type").to_owned();
                    answers.push((kind, location, in_one_form(answer.text())));
                }
            }
        }
        answers
    };
    let one = format!("{folder}one.mkv");
    let answer = server.dav("PROPFIND", &one, &[("Depth", "0")], prop).await;
    let missing = answer
        .text()
        .split("<D:propstat>")
        .last()
        .expect("a part")
        .to_owned();
    assert_eq!(
        missing,
        "<D:prop><D:displayname></D:displayname><x:size xmlns:x=\"http://owncloud.org/ns\"></x:size>\
         <x:z xmlns:x=\"urn:a&amp;b\"></x:z><D:quota-used-bytes></D:quota-used-bytes></D:prop>\
         <D:status>HTTP/1.1 404 Not Found</D:status></D:propstat></D:response></D:multistatus>"
    );
    let ours = ask().await;
    let lock = "<D:lockinfo xmlns:D=\"DAV:\"><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype>\
        </D:lockinfo>";
    server.dav("LOCK", &folder, &[("Depth", "0")], lock).await;
    let theirs = ask().await;
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!((&ours.0, &ours.1), (&theirs.0, &theirs.1));
        for (ours, theirs) in ours.2.iter().zip(&theirs.2) {
            // The folder that is locked says so.
            let same = ours == theirs || theirs.contains("activelock");
            assert!(same, "ours:   {ours}\ntheirs: {theirs}");
        }
        assert_eq!(ours.2.len(), theirs.2.len());
    }
}

fn is_missing(node: &xmltree::XMLNode) -> bool {
    let status = node.as_element().and_then(|element| element.get_child("status"));
    let text = status.and_then(|status| status.get_text());
    text.is_some_and(|text| text.contains(" 404 "))
}

/// The responses of a multistatus with all prefixes spelt out and each list of properties in the order of its names.
fn in_one_form(text: &str) -> Vec<String> {
    fn form(element: &xmltree::Element) -> String {
        let mut inside: Vec<String> = element
            .children
            .iter()
            // dav-server leaves out what RFC 4918 section 9.1 wants: that a property is not there.
            .filter(|child| !is_missing(child))
            .map(|child| match child {
                xmltree::XMLNode::Element(element) => form(element),
                other => other.as_text().unwrap_or_default().to_owned(),
            })
            .collect();
        if element.name == "prop" {
            inside.sort();
        }
        let space = element.namespace.as_deref().unwrap_or_default();
        format!("{{{space}}}{}({})", element.name, inside.concat())
    }
    let root = xmltree::Element::parse(text.as_bytes()).expect("XML");
    assert_eq!(
        (root.name.as_str(), root.namespace.as_deref()),
        ("multistatus", Some("DAV:"))
    );
    root.children
        .iter()
        .filter_map(|child| child.as_element())
        .map(form)
        .collect()
}

#[tokio::test]
async fn a_large_folder_is_listed_whole_in_pieces() {
    use http_body_util::BodyExt;
    let server = Server::start().await;
    let library = server.app.engine().library();
    for number in 0..1_203 {
        let path = altmount_model::VPath::new(&format!("d{number:05}")).expect("a path");
        library.make_dir(&path).await.expect("the store answers");
    }
    let request = http::Request::builder()
        .method("PROPFIND")
        .uri("/webdav/")
        .header(
            "Authorization",
            crate::harness::basic(crate::harness::USER, crate::harness::PASSWORD),
        )
        .header("Depth", "1")
        .body(axum::body::Body::empty())
        .expect("a request");
    let mut body = server.raw(request).await.into_body();
    let (mut pieces, mut text) = (0, String::new());
    while let Some(frame) = body.frame().await {
        let data = frame.expect("a frame").into_data().expect("data");
        assert!(data.len() < 500_000, "{}", data.len());
        text.push_str(std::str::from_utf8(&data).expect("text"));
        pieces += 1;
    }
    assert_eq!(pieces, 3);
    assert_eq!(in_one_form(&text).len(), 1_204);
    for number in 0..1_203 {
        assert_eq!(
            text.matches(&format!("<D:href>/webdav/d{number:05}/</D:href>"))
                .count(),
            1
        );
    }
}
