-- A new column that all rows have no value in, and no check: nothing is read.
ALTER TABLE timers
    ADD COLUMN traceparent text;
