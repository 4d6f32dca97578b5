-- What people are told of many timers.

-- name: samples
-- Reads the end of each span by the index of `execute_at`, backwards, and no more rows than it allows.
-- The shares are those that the domain takes of the same values.
SELECT
    seen.place,
    count(*) FILTER (WHERE seen.status = 'pending') AS pending,
    count(*) FILTER (WHERE seen.status = 'executing') AS executing,
    count(*) FILTER (WHERE seen.status = 'retrying') AS retrying,
    count(*) FILTER (WHERE seen.status = 'completed') AS completed,
    count(*) FILTER (WHERE seen.status = 'failed') AS failed,
    count(*) FILTER (WHERE seen.status = 'canceled') AS canceled,
    percentile_disc(%(shares)s::double precision []) WITHIN GROUP (
        ORDER BY
            extract(EPOCH FROM seen.executed_at - greatest(seen.execute_at, seen.created_at))
            ::double precision
    ) FILTER (WHERE seen.attempt = 1 AND seen.executed_at IS NOT NULL) AS late_s
FROM
    unnest(%(since)s::timestamptz [], %(until)s::timestamptz [], %(most)s::integer [])
    WITH ORDINALITY AS span (since, until, most, place)
CROSS JOIN LATERAL (
    SELECT span.place, t.status, t.attempt, t.created_at, t.execute_at, t.executed_at
    FROM timers AS t
    WHERE
        t.project = %(project)s AND t.execute_at >= span.since AND t.execute_at < span.until
    ORDER BY t.execute_at DESC, t.id DESC
    LIMIT span.most
) AS seen
GROUP BY seen.place;
