ALTER TABLE timers DROP COLUMN settled_attempts;
