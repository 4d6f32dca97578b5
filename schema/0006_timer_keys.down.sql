ALTER TABLE timers DROP COLUMN key;
DROP TABLE timer_keys;
