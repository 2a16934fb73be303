-- Times are milliseconds since 1970. Booleans are 0 and 1. AUTOINCREMENT: an id that was once seen is never given again.

-- What one finished import put into the library. It lives as long as an entry of the library refers to it.
CREATE TABLE releases (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id      INTEGER NOT NULL,
    source_key  TEXT    NOT NULL,
    -- the folder that was asked for, and the one that it got
    wanted      TEXT    NOT NULL,
    destination TEXT    NOT NULL,
    folder_id   INTEGER REFERENCES nodes (id) ON DELETE SET NULL,
    blob        TEXT    NOT NULL,
    importer    TEXT    NOT NULL,
    meta        TEXT    NOT NULL,
    notes       TEXT    NOT NULL,
    created_ms  INTEGER NOT NULL
) STRICT;
-- at submit: the releases of this source
CREATE INDEX releases_source ON releases (source_key);
-- is this folder a release's; and the foreign key
CREATE UNIQUE INDEX releases_folder ON releases (folder_id) WHERE folder_id IS NOT NULL;
-- sweep
CREATE INDEX releases_blob ON releases (blob);

-- state: 0 queued, 1 running, 2 completed, 3 failed, 4 cancelled
CREATE TABLE jobs (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    state            INTEGER NOT NULL CHECK (state BETWEEN 0 AND 4),
    source_path      TEXT    NOT NULL,
    source_key       TEXT    NOT NULL,
    file_name        TEXT    NOT NULL,
    size             INTEGER NOT NULL,
    blob             TEXT    NOT NULL,
    wanted           TEXT    NOT NULL,
    destination      TEXT    NOT NULL,
    delete_source    INTEGER NOT NULL,
    passwords        TEXT    NOT NULL,
    priority         INTEGER NOT NULL,
    category         TEXT,
    wanted_importer  TEXT,
    importer         TEXT,
    attempts         INTEGER NOT NULL DEFAULT 0,
    crashes          INTEGER NOT NULL DEFAULT 0,
    -- 0: due. A waiting job is set to 0 by the first claim after its time, so that due jobs are one index range.
    not_before_ms    INTEGER NOT NULL DEFAULT 0,
    lease_owner      TEXT,
    lease_until_ms   INTEGER,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    failure_kind     TEXT,
    failure_message  TEXT,
    failure_details  TEXT,
    release_id       INTEGER REFERENCES releases (id) ON DELETE SET NULL,
    created_ms       INTEGER NOT NULL,
    started_ms       INTEGER,
    finished_ms      INTEGER,
    progress_done    INTEGER NOT NULL DEFAULT 0,
    progress_total   INTEGER NOT NULL DEFAULT 0,
    CHECK ((state = 1) = (lease_owner IS NOT NULL)),
    CHECK ((state = 1) = (lease_until_ms IS NOT NULL)),
    CHECK ((state >= 2) = (finished_ms IS NOT NULL))
) STRICT;
-- one active job for a source, one for a destination: the rule holds even against a fault above
CREATE UNIQUE INDEX jobs_active_source ON jobs (source_key) WHERE state IN (0, 1);
CREATE UNIQUE INDEX jobs_active_destination ON jobs (destination) WHERE state IN (0, 1);
-- claim: the head of this index is the next job. Jobs that the server died with go behind the others.
CREATE INDEX jobs_due ON jobs (priority DESC, crashes, id) WHERE state = 0 AND not_before_ms = 0;
-- claim and next_due: jobs that wait for their next attempt, leases that end
CREATE INDEX jobs_waiting ON jobs (not_before_ms) WHERE state = 0 AND not_before_ms > 0;
CREATE INDEX jobs_leases ON jobs (lease_until_ms) WHERE state = 1;
-- lists by state, newest first (the rowid is the index's last column), and their counts
CREATE INDEX jobs_state ON jobs (state);
-- foreign key, sweep
CREATE INDEX jobs_release ON jobs (release_id) WHERE release_id IS NOT NULL;
CREATE INDEX jobs_blob ON jobs (blob);

-- The tree of the library. Unlisted files (repair data and the like) have a name space of their own.
CREATE TABLE nodes (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    parent     INTEGER REFERENCES nodes (id),
    name       TEXT    NOT NULL,
    listed     INTEGER NOT NULL,
    is_dir     INTEGER NOT NULL,
    size       INTEGER NOT NULL,
    mtime_ms   INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    release_id INTEGER REFERENCES releases (id),
    -- 16 bytes of SHA-256 over the content graph and the articles that it is made of; NULL for folders
    etag       BLOB,
    CHECK ((id = 1) = (parent IS NULL)),
    CHECK (is_dir = (etag IS NULL)),
    CHECK (listed OR NOT is_dir)
) STRICT;
-- look-up by name, and a folder's listing in order: the only way in
CREATE UNIQUE INDEX nodes_children ON nodes (parent, listed, name);
-- is a release still referred to; and the foreign key
CREATE INDEX nodes_release ON nodes (release_id) WHERE release_id IS NOT NULL;

INSERT INTO nodes (id, parent, name, listed, is_dir, size, mtime_ms, created_ms)
VALUES (1, NULL, '', 1, 1, 0, unixepoch() * 1000, unixepoch() * 1000);

-- A file's content graph, apart from the tree so that listing and stat never touch it.
CREATE TABLE contents (
    file_id    INTEGER PRIMARY KEY REFERENCES nodes (id) ON DELETE CASCADE,
    -- zstd of the graph's JSON
    content    BLOB NOT NULL,
    attributes TEXT NOT NULL
) STRICT;

-- The articles of one posted file, shared by the files of the release. A rowid table: rows are large.
CREATE TABLE article_tables (
    release_id INTEGER NOT NULL REFERENCES releases (id) ON DELETE CASCADE,
    no         INTEGER NOT NULL,
    packed     BLOB    NOT NULL
) STRICT;
CREATE UNIQUE INDEX article_tables_key ON article_tables (release_id, no);

CREATE TABLE settings (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
