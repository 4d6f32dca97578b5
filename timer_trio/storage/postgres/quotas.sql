-- How many live timers those projects have that limit them. A project's row is locked last of all, for
-- as long as a commit takes, or a count.

-- name: lock_live
SELECT live, counted_at FROM project_quotas WHERE project = %(project)s FOR NO KEY UPDATE;

-- name: write_live
UPDATE project_quotas SET live = %(live)s, counted_at = %(counted_at)s WHERE project = %(project)s;

-- name: begin_counting
INSERT INTO project_quotas (project, live) VALUES (%(project)s, 0)
ON CONFLICT (project) DO NOTHING;

-- name: count_live
-- Counts no further than one more than there may be.
SELECT count(*) AS found
FROM (
    SELECT FROM timers
    WHERE
        project = %(project)s
        AND is_counted
        AND status IN ('pending', 'executing', 'retrying')
    LIMIT %(most)s
) AS live;

-- name: unmarked_projects
SELECT p.id
FROM projects AS p
LEFT JOIN project_quotas AS q ON q.project = p.id
WHERE
    p.settings ->> 'max_live_timers' IS NOT NULL
    AND p.name IS NOT NULL
    AND q.is_marked IS NOT TRUE
ORDER BY p.id;

-- name: mark_counted
-- Has those of a page of timers count that live and do not yet, but for results and occurrences of a
-- rule. One that somebody holds is left out.
-- By ctid: whatever the statistics say, no row is looked up that is not on the page; and by id, since
-- each partition of a table has the same ctids (IS TRUE, for else an index of ids would be looked through).
WITH page AS MATERIALIZED (
    SELECT ctid AS place, created_at, id
    FROM timers
    WHERE project = %(project)s AND (created_at, id) > (%(instant)s, %(id)s)
    ORDER BY created_at, id
    LIMIT %(limit)s
),
found AS MATERIALIZED (
    SELECT ctid AS place, id
    FROM timers
    WHERE
        ctid = ANY (ARRAY(SELECT place FROM page))
        AND (id = ANY (ARRAY(SELECT id FROM page))) IS TRUE
        AND status IN ('pending', 'executing', 'retrying')
        AND is_counted IS NULL
        AND parent_id IS NULL
        AND schedule_version IS NULL
    FOR NO KEY UPDATE SKIP LOCKED
),
marked AS (
    UPDATE timers SET is_counted = true
    WHERE
        ctid = ANY (ARRAY(SELECT place FROM found))
        AND (id = ANY (ARRAY(SELECT id FROM found))) IS TRUE
    RETURNING 1
),
told AS (
    UPDATE project_quotas
    SET live = least(live::bigint + (SELECT count(*) FROM marked), %(beyond)s)
    WHERE project = %(project)s AND EXISTS (SELECT FROM marked)
)
SELECT
    (SELECT count(*) FROM page) AS looked_at,
    (SELECT count(*) FROM marked) AS marked,
    last.created_at,
    last.id
FROM (VALUES (1)) AS always
LEFT JOIN (
    SELECT created_at, id FROM page ORDER BY created_at DESC, id DESC LIMIT 1
) AS last ON true;

-- name: end_marking
UPDATE project_quotas SET is_marked = true, counted_at = NULL WHERE project = %(project)s;
