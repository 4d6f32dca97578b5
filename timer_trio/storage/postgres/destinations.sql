-- What is known of destinations.

-- name: note_destinations
-- Three statements in one: what was counted, and of what is in hand what is gone and what is new. All
-- rows are the replica's own, so that nobody waits.
WITH counted AS (
    INSERT INTO destination_outcomes (
        project, destination, replica, since,
        delivered, rejected, unreachable, timed_out, other, durations
    )
    SELECT
        project, destination, %(counter)s, since,
        delivered, rejected, unreachable, timed_out, other, durations
    FROM json_to_recordset(%(counted)s::json) AS c (
        project integer, destination text, since timestamptz, delivered integer, rejected integer,
        unreachable integer, timed_out integer, other integer, durations integer []
    )
    ON CONFLICT (project, destination, replica, since) DO UPDATE
    SET (delivered, rejected, unreachable, timed_out, other, durations) = (
        excluded.delivered, excluded.rejected, excluded.unreachable, excluded.timed_out,
        excluded.other, excluded.durations
    )
),
gone AS (
    DELETE FROM destination_now AS d
    USING json_to_recordset(%(gone)s::json) AS g (project integer, destination text)
    WHERE
        d.project = g.project AND d.destination = g.destination AND d.replica = %(replica)s
)
INSERT INTO destination_now (
    project, destination, replica, waiting, in_flight, breaker_open_until, at
)
SELECT project, destination, %(replica)s, waiting, in_flight, breaker_open_until, %(at)s
FROM json_to_recordset(%(now)s::json) AS n (
    project integer, destination text, waiting integer, in_flight integer,
    breaker_open_until timestamptz
)
ON CONFLICT (project, destination, replica) DO UPDATE
SET (waiting, in_flight, breaker_open_until, at) = (
    excluded.waiting, excluded.in_flight, excluded.breaker_open_until, excluded.at
);

-- name: destinations
-- Reads the next page of each table, by the order of its key: the first of all together are among the
-- first of each. One alone is a range as well, from its name to its name. Sums one by one take a
-- fifth of the time that it takes to unnest the classes.
WITH in_hand AS (
    SELECT
        n.destination,
        sum(n.waiting) AS waiting,
        sum(n.in_flight) AS in_flight,
        max(n.breaker_open_until) AS breaker_open_until
    FROM destination_now AS n
    WHERE
        n.project = %(project)s
        AND n.destination > %(after)s
        AND n.destination >= %(first)s
        AND n.destination <= %(last)s
        AND EXISTS (SELECT FROM replicas AS r WHERE r.id = n.replica)
    GROUP BY n.destination
    ORDER BY n.destination
    LIMIT %(limit)s
),
recent AS (
    SELECT
        destination,
        sum(delivered) AS delivered,
        sum(rejected) AS rejected,
        sum(unreachable) AS unreachable,
        sum(timed_out) AS timed_out,
        sum(other) AS other,
        ARRAY[
            sum(durations[1]), sum(durations[2]), sum(durations[3]), sum(durations[4]),
            sum(durations[5]), sum(durations[6]), sum(durations[7]), sum(durations[8]),
            sum(durations[9]), sum(durations[10]), sum(durations[11]), sum(durations[12]),
            sum(durations[13]), sum(durations[14]), sum(durations[15]), sum(durations[16]),
            sum(durations[17]), sum(durations[18]), sum(durations[19]), sum(durations[20]),
            sum(durations[21]), sum(durations[22]), sum(durations[23]), sum(durations[24])
        ] AS durations
    FROM destination_outcomes
    WHERE
        project = %(project)s
        AND destination > %(after)s
        AND destination >= %(first)s
        AND destination <= %(last)s
        AND since >= %(recent_at)s
    GROUP BY destination
    ORDER BY destination
    LIMIT %(limit)s
),
paused AS (
    SELECT destination, paused_at
    FROM (
        SELECT destination COLLATE "C" AS destination, paused_at
        FROM paused_destinations
        WHERE project = %(project)s AND paused_at IS NOT NULL
    ) AS of_project
    WHERE destination > %(after)s AND destination >= %(first)s AND destination <= %(last)s
    ORDER BY destination
    LIMIT %(limit)s
)
SELECT *
FROM in_hand
FULL JOIN recent USING (destination)
FULL JOIN paused USING (destination)
ORDER BY destination
LIMIT %(limit)s;

-- name: prune_destinations
-- Deletes a page of counts that are old, and of what replicas had in hand that are gone.
WITH old AS MATERIALIZED (
    SELECT ctid AS place FROM destination_outcomes
    WHERE since < %(cutoff)s
    ORDER BY since
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
),
orphaned AS MATERIALIZED (
    SELECT ctid AS place FROM destination_now AS n
    WHERE NOT EXISTS (SELECT FROM replicas AS r WHERE r.id = n.replica)
    LIMIT %(limit)s - (SELECT count(*) FROM old)
    FOR UPDATE SKIP LOCKED
),
deleted AS (
    DELETE FROM destination_outcomes WHERE ctid = ANY (ARRAY(SELECT place FROM old))
),
removed AS (
    DELETE FROM destination_now WHERE ctid = ANY (ARRAY(SELECT place FROM orphaned))
)
SELECT (SELECT count(*) FROM old) + (SELECT count(*) FROM orphaned) AS deleted;
