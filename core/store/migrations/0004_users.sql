-- People who may use the page. The password is an argon2 hash in PHC form.
CREATE TABLE users (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    name       TEXT    NOT NULL COLLATE NOCASE,
    password   TEXT    NOT NULL,
    created_ms INTEGER NOT NULL,
    changed_ms INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX users_name ON users (name);

-- Who is logged in where. The token itself is only in the browser.
CREATE TABLE sessions (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    -- SHA-256 of the token
    hash       BLOB    NOT NULL,
    user_id    INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    address    TEXT    NOT NULL,
    agent      TEXT    NOT NULL,
    created_ms INTEGER NOT NULL,
    used_ms    INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL
) STRICT;
-- each request of the page
CREATE UNIQUE INDEX sessions_hash ON sessions (hash);
-- a user's sessions; and the foreign key
CREATE INDEX sessions_user ON sessions (user_id);
