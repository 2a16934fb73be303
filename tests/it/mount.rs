//! The FUSE mount below the kernel: what each request finds, does and refuses. With a kernel it is tested in `tests/real`.

use crate::harness::Server;
use altmount::fuse::tree::{Fault, Found, IDS, IDS_INODE, LINKS, LINKS_INODE, Tree, inode};
use altmount_engine::ROOT;
use altmount_newsd::{Body as Content, Command, Fault as Trouble, FileSpec, Gate, Release, Rule};
use std::ffi::OsStr;

const LEN: u64 = 50_000;
const TOP: u64 = 1;

/// A folder `movie` with `film.mkv` of ten articles, and the mount's view of it.
async fn mounted() -> (Server, Content, Tree) {
    let server = Server::with(|config| {
        config.cache.memory_bytes = 0;
        config.mount.read_timeout_seconds = 1;
    })
    .await;
    let content = Content::seeded(7, LEN);
    let file = FileSpec::new("film.mkv", content.clone()).article_size(5_000);
    let release = Release::builder("movie").seed(7).with(file).build();
    server.import(&server.post(&release)).await;
    let mut config = altmount::config::Config::default();
    config.mount.read_timeout_seconds = 1;
    let settings = config.resolve().expect("a valid configuration").mount;
    let tree = Tree::new(server.app.engine().library().clone(), &settings);
    (server, content, tree)
}

fn os(name: &str) -> &OsStr {
    OsStr::new(name)
}

async fn find(tree: &Tree, path: &str) -> Result<Found, Fault> {
    let mut found = tree.get(TOP).await?;
    for name in path.split('/') {
        found = tree.look_up(found.inode(), os(name)).await?;
    }
    Ok(found)
}

#[tokio::test]
async fn inode_numbers_are_the_librarys_ids_by_path_and_by_id() {
    let (server, _, tree) = mounted().await;
    assert_eq!(inode(ROOT), TOP);
    let id = server.file_id("movie/film.mkv").await;
    let film = find(&tree, "movie/film.mkv").await.expect("is there");
    assert_eq!(film.inode(), id.cast_unsigned());
    assert_eq!(tree.get(film.inode()).await, Ok(film.clone()));
    assert_eq!(find(&tree, &format!("{IDS}/{id}")).await, Ok(film));
    // One name only, and no folders, which cannot have two parents.
    let folder = server.file_id("movie").await;
    for name in [
        format!("0{id}"),
        format!("+{id}"),
        folder.to_string(),
        "-1".into(),
        "x".into(),
    ] {
        assert_eq!(
            tree.look_up(IDS_INODE, os(&name)).await,
            Err(Fault::NotFound),
            "{name}"
        );
    }
    for path in [
        "nothing",
        "movie/nothing",
        "movie/film.mkv/x",
        "movie/..",
        "movie/a\\b",
    ] {
        assert_eq!(find(&tree, path).await, Err(Fault::NotFound), "{path}");
    }
    for unknown in [0, 999, IDS_INODE + 1, u64::MAX] {
        assert_eq!(tree.get(unknown).await, Err(Fault::NotFound), "{unknown}");
    }
}

#[tokio::test]
async fn reads_are_whole_up_to_the_end_of_the_file() {
    let (_server, content, tree) = mounted().await;
    let film = find(&tree, "movie/film.mkv").await.expect("is there");
    let file = tree.open(film.inode()).await.expect("opens");
    for (offset, len, whole) in [
        (0, 1, 1),
        (4_999, 2, 2),
        (0, 1 << 20, 50_000),
        (49_999, 4096, 1),
        (LEN, 4096, 0),
        (u64::MAX, 4096, 0),
    ] {
        let data = tree.read(&file, offset, len).await.expect("reads");
        assert_eq!(data.len(), whole, "{len} at {offset}");
        assert!(
            whole == 0 || data == content.range(offset, whole),
            "{len} at {offset}"
        );
    }
    let folder = find(&tree, "movie").await.expect("is there").inode();
    assert_eq!(tree.open(folder).await.map(|_| ()), Err(Fault::IsDirectory));
    assert_eq!(tree.open(IDS_INODE).await.map(|_| ()), Err(Fault::NotFound));
}

