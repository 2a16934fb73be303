//! Where things are, as a client sees it.

use crate::quoted;
use altmount_model::VPath;
use std::sync::Arc;

/// Addresses below the server's own.
#[derive(Clone, Debug)]
pub struct Public {
    base: Arc<str>,
    webdav: Option<Arc<str>>,
}

impl Public {
    /// Below this path, with the WebDAV folder at that path below it, or without one.
    pub fn new(base: &str, webdav: Option<&str>) -> Self {
        Self {
            base: base.into(),
            webdav: webdav.map(|webdav| format!("{base}{webdav}").into()),
        }
    }

    /// What is at a path from the server's own address on.
    pub fn below(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// A file's bytes.
    pub fn stream(&self, id: i64) -> String {
        format!("{}/api/stream/{id}", self.base)
    }

    /// The file that a release came from.
    pub fn release_source(&self, id: i64) -> String {
        format!("{}/api/releases/{id}/source", self.base)
    }

    /// A file in the WebDAV folder, where there is one.
    pub fn webdav(&self, path: &VPath) -> Option<String> {
        let mut link = self.webdav.as_deref()?.to_owned();
        for name in path.components() {
            link.push('/');
            link.extend(quoted::name(name));
        }
        Some(link)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted() {
        let path = VPath::new("Ü b/50%?.mkv").expect("a path");
        let link = |dav| Public::new("", dav).webdav(&path);
        assert_eq!(
            link(Some("/webdav")).as_deref(),
            Some("/webdav/%C3%9C%20b/50%25%3F.mkv")
        );
        assert_eq!(link(None), None);
        let below = Public::new("/a", Some("/webdav"));
        assert!(
            below
                .webdav(&path)
                .is_some_and(|link| link.starts_with("/a/webdav/"))
        );
        assert_eq!(below.stream(3), "/a/api/stream/3");
    }
}
