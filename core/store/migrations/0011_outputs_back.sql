-- What was made outside of the library for a file goes with it into the trash, and comes back with it: the row stays for as long as
-- the file can be had back. 0: it is there, or is being made; 1: it was removed, and its file is in the trash; 2: its file is back,
-- and it is to be made again.
ALTER TABLE outputs ADD COLUMN gone INTEGER NOT NULL DEFAULT 0;
-- what is to be removed
DROP INDEX outputs_orphans;
CREATE INDEX outputs_orphans ON outputs (id) WHERE orphan = 1 AND gone <> 1;
-- what is to be made again
CREATE INDEX outputs_back ON outputs (id) WHERE orphan = 0 AND gone = 2;
CREATE TRIGGER outputs_of_purged_file AFTER DELETE ON nodes BEGIN
    DELETE FROM outputs WHERE file_id = old.id AND gone = 1;
END;
