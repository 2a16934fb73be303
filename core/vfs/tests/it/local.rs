//! Local sources stay below their root.

use crate::support::{News, Tables, config, noise, within};
use altmount_model::{Content, LocalRoot, Node, VPath};
use altmount_vfs::{Class, ReadErrorKind, Reader, Vfs, VfsConfig};
use std::{path::Path, sync::Arc};

async fn open(root: Option<&Path>, path: &str, len: u64) -> Reader {
    let config = VfsConfig {
        materialized_root: root.map(Path::to_owned),
        ..config()
    };
    let vfs = Vfs::new(Arc::new(News::default()), config).expect("a vfs");
    let content = Content::single(Node::Local {
        root: LocalRoot::Materialized,
        path: VPath::new(path).expect("a path"),
        len,
    });
    let tables = Arc::new(Tables::default());
    vfs.open(Arc::new(content), tables, Class::Playback)
        .await
        .expect("it opens")
}

async fn failure(root: Option<&Path>, path: &str, len: u64) -> ReadErrorKind {
    let reader = open(root, path, len).await;
    within(reader.read_at(0, 1))
        .await
        .expect_err("it must not be read")
        .kind
}

#[tokio::test]
async fn files_below_the_root_are_read() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = noise(1, 3_000_000);
    std::fs::create_dir(dir.path().join("a")).expect("a folder");
    std::fs::write(dir.path().join("a/b.bin"), &data).expect("a file");
    let reader = open(Some(dir.path()), "a/b.bin", data.len() as u64).await;
    let got = within(reader.read_exact_at(1, data.len() as u64 - 1))
        .await
        .expect("bytes");
    assert!(got == data[1..]);
}

#[tokio::test]
async fn what_is_not_the_file_that_was_imported_is_an_error() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("file"), [1; 10]).expect("a file");
    std::fs::create_dir(dir.path().join("folder")).expect("a folder");
    let root = Some(dir.path());
    assert_eq!(failure(root, "file", 9).await, ReadErrorKind::Changed);
    assert_eq!(failure(root, "file", 11).await, ReadErrorKind::Changed);
    assert_eq!(failure(root, "other", 10).await, ReadErrorKind::Missing);
    assert_eq!(failure(root, "folder", 10).await, ReadErrorKind::Invalid);
    assert_eq!(failure(None, "file", 10).await, ReadErrorKind::Denied);
    assert_eq!(
        failure(Some(&dir.path().join("gone")), "file", 10).await,
        ReadErrorKind::Missing
    );
}

#[cfg(unix)]
#[tokio::test]
async fn links_do_not_lead_out() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().expect("a folder");
    let (root, outside) = (dir.path().join("root"), dir.path().join("root-not"));
    std::fs::create_dir(&root).expect("a folder");
    std::fs::create_dir(&outside).expect("a folder");
    std::fs::write(outside.join("secret"), [1; 10]).expect("a file");
    std::fs::write(root.join("own"), [2; 10]).expect("a file");
    symlink(outside.join("secret"), root.join("file")).expect("a link");
    symlink(&outside, root.join("folder")).expect("a link");
    symlink("own", root.join("inner")).expect("a link");
    assert_eq!(failure(Some(&root), "file", 10).await, ReadErrorKind::Denied);
    assert_eq!(
        failure(Some(&root), "folder/secret", 10).await,
        ReadErrorKind::Denied
    );
    let reader = open(Some(&root), "inner", 10).await;
    assert_eq!(within(reader.read_at(0, 10)).await.expect("bytes"), [2; 10][..]);
}
