-- Ended timers that live again: put together at run time, for one timer and for a page of many.

-- name: redrive_one
-- Locks one timer, and says what its status is then. One that has a name takes it again, from the
-- timer that is known to have it and has ended: that is locked as well, so that it stays so.
WITH found AS MATERIALIZED (
    SELECT
        shard, id, status, attempt, executed_at, http_status, duration_ms, store_response, key,
        {due_at}::timestamptz AS redriven_to
    FROM timers
    WHERE shard = get_byte(uuid_send({id}), 15) AND id = {id} AND project = {project}
    FOR NO KEY UPDATE
),
before AS MATERIALIZED (
    SELECT status
    FROM timers
    WHERE
        shard = get_byte(uuid_send({holder}::uuid), 15)
        AND id = {holder}::uuid
        AND project = {project}
    FOR NO KEY UPDATE
),
named AS (
    INSERT INTO timer_keys AS k (project, kind, key, timer_ids)
    SELECT {project}, 'name', found.key, ARRAY[found.id]
    FROM found
    WHERE
        found.key IS NOT NULL
        AND found.status IN ('completed', 'failed', 'canceled')
        AND NOT EXISTS (
            SELECT FROM before WHERE before.status NOT IN ('completed', 'failed', 'canceled')
        )
    ON CONFLICT (project, kind, key) DO UPDATE SET timer_ids = excluded.timer_ids
    WHERE k.timer_ids = ARRAY[{holder}::uuid]
    RETURNING k.timer_ids
),
asked AS (
    SELECT * FROM found WHERE key IS NULL OR EXISTS (SELECT FROM named)
),
{redriven}
SELECT found.status AS status_before, redriven.*
FROM found LEFT JOIN redriven ON true;

-- name: redriven
-- Makes those of `asked` pending that have ended. Their claim is negated, so that a late copy of it
-- takes nothing. A first attempt that was delivered is told by the timer's own row alone, unless its
-- answer is kept: it gets a row of its own, since the next attempt writes over that.
redriven AS (
    UPDATE timers AS t
    SET
        status = 'pending',
        due_at = asked.redriven_to,
        execute_at = asked.redriven_to,
        requested_at = {now},
        updated_at = {now},
        failures = 0,
        next_attempt_at = NULL,
        first_due_at = NULL,
        settled_attempts = t.attempt,
        claim = -abs(t.claim),
        may_be_skipped = NULL{counted:set},
        -- Nobody holds it; but constraints are first checked on the row as it was before we had to wait.
        claimed_by = NULL
    FROM asked
    WHERE
        t.shard = asked.shard
        AND t.id = asked.id
        AND asked.status IN ('completed', 'failed', 'canceled')
    RETURNING
        t.id, t.status, t.created_at, t.execute_at, t.callback_url, t.executed_at, t.parent_id,
        t.due_at, t.destination, t.flow_key
),
recorded AS (
    INSERT INTO attempts (shard, timer_id, attempt, started_at, ended_at, outcome, http_status)
    SELECT
        shard, id, attempt, executed_at,
        executed_at + coalesce(duration_ms, 0) * interval '1 millisecond', 'delivered', http_status
    FROM asked
    WHERE status = 'completed' AND attempt = 1 AND store_response IS DISTINCT FROM 'all'
)
