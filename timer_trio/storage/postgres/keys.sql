-- Keys that consumers choose.

-- name: create_keyed
-- Writes new timers under idempotency keys that are free or have expired, and says which. A key's row
-- and its timers are written by one statement: both or none. Keys are locked in their order.
WITH asked AS (
    SELECT *
    FROM json_to_recordset(%(creates)s::json) AS k (
        key text, timer_ids uuid[], fingerprint text, status smallint, answer text
    )
),
taken AS (
    INSERT INTO timer_keys AS k (kind, key, timer_ids, fingerprint, status, answer, expires_at)
    SELECT
        'idempotency', key, timer_ids, decode(fingerprint, 'hex'), status, answer, %(expires_at)s
    FROM asked
    ORDER BY key
    ON CONFLICT (project, kind, key) DO UPDATE
    SET (timer_ids, fingerprint, status, answer, expires_at) = (
        excluded.timer_ids, excluded.fingerprint, excluded.status, excluded.answer,
        excluded.expires_at
    )
    WHERE k.expires_at <= %(now)s
    RETURNING k.key, k.timer_ids
),
written AS (
    INSERT INTO timers (
        shard, id, status, due_at, created_at, updated_at, requested_at, destination, {spec}
    )
    SELECT
        get_byte(uuid_send(id), 15), id, 'pending', execute_at, created_at, %(now)s, %(now)s,
        destination, {spec}
    FROM json_to_recordset(%(timers)s::json) AS new (
    id uuid, created_at timestamptz, destination text, {spec:type}
)
    WHERE id IN (SELECT unnest(timer_ids) FROM taken)
    ON CONFLICT (shard, id) DO NOTHING
)
SELECT key FROM taken;

-- name: first_answers
-- What these idempotency keys stand for, in a snapshot of its own: after a create that did not get them.
SELECT key, timer_ids, fingerprint, status, answer
FROM timer_keys
WHERE
    project = 0 AND kind = 'idempotency' AND key = ANY (%(keys)s)
    AND expires_at > %(now)s;

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
WHERE k.project = 0 AND k.kind = 'name' AND k.key = %(key)s;

-- name: create_named
-- Writes a new timer under a name that nobody has, or one that has ended and that we know of. That one
-- is locked first, so that it stays as it is; a live one keeps its name, so it need not be asked for it.
WITH before AS MATERIALIZED (
    SELECT status
    FROM timers
    WHERE shard = get_byte(uuid_send(%(before)s::uuid), 15) AND id = %(before)s::uuid
    FOR NO KEY UPDATE
),
ours AS MATERIALIZED (
    SELECT FROM timers WHERE shard = get_byte(uuid_send(%(id)s), 15) AND id = %(id)s
),
taken AS (
    INSERT INTO timer_keys AS k (kind, key, timer_ids)
    SELECT 'name', %(key)s, ARRAY[%(id)s::uuid]
    WHERE
        NOT EXISTS (SELECT FROM ours)
        AND NOT EXISTS (
            SELECT FROM before WHERE status NOT IN ('completed', 'failed', 'canceled')
        )
    ON CONFLICT (project, kind, key) DO UPDATE SET timer_ids = excluded.timer_ids
    WHERE k.timer_ids = ARRAY[%(before)s::uuid]
    RETURNING k.key
),
written AS (
    INSERT INTO timers (
        shard, id, status, due_at, created_at, updated_at, requested_at, destination, key, {spec}
    )
    SELECT
        get_byte(uuid_send(t.id), 15), t.id, 'pending', t.execute_at, t.created_at, %(now)s, %(now)s,
        t.destination, taken.key, {t.spec}
    FROM json_to_recordset(%(timers)s::json) AS t (
        id uuid, created_at timestamptz, destination text, {spec:type}
    ), taken
)
SELECT EXISTS (SELECT FROM taken) OR EXISTS (SELECT FROM ours) AS is_there;
