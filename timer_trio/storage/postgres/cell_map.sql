-- Which cell a database is.

-- name: keep_map
-- Unless it has what no process would look for in this cell, or somebody is there who may write that.
-- Once: later there is a row.
INSERT INTO cell_map (map, own)
SELECT
    %(map)s,
    %(own)s
WHERE
    NOT EXISTS (SELECT FROM cell_map)
    AND NOT EXISTS (SELECT FROM replicas WHERE map IS DISTINCT FROM %(map)s)
    AND NOT EXISTS (SELECT FROM timers WHERE shard NOT BETWEEN %(first)s AND %(last)s)
    AND NOT EXISTS (SELECT FROM schedules WHERE shard NOT BETWEEN %(first)s AND %(last)s)
    AND NOT EXISTS (SELECT FROM flows)
ON CONFLICT DO NOTHING;

-- name: kept_map
SELECT map, own, moving FROM cell_map;

-- name: cell_facts
-- The number of timers is an estimate: to count millions takes seconds.
SELECT
    (SELECT count(*) FROM replicas) AS replicas,
    (
        SELECT coalesce(sum(greatest(tables.reltuples, 0)), 0)::bigint
        FROM pg_partition_tree('timers') AS part
        INNER JOIN pg_class AS tables ON tables.oid = part.relid
        WHERE part.isleaf
    ) AS timers,
    (SELECT map FROM cell_map) AS map,
    (SELECT own FROM cell_map) AS own,
    (SELECT moving FROM cell_map) AS moving;
