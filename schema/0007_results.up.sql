-- Who is told how a timer has ended, by a timer of its own. Columns without a check are added at once,
-- however many rows there are.
ALTER TABLE timers
    -- URL and headers; NULL: nobody is told.
    ADD COLUMN on_completed json,
    ADD COLUMN on_failed json,
    -- The timer whose result this one is. It may be gone.
    ADD COLUMN parent_id uuid;
