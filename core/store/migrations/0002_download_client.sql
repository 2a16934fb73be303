-- Keys beside the one in the data directory. Only the SHA-256 of a key is kept: what is stolen with the database opens nothing.
CREATE TABLE keys (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    name       TEXT    NOT NULL,
    scope      TEXT    NOT NULL CHECK (scope IN ('admin', 'import', 'read', 'sabnzbd', 'nzb')),
    hash       BLOB    NOT NULL UNIQUE,
    created_ms INTEGER NOT NULL,
    used_ms    INTEGER,
    revoked_ms INTEGER
) STRICT;

-- What a download client says of a job.
-- Its name for such clients, for its whole life. New ones are random; for those that are there already this is one to one.
ALTER TABLE jobs ADD COLUMN nzo_id TEXT;
UPDATE jobs SET nzo_id = printf('SABnzbd_nzo_%08x', (id * 2654435761) & 4294967295);
CREATE UNIQUE INDEX jobs_nzo ON jobs (nzo_id) WHERE nzo_id IS NOT NULL;
-- What people call it.
ALTER TABLE jobs ADD COLUMN name TEXT NOT NULL DEFAULT '';
UPDATE jobs SET name = CASE WHEN lower(file_name) LIKE '_%.nzb' THEN substr(file_name, 1, length(file_name) - 4) ELSE file_name END;
-- How many bytes its articles have by what the queued file says; 0 where it says nothing.
ALTER TABLE jobs ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
-- Where its files are for other programs. A completed job is only reported as such when this is set.
ALTER TABLE jobs ADD COLUMN storage TEXT;
-- Whether it is left out of the history that download clients are shown.
ALTER TABLE jobs ADD COLUMN archived INTEGER NOT NULL DEFAULT 0;
-- Whether it is held back.
ALTER TABLE jobs ADD COLUMN paused INTEGER NOT NULL DEFAULT 0;
-- Its turn among jobs of one priority. A new job's is its id; jobs that change places change these.
ALTER TABLE jobs ADD COLUMN position INTEGER NOT NULL DEFAULT 0;
UPDATE jobs SET position = id;
-- Where its file comes from, and whether it is here.
ALTER TABLE jobs ADD COLUMN url TEXT;
ALTER TABLE jobs ADD COLUMN fetched INTEGER NOT NULL DEFAULT 1;

-- claim: the head of this index is the next job
DROP INDEX jobs_due;
CREATE INDEX jobs_ready ON jobs (priority DESC, crashes, position) WHERE state = 0 AND not_before_ms = 0 AND paused = 0;
-- history: newest first, of all categories and of one
CREATE INDEX jobs_history ON jobs (archived, finished_ms DESC, id DESC) WHERE state IN (2, 3);
CREATE INDEX jobs_history_category ON jobs (category, archived, finished_ms DESC, id DESC) WHERE state IN (2, 3);
-- completed, and not yet where other programs find it
CREATE INDEX jobs_unpublished ON jobs (id) WHERE state = 2 AND storage IS NULL;

-- What each news server gave on each day (UTC).
CREATE TABLE usage (
    day      TEXT    NOT NULL,
    provider TEXT    NOT NULL,
    bytes    INTEGER NOT NULL,
    tried    INTEGER NOT NULL,
    found    INTEGER NOT NULL,
    PRIMARY KEY (day, provider)
) STRICT, WITHOUT ROWID;
