ALTER TABLE schedules
    DROP COLUMN flow_key;
ALTER TABLE timers
    DROP COLUMN flow_key;
