-- What signs callbacks.

-- name: signing_secrets
SELECT id, project, secret, created_at, expires_at
FROM signing_secrets
WHERE project = ANY (%(projects)s::integer[]) AND (expires_at IS NULL OR expires_at > %(now)s);

-- name: add_signing_secrets
-- A project that has a current one keeps it, whoever else writes one at the same time.
INSERT INTO signing_secrets (id, project, secret, created_at)
SELECT new.id, new.project, new.secret, new.created_at
FROM unnest(
    %(ids)s::uuid[], %(projects)s::integer[], %(secrets)s::text[], %(instants)s::timestamptz[]
) AS new (id, project, secret, created_at)
ORDER BY new.project
ON CONFLICT DO NOTHING;

-- name: lock_signing_secrets
-- Rows alone would not do: whoever waits for one that was current does not see the one that is now.
SELECT pg_advisory_xact_lock(%(turn)s::integer, %(project)s::integer);

-- name: all_signing_secrets
SELECT id, project, secret, created_at, expires_at
FROM signing_secrets
WHERE project = %(project)s;

-- name: keep_signing_secrets
-- First what goes, then what ends, then what is new: at no time are two current.
DELETE FROM signing_secrets WHERE project = %(project)s AND id <> ALL (%(ids)s::uuid[]);

-- name: end_signing_secrets
UPDATE signing_secrets AS s
SET expires_at = kept.expires_at
FROM unnest(%(ids)s::uuid[], %(ends)s::timestamptz[]) AS kept (id, expires_at)
WHERE s.id = kept.id AND s.expires_at IS DISTINCT FROM kept.expires_at;
