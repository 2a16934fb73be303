//! Deleted, and had back.

use crate::harness::Server;
use altmount_newsd::Release;
use serde_json::json;

#[tokio::test]
async fn there_is_one_trash_for_all() {
    let server = Server::start().await;
    let film = Release::builder("Film")
        .file("a.mkv", vec![1u8; 30_000])
        .file("b.mkv", vec![2u8; 30_000])
        .file("c.mkv", vec![3u8; 30_000])
        .build();
    server.import(&server.post(&film)).await;
    let trash = async || server.get("/api/trash").await.json();
    let id = server.file_id("Film/a.mkv").await;
    let gone = server.api("DELETE", &format!("/api/files/{id}"), None).await;
    assert_eq!(gone.status, 200, "{}", gone.text());
    assert_eq!(server.dav("DELETE", "/Film/b.mkv", &[], "").await.status, 204);
    let all = trash().await;
    assert_eq!(all["meta"]["total"], 2, "{all}");
    assert_eq!(
        (&all["data"][0]["path"], &all["data"][1]["path"]),
        (&json!("/Film/b.mkv"), &json!("/Film/a.mkv"))
    );
    // It comes back with its bytes, and with the folder, which went after it.
    assert_eq!(server.dav("DELETE", "/Film", &[], "").await.status, 204);
    assert_eq!(
        server
            .dav("PROPFIND", "/Film", &[("Depth", "0")], "")
            .await
            .status,
        404
    );
    let b = all["data"][0]["id"].as_i64().expect("an id");
    let back = server.api("POST", &format!("/api/trash/{b}/restore"), None).await;
    assert_eq!(back.status, 200, "{}", back.text());
    let bytes = server.dav("GET", "/Film/b.mkv", &[], "").await;
    assert!(bytes.status == 200 && bytes.body == vec![2u8; 30_000]);
    let before = trash().await["meta"]["total"].clone();
    let gone = server
        .api("DELETE", &format!("/api/files/{b}?forever=true"), None)
        .await;
    assert_eq!(gone.status, 200, "{}", gone.text());
    assert_eq!(trash().await["meta"]["total"], before, "for good is for good");
    server
        .api("DELETE", &format!("/api/files/{b}?forever=perhaps"), None)
        .await
        .failure(400);

    let server = Server::with(|config| config.library.trash_all = false).await;
    server.import(&server.post(&film)).await;
    assert_eq!(server.dav("DELETE", "/Film/b.mkv", &[], "").await.status, 204);
    let over = [("Destination", "/webdav/Film/c.mkv"), ("Overwrite", "T")];
    assert_eq!(server.dav("MOVE", "/Film/a.mkv", &over, "").await.status, 204);
    let all = server.get("/api/trash").await.json();
    assert_eq!(all["meta"]["total"], 0, "{all}");
}

#[tokio::test]
async fn what_is_overwritten_by_a_move_can_be_had_back() {
    let server = Server::start().await;
    let film = Release::builder("Film")
        .file("a.mkv", vec![1u8; 30_000])
        .file("b.mkv", vec![2u8; 30_000])
        .file("c.mkv", vec![3u8; 30_000])
        .file("d.mkv", vec![4u8; 30_000])
        .build();
    server.import(&server.post(&film)).await;
    // Each file has bytes of one value.
    let bytes = async |path: &str| {
        let body = server.dav("GET", path, &[], "").await.body;
        (
            body.len(),
            body.iter().all(|byte| *byte == body[0]),
            body.first().copied(),
        )
    };
    let (a, b) = (
        server.file_id("Film/a.mkv").await,
        server.file_id("Film/b.mkv").await,
    );
    let over = |to: &'static str| [("Destination", to), ("Overwrite", "T")];
    let moved = server
        .dav("MOVE", "/Film/a.mkv", &over("/webdav/Film/b.mkv"), "")
        .await;
    assert_eq!(moved.status, 204);
    assert_eq!(server.file_id("Film/b.mkv").await, a);
    assert_eq!(bytes("/Film/b.mkv").await, (30_000, true, Some(1)));
    let trash = async || server.get("/api/trash").await.json();
    let all = trash().await;
    assert_eq!(
        (
            &all["meta"]["total"],
            &all["data"][0]["id"],
            &all["data"][0]["path"]
        ),
        (&json!(1), &json!(b), &json!("/Film/b.mkv"))
    );
    let back = server.api("POST", &format!("/api/trash/{b}/restore"), None).await;
    assert_eq!(back.status, 200, "{}", back.text());
    assert_eq!(bytes("/Film/b%20(2).mkv").await, (30_000, true, Some(2)));
    assert_eq!(bytes("/Film/b.mkv").await, (30_000, true, Some(1)));
    // A folder with all that is in it.
    for (folder, file, to) in [
        ("/Film/cut", "/Film/c.mkv", "/webdav/Film/cut/c.mkv"),
        ("/Film/other", "/Film/d.mkv", "/webdav/Film/other/d.mkv"),
    ] {
        assert_eq!(server.dav("MKCOL", folder, &[], "").await.status, 201);
        assert_eq!(server.dav("MOVE", file, &over(to), "").await.status, 201);
    }
    let moved = server
        .dav("MOVE", "/Film/cut", &over("/webdav/Film/other"), "")
        .await;
    assert_eq!(moved.status, 204);
    let all = trash().await;
    assert_eq!(
        (&all["data"][0]["path"], &all["data"][0]["entries"]),
        (&json!("/Film/other"), &json!(2))
    );
    let id = all["data"][0]["id"].as_i64().expect("an id");
    let back = server
        .api("POST", &format!("/api/trash/{id}/restore"), None)
        .await;
    assert_eq!(back.status, 200, "{}", back.text());
    assert_eq!(bytes("/Film/other%20(2)/d.mkv").await, (30_000, true, Some(4)));
    assert_eq!(bytes("/Film/other/c.mkv").await, (30_000, true, Some(3)));
    // What is not moved overwrites nothing.
    let kept = [("Destination", "/webdav/Film/b.mkv"), ("Overwrite", "F")];
    let refused = server.dav("MOVE", "/Film/b%20(2).mkv", &kept, "").await;
    assert_eq!(
        (refused.status.as_u16(), &trash().await["meta"]["total"]),
        (412, &json!(0))
    );
}
