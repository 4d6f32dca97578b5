-- What replicas tell each other.

-- name: hint
SELECT pg_notify('timer_trio', %(hint)s);
