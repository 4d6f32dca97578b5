ALTER TABLE timers
    DROP COLUMN is_counted;
DROP TABLE project_quotas;
