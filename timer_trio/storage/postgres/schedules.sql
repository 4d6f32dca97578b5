-- Schedules, and the occurrences that are written for them.

-- name: take_key
-- Takes an idempotency key that is free or has expired, for what is written in the same transaction.
INSERT INTO timer_keys AS k (
    project, kind, key, timer_ids, fingerprint, status, answer, expires_at
)
VALUES (
    %(project)s, 'idempotency', %(key)s, %(timer_ids)s, %(fingerprint)s, %(status)s, %(answer)s,
    %(expires_at)s
)
ON CONFLICT (project, kind, key) DO UPDATE
SET (timer_ids, fingerprint, status, answer, expires_at) = (
    excluded.timer_ids, excluded.fingerprint, excluded.status, excluded.answer,
    excluded.expires_at
)
WHERE k.expires_at <= %(now)s
RETURNING k.key;

-- name: create_schedule
-- Writes a new schedule; one that is there already stays as it is.
INSERT INTO schedules (
    shard, id, project, name, status, version, created_at, updated_at, rule, start_at, end_at,
    max_occurrences, catch_up, overlap, jitter_s, template, planned_to, plan_at, instants,
    unplanned, zone_data, last_error, flow_key
)
VALUES (
    get_byte(uuid_send(%(id)s), 15), %(id)s, %(project)s, %(name)s, %(status)s, %(version)s,
    %(created_at)s, %(updated_at)s, %(rule)s, %(start_at)s, %(end_at)s, %(max_occurrences)s,
    %(catch_up)s, %(overlap)s, %(jitter_s)s, %(template)s, %(planned_to)s, %(plan_at)s,
    %(instants)s, %(unplanned)s, %(zone_data)s, %(last_error)s, %(flow_key)s
)
ON CONFLICT (shard, id) DO NOTHING
RETURNING id;

-- name: write_schedule
-- Writes all of a schedule that can change.
UPDATE schedules
SET
    name = %(name)s, status = %(status)s, version = %(version)s, updated_at = %(updated_at)s,
    rule = %(rule)s, start_at = %(start_at)s, end_at = %(end_at)s,
    max_occurrences = %(max_occurrences)s, catch_up = %(catch_up)s, overlap = %(overlap)s,
    jitter_s = %(jitter_s)s, template = %(template)s, planned_to = %(planned_to)s,
    plan_at = %(plan_at)s, instants = %(instants)s, unplanned = %(unplanned)s,
    zone_data = %(zone_data)s, last_error = %(last_error)s
WHERE shard = get_byte(uuid_send(%(id)s), 15) AND id = %(id)s;

-- name: occurrences
-- Writes occurrences, sent as one JSON text: the beginning of what follows.
INSERT INTO timers AS t (
    shard, id, status, due_at, created_at, updated_at, requested_at, destination, project, last_error,
    schedule_id, schedule_version, occurs_at, superseded_at, may_be_skipped{counted}, flow_key,
    {spec}
)
SELECT
    get_byte(uuid_send(o.id), 15), o.id,
    CASE WHEN o.skipped IS NULL THEN 'pending' ELSE 'canceled' END,
    CASE WHEN o.skipped IS NULL THEN o.execute_at END,
    o.created_at, %(now)s, %(now)s, o.destination, o.project, o.skipped,
    o.schedule_id, o.schedule_version, o.occurs_at, o.superseded_at, true{counted:value}, o.flow_key,
    {o.spec}
FROM json_to_recordset(%(occurrences)s::json) AS o (
    id uuid, created_at timestamptz, destination text, project integer, skipped text, schedule_id uuid,
    schedule_version integer, occurs_at timestamptz, superseded_at timestamptz, flow_key text,
    {spec:type}
);

-- name: new_occurrences
-- Answers with those that were not there. Of one that is, and is pending, only the instant at which it is
-- superseded can have changed.
WITH new AS (
    {occurrences}
    ORDER BY o.id
    ON CONFLICT (shard, id) DO NOTHING
    RETURNING t.id
),
known AS (
    UPDATE timers AS t SET superseded_at = o.superseded_at
    FROM json_to_recordset(%(occurrences)s::json) AS o (id uuid, superseded_at timestamptz)
    WHERE
        t.shard = get_byte(uuid_send(o.id), 15)
        AND t.id = o.id
        AND t.status = 'pending'
        AND NOT EXISTS (SELECT FROM new WHERE new.id = o.id)
)
SELECT id FROM new;

