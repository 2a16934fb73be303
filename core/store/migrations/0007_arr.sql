-- What is to be done at an *arr, now or when it can be reached again. One row for each thing, whoever asks for it.
CREATE TABLE arr_work (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    instance   TEXT    NOT NULL,
    -- what makes two wishes the same one
    thing      TEXT    NOT NULL,
    -- raised by each further wish: one that comes while the work is done is not lost
    wishes     INTEGER NOT NULL DEFAULT 1,
    work       TEXT    NOT NULL,
    attempts   INTEGER NOT NULL DEFAULT 0,
    after_ms   INTEGER NOT NULL,
    error      TEXT,
    created_ms INTEGER NOT NULL,
    UNIQUE (instance, thing)
) STRICT;
CREATE INDEX arr_work_due ON arr_work (instance, after_ms, id);

-- What an *arr wanted when it grabbed a release, by its download id.
CREATE TABLE arr_grabs (
    nzo_id   TEXT    NOT NULL PRIMARY KEY,
    instance TEXT    NOT NULL,
    item     TEXT    NOT NULL,
    at_ms    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Who has which file, by what an *arr told at its import.
CREATE TABLE arr_files (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    instance TEXT    NOT NULL,
    -- as the *arr sees it
    path     TEXT    NOT NULL,
    -- its number for the file
    arr_file INTEGER NOT NULL,
    nzo_id   TEXT    NOT NULL,
    item     TEXT    NOT NULL,
    -- the file of the library, where that is known; no foreign key: the row is there until the *arr says otherwise
    file_id  INTEGER,
    UNIQUE (instance, path)
) STRICT;
CREATE INDEX arr_files_file ON arr_files (file_id) WHERE file_id IS NOT NULL;
CREATE INDEX arr_files_nzo ON arr_files (nzo_id);

-- Releases that were to be replaced, so that a restart does not begin to count anew.
CREATE TABLE replacements (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    instance    TEXT    NOT NULL,
    item        TEXT    NOT NULL,
    fingerprint TEXT    NOT NULL,
    at_ms       INTEGER NOT NULL
) STRICT;
CREATE INDEX replacements_item ON replacements (instance, item, at_ms);
CREATE INDEX replacements_set ON replacements (fingerprint, at_ms);
CREATE INDEX replacements_at ON replacements (at_ms);

-- Since when a download is stuck in an *arr's queue, by the rule that sees it.
CREATE TABLE arr_stuck (
    instance TEXT    NOT NULL,
    nzo_id   TEXT    NOT NULL,
    rule     TEXT    NOT NULL,
    since_ms INTEGER NOT NULL,
    PRIMARY KEY (instance, nzo_id, rule)
) STRICT, WITHOUT ROWID;
