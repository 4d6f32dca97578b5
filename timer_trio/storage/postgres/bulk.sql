-- What is done to many timers, page by page: put together at run time, since consumers choose the
-- conditions. A page holds its rows for some 20 ms and waits for nobody: what somebody else has locked
-- is skipped.

-- name: bulk
-- Looks at the next timers in the order of their creation, does what `work` says to those that match,
-- and answers with one row for each timer that is due again, or with one row if there is none.
-- By ctid: whatever the statistics say, no row is looked up that is not on the page; and by id, since each
-- partition of a table has the same ctids (IS TRUE, for else an index of ids would be looked through). Rows
-- are judged again once they are locked. `looked` is read no further than the page needs.
WITH looked AS MATERIALIZED (
    SELECT ctid AS place, created_at, id, updated_at <= {as_of} AND {conditions} AS matches
    FROM timers
    WHERE
        project = {project}
        AND created_at <= {as_of}
        AND (created_at, id) > ({instant}, {id})
    ORDER BY created_at, id
    LIMIT {look}
),
page AS MATERIALIZED (
    SELECT place, created_at, id FROM looked WHERE matches LIMIT {size}
),
{work}
SELECT
    (SELECT count(*) FROM page) AS matched,
    (SELECT count(*) FROM done) AS done,
    last.created_at, last.id,
    due.id AS due_id, due.due_at, due.destination, due.flow_key
FROM (VALUES (1)) AS always
LEFT JOIN (
    (
        SELECT created_at, id FROM page
        WHERE (SELECT count(*) FROM page) = {size}
        ORDER BY created_at DESC, id DESC LIMIT 1
    )
    UNION ALL
    (
        SELECT created_at, id FROM looked
        WHERE
            CASE
                WHEN (SELECT count(*) FROM page) = {size} THEN false
                ELSE (SELECT count(*) FROM looked) = {look}
            END
        ORDER BY created_at DESC, id DESC LIMIT 1
    )
) AS last ON true
LEFT JOIN done AS due ON due.due_at IS NOT NULL;

-- name: bulk_locked
locked AS MATERIALIZED (
    SELECT
        ctid AS place, shard, id, status, created_at, attempt, executed_at, http_status,
        duration_ms, store_response, key
    FROM timers
    WHERE
        ctid = ANY (ARRAY(SELECT place FROM page))
        AND (id = ANY (ARRAY(SELECT id FROM page))) IS TRUE
        AND status = ANY ({statuses})
        AND updated_at <= {as_of}
    FOR UPDATE SKIP LOCKED
)

-- name: bulk_cancel
{locked},
done AS (
    UPDATE timers SET status = 'canceled', due_at = NULL, updated_at = {now}
    WHERE
        ctid = ANY (ARRAY(SELECT place FROM locked))
        AND (id = ANY (ARRAY(SELECT id FROM locked))) IS TRUE
    RETURNING id, due_at, destination, flow_key
)

-- name: bulk_redrive
-- One that has a name is redriven if the name stands for it still: nobody may take it meanwhile.
{locked},
named AS MATERIALIZED (
    SELECT locked.id
    FROM locked
    JOIN timer_keys AS k
        ON
            k.project = {project} AND k.kind = 'name' AND k.key = locked.key
            AND k.timer_ids = ARRAY[locked.id]
    FOR UPDATE OF k
),
asked AS (
    SELECT
        *,
        {due_at}::timestamptz
            + (row_number() OVER (ORDER BY created_at, id) - 1) * {spacing}::interval AS redriven_to
    FROM locked
    WHERE key IS NULL OR id IN (SELECT id FROM named)
),
{redriven},
done AS (
    SELECT id, due_at, destination, flow_key FROM redriven
)

-- name: bulk_delete
-- With what is kept of their attempts, and their names.
{locked},
done AS (
    DELETE FROM timers
    WHERE
        ctid = ANY (ARRAY(SELECT place FROM locked))
        AND (id = ANY (ARRAY(SELECT id FROM locked))) IS TRUE
    RETURNING id, NULL::timestamptz AS due_at, destination, flow_key, key
),
unnamed AS (
    DELETE FROM timer_keys AS k
    USING done
    WHERE
        done.key IS NOT NULL
        AND k.project = {project} AND k.kind = 'name' AND k.key = done.key
        AND k.timer_ids[1] = done.id
),
forgotten AS (
    DELETE FROM attempts WHERE timer_id = ANY (ARRAY(SELECT id FROM done))
)

-- name: bulk_count
-- Changes nothing, and counts what could be done.
done AS (
    SELECT id, NULL::timestamptz AS due_at, destination, flow_key FROM timers
    WHERE
        ctid = ANY (ARRAY(SELECT place FROM page))
        AND (id = ANY (ARRAY(SELECT id FROM page))) IS TRUE
        AND status = ANY ({statuses})
)
