-- What was deleted and can still be had back. Its entries lie below folder 0, which nothing is looked up in, and are marked, so
-- that no look-up by id finds them either.
ALTER TABLE nodes ADD COLUMN trashed INTEGER NOT NULL DEFAULT 0;
INSERT INTO nodes (id, parent, name, listed, is_dir, size, mtime_ms, created_ms, trashed)
VALUES (0, 0, '', 1, 1, 0, unixepoch() * 1000, unixepoch() * 1000, 1);
CREATE TABLE trash (
    node_id    INTEGER PRIMARY KEY REFERENCES nodes (id) ON DELETE CASCADE,
    -- where it was
    path       TEXT    NOT NULL,
    entries    INTEGER NOT NULL,
    deleted_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX trash_deleted ON trash (deleted_ms);
