-- Keys that consumers choose.

-- name: create_keyed
-- Writes new timers under idempotency keys that are free or have expired, and says which. A key's row
-- and its timers are written by one statement: both or none. Keys are locked in their order.
WITH asked AS (
    SELECT *
    FROM json_to_recordset(%(creates)s::json) AS k (
        project integer, key text, timer_ids uuid[], fingerprint text, status smallint, answer text
    )
),
taken AS (
    INSERT INTO timer_keys AS k (
        project, kind, key, timer_ids, fingerprint, status, answer, expires_at
    )
    SELECT
        project, 'idempotency', key, timer_ids, decode(fingerprint, 'hex'), status, answer,
        %(expires_at)s
    FROM asked
    ORDER BY project, key
    ON CONFLICT (project, kind, key) DO UPDATE
    SET (timer_ids, fingerprint, status, answer, expires_at) = (
        excluded.timer_ids, excluded.fingerprint, excluded.status, excluded.answer,
        excluded.expires_at
    )
    WHERE k.expires_at <= %(now)s
    RETURNING k.project, k.key, k.timer_ids
),
written AS (
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
    WHERE id IN (SELECT unnest(timer_ids) FROM taken)
    ON CONFLICT (shard, id) DO NOTHING
)
SELECT project, key FROM taken;

-- name: first_answers
-- What these idempotency keys stand for, in a snapshot of its own: after a create that did not get them.
SELECT k.project, k.key, k.timer_ids, k.fingerprint, k.status, k.answer
FROM unnest(%(projects)s::integer[], %(keys)s::text[]) AS asked (project, key)
JOIN timer_keys AS k
    ON k.project = asked.project AND k.kind = 'idempotency' AND k.key = asked.key
WHERE k.expires_at > %(now)s;

-- name: prune_keys
-- Deletes a page of keys that have expired; one that somebody takes over just now stays.
WITH expired AS MATERIALIZED (
    SELECT ctid AS place
    FROM timer_keys
    WHERE expires_at <= %(now)s
    ORDER BY expires_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
),
deleted AS (
    DELETE FROM timer_keys WHERE ctid = ANY (ARRAY(SELECT place FROM expired))
    RETURNING 1
)
SELECT count(*) AS deleted FROM deleted;

-- name: name_holder
-- Reads which timer a name stands for, and that timer, without a lock: it may be gone.
SELECT k.timer_ids[1] AS holder, {t.timer}
FROM timer_keys AS k
LEFT JOIN timers AS t
    ON t.shard = get_byte(uuid_send(k.timer_ids[1]), 15) AND t.id = k.timer_ids[1]
WHERE k.project = %(project)s AND k.kind = 'name' AND k.key = %(key)s;

-- name: held_names
-- Reads what many names stand for, and how that timer is, without a lock.
SELECT k.key, k.timer_ids[1] AS holder, t.status
FROM timer_keys AS k
LEFT JOIN timers AS t
    ON t.shard = get_byte(uuid_send(k.timer_ids[1]), 15) AND t.id = k.timer_ids[1]
WHERE k.project = %(project)s AND k.kind = 'name' AND k.key = ANY (%(keys)s);

-- name: create_named
-- Writes new timers, all or none: those that have a name under it, if nobody has it, or one that has
-- ended and that we know of. Such are locked first, so that they stay as they are; a live one keeps its
-- name, so it need not be asked for it. Then the names are locked, in their order. Where some of them
-- were taken and others not, the statement fails (a division by zero), which gives them back.
WITH asked AS MATERIALIZED (
    SELECT *
    FROM json_to_recordset(%(timers)s::json) AS t (
        id uuid, created_at timestamptz, destination text, key text, before uuid, flow_key text,
        traceparent text, {spec:type}
    )
),
before AS MATERIALIZED (
    SELECT locked.status
    FROM (
        SELECT before FROM asked
        WHERE before IS NOT NULL
        ORDER BY get_byte(uuid_send(before), 15), before
    ) AS known
    CROSS JOIN LATERAL (
        SELECT t.status
        FROM timers AS t
        WHERE
            t.shard = get_byte(uuid_send(known.before), 15)
            AND t.id = known.before
            AND t.project = %(project)s
        FOR NO KEY UPDATE
    ) AS locked
),
-- All of them are there if the first is.
ours AS MATERIALIZED (
    SELECT FROM timers WHERE shard = get_byte(uuid_send(%(first)s), 15) AND id = %(first)s
),
taken AS (
    INSERT INTO timer_keys AS k (project, kind, key, timer_ids)
    SELECT %(project)s, 'name', key, ARRAY[id]
    FROM asked
    WHERE
        key IS NOT NULL
        AND NOT EXISTS (SELECT FROM ours)
        AND NOT EXISTS (
            SELECT FROM before WHERE status NOT IN ('completed', 'failed', 'canceled')
        )
    ORDER BY key
    ON CONFLICT (project, kind, key) DO UPDATE SET timer_ids = excluded.timer_ids
    -- Ours already, where an earlier call ended while this one waited for it.
    WHERE
        k.timer_ids[1] IN (SELECT before FROM asked WHERE before IS NOT NULL)
        OR k.timer_ids = excluded.timer_ids
    RETURNING k.key
),
counted AS MATERIALIZED (
    SELECT
        (SELECT count(*) FROM taken) AS taken,
        (SELECT count(key) FROM asked) AS names
),
written AS (
    INSERT INTO timers (
        shard, id, status, due_at, created_at, updated_at, requested_at, destination, project, key{counted},
        flow_key, traceparent, {spec}
    )
    SELECT
        get_byte(uuid_send(t.id), 15), t.id, 'pending', t.execute_at, t.created_at, %(now)s, %(now)s,
        t.destination, %(project)s, t.key{counted:value}, t.flow_key, t.traceparent, {t.spec}
    FROM asked AS t, counted
    WHERE counted.taken = counted.names
    ON CONFLICT (shard, id) DO NOTHING
)
SELECT
    taken = names OR EXISTS (SELECT FROM ours) AS is_there,
    1 / (taken IN (0, names))::integer AS all_or_none
FROM counted;
