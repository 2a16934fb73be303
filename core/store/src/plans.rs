//! The statements of the hot paths use the indexes that are meant for them.

use crate::{HistoryFilter, downloads, library, open, queue, replace};
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

/// A new database; the folder has to outlive the connection.
async fn database() -> (tempfile::TempDir, SqliteConnection) {
    let dir = tempfile::tempdir().expect("a folder");
    let options = open::options(dir.path()).expect("options");
    let mut conn = open::connect(&options).await.expect("connects");
    open::migrate(&mut conn, dir.path()).await.expect("migrates");
    (dir, conn)
}

async fn plan(conn: &mut SqliteConnection, sql: &str) -> Vec<String> {
    let rows = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")))
        .fetch_all(conn)
        .await
        .expect("explains");
    rows.iter().map(|row| row.get::<String, _>("detail")).collect()
}

#[tokio::test]
async fn a_listing_is_one_range_of_one_index() {
    let (_dir, mut conn) = database().await;
    let plan = plan(&mut conn, library::LIST).await;
    let nodes: Vec<&String> = plan.iter().filter(|step| step.contains(" n ")).collect();
    assert_eq!(
        nodes,
        ["SEARCH n USING INDEX nodes_children (parent=? AND listed=? AND name>?)"]
    );
    assert!(!plan.iter().any(|step| step.contains("TEMP B-TREE")), "{plan:?}");
}

#[tokio::test]
async fn a_look_up_is_one_index_look_up_for_each_name() {
    let (_dir, mut conn) = database().await;
    let plan = plan(&mut conn, library::LOOKUP).await;
    let nodes: Vec<&String> = plan.iter().filter(|step| step.contains(" n ")).collect();
    assert_eq!(
        nodes,
        [
            "SEARCH n USING COVERING INDEX nodes_children (parent=? AND listed=? AND name=?)",
            "SEARCH n USING INTEGER PRIMARY KEY (rowid=?)"
        ],
        "{plan:?}"
    );
}

#[tokio::test]
async fn a_claim_takes_the_head_of_an_index() {
    let (_dir, mut conn) = database().await;
    let claim = plan(&mut conn, queue::CLAIM).await;
    assert!(
        claim
            .iter()
            .any(|step| step.contains("INDEX jobs_ready (priority>?)")),
        "{claim:?}"
    );
    assert!(
        !claim.iter().any(|step| step.contains("TEMP B-TREE")),
        "{claim:?}"
    );
    for (sql, index) in [(queue::WAITING, "jobs_waiting"), (queue::EXPIRED, "jobs_leases")] {
        let plan = plan(&mut conn, sql).await;
        assert!(
            plan.iter().any(|step| step.contains(&format!("INDEX {index} "))),
            "{plan:?}"
        );
        assert!(!plan.iter().any(|step| step.starts_with("SCAN")), "{plan:?}");
    }
}

#[tokio::test]
async fn a_page_of_jobs_reads_ranges_of_the_state_index() {
    let (_dir, mut conn) = database().await;
    let plan = plan(&mut conn, queue::PAGE).await;
    let arms = plan
        .iter()
        .filter(|s| s.contains("COVERING INDEX jobs_state (state=?)"))
        .count();
    assert_eq!(arms, 5, "{plan:?}");
    assert!(!plan.iter().any(|s| s.starts_with("SCAN jobs")), "{plan:?}");
}

#[tokio::test]
async fn what_ended_lately_is_ranges_of_the_history() {
    let (_dir, mut conn) = database().await;
    let plan = plan(&mut conn, crate::store::ENDED).await;
    let ranges = "SEARCH jobs USING INDEX jobs_history (archived=? AND finished_ms>?)";
    assert!(plan.iter().any(|step| step == ranges), "{plan:?}");
}

#[tokio::test]
async fn a_page_of_the_history_is_a_range_of_an_index_in_its_order() {
    let (_dir, mut conn) = database().await;
    for (categories, index) in [
        (vec![], "INDEX jobs_history ("),
        (vec![Some("tv".to_owned())], "INDEX jobs_history_category ("),
        (vec![None], "INDEX jobs_history_category ("),
    ] {
        let filter = HistoryFilter {
            categories,
            ..HistoryFilter::default()
        };
        let query = downloads::page(&filter, downloads::Part::Others, 60, 0).expect("a query");
        let plan = plan(&mut conn, query.sql().as_str()).await;
        assert!(plan.iter().any(|step| step.contains(index)), "{plan:?}");
        assert!(!plan.iter().any(|step| step.contains("TEMP B-TREE")), "{plan:?}");
    }
}

#[tokio::test]
async fn what_is_not_published_yet_is_found_without_the_history() {
    let (_dir, mut conn) = database().await;
    for categories in [vec![], vec![Some("tv".to_owned())], vec![None]] {
        let filter = HistoryFilter {
            categories,
            ..HistoryFilter::default()
        };
        let query = downloads::page(&filter, downloads::Part::Moving, 60, 0).expect("a query");
        let plan = plan(&mut conn, query.sql().as_str()).await;
        assert!(
            plan.iter().any(|step| step.contains("INDEX jobs_unpublished")),
            "{plan:?}"
        );
    }
}

#[tokio::test]
async fn a_search_of_the_history_reads_names_alone() {
    let (_dir, mut conn) = database().await;
    for categories in [vec![], vec![Some("tv".to_owned())], vec![None]] {
        let filter = HistoryFilter {
            categories,
            search: Some("film".to_owned()),
            no_failed: true,
            ..HistoryFilter::default()
        };
        let count = downloads::count(&filter).expect("a query");
        let steps = plan(&mut conn, count.sql().as_str()).await;
        assert!(
            steps
                .iter()
                .any(|step| step.contains("COVERING INDEX jobs_history_names (archived=?)")),
            "{steps:?}"
        );
        let page = downloads::page(&filter, downloads::Part::All, 60, 0).expect("a query");
        let steps = plan(&mut conn, page.sql().as_str()).await;
        assert!(
            steps
                .iter()
                .any(|step| step.contains("INDEX jobs_history_names (archived=?)")),
            "{steps:?}"
        );
        assert!(
            !steps.iter().any(|step| step.contains("TEMP B-TREE")),
            "{steps:?}"
        );
    }
}

#[tokio::test]
async fn files_that_are_replaced_are_found_by_their_ids() {
    let (_dir, mut conn) = database().await;
    let row = "(?, ?, ?, ?, ?)";
    let rows = vec![row; 500].join(", ");
    let sql = format!(
        "{}VALUES {rows}{}?{}?{}",
        replace::REPLACE_FROM,
        replace::REPLACE_SET,
        replace::REPLACE_OF,
        replace::REPLACE_WHERE
    );
    let plan = plan(&mut conn, &sql).await;
    let nodes: Vec<&String> = plan.iter().filter(|step| step.contains(" nodes")).collect();
    assert_eq!(
        nodes,
        ["SEARCH nodes USING INTEGER PRIMARY KEY (rowid=?)"],
        "{plan:?}"
    );
}

#[tokio::test]
async fn whether_paths_are_there_is_one_index_look_up_for_each_name() {
    let (_dir, mut conn) = database().await;
    let plan = plan(&mut conn, library::EXIST).await;
    let nodes: Vec<&String> = plan.iter().filter(|step| step.contains(" n ")).collect();
    assert_eq!(
        nodes,
        ["SEARCH n USING COVERING INDEX nodes_children (parent=? AND listed=? AND name=?)"],
        "{plan:?}"
    );
}
