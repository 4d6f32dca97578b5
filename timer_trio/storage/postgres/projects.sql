-- Whose things are. Each change of a project is one of the rules, too.

-- name: create_project
WITH raised AS (
    UPDATE rule_changes SET version = version + 1 RETURNING version
)
INSERT INTO projects (name, created_at, changed)
SELECT %(name)s::text, %(now)s::timestamptz, version FROM raised
ON CONFLICT (name) DO NOTHING
RETURNING id, name, created_at, settings, closed_at, paused_at;

-- name: adopt_project
WITH raised AS (
    UPDATE rule_changes SET version = version + 1 RETURNING version
)
INSERT INTO projects (id, name, created_at, changed)
SELECT %(number)s::integer, %(name)s::text, %(now)s::timestamptz, version FROM raised
ON CONFLICT DO NOTHING;

-- name: projects
SELECT id, name, created_at, settings, closed_at, paused_at
FROM projects
WHERE name IS NOT NULL
ORDER BY name COLLATE "C";

-- name: project_named
SELECT id, name, created_at, settings, closed_at, paused_at FROM projects WHERE name = %(name)s;

-- name: change_project
-- Once it is set anew how many live timers there may be, all are to be counted.
WITH raised AS (
    UPDATE rule_changes SET version = version + 1 RETURNING version
),
recounted AS (
    UPDATE project_quotas SET counted_at = NULL, is_marked = false
    WHERE project = %(project)s AND %(change)s::jsonb ? 'max_live_timers'
)
UPDATE projects SET settings = settings || %(change)s::jsonb, changed = raised.version
FROM raised
WHERE id = %(project)s AND closed_at IS NULL
RETURNING id, name, created_at, settings, closed_at, paused_at;

-- name: close_project
-- Waits for whoever is about to write a key into it.
WITH raised AS (
    UPDATE rule_changes SET version = version + 1 RETURNING version
)
UPDATE projects SET closed_at = %(now)s, changed = raised.version
FROM raised
WHERE id = %(project)s AND closed_at IS NULL;

-- name: open_project
WITH raised AS (
    UPDATE rule_changes SET version = version + 1 RETURNING version
)
UPDATE projects SET closed_at = NULL, changed = raised.version
FROM raised
WHERE id = %(project)s AND name IS NOT NULL;

-- name: live_in
SELECT
    (
        SELECT count(*) FROM timers
        WHERE project = %(project)s AND status IN ('pending', 'executing', 'retrying')
    ) AS timers,
    (
        SELECT count(*) FROM schedules WHERE project = %(project)s AND status <> 'ended'
    ) AS schedules;

-- name: end_schedules_in
-- In the order of their keys, as ever: who plans or changes one is waited for.
WITH locked AS MATERIALIZED (
    SELECT shard, id FROM schedules
    WHERE project = %(project)s AND status <> 'ended'
    ORDER BY shard, id
    FOR NO KEY UPDATE
)
UPDATE schedules AS s SET status = 'ended', plan_at = NULL, updated_at = %(now)s
FROM locked
WHERE s.shard = locked.shard AND s.id = locked.id;

-- name: cancel_in
-- A row that somebody holds is left out.
WITH locked AS MATERIALIZED (
    SELECT shard, id FROM timers
    WHERE project = %(project)s AND status IN ('pending', 'retrying')
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
),
done AS (
    UPDATE timers AS t SET status = 'canceled', due_at = NULL, updated_at = %(now)s
    FROM locked
    WHERE t.shard = locked.shard AND t.id = locked.id
    RETURNING t.id
)
SELECT count(*) AS canceled FROM done;

-- name: delete_project
WITH raised AS (
    UPDATE rule_changes SET version = version + 1 RETURNING version
),
gone AS (
    UPDATE projects SET name = NULL, changed = raised.version
    FROM raised
    WHERE id = %(project)s AND closed_at IS NOT NULL
    RETURNING id
),
unsigned AS (
    DELETE FROM signing_secrets AS s USING gone WHERE s.project = gone.id
)
DELETE FROM api_keys AS k USING gone WHERE k.project = gone.id;

-- name: deleted_projects
SELECT id, closed_at FROM projects WHERE name IS NULL;

-- name: forget_project
WITH gone AS (
    DELETE FROM projects WHERE id = %(project)s AND name IS NULL
    RETURNING id
),
unlimited AS (
    DELETE FROM flows AS f USING gone WHERE f.project = gone.id
),
uncounted AS (
    DELETE FROM project_quotas AS q USING gone WHERE q.project = gone.id
)
DELETE FROM paused_destinations AS d USING gone WHERE d.project = gone.id;
