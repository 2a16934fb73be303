-- Publishing: what happens to a release between its commit and the moment that its job counts as completed for a download
-- client (`storage` is NULL until then). After a failure it waits until publish_after_ms, and the error is shown.
ALTER TABLE jobs ADD COLUMN publish_attempts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN publish_after_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN publish_error TEXT;
-- what is to be published next: the head of this index
CREATE INDEX jobs_to_publish ON jobs (publish_after_ms, id) WHERE state = 2 AND storage IS NULL;

-- Files that were made outside of the library for files of it. A row is there before its file is, so that none is forgotten.
CREATE TABLE outputs (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id     INTEGER NOT NULL,
    -- no foreign key: the row outlives the file that it is for, until what was made for it is removed
    file_id    INTEGER NOT NULL,
    kind       TEXT    NOT NULL CHECK (kind IN ('symlink', 'strm', 'copy')),
    path       TEXT    NOT NULL UNIQUE,
    -- the release's folder among the outputs; removed with the last file in it
    folder     TEXT    NOT NULL,
    -- what the file on disk is recognised by as ours; empty while it is being made
    mark       TEXT    NOT NULL,
    orphan     INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX outputs_job ON outputs (job_id);
-- the trigger below
CREATE INDEX outputs_file ON outputs (file_id);
-- what is to be removed
CREATE INDEX outputs_orphans ON outputs (id) WHERE orphan = 1;
CREATE TRIGGER outputs_of_deleted_file AFTER DELETE ON nodes BEGIN
    UPDATE outputs SET orphan = 1 WHERE file_id = old.id;
END;

-- Signed links: those of an older version of a file's link are worth nothing. Version 0 where there is no row.
CREATE TABLE link_versions (
    file_id INTEGER PRIMARY KEY REFERENCES nodes (id) ON DELETE CASCADE,
    version INTEGER NOT NULL
) STRICT;
