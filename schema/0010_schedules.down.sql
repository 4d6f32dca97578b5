ALTER TABLE timers
    DROP COLUMN schedule_id,
    DROP COLUMN schedule_version,
    DROP COLUMN occurs_at,
    DROP COLUMN superseded_at,
    DROP COLUMN may_be_skipped;
DROP TABLE schedules;
