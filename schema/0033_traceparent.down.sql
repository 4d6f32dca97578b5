ALTER TABLE timers
    DROP COLUMN traceparent;
