-- The settings of flows.

-- name: flow
SELECT
    flow_key, max_in_flight, rate_count, rate_per_s, paused_at, resumed_at, deleted_at, created_at,
    updated_at
FROM flows
WHERE project = %(project)s AND flow_key = %(key)s;

-- name: put_flow
INSERT INTO flows (
    project, flow_key, max_in_flight, rate_count, rate_per_s, paused_at, resumed_at, deleted_at,
    changed, created_at, updated_at
)
VALUES (
    %(project)s, %(key)s, %(max_in_flight)s, %(rate_count)s, %(rate_per_s)s, %(paused_at)s,
    %(resumed_at)s, %(deleted_at)s, %(version)s, %(created_at)s, %(updated_at)s
)
ON CONFLICT (project, flow_key) DO UPDATE
SET
    max_in_flight = excluded.max_in_flight,
    rate_count = excluded.rate_count,
    rate_per_s = excluded.rate_per_s,
    paused_at = excluded.paused_at,
    resumed_at = excluded.resumed_at,
    deleted_at = excluded.deleted_at,
    changed = excluded.changed,
    created_at = excluded.created_at,
    updated_at = excluded.updated_at;

-- name: flow_state
-- There is always a row. By the earliest one it is known whether any waits: one step of the index,
-- however many have ended. Executing under nobody's claim is what waits: its replica has died.
SELECT
    %(key)s::text AS flow_key, f.max_in_flight, f.rate_count, f.rate_per_s, f.paused_at,
    f.resumed_at, f.deleted_at, f.created_at, f.updated_at,
    counted.in_flight, counted.waiting,
    counted.in_flight > 0 OR (
        SELECT min(due_at) FROM timers WHERE project = %(project)s AND flow_key = %(key)s
    ) IS NOT NULL AS is_live
FROM (
    SELECT
        (
            SELECT count(*) FROM timers
            WHERE
                project = %(project)s AND flow_key = %(key)s
                AND status = 'executing' AND claimed_by IS NOT NULL
        ) AS in_flight,
        (
            SELECT count(*) FROM timers
            WHERE project = %(project)s AND flow_key = %(key)s AND due_at <= %(now)s
        ) AS waiting
) AS counted
LEFT JOIN flows AS f ON f.project = %(project)s AND f.flow_key = %(key)s;

-- name: flows
SELECT
    flow_key, max_in_flight, rate_count, rate_per_s, paused_at, resumed_at, deleted_at, created_at,
    updated_at
FROM flows
WHERE
    project = %(project)s AND flow_key > %(after)s
    AND deleted_at IS NULL
    AND (NOT %(is_running)s OR paused_at IS NULL)
ORDER BY flow_key
LIMIT %(limit)s;

-- name: paused_flows
SELECT
    flow_key, max_in_flight, rate_count, rate_per_s, paused_at, resumed_at, deleted_at, created_at,
    updated_at
FROM flows
WHERE project = %(project)s AND flow_key > %(after)s AND paused_at IS NOT NULL
ORDER BY flow_key
LIMIT %(limit)s;
