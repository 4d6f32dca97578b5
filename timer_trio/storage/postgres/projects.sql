-- Whose things are.

-- name: create_project
INSERT INTO projects (name, created_at) VALUES (%(name)s, %(now)s)
ON CONFLICT (name) DO NOTHING
RETURNING id, name, created_at, settings, closed_at;

-- name: projects
SELECT id, name, created_at, settings, closed_at
FROM projects
WHERE name IS NOT NULL
ORDER BY name COLLATE "C";

-- name: project_named
SELECT id, name, created_at, settings, closed_at FROM projects WHERE name = %(name)s;

-- name: change_project
-- Once it is set anew how many live timers there may be, all are to be counted.
WITH recounted AS (
    UPDATE project_quotas SET counted_at = NULL, is_marked = false
    WHERE project = %(project)s AND %(change)s::jsonb ? 'max_live_timers'
)
UPDATE projects SET settings = settings || %(change)s::jsonb
WHERE id = %(project)s AND closed_at IS NULL
RETURNING id, name, created_at, settings, closed_at;

-- name: close_project
-- Waits for whoever is about to write a key into it.
UPDATE projects SET closed_at = %(now)s WHERE id = %(project)s AND closed_at IS NULL;

-- name: open_project
UPDATE projects SET closed_at = NULL WHERE id = %(project)s AND name IS NOT NULL;

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
WITH gone AS (
    UPDATE projects SET name = NULL
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
WITH forgotten AS (
    DELETE FROM projects WHERE id = %(project)s AND name IS NULL RETURNING id
)
DELETE FROM project_quotas AS q USING forgotten WHERE q.project = forgotten.id;
