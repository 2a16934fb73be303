-- What is wrong with files of the library: articles that every provider group says it does not have. A file without a row is not
-- known to be damaged.
CREATE TABLE health (
    file_id        INTEGER PRIMARY KEY REFERENCES nodes (id) ON DELETE CASCADE,
    -- suspect: said once; missing: said again, later
    state          TEXT    NOT NULL CHECK (state IN ('suspect', 'missing')),
    since_ms       INTEGER NOT NULL,
    -- when the state was reached that it is in now
    state_ms       INTEGER NOT NULL,
    -- how many articles, those included that have no row in health_articles because they are too many
    articles       INTEGER NOT NULL,
    -- how often it was asked for them anew, when last, and when it is next
    checks         INTEGER NOT NULL DEFAULT 0,
    checked_ms     INTEGER,
    check_after_ms INTEGER NOT NULL,
    -- what was done because of it; NULL: nothing yet
    action         TEXT,
    action_ms      INTEGER
) STRICT;
-- what is to be asked for next: the head of this index
CREATE INDEX health_due ON health (check_after_ms);
-- lists by state, newest first
CREATE INDEX health_state ON health (state, since_ms DESC);
-- confirmed, and nothing done yet
CREATE INDEX health_idle ON health (state_ms) WHERE state = 'missing' AND action IS NULL;

-- The articles, up to a number for each file.
CREATE TABLE health_articles (
    file_id    INTEGER NOT NULL REFERENCES health (file_id) ON DELETE CASCADE,
    message_id TEXT    NOT NULL,
    since_ms   INTEGER NOT NULL,
    confirmed  INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (file_id, message_id)
) STRICT, WITHOUT ROWID;

-- A file with other bytes is another file.
CREATE TRIGGER health_of_replaced_file AFTER UPDATE OF etag ON nodes WHEN old.etag IS NOT new.etag BEGIN
    DELETE FROM health WHERE file_id = old.id;
END;

-- What the queued file says of when its articles were posted: the mean of its files, in ms since 1970.
ALTER TABLE jobs ADD COLUMN posted_ms INTEGER;
-- Where the indexer has another file for the same thing, and how many such files in a row this one is the last of.
ALTER TABLE jobs ADD COLUMN failure_url TEXT;
ALTER TABLE jobs ADD COLUMN substitutes INTEGER NOT NULL DEFAULT 0;
