//! What goes with a release, and comes back with it.

use super::{all, become_so, counted, gone, import, release, server, strm, tree};
use crate::harness::Server;
use altmount::outputs::Discarded;
use altmount_engine::Job;
use std::collections::BTreeMap;
use std::fs;

/// Imports a film of 10,000 bytes with subtitles.
async fn imported(server: &Server, name: &str, seed: u64) -> Job {
    let (film, ..) = release(name, seed, 10_000);
    import(server, &film).await
}

/// Has a download client delete a job's entry, with its files.
async fn discard(server: &Server, job: &Job) -> Discarded {
    let outputs = std::sync::Arc::clone(&server.app.api().outputs);
    outputs.discard(job, false).await.expect("discards")
}

#[tokio::test]
async fn what_a_download_client_discards_goes_unless_somebody_has_taken_it() {
    let server = server(r#"["symlinks"]"#).await;
    let links = server.folder.path().join("links");
    let job = imported(&server, "Untouched", 13).await;
    assert_eq!(discard(&server, &job).await, Discarded::All);
    assert_eq!(tree(&links).len(), 0);
    assert_eq!(server.get("/api/library?path=/Untouched").await.status, 404);

    let job = imported(&server, "Taken", 15).await;
    fs::rename(
        links.join("Taken/film 1.mkv"),
        server.folder.path().join("library.mkv"),
    )
    .expect("moved");
    assert_eq!(discard(&server, &job).await, Discarded::Leftovers);
    assert_eq!(tree(&links).len(), 0, "what is left goes");
    assert_eq!(server.get("/api/library?path=/Taken").await.status, 200);

    // As an *arr does after its import: it moves, removes the folder, and then deletes the entry.
    let job = imported(&server, "Whole", 17).await;
    fs::rename(
        links.join("Whole/film 1.mkv"),
        server.folder.path().join("whole.mkv"),
    )
    .expect("moved");
    fs::remove_dir_all(links.join("Whole")).expect("removed");
    assert_eq!(discard(&server, &job).await, Discarded::Leftovers);
    assert_eq!(server.get("/api/library?path=/Whole").await.status, 200);
}

/// Has an entry of the trash back.
async fn restore(server: &Server, id: i64) {
    let answer = server
        .api("POST", &format!("/api/trash/{id}/restore"), None)
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// Puts an entry into the trash.
async fn delete(server: &Server, id: i64) {
    let answer = server.api("DELETE", &format!("/api/files/{id}"), None).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// These trees without the files of one name.
fn without(trees: &[BTreeMap<String, String>; 3], name: &str) -> [BTreeMap<String, String>; 3] {
    trees.clone().map(|mut tree| {
        tree.retain(|path, _| !path.starts_with(name));
        tree
    })
}

#[tokio::test]
async fn what_is_restored_has_its_outputs_again() {
    let server = server(r#"["symlinks", "strm", "copy"]"#).await;
    let (release, film, _) = release("Film", 20, 300_000);
    import(&server, &release).await;
    let top = server.folder.path().to_owned();
    let before = all(&top);
    assert_eq!(before.each_ref().map(BTreeMap::len), [3, 3, 3]);
    let (id, words) = (
        server.file_id("Film/film 1.mkv").await,
        server.file_id("Film/film 1.srt").await,
    );
    let folder = server.file_id("Film").await;
    let address = strm(&server, "Film/film 1.strm");
    let no_film = without(&without(&before, "Film/film 1.mkv"), "Film/film 1.strm");

    // One file; its neighbour stays as it is.
    delete(&server, id).await;
    become_so(&top, &no_film).await;
    restore(&server, id).await;
    become_so(&top, &before).await;
    assert!(fs::read(top.join("copies/Film/film 1.mkv")).expect("there") == film.range(0, 300_000));
    assert_eq!(strm(&server, "Film/film 1.strm"), address);
    counted(&server, [6, 0, 0, 0, 0]).await;

    // The file, then the folder that it was in, and back in the same order: into a folder that is made anew.
    assert_eq!(
        server.dav("DELETE", "/Film/film%201.mkv", &[], "").await.status,
        204
    );
    assert_eq!(server.dav("DELETE", "/Film", &[], "").await.status, 204);
    become_so(&top, &Default::default()).await;
    restore(&server, id).await;
    become_so(&top, &without(&before, "Film/film 1.srt")).await;
    counted(&server, [3, 0, 0, 0, 0]).await;
    restore(&server, folder).await;
    become_so(&top, &before).await;

    // Whoever restarts the server in between finds the same.
    delete(&server, id).await;
    become_so(&top, &no_film).await;
    let server = server.restarted().await;
    restore(&server, id).await;
    become_so(&top, &before).await;

    // What somebody had taken is his, and is not made a second time; what he has put there instead stays.
    fs::rename(top.join("links/Film/film 1.srt"), top.join("taken.srt")).expect("moved");
    delete(&server, words).await;
    become_so(&top, &without(&before, "Film/film 1.srt")).await;
    fs::write(top.join("strm/Film/film 1.srt"), "mine").expect("written");
    restore(&server, words).await;
    let mut wanted = before.clone();
    wanted[0].remove("Film/film 1.srt");
    wanted[1].insert("Film/film 1.srt".to_owned(), "4 bytes".to_owned());
    become_so(&top, &wanted).await;

    // What is deleted for good is forgotten.
    delete(&server, id).await;
    gone(&top.join("copies/Film/film 1.mkv")).await;
    let purged = server.api("DELETE", &format!("/api/trash/{id}"), None).await;
    assert_eq!(purged.status, 200, "{}", purged.text());
    let known = server.app.engine().outputs();
    assert!(
        known
            .at(&[top.join("copies/Film/film 1.mkv").to_str().expect("text")])
            .await
            .expect("reads")
            .is_empty()
    );
}

#[tokio::test]
async fn what_a_download_client_discarded_comes_back_whole() {
    let server = server(r#"["symlinks"]"#).await;
    let job = imported(&server, "Film", 22).await;
    let top = server.folder.path().to_owned();
    let (before, folder) = (all(&top), server.file_id("Film").await);
    assert_eq!(discard(&server, &job).await, Discarded::All);
    become_so(&top, &Default::default()).await;
    restore(&server, folder).await;
    become_so(&top, &before).await;
}