#[tokio::test]
async fn a_read_that_nobody_answers_fails_in_its_time_and_an_open_file_outlives_its_name() {
    let (server, content, tree) = mounted().await;
    let film = find(&tree, "movie/film.mkv").await.expect("is there").inode();
    let folder = find(&tree, "movie").await.expect("is there").inode();
    let file = tree.open(film).await.expect("opens");
    assert_eq!(tree.unlink(folder, os("film.mkv")).await, Ok(()));
    assert_eq!(tree.get(film).await, Err(Fault::NotFound));
    assert_eq!(tree.open(film).await.map(|_| ()), Err(Fault::NotFound));
    let data = tree.read(&file, 100, 10_000).await.expect("reads");
    assert!(data == content.range(100, 10_000));
    let gate = Gate::new();
    server
        .newsd
        .rule(Rule::new(Trouble::Hold(gate.clone())).commands([Command::Body]));
    assert_eq!(tree.read(&file, 30_000, 10).await, Err(Fault::Io));
    gate.open();
}

#[tokio::test]
async fn names_move_and_go_as_posix_has_it() {
    let (server, _, tree) = mounted().await;
    let film = find(&tree, "movie/film.mkv").await.expect("is there").inode();
    let movie = find(&tree, "movie").await.expect("is there").inode();
    let made = tree.make_dir(TOP, os("shelf")).await.expect("made").inode();
    assert_eq!(
        tree.make_dir(TOP, os("shelf")).await.map(|_| ()),
        Err(Fault::Exists)
    );
    assert_eq!(tree.remove_dir(TOP, os("movie")).await, Err(Fault::NotEmpty));
    assert_eq!(tree.unlink(TOP, os("movie")).await, Err(Fault::IsDirectory));
    assert_eq!(
        tree.remove_dir(movie, os("film.mkv")).await,
        Err(Fault::NotDirectory)
    );

    let (from, to) = ((movie, os("film.mkv")), (made, os("new.mkv")));
    assert_eq!(
        tree.rename(from, (TOP, os("shelf")), false).await,
        Err(Fault::IsDirectory)
    );
    assert_eq!(tree.rename(from, to, true).await, Ok(()));
    assert_eq!(find(&tree, "shelf/new.mkv").await.map(|f| f.inode()), Ok(film));
    assert_eq!(
        tree.rename((TOP, os("shelf")), (made, os("x")), false).await,
        Err(Fault::Invalid)
    );
    assert_eq!(
        tree.rename((TOP, os("movie")), to, false).await,
        Err(Fault::NotDirectory)
    );
    assert_eq!(
        tree.rename((TOP, os("movie")), to, true).await,
        Err(Fault::Exists)
    );
    assert_eq!(
        tree.rename((TOP, os("movie")), (TOP, os("shelf")), false).await,
        Err(Fault::NotEmpty)
    );
    // An empty folder gives way to another.
    assert_eq!(
        tree.rename((TOP, os("shelf")), (TOP, os("movie")), false).await,
        Ok(())
    );
    assert_eq!(find(&tree, "movie/new.mkv").await.map(|f| f.inode()), Ok(film));
    assert_eq!(find(&tree, "shelf").await, Err(Fault::NotFound));

    // The name of the ids is taken, and what is in it stays.
    let id = server.file_id("movie/new.mkv").await.to_string();
    assert_eq!(tree.make_dir(TOP, os(IDS)).await.map(|_| ()), Err(Fault::Denied));
    assert_eq!(tree.unlink(IDS_INODE, os(&id)).await, Err(Fault::Denied));
    assert_eq!(
        tree.rename((TOP, os("movie")), (TOP, os(IDS)), false).await,
        Err(Fault::Denied)
    );
    let long = "x".repeat(256);
    assert_eq!(
        tree.make_dir(TOP, os(&long)).await.map(|_| ()),
        Err(Fault::TooLong)
    );
}

#[tokio::test]
async fn a_listing_has_every_entry_once_in_order_however_many_there_are() {
    let (_server, _, tree) = mounted().await;
    for number in 0..1100 {
        tree.make_dir(TOP, os(&format!("d{number:04}")))
            .await
            .expect("made");
    }
    let (mut names, mut after) = (Vec::new(), None::<String>);
    loop {
        let page = tree.list(TOP, after.as_deref()).await.expect("lists");
        let Some(last) = page.last() else { break };
        after = Some(last.name.clone());
        names.extend(page.into_iter().map(|entry| entry.name));
    }
    let mut wanted: Vec<String> = (0..1100).map(|number| format!("d{number:04}")).collect();
    wanted.push("movie".to_owned());
    assert_eq!(names, wanted);
    assert_eq!(tree.list(IDS_INODE, None).await, Ok(Vec::new()));
}

