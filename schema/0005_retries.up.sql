-- Further attempts after a failure, and what each attempt met. No constraint is checked against the
-- rows that are there, for which the table would be locked: a later step does that.
ALTER TABLE timers
    -- The policy; NULL: one attempt.
    ADD COLUMN retry json,
    -- Which answers are kept; NULL: those of failures.
    ADD COLUMN store_response text,
    -- Failed attempts since the create or the redrive: the budget, and the exponent of the delay.
    ADD COLUMN failures smallint NOT NULL DEFAULT 0,
    -- When the attempt after a failure is due. A claim leaves it, since lateness counts from it.
    ADD COLUMN next_attempt_at timestamptz,
    -- When the first attempt of this budget was due, only where the policy gives up some time after it.
    ADD COLUMN first_due_at timestamptz,
    -- Of the last attempt whose outcome is known.
    ADD COLUMN http_status smallint,
    ADD COLUMN duration_ms integer,
    ADD CONSTRAINT timers_retry_check CHECK (json_typeof(retry) = 'object') NOT VALID,
    ADD CONSTRAINT timers_store_response_check CHECK (store_response IN ('all', 'none')) NOT VALID,
    ADD CONSTRAINT timers_failures_check CHECK (failures >= 0) NOT VALID,
    DROP CONSTRAINT timers_status_check,
    ADD CONSTRAINT timers_status_check CHECK (
        status IN ('pending', 'executing', 'retrying', 'completed', 'failed', 'canceled')
    ) NOT VALID,
    ADD CONSTRAINT timers_retrying_is_not_claimed CHECK (
        status <> 'retrying' OR (claim < 0 AND next_attempt_at IS NOT NULL)
    ) NOT VALID,
    DROP CONSTRAINT timers_instants_in_range,
    ADD CONSTRAINT timers_instants_in_range CHECK (
        least(
            due_at, execute_at, created_at, updated_at, requested_at, executed_at, next_attempt_at,
            first_due_at
        ) >= '1970-01-01 00:00:00+00'
        AND greatest(
            due_at, execute_at, created_at, updated_at, requested_at, executed_at, next_attempt_at,
            first_due_at
        ) < '10000-01-01 00:00:00+00'
    ) NOT VALID;

-- One row an attempt that tells more than its timer's own row: not for a first attempt that was
-- delivered, unless its answer is kept. A partition a day of `ended_at`, so that old ones are dropped
-- and not deleted; the default one takes what no other does.
CREATE TABLE attempts (
    shard smallint NOT NULL,
    timer_id uuid NOT NULL,
    attempt integer NOT NULL,
    -- NULL: nobody knows, as the replica that began it has died.
    started_at timestamptz,
    ended_at timestamptz NOT NULL,
    outcome text NOT NULL,
    http_status smallint,
    error text,
    -- Pairs of name and value; NULL: no answer is kept.
    response_headers json,
    response_body bytea,
    is_truncated boolean NOT NULL DEFAULT false
) PARTITION BY RANGE (ended_at);
CREATE TABLE attempts_default PARTITION OF attempts DEFAULT;
CREATE INDEX attempts_timer ON attempts (timer_id, attempt);
