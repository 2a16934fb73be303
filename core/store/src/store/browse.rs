//! The library in pages and by search, for whoever looks at it.

use super::Store;
use crate::{Entry, Page, Result, library};
use altmount_model::FileId;

/// How many entries a folder lists: a range of the index of its children.
const COUNT: &str = "SELECT count(*) FROM nodes WHERE parent = ?1 AND listed = 1";
/// The name of the child behind the first ?2, in order.
const NAME_AT: &str =
    "SELECT name FROM nodes WHERE parent = ?1 AND listed = 1 ORDER BY name LIMIT 1 OFFSET ?2";
/// Files and folders whose name holds a text, newest first. It reads every name: no index finds the middle of a word.
const SEARCH: &str = concat!(
    "SELECT ",
    library::columns!(),
    " FROM nodes AS n WHERE n.listed = 1 AND n.trashed = 0 AND n.id <> 1 AND n.name LIKE ?1 ESCAPE '\\' \
     ORDER BY n.id DESC LIMIT ?2 OFFSET ?3"
);
const FOUND: &str =
    "SELECT count(*) FROM nodes WHERE listed = 1 AND trashed = 0 AND id <> 1 AND name LIKE ?1 ESCAPE '\\'";

/// A text as a `LIKE` pattern that finds it anywhere, with the pattern's own signs taken as they are.
pub(crate) fn pattern(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

impl Store {
    /// Up to `limit` entries of a folder behind the first `offset`, in the order of their names' bytes, and how many there
    /// are; without unlisted files. Empty for what is no folder.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::Io`].
    pub async fn page(&self, dir: FileId, offset: u64, limit: u32) -> Result<Page<Entry>> {
        let mut conn = self.0.readers.acquire().await?;
        let total: i64 = sqlx::query_scalar(COUNT).bind(dir.0).fetch_one(&mut conn).await?;
        let total = total.cast_unsigned();
        if offset >= total {
            return Ok(Page {
                items: Vec::new(),
                total,
            });
        }
        let after: Option<String> = match offset.checked_sub(1) {
            None => None,
            Some(last) => {
                sqlx::query_scalar(NAME_AT)
                    .bind(dir.0)
                    .bind(last.cast_signed())
                    .fetch_optional(&mut conn)
                    .await?
            }
        };
        let items = library::list(&mut conn, dir, after.as_deref().unwrap_or_default(), limit).await?;
        Ok(Page { items, total })
    }

    /// Files and folders whose name holds `text` (ASCII letters in either case), newest first, and how many there are.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::Io`].
    pub async fn search(&self, text: &str, offset: u64, limit: u32) -> Result<Page<Entry>> {
        let pattern = pattern(text);
        let mut conn = self.0.readers.acquire().await?;
        let total: i64 = sqlx::query_scalar(FOUND)
            .bind(&pattern)
            .fetch_one(&mut conn)
            .await?;
        let rows = sqlx::query(SEARCH)
            .bind(&pattern)
            .bind(limit)
            .bind(i64::try_from(offset).unwrap_or(i64::MAX))
            .fetch_all(&mut conn)
            .await?;
        Ok(Page {
            items: rows.iter().map(library::entry_of).collect::<Result<_>>()?,
            total: total.cast_unsigned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ROOT;
    use altmount_model::VPath;

    async fn store(names: &[&str]) -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::open(dir.path()).await.expect("opens");
        for name in names {
            let path = VPath::new(name).expect("a path");
            store.make_dir(&path).await.expect("made");
        }
        (dir, store)
    }

    fn names(page: &Page<Entry>) -> Vec<&str> {
        page.items.iter().map(|entry| entry.name.as_str()).collect()
    }

    #[tokio::test]
    async fn pages_are_consecutive_and_know_their_total() {
        let (_dir, store) = store(&["c", "a", "b", "b/x"]).await;
        let page = async |offset, limit| store.page(ROOT, offset, limit).await.expect("reads");
        assert_eq!(names(&page(0, 2).await), ["a", "b"]);
        assert_eq!(names(&page(2, 2).await), ["c"]);
        assert_eq!(names(&page(1, 1).await), ["b"]);
        assert_eq!(page(u64::MAX, 2).await.items, []);
        assert_eq!(page(3, 2).await.total, 3);
    }

    #[tokio::test]
    async fn a_search_takes_the_signs_of_patterns_as_they_are() {
        let (_dir, store) = store(&["100%", "100 per cent", "a_b", "axb", "back", "Film"]).await;
        let search = async |text| {
            let page = store.search(text, 0, 10).await.expect("reads");
            assert_eq!(page.total, page.items.len() as u64);
            page
        };
        assert_eq!(names(&search("100%").await), ["100%"]);
        assert_eq!(names(&search("a_b").await), ["a_b"]);
        assert!(search("\\").await.items.is_empty());
        assert_eq!(names(&search("fILM").await), ["Film"]);
        assert_eq!(names(&search("a").await), ["back", "axb", "a_b"]);
        let second = store.search("a", 1, 1).await.expect("reads");
        assert_eq!((names(&second), second.total), (vec!["axb"], 3));
    }
}
