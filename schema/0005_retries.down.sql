DROP TABLE attempts;
-- What waits for another attempt has failed.
UPDATE timers SET status = 'failed', due_at = NULL WHERE status = 'retrying';
ALTER TABLE timers
    DROP CONSTRAINT timers_retrying_is_not_claimed,
    DROP CONSTRAINT timers_status_check,
    ADD CONSTRAINT timers_status_check CHECK (
        status IN ('pending', 'executing', 'completed', 'failed', 'canceled')
    ),
    DROP CONSTRAINT timers_instants_in_range,
    ADD CONSTRAINT timers_instants_in_range CHECK (
        least(due_at, execute_at, created_at, updated_at, requested_at, executed_at)
        >= '1970-01-01 00:00:00+00'
        AND greatest(due_at, execute_at, created_at, updated_at, requested_at, executed_at)
        < '10000-01-01 00:00:00+00'
    ),
    DROP COLUMN retry,
    DROP COLUMN store_response,
    DROP COLUMN failures,
    DROP COLUMN next_attempt_at,
    DROP COLUMN first_due_at,
    DROP COLUMN http_status,
    DROP COLUMN duration_ms;
