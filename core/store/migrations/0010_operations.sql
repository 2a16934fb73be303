-- Files of watch folders that were taken, as they were then: one that has not changed since is not taken again, whatever
-- became of its job. A row is there before the job is; the job's id comes with it.
CREATE TABLE watched (
    path        TEXT    PRIMARY KEY,
    size        INTEGER NOT NULL,
    modified_ms INTEGER NOT NULL,
    noted_ms    INTEGER NOT NULL,
    job_id      INTEGER
) STRICT, WITHOUT ROWID;
-- the jobs of an address, and the last job of a path
CREATE INDEX jobs_url ON jobs (url) WHERE url IS NOT NULL;
CREATE INDEX jobs_source_path ON jobs (source_path);
