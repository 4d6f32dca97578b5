-- Who may do what.

-- name: key_seal
SELECT seal FROM key_seal;

-- name: set_key_seal
UPDATE key_seal SET seal = %(seal)s;

-- name: create_api_key
-- A project that somebody is closing is waited for: it has no new keys afterwards.
WITH known AS (
    SELECT id FROM projects WHERE id = %(project)s AND closed_at IS NULL FOR KEY SHARE
),
written AS (
    INSERT INTO api_keys (id, project, name, scopes, secret_sha256, created_at, expires_at)
    SELECT
        %(id)s, known.id, %(name)s, %(scopes)s, %(secret_sha256)s, %(created_at)s, %(expires_at)s
    FROM known
    ON CONFLICT (id) DO NOTHING
)
SELECT id FROM known;

-- name: api_keys
SELECT id, project, name, scopes, created_at, expires_at, last_used_at
FROM api_keys
WHERE project = %(project)s
ORDER BY created_at DESC, id DESC;

-- name: known_key
SELECT
    k.id, k.project, k.name, k.scopes, k.created_at, k.expires_at, k.last_used_at, k.secret_sha256,
    p.name AS project_name, p.created_at AS project_created_at, p.settings
FROM api_keys AS k
JOIN projects AS p ON p.id = k.project
WHERE k.id = %(id)s AND p.closed_at IS NULL;

-- name: revoke_api_key
DELETE FROM api_keys WHERE id = %(id)s AND project = %(project)s RETURNING id;

-- name: note_key_uses
-- In the order of the ids: several replicas write those of the same keys.
WITH locked AS MATERIALIZED (
    SELECT k.id, used.at
    FROM api_keys AS k
    JOIN unnest(%(ids)s::text [], %(instants)s::timestamptz []) AS used (id, at) ON used.id = k.id
    WHERE k.last_used_at IS NULL OR k.last_used_at < used.at
    ORDER BY k.id
    FOR NO KEY UPDATE OF k
)
UPDATE api_keys AS k SET last_used_at = locked.at
FROM locked
WHERE k.id = locked.id;
