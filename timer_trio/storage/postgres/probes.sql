-- Who probes a destination whose breaker is half open: one replica at a time.

-- name: ask_probes
-- A right is granted where the row says that it is free as it is locked. What is told besides is as
-- of the begin of the statement: who lost in between asks again soon.
WITH asked AS MATERIALIZED (
    SELECT a.project, a.destination, p.replica, p.until, p.is_answered AND p.until > a.opened_at AS is_answered
    FROM unnest(%(projects)s::integer[], %(destinations)s::text[], %(opened)s::timestamptz[])
        AS a (project, destination, opened_at)
    LEFT JOIN breaker_probes AS p
        ON p.project = a.project AND p.destination = a.destination
),
granted AS (
    INSERT INTO breaker_probes AS p (project, destination, replica, until)
    SELECT a.project, a.destination, me.id, %(until)s
    FROM asked AS a
    JOIN replicas AS me ON me.id = %(replica)s
    WHERE a.is_answered IS NOT true
    ORDER BY a.project, a.destination
    ON CONFLICT (project, destination) DO UPDATE
    SET replica = excluded.replica, until = excluded.until, is_answered = false
    WHERE
        p.until <= %(now)s
        OR p.replica = excluded.replica
        OR p.replica IS NOT NULL
        AND NOT EXISTS (SELECT FROM replicas AS other WHERE other.id = p.replica)
    RETURNING p.project, p.destination
)
SELECT
    asked.project, asked.destination, coalesce(asked.is_answered, false) AS is_answered,
    granted.destination IS NOT NULL AS is_granted,
    CASE WHEN asked.replica IS NULL THEN asked.until END AS open_until
FROM asked
LEFT JOIN granted USING (project, destination);

-- name: end_probes
UPDATE breaker_probes AS p
SET replica = NULL, until = coalesce(e.until, %(now)s), is_answered = e.is_answered
FROM unnest(
    %(projects)s::integer[], %(destinations)s::text[], %(granted)s::timestamptz[],
    %(until)s::timestamptz[], %(answered)s::boolean[]
) AS e (project, destination, granted_until, until, is_answered)
WHERE
    p.project = e.project AND p.destination = e.destination
    AND p.replica = %(replica)s AND p.until = e.granted_until;

-- name: prune_probes
WITH over AS MATERIALIZED (
    SELECT ctid AS place FROM breaker_probes
    WHERE until < %(cutoff)s
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
),
deleted AS (
    DELETE FROM breaker_probes WHERE ctid = ANY (ARRAY(SELECT place FROM over))
)
SELECT count(*) AS deleted FROM over;
