-- What replicas write of themselves, and of each other.

-- name: join
INSERT INTO replicas (id, started_at, host, pid, version, map)
VALUES (%(replica)s, %(now)s, %(host)s, %(pid)s, %(version)s, %(map)s)
ON CONFLICT (id) DO NOTHING;

-- name: beat
-- The clock is that of the statement's beginning: a reading counts as of the arrival of the answer, so it
-- is one before that. No later one is taken, for Citus refuses to write what changes while it is asked.
WITH own AS (
    UPDATE replicas
    SET
        counter = counter + 1,
        beaten_at = statement_timestamp(),
        in_flight = %(in_flight)s,
        cached = %(cached)s,
        clock_offset_s = %(clock_offset_s)s
    WHERE id = %(replica)s
    RETURNING id, counter, leaving
),
everybody AS (
    SELECT id, counter, leaving FROM own
    UNION ALL
    SELECT id, counter, leaving FROM replicas WHERE id <> %(replica)s
)
SELECT
    coalesce(array_agg(id), '{}') AS replicas,
    coalesce(array_agg(counter), '{}') AS counters,
    coalesce(array_agg(id) FILTER (WHERE leaving), '{}') AS leaving,
    (SELECT settings FROM projects WHERE id = 0) AS default_settings,
    coalesce((SELECT version FROM rule_changes), 0) AS rules_version,
    statement_timestamp() AS now
FROM everybody;

-- name: leave
UPDATE replicas SET leaving = true WHERE id = %(replica)s;

-- name: replicas
SELECT
    id, host, pid, version, map, in_flight, cached, clock_offset_s, started_at, beaten_at, leaving
FROM replicas
ORDER BY started_at, id;

-- name: end_unread
-- Ends the sessions of the service whose answer nobody has read for so long. An answer that no buffer
-- takes in is sent before its statement commits: who freezes in the middle of it keeps the locks.
SELECT pg_terminate_backend(pid)
FROM pg_stat_activity
WHERE
    datname = current_database()
    AND usename = current_user
    AND application_name = current_setting('application_name')
    AND wait_event = 'ClientWrite'
    AND query_start < clock_timestamp() - make_interval(secs => %(unread_s)s);

-- name: due_again
-- When what was freed is due: at once, in a flow before what came behind it there.
CASE
        WHEN t.flow_key IS NULL THEN %(now)s
        ELSE least(%(now)s, coalesce(t.next_attempt_at, t.execute_at))
    END;

-- name: sweep
-- Four statements in one message, and so one transaction that needs nobody's word to end: who is
-- frozen in the middle of it holds no lock. The first waits for claims under way, and lets no more
-- in; the second, with a snapshot of its own, sees what they took, and what others whose rows are
-- gone had to leave because somebody locked it. Whose they are is found first: a row that has
-- changed meanwhile is judged by that list again, and not by replicas that this snapshot cannot see.
-- What is in a flow goes before what came behind it there.
SELECT id FROM replicas
WHERE id = %(replica)s AND (%(counter)s::bigint IS NULL OR counter = %(counter)s)
FOR UPDATE;
WITH gone AS MATERIALIZED (
    SELECT %(replica)s::uuid AS id
    UNION
    SELECT claimed_by
    FROM timers
    WHERE
        claimed_by IS NOT NULL
        AND NOT EXISTS (SELECT FROM replicas WHERE replicas.id = timers.claimed_by)
),
held AS (
    SELECT shard, id FROM timers
    WHERE
        claimed_by IS NOT NULL
        AND claimed_by = ANY (ARRAY(SELECT id FROM gone))
        AND (
            %(counter)s::bigint IS NULL
            OR EXISTS (SELECT FROM replicas WHERE id = %(replica)s AND counter = %(counter)s)
        )
    ORDER BY shard, id
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE timers AS t
SET
    claimed_by = NULL,
    due_at = {due_again}
FROM held
WHERE t.shard = held.shard AND t.id = held.id;
DELETE FROM replicas
WHERE id = %(replica)s AND (%(counter)s::bigint IS NULL OR counter = %(counter)s);
SELECT count(*) AS count
FROM timers
WHERE
    claimed_by IS NOT NULL
    AND NOT EXISTS (SELECT FROM replicas WHERE replicas.id = timers.claimed_by);
