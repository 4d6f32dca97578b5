-- What rewrites rows under another key, page by page, beside whoever works with them. Rows are read
-- without a lock, and written if nobody has written them since: their version is the transaction that
-- wrote them last. One that somebody locks is left for another time.

-- name: sealed_tables
-- Which of the tables that may hold what is encrypted are there.
SELECT name FROM unnest(%(names)s::text[]) AS t (name) WHERE to_regclass(name) IS NOT NULL;

-- name: versions_of_replicas
SELECT DISTINCT version FROM replicas ORDER BY version;

-- name: sealed_in_timers
-- At most so many bytes of payloads, but one row at least.
SELECT id, version, callback_headers, callback_payload, on_completed, on_failed
FROM (
    SELECT
        page.*,
        sum(coalesce(octet_length(callback_payload), 0)) OVER (ORDER BY shard, id)
        - coalesce(octet_length(callback_payload), 0) AS bytes_before
    FROM (
        SELECT
            shard, id, xmin::text AS version, callback_headers::text AS callback_headers,
            callback_payload, on_completed::text AS on_completed,
            on_failed::text AS on_failed
        FROM timers
        WHERE (shard, id) > (get_byte(uuid_send(%(id)s), 15)::smallint, %(id)s)
        ORDER BY shard, id
        LIMIT %(rows)s
    ) AS page
) AS weighed
WHERE bytes_before <= %(bytes)s
ORDER BY get_byte(uuid_send(id), 15), id;

-- name: reseal_timers
WITH sealed AS (
    SELECT *
    FROM json_to_recordset(%(resealed)s::json) AS g (
        id uuid, version text, callback_headers json, callback_payload text, on_completed json,
        on_failed json
    )
),
held AS MATERIALIZED (
    SELECT t.shard, sealed.*
    FROM sealed
    JOIN timers AS t ON t.shard = get_byte(uuid_send(sealed.id), 15) AND t.id = sealed.id
    WHERE t.xmin::text = sealed.version
    ORDER BY t.shard, t.id
    FOR NO KEY UPDATE OF t SKIP LOCKED
)
UPDATE timers AS t
SET
    callback_headers = held.callback_headers,
    callback_payload = held.callback_payload,
    on_completed = held.on_completed,
    on_failed = held.on_failed
FROM held
WHERE t.shard = held.shard AND t.id = held.id;

-- name: sealed_in_attempts
-- Of so many timers; one that has no answer counts as well, so that there is a next page.
SELECT
    page.timer_id, a.attempt, a.ended_at::text AS ended_at, a.xmin::text AS version,
    a.response_headers::text AS headers, a.response_body AS body
FROM (
    SELECT DISTINCT timer_id
    FROM attempts
    WHERE timer_id > %(timer_id)s
    ORDER BY timer_id
    LIMIT %(rows)s
) AS page
LEFT JOIN attempts AS a ON a.timer_id = page.timer_id AND a.response_headers IS NOT NULL
ORDER BY page.timer_id, a.attempt;

-- name: reseal_attempts
UPDATE attempts AS a
SET response_headers = sealed.headers, response_body = decode(sealed.body, 'base64')
FROM json_to_recordset(%(resealed)s::json) AS sealed (
    timer_id uuid, attempt integer, ended_at timestamptz, version text, headers json, body text
)
WHERE
    a.timer_id = sealed.timer_id
    AND a.attempt = sealed.attempt
    AND a.ended_at = sealed.ended_at
    AND a.xmin::text = sealed.version;

-- name: sealed_in_schedules
SELECT id, xmin::text AS version, template::text AS template
FROM schedules
WHERE (shard, id) > (get_byte(uuid_send(%(id)s), 15)::smallint, %(id)s)
ORDER BY shard, id
LIMIT %(rows)s;

-- name: reseal_schedules
WITH sealed AS (
    SELECT *
    FROM json_to_recordset(%(resealed)s::json) AS g (id uuid, version text, template json)
),
held AS MATERIALIZED (
    SELECT s.shard, sealed.*
    FROM sealed
    JOIN schedules AS s ON s.shard = get_byte(uuid_send(sealed.id), 15) AND s.id = sealed.id
    WHERE s.xmin::text = sealed.version
    ORDER BY s.shard, s.id
    FOR NO KEY UPDATE OF s SKIP LOCKED
)
UPDATE schedules AS s
SET template = held.template
FROM held
WHERE s.shard = held.shard AND s.id = held.id;

-- name: sealed_in_timer_keys
-- Answers that show a whole schedule; those that show timers in short hold nothing that is sealed.
SELECT project, key, xmin::text AS version, answer
FROM timer_keys
WHERE
    (project, kind, key) > (%(project)s, 'idempotency', %(key)s)
    AND kind = 'idempotency'
ORDER BY project, kind, key
LIMIT %(rows)s;

-- name: reseal_timer_keys
WITH sealed AS (
    SELECT *
    FROM json_to_recordset(%(resealed)s::json) AS g (
        project integer, key text, version text, answer text
    )
),
held AS MATERIALIZED (
    SELECT sealed.*
    FROM sealed
    JOIN timer_keys AS k
        ON k.project = sealed.project AND k.kind = 'idempotency' AND k.key = sealed.key
    WHERE k.xmin::text = sealed.version
    ORDER BY k.project, k.key
    FOR NO KEY UPDATE OF k SKIP LOCKED
)
UPDATE timer_keys AS k
SET answer = held.answer
FROM held
WHERE k.project = held.project AND k.kind = 'idempotency' AND k.key = held.key;

-- name: sealed_in_signing_secrets
SELECT id, xmin::text AS version, secret
FROM signing_secrets
WHERE id > %(id)s
ORDER BY id
LIMIT %(rows)s;

-- name: reseal_signing_secrets
WITH sealed AS (
    SELECT *
    FROM json_to_recordset(%(resealed)s::json) AS g (id uuid, version text, secret text)
),
held AS MATERIALIZED (
    SELECT sealed.*
    FROM sealed
    JOIN signing_secrets AS s ON s.id = sealed.id
    WHERE s.xmin::text = sealed.version
    ORDER BY s.id
    FOR NO KEY UPDATE OF s SKIP LOCKED
)
UPDATE signing_secrets AS s
SET secret = held.secret
FROM held
WHERE s.id = held.id;
