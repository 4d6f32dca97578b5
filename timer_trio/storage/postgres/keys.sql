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
    FROM json_populate_recordset(NULL::timers, %(timers)s::json)
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
