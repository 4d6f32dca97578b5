-- What a replica asks for before it claims of flows.

-- name: take_terms
-- Waits for claims under way, which hold these rows. No row at all: the replica is gone.
WITH taker AS (
    SELECT id FROM replicas WHERE id = %(replica)s FOR KEY SHARE
),
taken AS (
    INSERT INTO flow_terms (shard, replica, term)
    SELECT s.shard, taker.id, 1
    FROM taker
    CROSS JOIN unnest(%(shards)s::smallint[]) AS s (shard)
    ORDER BY s.shard
    ON CONFLICT (shard) DO UPDATE SET replica = excluded.replica, term = flow_terms.term + 1
    RETURNING shard, term
)
SELECT taken.shard, taken.term FROM taker LEFT JOIN taken ON true;

-- name: of_flow
-- What replicas hold of a flow that is asked for, and who is due first of the rest: of one instant.
LATERAL (
    SELECT held.executing, first.due_at, first.id, first.destination
    FROM (
        SELECT array_agg(t.id) AS executing
        FROM timers AS t
        WHERE
            t.project = asked.project AND t.flow_key = asked.flow_key
            AND t.status = 'executing' AND t.claimed_by IS NOT NULL
    ) AS held
    LEFT JOIN LATERAL (
        SELECT t.due_at, t.id, t.destination
        FROM timers AS t
        WHERE t.project = asked.project AND t.flow_key = asked.flow_key AND t.due_at IS NOT NULL
        ORDER BY t.due_at, t.id
        LIMIT 1
    ) AS first ON true
)

-- name: flow_readings
-- Only of flows that have a limit more is read than their rules. Who is due first is read along with what
-- others hold: where one goes at a time, what they give back goes next. What ended within the window of a rate
-- is told by the timers' own rows, and by those of attempts, which may tell of the same one; of these as
-- many as the rate allows are enough. A callback takes 300 s at most, so who ended since then was sent
-- that long before. What a sweep has freed may have been sent until just now.
SELECT
    asked.project, asked.flow_key,
    f.max_in_flight, f.rate_count, f.rate_per_s, f.paused_at, f.resumed_at,
    of_flow.*, sent.ends, sent.last_end,
    coalesce((SELECT version FROM rule_changes), 0) AS version
FROM unnest(%(projects)s::integer[], %(keys)s::text[]) AS asked (project, flow_key)
LEFT JOIN flows AS f ON f.project = asked.project AND f.flow_key = asked.flow_key
LEFT JOIN {of_flow} AS of_flow ON num_nonnulls(f.max_in_flight, f.rate_count) > 0
LEFT JOIN LATERAL (
    SELECT
        array_agg(latest.ended_at ORDER BY latest.ended_at)
            FILTER (WHERE latest.ended_at > %(now)s - make_interval(secs => f.rate_per_s)) AS ends,
        max(latest.ended_at) AS last_end
    FROM (
        SELECT t.executed_at + make_interval(secs => coalesce(t.duration_ms, 0) / 1000.0) AS ended_at
        FROM unnest('{pending,executing,retrying,completed,failed,canceled}'::text[]) AS s (status)
        CROSS JOIN LATERAL (
            SELECT n.id, n.executed_at, n.duration_ms
            FROM timers AS n
            WHERE
                n.project = asked.project AND n.flow_key = asked.flow_key
                AND n.status = s.status AND n.executed_at IS NOT NULL
            ORDER BY n.executed_at DESC
            LIMIT greatest(1, f.rate_count)
        ) AS t
        UNION ALL
        SELECT a.ended_at
        FROM timers AS n
        JOIN attempts AS a ON a.timer_id = n.id
        WHERE
            f.rate_count IS NOT NULL
            AND n.project = asked.project AND n.flow_key = asked.flow_key
            AND n.status = ANY ('{pending,executing,retrying,completed,failed,canceled}')
            AND n.executed_at > %(now)s - make_interval(secs => f.rate_per_s + 300)
            AND a.ended_at > %(now)s - make_interval(secs => f.rate_per_s)
            AND a.started_at IS DISTINCT FROM n.executed_at
        UNION ALL
        SELECT %(now)s
        FROM timers AS n
        WHERE
            n.project = asked.project AND n.flow_key = asked.flow_key
            AND n.status = 'executing' AND n.due_at IS NOT NULL
        ORDER BY ended_at DESC
        LIMIT greatest(1, f.rate_count)
    ) AS latest
) AS sent ON num_nonnulls(f.max_in_flight, f.rate_count) > 0;

-- name: flows_now
SELECT asked.project, asked.flow_key, of_flow.*
FROM unnest(%(projects)s::integer[], %(keys)s::text[]) AS asked (project, flow_key)
LEFT JOIN {of_flow} AS of_flow ON true;
