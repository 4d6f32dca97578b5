-- Attempts up to the last one that was settled: of those after it, `attempt - settled_attempts`, nobody
-- knows the outcome. Counted this way since a release that does not know the column never needs to
-- write it: its settlements end a timer, so that of one still alive it has settled no attempt.
ALTER TABLE timers ADD COLUMN settled_attempts integer NOT NULL DEFAULT 0;
