-- What consumers ask for, but a list: listing.py puts that together.

-- name: create
-- Writes a batch of new timers, sent as one JSON text: half the cost of fifteen arrays.
INSERT INTO timers (
    shard, id, status, due_at, created_at, updated_at, requested_at, destination, project{counted},
    flow_key, traceparent, {spec}
)
SELECT
    get_byte(uuid_send(id), 15), id, 'pending', execute_at, created_at, %(now)s, %(now)s,
    destination, project{counted:value}, flow_key, traceparent, {spec}
FROM json_to_recordset(%(timers)s::json) AS new (
    id uuid, created_at timestamptz, destination text, project integer, flow_key text,
    traceparent text, {spec:type}
)
ON CONFLICT (shard, id) DO NOTHING;

-- name: create_many
-- Writes many new timers in a transaction of its own. Most of the cost is in the indexes, as with
-- JSON; but its lines can be put together bit by bit, so that the event loop goes on.
COPY timers (
    shard, id, status, due_at, created_at, updated_at, requested_at, destination, project{counted},
    flow_key, traceparent, {spec}
) FROM STDIN;

-- name: is_there
SELECT 1 FROM timers WHERE shard = get_byte(uuid_send(%(id)s), 15) AND id = %(id)s;

-- name: newest_sealed
-- One of the newest timers of the projects that is encrypted, if there is any; who created so many since
-- has no keys.
SELECT coalesce(newest.callback_headers ->> %(member)s, newest.callback_payload) AS sealed
FROM projects AS p
CROSS JOIN LATERAL (
    SELECT callback_headers, callback_payload
    FROM timers
    WHERE project = p.id
    ORDER BY created_at DESC, id DESC
    LIMIT 100
) AS newest
WHERE
    newest.callback_headers ->> %(member)s IS NOT NULL
    OR left(newest.callback_payload, length(%(mark)s)) = %(mark)s
LIMIT 1;

-- name: get
SELECT {timer}
FROM timers
WHERE shard = get_byte(uuid_send(%(id)s), 15) AND id = %(id)s AND project = %(project)s;

-- name: update
-- Changes a timer that waits, and says what its status was when we had it locked. What `change` does
-- not name stays as it is. A result has no results of its own: it stays as it is, and nothing of it is
-- answered but its status.
-- If we have waited for the lock, constraints are first checked on the row as it was before: so all that
-- they look at comes from the row that we have locked.
WITH asked AS (
    SELECT shard, id, status, due_at, claim, claimed_by, parent_id IS NOT NULL AS is_result
    FROM timers
    WHERE shard = get_byte(uuid_send(%(id)s), 15) AND id = %(id)s AND project = %(project)s
    FOR NO KEY UPDATE
),
changed AS (
    UPDATE timers AS t
    SET
        (due_at, next_attempt_at, destination, {spec}) = (
            SELECT
                coalesce(%(moved_to)s::timestamptz, asked.due_at),
                CASE
                    WHEN asked.status = 'retrying'
                        THEN coalesce(%(moved_to)s::timestamptz, asked.due_at)
                END,
                destination, {spec}
            FROM json_populate_record(t, %(change)s::json)
        ),
        status = asked.status,
        claim = asked.claim,
        claimed_by = asked.claimed_by,
        updated_at = %(now)s,
        requested_at = %(now)s
    FROM asked
    WHERE
        t.shard = asked.shard
        AND t.id = asked.id
        AND asked.status IN ('pending', 'retrying')
        AND NOT (asked.is_result AND %(asks_for_results)s)
    RETURNING
        t.id, t.status, t.created_at, t.execute_at, t.callback_url, t.executed_at, t.parent_id,
        t.flow_key
)
SELECT asked.status AS status_before, changed.*
FROM asked LEFT JOIN changed ON true;

-- name: cancel
-- Cancels a timer that waits, and says what its status was when we had it locked. Nobody holds it then;
-- that is said because constraints are first checked on the row as it was before we waited for the lock.
WITH asked AS (
    SELECT shard, id, status, created_at, execute_at, callback_url, executed_at, parent_id, flow_key
    FROM timers
    WHERE shard = get_byte(uuid_send(%(id)s), 15) AND id = %(id)s AND project = %(project)s
    FOR NO KEY UPDATE
),
canceled AS (
    UPDATE timers AS t
    SET status = 'canceled', due_at = NULL, claimed_by = NULL, updated_at = %(now)s
    FROM asked
    WHERE t.shard = asked.shard AND t.id = asked.id AND asked.status IN ('pending', 'retrying')
)
SELECT
    status AS status_before, id, 'canceled' AS status,
    created_at, execute_at, callback_url, executed_at, parent_id, flow_key
FROM asked;