-- name: schedule
SELECT *
FROM schedules
WHERE shard = get_byte(uuid_send(%(id)s), 15) AND id = %(id)s AND project = %(project)s;

-- name: lock_schedule
SELECT * FROM schedules
WHERE shard = get_byte(uuid_send(%(id)s), 15) AND id = %(id)s AND project = %(project)s
FOR NO KEY UPDATE;

-- name: share_schedule
-- Reads the status of a schedule, which stays so until the transaction ends.
SELECT status FROM schedules
WHERE shard = get_byte(uuid_send(%(id)s), 15) AND id = %(id)s AND project = %(project)s
FOR SHARE;

-- name: lock_waiting
-- Locks what waits of a schedule, in the order of the keys: it is not claimed until we end.
SELECT id, status, occurs_at, schedule_version IS NOT NULL AS is_planned
FROM timers
WHERE schedule_id = %(id)s AND status IN ('pending', 'retrying')
ORDER BY shard, id
FOR UPDATE;

-- name: begun
-- The latest instant of the rule that has begun, or was canceled and is past, and those to come that
-- were canceled.
SELECT
    max(latest.occurs_at) AS last_begun,
    ARRAY(
        SELECT occurs_at
        FROM timers
        WHERE
            schedule_id = %(id)s AND status = 'canceled' AND schedule_version IS NOT NULL
            AND occurs_at > %(now)s
    ) AS canceled
FROM unnest(ARRAY['executing', 'retrying', 'completed', 'failed', 'canceled']) AS s (status)
CROSS JOIN LATERAL (
    SELECT occurs_at
    FROM timers
    WHERE
        schedule_id = %(id)s AND timers.status = s.status AND schedule_version IS NOT NULL
        AND (s.status <> 'canceled' OR occurs_at <= %(now)s)
    ORDER BY occurs_at DESC
    LIMIT 1
) AS latest;

-- name: delete_occurrences
DELETE FROM timers AS t
USING unnest(%(ids)b::uuid[]) AS a (id)
WHERE t.shard = get_byte(uuid_send(a.id), 15) AND t.id = a.id;

-- name: cancel_occurrences
UPDATE timers AS t
SET status = 'canceled', due_at = NULL, updated_at = %(now)s
FROM unnest(%(ids)b::uuid[]) AS a (id)
WHERE t.shard = get_byte(uuid_send(a.id), 15) AND t.id = a.id;

-- name: change_occurrences
-- Has occurrences ask for what `change` names; what it does not stays as it is.
UPDATE timers AS t
SET
    (destination, {spec}) = (
        SELECT destination, {spec} FROM json_populate_record(t, %(change)s::json)
    ),
    updated_at = %(now)s
FROM unnest(%(ids)b::uuid[]) AS a (id)
WHERE t.shard = get_byte(uuid_send(a.id), 15) AND t.id = a.id;

-- name: schedule_facts
-- What a schedule has done: one look-up a status for the latest, since there may be many.
WITH latest AS (
    SELECT found.shard, found.id
    FROM unnest(ARRAY['executing', 'retrying', 'completed', 'failed', 'canceled']) AS s (status)
    CROSS JOIN LATERAL (
        SELECT shard, id, occurs_at
        FROM timers
        WHERE schedule_id = %(id)s AND timers.status = s.status AND project = %(project)s
        ORDER BY occurs_at DESC
        LIMIT 1
    ) AS found
    ORDER BY found.occurs_at DESC
    LIMIT 1
)
SELECT
    (
        SELECT count(*) FROM timers
        WHERE
            schedule_id = %(id)s AND status = 'pending' AND schedule_version IS NOT NULL
            AND project = %(project)s
    ) AS pending,
    (
        SELECT count(*) FROM timers
        WHERE
            schedule_id = %(id)s AND status = 'canceled' AND starts_with(last_error, %(skipped)s)
            AND project = %(project)s
    ) AS skipped,
    {t.timer}
