ALTER TABLE projects
    DROP COLUMN changed,
    DROP COLUMN resumed_at,
    DROP COLUMN paused_at;
DROP TABLE paused_destinations;
DROP TABLE flows;
DROP TABLE rule_changes;
