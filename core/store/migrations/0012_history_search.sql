-- history, by a part of the name: all that is asked for of a job that does not fit stands in the index, in the history's order.
-- (An index of the names' trigrams would have to be asked for each job that fits, which may be all of them, and is written
-- with every job.)
CREATE INDEX jobs_history_names ON jobs (archived, finished_ms DESC, id DESC, name, state, category) WHERE state IN (2, 3);