FROM (VALUES (1)) AS always
LEFT JOIN latest ON true
LEFT JOIN timers AS t ON t.shard = latest.shard AND t.id = latest.id;

-- name: schedule_named
SELECT id FROM schedules
WHERE project = %(project)s AND name = %(name)s AND status <> 'ended';

-- name: next_plan_at
-- When a schedule must be planned next. One look into the index a shard.
SELECT min(first.plan_at) AS plan_at
FROM unnest(%(shards)s::smallint[]) AS own (shard)
CROSS JOIN LATERAL (
    SELECT plan_at
    FROM schedules
    WHERE schedules.shard = own.shard AND plan_at IS NOT NULL
    ORDER BY plan_at, id
    LIMIT 1
) AS first;

-- name: due_schedules
-- What must be planned, the most overdue first. One index scan a shard.
SELECT s.*
FROM unnest(%(shards)s::smallint[]) AS own (shard)
CROSS JOIN LATERAL (
    SELECT *
    FROM schedules
    WHERE schedules.shard = own.shard AND plan_at <= %(until)s
    ORDER BY plan_at, id
    LIMIT %(limit)s
) AS s
ORDER BY s.plan_at, s.id
LIMIT %(limit)s;

-- name: outdated_schedules
SELECT *
FROM schedules
WHERE
    shard = ANY (%(shards)s::smallint[])
    AND status = 'active'
    AND zone_data < %(zone_data)s
LIMIT %(limit)s;

-- name: plan
-- Writes plans, and answers with the places of those that held. Each holds if its schedule is as it was
-- when it was read; one that somebody locks is left for another time.
WITH plans AS (
    SELECT *
    FROM json_to_recordset(%(plans)s::json) AS p (
        place integer, id uuid, version integer, planned_from timestamptz, status text,
        updated_at timestamptz, planned_to timestamptz, plan_at timestamptz, instants bigint,
        unplanned bigint, zone_data text
    )
),
held AS MATERIALIZED (
    SELECT
        s.shard, plans.*,
        s.status = 'active' AND s.version = plans.version AND s.planned_to = plans.planned_from
        AS stands
    FROM plans
    JOIN schedules AS s ON s.shard = get_byte(uuid_send(plans.id), 15) AND s.id = plans.id
    ORDER BY s.shard, s.id
    FOR NO KEY UPDATE OF s SKIP LOCKED
),
planned AS (
    {occurrences}
    JOIN held ON held.id = o.schedule_id AND held.stands
    ON CONFLICT (shard, id) DO NOTHING
),
moved_on AS (
    UPDATE schedules AS s
    SET
        status = held.status,
        updated_at = held.updated_at,
        planned_to = held.planned_to,
        plan_at = held.plan_at,
        instants = held.instants,
        unplanned = held.unplanned,
        zone_data = held.zone_data
    FROM held
    WHERE s.shard = held.shard AND s.id = held.id AND held.stands
)
SELECT place FROM held WHERE stands;

-- name: break_schedule
UPDATE schedules
SET status = 'paused', plan_at = NULL, last_error = %(reason)s, updated_at = %(now)s
WHERE
    shard = get_byte(uuid_send(%(id)s), 15)
    AND id = %(id)s
    AND version = %(version)s
    AND status = 'active'
RETURNING id;

-- name: count_schedules
SELECT
    CASE WHEN status = 'paused' AND last_error IS NOT NULL THEN 'broken' ELSE status END AS name,
    count(*) AS count
FROM schedules
GROUP BY 1;

-- name: prune_schedules
-- Deletes a page of schedules that ended long ago; their timers go as any.
WITH gone AS MATERIALIZED (
    SELECT ctid AS place
    FROM schedules
    WHERE status = 'ended' AND updated_at < %(cutoff)s
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
),
deleted AS (
    DELETE FROM schedules WHERE ctid = ANY (ARRAY(SELECT place FROM gone))
    RETURNING 1
)
SELECT count(*) AS deleted FROM deleted;
