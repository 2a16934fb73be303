-- Bytes of listed files that no source has and that read as zero, because the damage policy says so. Over 0: degraded.
ALTER TABLE jobs ADD COLUMN missing_bytes INTEGER NOT NULL DEFAULT 0;
