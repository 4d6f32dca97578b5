-- What holds callbacks back: pauses, and what replicas are told of all rules.

-- name: raise_rules_version
-- First of all in each transaction that changes a rule: so one follows the other.
UPDATE rule_changes SET version = version + 1 RETURNING version;

-- name: rules_since
-- Of one snapshot. There is always a row of the version; `is_first`: what holds nothing back is left
-- out, and so are flows.
SELECT
    'version' AS kind,
    coalesce((SELECT max(version) FROM rule_changes), 0) AS version,
    EXISTS (SELECT FROM projects WHERE id <> 0 AND closed_at IS NULL) AS others_exist,
    NULL::integer AS project,
    NULL AS name,
    NULL AS flow_key,
    NULL::jsonb AS settings,
    NULL::integer AS max_in_flight,
    NULL::integer AS rate_count,
    NULL::integer AS rate_per_s,
    NULL::timestamptz AS paused_at,
    NULL::timestamptz AS resumed_at
UNION ALL
SELECT
    'project', NULL, NULL, id, name, NULL, settings, NULL, NULL, NULL, paused_at, resumed_at
FROM projects
WHERE
    changed > %(version)s
    AND (
        NOT %(is_first)s
        OR num_nonnulls(
            paused_at, resumed_at, settings ->> 'max_in_flight', settings ->> 'breaker'
        ) > 0
    )
UNION ALL
SELECT
    'destination', NULL, NULL, project, destination, NULL, NULL, NULL, NULL, NULL, paused_at,
    resumed_at
FROM paused_destinations
WHERE changed > %(version)s
UNION ALL
SELECT
    'flow', NULL, NULL, project, NULL, flow_key, NULL, max_in_flight, rate_count, rate_per_s,
    paused_at, resumed_at
FROM flows
WHERE changed > %(version)s AND NOT %(is_first)s;

-- name: destination_pause
SELECT paused_at, resumed_at
FROM paused_destinations
WHERE project = %(project)s AND destination = %(destination)s;

-- name: count_paused_destinations
SELECT count(*) AS count FROM paused_destinations WHERE project = %(project)s;

-- name: put_destination_pause
INSERT INTO paused_destinations (project, destination, paused_at, resumed_at, changed)
VALUES (%(project)s, %(destination)s, %(paused_at)s, %(resumed_at)s, %(version)s)
ON CONFLICT (project, destination) DO UPDATE
SET
    paused_at = excluded.paused_at,
    resumed_at = excluded.resumed_at,
    changed = excluded.changed;

-- name: project_pause
SELECT paused_at, resumed_at FROM projects WHERE id = %(project)s;

-- name: put_project_pause
UPDATE projects
SET paused_at = %(paused_at)s, resumed_at = %(resumed_at)s, changed = %(version)s
WHERE id = %(project)s;

-- name: pause_all
WITH raised AS (
    UPDATE rule_changes SET version = version + 1 RETURNING version
),
done AS (
    UPDATE projects SET paused_at = %(now)s, changed = raised.version
    FROM raised
    WHERE paused_at IS NULL
    RETURNING 1
)
SELECT count(*) AS paused FROM done;

-- name: prune_rules
-- Up to a page of each. One that somebody changes just now stays.
WITH old_flows AS MATERIALIZED (
    SELECT ctid AS place
    FROM flows
    WHERE
        deleted_at <= %(flows_until)s
        AND (resumed_at IS NULL OR resumed_at <= %(resumed_until)s)
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
),
old_destinations AS MATERIALIZED (
    SELECT ctid AS place
    FROM paused_destinations
    WHERE paused_at IS NULL AND resumed_at <= %(resumed_until)s
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
),
deleted_flows AS (
    DELETE FROM flows WHERE ctid = ANY (ARRAY(SELECT place FROM old_flows))
    RETURNING 1
),
deleted_destinations AS (
    DELETE FROM paused_destinations
    WHERE ctid = ANY (ARRAY(SELECT place FROM old_destinations))
    RETURNING 1
)
SELECT
    (SELECT count(*) FROM deleted_flows) + (SELECT count(*) FROM deleted_destinations) AS deleted;