#[tokio::test]
async fn the_tree_of_links_has_the_librarys_names_and_leads_to_the_ids() {
    let (server, _, tree) = mounted().await;
    let tree = tree.at("/mnt/library".into());
    let id = server.file_id("movie/film.mkv").await;
    let link = find(&tree, &format!("{LINKS}/movie/film.mkv"))
        .await
        .expect("is there");
    assert!(
        matches!(&link, Found::Link(entry) if entry.id.0 == id),
        "{link:?}"
    );
    assert_ne!(link.inode(), id.cast_unsigned());
    assert_eq!(tree.get(link.inode()).await, Ok(link.clone()));
    let target = tree.target(link.inode()).await.expect("a link");
    assert_eq!(target, std::path::Path::new(&format!("/mnt/library/{IDS}/{id}")));

    let folder = find(&tree, &format!("{LINKS}/movie")).await.expect("is there");
    assert!(folder.is_dir());
    assert_eq!(tree.target(folder.inode()).await, Err(Fault::Invalid));
    assert_eq!(tree.target(id.cast_unsigned()).await, Err(Fault::Invalid));
    let names = |entries: Vec<altmount_engine::Entry>| -> Vec<String> {
        entries.into_iter().map(|e| e.name).collect()
    };
    assert_eq!(
        tree.list(folder.inode(), None).await.map(names),
        Ok(vec!["film.mkv".to_owned()])
    );
    assert_eq!(
        tree.list(LINKS_INODE, None).await.map(names),
        Ok(vec!["movie".to_owned()])
    );

    // It is read only, and neither tree is in itself.
    assert_eq!(
        tree.unlink(folder.inode(), os("film.mkv")).await,
        Err(Fault::Denied)
    );
    assert_eq!(tree.make_dir(LINKS_INODE, os("new")).await, Err(Fault::Denied));
    assert_eq!(tree.make_dir(TOP, os(LINKS)).await, Err(Fault::Denied));
    assert_eq!(tree.look_up(LINKS_INODE, os(LINKS)).await, Err(Fault::NotFound));
    assert_eq!(tree.look_up(LINKS_INODE, os(IDS)).await, Err(Fault::NotFound));
    // After a move the link is found under its new name, and leads to the same place.
    let movie = find(&tree, "movie").await.expect("is there").inode();
    assert_eq!(
        tree.rename((movie, os("film.mkv")), (movie, os("other.mkv")), true)
            .await,
        Ok(())
    );
    let moved = find(&tree, &format!("{LINKS}/movie/other.mkv"))
        .await
        .expect("is there");
    assert_eq!(tree.target(moved.inode()).await, Ok(target));
}

#[tokio::test]
async fn what_is_deleted_or_overwritten_in_the_mount_can_be_had_back() {
    let (server, content, tree) = mounted().await;
    let film = find(&tree, "movie/film.mkv").await.expect("is there").inode();
    let movie = find(&tree, "movie").await.expect("is there").inode();
    let trashed = async || server.get("/api/trash").await.json()["data"].clone();
    let restore = async |id: u64| {
        let answer = server
            .api("POST", &format!("/api/trash/{id}/restore"), None)
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    // As `rm -r` does it.
    assert_eq!(tree.unlink(movie, os("film.mkv")).await, Ok(()));
    assert_eq!(tree.remove_dir(TOP, os("movie")).await, Ok(()));
    let gone = trashed().await;
    assert_eq!(
        (&gone[0]["id"], &gone[0]["path"], &gone[1]),
        (&film.into(), &"/movie/film.mkv".into(), &serde_json::Value::Null)
    );
    restore(film).await;
    assert_eq!(
        find(&tree, "movie/film.mkv").await.map(|found| found.inode()),
        Ok(film)
    );
    let file = tree.open(film).await.expect("opens");
    let data = tree.read(&file, 100, 10_000).await.expect("reads");
    assert!(data == content.range(100, 10_000));
    // What a rename takes the place of.
    let other = Content::seeded(8, LEN);
    let release = Release::builder("other")
        .seed(8)
        .with(FileSpec::new("new.mkv", other.clone()).article_size(5_000))
        .build();
    server.import(&server.post(&release)).await;
    let (from, to) = (
        find(&tree, "other").await.expect("is there").inode(),
        find(&tree, "movie").await.expect("is there").inode(),
    );
    let new = find(&tree, "other/new.mkv").await.expect("is there").inode();
    assert_eq!(
        tree.rename((from, os("new.mkv")), (to, os("film.mkv")), false)
            .await,
        Ok(())
    );
    assert_eq!(
        find(&tree, "movie/film.mkv").await.map(|found| found.inode()),
        Ok(new)
    );
    assert_eq!(tree.open(film).await.map(|_| ()), Err(Fault::NotFound));
    assert_eq!(trashed().await[0]["id"], film);
    restore(film).await;
    let back = find(&tree, "movie/film (2).mkv").await.expect("is there");
    assert_eq!(back.inode(), film);
    let file = tree.open(film).await.expect("opens");
    let data = tree.read(&file, 0, 50_000).await.expect("reads");
    assert!(data == content.range(0, 50_000));
}
