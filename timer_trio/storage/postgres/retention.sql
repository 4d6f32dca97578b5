-- What ended long ago.

-- name: prune
-- Looks at the next page of a project's timers in the order of their creation, and deletes those of
-- them that ended before the cutoff; names the project that comes next. A row that somebody holds is
-- left for another time: whoever claims waits for us, we wait for nobody. Where there are turns,
-- nothing is looked at while it is another's.
-- By ctid: whatever the statistics say, no row is looked up that is not on the page; and by id, since
-- each partition of a table has the same ctids (IS TRUE, for else an index of ids would be looked through).
WITH turn AS MATERIALIZED (
    SELECT coalesce(pg_try_advisory_xact_lock(%(turn)s::bigint), true) AS is_ours
),
page AS MATERIALIZED (
    SELECT ctid AS place, created_at, id
    FROM timers
    WHERE
        (SELECT is_ours FROM turn)
        AND project = %(project)s
        AND created_at < %(cutoff)s
        AND (created_at, id) > (%(instant)s, %(id)s)
    ORDER BY created_at, id
    LIMIT %(limit)s
),
ended AS MATERIALIZED (
    SELECT ctid AS place, id
    FROM timers
    WHERE
        ctid = ANY (ARRAY(SELECT place FROM page))
        AND (id = ANY (ARRAY(SELECT id FROM page))) IS TRUE
        AND status IN ('completed', 'failed', 'canceled')
        AND updated_at < %(cutoff)s
    FOR UPDATE SKIP LOCKED
),
deleted AS (
    DELETE FROM timers
    WHERE
        ctid = ANY (ARRAY(SELECT place FROM ended))
        AND (id = ANY (ARRAY(SELECT id FROM ended))) IS TRUE
    RETURNING id, key
),
unnamed AS (
    DELETE FROM timer_keys AS k
    USING deleted
    WHERE
        deleted.key IS NOT NULL
        AND k.project = %(project)s AND k.kind = 'name' AND k.key = deleted.key
        AND k.timer_ids[1] = deleted.id
)
SELECT
    (SELECT count(*) FROM page) AS looked_at,
    (SELECT count(*) FROM deleted) AS deleted,
    last.created_at,
    last.id,
    (
        SELECT project FROM timers
        WHERE project > %(project)s AND (SELECT is_ours FROM turn)
        ORDER BY project
        LIMIT 1
    ) AS next_project
FROM (VALUES (1)) AS always
LEFT JOIN (
    SELECT created_at, id FROM page ORDER BY created_at DESC, id DESC LIMIT 1
) AS last ON true;

-- name: count_ended
-- Counts what a prune with this cutoff would delete.
SELECT count(*) AS ended
FROM timers
WHERE
    created_at < %(cutoff)s
    AND status IN ('completed', 'failed', 'canceled')
    AND updated_at < %(cutoff)s;
