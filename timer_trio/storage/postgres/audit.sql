-- Who has done what.

-- name: write_audit
-- Of what adds up, an entry comes again and again, and counts more each time.
INSERT INTO audit AS known
    (project, at, id, last_at, key_id, address, action, target, count, details)
SELECT
    new.project, new.at, new.id, new.last_at, new.key_id, new.address, new.action, new.target,
    new.count, new.details::json
FROM unnest(
    %(project)s::integer[], %(at)s::timestamptz[], %(id)s::uuid[], %(last_at)s::timestamptz[],
    %(key_id)s::text[], %(address)s::text[], %(action)s::text[], %(target)s::text[],
    %(count)s::bigint[], %(details)s::text[]
) AS new (project, at, id, last_at, key_id, address, action, target, count, details)
ORDER BY new.project, new.at, new.id
ON CONFLICT (project, at, id) DO UPDATE
SET last_at = excluded.last_at, target = excluded.target, count = excluded.count
WHERE known.count < excluded.count;

-- name: prune_audit
-- Deletes a page of what is old; a row that somebody holds is left for another time.
WITH old AS MATERIALIZED (
    SELECT ctid AS place
    FROM audit
    WHERE at < %(cutoff)s
    ORDER BY at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
),
deleted AS (
    DELETE FROM audit WHERE ctid = ANY (ARRAY(SELECT place FROM old))
    RETURNING 1
)
SELECT count(*) AS deleted FROM deleted;
