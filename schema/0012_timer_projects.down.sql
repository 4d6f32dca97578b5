ALTER TABLE timers
    DROP COLUMN project;
