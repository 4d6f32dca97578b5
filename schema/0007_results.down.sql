ALTER TABLE timers
    DROP COLUMN on_completed,
    DROP COLUMN on_failed,
    DROP COLUMN parent_id;
