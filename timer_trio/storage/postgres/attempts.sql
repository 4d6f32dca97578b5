-- What is kept of attempts; `settle` writes it.

-- name: attempts
SELECT
    attempt, started_at, ended_at, outcome, http_status, error, response_headers::text,
    response_body, is_truncated
FROM attempts
WHERE
    timer_id = %(id)s
    AND EXISTS (
        SELECT FROM timers
        WHERE shard = get_byte(uuid_send(%(id)s), 15) AND id = %(id)s AND project = %(project)s
    )
ORDER BY attempt DESC, ended_at DESC;

-- name: attempt_partitions
-- The names of the partitions that are there, but for the default one.
SELECT c.relname AS name
FROM pg_inherits AS i
JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = 'attempts'::regclass AND c.relname <> 'attempts_default';

-- name: prune_attempts
-- Deletes the next page of what is old in the default partition; the others are dropped as a whole.
-- By way of the whole table, on which rights are granted.
WITH old AS (
    SELECT ctid AS place
    FROM attempts
    WHERE tableoid = 'attempts_default'::regclass AND ended_at < %(cutoff)s
    LIMIT %(limit)s
)
DELETE FROM attempts
WHERE tableoid = 'attempts_default'::regclass AND ctid = ANY (ARRAY(SELECT place FROM old));
